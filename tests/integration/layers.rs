//! The rooms of `src/` import downwards only. ARCHITECTURE.md lists them, the top one first.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Imports that go downwards and are still forbidden: only `commands` imports `config`, and admission knows neither the
/// server nor the metrics.
const FORBIDDEN: [&str; 3] = ["webhook -> config", "admission -> server", "admission -> metrics"];

/// Imports that break the rule. Remove the entry with the import.
const EXCEPTIONS: [&str; 0] = [];

#[test]
fn a_room_imports_only_rooms_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let (_, list) = page.split_once("| room, the top one first | what it holds |\n|---|---|\n").unwrap();
    let rooms: Vec<&str> = list.lines().map_while(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let position = |room: &str| rooms.iter().position(|known| *known == room);
    let mut found = BTreeSet::new();
    let mut visited = BTreeSet::new();
    for entry in fs::read_dir(root.join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // The list of the rooms itself, and what the fuzz targets reach through.
        if ["lib", "main", "fuzzing"].contains(&name.as_str()) {
            continue;
        }
        let from = position(&name).unwrap_or_else(|| panic!("ARCHITECTURE.md does not list the room {name}"));
        visited.insert(name.clone());
        let mut texts = Vec::new();
        collect(&path, 1, &mut texts);
        for (depth, text) in texts {
            assert!(
                !code(&text).any(|line| line.contains(&"super::".repeat(depth))),
                "{name} leaves its room by `super`"
            );
            for to in imports(&text).filter(|to| *to != name) {
                let below =
                    position(to).unwrap_or_else(|| panic!("{name} imports {to}, which ARCHITECTURE.md does not list"));
                let import = format!("{name} -> {to}");
                if below <= from || FORBIDDEN.contains(&import.as_str()) {
                    found.insert(import);
                }
            }
        }
    }
    assert_eq!(visited.len(), rooms.len(), "ARCHITECTURE.md lists {rooms:?}, there are {visited:?}");
    assert_eq!(found, EXCEPTIONS.map(str::to_owned).into(), "imports that go upwards");
}

/// The lines outside of comments and of tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The rooms in `crate::room`.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    code(text).flat_map(|line| {
        assert!(!line.contains("crate::{"), "one `use crate::room` a line, so that this test can read it: {line}");
        line.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
    })
}

/// The texts of a file, or of all files below a directory but for tests; each with the number of `super` that lead from there to
/// the crate's root.
fn collect(path: &Path, depth: usize, texts: &mut Vec<(usize, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let is_module_file = path.file_name().is_some_and(|name| name == "mod.rs");
            collect(&path, if is_module_file { depth } else { depth + 1 }, texts);
        }
    } else if path.file_stem().is_some_and(|stem| stem != "tests") && !path.iter().any(|part| part == "tests") {
        texts.push((depth, fs::read_to_string(path).unwrap()));
    }
}

/// The verifiers need neither TLS nor HTTP: nothing that they are built or tested with brings rustls or ureq along.
#[test]
fn the_verifiers_need_no_network_library() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = std::process::Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--package", "portreeve-verify", "--edges", "normal,dev,build"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.status.success() && text.contains("rustls-webpki"), "{text}");
    for name in ["rustls", "ureq", "tiny_http", "signal-hook", "log"] {
        assert!(!text.contains(&format!(" {name} v")), "{name}:\n{text}");
    }
}
