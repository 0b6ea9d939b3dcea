//! The request of an AdmissionReview, `admission.k8s.io/v1` and `v1beta1`.
//!
//! Only the fields that a decision needs are read. The rest of the object is skipped without a copy. The types use only what
//! miniserde's derive supports as well (plain structs, `Option`, `Vec`, `BTreeMap`, `String`, `rename`). A duplicate field is
//! an error: another reader could take the other value. So is a list in place of an object (`base/object_only`).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, de::Error as _};

use super::decode_error::DecodeError;
use crate::base::json_limits;
use crate::base::json_limits::JsonSize;
use crate::base::object_only::from_objects;
use portreeve_verify::text::{printable, to_printable};

/// The `kind` of every review.
pub(super) const REVIEW_KIND: &str = "AdmissionReview";

/// The longest uid. Those of Kubernetes are UUIDs. The response repeats the uid, and must not become as long as the request.
const UID_BYTES: usize = 256;

/// The API versions that are supported. The response uses the version of the request.
pub(super) const REVIEW_VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// An AdmissionReview with a request.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Review {
    /// `admission.k8s.io/v1` or `v1beta1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `AdmissionReview`.
    pub kind: String,
    /// The request.
    pub request: Request,
}

/// `AdmissionReview.request`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Request {
    /// Identifies the request. The response repeats it.
    pub uid: String,
    /// The kind of the object as it was sent.
    pub kind: GroupVersionKind,
    /// `ephemeralcontainers`, `status` and so on; absent or empty for the object itself.
    #[serde(rename = "subResource")]
    pub sub_resource: Option<String>,
    /// The object's name. It can be absent on CREATE with `generateName`.
    pub name: Option<String>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Is the object not to be stored? Only the log reads it.
    #[serde(rename = "dryRun")]
    pub dry_run: Option<bool>,
    /// The user.
    #[serde(rename = "userInfo")]
    pub user_info: Option<UserInfo>,
    /// The object as it would be stored. Boxed as the next, because a review is moved several times.
    pub object: Option<Box<Object>>,
    /// The object as it is stored now (UPDATE, DELETE).
    #[serde(rename = "oldObject")]
    pub old_object: Option<Box<Object>>,
}

impl Request {
    /// The stored object, if this is an UPDATE. On CREATE an old object means nothing.
    pub fn stored(&self) -> Option<&Object> {
        self.old_object.as_deref().filter(|_| self.operation == "UPDATE")
    }

    /// Is the stored object being deleted? Only the stored object counts: on CREATE a user can write any deletionTimestamp.
    pub(super) fn is_being_deleted(&self) -> bool {
        self.stored().and_then(|stored| stored.metadata.as_ref()?.deletion_timestamp.as_deref()).is_some()
    }
}

/// A kind in its group and version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: Option<String>,
    /// `v1` and so on.
    pub version: Option<String>,
    /// `Pod` and so on.
    pub kind: String,
}

impl GroupVersionKind {
    /// The kind and its group, printable: `Deployment.apps`.
    pub(crate) fn describe(&self) -> Cow<'_, str> {
        let kind = to_printable(&self.kind, 63);
        match self.group.as_deref() {
            None | Some("") => kind,
            Some(group) => Cow::Owned([&kind, ".", &to_printable(group, 253)].concat()),
        }
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// `request.userInfo`, as the API server authenticated it.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct UserInfo {
    /// The user's name.
    pub username: Option<String>,
    /// The groups.
    pub groups: Option<Vec<String>>,
}

/// Any object that is a pod or has a pod template. All kinds share this type. [`super::workload`] knows which fields a kind
/// uses.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Object {
    /// Metadata.
    pub metadata: Option<Metadata>,
    /// `spec` of everything but a PodTemplate.
    pub spec: Option<Spec>,
    /// `template` of a PodTemplate.
    pub template: Option<Template>,
}

/// The fields of `metadata` that decisions need.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Metadata {
    /// Annotations.
    pub annotations: Option<Annotations>,
    /// Owners.
    #[serde(rename = "ownerReferences")]
    pub owner_references: Option<Vec<OwnerReference>>,
    /// When the deletion was requested.
    #[serde(rename = "deletionTimestamp")]
    pub deletion_timestamp: Option<String>,
}

