//! Envelopes that notation-go made, if they are beside the checkout.
#![expect(clippy::disallowed_methods, reason = "tests read the samples; the crate itself opens no file")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::oci::SignatureManifest;
use crate::oci::candidates::notation_layer;

use super::*;

/// 2026-12-01 12:00, when `jws-p384-expiry` was still in force.
const THEN: i64 = NOW + DAY / 2;

fn folder(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.ancestors().map(|up| up.join("shared/vectors").join(name)).find(|folder| folder.is_dir())
}

/// The signature, read as the registry holds it, and its image.
fn load(folder: &Path, shape: &str) -> (Result<Envelope, NotCounted>, Sha256, u64) {
    let manifest = fs::read(folder.join(format!("{shape}.manifest.json"))).unwrap();
    let manifest = SignatureManifest::read(&manifest, None, None).unwrap();
    let image = manifest.subject.unwrap();
    let (layer, format) = notation_layer(&manifest, image).unwrap();
    let kind = if format == EnvelopeFormat::Jws { "json" } else { "cose" };
    let bytes = fs::read(folder.join(format!("{shape}.envelope.{kind}"))).unwrap();
    layer.check(&bytes).unwrap();
    (Envelope::read(manifest.digest, format, &bytes), image, 418)
}

fn anchors(folder: &Path, file: &str) -> Vec<Vec<u8>> {
    read_store_file(&fs::read(folder.join(file)).unwrap()).unwrap()
}

/// The last certificate of the shape's chain.
fn anchor(folder: &Path, shape: &str) -> Vec<u8> {
    let pem = fs::read_to_string(folder.join(format!("{shape}.chain.pem"))).unwrap();
    let blocks = crate::crypto::pem::pem_blocks(&pem, 10).unwrap();
    blocks.last().unwrap().der.clone()
}

#[test]
fn scheme_row_092_093_106_envelopes_that_notation_made() {
    let Some(folder) = folder("notation") else { return };
    for (shape, signer) in [
        ("jws-p256", "CN=builder,O=Plant,ST=WA,C=US"),
        ("jws-p384-expiry", ""),
        ("jws-rsa2048-selfsigned", ""),
        ("cose-p256", ""),
    ] {
        let (envelope, digest, size) = load(&folder, shape);
        let envelope = envelope.unwrap_or_else(|reason| panic!("{shape}: {reason}"));
        let image = SignedImage { digest, media_type: MEDIA_TYPE, size };
        let policy = Policy::with(TrustStores::new(vec![anchor(&folder, shape)], Vec::new(), None));
        let accepted =
            policy.requirement().verify(image, &[&envelope], at(THEN)).unwrap_or_else(|no| panic!("{shape}: {no}"));
        assert!(accepted.signers[0].contains("O=Plant,ST=WA,C=US"), "{accepted:?}");
        assert!(signer.is_empty() || accepted.signers == [signer]);
        let none = Policy::of(&[]);
        assert!(none.requirement().verify(image, &[&envelope], at(THEN)).is_err());
        let later = policy.requirement().signer_of(image, &envelope, at(THEN + 2 * DAY));
        assert_eq!(later.is_err(), shape == "jws-p384-expiry");
    }
    let (p521, ..) = load(&folder, "jws-p521");
    assert!(why(p521).1.contains("P-521"));
}

#[test]
fn scheme_row_111_envelopes_with_time_stamps() {
    let Some(folder) = folder("notation-timestamped") else { return };
    for shape in ["jws-p256-timestamped", "cose-p256-timestamped"] {
        let (envelope, digest, size) = load(&folder, shape);
        let envelope = envelope.unwrap_or_else(|reason| panic!("{shape}: {reason}"));
        let image = SignedImage { digest, media_type: MEDIA_TYPE, size };
        let ca = vec![anchor(&folder, shape)];
        let tsa = anchors(&folder, "tsa-root.pem");
        let judge = |policy: &Policy, now| policy.requirement().signer_of(image, &envelope, at(now));
        let policy = Policy::with(TrustStores::new(ca.clone(), Vec::new(), Some(tsa)));
        judge(&policy, THEN).unwrap_or_else(|reason| panic!("{shape}: {reason}"));
        // After the chain has ended.
        judge(&policy, envelope.ends() + DAY).unwrap_or_else(|reason| panic!("{shape}: {reason}"));
        let without = Policy::with(TrustStores::new(ca.clone(), Vec::new(), None));
        judge(&without, THEN).unwrap();
        assert_eq!(judge(&without, envelope.ends() + DAY).unwrap_err().code(), "certificate-dates");
        // By an authority that nobody trusts.
        let other = Policy::with(TrustStores::new(ca.clone(), Vec::new(), Some(ca)));
        assert_eq!(judge(&other, THEN).unwrap_err().code(), "timestamp");
    }
}
