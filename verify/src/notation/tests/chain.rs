//! Rows 105 to 109: the chain of certificates.

use portreeve_test_support::notation::{
    BASIC_CONSTRAINTS, Cbor, EXTENDED_KEY_USAGE, Extension, KEY_USAGE, basic_constraints, extended_key_usage, key_usage,
};

use super::*;

fn refused(chain: &[Certificate], words: &str) {
    let (code, text) = why(jws(&Jws::new(IMAGE, chain)));
    assert!(code == "bad-certificate" && text.contains(words), "{code}: {text} instead of {words}");
    assert_eq!(why(cose(&Cose::new(IMAGE, chain))), (code, text));
}

#[test]
fn scheme_row_105_a_chain_is_complete_in_order_and_nothing_else() {
    let chain = p256_chain();
    let [leaf, ca, root] = &chain[..] else { panic!() };
    let other = Spec::ca("Plant Root", Kind::P256).self_signed(); // the same name, and another key
    jws(&Jws::new(IMAGE, &chain)).unwrap();
    refused(&[leaf.clone(), ca.clone()], "is the last one and not self-signed");
    refused(std::slice::from_ref(leaf), "is the last one and not self-signed");
    refused(&[leaf.clone(), root.clone()], "is not issued and signed by the one that follows");
    refused(&[leaf.clone(), ca.clone(), other.clone()], "is not issued and signed by the one that follows");
    refused(&[leaf.clone(), ca.clone(), root.clone(), other], "is self-issued, and further certificates follow");
    refused(&[leaf.clone(), ca.clone(), root.clone(), root.clone()], "is self-issued, and further certificates follow");
    refused(
        &[leaf.clone(), leaf.clone(), ca.clone(), root.clone()],
        "is not issued and signed by the one that follows",
    );
    refused(&[leaf.clone(), root.clone(), ca.clone()], "is not issued and signed by the one that follows");
    refused(&[ca.clone(), leaf.clone(), root.clone()], "is a CA");
    // A root in its own name that another key has signed.
    let false_root = Spec::ca("Plant Root", Kind::P256);
    let signed = false_root.signed_by(root);
    let leaf = Spec::leaf("builder", Kind::P256).signed_by(&signed);
    refused(&[leaf, signed], "its own key has not signed it");
    let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.header["x5c"] = serde_json::json!([]));
    assert_refused(jws(&changed), "bad-signature", "no certificate");
    let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.header["x5c"] = serde_json::json!(["MAA="]));
    assert_refused(jws(&changed), "bad-signature", "damaged");
    let long: Vec<_> = (0..11).map(|_| root.clone()).collect();
    assert_refused(jws(&Jws::new(IMAGE, &long)), "bad-signature", "more than 10");
}

#[test]
fn scheme_row_106_one_self_signed_certificate_is_leaf_and_root() {
    let chain = self_signed(Kind::P256);
    let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
    Policy::of(&[&chain[0]]).signer_of(&envelope, NOW).unwrap();
    let twin = self_signed(Kind::P256);
    assert_eq!(Policy::of(&[&twin[0]]).refusal(&envelope, NOW).0, "untrusted-certificate");
    assert_eq!(Policy::of(&[]).refusal(&envelope, NOW).0, "untrusted-certificate");
}

#[test]
fn scheme_row_107_an_anchor_is_any_certificate_of_the_chain_byte_for_byte() {
    let chain = p256_chain();
    let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
    for anchor in &chain {
        Policy::of(&[anchor]).signer_of(&envelope, NOW).unwrap();
        let mut longer = anchor.clone();
        longer.der.push(0);
        assert_eq!(Policy::of(&[&longer]).refusal(&envelope, NOW).0, "untrusted-certificate");
    }
    // The same root, with the same key, in another certificate.
    let renewed = Spec { key: chain[2].key.clone(), serial_number: 2, ..Spec::ca("Plant Root", Kind::P256) };
    assert_eq!(Policy::of(&[&renewed.self_signed()]).refusal(&envelope, NOW).0, "untrusted-certificate");
}

