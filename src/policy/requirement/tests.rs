use std::path::Path;

use super::*;

/// Reads the text of a `policy`.
fn read(text: &str) -> Result<Requirement, Vec<String>> {
    let nodes = crate::yaml::tree::parse(text, crate::yaml::tree::Caps::FILE).unwrap();
    let mut problems = Problems::new(Path::new("f"));
    let requirement = read_requirement(&nodes[0], &mut problems);
    let problems: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(requirement.unwrap()) } else { Err(problems) }
}

#[test]
fn a_denial_stands_alone_and_has_a_message() {
    let denied = |text: &str| match read(text) {
        Ok(Requirement::Denied(why)) => why,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(denied("deny: {message: \" use the site's mirror \"}"), "use the site's mirror");
    assert_eq!(denied(&format!("deny: {{message: {}}}", "x".repeat(MAX_DENIAL))).len(), MAX_DENIAL);
    for (text, expected) in [
        ("deny: {}", "\"message\" is missing from policy.deny; say why"),
        ("deny: {message: \"\"}", "\"message\" is missing from policy.deny"),
        ("deny: {message: \"  \"}", "\"message\" is missing from policy.deny"),
        ("deny: {message: null}", "\"message\" is missing"),
        ("deny: {message: 7}", "\"message\" must be a string"),
        ("deny:", "\"policy.deny\" must be a mapping, and is nothing"),
        ("deny: true", "\"policy.deny\" must be a mapping"),
        ("deny: {message: x, mode: warn}", "\"mode\" does not belong in policy.deny"),
        ("{deny: {message: x}, mode: warn}", "\"mode\" stands beside a denial"),
        ("{deny: {message: x}, mode: enforce}", "\"mode\" stands beside a denial"),
        ("{deny: {message: x}, mutateImage: false}", "\"mutateImage\" stands beside a denial"),
        ("{deny: {message: x}, trust: {enabled: true}}", "\"trust\" stands beside a denial"),
        ("{deny: {message: x}, simple: {}}", "\"simple\" stands beside a denial"),
        ("message: x", "\"message\" does not belong in policy; it belongs under policy.deny"),
    ] {
        let problems = read(text).unwrap_err();
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
    }
    let long = format!("deny: {{message: {}}}", "x".repeat(MAX_DENIAL + 1));
    assert!(read(&long).unwrap_err()[0].contains("more than 500 characters"));
}

/// What Portieris refuses every image by.
#[test]
fn the_requirement_reject_denies() {
    for text in [
        "simple: {requirements: [{type: reject}]}",
        "simple: {requirements: [{type: insecureAcceptAnything}, {type: reject}]}",
        "{simple: {requirements: [{type: reject}]}, mode: enforce, mutateImage: false}",
        "{simple: {requirements: [{type: reject}], storeURL: x}, trust: {enabled: true}, vulnerability: {}}",
        "{simple: {requirements: [{type: reject}]}, trust: {enabled: false}}",
    ] {
        assert!(matches!(read(text), Ok(Requirement::Denied(_))), "{text}: {:?}", read(text));
    }
    for (text, expected) in [
        ("{simple: {requirements: [{type: reject}]}, mode: warn}", "\"mode\" stands beside a denial"),
        ("simple: {requirements: [{type: reject}, {type: signedBy}]}", "\"simple: signedBy\" asks for a check"),
        ("{simple: {requirements: [{type: reject}]}, trust: {tust: 1}}", "unknown field"),
    ] {
        let problems = read(text).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:?}");
    }
}

/// An advice must say which checks it removes.
#[test]
fn no_advice_leads_to_less_without_saying_so() {
    for text in [
        "simple: {requirements: [{type: signedBy, keySecret: k}]}",
        "simple: {requirements: [{}]}",
        "va: {enabled: true}",
        "vulnerability: {ICCRVA: {enabled: true}}",
        "trust: {enabled: false, signers: [{name: a, publicKey: b}]}",
        "trust: {signerSecrets: [{name: a}]}",
        "mode: enforce",
        "trust: {}",
    ] {
        let problems = read(text).unwrap_err();
        let advice = problems.iter().find(|problem| problem.contains("unchecked"));
        assert!(advice.is_some(), "{text}: {problems:?}");
        assert!(!problems.iter().any(|problem| problem.contains("remove it;") || problem.ends_with("remove it")));
    }
}

#[test]
fn trust_without_a_body_is_not_trust_switched_off() {
    for text in ["trust:", "trust: {}", "trust: {enabled: null}"] {
        let problems = read(text).unwrap_err();
        assert!(problems[0].contains("\"enabled\" is missing from policy.trust"), "{problems:?}");
    }
    assert_eq!(read("trust: {enabled: false}"), Ok(Requirement::Nothing));
    assert_eq!(read("mutateImage: false"), Ok(Requirement::Nothing));
}
