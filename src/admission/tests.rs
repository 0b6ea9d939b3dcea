//! Decisions from the bytes of a review to the bytes of its answer: the list in the product's contract, and the
//! faults of Portieris that must not come back. The trust server is an in-process one behind real TLS.

use std::path::Path;
use std::time::Duration;

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::signer::{Signer, sha256, sha256_hex};
use portreeve_test_support::temp::TempDir;
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService, TrustServer};
use serde_json::{Value, json};

use crate::base::context::Deadline;
use crate::commands::setup;
use crate::config::Config;
use crate::webhook::{Endpoint, Engine};

mod bounds;
mod children;
mod cluster;
mod cosign;
mod custom;
mod hosts;
mod identities;
mod lists;
mod notation;
mod pinned_pods;
mod rules;
mod trust;
mod updates;

const GUN: &str = "registry.local:9001/plant/plc";

/// A trust server with one repository, and the engine that asks it.
struct World {
    server: TrustServer,
    directory: TempDir,
    alice: String,
    bob: String,
    root_key: String,
    more_config: Value,
}

impl World {
    /// `v1` is signed by alice, `both` by alice and bob; `hidden` is only in bob's own role.
    fn new() -> Self {
        let directory = TempDir::new();
        for sub_directory in ["policies", "secrets", "registries"] {
            directory.directory(sub_directory);
        }
        let authority = Authority::new();
        directory.write("ca.pem", authority.pem());
        let server = TrustServer::start_under(&authority);
        let repo = Signer::new(GUN)
            .signer("alice")
            .signer("bob")
            .release("v1", sha256(b"v1"), 100, &["alice"])
            .release("both", sha256(b"both"), 100, &["alice", "bob"])
            .release("v401", sha256(b"v401"), 100, &["alice"])
            .target("targets/bob", "hidden", sha256(b"hidden"), 100)
            .publish();
        server.publish(&repo);
        let (alice, bob) = (repo.signer_public_key_pem("alice"), repo.signer_public_key_pem("bob"));
        Self { server, directory, alice, bob, root_key: repo.root_key_id(), more_config: json!({}) }
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        self.directory.write(name, text);
        self
    }

    /// A policy of one repository; `trust` is what stands under `trust:` besides `enabled` and the server.
    fn policy(&self, namespace: Option<&str>, pattern: &str, trust: &Value) -> Value {
        let mut rule = json!({ "enabled": true, "trustServer": self.server.url() });
        rule.as_object_mut().unwrap().extend(trust.as_object().unwrap().clone());
        let policy = json!({ "trust": rule });
        document(namespace, json!([{ "name": pattern, "policy": policy }]))
    }

    fn engine(&self, policies: &[Value]) -> Engine {
        let mut config = json!({
            "namespace": "portreeve",
            "secrets": self.directory.path().join("secrets"),
            "credentials": { "mounted": self.directory.path().join("registries") },
            "trust": { "ca": self.directory.path().join("ca.pem"), "refreshAfter": "0s" },
        });
        config.as_object_mut().unwrap().extend(self.more_config.as_object().unwrap().clone());
        let config = Config::parse(&config.to_string(), Path::new("test")).unwrap();
        let engine = setup::standalone_engine(&config).unwrap();
        for (index, policy) in policies.iter().enumerate() {
            self.write(&format!("policies/{index}.json"), &policy.to_string());
        }
        engine.policies().replace(crate::policy::load(&[self.directory.path().join("policies")]).unwrap());
        engine
    }

    /// An engine with one cluster policy for everything.
    fn simple(&self, trust: &Value) -> Engine {
        self.engine(&[self.policy(None, "*", trust)])
    }
}

fn document(namespace: Option<&str>, repositories: Value) -> Value {
    let kind = if namespace.is_some() { "ImagePolicy" } else { "ClusterImagePolicy" };
    let mut metadata = json!({ "name": "p" });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({ "apiVersion": "portieris.cloud.ibm.com/v1", "kind": kind, "metadata": metadata,
            "spec": { "repositories": repositories } })
}

fn review(group: &str, kind: &str, object: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": { "group": group, "version": "v1", "kind": kind }, "namespace": "line-1",
            "operation": "CREATE", "userInfo": { "username": "kubernetes-admin", "groups": [] }, "object": object,
        },
    })
}

