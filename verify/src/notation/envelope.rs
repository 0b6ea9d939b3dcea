//! One signature of an image: read, and verified under the key of its own first certificate.

use std::fmt;

use super::not_counted::NotCounted;
use crate::heap_size::inline_size;
use crate::image::Sha256;

/// The format of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeFormat {
    /// `application/jose+json`.
    Jws,
    /// `application/cose`.
    Cose,
}

impl EnvelopeFormat {
    /// By the media type of the layer. `None` for other media types.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/jose+json" => Some(Self::Jws),
            "application/cose" => Some(Self::Cose),
            _ => None,
        }
    }
}

impl fmt::Display for EnvelopeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jws => "a Notation signature (JWS)",
            Self::Cose => "a Notation signature (COSE)",
        })
    }
}

/// A signature whose own signature and whose chain are sound. Whether anybody trusts it is decided by
/// [`super::Requirement::verify`].
#[derive(Debug)]
pub struct Envelope {
    manifest: Sha256,
    format: EnvelopeFormat,
    expires: Option<i64>,
    ends: i64,
    signer: String,
}

impl Envelope {
    /// Reads the envelope of the signature manifest with this digest.
    pub fn read(manifest: Sha256, format: EnvelopeFormat, bytes: &[u8]) -> Result<Self, NotCounted> {
        let _ = (manifest, format, bytes);
        Err(NotCounted::Shape("envelopes of Notation cannot be read yet"))
    }

    /// The digest of the manifest that it was found in.
    pub fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// Its format.
    pub fn format(&self) -> EnvelopeFormat {
        self.format
    }

    /// When the signature expires, if the signer says so, in seconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// When the first certificate of its chain ends, in seconds since 1970.
    pub fn ends(&self) -> i64 {
        self.ends
    }

    /// The subject of its first certificate, printable (RFC 4514).
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// What it takes in memory, in bytes.
    pub fn heap_size(&self) -> u64 {
        inline_size::<Self>()
    }
}
