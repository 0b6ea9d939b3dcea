//! Signers' public keys, as `cosign generate-key-pair` writes them: PEM, `PUBLIC KEY`.

use std::fmt;

use crate::crypto::public_key::PublicKey;
use crate::image::Sha256;

/// A public key that cosign can sign for: P-256, P-384, RSA of 2048 to 8192 bits, or Ed25519 (pure).
#[derive(Clone, PartialEq, Eq)]
pub struct SigstoreKey {
    key: PublicKey,
    id: Sha256,
}

impl SigstoreKey {
    /// From PEM text with exactly one block.
    pub fn from_pem(_pem: &str) -> Result<Self, SigstoreKeyError> {
        unimplemented!()
    }

    /// The hash of the key's `SubjectPublicKeyInfo`: equal for equal keys only.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// The key itself.
    #[expect(dead_code, reason = "the verifier comes")]
    pub(super) fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Debug for SigstoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigstoreKey({})", self.id)
    }
}

/// A key that cannot be used. `Display` says what it is, and which keys can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigstoreKeyError {
    /// The text is no PEM, or has no block or several.
    NoPem,
}

impl fmt::Display for SigstoreKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPem => f.write_str("it is not one PEM block"),
        }
    }
}

impl std::error::Error for SigstoreKeyError {}
