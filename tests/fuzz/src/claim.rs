//! What a signature says, read slowly, and held against the verdicts of the product.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use portreeve_test_support::cosign::{Image, Key};
use portreeve_verify::image::{Reference, Sha256};
use portreeve_verify::oci::SignatureManifest;
use portreeve_verify::sigstore::{NotCounted, Requirement, Signature, SignedImage, Signer, SigstoreKey};

use crate::strict_json::Json;

/// The one key of the targets. Inputs of the corpus are signed by it.
pub fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::ed25519_of([7; 32]))
}

/// The image whose manifest is at hand.
pub fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| Image::new(b"the manifest of the fuzz targets"))
}

/// A manifest to have found a signature in.
pub fn manifest(artifact: &[u8]) -> SignatureManifest {
    SignatureManifest::read(artifact, None, None).expect("a manifest")
}

/// What was signed.
#[derive(Debug, Default)]
pub struct Claim {
    /// The images: the hexadecimal digits of the digest, and the annotations that are strings.
    pub images: Vec<(String, Vec<(String, String)>)>,
    pub reference: Option<String>,
}

impl Claim {
    /// Adds an image. `None` if it must be refused.
    pub fn add(&mut self, hex: &str, annotations: Option<&Json>) -> Option<()> {
        let strings = match annotations {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Object(members)) => {
                members.iter().filter_map(|(name, value)| Some((name.clone(), value.text()?.to_owned()))).collect()
            }
            Some(_) => return None,
        };
        self.images.push((hex.to_owned(), strings));
        (self.images.iter().map(|(_, strings)| strings.len()).sum::<usize>() <= 256).then_some(())
    }
}

pub fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Has the product refused it for a limit that the slow reading does not have? The words are checked as well.
pub fn is_limit(reason: &NotCounted) -> bool {
    let words = reason.to_string();
    assert!(!words.is_empty() && words.len() < 1000 && !words.chars().any(char::is_control), "{words:?}");
    reason.code() == "too-large" || words.contains("more values than") || words.contains("too much memory")
}

/// Holds a signature that was read against what it says. `is_signed`: has the key made it?
pub fn compare(signature: &Signature, claim: &Claim, is_signed: bool) {
    let none = BTreeMap::new();
    for (hex, strings) in claim.images.iter().take(4) {
        assert_eq!(counts(signature, hex, &none, None), is_signed);
        for (name, value) in strings.iter().take(4) {
            let with = |value: &str| counts(signature, hex, &BTreeMap::from([(name.clone(), value.to_owned())]), None);
            assert_eq!(with(value), is_signed, "{name}={value}");
            let other = format!("{value}x");
            let has_other = claim.images.iter().any(|(known, strings)| {
                known == hex && strings.iter().any(|(known, value)| known == name && *value == other)
            });
            assert_eq!(with(&other), is_signed && has_other, "{name}={other}");
        }
        let repository = claim.reference.as_deref().and_then(|reference| Reference::parse(reference).ok());
        if let Some(repository) = &repository {
            assert_eq!(counts(signature, hex, &none, Some(repository.repository())), is_signed);
        }
        assert!(!counts(signature, hex, &none, Some("registry.test/another/repository")) || repository.is_some());
    }
    let zeros = "0".repeat(64);
    if claim.images.iter().all(|(hex, _)| *hex != zeros) {
        assert!(!counts(signature, &zeros, &none, None), "it counts for an image that it does not name");
    }
}

/// Does it count for this image, under a policy with the one key?
pub fn counts(
    signature: &Signature,
    hex: &str,
    annotations: &BTreeMap<String, String>,
    repository: Option<&str>,
) -> bool {
    static SIGNERS: OnceLock<[Signer; 1]> = OnceLock::new();
    let signers = SIGNERS.get_or_init(|| {
        let key = SigstoreKey::from_pem(&key().public_pem()).expect("a key");
        [Signer::with_key("fuzz".to_owned(), key)]
    });
    let manifest = (hex == image().hex()).then_some(image().manifest.as_slice());
    let digest = Sha256::from_hex(hex).expect("a digest");
    let about = SignedImage { digest, manifest };
    let requirement = Requirement { repository, ..Requirement::new(signers, annotations) };
    let verdict = requirement.verify(about, &[signature]);
    assert_eq!(requirement.signers_of(about, signature).is_ok(), verdict.is_ok());
    match verdict {
        Ok(accepted) => {
            assert_eq!(
                (accepted.digest.sha256(), accepted.signers.as_slice()),
                (digest, ["fuzz".to_owned()].as_slice())
            );
            true
        }
        Err(rejection) => {
            let words = rejection.to_string();
            assert!(words.len() < 2000 && !words.chars().any(char::is_control), "{words:?}");
            false
        }
    }
}