fn pod(images: &[&str]) -> Value {
    review("", "Pod", json!({ "spec": pod_spec(images) }))
}

fn pod_spec(images: &[&str]) -> Value {
    let container = |(index, image): (usize, &&str)| json!({ "name": format!("c{index}"), "image": image });
    json!({ "containers": images.iter().enumerate().map(container).collect::<Vec<_>>() })
}

/// What came back, taken apart.
#[derive(Debug)]
struct Heard {
    allowed: bool,
    message: String,
    patch: Vec<(String, String)>,
    warnings: Vec<String>,
    audit: Value,
}

fn ask(engine: &Engine, endpoint: Endpoint, review: &Value) -> Heard {
    let (answer, _) = engine.review(endpoint, review.to_string().as_bytes(), Deadline::after(Duration::from_secs(10)));
    assert_eq!(answer.status, 200);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["apiVersion"], review["apiVersion"]);
    let response = &answer["response"];
    let patch = response["patch"].as_str().map(|patch| {
        let json = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, patch).unwrap();
        serde_json::from_slice::<Vec<Value>>(&json).unwrap()
    });
    let operation = |op: &Value| {
        assert_eq!(op["op"], "replace");
        (op["path"].as_str().unwrap().to_owned(), op["value"].as_str().unwrap().to_owned())
    };
    Heard {
        allowed: response["allowed"].as_bool().unwrap(),
        message: response["status"]["message"].as_str().unwrap_or_default().to_owned(),
        patch: patch.unwrap_or_default().iter().map(operation).collect(),
        warnings: response["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned()).collect(),
        audit: response["auditAnnotations"].clone(),
    }
}

fn admit(engine: &Engine, review: &Value) -> Heard {
    ask(engine, Endpoint::Admit, review)
}

fn tagged(tag: &str) -> String {
    format!("{GUN}:{tag}")
}

/// As a patch has it.
fn pinned(tag: &str) -> String {
    format!("{GUN}:{tag}@sha256:{}", sha256_hex(tag.as_bytes()))
}

/// The same digest without its tag.
fn by_digest(tag: &str) -> String {
    format!("{GUN}@sha256:{}", sha256_hex(tag.as_bytes()))
}

#[track_caller]
fn assert_allowed(heard: &Heard, patch: &[(&str, String)]) {
    assert!(heard.allowed, "{heard:?}");
    let patch: Vec<_> = patch.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
    assert_eq!(heard.patch, patch);
    assert_eq!(heard.audit["decision"], "allowed");
}

#[track_caller]
fn assert_denied(heard: &Heard, words: &[&str]) {
    assert!(!heard.allowed, "{heard:?}");
    assert!(heard.patch.is_empty(), "{heard:?}");
    assert_eq!(heard.audit["decision"], "denied");
    for word in words {
        assert!(heard.message.contains(word), "\"{word}\" is not in: {}", heard.message);
    }
}

const FIRST: &str = "/spec/containers/0/image";

#[test]
fn without_any_policy_everything_is_denied() {
    let world = World::new();
    // A policy of another namespace is no policy for this one.
    let engine = world.engine(&[document(Some("elsewhere"), json!([{ "name": "*", "policy": null }]))]);
    assert_denied(&admit(&engine, &pod(&["nginx"])), &["no ImagePolicy for namespace \"line-1\"", "nginx"]);
}

#[test]
fn a_policy_without_trust_asks_for_nothing_and_nobody() {
    let world = World::new();
    let engine = world.engine(&[document(None, json!([{ "name": "*", "policy": { "trust": { "enabled": false } } }]))]);
    let heard = admit(&engine, &pod(&[&tagged("unsigned")]));
    assert_allowed(&heard, &[]);
    assert_eq!(world.server.connections(), 0);
}

