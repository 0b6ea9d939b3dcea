//! Kinds of custom resources that have a pod template (`admission.workloads`): Argo Rollouts, OpenKruise, Knative.
//!
//! An object of such a kind is verified as Kubernetes' own templates are. An API server does not check a custom resource as it
//! checks its own kinds, so an object without a pod spec is denied, unless the configuration says that it may have none: a wrong
//! path would let every image pass. No element of a list is a pod spec, because the other elements would not be verified.

use serde::de::{Error as _, IgnoredAny};

use super::decide::UnchangedTemplates;
use super::decode_error::DecodeError;
use super::request::{GroupVersionKind, Object, Request, Review, ReviewError, Spec, readable};
use super::workload::WorkloadKind;
use crate::base::json_limits;
use crate::base::json_text::{Found, Twice, find, path_of};
use crate::base::text::nearest;
use crate::kube::object_name::{Resource, is_dns_label, is_dns_subdomain};

/// The most kinds of a configuration.
const MAX_KINDS: usize = 64;
/// The longest path to a pod spec, and the most steps of one.
const MAX_POINTER: usize = 256;
const MAX_STEPS: usize = 16;

/// A kind of custom resources with a pod template.
#[derive(Debug, PartialEq, Eq)]
pub struct CustomKind {
    group: String,
    kind: String,
    /// The JSON pointer (RFC 6901) to the pods' spec.
    pointer: String,
    /// The keys of `pointer`.
    path: Vec<String>,
    /// The name in URLs and in RBAC: `rollouts`.
    plural: String,
    /// `apis/<group>`.
    api: String,
    when_absent: WhenAbsent,
}

/// What becomes of an object without a pod spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAbsent {
    /// It is denied.
    #[default]
    Deny,
    /// It passes: it runs no image of its own.
    Allow,
}

impl CustomKind {
    /// A kind. The error is the field that is wrong, and what was expected.
    pub fn new(group: &str, kind: &str, pointer: &str) -> Result<Self, (&'static str, &'static str)> {
        if WorkloadKind::of(group, kind).is_some() {
            return Err(("kind", "a custom resource's kind: this kind of Kubernetes itself is verified anyway"));
        }
        // The API server takes no other groups for custom resources.
        if !(group.contains('.') && is_dns_subdomain(group)) {
            return Err(("group", "the API group of a custom resource without its version, such as argoproj.io"));
        }
        let is_camel = kind.starts_with(|first: char| first.is_ascii_uppercase());
        if !is_camel || !is_dns_label(&kind.to_ascii_lowercase()) {
            return Err(("kind", "a kind such as Rollout"));
        }
        let path = keys(pointer)?;
        Ok(Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            pointer: pointer.to_owned(),
            path,
            plural: [&kind.to_ascii_lowercase(), "s"].concat(),
            api: ["apis/", group].concat(),
            when_absent: WhenAbsent::Deny,
        })
    }

    /// The same, under this name in URLs.
    pub fn named(self, plural: &str) -> Result<Self, (&'static str, &'static str)> {
        if !is_dns_label(plural) {
            return Err(("resource", "the name in URLs and in RBAC, such as rollouts"));
        }
        Ok(Self { plural: plural.to_owned(), ..self })
    }

    /// The same, with what becomes of an object without a pod spec.
    pub fn when_absent(self, when_absent: WhenAbsent) -> Self {
        Self { when_absent, ..self }
    }

    /// Where the API server serves objects of this kind. The version is that of the object.
    pub(super) fn resource(&'static self) -> Resource {
        Resource { api: &self.api, plural: &self.plural, kind: &self.kind }
    }

    /// The JSON pointer to the pods' spec.
    pub(super) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Why an object without a pod spec is denied; `None` if it may have none.
    pub(super) fn denies_absent(&self) -> Option<String> {
        let why = || {
            format!(
                "it has no pod spec at {}, where admission.workloads says that this kind has one, so its images are not \
                 known; correct podSpec there, or add \"whenAbsent: allow\" if such an object runs no image of its own",
                self.pointer
            )
        };
        (self.when_absent == WhenAbsent::Deny).then(why)
    }

    /// The object of this kind in a text, with its pod spec in place of `spec`.
    pub(super) fn read(&self, text: &str) -> Result<Object, DecodeError> {
        Ok(Object { metadata: None, spec: self.pod_spec(self.at(text, &[]), &[])?, template: None })
    }

    /// What is at the path of the pod spec in an object, which is at `keys` in a text.
    fn at<'t>(&self, text: &'t str, keys: &[&str]) -> Result<Found<'t>, Twice> {
        let path: Vec<&str> = keys.iter().copied().chain(self.path.iter().map(String::as_str)).collect();
        find(text, &path)
    }

    /// The pod spec that was found in an object at `keys`; `None` if there is nothing.
    fn pod_spec(&self, found: Result<Found<'_>, Twice>, keys: &[&str]) -> Result<Option<Spec>, DecodeError> {
        let path = |depth: usize, inner: &str| {
            let path = keys.iter().copied().chain(self.path.iter().map(String::as_str));
            path.take(depth).chain(Some(inner).filter(|inner| !inner.is_empty())).collect::<Vec<_>>().join(".")
        };
        match found {
            Ok(Found::Nothing) => Ok(None),
            // A value that has no more keys is no object, and so no pod spec either.
            Ok(Found::Value(text, depth)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|error| DecodeError::at(&path(depth, &path_of(text, &error)), error)),
            // Another reader could take the other value.
            Err(Twice) => {
                let error = serde_json::Error::custom("a key of the path to the pod spec stands twice");
                Err(DecodeError::at(&path(keys.len() + self.path.len(), ""), error))
            }
        }
    }
}

