//! Rows 110 and 111: dates, with and without time stamps.

use super::*;

/// A chain whose certificate at this place ends at this time.
fn ending(place: usize, at: i64) -> Vec<Certificate> {
    let end = |here, spec: Spec| Spec { not_after: if here == place { at } else { spec.not_after }, ..spec };
    let root = end(2, Spec::ca("Plant Root", Kind::P256)).self_signed();
    let ca = end(1, Spec::ca("Plant Signing CA", Kind::P256)).signed_by(&root);
    vec![end(0, Spec::leaf("builder", Kind::P256)).signed_by(&ca), ca, root]
}

#[test]
fn scheme_row_110_every_certificate_is_in_date_now_even_the_root() {
    for (place, name) in ["CN=builder", "CN=Plant Signing CA", "CN=Plant Root"].into_iter().enumerate() {
        let chain = ending(place, NOW);
        let policy = Policy::of(&[&chain[1]]);
        let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
        assert_eq!(envelope.ends(), NOW);
        policy.signer_of(&envelope, NOW).unwrap();
        let (code, words) = policy.refusal(&envelope, NOW + 1);
        assert!(
            code == "certificate-dates" && words.contains(name) && words.contains("2026-12-01T00:00:00Z"),
            "{words}"
        );
        policy.signer_of(&envelope, 1_577_836_800).unwrap();
        assert_eq!(policy.refusal(&envelope, 1_577_836_799).0, "certificate-dates");
    }
}

#[test]
fn a_signing_authority_says_when_it_signed() {
    let chain = ending(0, NOW);
    let policy = Policy::with(TrustStores::new(Vec::new(), vec![chain[2].der.clone()], None));
    let by = |time| jws(&Jws::new(IMAGE, &chain).by_authority(time)).unwrap();
    policy.signer_of(&by(NOW), NOW + 100 * DAY).unwrap();
    let (code, words) = policy.refusal(&by(NOW + 1), NOW);
    assert!(code == "certificate-dates" && words.contains("the signing authority signed"), "{words}");
    assert_eq!(policy.refusal(&by(0), NOW).0, "certificate-dates");
}

#[test]
fn scheme_row_111_with_a_tsa_store_a_time_stamp_is_required() {
    let chain = ending(0, NOW);
    let stores = |tsa| TrustStores::new(vec![chain[2].der.clone()], Vec::new(), Some(tsa));
    let mut policy = Policy::with(stores(vec![chain[2].der.clone()]));
    let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
    let (code, words) = policy.refusal(&envelope, NOW);
    assert!(code == "timestamp" && words.contains("--timestamp-url"), "{words}");
    // `verifyTimestamp: afterCertExpiry`
    policy.after_cert_expiry_only = true;
    policy.signer_of(&envelope, NOW).unwrap();
    assert_eq!(policy.refusal(&envelope, NOW + 1).0, "timestamp");
    // What is no time stamp matters only where one is asked for.
    let junk =
        jws(&Jws::new(IMAGE, &chain).edit(|jws| jws.header["io.cncf.notary.timestampSignature"] = "MAA=".into()));
    let junk = junk.unwrap();
    Policy::of(&[&chain[2]]).signer_of(&junk, NOW).unwrap();
    policy.signer_of(&junk, NOW).unwrap();
    assert_eq!(policy.refusal(&junk, NOW + 1).0, "timestamp");
    let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.header["io.cncf.notary.timestampSignature"] = "-".into());
    assert_refused(jws(&changed), "bad-signature", "not base64");
    let large = Jws::new(IMAGE, &chain)
        .edit(|jws| jws.header["io.cncf.notary.timestampSignature"] = "AAAA".repeat(30_000).into());
    assert_refused(jws(&large), "too-large", "time stamp");
}
