//! The list of an image's referrers (OCI distribution specification, "Listing Referrers"), and the tags under which tools look
//! where a registry does not have it.

use super::manifest::{self, check_size};
use super::{Descriptor, MAX_REFERRERS, OciError, media_type};
use crate::image::Sha256;
use crate::json::Value;

/// Reads one page of a list of referrers: an image index. It is only a hint, which nobody has signed. So an entry that cannot be
/// used is left out, and the others count: an entry with another digest algorithm than SHA-256, or without a size.
pub fn read_referrers(bytes: &[u8]) -> Result<Vec<Descriptor>, OciError> {
    check_size(bytes.len(), MAX_REFERRERS)?;
    let document = manifest::read(bytes)?;
    let root = document.root();
    match manifest::of(root, Some(media_type::OCI_INDEX))? {
        media_type::OCI_INDEX => {}
        found => return Err(OciError::MediaType { found: found.to_owned() }),
    }
    let entries = root.get("manifests").and_then(Value::array).into_iter().flatten();
    Ok(entries.filter_map(|entry| Descriptor::read(entry).ok()).collect())
}

/// The tag of the list of referrers at a registry without the referrers API: `sha256-<hex>`.
pub fn referrers_tag(image: Sha256) -> String {
    format!("sha256-{}", image.hex())
}

/// The tag of the signatures in cosign's old format: `sha256-<hex>.sig`.
pub fn signatures_tag(image: Sha256) -> String {
    referrers_tag(image) + ".sig"
}
