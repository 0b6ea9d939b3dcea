//! `portreeve serve` against a real Notary server, called over TLS as kube-apiserver calls it.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use portreeve_test_support::trust_server::Fault;
use serde_json::{Value, json};

use crate::https::{connect_tls, read_response, send_review};
use crate::notary::{Digest, RealNotary, Signer, needs_notary};
use crate::pki::Pki;
use crate::plant::{PLC, Plant};
use crate::process::wait_until;
use crate::product::Site;
use crate::review::{
    DID_NOT_ANSWER, assert_allowed, assert_denied, fixture, fixture_json, patch, pinned, pod_review, policy,
    policy_for, replacing, warnings, with_digest,
};
use crate::stage::Stage;

#[test]
fn both_versions_are_answered_in_their_own() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let serving = site.serve();
    for name in ["review-v1.json", "review-v1beta1.json"] {
        let review = fixture_json(name);
        let answer = serving.admit("/admit?timeout=10s", &review);
        assert_eq!(answer["apiVersion"], review["apiVersion"]);
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        assert_allowed(&answer);
        let expected = [("/spec/template/spec/containers/0/image", &*pinned(PLC, &plant.plc))];
        assert_eq!(patch(&answer), replacing(&expected));

        let twin = serving.admit("/validate?timeout=10s", &review);
        assert_allowed(&twin);
        assert_eq!(patch(&twin), Value::Null);
    }
    for endpoint in ["/admit", "/validate"] {
        assert_denied(&serving.admit(endpoint, &fixture_json("review-ephemeral.json")), &["debugger", "unsigned"]);
        assert_denied(&serving.admit(endpoint, &pod_review(&format!("{PLC}:unsigned"))), &["plant/plc:unsigned"]);
    }
}

#[test]
fn review_prints_exactly_what_the_webhook_answers() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let serving = site.serve();
    for name in ["review-v1.json", "review-v1beta1.json", "review-ephemeral.json", "review-child.json"] {
        let printed = site.review(&["--output", "json"], &fixture(name)).stdout;
        let answered = serving.post("/admit?timeout=10s", &fs::read_to_string(fixture(name)).unwrap()).body;
        // `review` adds which object it is about.
        let mut printed: Value = serde_json::from_str(&printed).unwrap();
        let request = printed.as_object_mut().unwrap().remove("request").unwrap();
        assert_eq!(request["uid"], printed["response"]["uid"], "{name}");
        assert_eq!(printed, serde_json::from_str::<Value>(&answered).unwrap(), "{name}");
    }
}

#[test]
fn health_and_metrics_are_where_probes_look() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    let serving = site.serve();
    for path in ["/health/liveness", "/health/readiness"] {
        assert_eq!(serving.get(path).status, 200, "{path}");
        assert_eq!(serving.get_plain(path).unwrap().status, 200, "{path}");
    }
    assert_eq!(serving.get_plain("/metrics").unwrap().status, 200);
    assert_eq!(serving.get("/metrics").status, 404, "metrics are the plain listener's");
    assert_eq!(serving.get_plain("/admit").unwrap().status, 404, "admissions come over TLS alone");
    assert_eq!(serving.get("/nowhere").status, 404);
    assert_eq!(serving.get("/admit").status, 405);
}

#[test]
fn without_policies_nothing_is_admitted() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    site.policy_text("kind: [");
    let serving = site.start();
    assert_eq!(serving.get_plain("/health/liveness").unwrap().status, 200, "{}", serving.log());
    assert_ne!(serving.get_plain("/health/readiness").unwrap().status, 200);
    let response = serving.post("/admit", &pod_review(&format!("{PLC}:v1")).to_string());
    assert!(response.status != 200 || response.json()["response"]["allowed"] == false, "{response:?}");
    // With the first good set it is ready.
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    wait_until("the webhook to be ready", || serving.is_ready());
}

