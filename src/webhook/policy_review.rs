//! Checks a ConfigMap of policies before the API server stores it. A mistake is refused with file, line and hint, and never
//! reaches the directory that is mounted.
//!
//! The webhook configuration sends every ConfigMap of Portreeve's namespace. Those with the name of a ConfigMap of policies are
//! read as policies, whatever their labels, and so are those with the label of policies. Every other one is let in. Conflicts
//! between several ConfigMaps are found when they are mounted, not here.

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Endpoint;
use super::decision_log::{self, LoggedDecision, LoggedRequest};
use super::handler::log_unreadable;
use super::response::{self, denied};
use crate::admission::decode_error::DecodeError;
use crate::admission::request::{GroupVersionKind, Review, ReviewError, UserInfo, check_head, readable};
use crate::admission::response::Response;
use crate::base::object_only::from_objects;
use crate::metrics::Outcome;
use crate::policy::{CONFIG_MAP, Owner, PolicyNote, PolicySet, check_data};
use crate::server::HttpResponse;
use crate::yaml::tree::MAX_TEXT;
use portreeve_verify::text::printable;

/// The most keys of one ConfigMap. Each is parsed separately, and aliases may repeat its content.
const MAX_KEYS: usize = 100;

/// The longest string in a review: all data of a ConfigMap, with the escapes of JSON.
const MAX_STRING: usize = 2 * MAX_TEXT;

/// The most problems in one denial. The others are counted.
const MAX_PROBLEMS: usize = 20;
/// The most warnings of one response, and the most characters of each. The API server passes on 4 KiB of all warnings.
const MAX_WARNINGS: usize = 10;
const WARNING_CHARACTERS: usize = 400;

/// The labels of a ConfigMap with policies.
const LABELS: [(&str, &str); 2] = [("app.kubernetes.io/name", "portreeve"), ("app.kubernetes.io/component", "policy")];

