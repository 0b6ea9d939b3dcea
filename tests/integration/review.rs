//! AdmissionReviews as kube-apiserver sends them, and what tests read in the responses.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::notary::{Digest, Signer};

/// Every denial of an unavailable image contains this, and no denial of a rejected one does.
pub(crate) const DID_NOT_ANSWER: &str = "the trust server did not answer";

/// A file of `tests/integration/fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/fixtures").join(name)
}

/// A fixture that is JSON.
#[track_caller]
pub(crate) fn fixture_json(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

/// The AdmissionReview for a Pod with one container, created by a user.
pub(crate) fn pod_review(image: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "6b7e1d0c-0001-4c6e-9a55-0242ac120002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "name": "plc",
            "namespace": "line-1",
            "operation": "CREATE",
            "userInfo": { "username": "alice", "groups": ["system:authenticated"] },
            "object": pod(image),
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" },
        },
    })
}

/// The AdmissionReview for an UPDATE from one object to another.
pub(crate) fn update(old: &Value, new: &Value) -> Value {
    let mut review = pod_review("");
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old.clone();
    review["request"]["object"] = new.clone();
    review
}

/// The AdmissionReview for a Pod with one container for each image.
pub(crate) fn review_of(images: &[String]) -> Value {
    let mut review = pod_review("");
    let containers = images.iter().enumerate();
    review["request"]["object"]["spec"]["containers"] =
        containers.map(|(number, image)| json!({ "name": format!("c{number}"), "image": image })).collect();
    review
}

/// A Pod with one container.
pub(crate) fn pod(image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "plc", "namespace": "line-1" },
        "spec": { "containers": [{ "name": "plc", "image": image }] },
    })
}

/// A ClusterImagePolicy that requires these signers for everything under `registry.local:9001/plant/`. Without signers,
/// any valid publication counts.
pub(crate) fn policy(signers: &[&Signer]) -> Value {
    let mut trust = json!({ "enabled": true });
    if !signers.is_empty() {
        trust["signers"] = in_policy(signers).into(); // an empty list is refused
    }
    policy_for("registry.local:9001/plant/*", trust)
}

/// A ClusterImagePolicy with one pattern and these `trust` settings.
pub(crate) fn policy_for(pattern: &str, trust: Value) -> Value {
    json!({
        "apiVersion": "portreeve/v1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "plant" },
        "spec": { "repositories": [{ "name": pattern, "policy": { "trust": trust } }] },
    })
}

/// A ClusterImagePolicy with one pattern and these `cosign` settings.
pub(crate) fn cosign_policy_for(pattern: &str, cosign: Value) -> Value {
    policy_of(pattern, json!({ "cosign": cosign }))
}

/// A ClusterImagePolicy with one pattern and this `policy`.
pub(crate) fn policy_of(pattern: &str, policy: Value) -> Value {
    json!({
        "apiVersion": "portreeve/v1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "plant" },
        "spec": { "repositories": [{ "name": pattern, "policy": policy }] },
    })
}

/// The same policy as an ImagePolicy of a namespace.
pub(crate) fn in_namespace(mut policy: Value, namespace: &str) -> Value {
    policy["kind"] = json!("ImagePolicy");
    policy["metadata"]["namespace"] = json!(namespace);
    policy
}

/// The value of `signers`, with their keys.
pub(crate) fn in_policy(signers: &[&Signer]) -> Vec<Value> {
    signers.iter().map(|signer| signer.in_policy()).collect()
}

/// `<reference>@sha256:<hex>`.
pub(crate) fn with_digest(reference: &str, digest: &Digest) -> String {
    format!("{reference}@{digest}")
}

/// The tag `v1` of a repository as a patch has it: `<name>:v1@sha256:<hex>`.
pub(crate) fn pinned(name: &str, digest: &Digest) -> String {
    with_digest(&format!("{name}:v1"), digest)
}

/// A patch that replaces images.
pub(crate) fn replacing(images: &[(&str, &str)]) -> Value {
    images.iter().map(|(path, value)| json!({ "op": "replace", "path": path, "value": value })).collect()
}

/// The JSON patch of a response; `null` if there is none.
#[track_caller]
pub(crate) fn patch(answer: &Value) -> Value {
    let response = &answer["response"];
    let Some(patch) = response.get("patch").and_then(Value::as_str) else {
        assert!(response.get("patchType").is_none_or(Value::is_null), "{answer}");
        return Value::Null;
    };
    assert_eq!(response["patchType"], "JSONPatch", "{answer}");
    serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(patch).unwrap()).unwrap()
}

/// Fails the test unless the response allows the workload.
#[track_caller]
pub(crate) fn assert_allowed(answer: &Value) {
    assert_eq!(answer["response"]["allowed"], true, "{answer:#}");
}

/// Fails the test unless the response denies the workload with a message that contains all of these words.
#[track_caller]
pub(crate) fn assert_denied(answer: &Value, words: &[&str]) {
    let response = &answer["response"];
    assert_eq!(response["allowed"], false, "{answer:#}");
    assert_eq!(response["status"]["code"], 403, "{answer:#}");
    assert_eq!(patch(answer), Value::Null, "{answer:#}");
    let message = response["status"]["message"].as_str().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
}

/// The warnings of a response, joined.
pub(crate) fn warnings(answer: &Value) -> String {
    let list = answer["response"]["warnings"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}
