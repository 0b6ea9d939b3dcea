//! The result of every verification.

use crate::image::Sha256;

/// A digest that a signature was verified for. Only this crate can make one, and an image is pinned to nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerifiedDigest(Sha256);

impl VerifiedDigest {
    pub(crate) fn new(digest: Sha256) -> Self {
        Self(digest)
    }

    /// The digest.
    pub fn sha256(&self) -> Sha256 {
        self.0
    }
}
