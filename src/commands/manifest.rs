//! The input of `review`: AdmissionReviews, and Kubernetes manifests, for which it makes the review that the API server would
//! send.
//!
//! No workload is skipped because of a typing error: an object whose kind nearly matches a kind that the webhook decides on is
//! an error, and so is a field beside the items of a list.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::admission::custom::CustomKinds;
use crate::base::text::nearest;
use crate::yaml::list::{self, Identity};
use crate::yaml::tree::{self, At, Node};
use crate::yaml::{self, YamlError};
use portreeve_verify::text::printable;

/// The kind of a review.
const REVIEW: &str = "AdmissionReview";

/// The kinds that the webhook decides on, in their current versions.
const KINDS: [Identity<'static>; 10] = [
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("v1", "PodTemplate"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("admission.k8s.io/v1", REVIEW),
];

/// An object of an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A workload, or an AdmissionReview.
    Review {
        /// Its name in messages: `Deployment line-1/plc`.
        label: String,
        /// The AdmissionReview.
        body: Vec<u8>,
    },
    /// An object of a kind that the webhook does not decide on.
    NotAWorkload {
        /// Its name in messages: `Service line-1/plc`.
        label: String,
    },
}

/// Reads an input. `namespace` is used for manifests that name none. Custom resources of the kinds that the configuration names
/// are workloads as well.
pub(super) fn read(bytes: &[u8], namespace: &str, custom: CustomKinds) -> Result<Vec<Item>, ManifestError> {
    // An AdmissionReview in JSON is passed on byte for byte, as the webhook would receive it.
    if let Ok(Head { kind: Some(kind) }) = serde_json::from_slice::<Head>(bytes)
        && kind == REVIEW
    {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let label = yaml::documents(text).ok().and_then(|documents| label_of_review(documents.first()?));
        let label = label.unwrap_or(kind);
        return Ok(vec![Item::Review { label, body: bytes.to_vec() }]);
    }
    let mut items = Vec::new();
    if let Some(values) = json_stream(bytes) {
        for (index, value) in values.into_iter().enumerate() {
            let of_value = |source| ManifestError::InStream { value: index + 1, source: Box::new(source) };
            items.extend(read(value, namespace, custom).map_err(of_value)?);
        }
        return Ok(items);
    }
    let text = std::str::from_utf8(bytes).map_err(ManifestError::NotText)?;
    for document in &yaml::documents(text).map_err(ManifestError::Yaml)? {
        add(document, list::identity(document), (namespace, custom), &mut items)?;
    }
    if items.is_empty() {
        return Err(ManifestError::Empty);
    }
    Ok(items)
}

/// The values of a text of two or more JSON values one after the other, as `kubectl` and `jq` write them. YAML does not allow
/// this. Each value is then read by itself, and as strictly.
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

/// The name of a review's object in messages; `None` if the review does not tell it.
fn label_of_review(review: &Node) -> Option<String> {
    let request = review.get("request")?;
    let kind = request.get("kind").filter(|kind| matches!(kind.value, tree::Value::Map(_)))?;
    let text = |node: &Node, field| match node.get(field) {
        None => Some(None),
        Some(value) => value.text().map(|text| Some(text.to_owned())),
    };
    let (kind, namespace, name) = (text(kind, "kind")?, text(request, "namespace")?, text(request, "name")?);
    Some(label(kind.as_deref().unwrap_or(REVIEW), namespace.as_deref(), name.as_deref()))
}

/// The name of an object in messages.
fn label(kind: &str, namespace: Option<&str>, name: Option<&str>) -> String {
    let (kind, name) = (printable(kind, 63), printable(name.unwrap_or("(unnamed)"), 253));
    match namespace {
        Some(namespace) => format!("{kind} {}/{name}", printable(namespace, 63)),
        None => format!("{kind} {name}"),
    }
}

