//! Public keys and the signatures that they verify: ECDSA P-256 and P-384, RSA, and Ed25519. Keys of other kinds, and keys
//! in a second encoding, are refused.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use x509_cert::der::asn1::{Any, BitString, Null, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How a signature is made. All but Ed25519 hash the message with SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    /// ECDSA with either curve. The signature is r and s, each as long as the curve's order, and never DER.
    EcdsaSha256,
    RsaPssSha256,
    RsaPkcs1Sha256,
    Ed25519,
}

/// A public key of a kind that is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// An uncompressed point.
    P256(Vec<u8>),
    /// An uncompressed point.
    P384(Vec<u8>),
    /// A PKCS#1 `RSAPublicKey`, and the bits of its modulus.
    Rsa {
        /// The key in PKCS #1, DER.
        pkcs1: Vec<u8>,
        /// The length of the modulus in bits.
        bits: usize,
    },
    /// Ed25519.
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// From a `SubjectPublicKeyInfo` in DER, in the one encoding that a key of its kind has. `None` for kinds that are not
    /// verified, such as P-521.
    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoOwned::from_der(der).ok()?;
        let bits = info.subject_public_key.as_bytes()?;
        let curve = || info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let material = match info.algorithm.oid {
            EC if curve() == Some(P256) && bits.len() == 65 && bits.first() == Some(&4) => Self::P256(bits.to_vec()),
            EC if curve() == Some(P384) && bits.len() == 97 && bits.first() == Some(&4) => Self::P384(bits.to_vec()),
            RSA => Self::Rsa { pkcs1: bits.to_vec(), bits: modulus_bits(bits)? },
            ED25519_ID => Self::Ed25519(bits.try_into().ok()?),
            _ => return None,
        };
        // One key, one encoding, one canonical ID: a second spelling would count as a second key.
        (material.spki()? == der).then_some(material)
    }

    /// Is it an RSA key below 2048 bits, whose signatures ring rejects as well, or an Ed25519 key for which anybody can sign,
    /// whose signatures ring accepts?
    pub(crate) fn is_weak(&self) -> bool {
        match self {
            Self::Rsa { bits, .. } => *bits < 2048,
            Self::Ed25519(raw) => has_small_order(raw),
            Self::P256(_) | Self::P384(_) => false,
        }
    }

    /// Has this key made the signature over `message`? An algorithm of another kind of key has not.
    pub(crate) fn verifies(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        use SignatureAlgorithm::{EcdsaSha256, Ed25519, RsaPkcs1Sha256, RsaPssSha256};
        let check = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8], signature: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (self, algorithm) {
            (Self::P256(point), EcdsaSha256) => check(&ECDSA_P256_SHA256_FIXED, point, signature),
            // ring takes P-384 with SHA-256 in DER only.
            (Self::P384(point), EcdsaSha256) => {
                p384_der(signature).is_some_and(|der| check(&ECDSA_P384_SHA256_ASN1, point, &der))
            }
            (Self::Rsa { pkcs1, .. }, RsaPssSha256) => check(&RSA_PSS_2048_8192_SHA256, pkcs1, signature),
            (Self::Rsa { pkcs1, .. }, RsaPkcs1Sha256) => check(&RSA_PKCS1_2048_8192_SHA256, pkcs1, signature),
            (Self::Ed25519(raw), Ed25519) => check(&ED25519, raw, signature),
            _ => false,
        }
    }

    /// The key as DER `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> Option<Vec<u8>> {
        let (oid, parameters, bits) = match self {
            Self::P256(point) => (EC, Some(Any::encode_from(&P256).ok()?), point.as_slice()),
            Self::P384(point) => (EC, Some(Any::encode_from(&P384).ok()?), point.as_slice()),
            Self::Rsa { pkcs1, .. } => (RSA, Some(Any::encode_from(&Null).ok()?), pkcs1.as_slice()),
            Self::Ed25519(raw) => (ED25519_ID, None, raw.as_slice()),
        };
        let info = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid, parameters },
            subject_public_key: BitString::from_bytes(bits).ok()?,
        };
        info.to_der().ok()
    }
}

/// The y coordinates of the points of order 8 on Ed25519's curve, little-endian (RFC 8032 §5.1).
pub(crate) const ORDER_8: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Is this Ed25519 key a point of order 1, 2, 4 or 8, in any encoding? Anybody can sign for such a key without a secret
/// (TRUST.md, row 104). An encoding with y of 2^255 - 19 or more (RFC 8032 §5.1.3) counts as well: it would give the same
/// key a second ID.
fn has_small_order(raw: &[u8; 32]) -> bool {
    let mut y = *raw;
    let [first, middle @ .., last] = &mut y;
    *last &= 0x7f; // without the sign of x
    match (*first, *last) {
        (0 | 1, 0) => middle.iter().all(|byte| *byte == 0), // 0 and 1: orders 4 and 1
        (0xec.., 0x7f) => middle.iter().all(|byte| *byte == u8::MAX), // -1: order 2; and all above it
        _ => ORDER_8.contains(&y),
    }
}

fn modulus_bits(pkcs1: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(pkcs1).ok()?;
    let bits = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        UintRef::decode(reader)?;
        let leading = modulus.as_bytes().first().map_or(8, |byte| byte.leading_zeros() as usize);
        Ok::<_, x509_cert::der::Error>((8 * modulus.as_bytes().len()).saturating_sub(leading))
    });
    reader.is_finished().then_some(bits.ok()?)
}

/// r‖s of exactly 96 bytes as the DER that ring wants. DER itself is refused by its length (row 99).
fn p384_der(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(48).filter(|(_, s)| s.len() == 48)?;
    let mut body = Vec::with_capacity(102);
    for number in [r, s] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = number.get(zeros..).filter(|digits| !digits.is_empty())?;
        let sign = digits.first().is_some_and(|byte| byte & 0x80 != 0);
        body.push(2); // INTEGER
        body.push(u8::try_from(digits.len() + usize::from(sign)).ok()?);
        body.extend(sign.then_some(0));
        body.extend_from_slice(digits);
    }
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?]; // SEQUENCE, at most 102 bytes: one length byte
    der.extend(body);
    Some(der)
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::signer::Key;

    use super::*;
    use crate::crypto::pem::pem_blocks;

    #[test]
    fn one_key_has_one_encoding() {
        let der = |pem: &str| pem_blocks(pem, 1).unwrap().remove(0).der;
        let mut key = der(include_str!("../tuf/fixtures/p256-public.pem"));
        assert!(PublicKey::from_spki(&key).is_some());
        key.push(0);
        assert!(PublicKey::from_spki(&key).is_none());
        // RSA without the NULL that belongs there: the same key under another ID.
        let rsa = der(&Key::rsa_pss().public_pem());
        assert!(PublicKey::from_spki(&rsa).is_some());
        let null = rsa.windows(2).position(|pair| pair == [5, 0]).unwrap();
        let mut twin = rsa.clone();
        twin.drain(null..null + 2);
        twin[3] -= 2; // the outer length, which is two bytes long
        let algorithm = null - 12;
        assert_eq!(twin[algorithm], 13);
        twin[algorithm] = 11;
        assert!(SubjectPublicKeyInfoOwned::from_der(&twin).is_ok(), "the test's own twin must be sound");
        assert!(PublicKey::from_spki(&twin).is_none());
    }
}
