//! Slow, broken and lying registries. Each is either "rejected" (the data says no) or "unavailable" (there is no answer), the
//! response leaves in time, the memory is enough, and images of other registries are not held up.

use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::cosign::{Artifact, Bundle, Image, Key, Layer, Payload, Statement};
use portreeve_test_support::registry::{Change, Fault, Referrers, Registry, SignIn, TokenService, media_types};
use serde_json::{Value, json};

use super::{ALLOWED, DENIED, UNDECIDED};
use crate::memory::Limited;
use crate::pki::Pki;
use crate::process::wait_until;
use crate::product::Site;
use crate::review::{assert_allowed, assert_denied, cosign_policy_for, patch, pod, pod_review, review_of};

const PLC: &str = "plant/plc";
/// The images of a Pod that asks much.
const IMAGES: usize = 4;
/// The longest timeout that Kubernetes allows.
const LONGEST: &str = "/admit?timeout=30s";

/// An image with a signature on an in-process registry, and a site that reads from it.
struct Stage {
    registry: Registry,
    key: Key,
    image: Image,
    site: Site,
}

impl Stage {
    fn new() -> Self {
        let (registry, key) = (Registry::start(), Key::p256());
        let image = registry.push_image(PLC, "v1", "plc");
        registry.attach(PLC, &image, &bundle(&image, &key));
        let mut site = Site::new(&Pki::new());
        site.config["trust"]["ca"] = json!(site.file("registry-ca.pem", registry.ca_pem()));
        let signer = json!({ "name": "alice", "publicKey": key.public_pem() });
        site.policies(&[cosign_policy_for("*", json!({ "signers": [signer] }))]);
        Self { registry, key, image, site }
    }

    fn tagged(&self, name: &str) -> String {
        format!("{}/{name}:v1", self.registry.host())
    }

    /// Another image, signed.
    fn push(&self, name: &str) -> String {
        let image = self.registry.push_image(name, "v1", name);
        self.registry.attach(name, &image, &bundle(&image, &self.key));
        self.tagged(name)
    }

    /// Reviews the signed image in a process without stored data. The exit status is one of these.
    #[track_caller]
    fn assert_verdict(&self, statuses: &[i32], what: &str) -> Value {
        let _ = std::fs::remove_dir_all(self.site.config["trust"]["cache"].as_str().unwrap());
        let file = self.site.file("pod.json", &pod(&self.tagged(PLC)).to_string());
        let begin = Instant::now();
        let (ended, answers) = self.site.answers(&file);
        assert!(ended.is_some_and(|status| statuses.contains(&status)), "{what}: {ended:?} {answers:#?}");
        match ended {
            Some(ALLOWED) => assert_allowed(&answers[0]),
            _ => assert_denied(&answers[0], &["plant/plc:v1"]),
        }
        assert!(begin.elapsed() < Duration::from_secs(15), "{what} took {:?}", begin.elapsed());
        answers[0].clone()
    }
}

fn bundle(image: &Image, key: &Key) -> Artifact {
    Artifact::bundle(image, Bundle::dsse(&Statement::new(image).bytes(), key).bytes())
}

fn layers(image: &Image, key: &Key) -> Artifact {
    Artifact::layers(&[Layer::new(Payload::new(image).bytes(), key)])
}

#[test]
fn broken_registries_are_unavailable_and_lies_rejected() {
    let stage = Stage::new();
    // A body that is no manifest may come from the registry or not: both verdicts are right.
    let either: &[i32] = &[DENIED, UNDECIDED];
    let cases: [(Fault, &[i32]); 13] = [
        (Fault::Reset, &[UNDECIDED]),
        (Fault::ShortBody, either), // its Content-Length is more than the list says
        (Fault::ShortChunks, either),
        (Fault::Redirect, &[UNDECIDED, DENIED]),
        (Fault::Status(429), &[UNDECIDED]),
        (Fault::Status(500), &[UNDECIDED]),
        (Fault::Status(503), &[UNDECIDED]),
        (Fault::Unauthorized, &[UNDECIDED]),
        (Fault::Huge(100 << 20), either),
        (Fault::HugeChunked(100 << 20), either),
        (Fault::Html, either),
        (Fault::Body(""), either),
        (Fault::Body("{}"), either),
    ];
    for (fault, statuses) in cases {
        for part in ["", "/manifests/", "/referrers/", "/manifests/sha256:", "/blobs/"] {
            let what = format!("{fault:?} at {part:?}");
            stage.registry.misbehave(part, fault);
            stage.registry.forget_requests();
            stage.assert_verdict(statuses, &what);
            let trips = stage.registry.round_trips();
            assert!(trips.len() <= 20, "{what}: {trips:?}");
            stage.registry.behave();
        }
    }
    stage.assert_verdict(&[ALLOWED], "the registry behaves again");
}

