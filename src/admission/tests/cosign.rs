//! Whole reviews of images with cosign signatures, and of policies with two schemes.

use std::sync::atomic::Ordering;

use portreeve_test_support::cosign::{Artifact, Bundle, Image, Key, Layer, Payload, Statement};
use portreeve_test_support::registry::{Fault as RegistryFault, Registry};

use super::*;
use crate::admission::evaluate::Workload;
use crate::base::clock;
use crate::kube::pull_secrets::PullContext;
use crate::schemes::WaitNotice;

pub(super) const NAME: &str = "plant/plc";

/// A registry beside the trust server, and a key.
pub(super) struct Plant {
    pub(super) world: World,
    pub(super) registry: Registry,
    pub(super) key: Key,
}

impl Plant {
    pub(super) fn new() -> Self {
        let mut world = World::new();
        let registry = Registry::start();
        let both = format!("{}{}", world.server.ca_pem(), registry.ca_pem());
        world.write("ca.pem", &both);
        world.more_config = json!({});
        Self { world, registry, key: Key::p256() }
    }

    /// The image under this tag, as a Pod names it.
    pub(super) fn tagged(&self, tag: &str) -> String {
        format!("{}/{NAME}:{tag}", self.registry.host())
    }

    pub(super) fn pinned(&self, tag: &str, image: &Image) -> String {
        format!("{}@{}", self.tagged(tag), image.digest())
    }

    pub(super) fn push(&self, tag: &str) -> Image {
        self.registry.push_image(NAME, tag, tag)
    }

    /// Pushes an image, and signs it with a bundle.
    pub(super) fn push_signed(&self, tag: &str, key: &Key) -> Image {
        let image = self.push(tag);
        let bundle = Bundle::dsse(&Statement::new(&image).bytes(), key).bytes();
        self.registry.attach(NAME, &image, &Artifact::bundle(&image, bundle));
        image
    }

    /// Trust data that gives these tags these digests.
    pub(super) fn release(&self, tags: &[(&str, &Image)]) {
        let gun = format!("{}/{NAME}", self.registry.host());
        let signer = tags.iter().fold(Signer::new(&gun).signer("alice"), |signer, (tag, image)| {
            signer.release(tag, image.sha256(), 100, &["alice"])
        });
        self.world.server.publish(&signer.publish());
    }

    pub(super) fn cosign(&self) -> Value {
        json!({ "signers": [{ "name": "release", "publicKey": self.key.public_pem() }] })
    }

    pub(super) fn trust(&self) -> Value {
        json!({ "enabled": true, "trustServer": self.world.server.url() })
    }

    pub(super) fn engine(&self, policy: &Value) -> Engine {
        let mut document = document(None, json!([{ "name": "*", "policy": policy }]));
        document["apiVersion"] = json!("portreeve/v1");
        self.world.engine(&[document])
    }
}

/// Each verification of a signature under a key counts, for all images of a workload together. Once no more may be made, nobody can
/// say whether an image is signed. What is remembered costs nothing.
#[test]
fn verifications_of_signatures_have_a_limit() {
    let plant = Plant::new();
    let other = Key::p256();
    plant.push_signed("v1", &plant.key);
    let push_bad = |tag: &str| {
        let bad = plant.push_signed(tag, &Key::p256());
        let more = Bundle::dsse(&Statement::new(&bad).bytes(), &Key::p256()).bytes();
        plant.registry.attach(NAME, &bad, &Artifact::bundle(&bad, more));
    };
    push_bad("bad");
    push_bad("worse");
    plant.push_signed("v2", &plant.key);
    let signer = |name: &str, key: &Key| json!({ "name": name, "publicKey": key.public_pem() });
    let signers = [signer("release", &plant.key), signer("other", &other)];
    let engine = plant.engine(&json!({ "cosign": { "signers": signers, "threshold": 1 } }));
    let context = PullContext::in_namespace("line-1");
    let workload = Workload::new(&context, Deadline::after(Duration::from_secs(10)), clock::now());
    let left = || workload.effort().load(Ordering::Relaxed);
    let evaluate = |tag: &str| engine.evaluator().evaluate_in_turn(&workload, &plant.tagged(tag), WaitNotice::NONE);
    let spent = |tag: &str| {
        let before = left();
        (evaluate(tag).verdict.word(), before - left())
    };
    assert_eq!(spent("v1"), ("verified", 2), "one signature, two keys");
    assert_eq!(spent("v1"), ("verified", 0), "it is known now");
    assert_eq!(spent("bad"), ("rejected", 4), "two signatures, two keys");
    workload.effort().store(3, Ordering::Relaxed);
    let evaluation = evaluate("worse");
    let reason = evaluation.verdict.reason().unwrap();
    assert_eq!((evaluation.verdict.word(), left()), ("unavailable", 0), "{reason}");
    assert!(reason.contains("more signatures than are verified for one request"), "{reason}");
    assert_eq!(evaluate("v2").verdict.word(), "unavailable");
    assert_eq!(evaluate("v1").verdict.word(), "verified", "it is still known");
    // Another request has its own limit.
    let again = Workload::new(&context, Deadline::after(Duration::from_secs(10)), clock::now());
    let verdict = |tag: &str| engine.evaluator().evaluate_in_turn(&again, &plant.tagged(tag), WaitNotice::NONE).verdict;
    assert_eq!(verdict("worse").word(), "rejected");
    assert_eq!(verdict("v2").word(), "verified");
}

