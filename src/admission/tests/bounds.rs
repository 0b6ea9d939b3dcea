//! What one request may cost: the number of images that are looked at, the time, and the texts that are made of many rules and
//! many images.

use std::sync::Arc;

use super::*;
use crate::admission::decide::{Basis, Decision, ImageFinding};
use crate::admission::evaluate::Verdict;

/// The answer and the decision, with so much time for it.
fn decide_within(engine: &Engine, review: &Value, time: Duration) -> (usize, Value, Decision) {
    let (answer, decided) = engine.review(Endpoint::Admit, review.to_string().as_bytes(), Deadline::after(time));
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.body.len(), json["response"].clone(), decided.unwrap().1)
}

fn findings(decision: &Decision) -> &[ImageFinding] {
    match &decision.basis {
        Basis::Images(findings) => findings,
        basis => panic!("{basis:?}"),
    }
}

/// Once the time is up, no rule is looked for, and every image that is left is unavailable.
#[test]
fn images_that_are_left_when_the_time_is_up_are_unavailable() {
    let world = World::new();
    let unchecked = document(None, json!([{ "name": "*", "policy": {} }]));
    let engine = world.engine(&[unchecked]);
    let images = ["a.io/a:1", "a.io/b:1", "no image", "a.io/a:1"];
    let (_, response, decision) = decide_within(&engine, &pod(&images), Duration::ZERO);
    assert_eq!(response["allowed"], false, "{response}");
    for finding in findings(&decision) {
        let verdict = &finding.evaluation.verdict;
        assert_eq!((verdict.word(), verdict.code(), finding.denies), ("unavailable", "deadline", true), "{finding:?}");
    }
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("4 of 4 images are not trusted"), "{message}");
    assert!(message.contains("the time for this request was up before this image was looked at"), "{message}");
    let (_, response, _) = decide_within(&engine, &pod(&["a.io/a:1", "a.io/b:1"]), Duration::from_secs(10));
    assert_eq!(response["allowed"], true, "{response}");
}

/// A controller's Pod with more images than are looked at: they are counted before any rule is looked for.
#[test]
fn a_child_with_too_many_images_is_counted_first() {
    let world = World::new();
    let pins = |namespace: Option<&str>| {
        document(
            namespace,
            json!([{ "name": "*", "policy": {
        "mutateImage": "pods", "trust": { "enabled": true, "trustServer": world.server.url() },
    } }]),
        )
    };
    let child = |images: &[String]| {
        let mut child = pod(&images.iter().map(String::as_str).collect::<Vec<_>>());
        child["request"]["object"]["metadata"]["ownerReferences"] = json!([
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "plc", "uid": "1", "controller": true },
        ]);
        child["request"]["userInfo"]["username"] = "system:serviceaccount:kube-system:replicaset-controller".into();
        child
    };
    let tags: Vec<String> = (0..257).map(|n| format!("{GUN}:t{n}")).collect();
    let digests: Vec<String> = (0..257).map(|n| format!("{GUN}@sha256:{n:064x}")).collect();
    let engine = world.engine(&[pins(None)]);
    assert_denied(&admit(&engine, &child(&tags)), &["257 images in one workload are too many"]);
    assert_allowed(&admit(&engine, &child(&digests)), &[]);
    // Only the rules of the Pod's own namespace count.
    let engine = world.engine(&[document(None, json!([{ "name": "*", "policy": {} }])), pins(Some("line-2"))]);
    assert_allowed(&admit(&engine, &child(&tags)), &[]);
    std::fs::remove_dir_all(world.directory.path().join("policies")).unwrap();
    let engine = world.engine(&[document(Some("line-1"), json!([{ "name": "*", "policy": {} }])), pins(None)]);
    assert_allowed(&admit(&engine, &child(&tags)), &[]);
    assert_eq!(world.server.connections(), 0);
}

