//! The manifest or index that an image reference stands for.

use super::manifest::Manifest;
use super::{MAX_MANIFEST, OciError};
use crate::heap_size::as_u64;
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
    ///
    /// The layers or manifests of the image are not read: no signature speaks of them, and the container runtime checks them.
    pub fn read(bytes: &[u8], content_type: Option<&str>, expected: Option<Sha256>) -> Result<Self, OciError> {
        let manifest = Manifest::read(bytes, content_type, expected, MAX_MANIFEST)?;
        let media_type = manifest.media_type.to_owned();
        Ok(Self { digest: manifest.digest, media_type, size: as_u64(bytes.len()) })
    }
}
