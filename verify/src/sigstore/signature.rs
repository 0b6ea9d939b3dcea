//! One signature of an image: parsed, and remembered under which keys it verifies.

use std::fmt;

use crate::image::Sha256;
use crate::oci::{Descriptor, SignatureManifest};

/// A signature of one of the two formats. Its form is checked, and who made it is not: [`super::Requirement::verify`] decides.
///
/// It remembers which keys it verifies under, because that never changes. Which keys and annotations count is decided anew each
/// time.
#[derive(Debug)]
pub struct Signature {
    manifest: Sha256,
    format: SignatureFormat,
}

/// The format of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFormat {
    /// cosign's old format: a layer under the tag `sha256-<hex>.sig`.
    Layer,
    /// A Sigstore bundle.
    Bundle,
}

impl Signature {
    /// A layer of the old format and its payload. The payload's bytes must be those of the descriptor: the caller compares size
    /// and digest.
    pub fn from_layer(
        _manifest: &SignatureManifest,
        _layer: &Descriptor,
        _payload: Vec<u8>,
    ) -> Result<Self, NotCounted> {
        unimplemented!()
    }

    /// The bundle of a referrer.
    pub fn from_bundle(_manifest: &SignatureManifest, _bundle: Vec<u8>) -> Result<Self, NotCounted> {
        unimplemented!()
    }

    /// The digest of the manifest that it was found in.
    pub fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// Its format.
    pub fn format(&self) -> SignatureFormat {
        self.format
    }

    /// What it takes in memory, in bytes.
    pub fn heap_size(&self) -> u64 {
        0
    }
}

/// Why a signature does not count. `Display` is safe to print, and says what is wrong and, where there is something, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It cannot be read.
    Shape(&'static str),
}

impl NotCounted {
    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        "bad-signature"
    }
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(what) => f.write_str(what),
        }
    }
}