/// As many rules as ever decide together, with the longest texts, on as many images as a workload has: each text is in memory
/// once, and the answer names some rules and counts the others.
#[test]
fn many_denials_of_many_images_share_their_texts() {
    const RULES: usize = 20;
    let world = World::new();
    let rule = |n: usize| {
        let message = format!("{n:02}{}", "\u{10ffff}".repeat(498));
        let pattern = format!("a.io/{}*{}", "a".repeat(n), "a".repeat(RULES - n));
        json!({ "name": pattern, "policy": { "deny": { "message": message } } })
    };
    let rules: Vec<Value> = (0..RULES).map(rule).collect();
    let engine = world.engine(&[document(None, rules.into())]);
    let images: Vec<String> = (0..256).map(|n| format!("a.io/{}:t{n}", "a".repeat(RULES))).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let (length, response, decision) = decide_within(&engine, &pod(&images), Duration::from_secs(60));
    assert_eq!(response["allowed"], false);
    assert!(length < 150 << 10, "{length} bytes");
    let findings = findings(&decision);
    assert_eq!(findings.len(), 256);
    let text = |verdict: &Verdict| match verdict {
        Verdict::Rejected { code: "denied-by-policy", reason } => Arc::clone(reason),
        other => panic!("{other:?}"),
    };
    let first = &findings[0].evaluation;
    for finding in findings {
        let evaluation = &finding.evaluation;
        assert_eq!((evaluation.others.len(), evaluation.others_left), (8, RULES - 9));
        assert!(Arc::ptr_eq(&text(&evaluation.verdict), &text(&first.verdict)));
        for (one, other) in evaluation.others.iter().zip(&first.others) {
            assert!(Arc::ptr_eq(&text(&one.verdict), &text(&other.verdict)));
        }
    }
    // The words of few rules are all there, and the others are counted.
    let short = |n: usize| {
        let pattern = format!("a.io/{}*{}", "a".repeat(n), "a".repeat(RULES - n));
        json!({ "name": pattern, "policy": { "deny": { "message": format!("no {n}.") } } })
    };
    std::fs::remove_dir_all(world.directory.path().join("policies")).unwrap();
    let engine = world.engine(&[document(None, (0..RULES).map(short).collect())]);
    let heard = admit(&engine, &pod(&[images[0]]));
    assert_denied(&heard, &["; and 11 more rules"]);
    assert_eq!(heard.message.matches("denied by policy: no ").count(), 9, "{}", heard.message);
    assert_eq!(heard.audit["policies"], format!("{}=ClusterImagePolicy/p,+11", images[0]));
}

/// As many images as a workload may have, and several rules for each: no request makes more checks than the limit. Cosign refuses
/// a sha512 digest without a look at any registry.
#[test]
fn the_checks_of_all_images_together_have_a_limit() {
    const RULES: usize = 5;
    let world = World::new();
    let rule = |n: usize| {
        let cosign = json!({ "signerSecrets": [{ "name": format!("s{n}") }] });
        json!({ "name": format!("a.io/{}*{}", "a".repeat(n), "a".repeat(RULES - n)), "policy": { "cosign": cosign } })
    };
    let engine = world.engine(&[document(None, (0..RULES).map(rule).collect())]);
    let checks = |images: usize| {
        let images: Vec<String> = (0..images).map(|n| format!("a.io/{}@sha512:{n:0128x}", "a".repeat(RULES))).collect();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let (_, response, decision) = decide_within(&engine, &pod(&images), Duration::from_secs(60));
        assert_eq!(response["allowed"], false);
        let verdicts = findings(&decision).iter().flat_map(|finding| {
            let evaluation = &finding.evaluation;
            std::iter::once(&evaluation.verdict).chain(evaluation.others.iter().map(|other| &other.verdict))
        });
        let codes: Vec<&str> = verdicts.map(Verdict::code).collect();
        let count = |code: &str| codes.iter().filter(|found| **found == code).count();
        (count("digest-not-signed"), count("too-many-rules"), response["status"]["message"].to_string())
    };
    assert_eq!(checks(204).0, 1020);
    let (made, refused, _) = checks(206);
    assert_eq!((made, refused), (1024, 6));
    assert_eq!(checks(256).1, 256 * RULES - 1024);
    // An image alone never reaches it, and the message says what to do.
    let (made, refused, message) = checks(1);
    assert_eq!((made, refused), (RULES, 0), "{message}");
}
