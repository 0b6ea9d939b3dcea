//! The payload: which image was signed, with which metadata.

use super::{MAX_ENVELOPE, check_names, read_json};
use crate::heap_size::{allocation, as_u64, inline_size};
use crate::image::{Digest, Sha256};
use crate::json::Value;
use crate::not_counted::NotCounted;

/// The most fields of metadata.
const MAX_METADATA: usize = 256;

/// The image that a signature is about: `targetArtifact`.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) digest: Sha256,
    pub(super) media_type: Box<str>,
    pub(super) size: u64,
    metadata: Vec<(Box<str>, Box<str>)>,
}

impl Payload {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, NotCounted> {
        let document = read_json(bytes, MAX_ENVELOPE, "the payload")?;
        let root = document.root();
        check_names(root, &["targetArtifact"])?;
        let artifact = root.get("targetArtifact").filter(|artifact| artifact.object().is_some());
        let artifact = artifact.ok_or(NotCounted::Shape("the payload has no \"targetArtifact\""))?;
        check_names(artifact, &["annotations", "digest", "mediaType", "size"])?;
        let digest = artifact.get("digest").and_then(Value::string);
        let Some(Ok(Digest::Sha256(digest))) = digest.map(Digest::parse) else {
            return Err(NotCounted::value("the signed digest", digest, "sha256: and 64 lower-case hexadecimal digits"));
        };
        let media_type = artifact.get("mediaType").and_then(Value::string);
        let size = artifact.get("size").and_then(Value::integer).and_then(|size| u64::try_from(size).ok());
        let (Some(media_type), Some(size)) = (media_type, size) else {
            return Err(NotCounted::Shape("the payload does not say which media type and which size it is about"));
        };
        let mut metadata = Vec::new();
        if let Some(annotations) = artifact.get("annotations").filter(|annotations| !annotations.is_null()) {
            const SHAPE: NotCounted =
                NotCounted::Shape("its metadata is no object of texts, or has more than 256 fields");
            for (name, value) in annotations.object().ok_or(SHAPE)? {
                let value = value.string().filter(|_| metadata.len() < MAX_METADATA).ok_or(SHAPE)?;
                metadata.push((name.into(), value.into()));
            }
        }
        Ok(Self { digest, media_type: media_type.into(), size, metadata })
    }

    /// The value of this field of the metadata.
    pub(super) fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    pub(super) fn heap_size(&self) -> u64 {
        let text = |(name, value): &(Box<str>, Box<str>)| allocation(name.len()) + allocation(value.len());
        let inline = as_u64(self.metadata.capacity()) * inline_size::<(Box<str>, Box<str>)>();
        allocation(self.media_type.len()) + inline + self.metadata.iter().map(text).sum::<u64>()
    }
}
