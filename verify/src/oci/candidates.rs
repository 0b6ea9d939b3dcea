//! Which content may be a signature of cosign or of Notation: the cheap look at descriptors, before anything is fetched and
//! counted.
//!
//! Nothing here is proof. What a list says of a manifest is a hint, so a hint only leaves out what is certainly of another kind.

use super::{Descriptor, MAX_CANDIDATES, MAX_SIGNATURE_MANIFEST, OciError, SignatureManifest, media_type};
use crate::image::Sha256;
use crate::notation::EnvelopeFormat;

/// The predicate of a signature. Attestations, such as a list of an image's software, have others.
pub const COSIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The annotation with a bundle's predicate, which registries copy into the list.
const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// What the names of a bundle's annotations begin with.
const BUNDLE_ANNOTATIONS: &str = "dev.sigstore.bundle.";
/// The annotation with the hashes of a Notation signature's certificates, which registries copy into the list.
const THUMBPRINTS: &str = "io.cncf.notary.x509chain.thumbprint#S256";

/// Those of an image's referrers that may be bundles with a signature, each once, in the list's order.
///
/// Some registries put the config's media type in the place of `artifactType`, the same for all kinds. If there are more than
/// [`MAX_CANDIDATES`] referrers because of that, only those count that are marked as bundles by their type or an annotation.
pub fn bundle_candidates(referrers: &[Descriptor]) -> Result<Vec<&Descriptor>, OciError> {
    candidates(referrers, bundle_mark)
}

/// The same for signatures of Notation.
pub fn notation_candidates(referrers: &[Descriptor]) -> Result<Vec<&Descriptor>, OciError> {
    candidates(referrers, notation_mark)
}

fn candidates(referrers: &[Descriptor], mark: fn(&Descriptor) -> Mark) -> Result<Vec<&Descriptor>, OciError> {
    let all = distinct(referrers, mark, &[Mark::Wanted, Mark::Unknown]);
    if all.len() <= MAX_CANDIDATES {
        return Ok(all);
    }
    let marked = distinct(referrers, mark, &[Mark::Wanted]);
    if marked.is_empty() || marked.len() > MAX_CANDIDATES {
        return Err(OciError::TooMany { limit: MAX_CANDIDATES });
    }
    Ok(marked)
}

/// The referrers with these marks, each once, and no more of them than show that there are too many.
fn distinct<'r>(referrers: &'r [Descriptor], mark: fn(&Descriptor) -> Mark, marks: &[Mark]) -> Vec<&'r Descriptor> {
    let mut found: Vec<&Descriptor> = Vec::new();
    for descriptor in referrers {
        let is_new = || !found.iter().any(|known| known.digest == descriptor.digest);
        if marks.contains(&mark(descriptor)) && is_new() {
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
    /// It is of the kind that is looked for.
    Wanted,
    /// Nothing that can be relied on.
    Unknown,
    /// Another kind, or an attestation.
    Foreign,
}

fn bundle_mark(descriptor: &Descriptor) -> Mark {
    let predicate = descriptor.annotations.get(PREDICATE_TYPE);
    if !is_small_manifest(descriptor) || predicate.is_some_and(|predicate| predicate != COSIGN_PREDICATE) {
        return Mark::Foreign;
    }
    match descriptor.artifact_type.as_deref() {
        Some(kind) if media_type::is_bundle(kind) => Mark::Wanted,
        None | Some(media_type::OCI_EMPTY) => {
            let is_annotated = descriptor.annotations.keys().any(|name| name.starts_with(BUNDLE_ANNOTATIONS));
            if is_annotated { Mark::Wanted } else { Mark::Unknown }
        }
        Some(_) => Mark::Foreign,
    }
}

fn notation_mark(descriptor: &Descriptor) -> Mark {
    match descriptor.artifact_type.as_deref() {
        // Manifests of the type application/vnd.oci.artifact.manifest.v1+json are no longer read.
        _ if !is_small_manifest(descriptor) => Mark::Foreign,
        Some(media_type::NOTATION_SIGNATURE) => Mark::Wanted,
        None | Some(media_type::OCI_EMPTY) if descriptor.annotations.contains_key(THUMBPRINTS) => Mark::Wanted,
        None | Some(media_type::OCI_EMPTY) => Mark::Unknown,
        Some(_) => Mark::Foreign,
    }
}

fn is_small_manifest(descriptor: &Descriptor) -> bool {
    descriptor.media_type == media_type::OCI_MANIFEST && descriptor.check_limit(MAX_SIGNATURE_MANIFEST).is_ok()
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

/// The layer with the envelope of a Notation signature, if the manifest is about this image and has one envelope and nothing
/// else. Writers say what the manifest is in `artifactType`, in the config's media type, or in both.
pub fn notation_layer(manifest: &SignatureManifest, image: Sha256) -> Result<(&Descriptor, EnvelopeFormat), OciError> {
    manifest.check_subject(image)?;
    match (manifest.artifact_type.as_deref(), manifest.config.media_type.as_str()) {
        (Some(media_type::NOTATION_SIGNATURE), media_type::NOTATION_SIGNATURE | media_type::OCI_EMPTY)
        | (None, media_type::NOTATION_SIGNATURE) => {}
        (Some(media_type::NOTATION_SIGNATURE), _) | (_, media_type::NOTATION_SIGNATURE) => {
            return Err(OciError::Shape("its artifactType and the media type of its config contradict each other"));
        }
        _ => return Err(OciError::Shape("it is no Notation signature by its artifactType or by its config")),
    }
    match manifest.layers.as_slice() {
        [layer] => match EnvelopeFormat::of(&layer.media_type) {
            Some(format) => Ok((layer, format)),
            None => Err(OciError::MediaType { found: layer.media_type.clone() }),
        },
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
