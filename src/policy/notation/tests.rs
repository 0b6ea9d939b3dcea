use std::path::Path;
use std::time::Duration;

use super::*;
use crate::schemes::UnavailableRule;

/// Reads the text of a `notation`.
fn read(text: &str) -> Result<Rule, Vec<String>> {
    let nodes = crate::yaml::tree::parse(text, crate::yaml::tree::Caps::FILE).unwrap();
    let mut problems = Problems::new(Path::new("f"));
    let rule = super::read(&nodes[0], &mut problems);
    let problems: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(rule.unwrap()) } else { Err(problems) }
}

/// With these fields beside a store and an identity.
fn with(more: &str) -> String {
    format!("{{trustStores: [\"ca:plant\"], trustedIdentities: [\"*\"], {more}}}")
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let problems = read(text).unwrap_err();
    assert_eq!(problems.len(), expected.len(), "{text}: {problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{text}: {problem}\n{expected}");
    }
}

#[test]
fn every_field_is_read() {
    let rule = read(
        "{trustStores: [\"ca:plant\", \"signingAuthority:a.b_c-1\", \"tsa:plant\", \"ca:plant\"], trustedIdentities: \
         [\"x509.subject: C=US, ST=WA, O=Plant\"], verifyTimestamp: afterCertExpiry, revocation: skip, metadata: {line: \"1\"}, \
         whenUnavailable: useCached, maxStale: 24h}",
    )
    .unwrap();
    let names: Vec<String> = rule.stores.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ca:plant", "signingAuthority:a.b_c-1", "tsa:plant"]);
    assert_eq!(rule.identity_texts, ["x509.subject: C=US, ST=WA, O=Plant"]);
    assert_eq!(rule.identities, [Identity::parse("x509.subject: C=US, ST=WA, O=Plant").unwrap()]);
    assert!(rule.after_cert_expiry_only && rule.skips_revocation);
    assert_eq!(rule.metadata.get("line").map(String::as_str), Some("1"));
    assert_eq!(rule.when_unavailable, Some(UnavailableRule::UseCached));
    assert_eq!(rule.max_stale, Some(Duration::from_secs(86_400)));
}

#[test]
fn absent_fields_ask_for_the_stricter_value() {
    let rule = read(&with("")).unwrap();
    assert!(!rule.after_cert_expiry_only && !rule.skips_revocation && rule.metadata.is_empty());
    let written = read("{trustStores: [\"ca:plant\", \"tsa:t\"], trustedIdentities: [\"*\"], verifyTimestamp: always}");
    assert!(!written.unwrap().after_cert_expiry_only);
}

/// SCHEMES.md, row 112, is the identities' own; here they become load errors.
#[test]
fn scheme_row_112_identities_that_name_too_little_are_load_errors() {
    for identity in ["x509.subject: CN=Plant", "x509.subject: C=US, ST=WA, O=#0401", "C=US, ST=WA, O=Plant", ""] {
        let text = format!("{{trustStores: [\"ca:plant\"], trustedIdentities: [\"{identity}\"]}}");
        refused(&text, &["the trusted identity cannot be used: "]);
    }
    refused(
        "{trustStores: [\"ca:plant\"], trustedIdentities: [x509.subject: C=US]}",
        &[
            "\"trustedIdentities\" must be a string, and is a mapping; write each identity in quotes, such as [\"x509.subject: ",
        ],
    );
    // The rest of the subject is not told of as further identities.
    refused(
        "{trustStores: [\"ca:plant\"], trustedIdentities: [x509.subject: C=US, ST=WA, O=Plant]}",
        &["\"trustedIdentities\" must be a string, and is a mapping; write each identity in quotes"],
    );
}

#[test]
fn what_could_never_be_met_or_has_no_effect_is_refused() {
    refused("{}", &["\"trustStores\" is missing", "\"trustedIdentities\" is missing"]);
    for text in ["true", "[]", "text"] {
        refused(text, &["\"policy.notation\" must be a mapping"]);
    }
    for (text, expected) in [
        ("{trustStores: [], trustedIdentities: [\"*\"]}", "\"trustStores\" is empty; name at least one"),
        ("{trustStores: [\"ca:plant\"], trustedIdentities: null}", "\"trustedIdentities\" is empty"),
        ("{trustStores: ca:plant, trustedIdentities: [\"*\"]}", "\"trustStores\" must be a list"),
        ("{trustStores: [1], trustedIdentities: [\"*\"]}", "\"trustStores\" must be a string"),
        ("{trustStores: [\"plant\"], trustedIdentities: [\"*\"]}", "\"trustStores\" cannot be \"plant\"; it is a type"),
        ("{trustStores: [\"CA:plant\"], trustedIdentities: [\"*\"]}", "\"trustStores\" cannot be \"CA:plant\""),
        ("{trustStores: [\"ca:../x\"], trustedIdentities: [\"*\"]}", "\"trustStores\" cannot be \"ca:../x\""),
        (
            "{trustStores: [\"tsa:plant\"], trustedIdentities: [\"*\"]}",
            "a trust store of the type ca or signingAuthority\" is missing from policy.notation.trustStores; add one, such as \"ca:plant\"",
        ),
        (
            "{trustStores: [\"ca:plant\"], trustedIdentities: [\"*\", \"x509.subject: C=US, ST=WA, O=Plant\"]}",
            "\"trustedIdentities\" cannot be \"*\"; it is \"*\" alone",
        ),
    ] {
        refused(text, &[expected]);
    }
    for (more, expected) in [
        (
            "verifyTimestamp: always",
            "\"a trust store of the type tsa\" is missing from policy.notation.trustStores; add one, such as \"tsa:plant\"",
        ),
        ("revocation: soft", "\"revocation\" cannot be \"soft\"; it is \"strict\" or \"skip\""),
        ("metadata: {}", "\"metadata\" is empty; name the metadata, or remove it"),
        ("metadata: {a: 1}", "\"a\" must be a string, and is a number; put it in quotes"),
        ("metadata: {revocation: skip}", "\"revocation\" does not belong in policy.notation.metadata"),
        ("maxStale: 1h", "\"maxStale\" has no effect"),
        ("signers: []", "\"signers\" does not belong in policy.notation"),
        ("trustStore: x", "unknown field \"trustStore\" in policy.notation; did you mean \"trustStores\"?"),
    ] {
        refused(&with(more), &[expected]);
    }
    let many: Vec<String> = (0..=MAX_ENTRIES).map(|number| format!("\"ca:s{number}\"")).collect();
    let text = format!("{{trustStores: [{}], trustedIdentities: [\"*\"]}}", many.join(", "));
    refused(&text, &["\"trustStores\" has more than 100 entries"]);
}
