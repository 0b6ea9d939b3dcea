use std::collections::BTreeMap;

use super::*;
use crate::policy::{Owner, PolicySet, check_data};

/// The notes on rules `pattern policy`, without their places.
fn notes(rules: &[(&str, &str)]) -> Vec<String> {
    let mut text =
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: c}\nspec:\n  repositories:\n".to_owned();
    for (pattern, policy) in rules {
        text.push_str(&format!("  - {{name: \"{pattern}\", policy: {{{policy}}}}}\n"));
    }
    let set = check_data(&BTreeMap::from([("p.yaml".to_owned(), text)]), &Owner::Site).unwrap();
    set.notes().iter().map(ToString::to_string).collect()
}

const TRUST: &str = "trust: {enabled: true, trustServer: \"https://n.local\"}";
const WARN: &str = "mode: warn, trust: {enabled: true, trustServer: \"https://n.local\"}";
const NOTHING: &str = "trust: {enabled: false}";

#[test]
fn a_pattern_that_looks_like_a_registry_is_told_from_one() {
    for (pattern, named, meant) in [
        ("icr.io*", "docker.io/library/icr.io*", "icr.io/*"),
        ("icr.io", "docker.io/library/icr.io", "icr.io/*"),
        ("*.icr.io", "docker.io/library/*.icr.io", "*.icr.io/*"),
        ("registry.local:9001", "docker.io/library/registry.local:9001", "registry.local:9001/*"),
        ("registry.local:9001*", "docker.io/library/registry.local:9001*", "registry.local:9001/*"),
        ("registry.local:*", "docker.io/library/registry.local", "registry.local/*"),
        ("registry:5000", "docker.io/library/registry:5000", "registry:5000/*"),
        ("localhost", "docker.io/library/localhost", "localhost/*"),
        ("registry.local:v1", "docker.io/library/registry.local:v1", "registry.local/*:v1"),
        ("quay.io*:v*", "docker.io/library/quay.io*:v*", "quay.io/*:v*"),
    ] {
        let expected = format!(
            "p.yaml:6:5: pattern \"{pattern}\" names a repository of Docker Hub, {named}; if a registry is meant, write \
             \"{meant}\""
        );
        assert_eq!(notes(&[(pattern, TRUST)])[0], expected);
    }
    for pattern in ["nginx", "nginx:1.25", "nginx*", "*nginx", "ubuntu:22", "icr.io/*", "plant/plc", "*"] {
        let found = notes(&[(pattern, TRUST)]);
        assert!(!found.iter().any(|note| note.contains("names a repository")), "{pattern}: {found:?}");
    }
}

#[test]
fn other_tags_of_what_is_checked_are_told() {
    assert_eq!(
        notes(&[("r.io/plc:v*", TRUST), ("r.io/*", NOTHING)]),
        [
            "p.yaml:6:5: pattern \"r.io/plc:v*\" asks for a check of some tags; \"r.io/*\" (p.yaml:7:5) lets r.io/plc:other \
          in unchecked"
        ]
    );
    assert!(notes(&[("r.io/plc:o*", TRUST), ("r.io/*", NOTHING)])[0].contains("r.io/plc:unsigned in unchecked"));
    assert!(notes(&[("r.io/plc:v*", TRUST), ("r.io/*", WARN)])[0].ends_with("in with a warning at most"));
    assert!(
        notes(&[("r.io/plc/*:v*", WARN), ("r.io/plc*", NOTHING)])[0].contains("lets r.io/plc/x:other in unchecked")
    );
    for rules in [
        &[("r.io/plc:v*", TRUST)][..],
        &[("r.io/plc:v*", TRUST), ("r.io/*", TRUST)],
        &[("r.io/plc:v*", WARN), ("r.io/*", TRUST)],
        &[("r.io/plc*", TRUST), ("r.io/*", NOTHING)],
        &[("r.io/plc:v*", NOTHING), ("r.io/*", NOTHING)],
        &[("r.io/plc:v*", "deny: {message: old}"), ("r.io/*", NOTHING)],
        &[("r.io/plc:v*", TRUST), ("r.io/*", "deny: {message: old}")],
    ] {
        assert_eq!(notes(rules), Vec::<String>::new());
    }
}