#[test]
fn bodies_that_are_no_reviews_are_refused() {
    let pki = Pki::new();
    let mut site = Site::new(&pki);
    site.config["limits"] = json!({ "requestBytes": "64KiB" });
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    let serving = site.serve();
    let no_request = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview" }).to_string();
    let other_version = pod_review("x").to_string().replace("admission.k8s.io/v1", "admission.k8s.io/v3");
    let other_kind = pod_review("x").to_string().replace("AdmissionReview", "TokenReview");
    for body in ["", "{", "[]", "null", "{}", "<html>", "\u{feff}{}", &no_request, &other_version, &other_kind] {
        assert_eq!(serving.post("/admit", body).status, 400, "{body}");
        assert_eq!(serving.post("/validate", body).status, 400, "{body}");
    }
    // A body whose Content-Length is too large is refused before it is sent.
    let mut stream = serving.connect().unwrap();
    stream.write_all(b"POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 413);
    // A chunked body is refused when it has become too large. The client may be cut off while it sends.
    let mut stream = serving.connect().unwrap();
    stream.write_all(b"POST /admit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n").unwrap();
    let _ = stream.write_all(&[b' '; 0x11000]).and_then(|()| stream.flush()); // the connection may be closed before the end
    let refusal = read_response(&mut stream).map(|response| response.status);
    assert!(matches!(refusal, None | Some(400 | 411 | 413)), "{refusal:?}");
    // The next client is served.
    assert_denied(&serving.admit("/admit", &pod_review("?")), &["plc"]);
}

#[test]
fn sigterm_ends_it_cleanly() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    let mut serving = site.serve();
    assert_denied(&serving.admit("/admit", &pod_review("?")), &[]);
    assert_eq!(serving.terminate(), Some(0), "{}", serving.log());
}

#[test]
fn after_sigterm_it_answers_until_nobody_is_sent_to_it() {
    let mut stage = Stage::new();
    stage.site.config["limits"] = json!({ "shutdownDelay": "4s" });
    let mut serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    serving.ask_to_end();
    wait_until("it to be not ready", || !serving.is_ready());
    assert!(serving.is_alive(), "{}", serving.log());
    assert_allowed(&serving.admit("/admit", &review));
    assert_eq!(serving.wait(), Some(0), "{}", serving.log());
    assert!(!serving.is_alive());
}

#[test]
fn what_is_in_hand_at_sigterm_is_finished() {
    let stage = Stage::new();
    let mut serving = stage.site.serve();
    stage.server.misbehave("/timestamp.json", Fault::Delay(Duration::from_secs(2)));
    let mut stream = serving.connect().unwrap();
    send_review(&mut stream, "/admit?timeout=10s", &pod_review(&format!("{PLC}:v1"))).unwrap();
    wait_until("the trust server to be asked", || stage.server.count("/timestamp.json") > 0);
    assert_eq!(serving.terminate(), Some(0), "{}", serving.log());
    assert_allowed(&read_response(&mut stream).expect("an answer").json());
}

#[test]
fn a_root_rotated_between_two_admissions_is_followed() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let (alice, first, second) = (Signer::new("alice"), Digest::of("v1"), Digest::of("v2"));
    let repository = notary.repository(PLC);
    let roles = ["targets/releases", "targets/alice"];
    repository.add_signer(&alice).sign("v1", &first, &roles);
    let mut site = Site::with_server(&pki, &notary.url());
    site.config["trust"]["refreshAfter"] = json!("0s");
    site.policies(&[policy(&[&alice])]);
    let serving = site.serve();
    let admit = |tag: &str| serving.admit("/admit", &pod_review(&format!("{PLC}:{tag}")));

    assert_eq!(patch(&admit("v1"))[0]["value"], pinned(PLC, &first));
    assert_denied(&admit("v2"), &["plant/plc:v2"]);
    repository.rotate_root().rotate_root().sign("v2", &second, &roles);
    assert_eq!(patch(&admit("v2"))[0]["value"], with_digest(&format!("{PLC}:v2"), &second));
    assert_eq!(patch(&admit("v1"))[0]["value"], pinned(PLC, &first));
    repository.unsign("v1", &roles);
    assert_denied(&admit("v1"), &["plant/plc:v1"]);
}

#[test]
fn stored_data_stands_in_only_where_policy_lets_it() {
    needs_notary!();
    let mut plant = Plant::build();
    let mut site = plant.site();
    site.config["trust"]["refreshAfter"] = json!("0s");
    let strict = policy(&[&plant.alice]);
    let mut lenient = strict.clone();
    let trust = &mut lenient["spec"]["repositories"][0]["policy"]["trust"];
    trust["whenUnavailable"] = json!("useCached");
    trust["maxStale"] = json!("24h");
    let review = pod_review(&format!("{PLC}:v1"));

    site.policies(&[strict]);
    let strict_serving = site.serve();
    site.policies(&[lenient]);
    let lenient_serving = site.serve();
    assert_allowed(&strict_serving.admit("/admit", &review));
    assert_allowed(&lenient_serving.admit("/admit", &review));
    plant.notary.stop();
    // The first webhook still has the policy of its start, or has read the lenient one since.
    let answer = lenient_serving.admit("/admit", &review);
    assert_allowed(&answer);
    assert_eq!(patch(&answer)[0]["value"], pinned(PLC, &plant.plc));
    assert!(!warnings(&answer).is_empty(), "no warning of stored data: {answer:#}");
    let unseen = lenient_serving.admit("/admit", &pod_review(&format!("{}:v1", crate::plant::HMI)));
    assert_denied(&unseen, &[DID_NOT_ANSWER]);

    site.policies(&[policy(&[&plant.alice])]);
    wait_until("the strict policy to be in force", || {
        strict_serving.admit("/admit", &review)["response"]["allowed"] == false
    });
    assert_denied(&strict_serving.admit("/admit", &review), &[DID_NOT_ANSWER]);
}

