use std::path::Path;
use std::time::Duration;

use portreeve_test_support::certificates::Leaf;
use portreeve_test_support::signer::Key;

use super::*;
use crate::schemes::UnavailableRule;

/// cosign can make such a key, and cosign 3.1.3 does not verify with it by default.
const P521: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAdE921QS0PbNxDg5P5vejD0szDQcV
eAO+iIbGm6/B4u2DxqHdPhAI7PFVpQGR5wNCpgVpkUUizJVb++/e2FHQpBgBw3As
hn+75KjXAmH+1ggf/nfu6hn50+BYzvfw9s0BabRBlMOLxgH2nNEN5CAU8oO+8JBW
4uBttus89JPnzSvmxx8=
-----END PUBLIC KEY-----
";

/// Reads the text of a `cosign`.
fn read(text: &str) -> Result<Rule, Vec<String>> {
    let nodes = crate::yaml::tree::parse(text, crate::yaml::tree::Caps::FILE).unwrap();
    let mut problems = Problems::new(Path::new("f"));
    let rule = super::read(&nodes[0], &mut problems);
    let problems: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(rule.unwrap()) } else { Err(problems) }
}

/// An entry of `signers`.
fn signer(name: &str, pem: &str) -> String {
    format!("{{name: \"{name}\", publicKey: {}}}", serde_json::to_string(pem).unwrap())
}

/// `signers` with a key each, and other fields.
fn with(names: &[&str], more: &str) -> String {
    let signers: Vec<String> = names.iter().map(|name| signer(name, &Key::p256().public_pem())).collect();
    format!("{{signers: [{}], {more}}}", signers.join(", "))
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
    let keys = [Key::p256(), Key::ed25519()];
    let text = format!(
        "{{signers: [{}, {}], signerSecrets: [{{name: cosign-pub}}, {{name: cosign-pub}}], threshold: 2, annotations: {{line: \"1\", \
         a.b/c: \"\"}}, sameRepository: true, transparencyLog: ignored, whenUnavailable: useCached, maxStale: 24h}}",
        signer("release", &keys[0].public_pem()),
        signer("ci@plant.example", &keys[1].public_pem())
    );
    let rule = read(&text).unwrap();
    let names: Vec<&str> = rule.signers.iter().map(|signer| signer.name.as_str()).collect();
    assert_eq!(names, ["release", "ci@plant.example"]);
    let ids = keys.map(|key| SigstoreKey::from_pem(&key.public_pem()).unwrap().id());
    assert_eq!(rule.signers.iter().map(|signer| signer.by.id()).collect::<Vec<_>>(), ids);
    assert_eq!(rule.signer_secrets, ["cosign-pub"]);
    assert_eq!(rule.threshold, Some(2));
    let annotations: Vec<_> = rule.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(annotations, [("a.b/c", ""), ("line", "1")]);
    assert!(rule.same_repository);
    assert_eq!(rule.when_unavailable, Some(UnavailableRule::UseCached));
    assert_eq!(rule.max_stale, Some(Duration::from_secs(86_400)));
}

#[test]
fn absent_fields_ask_for_all_signers_and_for_nothing_else() {
    let rule = read("{signerSecrets: [{name: a}]}").unwrap();
    assert_eq!((rule.threshold, rule.same_repository), (None, false));
    assert!(rule.signers.is_empty() && rule.annotations.is_empty());
    assert_eq!((rule.when_unavailable, rule.max_stale), (None, None));
}

#[test]
fn one_of_several_signers_is_enough_where_the_policy_says_so() {
    assert_eq!(read(&with(&["a", "b", "c"], "threshold: 1")).unwrap().threshold, Some(1));
    assert_eq!(read(&with(&["a"], "signerSecrets: [{name: s}], threshold: 2")).unwrap().threshold, Some(2));
}

#[test]
fn a_rule_without_a_key_is_refused() {
    const MISSING: &str = "\"signers\" is missing from policy.cosign; name each signer with its publicKey, or with its issuer and subject, or the Secrets";
    for text in ["{}", "{threshold: 1}", "{annotations: {a: b}}"] {
        refused(text, &[MISSING]);
    }
    for text in ["{signerSecrets: []}", "{signerSecrets: null}"] {
        refused(text, &[MISSING, "\"signerSecrets\" is empty"]);
    }
    for text in ["{signers: []}", "{signers: null}", "{signers: [], signerSecrets: [{name: s}]}"] {
        refused(text, &["\"signers\" is empty; name the signers, or remove it: then only signerSecrets name some"]);
    }
    for text in ["true", "[]", "text"] {
        refused(text, &["\"policy.cosign\" must be a mapping"]);
    }
}

