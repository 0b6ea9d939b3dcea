//! Which content may be a signature of cosign: the cheap look at descriptors, before anything is fetched and counted.
//!
//! Nothing here is proof. What a list says of a manifest is a hint, so a hint only leaves out what is certainly of another kind.

use super::{Descriptor, MAX_CANDIDATES, MAX_SIGNATURE_MANIFEST, OciError, SignatureManifest, media_type};
use crate::image::Sha256;

/// The predicate of a signature. Attestations, such as a list of an image's software, have others.
pub const COSIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The annotation with a bundle's predicate, which registries copy into the list.
const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// What the names of a bundle's annotations begin with.
const BUNDLE_ANNOTATIONS: &str = "dev.sigstore.bundle.";

/// Those of an image's referrers that may be bundles with a signature, each once, in the list's order.
///
/// Some registries put the config's media type in the place of `artifactType`, the same for all kinds. If there are more than
/// [`MAX_CANDIDATES`] referrers because of that, only those count that are marked as bundles by their type or an annotation.
pub fn bundle_candidates(referrers: &[Descriptor]) -> Result<Vec<&Descriptor>, OciError> {
    let all = distinct(referrers, |mark| mark != Mark::Foreign);
    if all.len() <= MAX_CANDIDATES {
        return Ok(all);
    }
    let marked = distinct(referrers, |mark| mark == Mark::Bundle);
    if marked.is_empty() || marked.len() > MAX_CANDIDATES {
        return Err(OciError::TooMany { limit: MAX_CANDIDATES });
    }
    Ok(marked)
}

/// The referrers with these marks, each once, and no more of them than show that there are too many.
fn distinct(referrers: &[Descriptor], counts: impl Fn(Mark) -> bool) -> Vec<&Descriptor> {
    let mut found: Vec<&Descriptor> = Vec::new();
    for descriptor in referrers {
        if counts(mark(descriptor)) && !found.iter().any(|known| known.digest == descriptor.digest) {
            found.push(descriptor);
        }
        if found.len() > MAX_CANDIDATES {
            break;
        }
    }
    found
}

/// What a descriptor says of a referrer's kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// A bundle.
    Bundle,
    /// Nothing that can be relied on.
    Unknown,
    /// Another kind, or an attestation.
    Foreign,
}

fn mark(descriptor: &Descriptor) -> Mark {
    let predicate = descriptor.annotations.get(PREDICATE_TYPE);
    if descriptor.media_type != media_type::OCI_MANIFEST
        || descriptor.check_limit(MAX_SIGNATURE_MANIFEST).is_err()
        || predicate.is_some_and(|predicate| predicate != COSIGN_PREDICATE)
    {
        return Mark::Foreign;
    }
    match descriptor.artifact_type.as_deref() {
        Some(kind) if media_type::is_bundle(kind) => Mark::Bundle,
        None | Some(media_type::OCI_EMPTY) => {
            let is_annotated = descriptor.annotations.keys().any(|name| name.starts_with(BUNDLE_ANNOTATIONS));
            if is_annotated { Mark::Bundle } else { Mark::Unknown }
        }
        Some(_) => Mark::Foreign,
    }
}

/// The layer with the bundle of a referrer, if the manifest is about this image and has one bundle and nothing else.
pub fn bundle_layer(manifest: &SignatureManifest, image: Sha256) -> Result<&Descriptor, OciError> {
    manifest.check_subject(image)?;
    if !manifest.artifact_type.as_deref().is_some_and(media_type::is_bundle) {
        return Err(OciError::Shape("its artifactType is not that of a Sigstore bundle"));
    }
    match manifest.layers.as_slice() {
        [layer] if media_type::is_bundle(&layer.media_type) => Ok(layer),
        [layer] => Err(OciError::MediaType { found: layer.media_type.clone() }),
        _ => Err(OciError::Shape("it has not exactly one layer")),
    }
}

/// The layers that are signatures in cosign's old format. Layers of other kinds are passed over, and each layer counts, also one
/// that is repeated.
pub fn payload_layers(manifest: &SignatureManifest) -> Result<Vec<&Descriptor>, OciError> {
    let layers = manifest.layers.iter().filter(|layer| layer.media_type == media_type::COSIGN_PAYLOAD);
    let layers: Vec<_> = layers.collect();
    if layers.len() > MAX_CANDIDATES { Err(OciError::TooMany { limit: MAX_CANDIDATES }) } else { Ok(layers) }
}
