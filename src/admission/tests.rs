//! Decisions from the bytes of a review to the bytes of its answer: the list in the product's contract, and the
//! faults of Portieris that must not come back. The trust server is an in-process one behind real TLS.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::signer::{Signer, sha256, sha256_hex};
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService, TrustServer};
use serde_json::{Value, json};

use crate::base::context::Deadline;
use crate::commands::setup;
use crate::config::Config;
use crate::webhook::{Endpoint, Engine};

mod children;
mod cluster;
mod hosts;
mod rules;

const GUN: &str = "registry.local:9001/plant/plc";

/// A trust server with one repository, and the engine that asks it.
struct World {
    server: TrustServer,
    directory: PathBuf,
    alice: String,
    bob: String,
    root_key: String,
    more_config: Value,
}

impl World {
    /// `v1` is signed by alice, `both` by alice and bob; `hidden` only stands in bob's own role.
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("portreeve-admission-{}-{number}", std::process::id()));
        for sub_directory in ["policies", "secrets", "registries"] {
            std::fs::create_dir_all(directory.join(sub_directory)).unwrap();
        }
        let authority = Authority::new();
        std::fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
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
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
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
            "secrets": self.directory.join("secrets"),
            "credentials": { "mounted": self.directory.join("registries") },
            "trust": { "ca": self.directory.join("ca.pem"), "refreshAfter": "0s" },
        });
        config.as_object_mut().unwrap().extend(self.more_config.as_object().unwrap().clone());
        let config = Config::parse(&config.to_string(), Path::new("test")).unwrap();
        let engine = setup::engine_for_one(&config).unwrap();
        for (index, policy) in policies.iter().enumerate() {
            self.write(&format!("policies/{index}.json"), &policy.to_string());
        }
        engine.policies().replace(crate::policy::load(&[self.directory.join("policies")]).unwrap());
        engine
    }

    /// An engine with one cluster policy for everything.
    fn simple(&self, trust: &Value) -> Engine {
        self.engine(&[self.policy(None, "*", trust)])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
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
    let (answer, _) = engine.answer(endpoint, review.to_string().as_bytes(), Deadline::after(Duration::from_secs(10)));
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
fn required_signers_must_all_have_signed() {
    let world = World::new();
    let alice = json!({ "name": "alice", "publicKey": world.alice });
    let bob = json!({ "name": "bob", "publicKey": world.bob });
    let false_bob = json!({ "name": "bob", "publicKey": world.alice });
    let ask = |signers: Value, tag: &str| admit(&world.simple(&json!({ "signers": signers })), &pod(&[&tagged(tag)]));
    assert_allowed(&ask(json!([alice]), "v1"), &[(FIRST, pinned("v1"))]);
    assert_allowed(&ask(json!([alice, bob]), "both"), &[(FIRST, pinned("both"))]);
    assert_denied(&ask(json!([bob]), "v1"), &["bob"]);
    assert_denied(&ask(json!([alice, bob]), "v1"), &["bob"]);
    assert_denied(&ask(json!([false_bob]), "both"), &["bob"]);
}

/// A policy's pins are asked, whatever root the server offers.
#[test]
fn only_a_pinned_root_counts() {
    let world = World::new();
    let pinned_to = |key: &str| world.simple(&json!({ "roots": [{ "keyId": key }] }));
    assert_allowed(&admit(&pinned_to(&world.root_key), &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
    assert_denied(&admit(&pinned_to(&"0".repeat(64)), &pod(&[&tagged("v1")])), &["rejected: "]);
}

#[test]
fn signer_secrets_come_from_the_policy_s_own_namespace() {
    let world = World::new();
    // Fault 7: a tenant puts a key of its own where a cluster policy might look.
    world.write("secrets/line-1/alice-key/name", "bob").write("secrets/line-1/alice-key/publicKey", &world.bob);
    world
        .write("secrets/portreeve/alice-key/name", "alice")
        .write("secrets/portreeve/alice-key/publicKey", &world.alice);
    let secrets = json!({ "signerSecrets": [{ "name": "alice-key" }] });
    let heard = admit(&world.simple(&secrets), &pod(&[&tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
    assert!(heard.audit["signers"].as_str().unwrap().ends_with("=alice"), "{heard:?}");
    let own = world.engine(&[world.policy(Some("line-1"), "*", &secrets)]);
    assert_denied(&admit(&own, &pod(&[&tagged("v1")])), &["bob"]);
    assert_allowed(&admit(&own, &pod(&[&tagged("both")])), &[(FIRST, pinned("both"))]);
    let missing = world.engine(&[world.policy(Some("line-1"), "*", &json!({ "signerSecrets": [{ "name": "none" }] }))]);
    assert_denied(&admit(&missing, &pod(&[&tagged("v1")])), &["line-1/none"]);
    // Fault 8: of two keys for one name, neither wins.
    world.write("secrets/line-1/twin/name", "bob").write("secrets/line-1/twin/publicKey", &world.alice);
    let both = json!({ "signerSecrets": [{ "name": "alice-key" }, { "name": "twin" }] });
    let engine = world.engine(&[world.policy(Some("line-1"), "*", &both)]);
    assert_denied(&admit(&engine, &pod(&[&tagged("both")])), &["two different keys"]);
    // The role that tags are released in is no signer: whoever may release would be one.
    world.write("secrets/portreeve/alice-key/name", "releases");
    assert_denied(&admit(&world.simple(&secrets), &pod(&[&tagged("v1")])), &["cannot be called \"releases\""]);
}

#[test]
fn digests_are_looked_up_as_what_they_are() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let digest = |tag: &str| sha256_hex(tag.as_bytes());
    // Fault 4: the digest form is judged by the digest, and needs no patch.
    assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
    assert_allowed(&admit(&engine, &pod(&[&pinned("v1")])), &[]);
    assert_denied(&admit(&engine, &pod(&[&by_digest("evil")])), &["rejected"]);
    assert_denied(&admit(&engine, &pod(&[&format!("{GUN}:v1@sha256:{}", digest("both"))])), &["rejected"]);
    // Fault 5: the digest form matches the policy that made it.
    let exact = world.engine(&[world.policy(None, GUN, &json!({}))]);
    assert_allowed(&admit(&exact, &pod(&[&by_digest("v1")])), &[]);
    let exact = world.engine(&[world.policy(None, &tagged("v1"), &json!({}))]);
    assert_allowed(&admit(&exact, &pod(&[&pinned("v1")])), &[]);
    // The patch keeps the tag, so that a pattern with a tag, or a part of one, matches it again.
    for pattern in [tagged("v1"), tagged("v*"), tagged("*1")] {
        let engine = world.engine(&[world.policy(None, &pattern, &json!({}))]);
        let heard = admit(&engine, &pod(&[&tagged("v1")]));
        assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
        let patched = pod(&[&heard.patch[0].1]);
        assert_allowed(&ask(&engine, Endpoint::Validate, &patched), &[]);
        assert_allowed(&admit(&engine, &patched), &[]);
    }
    // Fault 15.
    assert_denied(&admit(&engine, &pod(&[&format!("{GUN}@sha512:{}", "a".repeat(128))])), &["sha256"]);
    // Fault 17: only released targets count.
    assert_denied(&admit(&engine, &pod(&[&tagged("hidden")])), &["hidden"]);
    // Fault 16: no number in a name is ever taken for a status.
    assert_allowed(&admit(&engine, &pod(&[&tagged("v401")])), &[(FIRST, pinned("v401"))]);
}

#[test]
fn every_credential_is_tried_and_told() {
    let world = World::new();
    world.server.require(SignIn::Bearer(TokenService::of("robot", "right")));
    let config = |user: &str, password: &str| {
        json!({ "auths": { "registry.local:9001": { "username": user, "password": password } } }).to_string()
    };
    world.write("registries/a/.dockerconfigjson", &config("stranger", "hidden-word"));
    let engine = world.simple(&json!({}));
    let heard = admit(&engine, &pod(&[&tagged("v1")]));
    assert_denied(&heard, &["unavailable", "registries/a"]);
    assert!(!heard.message.contains("hidden-word"), "{}", heard.message);
    world.write("registries/c/.dockerconfigjson", "{");
    let heard = admit(&world.simple(&json!({})), &pod(&[&tagged("v1")]));
    assert_denied(&heard, &["unavailable", "registries/a", "registries/c"]);
    world.write("registries/b/.dockerconfigjson", &config("robot", "right"));
    assert_allowed(&admit(&world.simple(&json!({})), &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
}

#[test]
fn a_server_that_is_away_is_told_apart_from_data_that_says_no() {
    let mut world = World::new();
    let plain = world.simple(&json!({}));
    let cached = world.simple(&json!({ "whenUnavailable": "useCached", "maxStale": "1h" }));
    for engine in [&plain, &cached] {
        assert_allowed(&admit(engine, &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
    }
    world.server.misbehave("timestamp", Fault::Status(500));
    assert_denied(&admit(&plain, &pod(&[&tagged("v1")])), &["unavailable"]);
    world.server.stop();
    assert_denied(&admit(&plain, &pod(&[&tagged("v1")])), &["unavailable"]);
    let heard = admit(&cached, &pod(&[&tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
    assert!(heard.warnings.iter().any(|warning| warning.contains("did not answer")), "{heard:?}");
}

#[test]
fn a_denial_says_what_took_the_time() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    world.server.misbehave("timestamp", Fault::Stall);
    let body = pod(&[&tagged("v1")]).to_string();
    let ask = |time| {
        let (answer, _) = engine.answer(Endpoint::Admit, body.as_bytes(), Deadline::after(time));
        String::from_utf8(answer.body).unwrap()
    };
    let waited = ask(Duration::from_secs(1));
    assert!(waited.contains("did not answer in time") && waited.contains(" (waited "), "{waited}");
    assert!(!waited.contains("before it could be asked"), "{waited}");
    let late = ask(Duration::ZERO);
    assert!(late.contains("the time was up before it could be asked"), "{late}");
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
fn an_update_of_a_pod_asks_only_for_what_changes() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let update = |old: &[&str], new: &[&str]| {
        let mut review = pod(new);
        review["request"]["operation"] = "UPDATE".into();
        review["request"]["oldObject"] = json!({ "spec": pod_spec(old) });
        review
    };
    // Fault 20: labels can be edited while the trust server is away.
    assert_allowed(&admit(&engine, &update(&["never/signed"], &["never/signed"])), &[]);
    assert_eq!(world.server.connections(), 0);
    assert_denied(&admit(&engine, &update(&["never/signed"], &[&tagged("evil")])), &["evil"]);
    // The same image in another container is another use of it.
    assert_denied(&admit(&engine, &update(&[&tagged("evil")], &[&tagged("evil"), &tagged("evil")])), &["\"c1\""]);
    let mut debug = update(&["never/signed"], &["never/signed"]);
    debug["request"]["subResource"] = "ephemeralcontainers".into();
    debug["request"]["object"]["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": tagged("evil") }]);
    assert_denied(&admit(&engine, &debug), &["ephemeral container \"debug\""]);
    debug["request"]["object"]["spec"]["ephemeralContainers"][0]["image"] = tagged("v1").into();
    assert_allowed(&admit(&engine, &debug), &[("/spec/ephemeralContainers/0/image", pinned("v1"))]);
    // Nor is it in another list, or beside another container of the same name, which the API server refuses only later.
    let evil = json!({ "name": "c0", "image": tagged("evil") });
    for (list, entry) in [
        ("initContainers", evil.clone()),
        ("ephemeralContainers", evil.clone()),
        ("volumes", json!({ "name": "c0", "image": { "reference": tagged("evil") } })),
    ] {
        let mut moved = update(&[&tagged("evil")], &[&tagged("evil")]);
        moved["request"]["object"]["spec"][list] = json!([entry]);
        assert_denied(&admit(&engine, &moved), &["1 of 1", "evil"]);
    }
    let mut twins = update(&["never/signed"], &["never/signed"]);
    twins["request"]["object"]["spec"]["containers"].as_array_mut().unwrap().push(evil);
    assert_denied(&admit(&engine, &twins), &["evil"]);
    // A subresource that the API server takes no image from may pass, and never with one.
    for (sub_resource, words) in [("status", "the subresource"), ("resize", "evil"), ("binding", "the subresource")] {
        let mut unchanged = update(&["never/signed"], &["never/signed"]);
        unchanged["request"]["subResource"] = sub_resource.into();
        assert_allowed(&admit(&engine, &unchanged), &[]);
        let mut changed = update(&["never/signed"], &[&tagged("evil")]);
        changed["request"]["subResource"] = sub_resource.into();
        assert_denied(&admit(&engine, &changed), &[words]);
    }
    // On CREATE an old object is worth nothing.
    let mut create = update(&[&tagged("evil")], &[&tagged("evil")]);
    create["request"]["operation"] = "CREATE".into();
    assert_denied(&admit(&engine, &create), &["evil"]);
}

/// An UPDATE of an object of each kind that holds a template: the object now, and the stored one.
fn template_updates(metadata: &Value, images: &[&str], stored: &[&str]) -> Vec<Value> {
    let update = |(group, kind): (&str, &str)| {
        let object = |images: &[&str], replicas: u32| {
            let template = json!({ "spec": pod_spec(images) });
            match kind {
                "PodTemplate" => json!({ "template": template }),
                "CronJob" => json!({ "spec": { "jobTemplate": { "spec": { "template": template } } } }),
                _ => json!({ "spec": { "replicas": replicas, "template": template } }),
            }
        };
        let mut update = review(group, kind, object(images, 0));
        update["request"]["operation"] = "UPDATE".into();
        update["request"]["oldObject"] = object(stored, 3);
        update["request"]["oldObject"]["metadata"] = metadata.clone();
        update
    };
    let kinds = [
        ("", "PodTemplate"),
        ("", "ReplicationController"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "DaemonSet"),
        ("apps", "StatefulSet"),
        ("batch", "Job"),
        ("batch", "CronJob"),
    ];
    kinds.map(update).into()
}

/// Labels, replicas, and the owner that the garbage collector takes away: nothing new can run.
#[test]
fn an_update_of_a_template_that_changes_no_image_passes_without_a_question() {
    let mut world = World::new();
    let engine = world.simple(&json!({}));
    world.server.stop();
    let owner = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "1", "controller": true });
    let owned = json!({ "ownerReferences": [owner] });
    for image in [tagged("v1"), tagged("evil"), pinned("gone")] {
        for endpoint in [Endpoint::Admit, Endpoint::Validate] {
            for update in template_updates(&owned, &[&image, "a"], &[&image, "a"]) {
                let heard = ask(&engine, endpoint, &update);
                assert_allowed(&heard, &[]);
                assert_eq!(heard.audit["exempt"], "no image changes");
            }
            // Nor does one that takes an image away.
            for update in template_updates(&json!({}), &[&image], &[&image, "a"]) {
                assert_allowed(&ask(&engine, endpoint, &update), &[]);
            }
        }
    }
    assert_eq!(world.server.connections(), 0);
}

#[test]
fn an_update_of_a_template_that_changes_an_image_is_judged_whole() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let (v1, both, evil) = (tagged("v1"), tagged("both"), tagged("evil"));
    for update in template_updates(&json!({}), &[&v1, &both], &[&v1, &v1]) {
        let heard = admit(&engine, &update);
        assert!(heard.allowed, "{heard:?}");
        let values: Vec<&str> = heard.patch.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, [pinned("v1"), pinned("both")]);
    }
    for (images, stored) in [
        ([&v1, &evil], [&v1, &v1]),
        // One that was let in before makes new pods with the new one.
        ([&evil, &both], [&evil, &v1]),
        // The same images in each other's places are others.
        ([&v1, &evil], [&evil, &v1]),
        ([&evil, &evil], [&evil, &v1]),
    ] {
        for update in template_updates(&json!({}), &[images[0], images[1]], &[stored[0], stored[1]]) {
            assert_denied(&admit(&engine, &update), &["evil"]);
        }
    }
    // Without the stored object nobody knows what changes.
    for mut update in template_updates(&json!({}), &[&evil], &[&evil]) {
        update["request"].as_object_mut().unwrap().remove("oldObject");
        assert_denied(&admit(&engine, &update), &["evil"]);
    }
}

/// The template of a Job is immutable: the API server refuses a patch of an object whose labels change.
#[test]
fn templates_may_be_verified_on_every_write_and_are_patched_only_with_a_new_image() {
    let mut world = World::new();
    world.more_config = json!({ "admission": { "unchangedTemplates": "verify" } });
    let engine = world.simple(&json!({}));
    let (v1, both, evil) = (tagged("v1"), tagged("both"), tagged("evil"));
    for update in template_updates(&json!({}), &[&v1], &[&v1]) {
        assert_allowed(&admit(&engine, &update), &[]);
    }
    for update in template_updates(&json!({}), &[&both], &[&v1]) {
        assert_eq!(admit(&engine, &update).patch.len(), 1);
    }
    for update in template_updates(&json!({}), &[&evil], &[&evil]) {
        assert_denied(&admit(&engine, &update), &["evil"]);
    }
    // A pod is no template: what it runs, it runs.
    let mut labelled = pod(&[&evil]);
    labelled["request"]["operation"] = "UPDATE".into();
    labelled["request"]["oldObject"] = labelled["request"]["object"].clone();
    let heard = admit(&engine, &labelled);
    assert_allowed(&heard, &[]);
    assert_eq!(heard.audit["exempt"], "no image changes");
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

/// A tenant keeps a ReplicaSet from its deletion, gives it other images, and has the Deployment, whose owner is forged,
/// rolled back to it by the Deployment's own controller.
#[test]
fn a_roll_back_brings_in_no_unverified_image() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let update = |kind: &str, user: &str, metadata: Value| {
        let object = |image: &str| json!({ "metadata": metadata, "spec": { "template": { "spec": pod_spec(&[&tagged(image)]) } } });
        let mut update = review("apps", kind, object("evil"));
        update["request"]["operation"] = "UPDATE".into();
        update["request"]["oldObject"] = object("v1");
        update["request"]["userInfo"]["username"] = user.into();
        admit(&engine, &update)
    };
    let deleted = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"] });
    assert_denied(&update("ReplicaSet", "alice", deleted), &["evil"]);
    let forged = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", "controller": true });
    let forged = json!({ "ownerReferences": [forged] });
    let controller = "system:serviceaccount:kube-system:deployment-controller";
    assert_denied(&update("Deployment", controller, forged), &["evil"]);
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
    let raw = |body: &[u8]| engine.answer(Endpoint::Admit, body, Deadline::after(Duration::from_secs(1))).0;
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
