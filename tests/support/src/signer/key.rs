//! Keys that sign, and how Notary writes them down.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};

use super::canonical::canonical;
use crate::certificates::Leaf;

/// RSA keys cannot be made by ring, so all RSA keys of the tests are this one.
const RSA: &str = include_str!("test-only-rsa-key.pem");

/// A key pair, as one role's key: bare, or wrapped in a certificate. Cheap to clone.
///
/// P-384 is missing: Notary signs with it over SHA-256, which ring cannot do.
#[derive(Clone)]
pub struct Key {
    pair: Arc<KeyPair>,
    kind: Kind,
    bundle: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    Ed25519,
    RsaPss,
    RsaPkcs1v15,
}

impl Key {
    /// A new ECDSA key on P-256.
    pub fn p256() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self { pair: Arc::new(pair), kind: Kind::P256, bundle: None }
    }

    /// A new Ed25519 key.
    pub fn ed25519() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        Self { pair: Arc::new(pair), kind: Kind::Ed25519, bundle: None }
    }

    /// The tests' one RSA key, signing by RSA-PSS as Notary does.
    pub fn rsa_pss() -> Self {
        Self { pair: Arc::new(rsa_pair()), kind: Kind::RsaPss, bundle: None }
    }

    /// The tests' one RSA key, signing by PKCS#1 v1.5.
    pub fn rsa_pkcs1v15() -> Self {
        Self { pair: Arc::new(rsa_pair()), kind: Kind::RsaPkcs1v15, bundle: None }
    }

    /// A new P-256 key in a certificate with this common name: what `notary init` makes as a root key.
    pub fn root(common_name: &str) -> Self {
        let key = Self::p256();
        let certificate = Leaf::new(common_name).self_signed(&key);
        key.with_bundle(certificate)
    }

    /// The same key wrapped in these certificates (PEM, leaf first).
    pub fn with_bundle(&self, pem: impl Into<String>) -> Self {
        Self { bundle: Some(pem.into()), ..self.clone() }
    }

    /// The same key, bare.
    pub fn bare(&self) -> Self {
        Self { bundle: None, ..self.clone() }
    }

    /// `ecdsa`, `ecdsa-x509`, `rsa`, `rsa-x509` or `ed25519`.
    pub fn keytype(&self) -> String {
        let bare = match self.kind {
            Kind::P256 => "ecdsa",
            Kind::Ed25519 => "ed25519",
            Kind::RsaPss | Kind::RsaPkcs1v15 => "rsa",
        };
        if self.bundle.is_some() { format!("{bare}-x509") } else { bare.to_owned() }
    }

    /// The bytes under `keyval.public`, before base64.
    pub fn public(&self) -> Vec<u8> {
        match (&self.bundle, self.kind) {
            (Some(pem), _) => pem.clone().into_bytes(),
            (None, Kind::Ed25519) => self.ed25519_pair().public_key().as_ref().to_vec(),
            (None, _) => self.pair.subject_public_key_info(),
        }
    }

    /// The key as metadata has it.
    pub fn json(&self) -> Value {
        json!({"keytype": self.keytype(), "keyval": {"private": null, "public": STANDARD.encode(self.public())}})
    }

    /// The key's ID: the hash of its canonical JSON.
    pub fn id(&self) -> String {
        super::sha256_hex(&canonical(&self.json()))
    }

    /// The bytes of [`Self::id`].
    pub fn id_bytes(&self) -> [u8; 32] {
        super::sha256(&canonical(&self.json()))
    }

    /// The public key as `PUBLIC KEY` PEM: what an operator configures for a signer.
    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The private key as PKCS#8 PEM.
    pub fn private_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The signature method.
    pub fn method(&self) -> &'static str {
        match self.kind {
            Kind::P256 => "ecdsa",
            Kind::Ed25519 => "eddsa",
            Kind::RsaPss => "rsapss",
            Kind::RsaPkcs1v15 => "rsapkcs1v15",
        }
    }

    /// The raw signature of `message`.
    pub fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let der = self.pair.serialized_der();
        match self.kind {
            Kind::P256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).expect("a key");
                pair.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            Kind::Ed25519 => self.ed25519_pair().sign(message).as_ref().to_vec(),
            Kind::RsaPss | Kind::RsaPkcs1v15 => {
                let pair = RsaKeyPair::from_pkcs8(der).expect("a key");
                let padding: &dyn ring::signature::RsaEncoding = match self.kind {
                    Kind::RsaPss => &ring::signature::RSA_PSS_SHA256,
                    _ => &ring::signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut out).expect("a signature");
                out
            }
        }
    }

    /// An entry of `signatures` over `signed`.
    pub fn sign(&self, signed: &Value) -> Value {
        let signature = self.sign_bytes(&canonical(signed));
        json!({"keyid": self.id(), "method": self.method(), "sig": STANDARD.encode(signature)})
    }

    fn ed25519_pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.pair.serialized_der()).expect("a key")
    }

    /// The key for making certificates.
    pub(crate) fn rcgen(&self) -> Arc<KeyPair> {
        Arc::clone(&self.pair)
    }
}

pub(crate) fn rsa_pair() -> KeyPair {
    let pem = RSA.find("-----BEGIN").and_then(|start| RSA.get(start..)).expect("a PEM block");
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(lines).expect("base64");
    let der = pki_types::PrivatePkcs8KeyDer::from(der);
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).expect("an RSA key")
}
