//! Descriptors (OCI image specification, descriptor).

use super::OciError;
use super::manifest::{check_names, check_size};
use crate::heap_size::as_u64;
use crate::image::{Digest, DigestError, Sha256};
use crate::json::Value;
use crate::ordered;

/// The names of a descriptor that this crate reads.
const NAMES: [&str; 5] = ["annotations", "artifactType", "digest", "mediaType", "size"];

/// A reference to content: what a manifest says of a layer, or a list of one of its manifests. Nothing in it is verified but
/// its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `mediaType`.
    pub media_type: String,
    /// `digest`.
    pub digest: Sha256,
    /// `size` in bytes.
    pub size: u64,
    /// `artifactType`; unreliable in a list of referrers.
    pub artifact_type: Option<String>,
    /// `annotations`.
    pub annotations: ordered::Map<String, String>,
}

impl Descriptor {
    /// Reads one. Another digest algorithm than SHA-256 is an error, never an absent digest.
    pub(super) fn read(value: Value<'_>) -> Result<Self, OciError> {
        check_names(value, &NAMES)?;
        let media_type = value.get("mediaType").and_then(Value::string).filter(|text| !text.is_empty());
        let size = value.get("size").and_then(Value::integer).and_then(|size| u64::try_from(size).ok());
        Ok(Self {
            media_type: media_type.ok_or(OciError::Shape("the mediaType of a descriptor is no string"))?.to_owned(),
            digest: read_digest(value)?,
            size: size.ok_or(OciError::Shape("the size of a descriptor is no number of bytes"))?,
            artifact_type: read_artifact_type(value)?,
            annotations: read_annotations(value)?,
        })
    }

    /// May this content be fetched? By its announced size, before a byte of it is read.
    pub fn check_limit(&self, limit: usize) -> Result<(), OciError> {
        check_size(usize::try_from(self.size).unwrap_or(usize::MAX), limit)
    }

    /// Are these the bytes of the descriptor?
    pub fn check(&self, bytes: &[u8]) -> Result<(), OciError> {
        if as_u64(bytes.len()) != self.size {
            return Err(OciError::Size { expected: self.size, found: as_u64(bytes.len()) });
        }
        let found = Sha256::of(bytes);
        if found == self.digest { Ok(()) } else { Err(OciError::Digest { expected: self.digest, found }) }
    }
}

/// `digest` of a descriptor.
pub(super) fn read_digest(descriptor: Value<'_>) -> Result<Sha256, OciError> {
    let text = descriptor.get("digest").and_then(Value::string);
    let text = text.ok_or(OciError::Shape("the digest of a descriptor is no string"))?;
    match Digest::parse(text) {
        Ok(Digest::Sha256(digest)) => Ok(digest),
        Ok(Digest::Sha512(_)) | Err(DigestError::UnknownAlgorithm) => {
            Err(OciError::Algorithm { found: text.split(':').next().unwrap_or_default().to_owned() })
        }
        Err(_) => {
            Err(OciError::Shape("the digest of a descriptor is not sha256: and 64 lower-case hexadecimal digits"))
        }
    }
}

/// `artifactType` of a descriptor or a manifest. Go's writers may write `null` or an empty text for none.
pub(super) fn read_artifact_type(value: Value<'_>) -> Result<Option<String>, OciError> {
    match present(value, "artifactType").map(Value::string) {
        None | Some(Some("")) => Ok(None),
        Some(Some(text)) => Ok(Some(text.to_owned())),
        Some(None) => Err(OciError::Shape("an artifactType is no string")),
    }
}

fn read_annotations(descriptor: Value<'_>) -> Result<ordered::Map<String, String>, OciError> {
    const SHAPE: OciError = OciError::Shape("the annotations of a descriptor are no object of strings");
    let Some(annotations) = present(descriptor, "annotations") else { return Ok(ordered::Map::new()) };
    let members = annotations.object().ok_or(SHAPE)?;
    if members.clone().any(|(_, value)| value.string().is_none()) {
        return Err(SHAPE);
    }
    Ok(ordered::map(members.filter_map(|(name, value)| Some((name.to_owned(), value.string()?.to_owned())))))
}

/// A member that is there and not `null`.
pub(super) fn present<'d>(object: Value<'d>, name: &str) -> Option<Value<'d>> {
    object.get(name).filter(|value| !value.is_null())
}
