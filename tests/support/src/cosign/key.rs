//! Keys that sign as cosign does.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};

use crate::signer::{rsa_pair, sha256};

/// A key pair. Cheap to clone.
#[derive(Clone)]
pub struct Key {
    pair: Arc<KeyPair>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Rsa,
    Ed25519,
}

impl Key {
    /// A new key on P-256, which `cosign generate-key-pair` makes. It signs over SHA-256, in DER.
    pub fn p256() -> Self {
        Self::generate(&PKCS_ECDSA_P256_SHA256, Kind::P256)
    }

    /// A new key on P-384. It signs over SHA-384, in DER.
    pub fn p384() -> Self {
        Self::generate(&PKCS_ECDSA_P384_SHA384, Kind::P384)
    }

    /// A new Ed25519 key. It signs without prehashing, as cosign 2 does.
    pub fn ed25519() -> Self {
        Self::generate(&PKCS_ED25519, Kind::Ed25519)
    }

    /// The Ed25519 key with this seed. Its signatures are always the same.
    pub fn ed25519_of(seed: [u8; 32]) -> Self {
        // PKCS#8 (RFC 8410 §7).
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend(seed);
        let der = pki_types::PrivatePkcs8KeyDer::from(der);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).expect("a key");
        Self { pair: Arc::new(pair), kind: Kind::Ed25519 }
    }

    /// The tests' one RSA key. It signs by PKCS#1 v1.5 over SHA-256.
    pub fn rsa() -> Self {
        Self { pair: Arc::new(rsa_pair()), kind: Kind::Rsa }
    }

    fn generate(algorithm: &'static rcgen::SignatureAlgorithm, kind: Kind) -> Self {
        Self { pair: Arc::new(KeyPair::generate_for(algorithm).expect("a key")), kind }
    }

    /// The public key as `cosign.pub` has it.
    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The private key as PKCS#8 PEM.
    pub fn private_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The hash of its `SubjectPublicKeyInfo`.
    pub fn id(&self) -> [u8; 32] {
        sha256(&self.pair.subject_public_key_info())
    }

    /// The hint of a bundle: [`Self::id`] in base64.
    pub fn hint(&self) -> String {
        STANDARD.encode(self.id())
    }

    /// The signature of `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::P256 => self.ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, message),
            Kind::P384 => self.ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, message),
            Kind::Rsa => self.rsa_signature(&RSA_PKCS1_SHA256, message),
            Kind::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.pair.serialized_der()).expect("a key");
                pair.sign(message).as_ref().to_vec()
            }
        }
    }

    /// The signature in the encoding, or with the padding, that cosign does not write: r‖s for ECDSA, PSS for RSA.
    pub fn sign_otherwise(&self, message: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::P256 => self.ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, message),
            Kind::P384 => self.ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, message),
            Kind::Rsa => self.rsa_signature(&RSA_PSS_SHA256, message),
            Kind::Ed25519 => panic!("Ed25519 has one form"),
        }
    }

    fn ecdsa(&self, algorithm: &'static EcdsaSigningAlgorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, self.pair.serialized_der(), &random).expect("a key");
        pair.sign(&random, message).expect("a signature").as_ref().to_vec()
    }

    fn rsa_signature(&self, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let pair = RsaKeyPair::from_pkcs8(self.pair.serialized_der()).expect("a key");
        let mut out = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut out).expect("a signature");
        out
    }
}