#[test]
fn a_rule_that_never_decides_is_told() {
    let expected = "p.yaml:6:5: pattern \"r.io/plc:v*\" never decides: \"r.io/plc\" (p.yaml:7:5) has no star, matches the \
                    same images and comes first";
    assert_eq!(notes(&[("r.io/plc:v*", TRUST), ("r.io/plc", NOTHING)]), [expected]);
    assert_eq!(notes(&[("r.io/plc:v1", TRUST), ("r.io/plc", TRUST), ("r.io/*", TRUST)]), Vec::<String>::new());
    // One digest is not all of them.
    let digest = format!("r.io/plc@sha256:{}", "0".repeat(64));
    assert_eq!(notes(&[("r.io/plc:v*", TRUST), (&digest, TRUST)]), Vec::<String>::new());
}

#[test]
fn what_lets_much_in_unchecked_is_told() {
    for policy in ["mutateImage: true", "mode: warn", "mutateImage: false, trust: {enabled: false}"] {
        for pattern in ["*", "r.io/*", "*.io/plant/*"] {
            assert!(notes(&[(pattern, policy)])[0].contains("asks for no check"), "{pattern} {policy}");
        }
        assert_eq!(notes(&[("r.io/plant/*", policy)]), Vec::<String>::new());
    }
    assert!(notes(&[("*", NOTHING)])[0].ends_with("is let in unchecked, from any registry"));
    assert_eq!(notes(&[("r.io/*", NOTHING), ("*", TRUST)]), Vec::<String>::new());
}

/// The notes on several policies, each a name (with its namespace, if it has one) and its `repositories`.
fn among(policies: &[(&str, &str)]) -> (PolicySet, Vec<String>) {
    let document = |(name, repositories): &(&str, &str)| {
        let (kind, metadata) = match name.split_once('/') {
            Some((namespace, name)) => ("ImagePolicy", format!("{{name: {name}, namespace: {namespace}}}")),
            None => ("ClusterImagePolicy", format!("{{name: {name}}}")),
        };
        format!(
            "apiVersion: portreeve/v1\nkind: {kind}\nmetadata: {metadata}\nspec: {{repositories: [{repositories}]}}\n"
        )
    };
    let data = policies.iter().enumerate().map(|(number, policy)| (format!("{number}.yaml"), document(policy)));
    let set = check_data(&data.collect(), &Owner::Site).unwrap();
    let notes = set.notes().iter().map(ToString::to_string).collect();
    (set, notes)
}

/// CASES.md, F3: the first policy that stays beside the site's own.
#[test]
fn everything_unchecked_beside_other_policies_is_told() {
    let star = "{name: \"*\"}";
    let (set, notes) = among(&[("first-install", star), ("site", "{name: r.io/*, policy: {deny: {message: no}}}")]);
    assert_eq!(
        notes,
        [
            "0.yaml:4:23: ClusterImagePolicy first-install stands beside 1 other policy, and lets in unchecked every image that \
          they do not name; if it is left from the installation, remove it"
        ]
    );
    assert_eq!(set.everything_unchecked_beside_others(), (true, 0));
    // Alone it is what its author wants, and so it is in one policy with other patterns, or in another scope.
    for policies in [
        vec![("a", star)],
        vec![("a", "{name: r.io/*}, {name: \"*\"}")],
        vec![("a", star), ("line-1/b", "{name: r.io/*}")],
        vec![("a", "{name: r.io/*}"), ("b", "{name: \"*\", policy: {trust: {enabled: true}}}")],
    ] {
        let (set, notes) = among(&policies);
        assert!(!notes.iter().any(|note| note.contains("beside")), "{notes:?}");
        assert_eq!(set.everything_unchecked_beside_others(), (false, 0), "{policies:?}");
    }
    let (set, notes) = among(&[("line-1/a", star), ("line-1/b", "{name: r.io/a}"), ("line-1/c", "{name: r.io/b}")]);
    assert!(notes[0].contains("ImagePolicy line-1/a stands beside 2 other policies"), "{notes:?}");
    assert_eq!(set.everything_unchecked_beside_others(), (false, 1));
}

