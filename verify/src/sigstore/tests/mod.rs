//! The rows of SCHEMES.md that are decided here: 32 to 50 and 57 to 72. Images are signed on the spot.

mod bundle;
mod conformance;
mod effort;
mod keyless;
mod logs;
mod mutation;
mod payload;
mod plant;
mod requirement;
mod vectors;

use std::collections::BTreeMap;

use portreeve_test_support::cosign::{Artifact, Bundle, Image, Key, Layer, Payload, Statement};

use super::{Accepted, NotCounted, Requirement, Signature, SignatureRejection, SignedImage, Signer, SigstoreKey};
use crate::image::Sha256;
use crate::oci::SignatureManifest;
use crate::oci::candidates::{bundle_layer, payload_layers};

/// The image that the tests sign.
fn plc() -> Image {
    Image::named("plc")
}

fn about(image: &Image) -> SignedImage<'_> {
    SignedImage { digest: Sha256::new(image.sha256()), manifest: Some(&image.manifest) }
}

fn signer(name: &str, key: &Key) -> Signer {
    Signer::with_key(name.to_owned(), SigstoreKey::from_pem(&key.public_pem()).unwrap())
}

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Nothing but these signers, all of them.
fn by(signers: &[Signer]) -> Requirement<'_> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    Requirement::new(signers, &NONE)
}

/// The signatures of a manifest in the old format.
fn layers(layers: &[Layer]) -> Vec<Result<Signature, NotCounted>> {
    let artifact = Artifact::layers(layers);
    let manifest = SignatureManifest::read(&artifact.manifest, None, None).unwrap();
    let payloads = artifact.blobs.iter().cloned();
    let layers = payload_layers(&manifest).unwrap();
    layers
        .into_iter()
        .zip(payloads)
        .map(|(layer, payload)| Signature::from_layer(&manifest, layer, payload.into()))
        .collect()
}

/// One signature in the old format.
fn layer(payload: &Payload, key: &Key) -> Result<Signature, NotCounted> {
    raw_layer(payload.bytes(), key)
}

/// One signature in the old format over these bytes.
fn raw_layer(payload: Vec<u8>, key: &Key) -> Result<Signature, NotCounted> {
    layers(&[Layer::new(payload, key)]).remove(0)
}

/// One bundle.
fn bundle(bundle: &Bundle) -> Result<Signature, NotCounted> {
    raw_bundle(bundle.bytes())
}

fn raw_bundle(bundle: Vec<u8>) -> Result<Signature, NotCounted> {
    let image = plc();
    let artifact = Artifact::bundle(&image, bundle.clone());
    let manifest = SignatureManifest::read(&artifact.manifest, None, None).unwrap();
    bundle_layer(&manifest, Sha256::new(image.sha256())).unwrap();
    Signature::from_bundle(&manifest, bundle)
}

/// A bundle around a statement.
fn dsse(statement: &Statement, key: &Key) -> Result<Signature, NotCounted> {
    bundle(&Bundle::dsse(&statement.bytes(), key))
}

fn verify(
    requirement: Requirement<'_>,
    image: &Image,
    signatures: &[&Signature],
) -> Result<Accepted, SignatureRejection> {
    requirement.verify(about(image), signatures)
}

/// Is the image accepted by a signature alone, under a policy that names its key alone?
fn is_accepted(image: &Image, signature: &Result<Signature, NotCounted>, key: &Key) -> bool {
    let Ok(signature) = signature else { return false };
    let signers = [signer("alice", key)];
    match verify(by(&signers), image, &[signature]) {
        Ok(accepted) => {
            assert_eq!(accepted.digest.sha256(), Sha256::new(image.sha256()));
            assert_eq!(accepted.signers, ["alice"]);
            true
        }
        Err(_) => false,
    }
}

/// A text without its first byte.
fn tail(text: &str) -> &str {
    text.get(1..).unwrap()
}

/// The word and the text of what makes a signature not count.
fn why<T>(result: Result<T, NotCounted>) -> (&'static str, String) {
    let reason = result.err().expect("a reason");
    let text = reason.to_string();
    assert!(!text.is_empty() && text.len() < 700 && !text.chars().any(char::is_control), "{text}");
    (reason.code(), text)
}
