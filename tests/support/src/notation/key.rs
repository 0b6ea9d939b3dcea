//! Keys of the kinds that Notation has, and of some that it refuses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};

use super::tlv;

/// ring makes no RSA keys, so all RSA keys of a size are the same one.
const RSA: [(usize, &str); 3] = [
    (2048, include_str!("test-only-rsa-2048.pem")),
    (3072, include_str!("test-only-rsa-3072.pem")),
    (4096, include_str!("test-only-rsa-4096.pem")),
];

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    P256,
    P384,
    Ed25519,
    /// 2048, 3072 or 4096 bits. Of other sizes nobody has the private key, and they sign nothing.
    Rsa(usize),
    /// A public key on P-521 which nobody has the private key of; it signs nothing.
    P521,
}

/// A key that signs.
#[derive(Clone)]
pub struct SigningKey {
    pub kind: Kind,
    pkcs8: Vec<u8>,
}

impl SigningKey {
    pub fn new(kind: Kind) -> Self {
        let random = SystemRandom::new();
        let ecdsa = |algorithm| EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap().as_ref().to_vec();
        let pkcs8 = match kind {
            Kind::P256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Kind::P384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Kind::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref().to_vec(),
            Kind::Rsa(bits) => {
                let pem = RSA.iter().find(|(known, _)| *known == bits).map_or("", |(_, pem)| pem);
                let base64: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
                STANDARD.decode(base64).unwrap()
            }
            Kind::P521 => Vec::new(),
        };
        Self { kind, pkcs8 }
    }

    /// The algorithm of envelopes that is right for the key.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::P256 => "ES256",
            Kind::P384 => "ES384",
            Kind::Rsa(3072) => "PS384",
            Kind::Rsa(4096) => "PS512",
            Kind::Rsa(_) => "PS256",
            Kind::P521 => "ES512",
            Kind::Ed25519 => "EdDSA",
        }
    }

    fn ecdsa(&self, algorithm: &'static EcdsaSigningAlgorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8, &random).unwrap();
        pair.sign(&random, message).unwrap().as_ref().to_vec()
    }

    fn rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// Signs as an envelope's signature is made. For an RSA key by any of its algorithms, for others by their own.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match (self.kind, algorithm) {
            (Kind::Rsa(bits), _) if self.pkcs8.is_empty() => vec![1; bits / 8],
            (Kind::P256, _) => self.ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, message),
            (Kind::P384, _) => self.ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, message),
            (Kind::Rsa(_), "PS384") => self.rsa(&RSA_PSS_SHA384, message),
            (Kind::Rsa(_), "PS512") => self.rsa(&RSA_PSS_SHA512, message),
            (Kind::Rsa(_), "RS256") => self.rsa(&RSA_PKCS1_SHA256, message),
            (Kind::Rsa(_), _) => self.rsa(&RSA_PSS_SHA256, message),
            (Kind::Ed25519, _) => Ed25519KeyPair::from_pkcs8(&self.pkcs8).unwrap().sign(message).as_ref().to_vec(),
            (Kind::P521, _) => vec![1; 132],
        }
    }

    /// Signs as certificates and revocation lists are signed: the `AlgorithmIdentifier`, and the signature.
    pub(super) fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::P256 => self.ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, message),
            Kind::P384 => self.ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, message),
            Kind::Rsa(_) => self.rsa(&RSA_PKCS1_SHA256, message),
            Kind::Ed25519 | Kind::P521 => self.sign("", message),
        }
    }

    /// The `AlgorithmIdentifier` of [`Self::sign_der`].
    pub(super) fn der_algorithm(&self) -> Vec<u8> {
        match self.kind {
            Kind::P256 | Kind::P521 => tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]),
            Kind::P384 => tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]])]),
            Kind::Rsa(_) => tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]]), &[5, 0]]),
            Kind::Ed25519 => tlv(0x30, &[&tlv(6, &[&[0x2b, 0x65, 0x70]])]),
        }
    }

    /// The `SubjectPublicKeyInfo`.
    pub(super) fn spki(&self) -> Vec<u8> {
        let ec = |curve: &[u8], point: &[u8]| {
            let algorithm = tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]]), &tlv(6, &[curve])]);
            tlv(0x30, &[&algorithm, &tlv(3, &[&[0], point])])
        };
        let random = SystemRandom::new();
        let point = |algorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8, &random).unwrap().public_key().as_ref().to_vec()
        };
        match self.kind {
            Kind::P256 => ec(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], &point(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            Kind::P384 => ec(&[0x2b, 0x81, 4, 0, 34], &point(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            Kind::P521 => ec(&[0x2b, 0x81, 4, 0, 35], &[&[4][..], &[1; 132]].concat()),
            Kind::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(&self.pkcs8).unwrap();
                let algorithm = tlv(0x30, &[&tlv(6, &[&[0x2b, 0x65, 0x70]])]);
                tlv(0x30, &[&algorithm, &tlv(3, &[&[0], pair.public_key().as_ref()])])
            }
            Kind::Rsa(bits) => {
                let key = match RsaKeyPair::from_pkcs8(&self.pkcs8) {
                    Ok(pair) => pair.public_key().as_ref().to_vec(),
                    Err(_) => tlv(0x30, &[&tlv(2, &[&[0], &vec![0xff; bits / 8]]), &tlv(2, &[&[1, 0, 1]])]),
                };
                let algorithm = tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]]), &[5, 0]]);
                tlv(0x30, &[&algorithm, &tlv(3, &[&[0], &key])])
            }
        }
    }
}