#[test]
fn what_is_never_reached_is_told() {
    let (plc, hmi) = ("{name: r.io/plc}", "{name: r.io/hmi}");
    // The same pattern with the same policy.
    let (_, notes) = among(&[("a", plc), ("b", &format!("{hmi}, {plc}"))]);
    assert_eq!(
        notes,
        [
            "1.yaml:4:41: pattern \"r.io/plc\" does nothing here: ClusterImagePolicy a (0.yaml:4:23) has it with the same \
          policy; remove one of the two"
        ]
    );
    // The same policy.
    let (set, notes) = among(&[("line-1/a", plc), ("line-1/a", plc)]);
    assert_eq!(
        notes,
        ["1.yaml:1:1: ImagePolicy line-1/a does nothing here: 0.yaml:1:1 has the same; remove one of the two"]
    );
    assert_eq!(set.len(), 1);
    // No rules beside rules. Alone, such a policy denies everything.
    let (_, notes) = among(&[("a", plc), ("b", "")]);
    assert!(notes.len() == 1 && notes[0].starts_with("1.yaml:1:1: ClusterImagePolicy b does nothing: "), "{notes:?}");
    for policies in [vec![("b", "")], vec![("line-1/b", ""), ("a", plc)], vec![("a", ""), ("b", "")]] {
        let notes = among(&policies).1;
        let empty = policies.iter().filter(|(_, rules)| rules.is_empty()).count();
        let denies = |note: &String| note.ends_with(": this policy has no repositories: every image is denied");
        assert!(notes.len() == empty && notes.iter().all(denies), "{policies:?}: {notes:?}");
    }
    // Portreeve's own namespace.
    let (set, _) = among(&[("portreeve/a", plc), ("line-1/a", plc)]);
    let note = set.exempt("portreeve").unwrap().to_string();
    assert!(note.contains("ImagePolicy portreeve/a does nothing: it is for Portreeve's own namespace"), "{note}");
    assert_eq!(set.exempt("default"), None);
}

#[test]
fn trust_servers_that_end_or_look_odd_are_told() {
    let trust = |more: &str| format!("trust: {{enabled: true, {more}}}");
    let hub = "8 December 2026";
    let remap = "remap: {prefix: \"r.io/hub/\", signedPrefix: \"docker.io/\"}";
    for (pattern, policy, expected) in [
        (
            "docker.io/*",
            trust("roots: [{keyId: a111111111111111111111111111111111111111111111111111111111111111}]"),
            hub,
        ),
        ("nginx", trust("trustServer: \"\""), hub),
        ("r.io/*", trust("trustServer: \"https://notary.docker.io\""), hub),
        ("r.io/hub/*", trust(remap), hub),
        ("r.io/*", trust("trustServer: \"https://n.io/v2/\""), "ends before /v2"),
    ] {
        let found = notes(&[(pattern, &policy)]);
        assert!(found.len() == 1 && found[0].contains(expected), "{pattern} {policy}: {found:?}");
    }
    let idle =
        ["p.yaml:6:5: remap changes no image of pattern \"r.io/plant/*\": none is under its prefix \"r.io/hub/\""];
    assert_eq!(notes(&[("r.io/plant/*", &trust(remap))]), idle);
    for pattern in ["other.io/hub/*", "r.io:5000/hub/*", "r.io/hub", "r.io/hubs*", "*.r.io/*"] {
        assert!(notes(&[(pattern, &trust(remap))])[0].contains("remap changes no image"), "{pattern}");
    }
    for pattern in ["r.io/*", "r.io:443/hub/nginx:v*", "*/hub/*", "r.io/h*", "r.io/*/nginx", "r.io/hub/a/b", "*"] {
        assert!(notes(&[(pattern, &trust(remap))])[0].contains(hub), "{pattern}");
    }
    assert_eq!(notes(&[("docker.io/*", TRUST), ("r.io/*", &trust("trustServer: \"\""))]), Vec::<String>::new());
}

