//! Signatures and thresholds: the one place that decides whether enough of the right keys have signed.

use std::collections::BTreeSet;
use std::sync::Arc;

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::key::{KeyId, Material, PublicKey, RoleKeys};
use crate::image::Sha256;

/// One entry of `signatures`.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// `None` for an ID that no key can have.
    pub(crate) key_id: Option<KeyId>,
    pub(crate) method: String,
    pub(crate) bytes: Vec<u8>,
}

impl Signature {
    /// From the fields of an entry.
    pub(crate) fn new(key_id: &str, method: &str, bytes: Vec<u8>) -> Self {
        Self { key_id: Sha256::from_hex(key_id), method: method.to_owned(), bytes }
    }
}

/// The keys of a role that have signed `message`. Signatures by keys that the role does not list are passed over.
/// `check_time` is asked before each verification: it hashes the whole message.
pub(crate) fn signers<E>(
    message: &[u8],
    signatures: &[Signature],
    role: &RoleKeys,
    check_time: impl Fn() -> Result<(), E>,
) -> Result<Vec<Arc<PublicKey>>, E> {
    let mut signed = Vec::new();
    for key in role.keys.values() {
        for signature in signatures.iter().filter(|signature| signature.key_id == Some(key.id())) {
            check_time()?;
            if verifies(key.material(), &signature.method, message, &signature.bytes) {
                signed.push(Arc::clone(key));
                break;
            }
        }
    }
    Ok(signed)
}

/// How many different keys these are. Two certificates of one key are one (TRUST.md, row 24), and a key that signed
/// twice is listed once (TUF 1.0 §5.3.5: "each key only once").
pub(crate) fn distinct<'k>(keys: impl IntoIterator<Item = &'k PublicKey>) -> u64 {
    keys.into_iter().map(PublicKey::canonical_id).collect::<BTreeSet<_>>().len() as u64
}

fn verifies(key: &Material, method: &str, message: &[u8], signature: &[u8]) -> bool {
    let is = |name: &str| method.eq_ignore_ascii_case(name); // row 88
    let check = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8], signature: &[u8]| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    };
    match key {
        Material::P256(point) if is("ecdsa") => check(&ECDSA_P256_SHA256_FIXED, point, signature),
        // Notary signs over SHA-256 with every curve; ring takes that for P-384 in DER only.
        Material::P384(point) if is("ecdsa") => {
            p384_der(signature).is_some_and(|der| check(&ECDSA_P384_SHA256_ASN1, point, &der))
        }
        Material::Rsa { pkcs1, .. } if is("rsapss") => check(&RSA_PSS_2048_8192_SHA256, pkcs1, signature),
        Material::Rsa { pkcs1, .. } if is("rsapkcs1v15") => check(&RSA_PKCS1_2048_8192_SHA256, pkcs1, signature),
        Material::Ed25519(raw) if is("eddsa") => check(&ED25519, raw, signature),
        _ => false, // row 84: a method that is unknown, or another key's
    }
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
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::crypto::certificate::pem_blocks;

    const MESSAGE: &[u8] = b"signed over SHA-256";
    /// s begins with a zero byte in the first, so that the DER that is built from it is shorter.
    const P384: [&str; 2] = [
        "CW2uE8T8GxqdtqDsLcRQU0ejHqYR6K+6sUy73KazEpyRf9Ti6Pyjm6M+Lx5kggIKACTXiCZl02ns5j3UNoEw0FKBQ8KMYVpO8gzUqT0wGLzZEcvIXaNIs5NjAA97nKov",
        "cEMMFxspxkwBUEQB7ddd933xIQu4JlfatyjAFHxKsc+oTwMDMxl2gqAFIG75cGUUKhQjNOYcp3qIBfVA25peU+lxPHPW6bG0XqigM0c7ZcLWJH6HfCyyeJ2BeIh2elqy",
    ];
    const P384_AS_DER: &str = "MGQCMHBDDBcbKcZMAVBEAe3XXfd98SELuCZX2rcowBR8SrHPqE8DAzMZdoKgBSBu+XBlFAIwKhQjNOYcp3qIBfVA25peU+lxPHPW6bG0XqigM0c7ZcLWJH6HfCyyeJ2BeIh2elqy";

    /// By another key. Both r and s begin with a set bit, so that DER puts a zero byte before them; then r alone.
    const OTHER_P384: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE7MfXKUXarvv77z3PiE+IgVaVM5AaddoUiDYPv7k9l6U35T1jceSr5+EnCTCqbK27iJ28EA3WyzxeIATUdhkG1MxCit6fjmbxBLXrQPP/g/GzKdnvllib0H+crBw6QTWS";
    const HIGH_BITS: [&str; 2] = [
        "pyFbGRb6ijJq5sca2jMIqIg6VErH9j7kslOesGDQD+Y0S9yWz1u3X/RUaQ0WTcp4iBDf9XUy9Xwiiky9Sr7RoXrWIvOu8L+o2LwesOWitkfxxMVO3KYHSw6lFaQAXqHs",
        "p3Uma2cZ0V/14+36OlqM4ckjuJALc1anKKuDFBmtn/ekN0gPyV+aP7+z+R3ed2nuDFR2I/sXG2ij88RNA2QlTbA+EF14TWiTbRJErGrFDK2Vt++KKLtAomwFEcYKrBFh",
    ];

    fn p384() -> Material {
        let pem = include_str!("fixtures/p384-public.pem");
        Material::from_spki(&pem_blocks(pem, 1).unwrap()[0].der).unwrap()
    }

    #[test]
    fn row_100_p384_signs_over_sha_256_in_raw_form() {
        for signature in P384 {
            let mut raw = STANDARD.decode(signature).unwrap();
            assert!(verifies(&p384(), "ecdsa", MESSAGE, &raw));
            assert!(verifies(&p384(), "EcDsA", MESSAGE, &raw));
            assert!(!verifies(&p384(), "ecdsa", b"something else", &raw));
            assert!(!verifies(&p384(), "rsapss", MESSAGE, &raw));
            raw.push(0);
            assert!(!verifies(&p384(), "ecdsa", MESSAGE, &raw));
            raw.truncate(95);
            assert!(!verifies(&p384(), "ecdsa", MESSAGE, &raw));
        }
        let other = Material::from_spki(&STANDARD.decode(OTHER_P384).unwrap()).unwrap();
        for signature in HIGH_BITS {
            let raw = STANDARD.decode(signature).unwrap();
            assert!(verifies(&other, "ecdsa", MESSAGE, &raw));
            assert!(!verifies(&p384(), "ecdsa", MESSAGE, &raw));
        }
        // Row 99: the very same signature in DER.
        assert!(!verifies(&p384(), "ecdsa", MESSAGE, &STANDARD.decode(P384_AS_DER).unwrap()));
        for hostile in [vec![0; 96], [vec![0; 48], vec![1; 48]].concat(), vec![0xff; 96], Vec::new()] {
            assert!(!verifies(&p384(), "ecdsa", MESSAGE, &hostile));
        }
    }
}
