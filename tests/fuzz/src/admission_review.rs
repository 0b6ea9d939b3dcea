//! AdmissionReviews, from the bytes of the request to the bytes of the response. Images of `open.test` need no check,
//! no image of `closed.test` is signed, other images have no policy. Everything else that is allowed is allowed by an
//! exemption. No network is used.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use portreeve::admission::Exemption;
use portreeve::admission::decide::{Basis, Decision};
use portreeve::admission::request::Review;
use portreeve::base::context::Deadline;
use portreeve::commands::setup;
use portreeve::config::Config;
use portreeve::policy::{Checked, check_manifests};
use portreeve::webhook::{Endpoint, Engine};
use portreeve_verify::image::Reference;
use serde_json::Value;

/// The secret is absent, so the image is refused without a request.
const POLICY: &str = r#"
apiVersion: portreeve/v1
kind: ClusterImagePolicy
metadata: { name: fuzz }
spec:
  repositories:
    - name: "open.test/*"
    - name: "closed.test/*"
      policy: { trust: { enabled: true, trustServer: "https://127.0.0.1:9", signerSecrets: [{ name: absent }] } }
"#;

pub fn check(data: &[u8]) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(engine);
    for endpoint in [Endpoint::Admit, Endpoint::Validate] {
        let (answer, decided) = engine.review(endpoint, data, Deadline::after(Duration::from_secs(5)));
        let Ok((review, decision)) = decided else {
            denied_or_refused(answer.status, &answer.body);
            continue;
        };
        let body: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
        assert_eq!((answer.status, &body["kind"]), (200, &Value::from("AdmissionReview")));
        assert_eq!(body["apiVersion"], Value::from(review.api_version.as_str()));
        assert_eq!(body["response"]["uid"], Value::from(review.request.uid.as_str()));
        assert_eq!(body["response"]["allowed"], Value::from(decision.allowed));
        // Nothing was verified, so the patch pins nothing.
        assert_eq!(body["response"]["patch"], Value::Null);
        if decision.allowed {
            match serde_json::from_slice::<Value>(data) {
                Ok(json) => allowed_for_a_reason(&json["request"], &review, &decision),
                // The product's reader accepts unpaired surrogates in fields that it skips.
                Err(error) => {
                    assert!(data.windows(2).any(|pair| pair == b"\\u"), "decided on what is no JSON: {error}")
                }
            }
        } else {
            assert!(body["response"]["status"]["message"].as_str().is_some_and(|words| !words.is_empty()), "{body}");
        }
    }
}

fn denied_or_refused(status: u16, body: &[u8]) {
    if status == 200 {
        let body: Value = serde_json::from_slice(body).expect("an answer is JSON");
        assert_eq!(body["response"]["allowed"], Value::Bool(false));
    } else {
        assert_eq!(status, 400);
    }
}

/// An obvious reading of the request.
fn allowed_for_a_reason(request: &Value, review: &Review, decision: &Decision) {
    let user = request["userInfo"]["username"].as_str().unwrap_or_default();
    match &decision.basis {
        Basis::NotOurs(_) | Basis::TooMany { .. } => panic!("allowed without a check"),
        Basis::NothingNew(_) => assert!(matches!(review.request.operation.as_str(), "DELETE" | "UPDATE")),
        Basis::Exempt(Exemption::BeingDeleted) => {
            assert!(request["oldObject"]["metadata"]["deletionTimestamp"].is_string(), "{request}");
        }
        Basis::Exempt(Exemption::MirrorPod) => assert!(user.starts_with("system:node:"), "{user}"),
        Basis::Exempt(Exemption::Child { .. }) => {
            assert!(
                user.starts_with("system:serviceaccount:kube-system:") || user.starts_with("system:kube-"),
                "{user}"
            );
        }
        Basis::Images(_) => {
            let mut old = Vec::new();
            collect(&request["oldObject"], &mut old);
            let mut images = Vec::new();
            if let Some(specification) = pod_spec(&request["kind"]["kind"], &request["object"]) {
                // A list in place of a container would name images that are not collected.
                assert!(specification.is_object() || specification.is_null(), "{request}");
                for list in ["containers", "initContainers", "ephemeralContainers", "volumes"] {
                    let elements = specification[list].as_array().into_iter().flatten();
                    elements.for_each(|element| assert!(element.is_object(), "{request}"));
                }
                collect(specification, &mut images);
            }
            for image in images.into_iter().filter(|image| !image.is_empty()) {
                let host = Reference::parse(image).expect("an allowed image").host().to_owned();
                let unchanged = request["operation"] == "UPDATE" && old.contains(&image);
                // A policy treats a host with the default port as the same host.
                assert!(
                    host.strip_suffix(":443").unwrap_or(&host) == "open.test" || unchanged,
                    "{image} was allowed\n{request}"
                );
            }
        }
    }
}

/// The path of the Pod's spec, by kind alone.
fn pod_spec<'v>(kind: &Value, object: &'v Value) -> Option<&'v Value> {
    let pointer = match kind.as_str()? {
        "Pod" => "/spec",
        "PodTemplate" => "/template/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        "Machine" => "/spec/line/pod~1spec",
        _ => "/spec/template/spec",
    };
    object.pointer(pointer)
}

/// Every image anywhere in a value.
fn collect<'v>(value: &'v Value, images: &mut Vec<&'v str>) {
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        images.extend(value[list].as_array().into_iter().flatten().filter_map(|c| c["image"].as_str()));
    }
    images.extend(value["volumes"].as_array().into_iter().flatten().filter_map(|v| v["image"]["reference"].as_str()));
    if let Value::Object(members) = value {
        members.values().filter(|member| member.is_object()).for_each(|member| collect(member, images));
    }
}

fn engine() -> Engine {
    let config = r#"{"secrets": "/nonexistent", "credentials": {"mounted": "/nonexistent"}, "namespace": "portreeve",
                     "trust": {"ca": "/nonexistent"}, "admission": {"workloads": [
                       {"group": "argoproj.io", "kind": "Rollout", "podSpec": "/spec/template/spec"},
                       {"group": "plant.example", "kind": "Machine", "podSpec": "/spec/line/pod~1spec"}]}}"#;
    let config = Config::parse(config, Path::new("fuzz")).expect("a configuration");
    let engine = setup::standalone_engine(&config).expect("an engine");
    let mut checked = Checked::default();
    check_manifests(POLICY, Path::new("fuzz.yaml"), &mut checked);
    engine.policies().replace(checked.finish().expect("policies"));
    engine
}
