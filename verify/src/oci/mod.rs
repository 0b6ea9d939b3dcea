//! What a registry holds about an image (OCI image and distribution specifications 1.1): the image's manifest or index, the
//! list of its referrers, and the manifests of its signatures. Bytes in, typed values out.
//!
//! These readers refuse whatever two readers could understand differently: a manifest that is an image and an index at once
//! (CVE-2021-41190), a media type that differs from the one in the response's header, schema 1, digests other than sha256,
//! duplicate names, and names in another case. Unknown fields are ignored.

pub mod candidates;
mod descriptor;
mod error;
mod image;
mod manifest;
pub mod media_type;
mod referrers;
mod signature_manifest;
#[cfg(test)]
mod tests;

pub use descriptor::Descriptor;
pub use error::OciError;
pub use image::Image;
pub use referrers::{read_referrers, referrers_tag, signatures_tag};
pub use signature_manifest::SignatureManifest;

/// The largest manifest or index of an image, in bytes.
pub const MAX_MANIFEST: usize = 4 << 20;
/// The largest list of referrers, all pages together, in bytes.
pub const MAX_REFERRERS: usize = 4 << 20;
/// The most pages of a list of referrers.
pub const MAX_PAGES: usize = 4;
/// The largest manifest of a signature, in bytes.
pub const MAX_SIGNATURE_MANIFEST: usize = 256 << 10;
/// The most layers of a manifest of a signature, of whatever kinds.
pub const MAX_LAYERS: usize = 256;
/// The most signatures of one image that are looked at, after those of other kinds are left out.
pub const MAX_CANDIDATES: usize = 32;
