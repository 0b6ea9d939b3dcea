//! Algorithms as certificates and signed messages name them: the content of an `AlgorithmIdentifier`, which is an OBJECT
//! IDENTIFIER and its parameters.

use ring::digest;

use super::der::{Reader, tag};
use super::public_key::SignatureAlgorithm;

/// 1.2.840.113549.1.1.1, which names no hash.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// SHA-1 and older hashes are missing (TRUST.md, row 22), RSA-PSS, whose parameters would need checks of their own, and ECDSA over
/// SHA-512, which ring does not verify.
const SIGNATURES: [(&[u8], SignatureAlgorithm); 6] = [
    // 1.2.840.10045.4.3.2 and .3, ecdsa-with-SHA256 and -SHA384
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], SignatureAlgorithm::EcdsaSha256Der),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], SignatureAlgorithm::EcdsaAnySha384Der),
    // 1.2.840.113549.1.1.11 to .13, sha256WithRSAEncryption, sha384… and sha512…
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], SignatureAlgorithm::RsaPkcs1Sha256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], SignatureAlgorithm::RsaPkcs1Sha384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], SignatureAlgorithm::RsaPkcs1Sha512),
    (&[0x2b, 0x65, 0x70], SignatureAlgorithm::Ed25519), // 1.3.101.112
];

/// A hash function for messages. SHA-1 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// From the content of an `AlgorithmIdentifier` (RFC 5754 §2): without parameters, or with NULL.
    pub(crate) fn read(identifier: &mut Reader<'_>) -> Option<Self> {
        let (oid, has_null) = parts(identifier)?;
        has_null?;
        // 2.16.840.1.101.3.4.2.1 to .3
        match oid.strip_prefix(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2])? {
            [1] => Some(Self::Sha256),
            [2] => Some(Self::Sha384),
            [3] => Some(Self::Sha512),
            _ => None,
        }
    }

    pub(crate) fn of(self, message: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message)
    }
}

/// The algorithm of a signature, from the content of its `AlgorithmIdentifier`. A signed message may name the key's kind alone
/// (RFC 3370 §3.2); the hash is then the one that it names elsewhere.
pub(crate) fn signature_algorithm(identifier: &[u8], hash: Option<Hash>) -> Option<SignatureAlgorithm> {
    let (oid, has_null) = Reader::all(identifier, parts)?;
    let found = match (oid, hash) {
        (RSA_ENCRYPTION, Some(Hash::Sha256)) => SignatureAlgorithm::RsaPkcs1Sha256,
        (RSA_ENCRYPTION, Some(Hash::Sha384)) => SignatureAlgorithm::RsaPkcs1Sha384,
        (RSA_ENCRYPTION, Some(Hash::Sha512)) => SignatureAlgorithm::RsaPkcs1Sha512,
        _ => SIGNATURES.iter().find(|(id, _)| *id == oid)?.1,
    };
    use SignatureAlgorithm::{RsaPkcs1Sha256, RsaPkcs1Sha384, RsaPkcs1Sha512};
    // Parameters: NULL for RSA, which some leave out (RFC 4055 §5), and none for others (RFC 5758 §3.2, RFC 8410 §3).
    let may_have_null = matches!(found, RsaPkcs1Sha256 | RsaPkcs1Sha384 | RsaPkcs1Sha512);
    (may_have_null || !has_null?).then_some(found).filter(|_| has_null.is_some())
}

/// The OBJECT IDENTIFIER, and whether NULL follows. The inner `None` stands for other parameters.
fn parts<'a>(identifier: &mut Reader<'a>) -> Option<(&'a [u8], Option<bool>)> {
    let oid = identifier.oid()?;
    if identifier.is_empty() {
        return Some((oid, Some(false)));
    }
    let parameters = identifier.any()?;
    Some((oid, (parameters.tag == tag::NULL && parameters.content.is_empty()).then_some(true)))
}