/// A chain whose leaf has this extension in the place of its own.
fn with_leaf(edit: impl FnOnce(Spec) -> Spec) -> Vec<Certificate> {
    let chain = p256_chain();
    vec![edit(Spec::leaf("builder", Kind::P256)).signed_by(&chain[1]), chain[1].clone(), chain[2].clone()]
}

#[test]
fn scheme_row_108_what_a_leaf_may_be_used_for() {
    let good = |edit: fn(Spec) -> Spec| drop(jws(&Jws::new(IMAGE, &with_leaf(edit))).unwrap());
    good(|leaf| leaf.without(EXTENDED_KEY_USAGE));
    good(|leaf| leaf.with(extended_key_usage(&[3, 17])));
    good(|leaf| leaf.with(basic_constraints(true, false, None)));
    for purposes in [&[1][..], &[0], &[3, 0], &[3, 1], &[3, 2], &[8, 3], &[3, 4], &[3, 9]] {
        refused(&with_leaf(|leaf| leaf.with(extended_key_usage(purposes))), "such as serverAuth or any");
    }
    refused(&with_leaf(|leaf| leaf.with(extended_key_usage(&[17]))), "without codeSigning");
    refused(&with_leaf(|leaf| leaf.with(extended_key_usage(&[]))), "cannot be read");
    for usage in [
        key_usage(false, 0x80),
        key_usage(true, 0xa0),
        key_usage(true, 0xc0),
        key_usage(true, 0x84),
        key_usage(true, 0x40),
    ] {
        refused(&with_leaf(|leaf| leaf.with(usage)), "critical key usage of digitalSignature alone");
    }
    refused(&with_leaf(|leaf| leaf.without(KEY_USAGE)), "critical key usage of digitalSignature alone");
    refused(&with_leaf(|leaf| leaf.with(basic_constraints(true, true, None))), "is a CA");
    refused(
        &with_leaf(|leaf| leaf.with((vec![0x55, 29, 30], true, vec![0x30, 0]))),
        "critical extension that is not checked",
    );
    refused(
        &with_leaf(|mut leaf| {
            leaf.extensions.push(key_usage(true, 0x80));
            leaf
        }),
        "an extension twice",
    );
}

/// A chain of a leaf, this many CAs below each other, and a root, each edited.
fn with_cas(below: usize, edit: impl Fn(Spec) -> Spec) -> Vec<Certificate> {
    let mut chain = vec![edit(Spec::ca("Plant Root", Kind::P256)).self_signed()];
    for number in 0..below {
        let issuer = &chain[0];
        chain.insert(0, edit(Spec::ca(&format!("CA {number}"), Kind::P256)).signed_by(issuer));
    }
    chain.insert(0, Spec::leaf("builder", Kind::P256).signed_by(&chain[0]));
    chain
}

#[test]
fn scheme_row_109_what_a_ca_must_be() {
    for bad in [basic_constraints(false, true, None), basic_constraints(true, false, None)] {
        refused(&with_cas(0, |ca| ca.with(bad.clone())), "critical basic constraints of a CA");
        refused(&with_cas(1, |ca| ca.with(bad.clone())), "critical basic constraints of a CA");
    }
    refused(&with_cas(0, |ca| ca.without(BASIC_CONSTRAINTS)), "critical basic constraints of a CA");
    for bad in [key_usage(false, 0x06), key_usage(true, 0x02), key_usage(true, 0x80)] {
        refused(&with_cas(0, |ca| ca.with(bad.clone())), "critical key usage with keyCertSign");
    }
    refused(&with_cas(0, |ca| ca.without(KEY_USAGE)), "critical key usage with keyCertSign");
    let limited = |most| move |ca: Spec| ca.with(basic_constraints(true, true, Some(most)));
    jws(&Jws::new(IMAGE, &with_cas(0, limited(0)))).unwrap();
    jws(&Jws::new(IMAGE, &with_cas(2, limited(2)))).unwrap();
    refused(&with_cas(1, limited(0)), "certificate 3 of its chain (CN=Plant Root,O=Plant,ST=WA,C=US) allows fewer CAs");
    refused(&with_cas(2, limited(1)), "allows fewer CAs");
    // What a CA is limited to, its signers are limited to.
    refused(&with_cas(0, |ca| ca.with(extended_key_usage(&[1]))), "CA for other purposes");
    jws(&Jws::new(IMAGE, &with_cas(0, |ca| ca.with(extended_key_usage(&[1, 3]))))).unwrap();
    let constraints: Extension = (vec![0x55, 29, 30], true, vec![0x30, 0]);
    refused(&with_cas(0, |ca| ca.with(constraints.clone())), "such as name constraints");
}

