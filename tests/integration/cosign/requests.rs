//! What a registry is asked: as little as there is to know, and nothing twice.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Kind, Plant, signers};
use crate::notary::KeyKind;
use crate::producers::{FORMATS, Format};
use crate::review::{assert_allowed, pod_review};

/// The requests of a first admission, and of a second.
#[test]
fn a_first_admission_asks_for_what_it_needs_and_a_second_asks_nothing() {
    let Some(plant) = Plant::new(Kind::Referrers) else { return };
    let alice = plant.producers.key("alice", KeyKind::P256);
    plant.require(json!({ "signers": signers(&[&alice]) }));
    let (bundle, pinned) = plant.push_signed("bundle", &[&alice], Format::Bundle);
    let (old, _) = plant.push_signed("old", &[&alice], Format::Old);
    let serving = plant.site.serve();
    let asked = |image: &String| {
        plant.registry.forget_requests();
        assert_allowed(&serving.admit("/admit?timeout=10s", &pod_review(image)));
        plant.registry.requests()
    };
    let cold = ["manifests/v1", "referrers/sha256:…", "manifests/sha256:…", "blobs/sha256:…"];
    assert_eq!(asked(&bundle), cold);
    assert_eq!(asked(&bundle), [""; 0]);
    assert_eq!(asked(&pinned), [""; 0]);
    // There is no referrer, so both tags are looked at.
    let mut requests = asked(&old);
    requests.sort();
    let cold = ["blobs/sha256:…", "manifests/sha256-…", "manifests/sha256-….sig", "manifests/v1", "referrers/sha256:…"];
    assert_eq!(requests, cold);
    assert_eq!(asked(&old), [""; 0]);
}

#[test]
fn a_registry_without_a_referrers_api_is_asked_for_both_tags() {
    let Some(plant) = Plant::new(Kind::Tokens) else { return };
    let alice = plant.producers.key("alice", KeyKind::P256);
    plant.require(json!({ "signers": signers(&[&alice]) }));
    let (bundle, _) = plant.push_signed("bundle", &[&alice], Format::Bundle);
    let (old, _) = plant.push_signed("old", &[&alice], Format::Old);
    let tokens = plant.tokens.as_ref().unwrap();
    let serving = plant.site.serve();
    let asked = |image: &String| {
        plant.registry.forget_requests();
        let before = tokens.issued();
        assert_allowed(&serving.admit("/admit?timeout=10s", &pod_review(image)));
        (plant.registry.requests(), tokens.issued() - before)
    };
    let tags = ["manifests/sha256-…", "manifests/sha256-….sig", "manifests/v1", "referrers/sha256:…"];
    // The first of all requests is refused: the client learns there whom to ask for a token.
    let first = ["blobs/sha256:…", "manifests/sha256:…", "manifests/v1"];
    for (image, more) in [(&bundle, &first[..]), (&old, &first[..1])] {
        let (mut requests, tokens) = asked(image);
        assert_eq!(tokens, 1, "one token for all requests: {requests:?}");
        requests.sort();
        let mut cold = [&tags[..], more].concat();
        cold.sort_unstable();
        assert_eq!(requests, cold);
        assert_eq!(asked(image), (Vec::new(), 0));
    }
}

/// A rollout of 500 Pods over 50 images reaches a webhook that knows none of them.
#[test]
fn a_rollout_asks_for_no_image_twice() {
    let Some(mut plant) = Plant::new(Kind::Referrers) else { return };
    plant.site.config["trust"]["refreshAfter"] = json!("10m");
    let alice = plant.producers.key("alice", KeyKind::P256);
    plant.require(json!({ "signers": signers(&[&alice]) }));
    let (images, pods) = (50, 500);
    let pushed: Vec<(String, String)> = (0..images).map(|number| plant.push(&format!("x{number}"))).collect();
    for (format, half) in FORMATS.into_iter().zip([0, 1]) {
        let pinned: Vec<&str> = pushed.iter().skip(half).step_by(2).map(|(_, pinned)| pinned.as_str()).collect();
        plant.producers.sign_all(&alice, &pinned, format);
    }
    let tags: Vec<String> = pushed.into_iter().map(|(tagged, _)| tagged).collect();
    let serving = plant.site.serve();
    plant.registry.forget_requests();
    let begin = Instant::now();
    thread::scope(|scope| {
        for client in 0..20 {
            let (serving, tags) = (&serving, &tags);
            scope.spawn(move || {
                for pod in (client..pods).step_by(20) {
                    // Neighbours in time want the same image.
                    let image = &tags[pod * images / pods];
                    assert_allowed(&serving.admit("/admit?timeout=30s", &pod_review(image)));
                }
            });
        }
    });
    eprintln!("{pods} Pods over {images} images were admitted within {:?}", begin.elapsed());
    let requests = plant.registry.requests();
    let resolved = requests.iter().filter(|request| *request == "manifests/v1").count();
    let mut kinds = BTreeMap::new();
    for request in &requests {
        *kinds.entry(request.as_str()).or_insert(0) += 1;
    }
    assert_eq!(resolved, images, "{kinds:?}");
    assert_eq!(kinds["referrers/sha256:…"], images, "{kinds:?}");
    assert_eq!(kinds["blobs/sha256:…"], images, "{kinds:?}");
    assert!(begin.elapsed() < Duration::from_secs(60));
}
