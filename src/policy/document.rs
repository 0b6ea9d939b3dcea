//! Policy documents: `ImagePolicy` and `ClusterImagePolicy` as Portieris has them, and Portreeve's additions, from
//! text to checked rules.
//!
//! Refuses every field that it does not know, in Portieris' documents too: a `trust:` that slipped out of place must
//! not let everything in. Takes what `kubectl get -o yaml` adds.

use std::path::Path;

use super::fields::Problems;
use super::pattern::Pattern;
use super::problem::Fault;
use super::requirement::read_requirement;
use super::tree::{self, Node, Value};
use super::{Place, Requirement, Rule, Scope};

const API_VERSIONS: [&str; 3] =
    ["portieris.cloud.ibm.com/v1", "securityenforcement.admission.cloud.ibm.com/v1beta1", "portreeve/v1"];

/// Kubernetes' ObjectMeta. Only name and namespace are read; the others come with exported documents.
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

/// One policy.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) scope: Scope,
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) rules: Vec<(Pattern, Rule)>,
}

/// Reads all policies of a text. What is wrong goes to `problems`; where anything does, the policies are not to be
/// used.
pub(crate) fn read_text(text: &str, file: &Path) -> (Vec<Document>, Problems) {
    let mut problems = Problems::new(file);
    let mut documents = Vec::new();
    match tree::parse(text) {
        Ok(nodes) => nodes.iter().for_each(|node| read_node(node, &mut documents, &mut problems)),
        Err((at, fault)) => problems.report(at, fault),
    }
    (documents, problems)
}

/// Reads one document, or each item of a list of them (`kubectl get imagepolicies -o yaml`).
pub(crate) fn read_node(node: &Node, documents: &mut Vec<Document>, problems: &mut Problems) {
    if let Some(items) = items_of_list(node) {
        items.iter().for_each(|item| documents.extend(read_policy(item, problems)));
    } else {
        documents.extend(read_policy(node, problems));
    }
}

/// The items of a `v1` List or a list of policies.
pub(crate) fn items_of_list(node: &Node) -> Option<&[Node]> {
    let kind = node.get("kind").and_then(Node::text)?;
    let version = node.get("apiVersion").and_then(Node::text)?;
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

fn read_policy(node: &Node, problems: &mut Problems) -> Option<Document> {
    let Value::Map(_) = node.value else {
        problems.wrong_type("policy", "a mapping", node);
        return None;
    };
    let word = |field| node.get(field).and_then(Node::text).unwrap_or_default();
    let (api_version, kind) = (word("apiVersion"), word("kind"));
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
    let entries: Vec<_> = problems
        .list(spec, "repositories")
        .iter()
        .filter_map(|entry| read_repository(entry, problems).map(|read| (entry, read)))
        .collect();

    let (scope, name) = identity?;
    let rules = entries
        .into_iter()
        .map(|(entry, (pattern, typed, requirement))| {
            let rule = Rule {
                scope: scope.clone(),
                policy: name.clone(),
                place: problems.place(entry.at),
                pattern: typed,
                requirement,
            };
            (pattern, rule)
        })
        .collect();
    Some(Document { scope, name, place: problems.place(node.at), rules })
}

fn read_metadata(node: &Node, kind: &str, problems: &mut Problems) -> Option<(Scope, String)> {
    let Some(metadata) = node.get("metadata") else {
        problems.report(node.at, Fault::Missing { field: "metadata", inside: "a policy document" });
        return None;
    };
    problems.mapping(metadata, "metadata", METADATA)?;
    let name = read_name(metadata, "name", 253, problems);
    let scope = match (kind, metadata.get("namespace")) {
        ("ImagePolicy", _) => read_name(metadata, "namespace", 63, problems).map(Scope::Namespace),
        // Were it ignored, a policy meant for one namespace would speak for all.
        (_, Some(namespace)) => {
            problems.report(namespace.at, Fault::NamespaceForbidden);
            None
        }
        (_, None) => Some(Scope::Cluster),
    };
    Some((scope?, name?))
}

/// A DNS-1123 name: a namespace that Kubernetes would not take is one that no workload has.
fn read_name(metadata: &Node, field: &'static str, longest: usize, problems: &mut Problems) -> Option<String> {
    let (at, text) = problems.required(metadata, field, "metadata")?;
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let dots = field == "name";
    let fits = text.len() <= longest
        && text.bytes().all(|b| word(b) || b == b'-' || (dots && b == b'.'))
        && text.bytes().next().is_some_and(word)
        && text.bytes().next_back().is_some_and(word);
    if !fits {
        problems.report(at, Fault::Name { field, found: text.to_owned() });
    }
    fits.then(|| text.to_owned())
}

/// One entry of `repositories`: its pattern, normalised and as typed, and what it asks for.
fn read_repository(entry: &Node, problems: &mut Problems) -> Option<(Pattern, String, Requirement)> {
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
    Some((pattern, typed, requirement))
}