/// The fields beside two signers, and what must be said.
const BAD_FIELDS: &[(&str, &str)] = &[
    ("threshold: 0", "\"threshold\" cannot be \"0\": it is from 1 to the number of signers, 2"),
    ("threshold: 3", "\"threshold\" cannot be \"3\": it is from 1 to the number of signers, 2"),
    ("signerSecrets: []", "\"signerSecrets\" is empty"),
    ("signerSecrets: null", "\"signerSecrets\" is empty"),
    ("threshold: null", "\"threshold\" is missing from policy.cosign"),
    ("sameRepository: null", "\"sameRepository\" is missing from policy.cosign"),
    ("threshold: 4, signerSecrets: [{name: s}, {name: s}]", "the number of signers, 3"),
    ("threshold: -1", "\"threshold\" cannot be \"-1\""),
    ("threshold: 1.5", "\"threshold\" cannot be \"1.5\""),
    ("threshold: 99999999999999999999", "\"threshold\" cannot be"),
    ("threshold: .inf", "\"threshold\" cannot be"),
    ("threshold: \"1\"", "\"threshold\" must be a number, and is a string; write it without quotes"),
    ("threshold: all", "\"threshold\" must be a number, and is a string"),
    ("threshold: true", "\"threshold\" must be a number, and is true or false"),
    ("sameRepository: \"true\"", "\"sameRepository\" must be true or false, and is a string"),
    ("annotations: {}", "\"annotations\" is empty; name the annotations, or remove it: then signatures without any"),
    ("annotations: null", "\"annotations\" is empty"),
    ("annotations: [a]", "\"annotations\" must be a mapping, and is a list"),
    ("annotations: {a: true}", "\"a\" must be a string, and is true or false; put it in quotes"),
    ("annotations: {a: null}", "\"a\" must be a string, and is nothing"),
    ("annotations: {a: [b]}", "\"a\" must be a string, and is a list"),
    (
        "annotations: {a: b, threshold: 1}",
        "\"threshold\" does not belong in policy.cosign.annotations; it belongs under policy.cosign",
    ),
    (
        "annotations: {a: b, sameRepository: \"true\"}",
        "\"sameRepository\" does not belong in policy.cosign.annotations",
    ),
    ("maxStale: 24h", "\"maxStale\" has no effect where stored data is never used"),
    ("whenUnavailable: useCached, maxStale: 0s", "\"maxStale\" must be above zero"),
    ("whenUnavailable: admit", "\"whenUnavailable\" cannot be \"admit\"; it is \"deny\" or \"useCached\""),
    ("signerSecrets: [{name: ../x}]", "\"name\" cannot be \"../x\""),
    ("signerSecrets: [{name: s, key: k}]", "unknown field \"key\" in an entry of policy.cosign.signerSecrets"),
    ("signerSecrets: s", "\"signerSecrets\" must be a list, and is a string"),
    ("enabled: true", "\"enabled\" does not belong in policy.cosign; cosign is checked wherever it is written"),
    ("enabled: false", "\"enabled\" does not belong in policy.cosign; cosign is checked wherever it is written"),
    ("treshold: 1", "unknown field \"treshold\" in policy.cosign; did you mean \"threshold\"?"),
    ("publicKey: x", "\"publicKey\" does not belong in policy.cosign; it belongs under an entry of signers"),
    ("roots: []", "\"roots\" does not belong in policy.cosign; it belongs under policy.trust"),
    ("trustServer: x", "\"trustServer\" does not belong in policy.cosign"),
    ("mode: warn", "\"mode\" does not belong in policy.cosign; it belongs under policy: check the indentation"),
    ("trust: {enabled: true}", "\"trust\" does not belong in policy.cosign; it belongs under policy"),
    ("cosign: {}", "\"cosign\" does not belong in policy.cosign; it belongs under policy"),
    ("transparencyLog: off", "\"transparencyLog\" cannot be \"off\"; it is \"required\" or \"ignored\""),
    ("transparencyLog: true", "\"transparencyLog\" must be \"required\" or \"ignored\", and is true or false"),
    ("issuer: x", "\"issuer\" does not belong in policy.cosign; it belongs under an entry of policy.cosign.signers"),
];