#[test]
fn a_signed_image_is_let_in_and_pinned_in_every_list() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let (v1, both) = (tagged("v1"), tagged("both"));
    let spec = json!({
        "initContainers": [{ "name": "i", "image": both }],
        "containers": [{ "name": "c", "image": v1 }, { "name": "blank", "image": "" }, { "name": "d", "image": v1 }],
        "ephemeralContainers": [{ "name": "e", "image": v1 }],
        "volumes": [{ "name": "v", "image": { "reference": both } }],
    });
    let at = |prefix: &str| {
        [
            ("initContainers/0/image", "both"),
            ("containers/0/image", "v1"),
            ("containers/2/image", "v1"),
            ("ephemeralContainers/0/image", "v1"),
            ("volumes/0/image/reference", "both"),
        ]
        .map(|(path, tag)| (format!("{prefix}/{path}"), pinned(tag)))
    };
    let check = |group: &str, kind: &str, prefix: &str, object: Value| {
        let heard = admit(&engine, &review(group, kind, object));
        let expected = at(prefix);
        let expected: Vec<_> = expected.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
        assert_allowed(&heard, &expected);
    };
    check("", "Pod", "/spec", json!({ "spec": spec }));
    check(
        "apps",
        "Deployment",
        "/spec/template/spec",
        json!({ "spec": { "replicas": 0, "template": { "spec": spec } } }),
    );
    check(
        "batch",
        "CronJob",
        "/spec/jobTemplate/spec/template/spec",
        json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": spec } } } } }),
    );
    check("", "PodTemplate", "/template/spec", json!({ "template": { "spec": spec } }));
}

#[test]
fn one_bad_image_denies_and_all_are_told() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let heard = admit(&engine, &pod(&[&tagged("v1"), &tagged("evil"), "Invalid&Image%Name"]));
    assert_denied(
        &heard,
        &[
            "portreeve denied Pod in namespace line-1: 2 of 3 images are not trusted\n",
            "container \"c1\"",
            "evil",
            "container \"c2\"",
            "invalid image name",
        ],
    );
    assert!(!heard.message.contains("\"c0\""), "{}", heard.message);
    let mut unsigned_init = pod(&[&tagged("v1")]);
    unsigned_init["request"]["object"]["spec"]["initContainers"] = json!([{ "name": "i", "image": tagged("evil") }]);
    assert_denied(&admit(&engine, &unsigned_init), &["init container \"i\""]);
    // Fault 23: an allowed container first does not let the next one in.
    assert_denied(&admit(&engine, &pod(&[&tagged("v1"), &tagged("v9")])), &["1 of 2"]);
}

/// Under `warn` the API server's audit log is all that remains of a bad image.
#[test]
fn no_image_and_no_name_passes_for_another_finding() {
    let mut world = World::new();
    world.more_config = json!({ "admission": { "mode": "warn" } });
    let mut pod = pod(&["a=sha256:00 nginx"]);
    pod["request"]["object"]["spec"]["containers"][0]["name"] = "c\", image nginx: verified: \"".into();
    let heard = admit(&world.simple(&json!({})), &pod);
    assert_eq!(heard.audit["images"], "a\u{fffd}sha256:00\u{fffd}nginx=rejected:invalid-image-name");
    assert!(
        heard.warnings[0].contains("container \"c\u{fffd}, image nginx: verified: \u{fffd}\", image a"),
        "{heard:?}"
    );
}

#[test]
fn zero_replicas_are_still_verified() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let object = json!({ "spec": { "replicas": 0, "template": { "spec": pod_spec(&[&tagged("evil")]) } } });
    assert_denied(&admit(&engine, &review("apps", "Deployment", object)), &["evil"]);
}

#[test]
fn a_namespace_s_policy_hides_the_cluster_s() {
    let world = World::new();
    let own = document(Some("line-1"), json!([{ "name": "docker.io/*", "policy": {} }]));
    let cluster = document(None, json!([{ "name": "*", "policy": {} }]));
    let engine = world.engine(&[own, cluster]);
    assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["no repository pattern", "namespace line-1"]);
    assert_allowed(&admit(&engine, &pod(&["nginx"])), &[]);
    let mut elsewhere = pod(&[&tagged("v1")]);
    elsewhere["request"]["namespace"] = "line-2".into();
    assert_allowed(&admit(&engine, &elsewhere), &[]);
}

