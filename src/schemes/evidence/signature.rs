//! A signature that a registry or a layout keeps beside an image, of one of the schemes that read registries.

use portreeve_verify::image::Sha256;
use portreeve_verify::notation::{Envelope, EnvelopeFormat, NotCounted};
use portreeve_verify::oci::candidates::{bundle_layer, notation_layer};
use portreeve_verify::oci::{Descriptor, OciError, SignatureManifest};
use portreeve_verify::sigstore;

/// A signature: parsed, and not yet judged.
#[derive(Debug)]
pub(crate) enum Signature {
    /// cosign's.
    Sigstore(sigstore::Signature),
    /// Notation's.
    Notation(Envelope),
}

/// How a signature is kept at a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureForm {
    /// A layer under the tag `sha256-<hex>.sig`: cosign's old format.
    Layer,
    /// A referrer with a Sigstore bundle.
    Bundle,
    /// A referrer with an envelope of Notation.
    Envelope,
}

impl Signature {
    /// cosign's.
    pub(crate) fn sigstore(&self) -> Option<&sigstore::Signature> {
        match self {
            Self::Sigstore(signature) => Some(signature),
            Self::Notation(_) => None,
        }
    }

    /// Notation's.
    pub(crate) fn notation(&self) -> Option<&Envelope> {
        match self {
            Self::Notation(envelope) => Some(envelope),
            Self::Sigstore(_) => None,
        }
    }

    /// The digest of the manifest that it was found in.
    pub(crate) fn manifest(&self) -> Sha256 {
        match self {
            Self::Sigstore(signature) => signature.manifest(),
            Self::Notation(envelope) => envelope.manifest(),
        }
    }

    /// Its form.
    pub(crate) fn form(&self) -> SignatureForm {
        match self {
            Self::Sigstore(signature) => match signature.format() {
                sigstore::SignatureFormat::Layer => SignatureForm::Layer,
                sigstore::SignatureFormat::Bundle => SignatureForm::Bundle,
            },
            Self::Notation(_) => SignatureForm::Envelope,
        }
    }

    /// Is it over the bytes of the image's manifest?
    pub(crate) fn needs_manifest(&self) -> bool {
        match self {
            Self::Sigstore(signature) => signature.needs_manifest(),
            Self::Notation(_) => false,
        }
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn heap_size(&self) -> u64 {
        match self {
            Self::Sigstore(signature) => signature.heap_size(),
            Self::Notation(envelope) => envelope.heap_size(),
        }
    }
}

impl SignatureForm {
    /// The layer of a referrer that has its signature. The old format has no referrers.
    pub(crate) fn layer_of(self, manifest: &SignatureManifest, image: Sha256) -> Result<&Descriptor, OciError> {
        match self {
            Self::Envelope => notation_layer(manifest, image).map(|(layer, _)| layer),
            Self::Bundle | Self::Layer => bundle_layer(manifest, image),
        }
    }

    /// The signature of a referrer. The bytes are those of this layer.
    pub(crate) fn read(
        self,
        manifest: &SignatureManifest,
        layer: &Descriptor,
        bytes: Vec<u8>,
    ) -> Result<Signature, NotCounted> {
        match (self, EnvelopeFormat::of(&layer.media_type)) {
            (Self::Envelope, Some(format)) => Envelope::read(manifest.digest, format, &bytes).map(Signature::Notation),
            (Self::Envelope, None) => Err(NotCounted::Shape("it is no envelope of Notation")),
            (Self::Bundle | Self::Layer, _) => {
                sigstore::Signature::from_bundle(manifest, bytes).map(Signature::Sigstore)
            }
        }
    }

    /// Its word in a file of evidence.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Bundle => "bundle",
            Self::Envelope => "envelope",
        }
    }
}
