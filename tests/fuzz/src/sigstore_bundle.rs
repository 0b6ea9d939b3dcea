//! Sigstore bundles, compared with a slow reading of the same tree. The input is a bundle, and again a statement, which is put
//! into a bundle and signed, so that what it says counts if it is read at all.
//!
//! A bundle is also verified under a trusted root whose keys are gone: only the honest certificate can count, with the honest
//! signature.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::cosign::{Artifact, Bundle, Image, pae};
use portreeve_verify::image::Sha256;
use portreeve_verify::sigstore::{
    Identity, NotCounted, Requirement, Signature, SignedBy, SignedImage, Signer, TrustedRoot,
};

use crate::claim::{Claim, compare, counts, image, is_hex, is_limit, key, manifest};
use crate::strict_json::{self, Json};

const IN_TOTO: &str = "application/vnd.in-toto+json";

pub fn check(data: &[u8]) {
    // A bundle of any shape, by anybody.
    let found = read_by_product(data.to_vec());
    if let Ok(signature) = &found {
        under_trusted_root(data, signature);
    }
    if !found.as_ref().is_err_and(is_limit) {
        let expected = strict_json::read(data).and_then(|json| bundle(&json));
        match (&found, &expected) {
            (Ok(signature), Some((Slow::Envelope { claim, payload, signature: raw }, is_keyless))) => {
                // Ed25519 makes one signature only, so this is the one, or it is none.
                compare(signature, claim, !is_keyless && *raw == key().sign(&pae(IN_TOTO, payload)));
            }
            (Ok(signature), Some((Slow::Message { sha256, signature: raw }, is_keyless))) => {
                let is_signed = !is_keyless && *raw == key().sign(&image().manifest);
                let is_about = sha256.as_ref().is_none_or(|digest| *digest == image().sha256());
                let counts = counts(signature, &image().hex(), &Default::default(), None);
                // A digest by another algorithm is not computed here.
                assert!(counts == (is_signed && is_about) || sha256.is_none() && !counts);
            }
            (Err(_), None) => {}
            _ => panic!("{found:?}\n{expected:?}"),
        }
    }
    // A statement that is signed.
    let found = read_by_product(Bundle::dsse(data, key()).bytes());
    if !found.as_ref().is_err_and(is_limit) {
        let expected = strict_json::read(data).and_then(|json| statement(&json));
        match (&found, &expected) {
            (Ok(signature), Some(claim)) => compare(signature, claim, true),
            (Err(_), None) => {}
            _ => panic!("{found:?}\n{expected:?}"),
        }
    }
}

/// What nobody can make any more: a certificate and entries of logs.
fn under_trusted_root(data: &[u8], signature: &Signature) {
    static TRUSTED: OnceLock<(Arc<TrustedRoot>, [Signer; 1], Json)> = OnceLock::new();
    let (root, signers, honest) = TRUSTED.get_or_init(|| {
        let root = TrustedRoot::read(include_bytes!("../fixtures/trusted_root.json")).expect("a trusted root");
        let root = Arc::new(root);
        let subject = "https://git.plant.example/line-1/build.yml@refs/heads/*";
        let identity = Identity::new("https://issuer.plant.example", subject).expect("an identity");
        let signers = [Signer { name: "ci".to_owned(), by: SignedBy::Identity(identity) }];
        (root, signers, strict_json::read(include_bytes!("../fixtures/keyless.json")).expect("a bundle"))
    });
    let annotations = Default::default();
    let requirement = Requirement { trusted_root: Some(root), ..Requirement::new(signers, &annotations) };
    let digest = Sha256::new(image().sha256());
    let about = SignedImage { digest, manifest: Some(&image().manifest) };
    let counts = requirement.verify(about, &[signature]);
    assert_eq!(requirement.signers_of(about, signature).is_ok(), counts.is_ok());
    assert!(signature.heap_size() > 0);
    match counts {
        Ok(_) => {
            let json = strict_json::read(data).expect("what was read is strict JSON");
            let same = |path: &[&str]| {
                let at = |json: &Json| {
                    path.iter().try_fold(json, |json, name| json.get(name)).map(|json| format!("{json:?}"))
                };
                assert_eq!(at(&json), at(honest), "{path:?}");
            };
            same(&["dsseEnvelope", "payload"]);
            same(&["messageSignature"]);
            if json.get("verificationMaterial").and_then(|material| there(material, "certificate")).is_some() {
                same(&["verificationMaterial", "certificate", "rawBytes"]);
            }
        }
        Err(rejection) => {
            let words = rejection.to_string();
            assert!(words.len() < 2000 && !words.chars().any(char::is_control), "{words:?}");
        }
    }
    // Nor does a key's signature count where a log is required.
    let logged = Requirement { log_required: true, ..requirement };
    assert_eq!(logged.verify(about, &[signature]).is_ok(), requirement.verify(about, &[signature]).is_ok());
}