#[test]
fn every_mistake_is_told_by_its_name() {
    for (fields, expected) in BAD_FIELDS {
        refused(&with(&["a", "b"], fields), &[expected]);
    }
}

#[test]
fn scheme_row_045_an_annotation_that_is_a_number_is_refused_when_loaded() {
    refused(
        &with(&["a"], "annotations: {build: 42}"),
        &["\"build\" must be a string, and is a number; put it in quotes"],
    );
    let rule = read(&with(&["a"], "annotations: {build: \"42\"}")).unwrap();
    assert_eq!(rule.annotations["build"], "42");
}

#[test]
fn scheme_row_037_a_p521_key_is_refused_by_name_when_loaded() {
    let problems = read(&format!("{{signers: [{}]}}", signer("a", P521))).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("f:1:35: the signer's key cannot be used: "), "{problems:?}");
    assert!(problems[0].contains("P-521"), "{problems:?}");
}

#[test]
fn a_key_that_cannot_be_used_is_told_with_its_place() {
    let key = Key::p256();
    let twice = format!("{0}{0}", key.public_pem());
    let certificate = Leaf::new("a").self_signed(&key);
    for (pem, expected) in
        [(key.private_pem(), "private key"), ("rubbish".into(), "PEM"), (twice, "2"), (certificate, "certificate")]
    {
        let problems = read(&format!("{{signers: [{}]}}", signer("a", &pem))).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("f:1:35: the signer's key cannot be used: "), "{problems:?}");
        assert!(problems[0].contains(expected), "{expected}: {problems:?}");
    }
}

#[test]
fn scheme_row_048_a_signer_or_a_key_that_is_listed_twice_is_refused() {
    let (one, other) = (Key::p256().public_pem(), Key::p256().public_pem());
    let both = |first: (&str, &str), second: (&str, &str)| {
        format!("signers:\n- {}\n- {}\nthreshold: 2\n", signer(first.0, first.1), signer(second.0, second.1))
    };
    let twice = "f:3:3: signer \"a\" stands twice, first on line 2; give each key or identity a signer of its own";
    refused(&both(("a", &one), ("a", &other)), &[twice]);
    refused(&both(("a", &one), ("a", &one)), &[twice]);
    refused(
        &both(("a", &one), ("b", &one)),
        &["f:3:3: signer \"b\" has the key of signer \"a\" on line 2; a key counts once: list it once"],
    );
    assert_eq!(read(&both(("a", &one), ("b", &other))).unwrap().signers.len(), 2);
}

#[test]
fn a_signer_s_name_can_be_printed() {
    for name in ["release", "Alice.B", "ci@plant.example", "https://github.com/plant", "k-1_2+3"] {
        assert!(read(&with(&[name], "")).is_ok(), "{name}");
    }
    let long = "a".repeat(MAX_SIGNER + 1);
    for name in ["a b", "a,b", "ä", "a\\tb", "\\e[31m", &long] {
        refused(&with(&[name], ""), &["a signer's name has at most 128 letters"]);
    }
    refused(&with(&[""], ""), &["\"name\" is missing from an entry of policy.cosign.signers"]);
    refused("{signers: [{name: a}]}", &["\"publicKey\" is missing from an entry of policy.cosign.signers"]);
    refused("{signers: [a]}", &["\"an entry of policy.cosign.signers\" must be a mapping, and is a string"]);
    refused("{signers: {name: a}}", &["\"signers\" must be a list, and is a mapping"]);
    refused("{signers: [{name: a, key: b}]}", &["f:1:12", "unknown field \"key\""]);
}

const ISSUER: &str = "https://issuer.plant.example";

/// An entry of `signers` with an identity.
fn identity(name: &str, subject: &str) -> String {
    format!("{{name: {name}, issuer: \"{ISSUER}\", subject: \"{subject}\"}}")
}