#[test]
fn only_rules_that_need_docker_s_server_are_told_that_it_ends() {
    const COSIGN: &str = "cosign: {signerSecrets: [{name: s}]}";
    let all = |text: &str| text.replace('C', COSIGN).replace('T', "trust: {enabled: true}");
    for policy in ["T", "C, T", "anyOf: [{T}]", "anyOf: [{T}, {T, C}]", "T, anyOf: [{C}, {T}]", "mode: warn, T"] {
        let found = notes(&[("docker.io/*", &all(policy))]);
        assert!(found.len() == 1, "{policy}: {found:?}");
        // A denial says the same. It is true before that day and after it.
        let words = ["this rule names no trust server", crate::schemes::notary::trust_server::DOCKER_HUB_ENDS];
        assert!(words.iter().all(|word| found[0].contains(word)), "{policy}: {found:?}");
    }
    for policy in ["C", "anyOf: [{C}, {T}]", "anyOf: [{T}, {C}]"] {
        assert_eq!(notes(&[("docker.io/*", &all(policy))]), Vec::<String>::new(), "{policy}");
    }
    let named = "anyOf: [{C}, {trust: {enabled: true, trustServer: \"https://notary.docker.io\"}}]";
    let found = notes(&[("r.io/*", &all(named))]);
    assert!(found.len() == 1 && found[0].contains("8 December 2026") && found[0].contains("cosign"), "{found:?}");
}

/// A weaker setting is said aloud, wherever in a policy it is.
#[test]
fn a_certificate_that_no_log_has_is_told() {
    let cosign = |more: &str| {
        format!("{{signers: [{{name: ci, issuer: a, subject: b}}], trustedRoot: plant, sameRepository: true{more}}}")
    };
    let count = |more: &str| {
        let policy = format!("anyOf: [{{{TRUST}}}, {{cosign: {}}}]", cosign(more));
        let found = notes(&[("r.io/*", &policy)]);
        found.iter().filter(|note| note.contains("with \"certificateTransparency: ignored\"")).count()
    };
    assert_eq!([", certificateTransparency: ignored", ", certificateTransparency: required", ""].map(count), [1, 0, 0]);
}

#[test]
fn cosign_rules_are_told_only_that_bundles_name_no_repository() {
    let told = "with \"sameRepository\", only signatures of cosign's old format count";
    let cosign = |more: &str| format!("{{signerSecrets: [{{name: s}}, {{name: t}}], {more}}}");
    for policy in [
        format!("cosign: {}", cosign("sameRepository: true")),
        format!("anyOf: [{{{TRUST}}}, {{cosign: {}}}]", cosign("sameRepository: true")),
    ] {
        let found = notes(&[("r.io/*", &policy)]);
        assert!(found.len() == 1 && found[0].starts_with(&format!("p.yaml:6:5: {told}")), "{found:?}");
    }
    // One of several signers is legal, and so is a tag whose newest image nobody vouches for.
    for more in ["sameRepository: false", "threshold: 1", "whenUnavailable: useCached, maxStale: 24h"] {
        for pattern in ["r.io/*", "*", "r.io/plc:latest", "nginx"] {
            assert_eq!(
                notes(&[(pattern, &format!("cosign: {}", cosign(more)))]),
                Vec::<String>::new(),
                "{pattern} {more}"
            );
        }
    }
    // A check of some tags is one, whatever its scheme.
    let found = notes(&[("r.io/plc:v*", &format!("cosign: {}", cosign(""))), ("r.io/*", NOTHING)]);
    assert!(found.len() == 1 && found[0].contains("asks for a check of some tags"), "{found:?}");
}

#[test]
fn a_flood_of_notes_is_cut() {
    let patterns: Vec<String> = (0..1_000).map(|n| format!("r{n}.io")).collect();
    let rules: Vec<(&str, &str)> = patterns.iter().map(|pattern| (pattern.as_str(), TRUST)).collect();
    assert!((200..205).contains(&notes(&rules).len()));
}

/// One ConfigMap has room for thousands of rules for one name, and each would be compared with all others.
#[test]
fn a_crowd_of_rules_for_one_name_takes_no_minutes() {
    const RULES: usize = 4_000;
    let mut text =
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: c}\nspec:\n  repositories:\n".to_owned();
    (0..RULES).for_each(|n| text.push_str(&format!("  - {{name: \"r.io/a:v{n:05}*\", policy: {{{TRUST}}}}}\n")));
    let (documents, _) = crate::policy::document::read_text(&text, std::path::Path::new("f"));
    let rules = Rules::build(documents, Vec::new(), &mut Vec::new());
    assert_eq!(rules.ranked().len(), RULES);
    let compared = rules.notes(&mut Vec::new());
    assert!((MAX_COMPARED..MAX_COMPARED + 2 * RULES).contains(&compared), "{compared}");
}