/// The keys of a JSON pointer.
fn keys(pointer: &str) -> Result<Vec<String>, (&'static str, &'static str)> {
    let wrong = |expected| Err(("podSpec", expected));
    let Some(path) = pointer.strip_prefix('/').filter(|_| pointer.len() <= MAX_POINTER) else {
        return wrong("a JSON pointer such as /spec/template/spec");
    };
    let mut keys = Vec::new();
    for step in path.split('/') {
        if step.is_empty() || step.replace("~0", "").replace("~1", "").contains('~') {
            return wrong("a JSON pointer such as /spec/template/spec");
        }
        if step == "-" || step.bytes().all(|byte| byte.is_ascii_digit()) {
            return wrong("a path without elements of lists: the other elements would not be verified");
        }
        keys.push(step.replace("~1", "/").replace("~0", "~"));
    }
    if matches!(keys.first().map(String::as_str), Some("metadata" | "status" | "kind" | "apiVersion")) {
        return wrong("a path in what users write: status and metadata make no pods");
    }
    if keys.len() > MAX_STEPS {
        return wrong("a shorter path");
    }
    Ok(keys)
}

/// The custom kinds of the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct CustomKinds(&'static [CustomKind]);

impl CustomKinds {
    /// The kinds of a configuration, which is read once and holds until the process ends: so they are never freed. The error
    /// is what is wrong with the list.
    pub fn new(kinds: Vec<CustomKind>) -> Result<Self, &'static str> {
        if kinds.len() > MAX_KINDS {
            return Err("at most 64 kinds");
        }
        let is_twice =
            |(place, one): (usize, &CustomKind)| kinds.iter().take(place).any(|other| other.is(&one.group, &one.kind));
        if kinds.iter().enumerate().any(is_twice) {
            return Err("each kind once: all versions of its group are verified by one entry");
        }
        Ok(Self(kinds.leak()))
    }

    /// The kind by its group and name, in every version: one of Kubernetes' own, or one of these.
    pub fn kind(self, group: &str, kind: &str) -> Option<WorkloadKind> {
        let custom = || self.0.iter().find(|custom| custom.is(group, kind)).map(WorkloadKind::Custom);
        WorkloadKind::of(group, kind).or_else(custom)
    }

    /// All of these kinds, without those of Kubernetes.
    pub(crate) fn all(self) -> impl Iterator<Item = WorkloadKind> {
        self.0.iter().map(WorkloadKind::Custom)
    }

    /// The kind of this group whose name is nearly the same.
    pub(crate) fn nearest(self, group: &str, kind: &str) -> Option<&'static str> {
        nearest(kind, self.0.iter().filter(|custom| custom.group == group).map(|custom| custom.kind.as_str()))
    }

    /// The kind of a request.
    pub(super) fn kind_of(self, kind: &GroupVersionKind) -> Option<WorkloadKind> {
        self.kind(kind.group.as_deref().unwrap_or_default(), &kind.kind)
    }

    /// Reads a review. Of an object of these kinds, the pod spec is read by its path, and no other part of its spec.
    pub(crate) fn parse(self, body: &[u8], unchanged: UnchangedTemplates) -> Result<Review, ReviewError> {
        let read = Review::parse(body);
        let custom = |review: &Review| match self.kind_of(&review.request.kind) {
            Some(WorkloadKind::Custom(kind)) => Some(kind),
            _ => None,
        };
        let (review, text) = match read {
            Ok(review) if custom(&review).is_some() => (review, readable(body, json_limits::MAX_STRING)?),
            // A field beside the pod spec can have the name of a Pod's field, and another type.
            Err(error @ ReviewError::Undecodable { .. }) if !self.0.is_empty() => {
                let text = readable(body, json_limits::MAX_STRING)?;
                (without_specs(text).filter(|review| custom(review).is_some()).ok_or(error)?, text)
            }
            read => return read,
        };
        let Some(kind) = custom(&review) else { return Ok(review) };
        kind.find_pod_specs(text, review, unchanged).map_err(|error| Review::explain(text, error))
    }
}

