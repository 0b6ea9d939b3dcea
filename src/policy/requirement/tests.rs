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
        Ok(Requirement::Denied(why)) => why.text.strip_prefix("denied by policy: ").unwrap().to_owned(),
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

/// The alternatives of a policy, each with the schemes of its checks.
fn alternatives(text: &str) -> Vec<Vec<&'static str>> {
    let Ok(Requirement::Signed(signed)) = read(text) else { panic!("{text}: {:?}", read(text)) };
    signed.any_of.iter().map(|checks| checks.iter().map(Check::scheme).collect()).collect()
}

/// `cosign` with a key in a Secret.
const COSIGN: &str = "cosign: {signerSecrets: [{name: s}]}";
const TRUST: &str = "trust: {enabled: true}";

#[test]
fn checks_side_by_side_must_all_hold() {
    assert_eq!(alternatives(&format!("{{{COSIGN}}}")), [["cosign"]]);
    assert_eq!(alternatives(&format!("{{{COSIGN}, {TRUST}}}")), [["trust", "cosign"]]);
    assert_eq!(alternatives(&format!("{{{COSIGN}, trust: {{enabled: false}}}}")), [["cosign"]]);
    assert_eq!(
        alternatives(&format!("{{{COSIGN}, simple: {{requirements: []}}, va: {{enabled: false}}}}")),
        [["cosign"]]
    );
    for mode in ["enforce", "warn"] {
        let Ok(Requirement::Signed(signed)) = read(&format!("{{{COSIGN}, mode: {mode}, mutateImage: false}}")) else {
            panic!()
        };
        assert_eq!((signed.mode == Mode::Warn, signed.mutate_image), (mode == "warn", MutateImage::Nowhere));
    }
}

#[test]
fn images_are_pinned_everywhere_in_pods_or_nowhere() {
    let pinned = |field: &str| match read(&format!("{{{COSIGN}{field}}}")) {
        Ok(Requirement::Signed(signed)) => Ok(signed.mutate_image),
        Ok(other) => panic!("{other:?}"),
        Err(problems) => Err(problems),
    };
    for (field, expected) in [
        ("", MutateImage::Everywhere),
        (", mutateImage: true", MutateImage::Everywhere),
        (", mutateImage: pods", MutateImage::Pods),
        (", mutateImage: \"pods\"", MutateImage::Pods),
        (", mutateImage: false", MutateImage::Nowhere),
    ] {
        assert_eq!(pinned(field), Ok(expected), "{field}");
    }
    for (field, expected) in [
        (", mutateImage: pod", "\"mutateImage\" cannot be \"pod\"; it is true, false or \"pods\""),
        (", mutateImage: \"true\"", "\"mutateImage\" cannot be \"true\""),
        (", mutateImage: Pods", "\"mutateImage\" cannot be \"Pods\""),
        (", mutateImage: 1", "\"mutateImage\" must be true, false or \"pods\", and is a number"),
        (", mutateImage: [pods]", "\"mutateImage\" must be true, false or \"pods\", and is a list"),
    ] {
        let problems = pinned(field).unwrap_err();
        assert!(problems[0].contains(expected), "{field}: {problems:?}");
    }
}

#[test]
fn one_alternative_is_enough() {
    assert_eq!(alternatives(&format!("anyOf: [{{{COSIGN}}}, {{{TRUST}}}]")), [["cosign"], ["trust"]]);
    assert_eq!(alternatives(&format!("anyOf: [{{{COSIGN}, {TRUST}}}]")), [["trust", "cosign"]]);
    assert_eq!(alternatives(&format!("anyOf: [{{{COSIGN}, trust: {{enabled: false}}}}]")), [["cosign"]]);
    // What stands beside anyOf must hold as well.
    assert_eq!(
        alternatives(&format!("{{{TRUST}, anyOf: [{{{COSIGN}}}, {{{TRUST}}}]}}")),
        [["trust", "cosign"], ["trust", "trust"]]
    );
    assert_eq!(alternatives(&format!("{{trust: {{enabled: false}}, anyOf: [{{{COSIGN}}}]}}")), [["cosign"]]);
    let most = format!("{{{TRUST}, {COSIGN}, anyOf: [{}]}}", vec![format!("{{{TRUST}, {COSIGN}}}"); 8].join(", "));
    assert_eq!(alternatives(&most), vec![["trust", "cosign", "trust", "cosign"]; 8]);
}

