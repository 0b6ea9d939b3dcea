//! Signatures and thresholds. No other module counts signatures.

use std::sync::Arc;

use super::key::{KeyId, ListedKey, RoleKeys};
use crate::crypto::public_key::{PublicKey, SignatureAlgorithm};
use crate::image::Sha256;
use crate::ordered;

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

/// The keys of a role that have signed `message`. Signatures of other keys are ignored. `check_time` is called before each
/// verification, which hashes the whole message.
pub(crate) fn signers<E>(
    message: &[u8],
    signatures: &[Signature],
    role: &RoleKeys,
    check_time: impl Fn() -> Result<(), E>,
) -> Result<Vec<Arc<ListedKey>>, E> {
    let mut signed = Vec::new();
    for key in role.keys.values() {
        for signature in signatures.iter().filter(|signature| signature.key_id == Some(key.id())) {
            check_time()?;
            if verifies(key.public(), &signature.method, message, &signature.bytes) {
                signed.push(Arc::clone(key));
                break;
            }
        }
    }
    Ok(signed)
}

/// The number of different keys. Two certificates of one key count as one key (TRUST.md, row 24), and so do two signatures of one
/// key (TUF 1.0 §5.3.5).
pub(crate) fn distinct<'k>(keys: impl IntoIterator<Item = &'k ListedKey>) -> u64 {
    ordered::set(keys.into_iter().map(ListedKey::canonical_id)).len() as u64
}

/// The algorithm of a signature's `method` (TRUST.md, row 88: in any case).
fn algorithm(method: &str) -> Option<SignatureAlgorithm> {
    use SignatureAlgorithm::{EcdsaSha256, Ed25519, RsaPkcs1Sha256, RsaPssSha256};
    let methods =
        [("ecdsa", EcdsaSha256), ("rsapss", RsaPssSha256), ("rsapkcs1v15", RsaPkcs1Sha256), ("eddsa", Ed25519)];
    methods.into_iter().find(|(name, _)| method.eq_ignore_ascii_case(name)).map(|(_, algorithm)| algorithm)
}

/// An unknown method, and the method of another kind of key, verify nothing (TRUST.md, row 84).
fn verifies(key: &PublicKey, method: &str, message: &[u8], signature: &[u8]) -> bool {
    algorithm(method).is_some_and(|algorithm| key.verifies(algorithm, message, signature))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::crypto::pem::pem_blocks;

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

    fn p384() -> PublicKey {
        let pem = include_str!("fixtures/p384-public.pem");
        PublicKey::from_spki(&pem_blocks(pem, 1).unwrap()[0].der).unwrap()
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
        let other = PublicKey::from_spki(&STANDARD.decode(OTHER_P384).unwrap()).unwrap();
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
