//! The policies in the documentation, as a reader would copy them.

use std::path::Path;

use portreeve_test_support::signer::Key;

use super::{Checked, check_manifests};

/// Blocks of YAML with a policy: a whole document or ConfigMap, an entry of `repositories`, or a `policy` alone.
fn policies(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    let policies = blocks.filter(|block| block.contains("policy:\n"));
    policies.map(|block| with_keys(&whole(&dedented(block)))).collect()
}

fn dedented(block: &str) -> String {
    let indent = block.lines().next().map_or(0, |line| line.len() - line.trim_start().len());
    block.lines().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect()
}

fn whole(text: &str) -> String {
    let head = "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: { name: p }\nspec:\n  repositories:\n";
    let below = |text: &str, indent: &str| text.lines().map(|line| format!("{indent}{line}\n")).collect::<String>();
    if text.starts_with("policy:") {
        return format!("{head}  - name: \"r.io/*\"\n{}", below(text, "    "));
    }
    if text.starts_with("- name:") { format!("{head}{}", below(text, "  ")) } else { text.to_owned() }
}

/// With a key for each placeholder.
fn with_keys(text: &str) -> String {
    let mut written = String::new();
    for line in text.lines() {
        let pem = Key::p256().public_pem();
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with('…') {
            let body = pem.lines().filter(|line| !line.starts_with('-'));
            body.for_each(|body| written.push_str(&format!("{:indent$}{body}\n", "")));
        } else {
            written.push_str(&line.replace("\"…\"", &serde_json::to_string(&pem).unwrap()));
            written.push('\n');
        }
    }
    written
}

#[test]
fn the_policies_of_the_documentation_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (page, count) in [
        ("README.md", 1),
        ("docs/policies.md", 5),
        ("docs/cosign.md", 2),
        ("docs/keyless.md", 3),
        ("docs/notation.md", 1),
        ("docs/migrating.md", 2),
    ] {
        let found = policies(&std::fs::read_to_string(root.join(page)).unwrap());
        assert!(found.len() >= count, "{page}: {found:#?}");
        for text in found {
            let mut checked = Checked::default();
            check_manifests(&text, Path::new(page), &mut checked);
            let set = checked.finish().unwrap_or_else(|problems| panic!("{page}: {problems:#?}\n{text}"));
            assert!(set.rules().count() > 0, "{page}: {text}");
        }
    }
}