/// The one annotation that decisions need. A map of all annotations would take ten times their bytes.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Annotations {
    /// Marks the mirror of a static pod.
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub mirror: Option<String>,
}

/// One owner.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct OwnerReference {
    /// `apps/v1` and so on.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `ReplicaSet` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
    /// Is it the managing controller?
    pub controller: Option<bool>,
}

/// A pod's spec, or a controller's.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Spec {
    /// A pod's `initContainers`.
    #[serde(rename = "initContainers")]
    pub init_containers: Option<Vec<Container>>,
    /// A pod's `containers`.
    pub containers: Option<Vec<Container>>,
    /// A pod's `ephemeralContainers`.
    #[serde(rename = "ephemeralContainers")]
    pub ephemeral_containers: Option<Vec<Container>>,
    /// A pod's `volumes`.
    pub volumes: Option<Vec<Volume>>,
    /// A pod's node.
    #[serde(rename = "nodeName")]
    pub node_name: Option<String>,
    /// A pod's `imagePullSecrets`.
    #[serde(rename = "imagePullSecrets")]
    pub image_pull_secrets: Option<Vec<LocalReference>>,
    /// A pod's `serviceAccountName`.
    #[serde(rename = "serviceAccountName")]
    pub service_account_name: Option<String>,
    /// The deprecated name of `serviceAccountName`. The API server reads it if the other is missing.
    #[serde(rename = "serviceAccount")]
    pub service_account: Option<String>,
    /// A controller's `template`.
    pub template: Option<Template>,
    /// A CronJob's `jobTemplate`.
    #[serde(rename = "jobTemplate")]
    pub job_template: Option<JobTemplate>,
}

/// A pod template.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Template {
    /// The pods' spec.
    pub spec: Option<Box<Spec>>,
}

/// A CronJob's job template.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct JobTemplate {
    /// The jobs' spec.
    pub spec: Option<Box<Spec>>,
}

/// A container of any list.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Container {
    /// Its name.
    pub name: Option<String>,
    /// Its image.
    pub image: Option<String>,
}

/// The name of an object of the same namespace.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct LocalReference {
    /// Its name.
    pub name: Option<String>,
}

/// A volume. Only image volumes (KEP-4639) name an image.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct Volume {
    /// Its name.
    pub name: Option<String>,
    /// The source, if it is an image volume.
    pub image: Option<ImageVolume>,
}

/// An image volume's source.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub struct ImageVolume {
    /// The image.
    pub reference: Option<String>,
}

/// The fields of a review that a response needs when the object cannot be read.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
struct ReviewHead {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    request: Option<RequestHead>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
struct RequestHead {
    uid: Option<String>,
}

from_objects!(
    Review,
    Request,
    GroupVersionKind,
    UserInfo,
    Object,
    Metadata,
    Annotations,
    OwnerReference,
    Spec,
    Template,
    JobTemplate,
    Container,
    LocalReference,
    Volume,
    ImageVolume,
    ReviewHead,
    RequestHead,
);

impl Review {
    /// Reads a review. The error distinguishes a body that is no AdmissionReview (HTTP 400) from a review whose object cannot
    /// be read (denied, with its uid).
    pub fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let text = readable(body, json_limits::MAX_STRING)?;
        let review: Self = match serde_json::from_str(text) {
            Ok(review) => review,
            Err(error) => return Err(Self::explain(text, DecodeError::of(text, error))),
        };
        check_head(Some(&review.kind), Some(&review.api_version), Some(&review.request.uid))?;
        Ok(review)
    }

    /// Why a body could not be read. It is read a second time for this, so only after a failure.
    pub(crate) fn explain(body: &str, error: DecodeError) -> ReviewError {
        let Ok(head) = serde_json::from_str::<ReviewHead>(body) else { return ReviewError::NotJson(error) };
        let uid = head.request.as_ref().and_then(|request| request.uid.as_deref());
        match check_head(head.kind.as_deref(), head.api_version.as_deref(), uid) {
            Err(refusal) => refusal,
            Ok(version) => ReviewError::Undecodable { version, uid: uid.unwrap_or_default().to_owned(), source: error },
        }
    }
}