/// The request side of an AdmissionReview of a ConfigMap.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
struct PolicyReview {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    request: PolicyRequest,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
struct PolicyRequest {
    uid: String,
    kind: GroupVersionKind,
    name: Option<String>,
    namespace: Option<String>,
    operation: String,
    #[serde(rename = "dryRun")]
    dry_run: Option<bool>,
    #[serde(rename = "userInfo")]
    user_info: Option<UserInfo>,
    object: Option<ConfigMap>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
struct ConfigMap {
    metadata: Option<Metadata>,
    data: Option<BTreeMap<String, String>>,
    #[serde(rename = "binaryData")]
    binary_data: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
struct Metadata {
    name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

from_objects!(PolicyReview, PolicyRequest, ConfigMap, Metadata);

/// The response to a review of a ConfigMap. `policies` are those in force.
pub(crate) fn respond(body: &[u8], policies: Option<&PolicySet>) -> (HttpResponse, Outcome) {
    let started = Instant::now();
    match read(body) {
        Ok(review) => decide(&review, policies, started),
        Err(error) => {
            let message = match &error {
                ReviewError::Undecodable { source, .. } => {
                    ["the ConfigMap cannot be decoded: ", &source.to_string()].concat()
                }
                error => error.to_string(),
            };
            let responded = response::unreadable(&error, &message);
            log_unreadable(Endpoint::ValidatePolicy, &error, message, started.elapsed());
            responded
        }
    }
}

fn read(body: &[u8]) -> Result<PolicyReview, ReviewError> {
    let text = readable(body, MAX_STRING)?;
    let review: PolicyReview =
        serde_json::from_str(text).map_err(|error| Review::explain(text, DecodeError::of(text, error)))?;
    check_head(Some(&review.kind), Some(&review.api_version), Some(&review.request.uid))?;
    Ok(review)
}

fn decide(review: &PolicyReview, policies: Option<&PolicySet>, started: Instant) -> (HttpResponse, Outcome) {
    let request = &review.request;
    let checked = match request.operation.as_str() {
        // A deleted ConfigMap requires nothing. If it held the last policy, that is found when the directory is read.
        "DELETE" => Ok(Vec::new()),
        "CREATE" | "UPDATE" if is_config_map(&request.kind) => check(request, policies),
        _ => Err(format!(
            "{}: only ConfigMaps with policies are checked here; correct the webhook configuration's rules",
            request.kind
        )),
    };
    let (warnings, refusal) = match checked {
        Ok(warnings) => (warnings, None),
        Err(refusal) => (Vec::new(), Some(refusal)),
    };
    let outcome = if refusal.is_none() { Outcome::Allowed } else { Outcome::Denied };
    let decision = LoggedDecision { outcome, basis: "policies", why: refusal, images: &[] };
    decision_log::write(Endpoint::ValidatePolicy, &LoggedRequest::from(request), &decision, started.elapsed());
    let respond = |message| denied(&review.api_version, request.uid.clone(), message);
    let response = match decision.why {
        None => Response { allowed: true, warnings, ..respond(String::new()) },
        Some(refusal) => respond(format!("portreeve: {refusal}")),
    };
    (response::review(&response), outcome)
}

impl<'a> From<&'a PolicyRequest> for LoggedRequest<'a> {
    fn from(request: &'a PolicyRequest) -> Self {
        Self {
            uid: &request.uid,
            operation: &request.operation,
            kind: Some(&request.kind),
            namespace: request.namespace.as_deref(),
            name: request.name.as_deref(),
            user: request.user_info.as_ref(),
            dry_run: request.dry_run == Some(true),
        }
    }
}

fn is_config_map(kind: &GroupVersionKind) -> bool {
    kind.kind == "ConfigMap" && kind.group.as_deref().unwrap_or_default().is_empty()
}

/// What a ConfigMap is read as.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    owner: Owner,
    /// Why it has no effect; empty if nothing says so.
    unmounted: String,
}

/// What this ConfigMap is read as; `None` if it holds no policies.
fn place(name: &str, config_map: &ConfigMap, policies: Option<&PolicySet>) -> Option<Place> {
    let labels = config_map.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let is_labelled =
        labels.is_some_and(|labels| LABELS.iter().all(|(key, value)| labels.get(*key).is_some_and(|v| v == value)));
    let named = Owner::of_config_map(name);
    if named.is_none() && !is_labelled {
        return None;
    }
    let effect = "it takes effect only if the Deployment mounts it";
    let (owner, unmounted) = match (named, policies) {
        // Who has no policies in force yet does not know what is mounted.
        (Some(owner), None) => (owner, String::new()),
        (None, None) | (Some(Owner::Site), _) => (Owner::Site, String::new()),
        (Some(Owner::Namespace(namespace)), Some(policies)) if policies.mounted().has(&namespace) => {
            (Owner::Namespace(namespace), String::new())
        }
        // A kustomization that adds a hash to names makes such names, too. So it may hold any policy.
        (Some(Owner::Namespace(namespace)), Some(_)) => (
            Owner::Site,
            format!(
                "the ConfigMap {name} is not mounted: {effect} as the directory {namespace} below namespacePolicies"
            ),
        ),
        (None, Some(policies)) => {
            let is_mounted = |key: &String| policies.has_file(key);
            let keys = config_map.data.iter().flatten().chain(config_map.binary_data.iter().flatten());
            let known = keys.map(|(key, _)| key).any(is_mounted);
            let told = format!(
                "nothing shows that the ConfigMap {} is mounted: {effect} below a directory of the configuration's \"policies\"; \
                 the site's policies are in {CONFIG_MAP}",
                printable(name, 253)
            );
            (Owner::Site, if known { String::new() } else { told })
        }
    };
    Some(Place { owner, unmounted })
}

/// The warnings about policies that are probably not meant as they stand, or the reason why the ConfigMap is refused.
fn check(request: &PolicyRequest, policies: Option<&PolicySet>) -> Result<Vec<String>, String> {
    let Some(config_map) = &request.object else { return Err("the request has no object".to_owned()) };
    let own = config_map.metadata.as_ref().and_then(|metadata| metadata.name.as_deref());
    let name = request.name.as_deref().filter(|name| !name.is_empty()).or(own).unwrap_or_default();
    let Some(Place { owner, unmounted }) = place(name, config_map, policies) else { return Ok(Vec::new()) };
    let mut files = config_map.data.clone().unwrap_or_default();
    // kubelet mounts `binaryData` as files, too.
    for (key, encoded) in config_map.binary_data.iter().flatten() {
        let bytes = STANDARD.decode(encoded).ok();
        let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Err(format!("binaryData \"{}\" is not text: policies are YAML or JSON", printable(key, 253)));
        };
        files.insert(key.clone(), text);
    }
    // The limit of the API server, which checks it after it has called this webhook. Other clients may call it, too.
    let bytes = files.values().map(String::len).fold(0, usize::saturating_add);
    if bytes > MAX_TEXT || files.len() > MAX_KEYS {
        return Err(format!(
            "there are {bytes} bytes of policies in {} keys; one ConfigMap may have {MAX_TEXT} bytes in {MAX_KEYS} keys",
            files.len()
        ));
    }
    // Before it is mounted, a namespace's ConfigMap is created without policies.
    let is_to_come = files.is_empty() && matches!(Owner::of_config_map(name), Some(Owner::Namespace(_)));
    let checked = if is_to_come { Ok(PolicySet::default()) } else { check_data(&files, &owner) };
    let problems = match checked {
        Ok(set) => {
            let warning = |note: String| printable(&["portreeve: ", &note].concat(), WARNING_CHARACTERS);
            let notes = set.notes();
            let all = Some(unmounted)
                .filter(|note| !note.is_empty())
                .into_iter()
                .chain(notes.iter().map(PolicyNote::to_string));
            return Ok(all.take(MAX_WARNINGS).map(warning).collect());
        }
        Err(problems) => problems,
    };
    let mut refusal = format!("these policies cannot be used ({} problem(s))", problems.len());
    for problem in problems.iter().take(MAX_PROBLEMS) {
        refusal.push_str(&format!("\n- {}", printable(&problem.to_string(), 600)));
    }
    if problems.len() > MAX_PROBLEMS {
        refusal.push_str(&format!("\n- and {} more", problems.len() - MAX_PROBLEMS));
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::{PolicyPlaces, load_all};

    const GOOD: &str = "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec:\n  \
                        repositories:\n  - name: \"*\"\n    policy:\n      trust:\n        enabled: true\n";

    fn ask(kind: &str, operation: &str, object: &Value) -> Value {
        ask_of("portreeve-policies", None, kind, operation, object)
    }

    fn ask_of(name: &str, policies: Option<&PolicySet>, kind: &str, operation: &str, object: &Value) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": { "uid": "u-1", "kind": { "group": "", "version": "v1", "kind": kind }, "name": name,
                         "namespace": "portreeve", "operation": operation, "object": object },
        });
        let (http, outcome) = respond(review.to_string().as_bytes(), policies);
        assert_eq!(http.status, 200);
        let body: Value = serde_json::from_slice(&http.body).unwrap();
        let response = &body["response"];
        assert_eq!(response["uid"], "u-1");
        // Status and annotations agree with the decision.
        let (word, code) = if response["allowed"] == true { ("allowed", 200) } else { ("denied", 403) };
        assert_eq!(
            (&response["auditAnnotations"]["decision"], &response["status"]["code"]),
            (&json!(word), &json!(code))
        );
        assert_eq!(outcome.as_str(), word);
        response.clone()
    }

    #[test]
    fn good_policies_pass_and_slips_are_told_with_their_place() {
        let good = ask("ConfigMap", "CREATE", &json!({ "data": { "p.yaml": GOOD } }));
        assert_eq!(good["allowed"], true, "{good}");
        // PORTIERIS.md, fault 21: one level out of place.
        let slipped = GOOD.replace("      trust:\n        enabled", "    trust:\n      enabled");
        let bad = ask("ConfigMap", "UPDATE", &json!({ "data": { "p.yaml": slipped } }));
        assert_eq!(bad["allowed"], false);
        let message = bad["status"]["message"].as_str().unwrap();
        assert!(message.contains("p.yaml:8:") && message.contains("indentation"), "{message}");
    }

    #[test]
    fn what_was_probably_not_meant_is_warned_of() {
        let odd = GOOD.replace("\"*\"", "\"registry.local:9001\"");
        let response = ask("ConfigMap", "CREATE", &json!({ "data": { "p.yaml": odd } }));
        assert_eq!(response["allowed"], true, "{response}");
        let warnings = response["warnings"].as_array().unwrap();
        assert!(
            warnings[0].as_str().unwrap().starts_with("portreeve: p.yaml:6:5: pattern \"registry.local:9001\""),
            "{response}"
        );
        assert_eq!(ask("ConfigMap", "CREATE", &json!({ "data": { "p.yaml": GOOD } }))["warnings"], json!([]));
    }

    /// The policies of a process that has mounted those of namespace `line-1`, and the site's in `site.yaml`.
    fn mounted() -> PolicySet {
        let dir = portreeve_test_support::temp::TempDir::new();
        dir.write("site/site.yaml", GOOD);
        dir.write("own/line-1/theirs.yaml", own("line-1"));
        let places = PolicyPlaces { site: vec![dir.path().join("site")], namespaces: Some(dir.path().join("own")) };
        load_all(&places).unwrap().0
    }

    fn own(namespace: &str) -> String {
        GOOD.replace("ClusterImagePolicy", "ImagePolicy")
            .replace("{name: p}", &format!("{{name: p, namespace: {namespace}}}"))
    }

    /// CASES.md, F7: labels are lost when a ConfigMap is made anew.
    #[test]
    fn policies_are_known_by_the_name_of_their_config_map() {
        let policies = mounted();
        let bad = json!({ "data": { "p.yaml": "kind: [" } });
        let labels = json!({ "app.kubernetes.io/name": "portreeve", "app.kubernetes.io/component": "policy" });
        let labelled = json!({ "metadata": { "labels": labels }, "data": { "p.yaml": "kind: [" } });
        for (name, object, allowed) in [
            ("portreeve-policies", &bad, false),
            ("portreeve-policies-line-1", &bad, false),
            ("portreeve-policies-line-9", &bad, false),
            ("mine", &labelled, false),
            ("mine", &bad, true),
            ("kube-root-ca.crt", &bad, true),
            ("portreeve-config", &bad, true),
            ("", &bad, true),
        ] {
            for policies in [None, Some(&policies)] {
                let response = ask_of(name, policies, "ConfigMap", "UPDATE", object);
                assert_eq!((&response["allowed"], &response["warnings"]), (&json!(allowed), &json!([])), "{name}");
            }
        }
        // Made with `generateName`, or by a client that names it in the object alone.
        let named = json!({ "metadata": { "name": "portreeve-policies" }, "data": { "p.yaml": "kind: [" } });
        assert_eq!(ask_of("", None, "ConfigMap", "CREATE", &named)["allowed"], false);
    }

    #[test]
    fn a_namespace_s_config_map_has_its_own_policies_alone() {
        let policies = mounted();
        let put = |object: Value| ask_of("portreeve-policies-line-1", Some(&policies), "ConfigMap", "UPDATE", &object);
        let data = |text: &str| json!({ "data": { "p.yaml": text } });
        let good = put(data(&own("line-1")));
        assert_eq!((&good["allowed"], &good["warnings"]), (&json!(true), &json!([])), "{good}");
        for none in [json!({}), json!({ "data": {} }), json!({ "data": null, "binaryData": {} })] {
            assert_eq!(put(none)["allowed"], true, "it leaves the namespace to the ClusterImagePolicies");
        }
        for (text, word) in [
            (own("line-2"), "ImagePolicy line-2/p does not belong here"),
            (GOOD.to_owned(), "ClusterImagePolicy p does not belong here"),
            ("# later\n".to_owned(), "there is no policy in these files"),
            (
                own("line-1").replace("enabled: true", "enabled: true\n        trustServer: \"file:///etc\""),
                "p.yaml:10:22: \"trustServer\" of a namespace's own policy cannot be a directory",
            ),
            (format!("# {}", "x".repeat(300 << 10)), "more than 262144 bytes"),
        ] {
            let response = put(data(&text));
            assert_eq!(response["allowed"], false, "{word}");
            assert!(response["status"]["message"].as_str().unwrap().contains(word), "{word}: {response}");
        }
    }

    #[test]
    fn a_config_map_that_is_not_mounted_is_warned_of() {
        let policies = mounted();
        let labels = json!({ "app.kubernetes.io/name": "portreeve", "app.kubernetes.io/component": "policy" });
        let object = |key: &str, text: &str| match key {
            "" => json!({ "metadata": { "labels": labels } }),
            _ => json!({ "metadata": { "labels": labels }, "data": { key: text } }),
        };
        for (name, key, text, warned) in [
            ("portreeve-policies", "p.yaml", GOOD.to_owned(), ""),
            ("portreeve-policies-line-1", "p.yaml", own("line-1"), ""),
            ("portreeve-policies-line-2", "p.yaml", own("line-2"), "the directory line-2 below namespacePolicies"),
            ("portreeve-policies-line-2", "", String::new(), "the directory line-2 below namespacePolicies"),
            // Such a name comes from a kustomization that adds a hash.
            ("portreeve-policies-7t6k5m2f4h", "p.yaml", GOOD.to_owned(), "is not mounted"),
            ("second", "p.yaml", GOOD.to_owned(), "the site's policies are in portreeve-policies"),
            ("second", "site.yaml", GOOD.to_owned(), ""),
            // The name of a file of a namespace's ConfigMap says nothing about the site's.
            ("second", "theirs.yaml", GOOD.to_owned(), "the site's policies are in portreeve-policies"),
        ] {
            let response = ask_of(name, Some(&policies), "ConfigMap", "CREATE", &object(key, &text));
            assert_eq!(response["allowed"], true, "{response}");
            let warnings = response["warnings"].as_array().unwrap();
            assert_eq!(warnings.len(), usize::from(!warned.is_empty()), "{name}: {warnings:?}");
            assert!(warnings.iter().all(|warning| warning.as_str().unwrap().contains(warned)), "{warnings:?}");
        }
    }

    #[test]
    fn binary_data_is_policies_too() {
        let encoded = |text: &[u8]| json!({ "binaryData": { "p.yaml": STANDARD.encode(text) } });
        assert_eq!(ask("ConfigMap", "CREATE", &encoded(GOOD.as_bytes()))["allowed"], true);
        assert_eq!(ask("ConfigMap", "CREATE", &encoded(b"nonsense: true"))["allowed"], false);
        assert_eq!(ask("ConfigMap", "CREATE", &encoded(b"\xff"))["allowed"], false);
    }

    #[test]
    fn only_config_maps_with_policies_are_let_in() {
        for object in [json!({}), json!({ "data": {} }), json!(null)] {
            assert_eq!(ask("ConfigMap", "CREATE", &object)["allowed"], false, "{object}");
        }
        assert_eq!(ask("Secret", "CREATE", &json!({ "data": { "p.yaml": GOOD } }))["allowed"], false);
        assert_eq!(ask("ConfigMap", "CONNECT", &json!({ "data": { "p.yaml": GOOD } }))["allowed"], false);
        assert_eq!(ask("ConfigMap", "DELETE", &json!(null))["allowed"], true);
        assert_eq!(ask("ConfigMap", "CREATE", &json!({ "data": { "p.yaml": 7 } }))["allowed"], false);
        let kind = |group: Option<&str>, kind: &str| {
            is_config_map(&GroupVersionKind { group: group.map(str::to_owned), version: None, kind: kind.to_owned() })
        };
        assert!(kind(None, "ConfigMap") && kind(Some(""), "ConfigMap"));
        assert!(!kind(Some("example.com"), "ConfigMap") && !kind(None, "ConfigMapList"));
    }

    /// Mounted files whose names begin with a dot are not read, so that a policy in such a file would have no effect.
    #[test]
    fn a_policy_that_would_be_passed_over_is_refused() {
        let strict = GOOD.replace("name: p", "name: strict").replace("\"*\"", "\"registry.local/*\"");
        let response = ask("ConfigMap", "CREATE", &json!({ "data": { "p.yaml": GOOD, ".strict.yaml": strict } }));
        assert_eq!(response["allowed"], false);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains(".strict.yaml:1:1: ") && message.contains("begins with a dot"), "{message}");
    }

    #[test]
    fn what_is_no_review_gets_400() {
        for body in [&b""[..], b"{}", b"[]", b"{\"kind\":\"AdmissionReview\"}"] {
            assert_eq!(respond(body, None).0.status, 400);
        }
    }

    /// serde's derive would read the elements of a list as the fields in order.
    #[test]
    fn a_list_is_no_config_map() {
        for (object, field) in [
            (json!([null, { "p.yaml": GOOD }, null]), "request.object"),
            (json!({ "metadata": ["portreeve-policies", {}], "data": { "p.yaml": GOOD } }), "metadata"),
            (json!({ "metadata": {}, "data": [GOOD] }), "data"),
        ] {
            let refused = ask("ConfigMap", "CREATE", &object);
            assert_eq!(refused["allowed"], false);
            let told = refused["status"]["message"].as_str().unwrap();
            let words = format!("the ConfigMap cannot be decoded: {field}: invalid type: sequence");
            assert!(told.contains(&words), "{told}");
        }
        assert_eq!(respond(br#"["admission.k8s.io/v1","AdmissionReview",{"uid":"u"}]"#, None).0.status, 400);
    }

    #[test]
    fn more_than_a_config_map_may_hold_is_not_read() {
        let lines = |count: usize| "# nothing but words\n".repeat(count);
        let files = |count: usize, text: &str| -> BTreeMap<String, String> {
            (0..count).map(|n| (format!("p{n}.yaml"), if n == 0 { GOOD.to_owned() } else { text.to_owned() })).collect()
        };
        for (data, fits) in [
            (files(MAX_KEYS, "# nothing\n"), true),
            (files(MAX_KEYS + 1, "# nothing\n"), false),
            (files(2, &lines(50_000)), true),
            (files(3, &lines(50_000)), false),
        ] {
            let response = ask("ConfigMap", "CREATE", &json!({ "data": data }));
            assert_eq!(response["allowed"], fits, "{} keys: {}", data.len(), response["status"]);
        }
    }

    #[test]
    fn a_flood_of_problems_is_cut() {
        let many = "- 1\n".repeat(100);
        let data: BTreeMap<String, String> = (0..50).map(|n| (format!("p{n}.yaml"), many.clone())).collect();
        let response = ask("ConfigMap", "CREATE", &json!({ "data": data }));
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("more") && message.len() < 20_000, "{}", message.len());
    }
}
