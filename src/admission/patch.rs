//! The JSON patch (RFC 6902) that pins each verified image to the digest that was signed. It accepts only a
//! `VerifiedDigest`.

use super::workload::ImageUse;
use crate::base::json_writer::{Hidden, JsonWriter};
use portreeve_verify::VerifiedDigest;
use portreeve_verify::image::Reference;

/// A `replace` operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, miniserde::Serialize))]
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
    if operations.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(256 * operations.len());
    let mut json = JsonWriter::new(&mut out, Hidden::Kept);
    json.begin(b'[');
    for Operation { op, path, value } in operations {
        json.begin(b'{');
        json.string("op", op);
        json.string("path", path);
        json.string("value", value);
        json.end(b'}');
    }
    json.end(b']');
    Some(out)
}
