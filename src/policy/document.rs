//! Policy documents: reads `ImagePolicy` and `ClusterImagePolicy` of Portieris, with Portreeve's additions, into checked
//! rules.
//!
//! Every unknown field is refused, in documents of Portieris too: a misplaced `trust:` must not let every image in. The fields
//! that `kubectl get -o yaml` adds are accepted.

use std::path::Path;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::Problems;
use super::owner::Budget;
use super::pattern::Pattern;
use super::requirement::read_requirement;
use super::{Place, Requirement, Rule, Scope};
use crate::kube::object_name::{is_dns_label, is_dns_subdomain};
use crate::yaml::list::{self, Identity};
use crate::yaml::tree::{self, Node, Value};

const API_VERSIONS: [&str; 3] =
    ["portieris.cloud.ibm.com/v1", "securityenforcement.admission.cloud.ibm.com/v1beta1", "portreeve/v1"];

/// The fields of Kubernetes' ObjectMeta. Only name and namespace are read. The others come with exported documents.
const METADATA: &[&str] = &[
    "name",
    "namespace",
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// A pattern and its rule.
pub(crate) type Ruled = (Pattern, Arc<Rule>);

/// One policy.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) scope: Scope,
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) rules: Vec<Ruled>,
    /// Is it in the ConfigMap of its namespace?
    pub(crate) is_delegated: bool,
}

/// Reads all policies of a text, and takes them off the budget. If there is any problem, the policies must not be used.
pub(crate) fn read_within(budget: &mut Budget, text: &str, file: &Path) -> (Vec<Document>, Problems) {
    let nodes = tree::parse_within(text, &mut budget.tree);
    let mut problems = Problems::within(file, *budget);
    let mut documents = Vec::new();
    match nodes {
        Ok(nodes) => nodes.iter().for_each(|node| read_node(node, &mut documents, &mut problems)),
        Err(error) => problems.report(error.at, error.fault.into()),
    }
    *budget = problems.budget();
    (documents, problems)
}

/// The same, of a text of the site's.
#[cfg(test)]
pub(crate) fn read_text(text: &str, file: &Path) -> (Vec<Document>, Problems) {
    read_within(&mut Budget::of(&super::Owner::Site), text, file)
}

/// Reads one document, or each item of a list of them (`kubectl get imagepolicies -o yaml`).
pub(crate) fn read_node(node: &Node, documents: &mut Vec<Document>, problems: &mut Problems) {
    for (item, identity) in items_of(node, problems) {
        documents.extend(read_policy(item, identity, problems));
    }
}

/// The items of a list of policies or ConfigMaps, or the document itself, each with its `apiVersion` and `kind`.
pub(crate) fn items_of<'n>(node: &'n Node, problems: &mut Problems) -> Vec<(&'n Node, Identity<'n>)> {
    let words = |node: &'n Node| {
        let word = |field| node.get(field).and_then(Node::text).unwrap_or_default();
        (word("apiVersion"), word("kind"))
    };
    let own = words(node);
    let Some(items) = items_of_list(node, own) else { return vec![(node, own)] };
    problems.mapping(node, "a list", &list::FIELDS);
    items.iter().map(|item| (item, list::identity_of_item(item, own).unwrap_or_else(|| words(item)))).collect()
}

fn items_of_list<'n>(node: &'n Node, (version, kind): Identity<'_>) -> Option<&'n [Node]> {
    let is_list = match kind {
        "List" | "ConfigMapList" => version == "v1",
        "ImagePolicyList" | "ClusterImagePolicyList" => API_VERSIONS.contains(&version),
        _ => false,
    };
    match &node.get("items").filter(|_| is_list)?.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}

