//! A signature that a registry or a layout keeps beside an image, of one of the schemes that read registries.

use portreeve_verify::image::Sha256;
use portreeve_verify::sigstore;

/// A signature: parsed, and not yet judged.
#[derive(Debug)]
pub(crate) enum Signature {
    /// cosign's.
    Sigstore(sigstore::Signature),
}

/// How a signature is kept at a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureForm {
    /// A layer under the tag `sha256-<hex>.sig`: cosign's old format.
    Layer,
    /// A referrer with a Sigstore bundle.
    Bundle,
}

impl Signature {
    /// The digest of the manifest that it was found in.
    pub(crate) fn manifest(&self) -> Sha256 {
        match self {
            Self::Sigstore(signature) => signature.manifest(),
        }
    }

    /// Its form.
    pub(crate) fn form(&self) -> SignatureForm {
        match self {
            Self::Sigstore(signature) => match signature.format() {
                sigstore::SignatureFormat::Layer => SignatureForm::Layer,
                sigstore::SignatureFormat::Bundle => SignatureForm::Bundle,
            },
        }
    }

    /// Is it over the bytes of the image's manifest?
    pub(crate) fn needs_manifest(&self) -> bool {
        match self {
            Self::Sigstore(signature) => signature.needs_manifest(),
        }
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn heap_size(&self) -> u64 {
        match self {
            Self::Sigstore(signature) => signature.heap_size(),
        }
    }
}

impl SignatureForm {
    /// Its word in a file of evidence.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Bundle => "bundle",
        }
    }
}
