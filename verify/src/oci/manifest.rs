//! What all manifests and indices have in common: the hash, strict JSON, and one media type.

use super::{OciError, media_type};
use crate::image::Sha256;
use crate::json::{Allowance, Document, Value};
use crate::text::is_folded;

/// The names of a manifest or an index that this crate reads, or whose presence matters.
const NAMES: [&str; 8] =
    ["artifactType", "config", "fsLayers", "layers", "manifests", "mediaType", "schemaVersion", "subject"];

/// A manifest or an index whose media type is certain.
pub(super) struct Manifest<'a> {
    /// The hash of its bytes.
    pub(super) digest: Sha256,
    /// One of the four of images.
    pub(super) media_type: &'static str,
    document: Document<'a>,
}

impl<'a> Manifest<'a> {
    /// Reads at most `limit` bytes. `expected` is their digest, if it is known.
    pub(super) fn read(
        bytes: &'a [u8],
        content_type: Option<&str>,
        expected: Option<Sha256>,
        limit: usize,
    ) -> Result<Self, OciError> {
        check_size(bytes.len(), limit)?;
        let header = content_type.and_then(media_type::essence);
        // First of all: the digest that registries announce for schema 1 is not the hash of the bytes.
        if header.is_some_and(media_type::is_schema_1) {
            return Err(OciError::Schema1);
        }
        let digest = Sha256::of(bytes);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(OciError::Digest { expected, found: digest });
        }
        let document = read(bytes)?;
        let media_type = of(document.root(), header)?;
        Ok(Self { digest, media_type, document })
    }

    /// The outermost object.
    pub(super) fn root(&self) -> Value<'_> {
        self.document.root()
    }
}

/// Reads JSON. Values that take more memory than twice the bytes are refused, because a real manifest takes less than the
/// bytes. That bounds the time as well.
pub(super) fn read(bytes: &[u8]) -> Result<Document<'_>, OciError> {
    let allowance = Allowance {
        values: bytes.len() / 8 + (1 << 10),
        memory: bytes.len().saturating_mul(2).saturating_add(1 << 16),
        is_late: &|| false,
    };
    Ok(Document::read(bytes, allowance)?)
}

pub(super) fn check_size(bytes: usize, limit: usize) -> Result<(), OciError> {
    let [bytes, limit] = [bytes, limit].map(crate::heap_size::as_u64);
    if bytes > limit { Err(OciError::TooLarge { bytes, limit }) } else { Ok(()) }
}

/// The one media type of a manifest or an index, which header, body and shape agree on (CVE-2021-41190).
pub(super) fn of(root: Value<'_>, header: Option<&str>) -> Result<&'static str, OciError> {
    check_names(root, &NAMES)?;
    let body = match root.get("mediaType").map(Value::string) {
        Some(None) => return Err(OciError::Shape("its mediaType is no string")),
        Some(body) => body,
        None => None,
    };
    let version = root.get("schemaVersion").and_then(Value::integer);
    if version == Some(1) || root.get("fsLayers").is_some() || body.is_some_and(media_type::is_schema_1) {
        return Err(OciError::Schema1);
    }
    if let (Some(header), Some(body)) = (header, body)
        && !header.eq_ignore_ascii_case(body)
    {
        return Err(OciError::ContentType { header: header.to_owned(), body: body.to_owned() });
    }
    let text = body.or(header).ok_or(OciError::NoMediaType)?;
    let known = media_type::of_image(text, body.is_none());
    let media_type = known.ok_or_else(|| OciError::MediaType { found: text.to_owned() })?;
    if body.is_none() && media_type::is_docker(media_type) {
        return Err(OciError::Shape("it has no mediaType, which a Docker manifest must have"));
    }
    if version != Some(2) {
        return Err(OciError::Shape("its schemaVersion is not 2"));
    }
    check_shape(root, media_type)?;
    Ok(media_type)
}

/// An image has a config and layers, an index has manifests, and none has both: containers' tools decide by either.
fn check_shape(root: Value<'_>, media_type: &str) -> Result<(), OciError> {
    let (config, layers, manifests) = (root.get("config"), root.get("layers"), root.get("manifests"));
    let (is_image, is_index) = (config.or(layers).is_some(), manifests.is_some());
    match (is_image, is_index) {
        (true, true) => Err(OciError::Ambiguous),
        (true, false) if media_type::is_index(media_type) => {
            Err(OciError::Shape("it is an index by its media type, and an image by its contents"))
        }
        (false, true) if !media_type::is_index(media_type) => {
            Err(OciError::Shape("it is an image by its media type, and an index by its contents"))
        }
        (true, false) if config.and_then(Value::object).is_none() => Err(OciError::Shape("its config is no object")),
        (true, false) if layers.and_then(Value::array).is_none() => Err(OciError::Shape("its layers are no list")),
        (true, false) => Ok(()),
        // Go's writers write `null` for an empty list.
        (false, true) if manifests.is_some_and(|list| list.array().is_some() || list.is_null()) => Ok(()),
        (false, true) => Err(OciError::Shape("its manifests are no list")),
        (false, false) => Err(OciError::Shape("it has neither layers nor manifests")),
    }
}

/// Refuses names that differ from these only in upper and lower case. Programs in Go, which are most programs that read
/// manifests, take `Layers` for `layers`.
pub(super) fn check_names(object: Value<'_>, names: &[&'static str]) -> Result<(), OciError> {
    let Some(members) = object.object() else { return Err(OciError::Shape("it is not an object")) };
    for (name, _) in members {
        if let Some(name) = names.iter().find(|known| name != **known && is_folded(name, known)) {
            return Err(OciError::OtherCase { name });
        }
    }
    Ok(())
}
