//! Whole reviews of images that are signed by identities, under a trusted root of the site.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::cosign::plant::{ISSUER, Plant, SIGNED, SUBJECT, Signing};
use portreeve_test_support::cosign::{Artifact, Bundle, Image, Key, Statement};
use portreeve_test_support::registry::Registry;

use super::*;
use crate::admission::evaluate::Workload;
use crate::base::clock;
use crate::kube::pull_secrets::PullContext;
use crate::schemes::WaitNotice;

const NAME: &str = "plant/plc";

/// A registry, an instance of Sigstore, and its trusted root on the disk.
struct Site {
    world: World,
    registry: Registry,
    plant: Plant,
    key: Key,
}

impl Site {
    fn new() -> Self {
        let mut world = World::new();
        let registry = Registry::start();
        let both = format!("{}{}", world.server.ca_pem(), registry.ca_pem());
        world.write("ca.pem", &both);
        world.directory.directory("roots");
        world.more_config = json!({ "sigstore": { "trustedRoots": world.directory.path().join("roots") } });
        let site = Self { world, registry, plant: Plant::new(), key: Key::p256() };
        site.write_root(&site.plant.trusted_root());
        site
    }

    fn write_root(&self, root: &Value) {
        self.world.write("roots/plant.json", &root.to_string());
    }

    fn tagged(&self, tag: &str) -> String {
        format!("{}/{NAME}:{tag}", self.registry.host())
    }

    fn pinned(&self, tag: &str, image: &Image) -> String {
        format!("{}@{}", self.tagged(tag), image.digest())
    }

    /// Pushes an image that the plant's identity has signed.
    fn by_identity(&self, tag: &str) -> Image {
        let image = self.registry.push_image(NAME, tag, tag);
        let signing = Signing::keyless(&self.plant, &image, &self.plant.leaf(), SIGNED);
        self.registry.attach(NAME, &image, &signing.artifact(&image));
        image
    }

    fn add_key(&self, image: &Image) {
        let bundle = Bundle::dsse(&Statement::new(image).bytes(), &self.key).bytes();
        self.registry.attach(NAME, image, &Artifact::bundle(image, bundle));
    }

    /// Pushes an image that the key has signed.
    fn by_key(&self, tag: &str) -> Image {
        let image = self.registry.push_image(NAME, tag, tag);
        self.add_key(&image);
        image
    }

    fn key(&self) -> Value {
        json!({ "name": "release", "publicKey": self.key.public_pem() })
    }

    fn engine(&self, policy: &Value) -> Engine {
        let mut document = document(None, json!([{ "name": "*", "policy": policy }]));
        document["apiVersion"] = json!("portreeve/v1");
        self.world.engine(&[document])
    }
}

fn identity(issuer: &str, subject: &str) -> Value {
    json!({ "name": "ci", "issuer": issuer, "subject": subject })
}

fn ci() -> Value {
    identity(ISSUER, "https://git.plant.example/line-1/*")
}

/// `cosign` with these signers, under the trusted root.
fn cosign(signers: &Value) -> Value {
    json!({ "signers": signers, "trustedRoot": "plant" })
}

#[test]
fn an_image_by_the_identity_is_let_in_and_pinned() {
    let site = Site::new();
    let engine = site.engine(&json!({ "cosign": cosign(&json!([ci()])) }));
    let image = site.by_identity("v1");
    let heard = admit(&engine, &pod(&[&site.tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, site.pinned("v1", &image))]);
    assert_eq!(heard.audit["signers"], format!("{}=ci", site.tagged("v1")));
    assert_eq!(heard.audit["images"], format!("{}={}", site.tagged("v1"), image.digest()));
    assert_allowed(&ask(&engine, Endpoint::Validate, &pod(&[&site.pinned("v1", &image)])), &[]);
    site.by_key("key");
    site.registry.push_image(NAME, "unsigned", "unsigned");
    let heard = admit(&engine, &pod(&[&site.tagged("key")]));
    assert_denied(&heard, &["rejected: ", "it was made with a key, and the policy names identities"]);
    assert_denied(&admit(&engine, &pod(&[&site.tagged("unsigned")])), &["rejected: ", "is not signed"]);
}

#[test]
fn another_identity_and_another_issuer_are_denied() {
    let site = Site::new();
    site.by_identity("v1");
    for signer in [identity(ISSUER, "https://git.plant.example/line-2/*"), identity("https://issuer.example", SUBJECT)]
    {
        let engine = site.engine(&json!({ "cosign": cosign(&json!([signer])) }));
        let heard = admit(&engine, &pod(&[&site.tagged("v1")]));
        let whom = format!("it was made by {SUBJECT} of {ISSUER}, and the policy does not name");
        assert_denied(&heard, &["rejected: ", "it is not signed by ci", &whom]);
        assert_eq!(heard.audit["images"], format!("{}=rejected:signature", site.tagged("v1")));
    }
}