#[test]
fn a_signed_image_is_let_in_and_pinned() {
    let plant = Plant::new();
    let engine = plant.engine(&json!({ "cosign": plant.cosign() }));
    let image = plant.push_signed("v1", &plant.key);
    let heard = admit(&engine, &pod(&[&plant.tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, plant.pinned("v1", &image))]);
    assert_eq!(heard.audit["schemes"], format!("{}=cosign", plant.tagged("v1")));
    assert_eq!(heard.audit["signers"], format!("{}=release", plant.tagged("v1")));
    assert_eq!(heard.audit["images"], format!("{}={}", plant.tagged("v1"), image.digest()));
    // What was pinned passes again.
    assert_allowed(&ask(&engine, Endpoint::Validate, &pod(&[&plant.pinned("v1", &image)])), &[]);
    // The old format.
    let old = plant.push("old");
    let payload = Payload::new(&old).reference(&plant.tagged("old")).bytes();
    plant.registry.attach_tag(NAME, &old, &Artifact::layers(&[Layer::new(payload, &plant.key)]));
    let heard = admit(&engine, &pod(&[&plant.tagged("old"), &plant.tagged("v1")]));
    let expected = [(FIRST, plant.pinned("old", &old)), ("/spec/containers/1/image", plant.pinned("v1", &image))];
    assert_allowed(&heard, &expected);
}

#[test]
fn an_image_that_is_not_signed_and_one_by_another_key_are_denied() {
    let plant = Plant::new();
    let engine = plant.engine(&json!({ "cosign": plant.cosign() }));
    let unsigned = plant.push("unsigned");
    let heard = admit(&engine, &pod(&[&plant.tagged("unsigned")]));
    assert_denied(&heard, &["rejected: ", "is not signed", &unsigned.digest(), &plant.registry.url()]);
    assert_eq!(heard.audit["images"], format!("{}=rejected:not-signed", plant.tagged("unsigned")));
    plant.push_signed("evil", &Key::p256());
    let heard = admit(&engine, &pod(&[&plant.tagged("evil")]));
    assert_denied(&heard, &["rejected: ", "it is not signed by release", "another key has made it"]);
    assert_eq!(heard.audit["images"], format!("{}=rejected:signature", plant.tagged("evil")));
    let heard = admit(&engine, &pod(&[&plant.tagged("none")]));
    assert_denied(&heard, &["rejected: ", "does not exist"]);
    assert_eq!(heard.audit["images"], format!("{}=rejected:not-found", plant.tagged("none")));
}

#[test]
fn a_registry_that_is_away_is_told_apart_from_an_unsigned_image() {
    let mut plant = Plant::new();
    let image = plant.push_signed("v1", &plant.key);
    plant.world.more_config = json!({ "admission": { "mode": "enforce" } });
    let plain = plant.engine(&json!({ "cosign": plant.cosign() }));
    let mut cosign = plant.cosign();
    cosign["whenUnavailable"] = json!("useCached");
    cosign["maxStale"] = json!("1h");
    let cached = plant.engine(&json!({ "cosign": cosign }));
    for engine in [&plain, &cached] {
        assert_allowed(&admit(engine, &pod(&[&plant.tagged("v1")])), &[(FIRST, plant.pinned("v1", &image))]);
    }
    plant.registry.go_away();
    let heard = admit(&plain, &pod(&[&plant.tagged("v1")]));
    assert_denied(&heard, &["unavailable: ", &plant.registry.url()]);
    assert!(!heard.message.contains("trust server"), "{}", heard.message);
    assert_eq!(heard.audit["images"], format!("{}=unavailable", plant.tagged("v1")));
    // A digest with evidence needs no registry, and a tag needs a policy that says so.
    assert_allowed(&admit(&plain, &pod(&[&plant.pinned("v1", &image)])), &[]);
    let heard = admit(&cached, &pod(&[&plant.tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, plant.pinned("v1", &image))]);
    let warning = format!(
        "portreeve: the registry did not answer; {} was verified with stored signatures; the registry last confirmed the \
         digest of the tag ",
        plant.tagged("v1")
    );
    assert!(heard.warnings[0].starts_with(&warning), "{heard:?}");
}

