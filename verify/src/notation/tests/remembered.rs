//! What was verified once is not verified again.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::envelope::VERIFICATIONS;
use super::*;

fn verifications() -> usize {
    VERIFICATIONS.with(std::cell::Cell::get)
}

#[test]
fn a_second_verification_repeats_no_cryptography() {
    use portreeve_test_support::notation::{distribution_point, revocation_list};
    let root = Spec::ca("Plant Root", Kind::P256).self_signed();
    let leaf = Spec::leaf("builder", Kind::P256).with(distribution_point("http://ca.plant.example/a.crl"));
    let chain = vec![leaf.signed_by(&root), root];
    let before = verifications();
    let token = "MAA=";
    let envelope = Jws::new(IMAGE, &chain).edit(|jws| jws.header["io.cncf.notary.timestampSignature"] = token.into());
    let envelope = jws(&envelope).unwrap();
    assert_eq!(verifications() - before, 1);
    let list = revocation_list(&chain[1], &[], (NOW - DAY, NOW + DAY), &[]);
    let mut policy = Policy::of(&[&chain[1]]);
    policy.lists = RevocationLists::read(&[&list]).unwrap();
    for _ in 0..3 {
        policy.signer_of(&envelope, NOW).unwrap();
        assert_eq!(verifications() - before, 2, "the revocation list, once");
    }
    // The time is compared anew.
    assert_eq!(policy.refusal(&envelope, NOW + DAY + 1).0, "revocation-unknown");
    policy.signer_of(&envelope, NOW + DAY).unwrap();
    assert_eq!(verifications() - before, 2);
    // Other lists are looked at, also if they are about the same certificates.
    let revoked = revocation_list(&chain[1], &[1], (NOW - DAY, NOW + DAY), &[]);
    let good = std::mem::replace(&mut policy.lists, RevocationLists::read(&[&revoked]).unwrap());
    assert_eq!(policy.refusal(&envelope, NOW).0, "revoked");
    assert_eq!(verifications() - before, 3);
    policy.lists = good;
    policy.signer_of(&envelope, NOW).unwrap();
    // A time stamp by the stores of the type `tsa`.
    let anchors = vec![chain[1].der.clone()];
    policy.stores = TrustStores::new(anchors.clone(), Vec::new(), Some(Vec::new()));
    for _ in 0..2 {
        assert_eq!(policy.refusal(&envelope, NOW).0, "timestamp");
        assert_eq!(verifications() - before, 4);
    }
    policy.stores = TrustStores::new(anchors, Vec::new(), Some(vec![b"another".to_vec()]));
    assert_eq!(policy.refusal(&envelope, NOW).0, "timestamp");
    assert_eq!(verifications() - before, 5);
}

/// Whoever may push to a registry chooses how many envelopes there are.
#[test]
fn only_what_a_policy_may_trust_is_verified_and_only_within_the_effort() {
    let (chain, strangers) = (p256_chain(), p256_chain());
    let read = |chain: &[Certificate]| {
        Envelope::read(Sha256::of(b"manifest"), EnvelopeFormat::Jws, &Jws::new(IMAGE, chain).bytes()).unwrap()
    };
    let (envelope, stranger, policy) = (read(&chain), read(&strangers), Policy::of(&[&chain[2]]));
    let (before, left) = (verifications(), AtomicUsize::new(39));
    let judge = |envelope: &Envelope| {
        let requirement = Requirement { effort: Effort::new(&left, &|| false), ..policy.requirement() };
        let verdict = requirement.verify(image(), &[envelope], at(NOW));
        let code = requirement.signer_of(image(), envelope, at(NOW)).map_err(|reason| reason.code());
        assert_eq!(verdict.is_ok(), code.is_ok());
        (code.err(), verdict.is_err_and(|rejection| rejection.reasons.is_incomplete))
    };
    assert_eq!(judge(&stranger), (Some("untrusted-certificate"), false));
    assert_eq!(judge(&envelope), (Some("not-verified"), true));
    assert_eq!((verifications() - before, left.load(Ordering::Relaxed)), (0, 39));
    left.store(40, Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(judge(&envelope), (None, false));
        assert_eq!((verifications() - before, left.load(Ordering::Relaxed)), (1, 0));
    }
}

/// Each check of a signature in a time stamp takes effort, and what was not verified to its end is verified again.
#[test]
fn a_time_stamp_is_verified_within_the_effort() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use crate::timestamp::tests::drafts::{self, Chain, Draft, sequence};
    let (chain, tsa) = (p256_chain(), Chain::new());
    let mut value = Jws::new(IMAGE, &chain).value();
    let signature = URL_SAFE_NO_PAD.decode(value["signature"].as_str().unwrap()).unwrap();
    let mut info = drafts::info_at("20261101000000Z");
    let hash = drafts::octets(&drafts::sha256(&signature));
    info[2] = sequence(&[&drafts::algorithm(drafts::SHA_256), &hash]);
    let token = STANDARD.encode(Draft::new(&tsa, info).token());
    value["header"]["io.cncf.notary.timestampSignature"] = token.into();
    let bytes = value.to_string().into_bytes();
    let envelope = Envelope::read(Sha256::of(b"manifest"), EnvelopeFormat::Jws, &bytes).unwrap();
    let anchors = vec![chain[2].der.clone()];
    let policy = Policy::with(TrustStores::new(anchors, Vec::new(), Some(vec![tsa.root.der.clone()])));
    // The envelope, which is remembered; then reading the time stamp, and its signature and those of two certificates.
    let (own, stamp) = (40, 5 + 3);
    for (effort, code, used) in
        [(own + stamp - 1, Some("not-verified"), own + stamp - 1), (stamp, None, stamp), (0, None, 0)]
    {
        let left = AtomicUsize::new(effort);
        let requirement = Requirement { effort: Effort::new(&left, &|| false), ..policy.requirement() };
        let found = requirement.signer_of(image(), &envelope, at(NOW)).map_err(|reason| reason.code());
        assert_eq!((found.err(), effort - left.into_inner()), (code, used));
    }
}

#[test]
fn what_is_remembered_has_a_cap() {
    let chain = self_signed(Kind::P256);
    let envelope = Jws::new(IMAGE, &chain).edit(|jws| jws.header["io.cncf.notary.timestampSignature"] = "MAA=".into());
    let envelope = jws(&envelope).unwrap();
    let size = envelope.heap_size();
    let mut policy = Policy::of(&[]);
    for store in 0..20_u8 {
        policy.stores = TrustStores::new(vec![chain[0].der.clone()], Vec::new(), Some(vec![vec![store]]));
        assert_eq!(policy.refusal(&envelope, NOW).0, "timestamp");
    }
    assert_eq!(envelope.heap_size(), size);
    assert!(size > chain[0].der.len() as u64 && size < 8 << 10, "{size}");
}