/// A registry that does not say who refers to an image leaves open whether it is signed: the answer is never "not signed".
#[test]
fn a_registry_that_hides_its_referrers_does_not_lead_to_older_formats() {
    let stage = Stage::new();
    stage.registry.attach_tag(PLC, &stage.image, &layers(&stage.image, &Key::p256()));
    for fault in [Fault::Status(500), Fault::Status(403), Fault::Reset] {
        stage.registry.misbehave("/referrers/", fault);
        stage.registry.forget_requests();
        let answer = stage.assert_verdict(&[UNDECIDED], &format!("{fault:?}"));
        assert!(!answer.to_string().contains("is not signed"), "{answer:#}");
        stage.registry.behave();
    }
    for status in [404, 400, 405, 406] {
        stage.registry.serve_referrers(Referrers::Absent(status));
        stage.assert_verdict(&[DENIED], "only another's signature is left");
    }
    stage.registry.attach_fallback(PLC, &stage.image, &[bundle(&stage.image, &stage.key)]);
    for referrers in [Referrers::Absent(404), Referrers::Empty, Referrers::ContentType("text/html")] {
        stage.registry.serve_referrers(referrers.clone());
        stage.assert_verdict(&[ALLOWED], &format!("{referrers:?}"));
    }
}

#[test]
fn other_bytes_for_a_digest_are_rejected() {
    let stage = Stage::new();
    let other = stage.registry.push_image(PLC, "other", "other");
    let pinned = format!("{}/{PLC}@{}", stage.registry.host(), stage.image.digest());
    stage.registry.store(PLC, &stage.image.digest(), media_types::MANIFEST, other.manifest.clone());
    let file = stage.site.file("pinned.json", &pod(&pinned).to_string());
    let (status, answers) = stage.site.answers(&file);
    assert_eq!(status, Some(DENIED), "{answers:#?}");
    // By the tag, the other bytes are another image, which nobody signed.
    stage.assert_verdict(&[DENIED], "another manifest under the tag");
    stage.registry.push(PLC, "v1", &stage.image);
    stage.registry.change("/manifests/v1", Change::Header("Docker-Content-Digest", other.digest()));
    stage.assert_verdict(&[DENIED], "a header that names another digest");
    stage.registry.behave();
    stage.registry.change("/manifests/v1", Change::NoHeader("Docker-Content-Digest"));
    stage.assert_verdict(&[ALLOWED], "no such header");
    stage.registry.behave();
    stage.registry.change("/blobs/", Change::Replace(b'a', b'b'));
    stage.assert_verdict(&[DENIED], "other bytes for a blob");
}

#[test]
fn blobs_come_from_a_storage_elsewhere_and_credentials_do_not_go_there() {
    let stage = Stage::new();
    stage.registry.require(SignIn::Bearer(TokenService::of("robot", "secret")));
    stage.site.pull_secret("plant", &stage.registry.host(), "robot", "secret");
    let storage = Registry::start();
    for blob in bundle(&stage.image, &stage.key).blobs {
        storage.push_blob(PLC, blob);
    }
    let both = format!("{}{}", stage.registry.ca_pem(), storage.ca_pem());
    stage.site.file("registry-ca.pem", &both);
    // The signature differs from run to run, so the storage gets the registry's own.
    let manifest = stage.registry.requests();
    assert!(manifest.is_empty());
    let signature = bundle(&stage.image, &stage.key);
    stage.registry.forget_referrers(PLC, &stage.image.digest());
    stage.registry.attach(PLC, &stage.image, &signature);
    signature.blobs.iter().for_each(|blob| {
        storage.push_blob(PLC, blob.clone());
    });
    let to = |url: &str| Change::Redirect(307, format!("{url}{{}}"));
    stage.registry.change("/blobs/", to(&storage.url()));
    stage.assert_verdict(&[ALLOWED], "blobs at a storage");
    assert!(storage.count("/blobs/") > 0);
    assert!(storage.requests().iter().all(|request| request.authorization.is_none()), "{:?}", storage.requests());
    stage.registry.behave();

    let plain = Registry::start_plain();
    stage.registry.change("/blobs/", to(&plain.url()));
    stage.assert_verdict(&[DENIED, UNDECIDED], "blobs in the clear");
    stage.registry.behave();
    assert!(plain.requests().is_empty(), "{:?}", plain.requests());
    for part in ["/manifests/", "/referrers/", "/manifests/sha256:"] {
        storage.forget_requests();
        stage.registry.change(part, to(&storage.url()));
        stage.assert_verdict(&[DENIED, UNDECIDED], &format!("{part} elsewhere"));
        stage.registry.behave();
        assert!(storage.requests().is_empty(), "{part}: {:?}", storage.requests());
    }
    stage.registry.change("/referrers/", Change::Header("Link", format!("<{}/v2/x>; rel=\"next\"", storage.url())));
    stage.assert_verdict(&[DENIED, UNDECIDED], "a page of referrers elsewhere");
    assert!(storage.requests().is_empty(), "{:?}", storage.requests());
}

