//! Kinds of custom resources that have a pod template (`admission.workloads`): Argo Rollouts, OpenKruise, Knative.
//!
//! An object of such a kind is verified as Kubernetes' own templates are. An API server does not check a custom resource as it
//! checks its own kinds, so an object without a pod spec is denied, unless the configuration says that it may have none: a wrong
//! path would let every image pass. No element of a list is a pod spec, because the other elements would not be verified.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::request::{GroupVersionKind, Object, Request, Review, ReviewError, Spec, readable};
use super::workload::WorkloadKind;
use crate::base::json_limits;
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

    /// The object of this kind in a text, found by its keys, with its pod spec in place of `spec`.
    pub(super) fn read(&self, text: &str, keys: &[&str]) -> Result<Object, serde_json::Error> {
        let path: Vec<&str> = keys.iter().copied().chain(self.path.iter().map(String::as_str)).collect();
        let mut json = serde_json::Deserializer::from_str(text);
        let spec = At(&path).deserialize(&mut json)?;
        json.end()?;
        Ok(Object { metadata: None, spec, template: None })
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

    /// The kind of a request.
    pub(super) fn kind_of(self, kind: &GroupVersionKind) -> Option<WorkloadKind> {
        self.kind(kind.group.as_deref().unwrap_or_default(), &kind.kind)
    }

    /// Reads a review. Of an object of these kinds, the pod spec is read by its path.
    pub(crate) fn parse(self, body: &[u8]) -> Result<Review, ReviewError> {
        let mut review = Review::parse(body)?;
        if !self.0.is_empty()
            && let Some(WorkloadKind::Custom(kind)) = self.kind_of(&review.request.kind)
        {
            let text = readable(body, json_limits::MAX_STRING)?;
            kind.find_pod_specs(text, &mut review.request).map_err(|error| Review::explain(text, error))?;
        }
        Ok(review)
    }
}

impl CustomKind {
    fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Puts the pod specs of both objects of a request into their `spec`.
    fn find_pod_specs(&self, text: &str, request: &mut Request) -> Result<(), serde_json::Error> {
        for (object, key) in [(&mut request.object, "object"), (&mut request.old_object, "oldObject")] {
            if let Some(object) = object {
                let Object { spec, template, .. } = self.read(text, &["request", key])?;
                (object.spec, object.template) = (spec, template);
            }
        }
        Ok(())
    }
}

/// The pod spec at a path in a JSON text; `None` if a key of the path is missing or null.
struct At<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Spec>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Spec>, D::Error> {
        if self.0.is_empty() { Option::deserialize(json) } else { json.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Spec>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the key \"{}\" of the path to a pod spec", self.0.first().unwrap_or(&""))
    }

    fn visit_unit<E>(self) -> Result<Option<Spec>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Spec>, A::Error> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != *first {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                // Another reader could take the other value.
                return Err(A::Error::custom("a key of the path to the pod spec stands twice"));
            } else {
                found = Some(map.next_value_seed(At(rest))?);
            }
        }
        Ok(found.flatten())
    }
}

#[cfg(test)]
mod tests;
