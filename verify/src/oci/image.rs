//! The manifest or index that an image reference stands for.

use super::OciError;
use crate::image::Sha256;

/// An image's manifest or index, as far as a signature speaks of it: its descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The hash of its bytes.
    pub digest: Sha256,
    /// `mediaType`: one of the four of [`super::media_type`].
    pub media_type: String,
    /// The number of its bytes.
    pub size: u64,
}

impl Image {
    /// Reads the response to a request for a manifest. `content_type` is the header's value, with or without parameters.
    /// `expected` is the digest that was asked for, or that the registry claims (`Docker-Content-Digest`).
    pub fn read(_bytes: &[u8], _content_type: Option<&str>, _expected: Option<Sha256>) -> Result<Self, OciError> {
        unimplemented!()
    }
}
