//! Manifests, lists and descriptors on a tree of JSON, rule by rule: slow and obvious.

use portreeve_verify::oci::{Descriptor, OciError};

use crate::strict_json::Json;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

const NAMES: [&str; 8] =
    ["artifactType", "config", "fsLayers", "layers", "manifests", "mediaType", "schemaVersion", "subject"];

impl Json {
    pub fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    pub fn list(&self) -> Option<&[Json]> {
        if let Json::List(items) = self { Some(items) } else { None }
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// The media type of a manifest or an index. `None` if it must be refused.
pub fn media_type(json: &Json, header: Option<&str>) -> Option<&'static str> {
    let header =
        header.map(|value| value.split(';').next().unwrap_or_default().trim()).filter(|value| !value.is_empty());
    let header = header.map(str::to_ascii_lowercase);
    let Json::Object(_) = json else { return None };
    let body = match json.get("mediaType") {
        None => None,
        Some(value) => Some(value.text()?),
    };
    let stated = match (header.as_deref(), body) {
        (None, None) => return None,
        (Some(header), None) if header.contains("docker") => return None,
        (Some(header), None) => header,
        (None, Some(body)) => body,
        (Some(header), Some(body)) if header == body.to_ascii_lowercase() => body,
        (Some(_), Some(_)) => return None,
    };
    let known = *TYPES.iter().find(|known| **known == stated)?;
    let is_index = known == OCI_INDEX || known == DOCKER_LIST;
    let is_right = if is_index {
        let manifests = json.get("manifests")?;
        (manifests.list().is_some() || *manifests == Json::Null) && !json.has("layers") && !json.has("config")
    } else {
        json.get("layers")?.list().is_some() && matches!(json.get("config")?, Json::Object(_)) && !json.has("manifests")
    };
    let rules = [
        is_right,
        json.get("schemaVersion") == Some(&Json::Integer(2)),
        !json.has("fsLayers"),
        has_no_other_case(json, &NAMES),
    ];
    rules.iter().all(|holds| *holds).then_some(known)
}

/// Descriptors as lists of their parts.
pub type Parts = (String, String, u64, Option<String>, Vec<(String, String)>);

/// `None` if it must be refused.
pub fn descriptor(json: &Json) -> Option<Parts> {
    has_no_other_case(json, &["annotations", "artifactType", "digest", "mediaType", "size"]).then_some(())?;
    let media_type = json.get("mediaType")?.text().filter(|text| !text.is_empty())?.to_owned();
    let Json::Integer(size) = json.get("size")? else { return None };
    let mut annotations = Vec::new();
    match json.get("annotations") {
        None | Some(Json::Null) => {}
        Some(Json::Object(members)) => {
            for (name, value) in members {
                annotations.push((name.clone(), value.text()?.to_owned()));
            }
        }
        Some(_) => return None,
    }
    annotations.sort();
    Some((media_type, digest(json)?, u64::try_from(*size).ok()?, artifact_type(json)?, annotations))
}

/// The digest of a descriptor. `None` if it must be refused.
pub fn digest(json: &Json) -> Option<String> {
    let text = json.get("digest")?.text()?;
    let is_lower_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let hex = text.strip_prefix("sha256:")?;
    (hex.chars().count() == 64 && hex.chars().all(is_lower_hex)).then(|| text.to_owned())
}

/// `None` if it must be refused, `Some(None)` if there is none.
pub fn artifact_type(json: &Json) -> Option<Option<String>> {
    match json.get("artifactType") {
        None | Some(Json::Null) => Some(None),
        Some(value) => value.text().map(|text| (!text.is_empty()).then(|| text.to_owned())),
    }
}

/// The parts of a descriptor that the product has read.
pub fn parts(descriptor: &Descriptor) -> Parts {
    let annotations = descriptor.annotations.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let Descriptor { media_type, digest, size, artifact_type, .. } = descriptor;
    (media_type.clone(), digest.to_string(), *size, artifact_type.clone(), annotations)
}

/// Is it an object without names that Go takes for one of these?
pub fn has_no_other_case(json: &Json, names: &[&str]) -> bool {
    let Json::Object(members) = json else { return false };
    let folded = |name: &str| name.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase();
    members
        .iter()
        .all(|(name, _)| names.contains(&name.as_str()) || names.iter().all(|known| folded(known) != folded(name)))
}

/// Has the product refused it because it takes too much memory for its size? The slow reading has no such limit.
pub fn is_limit(error: &OciError) -> bool {
    let words = error.to_string();
    assert!(words.chars().all(|c| !c.is_control()) && words.len() < 1000, "{words:?}");
    matches!(error, OciError::Json(_)) && (words.contains("more values than") || words.contains("too much memory"))
        || matches!(error, OciError::TooLarge { .. } | OciError::TooMany { .. })
}
