//! The manifest that holds signatures as its layers.

use super::descriptor::{present, read_artifact_type, read_digest};
use super::manifest::Manifest;
use super::{Descriptor, MAX_LAYERS, MAX_SIGNATURE_MANIFEST, OciError, media_type};
use crate::image::Sha256;
use crate::json::Value;

/// An OCI manifest with signatures. Nothing in it is verified but its form and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureManifest {
    /// The hash of its bytes.
    pub digest: Sha256,
    /// `artifactType`, of the manifest itself.
    pub artifact_type: Option<String>,
    /// `config`.
    pub config: Descriptor,
    /// `layers`.
    pub layers: Vec<Descriptor>,
    /// The digest of `subject`: the image that it is about.
    pub subject: Option<Sha256>,
}

impl SignatureManifest {
    /// Reads a manifest. `content_type` is the header's value, `expected` the digest that was asked for. An index is refused, and
    /// so is a manifest with another digest algorithm than SHA-256 in any place.
    pub fn read(bytes: &[u8], content_type: Option<&str>, expected: Option<Sha256>) -> Result<Self, OciError> {
        let read = |content_type| Manifest::read(bytes, content_type, expected, MAX_SIGNATURE_MANIFEST);
        let manifest = match read(content_type) {
            // On the disk there is no header. Nothing else than an OCI manifest is read here, and its shape must agree.
            Err(OciError::NoMediaType) => read(Some(media_type::OCI_MANIFEST)),
            manifest => manifest,
        }?;
        if manifest.media_type != media_type::OCI_MANIFEST {
            return Err(OciError::MediaType { found: manifest.media_type.to_owned() });
        }
        let root = manifest.root();
        let config = root.get("config").ok_or(OciError::Shape("it has no config"))?;
        let layers = root.get("layers").and_then(Value::array).ok_or(OciError::Shape("it has no layers"))?;
        if layers.clone().nth(MAX_LAYERS).is_some() {
            return Err(OciError::TooMany { limit: MAX_LAYERS });
        }
        Ok(Self {
            digest: manifest.digest,
            artifact_type: read_artifact_type(root)?,
            config: Descriptor::read(config)?,
            layers: layers.map(Descriptor::read).collect::<Result<_, _>>()?,
            subject: present(root, "subject").map(read_subject).transpose()?,
        })
    }

    /// Is it about this image? The list that named it is no proof: anybody who may push can put a manifest into it.
    pub fn check_subject(&self, image: Sha256) -> Result<(), OciError> {
        if self.subject == Some(image) { Ok(()) } else { Err(OciError::Subject { found: self.subject }) }
    }
}

fn read_subject(subject: Value<'_>) -> Result<Sha256, OciError> {
    super::manifest::check_names(subject, &["digest"])?;
    read_digest(subject)
}