#[test]
fn slow_registries_use_up_only_their_own_time_and_hold_up_nobody() {
    let stage = Stage::new();
    let other = Stage::new();
    let both = format!("{}{}", stage.registry.ca_pem(), other.registry.ca_pem());
    stage.site.file("registry-ca.pem", &both);
    let keys = [&stage.key, &other.key].map(|key| key.public_pem());
    let signers = json!([{ "name": "alice", "publicKey": keys[0] }, { "name": "bob", "publicKey": keys[1] }]);
    stage.site.policies(&[cosign_policy_for("*", json!({ "signers": signers, "threshold": 1 }))]);
    let serving = stage.site.serve();
    let neighbour = |number: usize| {
        // Each of them is asked for the first time.
        let image = other.push(&format!("plant/x{number}"));
        let begin = Instant::now();
        assert_allowed(&serving.admit("/admit?timeout=4s", &pod_review(&image)));
        begin.elapsed()
    };
    for (number, fault) in [Fault::Stall, Fault::Drip, Fault::DripHead].into_iter().enumerate() {
        let names: Vec<String> = (0..16).map(|image| stage.push(&format!("plant/slow-{number}-{image}"))).collect();
        stage.registry.misbehave("", fault);
        thread::scope(|scope| {
            for name in &names {
                let serving = &serving;
                scope.spawn(move || {
                    let begin = Instant::now();
                    let answer = serving.admit("/admit?timeout=4s", &pod_review(name));
                    assert!(begin.elapsed() < Duration::from_secs(5), "{fault:?}: {:?}", begin.elapsed());
                    assert_denied(&answer, &["plant/slow"]);
                    assert!(!answer.to_string().contains("not signed"), "{answer:#}");
                });
            }
            thread::sleep(Duration::from_millis(300)); // all of them wait now
            let times: Vec<Duration> = (0..5).map(|image| neighbour(number * 5 + image)).collect();
            eprintln!("{fault:?}: the neighbour's images took {times:?}");
            assert!(times.iter().all(|time| *time < Duration::from_secs(2)), "{fault:?}: {times:?}");
        });
        stage.registry.behave();
    }
    wait_until("a registry that has come back to be believed", || {
        serving.admit("/admit?timeout=5s", &pod_review(&stage.tagged(PLC)))["response"]["allowed"] == true
    });
}

/// Floods, under the Deployment's memory limit: the process stays within it and goes on answering.
#[test]
fn floods_take_no_more_memory_than_there_is() {
    let stage = Stage::new();
    let images: Vec<String> = (0..IMAGES).map(|number| stage.push(&format!("plant/large-{number}"))).collect();
    let mut limited = Limited::start(&stage.site);
    let review = review_of(&images);
    let parts = ["/manifests/v1", "/referrers/", "/manifests/sha256:", "/blobs/"];
    for part in parts {
        for fault in [Fault::Huge(100 << 20), Fault::HugeChunked(100 << 20)] {
            stage.registry.misbehave(part, fault);
            assert_denied(&limited.ask("/admit?timeout=10s", 10, &review), &["large-0"]);
            stage.registry.behave();
        }
    }
    // Crowds of values in what is read as JSON, each within its cap.
    for (part, size) in [
        ("/manifests/v1", 4 << 20),
        ("/referrers/", 4 << 20),
        ("/manifests/sha256:", 256 << 10),
        ("/blobs/", 512 << 10),
    ] {
        for value in ["{},", "[],", "0,", "\"\\n\","] {
            let body = format!("{{\"schemaVersion\":2,\"x\":[{}0]}}", value.repeat((size - 40) / value.len()));
            stage.registry.change(part, Change::Bytes(body.into_bytes()));
            assert_denied(&limited.ask("/admit?timeout=10s", 10, &review), &["large-0"]);
            stage.registry.behave();
        }
    }
    // A rejection is remembered for two seconds.
    thread::sleep(Duration::from_secs(3));
    wait_until("the images to be admitted", || {
        limited.serving.admit("/admit?timeout=10s", &review)["response"]["allowed"] == true
    });
    limited.is_well();
}

