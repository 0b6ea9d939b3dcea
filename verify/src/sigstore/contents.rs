//! Which layers of a manifest are signatures. The manifest decides, not the list of referrers that named it.

use super::bundle::MEDIA_TYPES;
use super::not_counted::NotCounted;
use super::{MAX_BUNDLE, MAX_PAYLOAD};
use crate::heap_size::as_u64;
use crate::oci::{Descriptor, MAX_CANDIDATES, SignatureManifest, media_type};

/// The layers that are signatures of the old format. Layers of other types are passed over (SCHEMES.md, row 46). It is an error
/// if there are none, or more than [`MAX_CANDIDATES`].
pub fn layers_of(manifest: &SignatureManifest) -> Result<Vec<&Descriptor>, NotCounted> {
    let layers = manifest.layers.iter().filter(|layer| layer.media_type == media_type::COSIGN_PAYLOAD);
    let layers: Vec<_> = layers.take(MAX_CANDIDATES + 1).collect();
    match layers.len() {
        0 => Err(NotCounted::Shape("the manifest has no layer with a cosign payload")),
        1..=MAX_CANDIDATES => Ok(layers),
        _ => Err(NotCounted::TooMany),
    }
}

/// The one layer of a bundle's manifest (SCHEMES.md, row 72).
pub fn bundle_of(manifest: &SignatureManifest) -> Result<&Descriptor, NotCounted> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(NotCounted::Shape("the manifest of a bundle has not exactly one layer"));
    };
    if !MEDIA_TYPES.contains(&layer.media_type.as_str()) {
        return Err(NotCounted::Shape("the manifest's layer is no Sigstore bundle"));
    }
    Ok(layer).and_then(|layer| within(layer, MAX_BUNDLE, "the bundle"))
}

/// The layer, if its size is within the cap.
pub(super) fn within<'m>(layer: &'m Descriptor, cap: usize, what: &'static str) -> Result<&'m Descriptor, NotCounted> {
    if layer.size > as_u64(cap) { Err(NotCounted::TooLarge { what, cap }) } else { Ok(layer) }
}

/// A layer that may be fetched: a payload within its cap.
pub(super) fn payload(layer: &Descriptor) -> Result<&Descriptor, NotCounted> {
    if layer.media_type != media_type::COSIGN_PAYLOAD {
        return Err(NotCounted::Shape("the layer is no cosign payload"));
    }
    within(layer, MAX_PAYLOAD, "the payload")
}