#[test]
fn an_identity_stands_in_the_place_of_a_key() {
    let build = "https://git.plant.example/build.yml@refs/tags/*";
    let key = signer("release", &Key::p256().public_pem());
    let rule = read(&format!("{{signers: [{}, {key}], threshold: 1, trustedRoot: plant}}", identity("ci", build)));
    let rule = rule.unwrap();
    let ci = rule.signers[0].by.identity().unwrap();
    assert_eq!((ci.issuer().as_str(), ci.subject().as_str()), (ISSUER, build));
    assert!(rule.signers[1].by.key().is_some());
    assert_eq!(rule.trusted_root.as_deref(), Some("plant"));
    // A log must always have what an identity signs; of keys it is asked where the policy says so.
    assert!(!rule.log_required && !rule.ignores_certificate_transparency);
    let rule =
        |fields: &str| read(&format!("{{signers: [{}], trustedRoot: a.b_C-1, {fields}}}", identity("ci", build)));
    assert!(rule("transparencyLog: required").unwrap().log_required);
    assert!(rule("certificateTransparency: ignored").unwrap().ignores_certificate_transparency);
    assert!(!rule("certificateTransparency: required").unwrap().ignores_certificate_transparency);
    assert_eq!(rule("signerSecrets: [{name: s}], threshold: 2").unwrap().threshold, Some(2));
}

#[test]
fn scheme_row_074_half_an_identity_is_refused_when_loaded() {
    const HALF: &str = "an identity has both an issuer and a subject";
    let with = |signer: &str| format!("{{signers: [{{name: ci, {signer}}}], trustedRoot: plant}}");
    for (signer, expected) in [
        ("subject: a", "\"issuer\" is missing from an entry of policy.cosign.signers; an identity has both"),
        ("issuer: a", "\"subject\" is missing from an entry of policy.cosign.signers; an identity has both"),
        ("issuer: a, subject: \"\"", HALF),
        ("issuer: null, subject: a", HALF),
        ("issuer: a, subject: null", HALF),
        (
            "issuer: \"*\", subject: a",
            "the signer's identity cannot be used: issuer: \"*\" alone is not allowed: name the issuer",
        ),
        (
            "issuer: a, subject: \"**\"",
            "the signer's identity cannot be used: subject: \"*\" alone is not allowed: name the subject",
        ),
        ("issuer: a, subject: \"b\\n\"", "characters that cannot be seen"),
        ("issuer: 1, subject: a", "\"issuer\" must be a string, and is a number"),
        ("issuer: [a], subject: a", "\"issuer\" must be a string, and is a list"),
    ] {
        refused(&with(signer), &[expected]);
    }
    refused(&with("issuer: null, subject: null"), &[HALF, HALF]);
}

#[test]
fn a_signer_is_a_key_or_an_identity_and_never_both() {
    let pem = serde_json::to_string(&Key::p256().public_pem()).unwrap();
    for more in [&format!("publicKey: {pem}"), "publicKey: null"] {
        let text = format!("{{signers: [{{name: ci, issuer: a, subject: b, {more}}}], trustedRoot: plant}}");
        refused(&text, &["the signer has both a key and an identity; make two signers of it"]);
    }
    // A field of an identity that is left over makes it no key.
    let text = format!("{{signers: [{{name: ci, publicKey: {pem}, issuer: null}}], trustedRoot: plant}}");
    assert!(read(&text).is_err());
}

#[test]
fn scheme_row_048_an_identity_that_is_listed_twice_is_refused() {
    let text = format!("{{signers: [{}, {}], trustedRoot: plant}}", identity("a", "x"), identity("b", "x"));
    refused(&text, &["signer \"b\" has the identity of signer \"a\" on line 1; an identity counts once: list it once"]);
    let text = format!("{{signers: [{}, {}], trustedRoot: plant}}", identity("a", "x"), identity("a", "y"));
    refused(&text, &["signer \"a\" stands twice"]);
}

#[test]
fn scheme_row_051_a_demanded_log_needs_a_trusted_root() {
    for names in [&["a"][..], &["a", "b"]] {
        refused(
            &with(names, "transparencyLog: required"),
            &["\"trustedRoot\" is missing from policy.cosign; identities and logs are verified by a trusted_root.json"],
        );
        let rule = read(&with(names, "transparencyLog: required, trustedRoot: plant")).unwrap();
        assert!(rule.log_required);
        assert_eq!(rule.trusted_root.as_deref(), Some("plant"));
    }
    let text = "{signerSecrets: [{name: s}], transparencyLog: required, trustedRoot: plant}";
    assert!(read(text).unwrap().log_required);
    refused(
        &format!("{{signers: [{}]}}", identity("ci", "x")),
        &["\"trustedRoot\" is missing from policy.cosign; identities and logs are verified by a trusted_root.json"],
    );
}

