//! The manifest that holds signatures as its layers.

use super::{Descriptor, OciError};
use crate::image::Sha256;

/// An OCI manifest with signatures. Nothing in it is verified but its form and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureManifest {
    /// The hash of its bytes.
    pub digest: Sha256,
    /// `artifactType`, of the manifest itself.
    pub artifact_type: Option<String>,
    /// `config`.
    pub config: Descriptor,
    /// `layers`.
    pub layers: Vec<Descriptor>,
    /// The digest of `subject`: the image that it is about.
    pub subject: Option<Sha256>,
}

impl SignatureManifest {
    /// Reads a manifest. `content_type` is the header's value, `expected` the digest that was asked for. An index is refused.
    pub fn read(_bytes: &[u8], _content_type: Option<&str>, _expected: Option<Sha256>) -> Result<Self, OciError> {
        unimplemented!()
    }
}
