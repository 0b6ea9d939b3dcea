//! Descriptors, and the list of an image's referrers (OCI image specification, descriptor; distribution specification,
//! "Listing Referrers").

use std::collections::BTreeMap;

use super::OciError;
use crate::image::Sha256;

/// A reference to content: what a manifest says of a layer, or a list of one of its manifests. Nothing in it is verified but
/// its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `mediaType`.
    pub media_type: String,
    /// `digest`.
    pub digest: Sha256,
    /// `size` in bytes.
    pub size: u64,
    /// `artifactType`; unreliable in a list of referrers.
    pub artifact_type: Option<String>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// Reads one page of a list of referrers: an image index. Descriptors with another digest algorithm than sha256 are left out.
pub fn read_referrers(_bytes: &[u8]) -> Result<Vec<Descriptor>, OciError> {
    unimplemented!()
}