#[test]
fn what_would_have_no_effect_is_refused() {
    for fields in ["trustedRoot: plant", "transparencyLog: ignored, trustedRoot: plant"] {
        refused(
            &with(&["a"], fields),
            &["\"trustedRoot\" has no effect on signatures of keys; identities and logs are verified by it"],
        );
    }
    for fields in ["certificateTransparency: required", "certificateTransparency: ignored"] {
        refused(&with(&["a"], fields), &["\"certificateTransparency\" has no effect on signatures of keys"]);
        let logged = format!("transparencyLog: required, trustedRoot: plant, {fields}");
        refused(&with(&["a"], &logged), &["\"certificateTransparency\" has no effect on signatures of keys"]);
    }
    let ignored = format!("{{signers: [{}], trustedRoot: plant, transparencyLog: ignored}}", identity("ci", "x"));
    refused(&ignored, &["\"transparencyLog\" cannot be \"ignored\"; it is \"required\" where a signer has an issuer"]);
}

/// What another field makes of it is not known yet.
#[test]
fn a_trusted_root_is_not_called_needless_beside_a_fault() {
    let more = "trustedRoot: plant, certificateTransparency: required";
    refused(&format!("{{{more}}}"), &["\"signers\" is missing"]);
    refused(&format!("{{signer: [{}], {more}}}", identity("ci", "x")), &["\"signers\" is missing", "unknown field"]);
    refused(&format!("{{signers: [{{name: a}}], {more}}}"), &["\"publicKey\" is missing"]);
    refused(&with(&["a"], "transparencyLog: yes, trustedRoot: plant"), &["\"transparencyLog\" cannot be \"yes\""]);
    refused(&with(&["a"], "transparencyLog: true, trustedRoot: plant"), &["\"transparencyLog\" must be"]);
}

#[test]
fn a_trusted_root_with_the_ending_of_its_file_is_told_by_its_name() {
    let text = format!("{{signers: [{}], trustedRoot: plant.json}}", identity("ci", "x"));
    refused(&text, &["\"trustedRoot\" cannot be \"plant.json\"; write \"plant\""]);
}

/// A value that is missing must not become the weaker one.
#[test]
fn a_field_without_a_value_is_refused() {
    let with = |field: &str| format!("{{signers: [{}], {field}}}", identity("ci", "x"));
    for field in ["trustedRoot: null", "trustedRoot: \"\""] {
        refused(&with(field), &["\"trustedRoot\" is missing from policy.cosign"]);
    }
    for field in ["transparencyLog", "certificateTransparency"] {
        let expected =
            format!("\"{field}\" is missing from policy.cosign; write \"required\" or \"ignored\", or remove it");
        refused(&with(&format!("trustedRoot: plant, {field}: null")), &[&expected]);
    }
}

#[test]
fn the_name_of_a_trusted_root_is_that_of_a_file() {
    let with = |name: &str| format!("{{signers: [{}], trustedRoot: \"{name}\"}}", identity("ci", "x"));
    for name in ["plant", "public-good", "a.b_C-1"] {
        assert!(read(&with(name)).is_ok(), "{name}");
    }
    for name in ["../plant", "a/b", ".plant", "a b", "ä", &"a".repeat(129)] {
        refused(&with(name), &["it is the name of a file in the directory sigstore.trustedRoots, without \".json\""]);
    }
    refused(&with("plant").replace("\"plant\"", "[plant]"), &["\"trustedRoot\" must be a string, and is a list"]);
}

/// Each signer is compared with all others.
#[test]
fn lists_have_an_end() {
    let many = |count: usize, entry: &dyn Fn(usize) -> String| (0..count).map(entry).collect::<Vec<_>>().join(", ");
    let signers = format!("{{signers: [{}]}}", many(101, &|n| format!("{{name: s{n}, publicKey: x}}")));
    refused(&signers, &["f:1:11: \"signers\" has more than 100 entries"]);
    let secrets = |count| format!("{{signerSecrets: [{}]}}", many(count, &|n| format!("{{name: s{n}}}")));
    refused(&secrets(101), &["f:1:17: \"signerSecrets\" has more than 100 entries"]);
    assert_eq!(read(&secrets(100)).unwrap().signer_secrets.len(), 100);
    let annotations = format!("annotations: {{{}}}", many(101, &|n| format!("a{n}: b")));
    refused(&with(&["a"], &annotations), &["\"annotations\" has more than 100 entries"]);
}
