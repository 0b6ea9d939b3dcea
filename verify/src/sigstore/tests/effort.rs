//! What a proof takes. Whoever may push to a registry chooses all that is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::PKCS_ECDSA_P384_SHA384;
use serde_json::{Value, json};

use super::plant::{ISSUER, Plant, Read as _, SIGNED, SUBJECT, Signing, base64, identity, read_root};
use super::*;
use crate::Effort;
use crate::crypto::public_key::CHECKS;
use crate::sigstore::TrustedRoot;
use crate::timestamp::tests::drafts::{self as stamps, Chain, Draft, Holder, params, sequence};

/// What reading a proof takes, an entry, and a time stamp under one authority.
const PROOF: usize = 50;
const ENTRY: usize = 20;
const STAMP: usize = 2 * 5;
/// What is checked besides time stamps: the signature, the promise, the checkpoint, the leaf, and the promise of the certificate log.
const OWN: usize = 5;
/// webpki looks at both certificates of the authority once more.
const CHAIN: usize = 2;

struct Verdict {
    /// Whether it is accepted, or whether nobody can say.
    accepted: Result<(), bool>,
    checks: usize,
    units: usize,
}

fn verify_within(
    signature: &Signature,
    image: &Image,
    root: &Arc<TrustedRoot>,
    effort: usize,
    is_late: &(dyn Fn() -> bool + Sync),
) -> Verdict {
    let signers = [identity(ISSUER, SUBJECT)];
    let (left, before) = (AtomicUsize::new(effort), CHECKS.get());
    let requirement = Requirement { trusted_root: Some(root), effort: Effort::new(&left, is_late), ..by(&signers) };
    let accepted = requirement.verify(about(image), &[signature]);
    let accepted = accepted.map(drop).map_err(|rejection| rejection.reasons.is_incomplete);
    Verdict { accepted, checks: CHECKS.get() - before, units: effort - left.into_inner() }
}

/// An authority that trusts all whom its CAs have certified, and 32 time stamps of a stranger. Each has 14 certificates with the name of
/// the intermediate and keys on P-384.
fn with_junk(plant: &Plant, signing: &mut Signing) -> Arc<TrustedRoot> {
    let trusted = Chain::new();
    let stranger = Chain::new();
    let certify = |_| stranger.root.certify_for(params("Intermediate", true), &PKCS_ECDSA_P384_SHA384).der;
    let junk: Vec<Vec<u8>> = (0..14).map(certify).chain([stranger.signer.der.clone()]).collect();
    let signature = signing.bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
    let signature = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, signature).unwrap();
    let stamp = |number: u8| {
        let mut info = stamps::info_at("20260302120000Z");
        let hash = stamps::octets(&stamps::sha256(&signature));
        info[2] = sequence(&[&stamps::algorithm(stamps::SHA_256), &hash]);
        info[3] = stamps::integer(&[number]);
        let mut draft = Draft::new(&stranger, info);
        draft.certificates = Some(junk.clone());
        json!({"signedTimestamp": base64(&draft.token())})
    };
    let all: Vec<Value> = (1..=32).map(stamp).collect();
    signing.bundle["verificationMaterial"]["timestampVerificationData"] = json!({"rfc3161Timestamps": all});
    let mut root = plant.trusted_root();
    let certificate = |holder: &Holder| json!({"rawBytes": base64(&holder.der)});
    root["timestampAuthorities"] = json!([{
        "certChain": {"certificates": [certificate(&trusted.intermediate), certificate(&trusted.root)]},
        "validFor": {"start": "2025-01-01T00:00:00Z"}
    }]);
    read_root(&root)
}

#[test]
fn without_an_entry_about_the_signature_nothing_is_checked() {
    let (plant, image) = (Plant::new(), plc());
    let mut signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let root = with_junk(&plant, &mut signing);
    let mut unknown = signing.entry().clone();
    unknown["logId"]["keyId"] = base64(&[1; 32]);
    let other = Signing::keyless(&plant, &Image::named("another"), &plant.leaf(), SIGNED).entry().clone();
    for (entries, units) in [(json!([]), PROOF), (json!([unknown]), PROOF), (json!([other]), PROOF + ENTRY)] {
        signing.bundle["verificationMaterial"]["tlogEntries"] = entries;
        let found = verify_within(&signing.read().unwrap(), &image, &root, 10_000, &|| false);
        assert_eq!((found.accepted, found.checks, found.units), (Err(false), 0, units));
    }
    // An entry that the log has not signed: one check for the signature, and one for the promise.
    let mut forged = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let root = with_junk(&plant, &mut forged);
    forged.entry()["integratedTime"] = (SIGNED + 1).to_string().into();
    let found = verify_within(&forged.read().unwrap(), &image, &root, 10_000, &|| false);
    assert_eq!((found.accepted, found.checks, found.units), (Err(false), 2, PROOF + ENTRY + 2));
}

#[test]
fn each_check_takes_effort() {
    let (plant, image) = (Plant::new(), plc());
    let mut signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let root = with_junk(&plant, &mut signing);
    let bare = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED).read().unwrap();
    let found = verify_within(&bare, &image, &root, 10_000, &|| false);
    let usual = PROOF + ENTRY + OWN + CHAIN;
    assert_eq!((found.accepted, found.checks, found.units), (Ok(()), OWN, usual));
    // The key of the stranger, the intermediate of the root, and seven of the others.
    let found = verify_within(&signing.read().unwrap(), &image, &root, 10_000, &|| false);
    let units = usual + 32 * (STAMP + 1 + 1 + 7 * 10);
    assert_eq!((found.accepted, found.checks, found.units), (Ok(()), OWN + 32 * 9, units));
}

#[test]
fn what_was_not_verified_to_its_end_is_not_remembered() {
    let (plant, image) = (Plant::new(), plc());
    let mut signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let root = with_junk(&plant, &mut signing);
    let signature = signing.read().unwrap();
    let all = verify_within(&signing.read().unwrap(), &image, &root, 10_000, &|| false);
    // In each part: reading, the entry, the signature, the checkpoint, a time stamp, the leaf, and the last promise.
    for effort in [10, PROOF, 70, 72, 75, 1000, all.units - 4, all.units - 2, all.units - 1] {
        let found = verify_within(&signature, &image, &root, effort, &|| false);
        assert_eq!(found.accepted, Err(true), "{effort}");
        assert!(found.units <= effort && found.checks <= found.units);
    }
    // The request is late in the middle of the time stamps.
    let asked = AtomicUsize::new(0);
    let found = verify_within(&signature, &image, &root, 10_000, &|| asked.fetch_add(1, Ordering::Relaxed) >= 60);
    assert!(found.accepted == Err(true) && found.checks < 60 && found.units < 1000, "{}", found.units);
    let found = verify_within(&signature, &image, &root, all.units, &|| false);
    assert_eq!((found.accepted, found.checks, found.units), (Ok(()), all.checks, all.units));
    let found = verify_within(&signature, &image, &root, 0, &|| true);
    assert_eq!((found.accepted, found.checks, found.units), (Ok(()), 0, 0), "this is remembered");
}
