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
use super::{Place, Requirement, Rule, Scope};
use crate::kube::object_name::{is_dns_label, is_dns_subdomain};
use crate::yaml::list::{self, Identity};
use crate::yaml::tree::{self, Caps, Node, Value};

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

/// The most rules of one policy, and of one ConfigMap that is reviewed. A rule may be written in ten bytes, and takes a
/// hundred times as many in memory.
pub(crate) const MAX_RULES: usize = 20_000;

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
    match tree::parse(text, Caps::FILE) {
        Ok(nodes) => nodes.iter().for_each(|node| read_node(node, &mut documents, &mut problems)),
        Err(error) => problems.report(error.at, error.fault.into()),
    }
    (documents, problems)
}

/// Reads one document, or each item of a list of them (`kubectl get imagepolicies -o yaml`).
pub(crate) fn read_node(node: &Node, documents: &mut Vec<Document>, problems: &mut Problems) {
    for (item, identity) in items_of(node, problems) {
        documents.extend(read_policy(item, identity, problems));
    }
}

/// The items of a list of policies or ConfigMaps, or else the document itself; each with its `apiVersion` and `kind`.
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
    if repositories.len() > MAX_RULES {
        problems.report(spec.at, Fault::TooManyRules { limit: MAX_RULES });
        return None;
    }
    let entries: Vec<_> =
        repositories.iter().filter_map(|entry| read_repository(entry, problems).map(|read| (entry, read))).collect();

    let (scope, name) = identity?;
    let rules = entries
        .into_iter()
        .map(|(entry, Repository { pattern, typed, requirement, has_idle_settings })| {
            let rule = Rule {
                scope: scope.clone(),
                policy: name.clone(),
                place: problems.place(entry.at),
                pattern: typed,
                tags: pattern.tags().cloned(),
                requirement,
                has_idle_settings,
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
    let name = read_name(metadata, "name", is_dns_subdomain, problems);
    let scope = match (kind, metadata.get("namespace")) {
        ("ImagePolicy", _) => read_name(metadata, "namespace", is_dns_label, problems).map(Scope::Namespace),
        // Were it ignored, a policy meant for one namespace would speak for all.
        (_, Some(namespace)) => {
            problems.report(namespace.at, Fault::NamespaceForbidden);
            None
        }
        (_, None) => Some(Scope::Cluster),
    };
    Some((scope?, name?))
}

/// A name: a namespace that Kubernetes would not take is one that no workload has.
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schemes::Mode;
    use crate::schemes::notary::{Remap, UnavailableRule};
    use crate::schemes::{Check, Signed};

    const HEAD: &str = "apiVersion: portieris.cloud.ibm.com/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec:\n";

    fn good(text: &str) -> Vec<Document> {
        let (documents, problems) = read_text(text, Path::new("f"));
        let problems: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
        assert_eq!(problems, Vec::<String>::new(), "{text}");
        documents
    }

    fn bad(text: &str) -> Vec<String> {
        let (_, problems) = read_text(text, Path::new("f"));
        problems.into_list().iter().map(ToString::to_string).collect()
    }

    fn policy(body: &str) -> String {
        format!("{HEAD}  repositories:\n  - name: reg.io/*\n    policy:\n{body}")
    }

    fn signed(text: &str) -> Signed {
        let rule = good(&policy(text)).pop().and_then(|mut document| document.rules.pop()).unwrap().1;
        match rule.requirement {
            Requirement::Signed(signed) => signed,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn portieris_documents_work_unchanged() {
        let documents = good(
            "apiVersion: securityenforcement.admission.cloud.ibm.com/v1beta1
kind: ImagePolicy
metadata:
  name: signed-only
  namespace: line-1
  resourceVersion: \"12\"
  creationTimestamp: null
  annotations: {a: b}
spec:
  repositories:
    - name: \"*\"
      policy:
        trust:
          enabled: true
          signerSecrets:
          - name: alice-key
          - name: bob-key
          - name: alice-key
        va:
          enabled: false
    - name: icr.io/open/*
      policy:
    - name: icr.io/open2/*
    - name: icr.io/open3/*
      policy: {simple: {requirements: [{type: insecureAcceptAnything}]}, vulnerability: {ICCRVA: {enabled: false}}}
    - name: icr.io/open4/*
      policy: {trust: {enabled: false, trustServer: \"\"}, mutateImage: false, va: {}, simple: {}}
status: {}
---
apiVersion: portieris.cloud.ibm.com/v1
kind: ClusterImagePolicy
metadata: {name: none}
spec: {repositories: []}
",
        );
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].scope, Scope::Namespace("line-1".into()));
        assert_eq!(documents[1].scope, Scope::Cluster);
        let rules: Vec<&Rule> = documents[0].rules.iter().map(|(_, rule)| rule).collect();
        let Requirement::Signed(first) = &rules[0].requirement else { panic!() };
        let [[Check::NotaryV1(check)]] = [first.any_of[0].as_slice()] else { panic!("{first:?}") };
        assert_eq!(check.signer_secrets, ["alice-key", "bob-key"]);
        assert!(first.mutate_image && first.mode == Mode::Enforce);
        assert!(rules[1..].iter().all(|rule| rule.requirement == Requirement::Nothing));
        assert_eq!(rules[0].describe(), "ImagePolicy line-1/signed-only (f, line 11)");
        assert_eq!((rules[1].place.line, rules[1].place.column), (21, 7));
    }

    #[test]
    fn lists_as_kubectl_exports_them() {
        let item =
            "{apiVersion: portreeve/v1, kind: ClusterImagePolicy, metadata: {name: a}, spec: {repositories: []}}";
        assert_eq!(good(&format!("apiVersion: v1\nkind: List\nmetadata: {{}}\nitems:\n- {item}\n- {item}\n")).len(), 2);
        assert_eq!(bad("apiVersion: v1\nkind: List\nitems: [{kind: Pod, apiVersion: v1}]\n").len(), 1);
        // As the API server answers it: what each item is, the list says.
        let raw = item.replace("apiVersion: portreeve/v1, kind: ClusterImagePolicy, ", "");
        assert_eq!(good(&format!("apiVersion: portreeve/v1\nkind: ClusterImagePolicyList\nitems: [{raw}]\n")).len(), 1);
        assert_eq!(bad(&format!("apiVersion: v1\nkind: List\nitems: [{raw}]\n")).len(), 1);
        let half = item.replace("kind: ClusterImagePolicy, ", "");
        assert_eq!(bad(&format!("apiVersion: portreeve/v1\nkind: ClusterImagePolicyList\nitems: [{half}]\n")).len(), 1);
        // Kubernetes has one List.
        assert_eq!(bad(&format!("apiVersion: apps/v1\nkind: List\nitems: [{item}]\n")).len(), 1);
        assert_eq!(bad(&format!("apiVersion: v1\nkind: ClusterImagePolicyList\nitems: [{item}]\n")).len(), 1);
        // What stands beside the items would count for nothing.
        let beside = format!("apiVersion: v1\nkind: List\nitems:\n- {item}\nspec: {{repositories: []}}\n");
        let told = bad(&beside);
        assert!(told.len() == 1 && told[0].starts_with("f:5:1: \"spec\" does not belong in a list"), "{told:?}");
    }

    #[test]
    fn json_is_as_good() {
        let text = r#"{"apiVersion":"portreeve/v1","kind":"ClusterImagePolicy","metadata":{"name":"j"},
            "spec":{"repositories":[{"name":"*","policy":{"trust":{"enabled":true}}}]}}"#;
        assert_eq!(good(text)[0].rules.len(), 1);
    }

    #[test]
    fn every_setting_is_read() {
        let signed = signed(
            "      mode: warn
      mutateImage: false
      trust:
        enabled: true
        trustServer: https://notary.local:4443/
        roots: [{keyId: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}]
        remap: {prefix: \"Registry.local:9001/docker.io/\", signedPrefix: docker.io/}
        whenUnavailable: useCached
        maxStale: 24h
",
        );
        assert_eq!(signed.mode, Mode::Warn);
        assert!(!signed.mutate_image);
        let rule = match signed.any_of.into_iter().flatten().next() {
            Some(Check::NotaryV1(rule)) => rule,
            None => panic!("no check"),
        };
        assert_eq!(rule.server.unwrap().as_str(), "https://notary.local:4443");
        assert_eq!(rule.roots.len(), 1);
        let remap = Remap { prefix: "registry.local:9001/docker.io/".into(), signed_prefix: "docker.io/".into() };
        assert_eq!(rule.remap, Some(remap));
        assert_eq!(rule.when_unavailable, Some(UnavailableRule::UseCached));
        assert_eq!(rule.max_stale, Some(Duration::from_secs(86_400)));
    }

    /// The `policy` below a repository, and what must be said, each with its place.
    const BAD_POLICIES: &[(&str, &[&str])] = &[
        ("      tust: {enabled: true}\n", &["f:8:7: unknown field \"tust\" in policy; did you mean \"trust\"?"]),
        (
            "      trust: {enabled: true, trustserver: x}\n",
            &["f:8:30: unknown field \"trustserver\" in policy.trust; did you mean \"trustServer\"?"],
        ),
        (
            "      trust:\n      enabled: true\n",
            &[
                "f:8:12: \"enabled\" is missing",
                "f:9:7: \"enabled\" does not belong in policy; it belongs under policy.trust: check the indentation",
            ],
        ),
        (
            "    trust: {enabled: true}\n",
            &[
                "f:8:5: \"trust\" does not belong in an entry of spec.repositories; it belongs under policy: check the indentation",
            ],
        ),
        (
            "      simpleStore: {storeURL: x}\n",
            &["f:8:7: unknown field \"simpleStore\" in policy; it is where Portieris looks for simple signatures"],
        ),
        ("      wholly: different\n", &["f:8:7: unknown field \"wholly\" in policy"]),
        (
            "      trust: {signers: [], signerSecrets: [{name: a}], roots: []}\n",
            &[
                "f:8:24: \"signers\" is empty; name who must have signed",
                "f:8:24: \"signers\" asks for a check while trust is not enabled",
                "f:8:43: \"signerSecrets\" asks for a check",
                "f:8:63: \"roots\" is empty",
                "f:8:63: \"roots\" asks for a check",
            ],
        ),
        (
            "      trust: {enabled: false, signerSecrets: [{name: a}]}\n",
            &["f:8:46: \"signerSecrets\" asks for a check"],
        ),
        (
            "      trust: {trustServer: \"https://n.local\"}\n",
            &["f:8:14: \"enabled\" is missing from policy.trust; write \"enabled: true\""],
        ),
        (
            "      trust: {enabled: yes}\n",
            &["f:8:24: \"enabled\" must be true or false, and is a string; write true or false"],
        ),
        ("      trust: {enabled: \"true\"}\n", &["f:8:24: \"enabled\" must be true or false"]),
        ("      trust: true\n", &["f:8:14: \"policy.trust\" must be a mapping, and is true or false"]),
        ("      - trust: {enabled: true}\n", &["f:8:7: \"policy\" must be a mapping, and is a list"]),
        (
            "      simple: {requirements: [{type: sigstoreSigned}]}\n",
            &["f:8:31: \"simple: sigstoreSigned\" asks for a check that is not supported; "],
        ),
        (
            "      simple: {requirements: [{type: insecureAcceptAnything}, {type: signedBy, keySecret: k}]}\n",
            &["\"simple: signedBy\""],
        ),
        ("      simple: {requirements: [{}]}\n", &["\"simple\" asks"]),
        ("      va: {enabled: true}\n", &["f:8:11: \"va\" asks for a check"]),
        ("      va: {account: x}\n", &["\"va\" asks for a check"]),
        ("      vulnerability: {ICCRVA: {enabled: true}}\n", &["f:8:31: \"vulnerability\" asks for a check"]),
        ("      vulnerability: true\n", &["\"vulnerability\" must be a mapping"]),
        (
            "      va:\n        enabled: false\n        trust: {enabled: true}\n",
            &["f:10:9: \"trust\" does not belong in va; it belongs under policy: check the indentation"],
        ),
        (
            "      vulnerability:\n        ICCRVA:\n          enabled: false\n          signerSecrets: [{name: a}]\n",
            &["f:11:11: \"signerSecrets\" does not belong in vulnerability; it belongs under policy.trust"],
        ),
        (
            "      vulnerability:\n        trust: {enabled: false}\n",
            &["f:9:9: \"trust\" does not belong in policy.vulnerability; it belongs under policy"],
        ),
        (
            "      simple: {requirements: [{type: insecureAcceptAnything, trust: {enabled: true}}]}\n",
            &["f:8:62: \"trust\" does not belong in an entry of policy.simple.requirements"],
        ),
        ("      mode: enforce\n", &["f:8:13: \"mode\" asks for a check"]),
        ("      mode: lax\n", &["f:8:13: \"mode\" cannot be \"lax\"; it is \"enforce\" or \"warn\""]),
        ("      mutateImage: no\n", &["f:8:20: \"mutateImage\" must be true or false"]),
        (
            "      trust: {enabled: true, whenUnavailable: usecached}\n",
            &["f:8:47: \"whenUnavailable\" cannot be \"usecached\""],
        ),
        ("      trust: {enabled: true, maxStale: 24h}\n", &["f:8:40: \"maxStale\" has no effect"]),
        ("      trust: {enabled: true, whenUnavailable: deny, maxStale: 24h}\n", &["\"maxStale\" has no effect"]),
        (
            "      trust: {enabled: true, whenUnavailable: useCached, maxStale: 0s}\n",
            &["\"maxStale\" must be above zero"],
        ),
        (
            "      trust: {enabled: true, whenUnavailable: useCached, maxStale: 24}\n",
            &["\"maxStale\" must be a string, and is a number"],
        ),
        (
            "      trust: {enabled: true, whenUnavailable: useCached, maxStale: -1h}\n",
            &["\"-1h\" is no duration; write it as"],
        ),
        ("      trust: {enabled: true, whenUnavailable: useCached, maxStale: soon}\n", &["\"soon\" is no duration"]),
        (
            "      trust: {enabled: true, trustServer: \"http://n.local\"}\n",
            &["f:8:43: the trust server's URL cannot be used"],
        ),
        (
            "      trust: {enabled: true, signers: [{name: Alice, publicKey: \"\"}]}\n",
            &[
                "f:8:47: a signer cannot be called \"Alice\"",
                "f:8:65: \"publicKey\" is missing from an entry of policy.trust.signers",
            ],
        ),
        ("      trust: {enabled: true, signers: {name: a}}\n", &["\"signers\" must be a list, and is a mapping"]),
        ("      trust: {enabled: true, signerSecrets: [a]}\n", &["must be a mapping, and is a string"]),
        ("      trust: {enabled: true, signerSecrets: [{name: ../x}]}\n", &["f:8:53: \"name\" cannot be \"../x\""]),
        ("      trust: {enabled: true, roots: [{}]}\n", &["f:8:38: an entry of \"roots\" has 0 of the fields"]),
        ("      trust: {enabled: true, roots: []}\n", &["\"roots\" is empty"]),
        ("      trust: {enabled: true, roots: [{keyId: a, ca: b}]}\n", &["has 2 of the fields"]),
        ("      trust: {enabled: true, roots: [{keyId: ABC}]}\n", &["\"keyId\" cannot be \"ABC\"; it is 64 lowercase"]),
        (
            "      trust: {enabled: true, remap: {prefix: reg.io/a, signedPrefix: docker.io/}}\n",
            &["\"prefix\" cannot be \"reg.io/a\""],
        ),
        (
            "      trust: {enabled: true, remap: {prefix: a/, signedPrefix: docker.io/}}\n",
            &["\"prefix\" cannot be \"a/\""],
        ),
        (
            "      trust: {enabled: true, remap: {prefix: reg.io/}}\n",
            &["\"signedPrefix\" is missing from policy.trust.remap"],
        ),
    ];

    #[test]
    fn nothing_that_asks_for_a_check_is_ignored() {
        for (text, expected) in BAD_POLICIES {
            let found = bad(&policy(text));
            assert_eq!(found.len(), expected.len(), "{text}{found:#?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.contains(expected), "{text}{found}\n{expected}");
            }
        }
    }

    /// Whole documents, and what must be said.
    const BAD_DOCUMENTS: &[(&str, &str)] = &[
        (
            "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {name: p}\nspec: {repositories: []}\n",
            "f:3:11: \"namespace\" is missing from metadata; for all namespaces write a ClusterImagePolicy",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p, namespace: n}\nspec: {repositories: []}\n",
            "f:3:32: a ClusterImagePolicy has no namespace",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {}\nspec: {repositories: []}\n",
            "\"name\" is missing from metadata",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {name: p, namespace: Line_1}\nspec: {repositories: []}\n",
            "\"namespace\" cannot be \"Line_1\"",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nspec: {repositories: []}\n",
            "f:1:1: \"metadata\" is missing",
        ),
        ("apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\n", "f:1:1: \"spec\" is missing"),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {}\n",
            "f:4:7: \"repositories\" is missing from spec",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: [{}]}\n",
            "\"name\" is missing from an entry of spec.repositories",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: [{name: reg.io/}]}\n",
            "f:4:30: the pattern names no repository after its last slash; end it in \"/*\"",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: [{name: \"https://reg.io/*\"}]}\n",
            "f:4:30: the pattern begins with \"https://\", which no image name does; write it as images are named",
        ),
        (
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repository: []}\n",
            "did you mean \"repositories\"?",
        ),
        (
            "apiVersion: portreeve/v2\nkind: ClusterImagePolicy\n",
            "f:2:7: not a policy: kind \"ClusterImagePolicy\", apiVersion \"portreeve/v2\"; a policy has",
        ),
        ("apiVersion: v1\nkind: ConfigMap\n", "not a policy: kind \"ConfigMap\""),
        ("kind: ImagePolicy\n", "not a policy"),
        ("just text\n", "f:1:1: not a policy, but a string"),
        ("a: 1\nb: [\n", "f:2:4: not readable as YAML or JSON"),
        ("a: 1\na: 2\n", "f:2:1: \"a\" stands twice in one mapping"),
    ];

    #[test]
    fn what_is_no_policy_is_told() {
        for (text, expected) in BAD_DOCUMENTS {
            let found = bad(text);
            assert!(found.iter().any(|found| found.contains(expected)), "{text}{found:#?}\n{expected}");
        }
    }

    /// PORTIERIS.md, fault 21: wherever a `trust:` slips to, it is told; it stands in one place alone.
    #[test]
    fn trust_is_refused_at_every_other_level() {
        use serde_json::{Value, json};
        let document = json!({
            "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": { "name": "p" },
            "spec": { "repositories": [{ "name": "reg.io/*", "policy": {
                "simple": { "requirements": [{ "type": "insecureAcceptAnything" }] },
                "vulnerability": { "ICCRVA": { "enabled": false } },
                "va": { "enabled": false },
                "trust": {
                    "enabled": true,
                    "signerSecrets": [{ "name": "a" }],
                    "roots": [{ "keyId": "ab".repeat(32) }],
                    "remap": { "prefix": "a.io/", "signedPrefix": "b.io/" },
                },
            } }] },
        });
        good(&document.to_string());
        fn mappings(value: &Value, at: String, found: &mut Vec<String>) {
            match value {
                Value::Object(entries) => {
                    found.push(at.clone());
                    entries.iter().for_each(|(key, value)| mappings(value, format!("{at}/{key}"), found));
                }
                Value::Array(items) => {
                    items.iter().enumerate().for_each(|(n, value)| mappings(value, format!("{at}/{n}"), found));
                }
                _ => {}
            }
        }
        let mut places = Vec::new();
        mappings(&document, String::new(), &mut places);
        places.retain(|place| place != "/spec/repositories/0/policy");
        assert_eq!(places.len(), 13, "{places:?}");
        for place in places {
            let mut slipped = document.clone();
            slipped.pointer_mut(&place).unwrap()["trust"] = json!({ "enabled": true });
            let found = bad(&slipped.to_string());
            assert!(found.iter().any(|found| found.contains("\"trust\" does not belong in")), "{place}: {found:?}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let found = bad(&policy("      tust: {}\n      mode: lax\n  - name: REG.io/X\n"));
        assert_eq!(found.len(), 3, "{found:#?}");
    }
}
