//! Public keys and the signatures that they verify: ECDSA P-256 and P-384, RSA, and Ed25519. Keys of other kinds, and keys
//! in a second encoding, are refused.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::der::{Element, Reader, element, tag};

/// The whole `AlgorithmIdentifier` of each kind of key, in the one encoding that it has.
const P256: &[u8] = &[
    0x30, 0x13, // SEQUENCE
    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, // 1.2.840.10045.2.1, a key on an elliptic curve
    6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, // 1.2.840.10045.3.1.7
];
const P384: &[u8] = &[
    0x30, 0x10, // SEQUENCE
    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, // 1.2.840.10045.2.1, a key on an elliptic curve
    6, 5, 0x2b, 0x81, 4, 0, 34, // 1.3.132.0.34
];
const RSA: &[u8] = &[
    0x30, 0x0d, // SEQUENCE
    6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, // 1.2.840.113549.1.1.1
    5, 0, // NULL
];
const ED25519_ID: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70]; // 1.3.101.112

/// The names of the keys that are not verified, by the OBJECT IDENTIFIER of their curve or of their kind.
const UNSUPPORTED: [(&[u8], &str); 9] = [
    (&[0x2b, 0x81, 4, 0, 35], "an ECDSA key on P-521"),     // 1.3.132.0.35
    (&[0x2b, 0x81, 4, 0, 33], "an ECDSA key on P-224"),     // 1.3.132.0.33
    (&[0x2b, 0x81, 4, 0, 10], "an ECDSA key on secp256k1"), // 1.3.132.0.10
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], "an ECDSA key on another curve"), // 1.2.840.10045.2.1
    (&[0x2b, 0x65, 0x71], "an Ed448 key"),                  // 1.3.101.113
    (&[0x2b, 0x65, 0x6e], "an X25519 key"),                 // 1.3.101.110
    (&[0x2b, 0x65, 0x6f], "an X448 key"),                   // 1.3.101.111
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "a DSA key"),   // 1.2.840.10040.4.1
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10], "an RSA-PSS key"), // 1.2.840.113549.1.1.10
];

/// How a signature is made. All but Ed25519 hash the message first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    /// ECDSA with either curve. The signature is r and s, each as long as the curve's order, and never DER.
    EcdsaSha256,
    /// ECDSA with either curve. The signature is DER (RFC 3279 §2.2.3), and never r and s alone.
    EcdsaSha256Der,
    /// ECDSA with P-384 alone. The signature is r and s, 48 bytes each, and never DER.
    EcdsaSha384,
    /// ECDSA with P-384 alone. The signature is DER.
    EcdsaSha384Der,
    /// ECDSA with either curve, as in certificates. The signature is DER.
    EcdsaAnySha384Der,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
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
        Reader::all(der, SubjectPublicKeyInfo::read)?.public_key()
    }

    /// From a PKCS#1 `RSAPublicKey` in DER.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Option<Self> {
        Some(Self::Rsa { pkcs1: der.to_vec(), bits: modulus_bits(der)? })
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

    /// What the check of a signature takes, in units of [`crate::Effort`].
    pub(crate) fn units(&self) -> usize {
        match self {
            Self::P256(_) | Self::Ed25519(_) => 1,
            Self::Rsa { bits, .. } => 1 + bits / 4096,
            Self::P384(_) => 10,
        }
    }

    /// Has this key made the signature over `message`? An algorithm of another kind of key has not.
    pub(crate) fn verifies(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        use SignatureAlgorithm::{
            EcdsaAnySha384Der, EcdsaSha256, EcdsaSha256Der, EcdsaSha384, EcdsaSha384Der, Ed25519, RsaPkcs1Sha256,
            RsaPkcs1Sha384, RsaPkcs1Sha512, RsaPssSha256, RsaPssSha384, RsaPssSha512,
        };
        let check = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8], signature: &[u8]| {
            #[cfg(test)]
            CHECKS.with(|count| count.set(count.get() + 1));
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (self, algorithm) {
            (Self::P256(point), EcdsaSha256) => check(&ECDSA_P256_SHA256_FIXED, point, signature),
            // ring takes P-384 with SHA-256 in DER only.
            (Self::P384(point), EcdsaSha256) => {
                p384_der(signature).is_some_and(|der| check(&ECDSA_P384_SHA256_ASN1, point, &der))
            }
            (Self::P384(point), EcdsaSha384) => check(&ECDSA_P384_SHA384_FIXED, point, signature),
            (Self::P256(_) | Self::P384(_), EcdsaSha256Der | EcdsaSha384Der | EcdsaAnySha384Der)
                if !is_der(signature) =>
            {
                false
            }
            (Self::P256(point), EcdsaAnySha384Der) => check(&ECDSA_P256_SHA384_ASN1, point, signature),
            (Self::P256(point), EcdsaSha256Der) => check(&ECDSA_P256_SHA256_ASN1, point, signature),
            (Self::P384(point), EcdsaSha256Der) => check(&ECDSA_P384_SHA256_ASN1, point, signature),
            (Self::P384(point), EcdsaSha384Der | EcdsaAnySha384Der) => check(&ECDSA_P384_SHA384_ASN1, point, signature),
            (Self::Rsa { pkcs1, .. }, RsaPssSha256) => check(&RSA_PSS_2048_8192_SHA256, pkcs1, signature),
            (Self::Rsa { pkcs1, .. }, RsaPssSha384) => check(&RSA_PSS_2048_8192_SHA384, pkcs1, signature),
            (Self::Rsa { pkcs1, .. }, RsaPssSha512) => check(&RSA_PSS_2048_8192_SHA512, pkcs1, signature),
            (Self::Rsa { pkcs1, .. }, RsaPkcs1Sha256) => check(&RSA_PKCS1_2048_8192_SHA256, pkcs1, signature),
            (Self::Rsa { pkcs1, .. }, RsaPkcs1Sha384) => check(&RSA_PKCS1_2048_8192_SHA384, pkcs1, signature),
            (Self::Rsa { pkcs1, .. }, RsaPkcs1Sha512) => check(&RSA_PKCS1_2048_8192_SHA512, pkcs1, signature),
            (Self::Ed25519(raw), Ed25519) => check(&ED25519, raw, signature),
            _ => false,
        }
    }

    /// The key as DER `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let (algorithm, bytes) = match self {
            Self::P256(point) => (P256, point.as_slice()),
            Self::P384(point) => (P384, point.as_slice()),
            Self::Rsa { pkcs1, .. } => (RSA, pkcs1.as_slice()),
            Self::Ed25519(raw) => (ED25519_ID, raw.as_slice()),
        };
        element(tag::SEQUENCE, &[algorithm, &element(tag::BIT_STRING, &[&[0], bytes])])
    }
}