#[test]
fn a_root_that_is_missing_has_ended_or_is_replaced() {
    let site = Site::new();
    let image = site.by_identity("v1");
    let engine = |name: &str| {
        let check = json!({ "signers": [ci()], "trustedRoot": name });
        site.engine(&json!({ "cosign": check }))
    };
    let heard = admit(&engine("other"), &pod(&[&site.tagged("v1")]));
    assert_denied(&heard, &["rejected: ", "the trusted root \"other\"", "roots/other.json"]);
    assert_eq!(heard.audit["images"], format!("{}=rejected:trusted-root", site.tagged("v1")));
    let mut ended = site.plant.trusted_root();
    ended["certificateAuthorities"][0]["validFor"]["end"] = json!("2026-03-01T00:00:00Z");
    site.write_root(&ended);
    assert_denied(&admit(&engine("plant"), &pod(&[&site.tagged("v1")])), &["rejected: ", "it is not signed by ci"]);
    // Replaced while the process runs: by the renewed root, by one that does not parse, and by another instance's.
    let running = engine("plant");
    let verdict = || admit(&running, &pod(&[&site.pinned("v1", &image)]));
    let until = |allowed: bool| {
        let begun = Instant::now();
        loop {
            let heard = verdict();
            if heard.allowed == allowed {
                return heard;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{heard:?}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    site.write_root(&site.plant.trusted_root());
    until(true);
    site.world.write("roots/plant.json", "{");
    let roots = &running.evaluator().schemes.cosign.trusted_roots;
    let begun = Instant::now();
    while roots.current().problems().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(50));
    }
    assert_allowed(&verdict(), &[]);
    site.write_root(&Plant::new().trusted_root());
    assert_denied(&until(false), &["rejected: ", "the trusted root of 2026-01-01 knows no log "]);
}

#[test]
fn a_key_or_an_identity_both_of_them_and_as_many_as_the_threshold_says() {
    let site = Site::new();
    let (by_key, by_identity) = (site.by_key("key"), site.by_identity("identity"));
    let both = site.by_identity("both");
    site.add_key(&both);
    let (of_key, of_identity) = (json!({ "signers": [site.key()] }), cosign(&json!([ci()])));
    let list = json!([site.key(), ci()]);
    let mut one_of_two = cosign(&list);
    one_of_two["threshold"] = json!(1);
    let any = [json!({ "anyOf": [{ "cosign": of_key }, { "cosign": of_identity }] }), json!({ "cosign": one_of_two })];
    let all = [json!({ "cosign": of_key, "anyOf": [{ "cosign": of_identity }] }), json!({ "cosign": cosign(&list) })];
    for policy in &any {
        let engine = site.engine(policy);
        for (tag, image) in [("key", &by_key), ("identity", &by_identity), ("both", &both)] {
            assert_allowed(&admit(&engine, &pod(&[&site.tagged(tag)])), &[(FIRST, site.pinned(tag, image))]);
        }
    }
    for policy in &all {
        let engine = site.engine(policy);
        assert_allowed(&admit(&engine, &pod(&[&site.tagged("both")])), &[(FIRST, site.pinned("both", &both))]);
        for tag in ["key", "identity"] {
            assert_denied(&admit(&engine, &pod(&[&site.tagged(tag)])), &["rejected: ", "not "]);
        }
    }
}

#[test]
fn a_policy_of_a_namespace_may_name_the_roots_of_the_site() {
    let site = Site::new();
    let image = site.by_identity("v1");
    let policy = json!({ "cosign": cosign(&json!([ci()])) });
    let mut document = document(Some("line-1"), json!([{ "name": "*/*", "policy": policy }]));
    document["apiVersion"] = json!("portreeve/v1");
    site.world.write("own/line-1/ours.json", &document.to_string());
    let nothing = super::document(None, json!([]));
    let engine = site.world.engine(&[nothing]);
    let places = crate::policy::PolicyPlaces {
        site: vec![site.world.directory.path().join("policies")],
        namespaces: Some(site.world.directory.path().join("own")),
    };
    let (policies, changes) = crate::policy::load_all(&places).unwrap();
    assert!(changes.len() == 1 && changes[0].result.is_ok());
    engine.policies().replace(policies);
    assert_allowed(&admit(&engine, &pod(&[&site.tagged("v1")])), &[(FIRST, site.pinned("v1", &image))]);
}

/// Certificate, log and promise are verified once for each root. After that a verdict takes no operation with a key.
#[test]
fn a_warm_admission_verifies_nothing_again() {
    let site = Site::new();
    let image = site.by_identity("v1");
    let engine = site.engine(&json!({ "cosign": cosign(&json!([ci()])) }));
    let context = PullContext::in_namespace("line-1");
    let workload = Workload::new(&context, Deadline::after(Duration::from_secs(10)), clock::now());
    let left = || workload.effort().load(Ordering::Relaxed);
    let spent = |image: &str| {
        let before = left();
        let verdict = engine.evaluator().evaluate_in_turn(&workload, image, WaitNotice::NONE).verdict;
        (verdict.word(), before - left())
    };
    let (word, cold) = spent(&site.tagged("v1"));
    assert!(word == "verified" && cold > 0, "{word} {cold}");
    assert_eq!(spent(&site.tagged("v1")), ("verified", 0));
    workload.effort().store(0, Ordering::Relaxed);
    assert_eq!(spent(&site.pinned("v1", &image)), ("verified", 0));
}