/// Checks a body before it is parsed: its cost is bounded, and all of it is UTF-8 (RFC 8259 §8.1). serde_json would not check
/// the parts that it skips.
pub(crate) fn readable(body: &[u8], longest_string: usize) -> Result<&str, ReviewError> {
    // Each value and each byte of a string takes a byte.
    let is_short = body.len() <= longest_string.min(json_limits::MAX_VALUES);
    let size = if is_short { JsonSize::default() } else { JsonSize::of(body) };
    if size.values > json_limits::MAX_VALUES {
        return Err(ReviewError::TooManyValues { parts: size.values });
    }
    if size.longest_string > longest_string {
        return Err(ReviewError::TooLong { found: size.longest_string, limit: longest_string });
    }
    std::str::from_utf8(body)
        .map_err(|error| ReviewError::NotJson(DecodeError::at("", serde_json::Error::custom(error))))
}

/// Checks that a response to this review is possible. Returns the version of the response.
pub(crate) fn check_head(
    kind: Option<&str>,
    version: Option<&str>,
    uid: Option<&str>,
) -> Result<&'static str, ReviewError> {
    if kind != Some(REVIEW_KIND) {
        return Err(ReviewError::NotAReview { kind: kind.map(|kind| printable(kind, 63)) });
    }
    let Some(known) = REVIEW_VERSIONS.into_iter().find(|known| version == Some(known)) else {
        return Err(ReviewError::UnknownVersion { version: version.map(|version| printable(version, 63)) });
    };
    if uid.is_none_or(|uid| uid.is_empty() || uid.len() > UID_BYTES) {
        return Err(ReviewError::NoRequest);
    }
    Ok(known)
}

/// Why there is no decision on a body.
#[derive(Debug)]
pub enum ReviewError {
    /// It is no JSON object, or its request is none.
    NotJson(DecodeError),
    /// It is of another kind than AdmissionReview.
    NotAReview {
        /// The kind, if there is one.
        kind: Option<String>,
    },
    /// Its version is not supported.
    UnknownVersion {
        /// The version, if there is one.
        version: Option<String>,
    },
    /// It has no request, or the length of the request's uid is not allowed.
    NoRequest,
    /// It has so many values that they would take far more memory than its bytes.
    TooManyValues {
        /// The number of values.
        parts: usize,
    },
    /// It has a string that is longer than any in such an object.
    TooLong {
        /// The length in bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It is a review, but a field of its object has another type than in Kubernetes.
    Undecodable {
        /// The version of the response.
        version: &'static str,
        /// The uid of the response.
        uid: String,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl fmt::Display for ReviewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match self {
            Self::NotJson(error) => write!(f, "the body is not an AdmissionReview in JSON: {error}"),
            Self::NotAReview { kind } => write!(f, "expected kind {REVIEW_KIND}, found {}", or_none(kind)),
            Self::UnknownVersion { version } => {
                write!(f, "expected apiVersion {}, found {}", REVIEW_VERSIONS.join(" or "), or_none(version))
            }
            Self::NoRequest => write!(f, "the AdmissionReview has no request with a uid of 1 to {UID_BYTES} bytes"),
            Self::TooManyValues { parts } => {
                write!(
                    f,
                    "the review holds {parts} values; expected at most {}, shrink the object",
                    json_limits::MAX_VALUES
                )
            }
            Self::TooLong { found, limit } => {
                write!(f, "the review holds a string of {found} bytes; expected at most {limit}, shrink the object")
            }
            Self::Undecodable { source, .. } => {
                write!(f, "the object cannot be decoded, so that its images are not known: {source}")
            }
        }
    }
}

impl std::error::Error for ReviewError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotJson(error) | Self::Undecodable { source: error, .. } => Some(error),
            Self::NotAReview { .. }
            | Self::UnknownVersion { .. }
            | Self::NoRequest
            | Self::TooManyValues { .. }
            | Self::TooLong { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