#[test]
fn ten_thousand_referrers_do_not_hide_a_signature_and_ten_thousand_signatures_are_refused() {
    let stage = Stage::new();
    let entry = |number: usize, kind: &str| {
        json!({
            "mediaType": media_types::MANIFEST, "size": 700, "artifactType": kind,
            "digest": format!("sha256:{number:064x}"),
        })
    };
    let list = |name: &str, image: &Image, kind: &str| {
        for number in 0..10_000 {
            stage.registry.list_referrer(name, &image.digest(), entry(number, kind));
        }
    };
    let (mut crowded, mut flooded) = (Vec::new(), Vec::new());
    for number in 0..IMAGES {
        let name = format!("plant/crowded-{number}");
        let image = stage.registry.push_image(&name, "v1", &name);
        list(&name, &image, "application/spdx+json");
        stage.registry.attach(&name, &image, &bundle(&image, &stage.key));
        crowded.push(stage.tagged(&name));
        let name = format!("plant/flooded-{number}");
        let image = stage.registry.push_image(&name, "v1", &name);
        list(&name, &image, "application/vnd.dev.sigstore.bundle.v0.3+json");
        flooded.push(stage.tagged(&name));
    }
    let mut limited = Limited::start(&stage.site);
    stage.registry.forget_requests();
    let answer = limited.ask(LONGEST, 30, &review_of(&flooded));
    assert_denied(&answer, &["flooded-0", &format!("flooded-{}", IMAGES - 1), "more than 32"]);
    // The manifest, and the list with growing caps.
    let trips = stage.registry.round_trips();
    assert!(trips.len() <= IMAGES * 4, "{} requests", trips.len());
    let answer = limited.ask(LONGEST, 30, &review_of(&crowded));
    assert_allowed(&answer);
    assert_eq!(patch(&answer).as_array().unwrap().len(), IMAGES, "{answer:#}");
}

/// The requests of one image that do not need each other go at the same time: a slow registry costs rounds, not requests.
#[test]
fn requests_that_do_not_need_each_other_go_at_the_same_time() {
    let stage = Stage::new();
    let image = stage.registry.push_image("plant/many", "v1", "many");
    for key in (0..6).map(|_| Key::p256()).chain([stage.key.clone()]) {
        stage.registry.attach("plant/many", &image, &bundle(&image, &key));
    }
    let delay = Duration::from_millis(150);
    stage.registry.misbehave("", Fault::Delay(delay));
    let serving = stage.site.serve();
    assert_allowed(&serving.admit("/admit?timeout=10s", &pod_review(&stage.tagged("plant/many"))));
    let trips = stage.registry.round_trips();
    assert_eq!(stage.registry.most_at_once("/v2/"), 4, "{trips:?}");
    // Seven candidates of two requests each, by four threads.
    let in_a_row = stage.registry.in_a_row(delay);
    assert!(in_a_row <= 6, "{in_a_row} in a row: {trips:?}");
    stage.registry.forget_requests();
    stage.registry.serve_referrers(Referrers::Absent(404));
    let old = stage.registry.push_image("plant/old", "v1", "old");
    stage.registry.attach_tag("plant/old", &old, &layers(&old, &stage.key));
    assert_allowed(&serving.admit("/admit?timeout=10s", &pod_review(&stage.tagged("plant/old"))));
    let trips = stage.registry.round_trips();
    // Manifest; referrers; both tags; payload.
    assert_eq!((trips.len(), stage.registry.in_a_row(delay)), (5, 4), "{trips:?}");
}