#[test]
fn scheme_row_109_sha_1_is_refused() {
    let sha1_rsa: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0];
    let sha1_ecdsa: &[u8] = &[0x30, 9, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    for (kind, algorithm) in [(Kind::Rsa(2048), sha1_rsa), (Kind::P256, sha1_ecdsa)] {
        let old = Spec { algorithm: Some(algorithm.to_vec()), ..Spec::ca("Plant Root", kind) }.self_signed();
        refused(&[Spec::leaf("builder", Kind::P256).signed_by(&old), old.clone()], "such as SHA-1");
        let root = Spec::ca("Plant Root", kind).self_signed();
        let leaf = Spec { algorithm: Some(algorithm.to_vec()), ..Spec::leaf("builder", Kind::P256) }.signed_by(&root);
        refused(&[leaf, root], "such as SHA-1");
    }
}

/// Go reads neither, so notation refuses both.
#[test]
fn negative_serial_numbers_and_subjects_of_other_types_are_refused() {
    let root = Spec::ca("Plant Root", Kind::P256).self_signed();
    let negative = Spec { serial_number: 0x80, ..Spec::leaf("builder", Kind::P256) };
    refused(&[negative.signed_by(&root), root.clone()], "negative serial number");
    let subject = vec![0x30, 12, 0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 2, 1, 1]; // an INTEGER
    let number = Spec { subject, ..Spec::leaf("", Kind::P256) };
    refused(&[number.signed_by(&root), root], "an attribute that is no text");
}

/// Whatever is changed in a chain's certificates, the envelope does not count any more.
#[test]
fn no_byte_of_a_chain_can_be_changed() {
    let chain = p256_chain();
    let policy = Policy::of(&[&chain[2]]);
    for place in 0..2 {
        for at in (0..chain[place].der.len()).step_by(3) {
            let mut changed = chain.clone();
            changed[place].der[at] ^= 1;
            let result = jws(&Jws::new(IMAGE, &changed));
            assert!(result.is_err() || policy.signer_of(&result.unwrap(), NOW).is_err(), "{place} {at}");
        }
    }
}

#[test]
fn a_chain_that_is_too_long_is_not_read_to_its_end() {
    let chain: Vec<_> = p256_chain().into_iter().cycle().take(11).collect();
    assert_refused(jws(&Jws::new(IMAGE, &chain)), "bad-signature", "more than 10 certificates");
    assert_refused(cose(&Cose::new(IMAGE, &chain)), "bad-signature", "more than 10 certificates");
    let many = serde_json::json!(vec![""; 5000]);
    let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.header["x5c"] = many);
    assert_refused(jws(&changed), "bad-signature", "more than 10 certificates");
    let many = Cbor::Array(vec![Cbor::Bytes(Vec::new()); 100_000]);
    let changed = Cose::new(IMAGE, &chain).edit(|cose| cose.unprotected[0].1 = many);
    assert_refused(cose(&changed), "bad-signature", "more than 10 certificates");
}