/// The keys of the two objects of a review.
const OBJECT: [&str; 2] = ["request", "object"];
const OLD_OBJECT: [&str; 2] = ["request", "oldObject"];

/// A review whose objects have nothing but metadata. `None` if the rest of it cannot be read either.
fn without_specs(text: &str) -> Option<Review> {
    // Parts of it are not parsed below.
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut rest = text.to_owned();
    let mut metadata = Vec::new();
    for path in [OBJECT, OLD_OBJECT] {
        let [request, object] = path;
        let of_object = match find(text, &[request, object, "metadata"]).ok()? {
            Found::Value(text, 3) => Some(serde_json::from_str(text).ok()?),
            Found::Value(..) => return None,
            Found::Nothing => None,
        };
        metadata.push(of_object);
        let Found::Value(found, 2) = find(&rest, &path).ok()? else { continue };
        let start = found.as_ptr().addr() - rest.as_ptr().addr();
        let end = start + found.len();
        rest.replace_range(start..end, "{}");
    }
    let mut review = Review::parse(rest.as_bytes()).ok()?;
    let objects = [&mut review.request.object, &mut review.request.old_object];
    for (object, metadata) in objects.into_iter().zip(metadata) {
        if let Some(object) = object {
            object.metadata = metadata;
        }
    }
    Some(review)
}

impl CustomKind {
    fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Puts the pod specs of both objects of a request into their `spec`.
    ///
    /// An API server stores a custom resource whose pod spec is none, if its schema lets it. An UPDATE that does not change
    /// what is there passes, as one of every other kind that changes no image. Otherwise such an object could not be deleted:
    /// its finalizers are removed by an UPDATE.
    fn find_pod_specs(
        &self,
        text: &str,
        mut review: Review,
        unchanged: UnchangedTemplates,
    ) -> Result<Review, DecodeError> {
        let (now, stored) = (self.at(text, &OBJECT), self.at(text, &OLD_OBJECT));
        let is_passed = review.request.is_being_deleted() || unchanged == UnchangedTemplates::Skip;
        let is_unchanged = review.request.stored().is_some() && now == stored && now.is_ok();
        let Request { object, old_object, .. } = &mut review.request;
        // What is stored and cannot be read has no images that are known.
        let old_spec = self.pod_spec(stored, &OLD_OBJECT).ok().flatten();
        if let Some(old) = old_object {
            (old.spec, old.template) = (old_spec, None);
        }
        if let Some(object) = object {
            let (spec, old) = match self.pod_spec(now, &OBJECT) {
                Ok(spec) => (spec, None),
                // Both have the same images: none that are known.
                Err(_) if is_unchanged && is_passed => (Some(Spec::default()), Some(Spec::default())),
                Err(error) => return Err(error),
            };
            (object.spec, object.template) = (spec, None);
            if let (Some(_), Some(stored)) = (&old, old_object) {
                stored.spec = old;
            }
        }
        Ok(review)
    }
}

#[cfg(test)]
mod tests;