fn read_by_product(bundle: Vec<u8>) -> Result<Signature, NotCounted> {
    let artifact = Artifact::bundle(&Image::new(b""), Vec::new());
    Signature::from_bundle(&manifest(&artifact.manifest), bundle)
}

/// A bundle, read slowly.
#[derive(Debug)]
enum Slow {
    Envelope {
        claim: Claim,
        payload: Vec<u8>,
        signature: Vec<u8>,
    },
    Message {
        /// `None` for a digest by another algorithm.
        sha256: Option<Vec<u8>>,
        signature: Vec<u8>,
    },
}

/// What it signs, and whether with a certificate. `None` if it must be refused.
fn bundle(bundle: &Json) -> Option<(Slow, bool)> {
    let media_type = bundle.get("mediaType")?.text()?;
    let old = media_type.strip_prefix("application/vnd.dev.sigstore.bundle+json;version=");
    let is_known =
        matches!(old, Some("0.1" | "0.2" | "0.3")) || media_type == "application/vnd.dev.sigstore.bundle.v0.3+json";
    is_known.then_some(())?;
    let material = bundle.get("verificationMaterial")?;
    let has_key = matches!(there(material, "publicKey"), Some(Json::Object(_)));
    let has_chain = there(material, "x509CertificateChain").is_some();
    let is_old = matches!(old, Some("0.1" | "0.2"));
    let is_keyless = match (has_key, there(material, "certificate").is_some()) {
        (true, false) if !has_chain => false,
        (false, true) if !has_chain => true,
        (false, false) if has_chain && is_old => true,
        _ => return None,
    };
    let signed = match (there(bundle, "dsseEnvelope"), there(bundle, "messageSignature")) {
        (Some(envelope), None) => {
            (envelope.get("payloadType")?.text()? == IN_TOTO).then_some(())?;
            let payload = base64(envelope, "payload")?;
            let [signature] = envelope.get("signatures")?.list()? else { return None };
            let signature = base64(signature, "sig")?;
            let claim = statement(&strict_json::read(&payload)?)?;
            Some(Slow::Envelope { claim, payload, signature })
        }
        (None, Some(message)) => {
            let digest = message.get("messageDigest")?;
            let bytes = base64(digest, "digest")?;
            let sha256 = match digest.get("algorithm")?.text()? {
                "SHA2_256" => Some(bytes),
                "SHA2_384" | "SHA2_512" => None,
                _ => return None,
            };
            Some(Slow::Message { sha256, signature: base64(message, "signature")? })
        }
        _ => None,
    };
    Some((signed?, is_keyless))
}

/// `None` if it must be refused.
fn statement(statement: &Json) -> Option<Claim> {
    let kind = statement.get("_type")?.text()?;
    matches!(kind, "https://in-toto.io/Statement/v1" | "https://in-toto.io/Statement/v0.1").then_some(())?;
    (statement.get("predicateType")?.text()? == "https://sigstore.dev/cosign/sign/v1").then_some(())?;
    let subjects = statement.get("subject")?.list()?;
    let mut claim = Claim::default();
    for subject in subjects {
        let digests = subject.get("digest")?;
        let Json::Object(_) = digests else { return None };
        if let Some(hex) = digests.get("sha256").and_then(Json::text).filter(|hex| is_hex(hex)) {
            claim.add(hex, subject.get("annotations"))?;
        }
    }
    (subjects.len() <= 64 && !claim.images.is_empty()).then_some(claim)
}

/// A member that is not `null`.
fn there<'j>(json: &'j Json, name: &str) -> Option<&'j Json> {
    json.get(name).filter(|value| **value != Json::Null)
}

fn base64(json: &Json, name: &str) -> Option<Vec<u8>> {
    STANDARD.decode(json.get(name)?.text()?).ok()
}