/// Reads one policy.
pub(crate) fn read_policy(node: &Node, (api_version, kind): Identity<'_>, problems: &mut Problems) -> Option<Document> {
    let Value::Map(_) = node.value else {
        problems.report(node.at, Fault::NotAPolicy { actual: node.kind() });
        return None;
    };
    if !API_VERSIONS.contains(&api_version) || !matches!(kind, "ImagePolicy" | "ClusterImagePolicy") {
        let at = node.get("kind").map_or(node.at, |kind| kind.at);
        problems.report(at, Fault::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() });
        return None;
    }
    problems.mapping(node, "a policy document", &["apiVersion", "kind", "metadata", "spec", "status"]);

    let identity = read_metadata(node, kind, problems);
    let Some(spec) = node.get("spec") else {
        problems.report(node.at, Fault::Missing { field: "spec", inside: "a policy document" });
        return None;
    };
    problems.mapping(spec, "spec", &["repositories"])?;
    if spec.get("repositories").is_none() {
        problems.report(spec.at, Fault::Missing { field: "repositories", inside: "spec" });
    }
    let repositories = problems.list(spec, "repositories");
    if problems.has_too_many_rules(repositories.len(), spec.at) {
        return None;
    }
    let entries: Vec<_> =
        repositories.iter().filter_map(|entry| read_repository(entry, problems).map(|read| (entry, read))).collect();

    let (scope, name) = identity?;
    let is_delegated = problems.budget().is_delegated;
    // Collected, they would keep the memory of the entries, which are three times as large.
    let mut rules = Vec::with_capacity(entries.len());
    for (entry, Repository { pattern, typed, requirement, has_idle_settings }) in entries {
        let rule = Rule {
            scope: scope.clone(),
            policy: name.clone(),
            place: problems.place(entry.at),
            pattern: typed,
            tags: pattern.tags().cloned(),
            requirement,
            has_idle_settings,
            is_delegated,
        };
        rules.push((pattern, Arc::new(rule)));
    }
    Some(Document { scope, name, place: problems.place(node.at), rules, is_delegated })
}

fn read_metadata(node: &Node, kind: &str, problems: &mut Problems) -> Option<(Scope, String)> {
    let Some(metadata) = node.get("metadata") else {
        problems.report(node.at, Fault::Missing { field: "metadata", inside: "a policy document" });
        return None;
    };
    problems.mapping(metadata, "metadata", METADATA)?;
    let name = read_name(metadata, "name", is_dns_subdomain, problems);
    let scope = match (kind, metadata.get("namespace")) {
        ("ImagePolicy", _) => read_name(metadata, "namespace", is_dns_label, problems).map(Scope::Namespace),
        // If it were ignored, a policy for one namespace would apply to all.
        (_, Some(namespace)) => {
            problems.report(namespace.at, Fault::NamespaceForbidden);
            None
        }
        (_, None) => Some(Scope::Cluster),
    };
    Some((scope?, name?))
}

/// Reads a name. Kubernetes refuses other names, so a policy for such a namespace would never apply.
fn read_name(metadata: &Node, field: &'static str, fits: fn(&str) -> bool, problems: &mut Problems) -> Option<String> {
    let (at, text) = problems.required(metadata, field, "metadata")?;
    if !fits(text) {
        problems.report(at, Fault::Name { field, found: text.to_owned() });
        return None;
    }
    Some(text.to_owned())
}

/// One entry of `repositories`.
struct Repository {
    pattern: Pattern,
    typed: String,
    requirement: Requirement,
    has_idle_settings: bool,
}

fn read_repository(entry: &Node, problems: &mut Problems) -> Option<Repository> {
    const INSIDE: &str = "an entry of spec.repositories";
    problems.mapping(entry, INSIDE, &["name", "policy"])?;
    let pattern = problems.required(entry, "name", INSIDE).and_then(|(at, typed)| match Pattern::parse(typed) {
        Ok(pattern) => Some((pattern, typed.to_owned())),
        Err(error) => {
            problems.report(at, Fault::Pattern(error));
            None
        }
    });
    let requirement = match entry.get("policy") {
        None => Some(Requirement::Nothing),
        Some(policy) => read_requirement(policy, problems),
    };
    let ((pattern, typed), requirement) = (pattern?, requirement?);
    let has = |field| entry.get("policy").is_some_and(|policy| policy.get(field).is_some());
    let has_idle_settings = requirement == Requirement::Nothing && (has("mode") || has("mutateImage"));
    Some(Repository { pattern, typed, requirement, has_idle_settings })
}

#[cfg(test)]
mod tests;
