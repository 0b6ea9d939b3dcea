//! The input of `review`: AdmissionReviews, and Kubernetes manifests, for which it makes the review that the API server would
//! send.
//!
//! No workload is skipped because of a typing error: an object whose kind nearly matches a kind that the webhook decides on is
//! an error, and so is a field beside the items of a list.

use std::fmt;
use std::io::Write as _;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::admission::custom::CustomKinds;
use crate::base::json_writer::{Hidden, JsonWriter};
use crate::base::object_only::from_objects;
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
pub(super) struct Item {
    pub(super) name: ObjectName,
    pub(super) content: Content,
}

/// What is decided on an object.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// An AdmissionReview.
    Review(Vec<u8>),
    /// A workload, for which a review is yet to be made.
    Workload(Value),
    /// An object of a kind that the webhook does not decide on.
    Other {
        /// In words.
        why: String,
        /// Does it look like a workload, whose kind is misspelt or not named in the configuration?
        is_suspect: bool,
    },
}

impl Eq for Content {}

/// What an object is called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectName {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl Item {
    /// The AdmissionReview that the API server would send if this workload were created.
    pub(super) fn review(&self, uid: &str, object: &Value) -> Vec<u8> {
        let ObjectName { group, version, kind, namespace, name } = &self.name;
        let mut review = Vec::new();
        let mut json = JsonWriter::new(&mut review, Hidden::Kept);
        json.begin(b'{');
        json.string("apiVersion", "admission.k8s.io/v1");
        json.string("kind", REVIEW);
        json.key("request");
        json.begin(b'{');
        json.string("uid", uid);
        json.key("kind");
        json.begin(b'{');
        json.string("group", group);
        json.string("version", version);
        json.string("kind", kind);
        json.end(b'}');
        json.string("name", name.as_deref().unwrap_or(UNNAMED));
        json.optional("namespace", namespace.as_deref());
        json.string("operation", "CREATE");
        json.key("userInfo");
        json.begin(b'{');
        json.string("username", "portreeve-review");
        json.end(b'}');
        // The object may be large, and is not copied as a tree.
        json.key("object");
        let _ = write!(json.text(), "{object}"); // writing to memory cannot fail
        json.end(b'}');
        json.end(b'}');
        review
    }
}

/// The name of an object without one.
const UNNAMED: &str = "(unnamed)";

impl fmt::Display for ObjectName {
    /// `Deployment line-1/plc`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", printable(&self.kind, 63))?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{}/", printable(namespace, 63))?;
        }
        f.write_str(&printable(self.name.as_deref().unwrap_or(UNNAMED), 253))
    }
}

/// Reads an input. `namespace` is used for manifests that name none. Custom resources of the kinds that the configuration names
/// are workloads as well.
pub(super) fn read(bytes: &[u8], namespace: &str, custom: CustomKinds) -> Result<Vec<Item>, ManifestError> {
    // An AdmissionReview in JSON is passed on byte for byte, as the webhook would receive it.
    if let Ok(Head { kind: Some(kind) }) = serde_json::from_slice::<Head>(bytes)
        && kind == REVIEW
    {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let name = yaml::documents(text).ok().and_then(|documents| name_in_review(documents.first()?));
        return Ok(vec![Item { name: name.unwrap_or_else(no_name), content: Content::Review(bytes.to_vec()) }]);
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
#[serde(remote = "Self")]
struct Head {
    kind: Option<String>,
}

from_objects!(Head);

/// The name of a review's object; `None` if the review does not tell it.
fn name_in_review(review: &Node) -> Option<ObjectName> {
    let request = review.get("request")?;
    let kind = request.get("kind").filter(|kind| matches!(kind.value, tree::Value::Map(_)))?;
    let text = |node: &Node, field| match node.get(field) {
        None => Some(None),
        Some(value) => value.text().map(|text| Some(text.to_owned())),
    };
    Some(ObjectName {
        group: text(kind, "group")?.unwrap_or_default(),
        version: text(kind, "version")?.unwrap_or_default(),
        kind: text(kind, "kind")?.unwrap_or_else(|| REVIEW.to_owned()),
        namespace: text(request, "namespace")?,
        name: text(request, "name")?,
    })
}

/// The name of a review that does not tell what it is about.
fn no_name() -> ObjectName {
    ObjectName { kind: REVIEW.to_owned(), ..ObjectName::default() }
}

/// Adds an object, or all items of a list.
fn add(
    object: &Node,
    identity: Option<Identity<'_>>,
    (default_namespace, custom): (&str, CustomKinds),
    items: &mut Vec<Item>,
) -> Result<(), ManifestError> {
    let Some((api_version, kind)) = identity else { return Err(ManifestError::NotAnObject { at: object.at }) };
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
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
    if group == "kustomize.config.k8s.io" && matches!(kind, "Kustomization" | "Component") {
        return Err(ManifestError::Kustomization);
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
        let name = name_in_review(object).unwrap_or_else(no_name);
        items.push(Item { name, content: Content::Review(value.to_string().into_bytes()) });
        return Ok(());
    }
    // It is not known whether an object of another kind belongs to a namespace.
    let name = name_of(&value, (api_version, kind), if known { default_namespace } else { "" });
    let content = if known { Content::Workload(value) } else { other(&value, (group, kind), custom) };
    items.push(Item { name, content });
    Ok(())
}

/// Where custom resources mostly have a pod template.
const TEMPLATES: [&str; 2] = ["/spec/template/spec/containers", "/spec/jobTemplate/spec/template/spec/containers"];

/// An object of a kind that the webhook does not decide on.
fn other(object: &Value, (group, kind): (&str, &str), custom: CustomKinds) -> Content {
    let mut why = ["kind ", &printable(kind, 63)].concat();
    if !group.is_empty() {
        why.push('.');
        why.push_str(&printable(group, 253));
    }
    why.push_str(" is not one that Portreeve checks");
    let near = custom.nearest(group, kind);
    let is_suspect = near.is_some() || TEMPLATES.into_iter().any(|at| object.pointer(at).is_some());
    if let Some(near) = near {
        why.push_str("; did you mean ");
        why.push_str(near);
        why.push_str(", which admission.workloads names?");
    } else if is_suspect {
        why.push_str("; it has a pod template: if it is a workload, name its kind under admission.workloads");
    }
    Content::Other { why, is_suspect }
}

/// The name of an object of this kind. The API server leaves the kind out in the items of a list. Without a default, an object
/// that names no namespace has none.
pub(super) fn name_of(object: &Value, (api_version, kind): Identity<'_>, default_namespace: &str) -> ObjectName {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    ObjectName {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(text("/metadata/namespace").unwrap_or(default_namespace).to_owned())
            .filter(|namespace| !namespace.is_empty()),
        name: text("/metadata/name").or_else(|| text("/metadata/generateName")).map(str::to_owned),
    }
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

/// What to do with a kustomization. Its files alone would be reviewed without its changes.
pub(super) const KUSTOMIZATION: &str =
    "this is a kustomization; review what it renders: kubectl kustomize DIR | portreeve review -";

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
    /// It is no object, but a list of files and of changes to them.
    Kustomization,
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
            Self::Kustomization => f.write_str(KUSTOMIZATION),
        }
    }
}

impl std::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotText(error) => Some(error),
            Self::Yaml(error) => Some(error),
            Self::InStream { source, .. } => Some(source),
            Self::NotAnObject { .. } | Self::BadList { .. } | Self::NearMiss { .. } | Self::Kustomization => None,
        }
    }
}

#[cfg(test)]
mod tests;