#[test]
fn the_answer_leaves_before_the_caller_gives_up() {
    needs_notary!();
    let plant = Plant::build();
    let site = plant.site_requiring_alice();
    let serving = site.serve();
    plant.notary.freeze();
    for seconds in [2, 4] {
        let begin = Instant::now();
        let target = format!("/admit?timeout={seconds}s");
        let answer = serving.admit(&target, &pod_review(&format!("{PLC}:v1")));
        assert!(begin.elapsed() < Duration::from_secs(seconds), "{:?} of {seconds}s", begin.elapsed());
        assert_denied(&answer, &[DID_NOT_ANSWER]);
    }
    plant.notary.thaw();
    assert_allowed(&serving.admit("/admit?timeout=10s", &pod_review(&format!("{PLC}:v1"))));
}

#[test]
fn policies_are_read_again_when_kubelet_swaps_them() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let serving = site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    let allowed = || serving.admit("/admit", &review)["response"]["allowed"] == true;
    assert!(allowed());
    site.policies(&[policy(&[&plant.bob])]);
    wait_until("the new policy to be in force", || !allowed());
    assert_denied(&serving.admit("/admit", &review), &["bob"]);

    // A bad set leaves the last good one in force, and the log has the reason.
    site.policy_text(&fs::read_to_string(fixture("policy-misindented.yaml")).unwrap());
    wait_until("the bad policy to be noticed", || serving.log().contains("plant.yaml:9:"));
    assert_denied(&serving.admit("/admit", &review), &["bob"]);
    assert!(serving.is_ready());
    site.policies(&[policy(&[&plant.alice])]);
    wait_until("the good policy to be in force", allowed);
}

#[test]
fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let (first, second) = (Pki::new(), Pki::new());
    let mut site = Site::new(&first);
    site.serve_with(&first);
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    let serving = site.serve();
    let served_by = |pki: &Pki| {
        let mut stream = connect_tls(pki, serving.port()).unwrap();
        stream.write_all(b"GET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n").is_ok()
            && read_response(&mut stream).is_some_and(|response| response.status == 200)
    };
    assert!(served_by(&first));
    site.serve_with(&second);
    wait_until("the renewed certificate to be served", || served_by(&second));
    site.break_certificate();
    let failures = r#"portreeve_reloads_total{what="certificate",result="failed"} "#;
    wait_until("the broken certificate to be noticed", || {
        let metrics = serving.get_plain("/metrics").unwrap().body;
        metrics.lines().any(|line| line.strip_prefix(failures).is_some_and(|count| count != "0"))
    });
    assert!(served_by(&second) && serving.is_ready(), "{}", serving.log());
}

#[test]
fn decisions_are_counted() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let serving = site.serve();
    serving.admit("/admit", &pod_review(&format!("{PLC}:v1")));
    serving.admit("/admit", &pod_review(&format!("{PLC}:unsigned")));
    serving.admit("/validate", &pod_review(&format!("{PLC}:unsigned")));
    let metrics = serving.get_plain("/metrics").unwrap().body;
    for line in [
        r#"portreeve_admissions_total{endpoint="admit",outcome="allowed"} 1"#,
        r#"portreeve_admissions_total{endpoint="admit",outcome="denied"} 1"#,
        r#"portreeve_admissions_total{endpoint="validate",outcome="denied"} 1"#,
        "portieris_pod_admission_decision_allow_count 1",
        "portieris_pod_admission_decision_deny_count 1",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}

#[test]
fn a_cold_repository_is_read_once_and_a_warm_one_not_at_all() {
    needs_notary!();
    let plant = Plant::visit();
    let (relay, _) = plant.relay(|_, body| body);
    let mut site = Site::with_server(&plant.pki, &relay.url());
    site.config["trust"]["refreshAfter"] = json!("1h");
    site.policies(&[policy(&[&plant.alice])]);
    let serving = site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_allowed(&serving.admit("/admit", &review)));
        }
    });
    // At most: root, the next root (404), timestamp, snapshot, targets, targets/releases, targets/alice.
    let cold = relay.requests();
    assert!(cold <= 7, "{cold} requests");
    assert_allowed(&serving.admit("/admit", &review));
    assert_denied(&serving.admit("/admit", &pod_review(&format!("{PLC}:unsigned"))), &["plant/plc:unsigned"]);
    assert_eq!(relay.requests(), cold);
}
