//! Keys in trust data and their IDs.

use crate::image::Sha256;

/// The ID of a key: the hash of its canonical JSON (TUF 1.0 §4.2).
pub type KeyId = Sha256;

/// A signer's public key, as the operator configured it. Compared by its canonical ID, so that a bare key and a
/// certificate of it are the same signer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignerKey {
    canonical_id: KeyId,
}

impl SignerKey {
    /// From PEM text: one `PUBLIC KEY` (SPKI) or one `CERTIFICATE`; headers such as Docker's `role:` are skipped.
    /// A private key is refused in words that say so.
    pub fn from_pem(_pem: &str) -> Result<Self, SignerKeyError> {
        todo!()
    }

    /// The ID of the bare key.
    pub fn canonical_id(&self) -> KeyId {
        self.canonical_id
    }
}

/// A signer's key that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerKeyError;
