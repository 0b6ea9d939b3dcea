//! A list where an object is due. serde's derive would take its elements for the fields in order: an API server stores nothing
//! like it, so what is verified would not be what is stored.

use super::*;

/// A review of a Pod in which the value at `pointer` is a list of the values that it has as an object.
fn with_list(pointer: &str) -> Value {
    let mut review = pod(&[&tagged("v1")]);
    let object = &mut review["request"]["object"];
    object["metadata"] = json!({
        "annotations": { "kubernetes.io/config.mirror": "x" },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "1", "controller": true }],
    });
    object["spec"]["volumes"] = json!([{ "name": "v", "image": { "reference": tagged("v1") } }]);
    object["spec"]["imagePullSecrets"] = json!([{ "name": "s" }]);
    let value = review.pointer_mut(pointer).unwrap();
    *value = Value::Array(value.as_object().unwrap().values().cloned().collect());
    review
}

#[test]
fn a_list_is_no_object_of_a_workload() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    for (pointer, field) in [
        ("", "request.object"),
        ("/metadata", "metadata"),
        ("/metadata/annotations", "metadata.annotations"),
        ("/metadata/ownerReferences/0", "metadata.ownerReferences[0]"),
        ("/spec", "spec"),
        ("/spec/containers/0", "spec.containers[0]"),
        ("/spec/volumes/0", "spec.volumes[0]"),
        ("/spec/volumes/0/image", "spec.volumes[0].image"),
        ("/spec/imagePullSecrets/0", "spec.imagePullSecrets[0]"),
    ] {
        let words = format!("{field}: invalid type: sequence, expected an object");
        let review = with_list(&["/request/object", pointer].concat());
        for endpoint in [Endpoint::Admit, Endpoint::Validate] {
            assert_denied(&ask(&engine, endpoint, &review), &["cannot be decoded", &words]);
        }
    }
    for (kind, spec, field) in [
        ("Deployment", json!({ "template": [pod_spec(&[&tagged("v1")])] }), "spec.template"),
        ("Deployment", json!({ "template": { "spec": [] } }), "spec.template.spec"),
        ("CronJob", json!({ "jobTemplate": [] }), "spec.jobTemplate"),
        ("CronJob", json!({ "jobTemplate": { "spec": [] } }), "spec.jobTemplate.spec"),
        ("PodTemplate", json!([["c", tagged("v1")]]), "spec"),
    ] {
        let group = if kind == "CronJob" { "batch" } else { "apps" };
        let heard = admit(&engine, &review(group, kind, json!({ "spec": spec })));
        assert_denied(&heard, &[&format!("{field}: invalid type: sequence, expected an object")]);
    }
    let template = review("", "PodTemplate", json!({ "template": [pod_spec(&[&tagged("v1")])] }));
    assert_denied(&admit(&engine, &template), &["template: invalid type: sequence, expected an object"]);
    // The object with which an UPDATE is compared, and who made the request.
    let mut update = pod(&[&tagged("evil")]);
    update["request"]["operation"] = "UPDATE".into();
    update["request"]["oldObject"] = json!({ "spec": { "containers": [["c0", tagged("evil")]] } });
    assert_denied(&admit(&engine, &update), &["request.oldObject.spec.containers[0]: invalid type: sequence"]);
    for (pointer, field) in [("/request/userInfo", "request.userInfo"), ("/request/kind", "request.kind")] {
        let words = format!("{field}: invalid type: sequence, expected an object");
        assert_denied(&admit(&engine, &with_list(pointer)), &[&words]);
    }
}

#[test]
fn a_list_is_no_review() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    for pointer in ["", "/request"] {
        for endpoint in [Endpoint::Admit, Endpoint::Validate] {
            let body = with_list(pointer).to_string();
            let (answer, decided) = engine.review(endpoint, body.as_bytes(), Deadline::after(Duration::from_secs(9)));
            let text = String::from_utf8(answer.body).unwrap();
            assert!(answer.status == 400 && decided.is_err(), "{text}");
            assert!(text.contains("is not an AdmissionReview in JSON") && text.contains("sequence"), "{text}");
        }
    }
}
