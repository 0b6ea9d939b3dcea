//! What an API server serves, as it says itself: where `review --cluster` finds the objects of a custom kind. Names become parts
//! of URLs, so they are checked.

use serde_json::Value;

use super::api::Api;
use super::error::{ApiError, ApiErrorKind};
use super::lists::{MAX_BYTES, MAX_VALUES};
use super::object_name::{Resource, is_dns_label};
use crate::base::context::Deadline;
use crate::base::json_limits::JsonSize;

/// The most versions of a group that are looked at.
const MAX_VERSIONS: usize = 16;

/// The API groups of an API server (`meta/v1.APIGroupList`).
#[derive(Debug)]
pub(crate) struct Groups(Value);

/// Where objects of a kind are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// The resource, in the version that the API server prefers, or in another one if only that one has the kind.
    As {
        /// The resource.
        resource: Resource,
        /// Does each object belong to a namespace?
        is_namespaced: bool,
    },
    /// There is no such API group.
    NoGroup,
    /// The group has other kinds, which these are.
    NoKind(Vec<String>),
}

impl Api {
    /// The groups that the API server serves.
    pub(crate) fn groups(&self, deadline: Deadline) -> Result<Groups, ApiError> {
        self.document("apis", "APIGroupList", deadline).map(Groups)
    }

    /// Where objects of a kind are in a group, whose URLs begin with `apis/<group>`.
    pub(crate) fn find_kind(
        &self,
        groups: &Groups,
        (api, kind): (&str, &'static str),
        deadline: Deadline,
    ) -> Result<Served, ApiError> {
        let Some(versions) = groups.versions(api.strip_prefix("apis/").unwrap_or(api)) else {
            return Ok(Served::NoGroup);
        };
        let mut others = Vec::new();
        for version in versions {
            if !is_dns_label(version) {
                return Err(self.error(ApiErrorKind::OtherObject));
            }
            let path = [api, "/", version].concat();
            let list = self.document(&path, "APIResourceList", deadline)?;
            for resource in list.get("resources").and_then(Value::as_array).into_iter().flatten() {
                let text = |field: &str| resource.get(field).and_then(Value::as_str).unwrap_or_default();
                let plural = text("name");
                // A subresource has a slash in its name, and its kind can be that of the resource.
                if plural.contains('/') {
                    continue;
                }
                if text("kind") != kind {
                    others.push(text("kind").to_owned());
                    continue;
                }
                if !is_dns_label(plural) {
                    return Err(self.error(ApiErrorKind::OtherObject));
                }
                let is_namespaced = resource.get("namespaced").and_then(Value::as_bool) == Some(true);
                // As the kinds of the configuration: they are never freed, and a process asks once.
                let resource = Resource { api: path.leak(), plural: plural.to_owned().leak(), kind };
                return Ok(Served::As { resource, is_namespaced });
            }
        }
        Ok(Served::NoKind(others))
    }

    /// A document of discovery. RBAC allows it by its path (`nonResourceURLs`).
    fn document(&self, path: &str, kind: &str, deadline: Deadline) -> Result<Value, ApiError> {
        let document = self.json(path, ("get", "/apis", None), deadline)?;
        let is_whole = document.get("kind").and_then(Value::as_str) == Some(kind);
        if is_whole { Ok(document) } else { Err(self.error(ApiErrorKind::OtherObject)) }
    }

    /// A GET of any object of JSON.
    pub(super) fn json(
        &self,
        path: &str,
        asked: (&'static str, &'static str, Option<&str>),
        deadline: Deadline,
    ) -> Result<Value, ApiError> {
        let (status, body) = self.get_path(path, asked, MAX_BYTES, deadline)?;
        if status != 200 {
            return Err(self.error(ApiErrorKind::OtherObject));
        }
        if JsonSize::of(&body).values > MAX_VALUES {
            return Err(self.error(ApiErrorKind::TooManyValues(MAX_VALUES)));
        }
        serde_json::from_slice(&body).map_err(|_| self.error(ApiErrorKind::OtherObject))
    }
}

impl Groups {
    /// The versions of a group, the preferred one first; `None` if there is no such group.
    fn versions(&self, group: &str) -> Option<Vec<&str>> {
        let groups = self.0.get("groups").and_then(Value::as_array)?;
        let group = groups.iter().find(|found| found.get("name").and_then(Value::as_str) == Some(group))?;
        let preferred = group.pointer("/preferredVersion/version").and_then(Value::as_str);
        let all = group.get("versions").and_then(Value::as_array).into_iter().flatten();
        let others = all.filter_map(|version| version.get("version")?.as_str()).filter(|name| Some(*name) != preferred);
        Some(preferred.into_iter().chain(others).take(MAX_VERSIONS).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_preferred_version_comes_first() {
        let group = |name: &str, preferred: &str, versions: &[&str]| {
            let versions: Vec<Value> = versions.iter().map(|version| json!({ "version": version })).collect();
            json!({ "name": name, "preferredVersion": { "version": preferred }, "versions": versions })
        };
        let groups = Groups(json!({ "groups": [
            group("apps", "v1", &["v1"]),
            group("argoproj.io", "v1", &["v1alpha1", "v1", "v2"]),
            { "name": "empty.io" },
        ] }));
        assert_eq!(groups.versions("argoproj.io").unwrap(), ["v1", "v1alpha1", "v2"]);
        assert_eq!(groups.versions("empty.io").unwrap(), [""; 0]);
        assert_eq!(groups.versions("argoproj"), None);
        assert_eq!(Groups(json!([])).versions("apps"), None);
    }
}