#[cfg(test)]
thread_local! {
    /// The signatures that this thread has checked, for the tests of what a sender can make us do.
    pub(crate) static CHECKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A public key in a certificate or in a file, of any kind (RFC 5280 §4.1.2.7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubjectPublicKeyInfo<'a> {
    /// All of it, with its tag.
    pub(crate) der: &'a [u8],
    /// The whole `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> SubjectPublicKeyInfo<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let whole = reader.any().filter(|info| info.tag == tag::SEQUENCE)?;
        Reader::all(whole.content, |info| {
            let mut inner = *info;
            inner.within(tag::SEQUENCE, Reader::algorithm)?;
            let Element { whole: algorithm, .. } = info.any()?;
            Some(Self { der: whole.whole, algorithm, bytes: info.bytes()? })
        })
    }

    /// The key, if it is of a kind that is verified. One key has one encoding and so one canonical ID: a second spelling
    /// would count as a second key.
    pub(crate) fn public_key(self) -> Option<PublicKey> {
        let Self { algorithm, bytes, .. } = self;
        match (algorithm, bytes.first()) {
            (P256, Some(4)) if bytes.len() == 65 => Some(PublicKey::P256(bytes.to_vec())),
            (P384, Some(4)) if bytes.len() == 97 => Some(PublicKey::P384(bytes.to_vec())),
            (RSA, _) => PublicKey::from_pkcs1(bytes),
            (ED25519_ID, _) => Some(PublicKey::Ed25519(bytes.try_into().ok()?)),
            _ => None,
        }
    }
}

/// What a `SubjectPublicKeyInfo` is that [`PublicKey::from_spki`] refuses for its kind. `None` for other kinds, and for
/// what cannot be read.
pub(crate) fn unsupported_kind(der: &[u8]) -> Option<&'static str> {
    let key = Reader::all(der, SubjectPublicKeyInfo::read)?;
    if key.algorithm == P256 || key.algorithm == P384 {
        return None; // the point is compressed, or has another length
    }
    let (kind, curve) = Reader::new(key.algorithm).within(tag::SEQUENCE, |algorithm| {
        let kind = algorithm.oid()?;
        let curve = if algorithm.is_next(tag::OBJECT_IDENTIFIER) { algorithm.oid() } else { None };
        algorithm.any(); // other parameters
        Some((kind, curve.unwrap_or(kind)))
    })?;
    UNSUPPORTED.iter().find(|(id, _)| *id == curve || *id == kind).map(|(_, name)| *name)
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
    let key = |key: &mut Reader<'_>| {
        let modulus = key.unsigned()?;
        key.unsigned()?; // the exponent
        let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        Some(8 * modulus.len() - leading)
    };
    Reader::all(pkcs1, |all| all.within(tag::SEQUENCE, key))
}

/// Is this a signature in DER: two positive numbers, each in its one encoding?
fn is_der(signature: &[u8]) -> bool {
    let numbers = |numbers: &mut Reader<'_>| numbers.unsigned().and(numbers.unsigned()).map(drop);
    Reader::all(signature, |all| all.within(tag::SEQUENCE, numbers)).is_some()
}

/// r‖s of exactly 96 bytes as the DER that ring wants. DER itself is refused by its length (row 99).
fn p384_der(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(48).filter(|(_, s)| s.len() == 48)?;
    let number = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = bytes.get(zeros..).filter(|digits| !digits.is_empty())?;
        let sign: &[u8] = if digits.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
        Some(element(tag::INTEGER, &[sign, digits]))
    };
    Some(element(tag::SEQUENCE, &[&number(r)?, &number(s)?]))
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::signer::Key;

    use x509_cert::der::Decode as _;
    use x509_cert::spki::SubjectPublicKeyInfoOwned;

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
