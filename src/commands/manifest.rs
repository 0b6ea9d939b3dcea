//! What `review` takes: AdmissionReviews as they are, and Kubernetes manifests as the API server would send them.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::admission::workload::WorkloadKind;
use crate::text::printable;
use crate::yaml::{self, YamlError};

/// One thing found in an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// To be decided: an AdmissionReview's bytes.
    Review {
        /// For people: `Deployment line-1/plc`.
        label: String,
        /// The AdmissionReview.
        body: Vec<u8>,
    },
    /// An object of a kind that the webhook is never asked about.
    NotAWorkload {
        /// For people: `Service line-1/plc`.
        label: String,
    },
}

/// Reads an input.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Item>, ManifestError> {
    // A JSON AdmissionReview goes on byte for byte, as it would arrive at the webhook.
    if let Ok(Head { kind: Some(kind) }) = serde_json::from_slice::<Head>(bytes)
        && kind == "AdmissionReview"
    {
        return Ok(vec![Item::Review { label: kind, body: bytes.to_vec() }]);
    }
    let mut items = Vec::new();
    if let Some(values) = json_stream(bytes) {
        for value in values {
            items.extend(read(value)?);
        }
        return Ok(items);
    }
    let text = std::str::from_utf8(bytes).map_err(ManifestError::NotText)?;
    let documents: Vec<Value> = yaml::read_all(text).map_err(ManifestError::Yaml)?;
    for (index, document) in documents.into_iter().enumerate() {
        if !document.is_null() {
            add(document, index + 1, &mut items)?;
        }
    }
    if items.is_empty() {
        return Err(ManifestError::Empty);
    }
    Ok(items)
}

/// The values of a text that is two or more JSON values one after the other, as `kubectl` and `jq` write them: YAML
/// knows no such thing. Each is then read by itself, as strictly as any.
fn json_stream(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    let (mut values, mut start) = (Vec::new(), 0);
    while let Some(value) = stream.next() {
        value.ok()?;
        values.push(bytes.get(start..stream.byte_offset())?);
        start = stream.byte_offset();
    }
    (values.len() > 1).then_some(values)
}

#[derive(Deserialize)]
struct Head {
    kind: Option<String>,
}

fn add(object: Value, document: usize, items: &mut Vec<Item>) -> Result<(), ManifestError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
        return Err(ManifestError::NotAnObject { document });
    };
    if kind == "AdmissionReview" {
        let label = kind.to_owned();
        items.push(Item::Review { label, body: object.to_string().into_bytes() });
        return Ok(());
    }
    if kind.ends_with("List") && object.get("items").is_some_and(Value::is_array) {
        return match object {
            Value::Object(mut list) => match list.remove("items") {
                Some(Value::Array(members)) => members.into_iter().try_for_each(|member| add(member, document, items)),
                _ => Ok(()),
            },
            _ => Ok(()),
        };
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("(unnamed)");
    let label = format!("{} {}/{}", printable(kind, 63), printable(namespace, 63), printable(name, 253));
    if WorkloadKind::of(group, kind).is_none() {
        items.push(Item::NotAWorkload { label });
        return Ok(());
    }
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("review-{}", items.len() + 1),
            "kind": { "group": group, "version": version, "kind": kind },
            "name": name,
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "portreeve-review" },
            "object": object,
        },
    });
    items.push(Item::Review { label, body: review.to_string().into_bytes() });
    Ok(())
}

/// An input that holds nothing to decide on.
#[derive(Debug)]
pub(super) enum ManifestError {
    /// Not UTF-8.
    NotText(std::str::Utf8Error),
    /// Neither YAML nor JSON.
    Yaml(YamlError),
    /// A document without `apiVersion` and `kind`.
    NotAnObject {
        /// Which document of the stream, from 1.
        document: usize,
    },
    /// No document at all.
    Empty,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(error) => write!(f, "not a text file: {error}"),
            Self::Yaml(error) => error.fmt(f),
            Self::NotAnObject { document } => {
                write!(f, "document {document} has no apiVersion and kind: expected a Kubernetes object")
            }
            Self::Empty => f.write_str("nothing in it to review"),
        }
    }
}

impl std::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotText(error) => Some(error),
            Self::Yaml(error) => Some(error),
            Self::NotAnObject { .. } | Self::Empty => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::review::Review;

    #[test]
    fn a_stream_of_manifests_becomes_reviews() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: n}\nspec: {template: {spec: \
                    {containers: [{name: c, image: x}]}}}\n---\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n\
                    ---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}}\n";
        let items = read(text.as_bytes()).unwrap();
        assert_eq!(items.len(), 3);
        let Item::Review { label, body } = &items[0] else { panic!() };
        assert_eq!(label, "Deployment n/a");
        let review = Review::parse(body).unwrap();
        assert_eq!(
            (review.request.kind.group.as_deref(), review.request.namespace.as_deref()),
            (Some("apps"), Some("n"))
        );
        assert_eq!(items[1], Item::NotAWorkload { label: "Service default/s".to_owned() });
        assert!(matches!(&items[2], Item::Review { label, .. } if label == "Pod default/p"));
    }

    #[test]
    fn a_json_review_stays_as_it_is() {
        let text = b" {\"kind\": \"AdmissionReview\",\n\"apiVersion\": 7}";
        assert_eq!(read(text).unwrap(), [Item::Review { label: "AdmissionReview".to_owned(), body: text.to_vec() }]);
    }

    #[test]
    fn json_values_may_follow_one_another() {
        let review = r#"{"kind": "AdmissionReview", "apiVersion": 7}"#;
        let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}"#;
        let items = read(format!("{review}\n{pod}{review}").as_bytes()).unwrap();
        assert_eq!(items.len(), 3);
        assert!(matches!(&items[1], Item::Review { label, .. } if label == "Pod default/p"));
        // A key that stands twice is no better here.
        assert!(read(format!("{pod}\n{}", pod.replace("\"v1\"", "\"v1\", \"kind\": \"Pod\"")).as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_manifest_is_told() {
        for (bytes, expected) in [
            (&b""[..], "nothing in it to review"),
            (b"---\n", "nothing in it to review"),
            (b"a: 1\n", "document 1 has no apiVersion and kind"),
            (b"kind: [\n", "1:7: "),
            (b"\xff\xfe", "not a text file"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