#[test]
fn warn_lets_in_and_says_so() {
    let mut world = World::new();
    let policy = |world: &World, mode: &str| {
        let trust = json!({ "enabled": true, "trustServer": world.server.url() });
        document(None, json!([{ "name": "*", "policy": { "mode": mode, "trust": trust } }]))
    };
    let engine = world.engine(&[policy(&world, "warn")]);
    let heard = admit(&engine, &pod(&[&tagged("evil"), &tagged("v1")]));
    assert_allowed(&heard, &[("/spec/containers/1/image", pinned("v1"))]);
    assert!(heard.warnings[0].contains("evil"), "{heard:?}");
    // What is denied for another image is let in for none.
    let trust = json!({ "enabled": true, "trustServer": world.server.url() });
    let rule = |pattern: &str, mode: &str| json!({ "name": pattern, "policy": { "mode": mode, "trust": trust } });
    let engine = world.engine(&[document(None, json!([rule("*", "warn"), rule("docker.io/*", "enforce")]))]);
    let heard = admit(&engine, &pod(&[&tagged("evil"), "nginx"]));
    assert_denied(&heard, &["1 of 2 images is not trusted", "nginx"]);
    assert!(heard.warnings[0].starts_with("portreeve does not deny this image only because"), "{heard:?}");
    world.more_config = json!({ "admission": { "mode": "warn" } });
    let engine = world.engine(&[policy(&world, "enforce")]);
    let heard = admit(&engine, &pod(&[&tagged("evil")]));
    assert_allowed(&heard, &[]);
    assert!(heard.warnings[0].contains("evil"), "{heard:?}");
}

#[test]
fn mutate_image_can_be_switched_off_and_validate_never_patches() {
    let world = World::new();
    let trust = json!({ "enabled": true, "trustServer": world.server.url() });
    let engine =
        world.engine(&[document(None, json!([{ "name": "*", "policy": { "mutateImage": false, "trust": trust } }]))]);
    assert_allowed(&admit(&engine, &pod(&[&tagged("v1")])), &[]);
    assert_denied(&admit(&engine, &pod(&[&tagged("evil")])), &["evil"]);
    // Fault 3: what a later webhook has put in is seen by the validating twin.
    let engine = world.simple(&json!({}));
    assert_allowed(&ask(&engine, Endpoint::Validate, &pod(&[&tagged("v1")])), &[]);
    assert_denied(&ask(&engine, Endpoint::Validate, &pod(&[&tagged("evil")])), &["evil"]);
}

#[test]
fn owners_count_only_for_trusted_controllers() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let mut child = pod(&["never/signed"]);
    let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", "controller": true });
    child["request"]["object"]["metadata"] = json!({ "ownerReferences": [owner] });
    assert_denied(&admit(&engine, &child), &["never/signed"]);
    child["request"]["userInfo"]["username"] = "system:serviceaccount:kube-system:replicaset-controller".into();
    let heard = admit(&engine, &child);
    assert_allowed(&heard, &[]);
    assert_eq!(heard.audit["exempt"], "made by a trusted controller for ReplicaSet r");
}

/// Fault 2, and every other list: an unsigned image in any of them denies, in every kind that holds pods.
#[test]
fn an_unsigned_image_denies_in_every_list_of_every_kind() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let evil = || json!([{ "name": "e", "image": tagged("evil") }]);
    let volume = || json!([{ "name": "e", "image": { "reference": tagged("evil") } }]);
    for (list, entries) in
        [("initContainers", evil()), ("containers", evil()), ("ephemeralContainers", evil()), ("volumes", volume())]
    {
        let mut spec = pod_spec(&[&tagged("v1")]);
        spec[list] = entries;
        let template = json!({ "spec": spec });
        let workload = json!({ "spec": { "template": template } });
        for (group, kind, object) in [
            ("", "Pod", template.clone()),
            ("", "PodTemplate", json!({ "template": template })),
            ("", "ReplicationController", workload.clone()),
            ("apps", "Deployment", workload.clone()),
            ("apps", "ReplicaSet", workload.clone()),
            ("apps", "DaemonSet", workload.clone()),
            ("apps", "StatefulSet", workload.clone()),
            ("extensions", "Deployment", workload.clone()),
            ("batch", "Job", workload.clone()),
            ("batch", "CronJob", json!({ "spec": { "jobTemplate": workload } })),
        ] {
            assert_denied(&admit(&engine, &review(group, kind, object)), &["evil"]);
        }
    }
}

