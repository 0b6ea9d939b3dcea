//! The JSON patch (RFC 6902): each verified image is replaced by the digest that was signed. It takes verified
//! digests and nothing else.

use serde::Serialize;

use super::workload::ImageUse;
use portreeve_verify::VerifiedDigest;
use portreeve_verify::image::Reference;

/// One `replace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(miniserde::Serialize))]
pub struct Operation {
    op: &'static str,
    path: String,
    value: String,
}

impl Operation {
    /// Pins a use of an image to its digest; `None` where the image names a digest already: the verifier has seen
    /// that it is this one.
    pub fn pin(image: &ImageUse<'_>, reference: &Reference, digest: VerifiedDigest) -> Option<Self> {
        if reference.digest().is_some() {
            return None;
        }
        Some(Self { op: "replace", path: image.pointer(), value: reference.pinned_to(digest.sha256()) })
    }
}

/// The patch as JSON; `None` where nothing is to be changed.
pub(super) fn to_json(operations: &[Operation]) -> Option<Vec<u8>> {
    // Plain structs of strings cannot fail to serialise.
    (!operations.is_empty()).then(|| serde_json::to_vec(operations).unwrap_or_default())
}