#[test]
fn warn_lets_an_unsigned_image_in_and_says_so() {
    let plant = Plant::new();
    let engine = plant.engine(&json!({ "mode": "warn", "cosign": plant.cosign() }));
    plant.push("unsigned");
    let heard = admit(&engine, &pod(&[&plant.tagged("unsigned")]));
    assert_allowed(&heard, &[]);
    assert!(heard.warnings[0].contains("set to warn") && heard.warnings[0].contains("is not signed"), "{heard:?}");
}

/// The time between two schemes: `anyOf` takes what either of them has signed.
#[test]
fn scheme_row_129_and_130_a_site_changes_over_from_trust_to_cosign() {
    let mut plant = Plant::new();
    let engine = plant.engine(&json!({ "anyOf": [{ "cosign": plant.cosign() }, { "trust": plant.trust() }] }));
    let (old, new) = (plant.push("old"), plant.push_signed("new", &plant.key));
    plant.push("unsigned");
    plant.release(&[("old", &old)]);
    // Signed in the old way alone.
    let heard = admit(&engine, &pod(&[&plant.tagged("old")]));
    assert_allowed(&heard, &[(FIRST, plant.pinned("old", &old))]);
    assert_eq!(heard.audit["schemes"], format!("{}=trust", plant.tagged("old")));
    // Signed in the new way alone: nobody asks the trust server.
    let asked = plant.world.server.requests().len();
    let heard = admit(&engine, &pod(&[&plant.tagged("new")]));
    assert_allowed(&heard, &[(FIRST, plant.pinned("new", &new))]);
    assert_eq!(heard.audit["schemes"], format!("{}=cosign", plant.tagged("new")));
    assert_eq!(plant.world.server.requests().len(), asked);
    // Signed in neither.
    let heard = admit(&engine, &pod(&[&plant.tagged("unsigned")]));
    assert_denied(&heard, &["rejected: ", "cosign: ", "is not signed", "; trust: "]);
    assert_eq!(heard.audit["schemes"], format!("{0}=cosign,trust", plant.tagged("unsigned")));
    // One says no, and the other cannot say.
    plant.world.server.stop();
    let heard = admit(&engine, &pod(&[&plant.tagged("unsigned")]));
    assert_denied(&heard, &["unavailable: trust: the trust server did not answer", "; cosign: ", "is not signed"]);
    // The new way needs no trust server.
    assert_allowed(&admit(&engine, &pod(&[&plant.tagged("new")])), &[(FIRST, plant.pinned("new", &new))]);
}

/// An image that the other scheme lets in does not need the registry.
#[test]
fn a_registry_that_is_silent_leaves_time_for_the_other_scheme() {
    let plant = Plant::new();
    let engine = plant.engine(&json!({ "anyOf": [{ "cosign": plant.cosign() }, { "trust": plant.trust() }] }));
    let image = plant.push("old");
    plant.release(&[("old", &image)]);
    plant.registry.misbehave("/manifests/", RegistryFault::Stall);
    let body = pod(&[&plant.tagged("old")]).to_string();
    let (answer, _) = engine.review(Endpoint::Admit, body.as_bytes(), Deadline::after(Duration::from_secs(3)));
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    assert_eq!(answer["response"]["auditAnnotations"]["schemes"], format!("{}=trust", plant.tagged("old")));
}

#[test]
fn scheme_row_131_both_schemes_side_by_side_name_one_digest() {
    let plant = Plant::new();
    let engine = plant.engine(&json!({ "cosign": plant.cosign(), "trust": plant.trust() }));
    let image = plant.push_signed("v1", &plant.key);
    let other = plant.push_signed("moved", &plant.key);
    let trusted = plant.push("trusted");
    plant.release(&[("v1", &image), ("moved", &image), ("trusted", &trusted)]);
    let heard = admit(&engine, &pod(&[&plant.tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, plant.pinned("v1", &image))]);
    let schemes = heard.audit["schemes"].as_str().unwrap();
    assert!(schemes.contains("trust") && schemes.contains("cosign"), "{heard:?}");
    let signers = heard.audit["signers"].as_str().unwrap();
    assert!(signers.contains("release"), "{heard:?}");
    // Each is right about its own digest, and no image has both.
    let heard = admit(&engine, &pod(&[&plant.tagged("moved")]));
    assert_denied(&heard, &["rejected: ", "different digests", &image.digest(), &other.digest()]);
    assert_eq!(heard.audit["images"], format!("{}=rejected:digests-disagree", plant.tagged("moved")));
    // One of them is not enough.
    let heard = admit(&engine, &pod(&[&plant.tagged("trusted")]));
    assert_denied(&heard, &["rejected: cosign: ", "is not signed"]);
    // Nor is one that cannot say.
    plant.registry.misbehave("/referrers/", RegistryFault::Status(500));
    let heard = admit(&engine, &pod(&[&plant.tagged("trusted")]));
    assert_denied(&heard, &["unavailable: cosign: "]);
}
