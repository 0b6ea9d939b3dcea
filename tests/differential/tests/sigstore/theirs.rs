//! The verifier of the Sigstore project in Rust, sigstore-verify, with ring.

use std::cell::RefCell;
use std::collections::BTreeSet;

use ring::digest::{self, Context, SHA256, SHA384, SHA512};
use ring::signature::{self as ring_signature, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;
use sigstore_crypto::{CryptoProvider, Error, HashContext, Result as CryptoResult, SigningScheme};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey, HashAlgorithm};
use sigstore_verify::{Error as VerifyError, PublicKeyVerificationPolicy, VerificationPolicy, verify};

use super::{By, Case};

/// Does it accept the bundle?
pub fn theirs(case: &Case, bundle: &str, root: &str) -> Result<(), String> {
    let is_reordered = root != case.root && authorities(root).is_subset(&authorities(&case.root));
    let _ = sigstore_crypto::install_default_provider(&Ring);
    ARTIFACT.set(case.artifact.clone());
    let root = TrustedRoot::from_json(root).map_err(|error| format!("trusted root: {error}"))?;
    let bundle = Bundle::from_json(bundle).map_err(|error| format!("bundle: {error}"))?;
    let result = match &case.by {
        By::Identity { issuer, subject } => {
            let policy = VerificationPolicy::new(subject.as_str(), issuer.as_str());
            verify(&case.artifact, &bundle, &policy, &root)
        }
        By::Key { pem } => {
            let key = DerPublicKey::from_pem(pem).map_err(|error| format!("key: {error}"))?;
            let policy = PublicKeyVerificationPolicy::new(key);
            verify(&case.artifact, &bundle, &policy, &root)
        }
    };
    // Such a bundle has another time.
    let has_promise = bundle.verification_material.tlog_entries.iter().any(|entry| entry.inclusion_promise.is_some());
    result.map(drop).map_err(|error| match error {
        VerifyError::Timestamp(_) if is_reordered => format!("a time stamp by a part of the chain: {error}"),
        VerifyError::Timestamp(_) if has_promise => format!("a time stamp beside a promise: {error}"),
        error => error.to_string(),
    })
}

/// The certificates of the time stamp authorities of a trusted root, whatever their order is.
fn authorities(root: &str) -> BTreeSet<String> {
    let root: Value = serde_json::from_str(root).unwrap_or_default();
    let chains = root["timestampAuthorities"].as_array().into_iter().flatten();
    let certificates = chains.flat_map(|chain| chain["certChain"]["certificates"].as_array().into_iter().flatten());
    certificates.filter_map(|certificate| certificate["rawBytes"].as_str().map(str::to_owned)).collect()
}

thread_local! {
    /// What is verified now: ring verifies no signatures over a hash that it has not computed itself.
    static ARTIFACT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Ring;

struct RingHash(Context);

impl HashContext for RingHash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> CryptoResult<Box<dyn HashContext>> {
        let algorithm = match algorithm {
            HashAlgorithm::Sha2256 => &SHA256,
            HashAlgorithm::Sha2384 => &SHA384,
            HashAlgorithm::Sha2512 => &SHA512,
            _ => return Err(Error::UnsupportedAlgorithm("this hash".to_owned())),
        };
        Ok(Box::new(RingHash(Context::new(algorithm))))
    }

    fn verify_raw(&self, scheme: SigningScheme, key: &[u8], message: &[u8], signature: &[u8]) -> CryptoResult<()> {
        let algorithm: &dyn VerificationAlgorithm = match scheme {
            SigningScheme::EcdsaP256Sha256 => &ring_signature::ECDSA_P256_SHA256_ASN1,
            SigningScheme::EcdsaP256Sha384 => &ring_signature::ECDSA_P256_SHA384_ASN1,
            SigningScheme::EcdsaP384Sha256 => &ring_signature::ECDSA_P384_SHA256_ASN1,
            SigningScheme::EcdsaP384Sha384 => &ring_signature::ECDSA_P384_SHA384_ASN1,
            SigningScheme::Ed25519 => &ring_signature::ED25519,
            SigningScheme::RsaPkcs1Sha256 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
            SigningScheme::RsaPkcs1Sha384 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
            SigningScheme::RsaPkcs1Sha512 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
            SigningScheme::RsaPssSha256 => &ring_signature::RSA_PSS_2048_8192_SHA256,
            _ => return Err(Error::UnsupportedAlgorithm("this signature".to_owned())),
        };
        let result = UnparsedPublicKey::new(algorithm, key).verify(message, signature);
        result.map_err(|_| Error::UnsupportedAlgorithm("a signature that is not right".to_owned()))
    }

    fn verify_prehashed(&self, scheme: SigningScheme, key: &[u8], hash: &[u8], signature: &[u8]) -> CryptoResult<()> {
        ARTIFACT.with_borrow(|artifact| {
            let algorithms = [&SHA256, &SHA384, &SHA512];
            if algorithms.iter().any(|algorithm| digest::digest(algorithm, artifact).as_ref() == hash) {
                self.verify_raw(scheme, key, artifact, signature)
            } else {
                Err(Error::UnsupportedAlgorithm("the hash of something else".to_owned()))
            }
        })
    }
}
