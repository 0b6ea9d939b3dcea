//! Row 112: identities.

use portreeve_test_support::notation::name;

use super::*;
use crate::crypto::der::element;

/// Is a signer with this subject one of this identity?
fn meets(identity: &str, subject: Vec<u8>) -> bool {
    let chain = vec![Spec { subject, ..Spec::leaf("builder", Kind::P256) }.self_signed()];
    let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
    let mut policy = Policy::of(&[&chain[0]]);
    policy.identities = vec![Identity::parse(identity).unwrap()];
    match policy.signer_of(&envelope, NOW) {
        Ok(_) => true,
        Err(reason) => {
            assert_eq!(reason.code(), "other-identity");
            false
        }
    }
}

#[test]
fn scheme_row_112_an_identity_is_a_part_of_the_subject() {
    let subject = || name(&[("C", "US"), ("ST", "WA"), ("O", "Plant, Inc."), ("OU", "Line 1"), ("CN", "builder")]);
    for (identity, expected) in [
        ("x509.subject: C=US, ST=WA, O=Plant\\, Inc.", true),
        ("x509.subject:O=Plant\\, Inc.,C=US,S=WA", true),
        ("x509.subject: C=US, ST=WA, O=Plant\\2C\\20Inc., OU=Line 1, CN=builder", true),
        ("x509.subject:   C = US ,  ST= WA,O =Plant\\, Inc.  ", true),
        ("x509.subject: C=US; ST=WA; O=Plant\\, Inc.", true),
        ("*", true),
        ("x509.subject: C=US, ST=WA, O=Plant", false),
        ("x509.subject: C=US, ST=WA, O=plant\\, inc.", false),
        ("x509.subject: C=US, ST=WA, O=Plant\\, Inc.\\ ", false),
        ("x509.subject: C=US, ST=WA, O=Plant\\, Inc., CN=builder2", false),
        ("x509.subject: C=US, ST=WA, O=Plant\\, Inc., L=Tacoma", false),
        ("x509.subject: C=US, ST=WA, O=*", false),
    ] {
        assert_eq!(meets(identity, subject()), expected, "{identity}");
    }
    // Nobody is trusted by a policy without identities.
    let chain = self_signed(Kind::P256);
    let mut policy = Policy::of(&[&chain[0]]);
    policy.identities.clear();
    let (code, words) = policy.refusal(&jws(&Jws::new(IMAGE, &chain)).unwrap(), NOW);
    assert!(code == "other-identity" && words.contains("CN=builder,O=Plant,ST=WA,C=US"), "{words}");
}

#[test]
fn scheme_row_112_an_ambiguous_subject_meets_no_identity_but_all() {
    const PLANT: &str = "x509.subject: C=US, ST=WA, O=Plant";
    let good = name(&[("C", "US"), ("ST", "WA"), ("O", "Plant"), ("CN", "a")]);
    assert!(meets(PLANT, good.clone()));
    let twice = name(&[("C", "US"), ("ST", "WA"), ("O", "Other"), ("O", "Plant")]);
    assert!(!meets(PLANT, twice.clone()) && meets("*", twice));
    // Two attributes in one relative name: the SETs of ST and O joined.
    let joined = |first: &[u8], second: &[u8]| {
        let inner = [&first[2..], &second[2..]].concat();
        element(0x31, &[&inner])
    };
    let one = |kind, value| name(&[(kind, value)])[2..].to_vec();
    let content = [one("C", "US"), joined(&one("ST", "WA"), &one("O", "Plant"))].concat();
    let several = element(0x30, &[&content]);
    assert!(!meets(PLANT, several.clone()) && meets("*", several));
    // A BMPString and a TeletexString are no text here.
    for tag in [0x1e, 0x14] {
        let mut other = good.clone();
        let at = other.windows(5).position(|five| five == b"Plant").unwrap();
        other[at - 2] = tag;
        assert!(!meets(PLANT, other.clone()) && meets("*", other));
    }
}

#[test]
fn scheme_row_112_identities_that_cannot_be_used_are_errors_by_name() {
    for (identity, words) in [
        ("x509.subject: C=US, ST=WA", "lacks O"),
        ("x509.subject: O=Plant, ST=WA", "lacks C"),
        ("x509.subject: O=Plant, C=US", "lacks ST"),
        ("x509.subject: C=US, ST=WA, O=#0c05506c616e74", "hexadecimal"),
        ("x509.subject: C=US, ST=WA+O=Plant", "several attributes in one"),
        ("x509.subject: C=US, ST=WA, O=Plant, O=Other", "has O twice"),
        ("x509.subject: C=US, ST=WA, S=WA, O=Plant", "has ST twice"),
        ("x509.subject: C=US, ST=WA, O=Plant, 2.5.4.3=builder", "\"2.5.4.3\", which is not known"),
        ("x509.subject: c=US, ST=WA, O=Plant", "\"c\", which is not known"),
        ("x509.subject: C=US, ST=WA, O=", "cannot be read"),
        ("x509.subject: C=US, ST=WA, O=Plant,", "cannot be read"),
        ("x509.subject: C=US, ST=WA, O=\"Plant\"", "cannot be read"),
        ("x509.subject: C=US, ST=WA, O=Plant\\", "cannot be read"),
        ("x509.subject: C=US, ST=WA, O=Plant\\ff", "cannot be read"),
        ("x509.subject: C=US, ST=WA, O=Plant\\x", "cannot be read"),
        ("x509.subject: C=US, ST=WA, O=a=b", "cannot be read"),
        ("x509.subject:", "cannot be read"),
        ("x509.subject: *", "cannot be read"),
        ("", "\"x509.subject: \""),
        ("**", "\"x509.subject: \""),
        ("C=US, ST=WA, O=Plant", "\"x509.subject: \""),
        ("x509.san: a", "\"x509.subject: \""),
    ] {
        let error = Identity::parse(identity).expect_err(identity).to_string();
        assert!(error.contains(words), "{identity}: {error}");
    }
    assert!(Identity::parse("*").unwrap().is_anybody());
}

#[test]
fn one_identity_may_cover_another() {
    let parse = |text: &str| Identity::parse(text).unwrap();
    let (all, plant) = (parse("*"), parse("x509.subject: C=US, ST=WA, O=Plant"));
    let line = parse("x509.subject: OU=Line 1, C=US, ST=WA, O=Plant");
    assert!(all.covers(&plant) && plant.covers(&line) && plant.covers(&plant));
    assert!(!plant.covers(&all) && !line.covers(&plant));
}

#[test]
fn a_subject_is_printed_without_what_could_mislead() {
    let printed = |attributes: &[(&str, &str)]| {
        let chain = vec![Spec { subject: name(attributes), ..Spec::leaf("", Kind::P256) }.self_signed()];
        jws(&Jws::new(IMAGE, &chain)).unwrap().signer().to_owned()
    };
    assert_eq!(printed(&[("O", "a,b+c"), ("CN", " #x\\ ")]), "CN=\\ #x\\\\\\ ,O=a\\,b\\+c");
    assert_eq!(printed(&[("CN", "a\u{1b}[31m\u{202e}")]), "CN=a\u{fffd}[31m\u{fffd}");
    assert_eq!(printed(&[("CN", "#a")]), "CN=\\#a");
    assert!(printed(&[("CN", &"x".repeat(300))]).chars().count() < 130);
    assert_eq!(printed(&[]), "an empty subject");
}