#[test]
fn more_images_than_anybody_runs_are_denied_unseen() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let images: Vec<String> = (0..257).map(|n| tagged(&format!("t{n}"))).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let heard = admit(&engine, &pod(&images));
    assert_denied(&heard, &["257 images", "256 are the most"]);
    assert_eq!(world.server.connections(), 0);
    // What is stored stays as it is: nothing is decided on.
    let mut update = pod(&images);
    update["request"]["operation"] = "UPDATE".into();
    update["request"]["oldObject"] = update["request"]["object"].clone();
    assert_allowed(&admit(&engine, &update), &[]);
    assert_allowed(&admit(&engine, &pod(&vec![pinned("v1").as_str(); 256])), &[]);
}

#[test]
fn what_is_not_ours_is_denied_and_a_deletion_is_not() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    for (group, kind, operation, sub_resource) in [
        ("example.com", "Widget", "CREATE", ""),
        ("batch.example.com", "Job", "CREATE", ""),
        ("apps", "Deployment", "CONNECT", ""),
        ("", "Pod", "CONNECT", "exec"),
        ("", "Pod", "CREATE", "binding"),
        ("autoscaling", "Scale", "UPDATE", "scale"),
    ] {
        let mut review = review(group, kind, json!({ "spec": pod_spec(&[&tagged("v1")]) }));
        review["request"]["operation"] = operation.into();
        review["request"]["subResource"] = sub_resource.into();
        assert_denied(&admit(&engine, &review), &["not something that Portreeve can decide on"]);
    }
    let mut no_object = pod(&[]);
    no_object["request"]["object"] = Value::Null;
    assert_denied(&admit(&engine, &no_object), &["without an object"]);
    no_object["request"]["operation"] = "DELETE".into();
    assert_allowed(&admit(&engine, &no_object), &[]);
    // Fault 15: nothing to run, nothing to crash on.
    assert_allowed(&admit(&engine, &review("", "ReplicationController", json!({ "spec": { "replicas": 1 } }))), &[]);
}

#[test]
fn bad_bodies_are_answered_as_what_they_are() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let raw = |body: &[u8]| engine.review(Endpoint::Admit, body, Deadline::after(Duration::from_secs(1))).0;
    for body in [&b""[..], b"{}", b"\xff", b"[]", b"{\"kind\":\"AdmissionReview\"}"] {
        assert_eq!(raw(body).status, 400);
    }
    // Fault 19: the answer has kind, version and uid, whatever the object is.
    let mut broken = pod(&[]);
    broken["apiVersion"] = "admission.k8s.io/v1beta1".into();
    broken["request"]["object"]["spec"]["containers"] = json!([{ "image": 7 }]);
    assert_denied(&admit(&engine, &broken), &["cannot be decoded"]);
    // Nothing of it comes back that is long or commands a terminal.
    broken["request"]["object"]["spec"]["containers"] = "\u{1b}[2J\u{202e}x".repeat(10_000).into();
    let heard = admit(&engine, &broken);
    assert_denied(&heard, &["cannot be decoded"]);
    assert!(
        heard.message.chars().all(|c| portreeve_verify::text::visible(c) == c) && heard.message.len() < 1024,
        "{heard:?}"
    );
}

#[test]
fn a_remapped_image_is_verified_under_its_original_name_and_pinned_under_its_own() {
    let world = World::new();
    let remap = json!({ "remap": { "prefix": "mirror.local/plant/", "signedPrefix": "registry.local:9001/plant/" } });
    let engine = world.simple(&remap);
    let heard = admit(&engine, &pod(&["mirror.local/plant/plc:v1"]));
    assert_allowed(&heard, &[(FIRST, pinned("v1").replace("registry.local:9001", "mirror.local"))]);
    assert_denied(&admit(&engine, &pod(&["other.local/plant/plc:v1"])), &["other.local/plant/plc"]);
}

#[test]
fn without_a_trust_server_the_configuration_is_named() {
    let world = World::new();
    let engine = world.engine(&[document(None, json!([{ "name": "*", "policy": { "trust": { "enabled": true } } }]))]);
    assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["no trust server is known", "trust.servers"]);
}