#[test]
fn alternatives_that_cannot_be_meant_are_told() {
    for (text, expected) in [
        ("anyOf: []", "f:1:8: \"anyOf\" is empty; list the alternatives"),
        ("anyOf:", "\"anyOf\" is empty; list the alternatives"),
        ("anyOf: {cosign: x}", "\"anyOf\" must be a list, and is a mapping"),
        ("anyOf: [{}]", "f:1:9: an element of \"anyOf\" asks for no check; write \"cosign\" or \"notation\", or"),
        ("anyOf: [null]", "\"an element of policy.anyOf\" must be a mapping, and is nothing"),
        ("anyOf: [cosign]", "\"an element of policy.anyOf\" must be a mapping, and is a string"),
        (
            "anyOf: [{C}, {}]",
            "asks for no check; write \"cosign\" or \"notation\", or \"trust\" with \"enabled: true\": otherwise every image",
        ),
        ("anyOf: [{C}, {trust: {enabled: false}}]", "asks for no check"),
        ("anyOf: [{C}, {trust: null}]", "\"enabled\" is missing from policy.trust"),
        ("anyOf: [{C}, {cosign: null}]", "\"policy.cosign\" must be a mapping, and is nothing"),
        ("anyOf: [{C}, {cosign: {}}]", "\"signers\" is missing from policy.cosign"),
        ("anyOf: [{C}, {trust: {enabled: true, signers: []}}]", "\"signers\" is empty"),
        ("anyOf: [{C, mode: warn}]", "\"mode\" does not belong in an element of policy.anyOf; it belongs under policy"),
        ("anyOf: [{C, mutateImage: false}]", "\"mutateImage\" does not belong in an element of policy.anyOf"),
        ("anyOf: [{C, deny: {message: x}}]", "\"deny\" does not belong in an element of policy.anyOf"),
        (
            "anyOf: [{C, anyOf: [{C}]}]",
            "\"anyOf\" does not belong in an element of policy.anyOf; it belongs under policy",
        ),
        ("anyOf: [{C, va: {enabled: false}}]", "\"va\" does not belong in an element of policy.anyOf"),
        (
            "anyOf: [{C, signers: []}]",
            "\"signers\" does not belong in an element of policy.anyOf; it belongs under policy.trust or",
        ),
        (
            "anyOf: [{C}, {simple: {requirements: [{type: reject}]}}]",
            "\"simple\" asks for a check that is not supported",
        ),
        ("anyOf: [{C}, {simple: null}]", "\"simple\" asks for a check that is not supported"),
        ("anyOf: [{C}, {notation: {}}]", "\"trustStores\" is missing from policy.notation; name the site's stores"),
        (
            "anyOf: [{C}, {cosgn: {}}]",
            "unknown field \"cosgn\" in an element of policy.anyOf; did you mean \"cosign\"?",
        ),
        ("anyof: [{C}]", "unknown field \"anyof\" in policy; did you mean \"anyOf\"?"),
    ] {
        let problems = read(&text.replace('C', COSIGN)).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:#?}");
    }
    let nine = format!("anyOf: [{}]", vec![format!("{{{COSIGN}}}"); 9].join(", "));
    assert_eq!(read(&nine).unwrap_err(), ["f:1:8: \"anyOf\" has more than 8 entries"]);
}

/// One mistake and the whole policy is refused, whatever stands beside it.
#[test]
fn a_check_is_never_dropped_beside_another() {
    for (text, expected) in [
        ("{C, notation: {trustStores: [\"ca:plant\"]}}", "\"trustedIdentities\" is missing from policy.notation"),
        ("{C, notation: null}", "\"policy.notation\" must be a mapping, and is nothing"),
        ("{C, simple: {requirements: [{type: signedBy, keySecret: k}]}}", "\"simple: signedBy\" asks for a check"),
        ("{C, va: {enabled: true}}", "\"va\" asks for a check"),
        ("{C, trust: {}}", "\"enabled\" is missing from policy.trust"),
        (
            "{C, trust: {enabled: false, signerSecrets: [{name: a}]}}",
            "\"signerSecrets\" asks for a check while trust is not enabled",
        ),
        ("{C, deny: {message: x}}", "\"cosign\" stands beside a denial"),
        ("{anyOf: [{C}], deny: {message: x}}", "\"anyOf\" stands beside a denial"),
        ("{notation: {}, deny: {message: x}}", "\"notation\" stands beside a denial"),
        (
            "{C, threshold: 1}",
            "\"threshold\" does not belong in policy; it belongs under policy.cosign: check the indentation",
        ),
        (
            "{cosign: null, signers: []}",
            "\"signers\" does not belong in policy; it belongs under policy.trust or policy.cosign",
        ),
        ("{cosign: null, signers: []}", "\"policy.cosign\" must be a mapping, and is nothing"),
        ("{cosign: true}", "\"policy.cosign\" must be a mapping, and is true or false"),
        (
            "{trust: {enabled: true, C}}",
            "\"cosign\" does not belong in policy.trust; it belongs under policy: check the indentation",
        ),
        (
            "{trust: {enabled: true, threshold: 1}}",
            "\"threshold\" does not belong in policy.trust; it belongs under policy.cosign",
        ),
        ("{trust: {enabled: true, anyOf: []}}", "\"anyOf\" does not belong in policy.trust"),
        ("{simple: {requirements: [{type: reject}]}, cosign: {}}", "\"signers\" is missing from policy.cosign"),
        ("{simple: {requirements: [{type: reject}]}, anyOf: [{}]}", "asks for no check"),
    ] {
        let problems = read(&text.replace('C', COSIGN)).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:#?}");
    }
}