/// Adds an object, or all items of a list.
fn add(
    object: &Node,
    identity: Option<Identity<'_>>,
    (default_namespace, custom): (&str, CustomKinds),
    items: &mut Vec<Item>,
) -> Result<(), ManifestError> {
    let Some((api_version, kind)) = identity else { return Err(ManifestError::NotAnObject { at: object.at }) };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let wrong = |at, what| Err(ManifestError::BadList { at, kind: kind.to_owned(), what });
    // A custom resource can be called AllowList, and can have any `items`.
    let has_items = matches!(object.get("items"), Some(Node { value: tree::Value::List(_), .. }));
    if kind.ends_with("List") && (has_items || is_kubernetes_own(group)) {
        let tree::Value::Map(fields) = &object.value else { return Err(ManifestError::NotAnObject { at: object.at }) };
        if let Some((field, _)) = fields.iter().find(|(field, _)| !list::FIELDS.contains(&field.text.as_str())) {
            return wrong(field.at, format!("\"{}\" beside its items has no effect", printable(&field.text, 60)));
        }
        return match object.entry("items").map(|items| (items.at, &items.value)) {
            Some((_, tree::Value::List(members))) => members.iter().try_for_each(|item| {
                add(item, list::identity_of_item(item, (api_version, kind)), (default_namespace, custom), items)
            }),
            // Go prints an empty list as `null`.
            Some((_, tree::Value::Null)) => Ok(()),
            Some((at, _)) => wrong(at, "its \"items\" are no list".to_owned()),
            None => wrong(object.at, "it has no \"items\"".to_owned()),
        };
    }
    let known = custom.kind(group, kind).is_some() || (group == "admission.k8s.io" && kind == REVIEW);
    if !known && let Some(meant) = near_miss(group, kind) {
        let at = object.get("kind").map_or(object.at, |kind| kind.at);
        return Err(ManifestError::NearMiss { at, api_version: api_version.to_owned(), kind: kind.to_owned(), meant });
    }
    if has_items && is_kubernetes_own(group) {
        return wrong(object.at, "it has \"items\", and the kind of a list ends in List".to_owned());
    }
    let value = object.to_json();
    if kind == REVIEW {
        let label = label_of_review(object).unwrap_or_else(|| kind.to_owned());
        items.push(Item::Review { label, body: value.to_string().into_bytes() });
        return Ok(());
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let namespace = text("/metadata/namespace").unwrap_or(default_namespace);
    let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
    let label = label(kind, Some(namespace), name);
    if !known {
        items.push(Item::NotAWorkload { label });
        return Ok(());
    }
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": REVIEW,
        "request": {
            "uid": format!("review-{}", items.len() + 1),
            "kind": { "group": group, "version": version, "kind": kind },
            "name": name.unwrap_or("(unnamed)"),
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "portreeve-review" },
            "object": value,
        },
    });
    items.push(Item::Review { label, body: review.to_string().into_bytes() });
    Ok(())
}

/// Does this group belong to Kubernetes itself? The group of a custom resource has a dot.
fn is_kubernetes_own(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// The kind that was probably intended, if Kubernetes has no such kind, and the name nearly matches one that the webhook
/// decides on.
fn near_miss(group: &str, kind: &str) -> Option<Identity<'static>> {
    let meant = nearest(kind, KINDS.map(|(_, kind)| kind)).filter(|_| is_kubernetes_own(group))?;
    KINDS.into_iter().find(|(_, kind)| *kind == meant)
}

/// The input cannot be decided on.
#[derive(Debug)]
pub(super) enum ManifestError {
    /// The text is not UTF-8.
    NotText(std::str::Utf8Error),
    /// The text is neither YAML nor JSON.
    Yaml(YamlError),
    /// A document has no `apiVersion` or no `kind`.
    NotAnObject {
        /// Where.
        at: At,
    },
    /// A list would not be read completely.
    BadList {
        /// Where.
        at: At,
        /// The list's kind.
        kind: String,
        /// What is wrong with it.
        what: String,
    },
    /// Kubernetes has no such kind, and its name nearly matches one that the webhook decides on.
    NearMiss {
        /// Where.
        at: At,
        /// As written.
        api_version: String,
        /// As written.
        kind: String,
        /// The kind that was probably intended.
        meant: Identity<'static>,
    },
    /// There is a problem with one of several JSON values.
    InStream {
        /// Its number, from 1.
        value: usize,
        /// What.
        source: Box<ManifestError>,
    },
    /// There is no document.
    Empty,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |at: &At| format!("{}:{}", at.line, at.column);
        match self {
            Self::NotText(error) => write!(f, "not a text file: {error}"),
            Self::Yaml(error) => error.fmt(f),
            Self::NotAnObject { at } => {
                write!(
                    f,
                    "{}: a Kubernetes object has apiVersion and kind, and this document lacks one or both",
                    place(at)
                )
            }
            Self::BadList { at, kind, what } => {
                write!(f, "{}: {what} (in a {}): remove it, or correct the kind", place(at), printable(kind, 63))
            }
            Self::NearMiss { at, api_version, kind, meant: (version, known) } => {
                let (api_version, kind) = (printable(api_version, 63), printable(kind, 63));
                write!(
                    f,
                    "{}: Kubernetes has no {kind} in {api_version}; did you mean kind {known} in apiVersion {version}?",
                    place(at)
                )
            }
            Self::InStream { value, source } => write!(f, "value {value}: {source}"),
            Self::Empty => f.write_str("there is no document to review"),
        }
    }
}

impl std::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotText(error) => Some(error),
            Self::Yaml(error) => Some(error),
            Self::InStream { source, .. } => Some(source),
            Self::NotAnObject { .. } | Self::BadList { .. } | Self::NearMiss { .. } | Self::Empty => None,
        }
    }
}

#[cfg(test)]
mod tests;
