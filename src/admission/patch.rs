//! The JSON patch (RFC 6902) that pins each verified image to the digest that was signed. It accepts only a
//! `VerifiedDigest`.

use serde::Serialize;

use super::workload::ImageUse;
use portreeve_verify::VerifiedDigest;
use portreeve_verify::image::Reference;

/// A `replace` operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(miniserde::Serialize))]
pub struct Operation {
    op: &'static str,
    path: String,
    value: String,
}

impl Operation {
    /// Pins one use of an image to its digest. `None` if the image names a digest: the verifier compared the two.
    pub fn pin(image: &ImageUse<'_>, reference: &Reference, digest: VerifiedDigest) -> Option<Self> {
        if reference.digest().is_some() {
            return None;
        }
        Some(Self { op: "replace", path: image.pointer(), value: reference.pinned_to(digest.sha256()) })
    }
}

/// The patch as JSON; `None` if it has no operation.
pub(super) fn to_json(operations: &[Operation]) -> Option<Vec<u8>> {
    // Serialising structs of strings cannot fail.
    (!operations.is_empty()).then(|| serde_json::to_vec(operations).unwrap_or_default())
}
