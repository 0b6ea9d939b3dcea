//! Kinds of custom resources that have a pod template (`admission.workloads`).

use portreeve_test_support::api_server::ApiServer;

use super::*;

const GROUP: &str = "argoproj.io";
const AT: &str = "/spec/template/spec/containers/0/image";
const ARGO: &str = "system:serviceaccount:argo-rollouts:argo-rollouts";
const UID: &str = "5b0d8f2e-3c0c-4d8e-9a57-0f7a5a1f6f01";

fn world(when_absent: &str) -> World {
    let mut world = World::new();
    world.more_config = json!({ "admission": {
        "workloads": [
            { "group": GROUP, "kind": "Rollout", "podSpec": "/spec/template/spec", "whenAbsent": when_absent },
            { "group": "serving.knative.dev", "kind": "Revision", "podSpec": "/spec" },
        ],
        "trustedControllers": [ARGO, "system:kube-controller-manager"],
    }});
    world
}

fn rollout(images: &[&str]) -> Value {
    let spec = json!({ "replicas": 1, "template": { "spec": pod_spec(images) }, "strategy": { "canary": {} } });
    review(GROUP, "Rollout", json!({ "spec": spec }))
}

fn update(mut review: Value, stored: &Value) -> Value {
    review["request"]["operation"] = "UPDATE".into();
    review["request"]["oldObject"] = stored["request"]["object"].clone();
    review
}

#[test]
fn a_custom_resource_is_verified_at_its_template() {
    let world = world("deny");
    let engine = world.simple(&json!({}));
    for version in ["v1", "v1alpha1", "v9"] {
        let mut signed = rollout(&[&tagged("v1")]);
        signed["request"]["kind"]["version"] = version.into();
        assert_allowed(&admit(&engine, &signed), &[(AT, pinned("v1"))]);
        assert_allowed(&ask(&engine, Endpoint::Validate, &signed), &[]);
    }
    let words = ["portreeve denied Rollout in namespace line-1: 1 of 2 images is not trusted", "\"c1\"", "evil"];
    assert_denied(&admit(&engine, &rollout(&[&tagged("v1"), &tagged("evil")])), &words);
    // Every list of a pod's spec, at another path.
    let revision = |spec: Value| admit(&engine, &review("serving.knative.dev", "Revision", json!({ "spec": spec })));
    assert_allowed(&revision(pod_spec(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
    for (list, entry) in [
        ("initContainers", json!({ "name": "e", "image": tagged("evil") })),
        ("ephemeralContainers", json!({ "name": "e", "image": tagged("evil") })),
        ("volumes", json!({ "name": "e", "image": { "reference": tagged("evil") } })),
    ] {
        let mut spec = pod_spec(&[&tagged("v1")]);
        spec[list] = json!([entry]);
        assert_denied(&revision(spec), &["\"e\"", "evil"]);
    }
    // Only this kind of this group.
    for (group, kind) in [(GROUP, "Experiment"), ("argoproj.io.example.com", "Rollout"), ("", "Rollout")] {
        let other = review(group, kind, rollout(&[&tagged("v1")])["request"]["object"].clone());
        assert_denied(&admit(&engine, &other), &["must be named under admission.workloads"]);
    }
}

#[test]
fn an_update_that_changes_no_image_passes() {
    let world = world("deny");
    let engine = world.simple(&json!({}));
    let evil = rollout(&[&tagged("evil")]);
    let mut scaled = evil.clone();
    scaled["request"]["object"]["spec"]["replicas"] = 3.into();
    assert_allowed(&admit(&engine, &update(scaled, &evil)), &[]);
    assert_eq!(world.server.connections(), 0);
    assert_denied(&admit(&engine, &update(rollout(&[&tagged("other")]), &evil)), &["other"]);
    let signed = update(rollout(&[&tagged("v1")]), &evil);
    assert_allowed(&admit(&engine, &signed), &[(AT, pinned("v1"))]);
    let mut status = update(rollout(&[&tagged("v1")]), &evil);
    status["request"]["subResource"] = "status".into();
    assert_denied(&admit(&engine, &status), &["the subresource \"status\""]);
}

/// A path that is wrong must not let every image pass. A Rollout with a `workloadRef` has no template of its own.
#[test]
fn an_object_without_a_pod_spec_passes_only_where_it_may_have_none() {
    let without = || {
        let spec = json!({ "workloadRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "plc" } });
        review(GROUP, "Rollout", json!({ "spec": spec }))
    };
    let denying = world("deny");
    let engine = denying.simple(&json!({}));
    let words = ["it has no pod spec at /spec/template/spec", "whenAbsent: allow"];
    assert_denied(&admit(&engine, &without()), &words);
    // Another version of the group may have its pod spec elsewhere, in both objects.
    assert_denied(&admit(&engine, &update(without(), &without())), &words);
    assert_denied(&admit(&engine, &update(without(), &rollout(&[&tagged("v1")]))), &words);
    let mut deleted = without();
    deleted["request"]["object"]["metadata"] = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
    assert_allowed(&admit(&engine, &update(without(), &deleted)), &[]);

    let allowing = world("allow");
    let engine = allowing.simple(&json!({}));
    assert_allowed(&admit(&engine, &without()), &[]);
    assert_allowed(&admit(&engine, &update(without(), &rollout(&[&tagged("evil")]))), &[]);
    assert_denied(&admit(&engine, &update(rollout(&[&tagged("evil")]), &without())), &["evil"]);
    // A value of another type is no absent one.
    for spec in [json!({ "template": { "spec": "x" } }), json!({ "template": { "spec": [] } })] {
        let broken = admit(&engine, &review(GROUP, "Rollout", json!({ "spec": spec })));
        assert!(!broken.allowed && broken.message.contains("cannot be decoded"), "{broken:?}");
    }
}

/// The stored objects that cannot be decoded, each with an object of its kind that can.
fn unreadable() -> Vec<(Value, Value)> {
    let readable = rollout(&[&tagged("v1")]);
    let change = |pointer: &str, value: Value| {
        let mut changed = readable.clone();
        *changed.pointer_mut(&["/request/object", pointer].concat()).unwrap() = value;
        (changed, readable.clone())
    };
    vec![
        change("/spec", json!("x")),
        change("/spec/template", json!([])),
        change("/spec/template/spec", json!(7)),
        change("/spec/template/spec/containers", json!({})),
        change("/spec/template/spec/containers/0", json!(["c0", tagged("evil")])),
    ]
}

/// Such an object can be stored, if its schema allows it or the webhook was not called. An UPDATE removes its finalizer.
#[test]
fn a_stored_object_that_cannot_be_decoded_can_still_be_deleted() {
    let world = world("deny");
    let engine = world.simple(&json!({}));
    let with_metadata = |review: &Value, metadata: Value| {
        let mut review = review.clone();
        review["request"]["object"]["metadata"] = metadata;
        review
    };
    for (broken, readable) in unreadable() {
        for endpoint in [Endpoint::Admit, Endpoint::Validate] {
            let ask = |review: &Value| ask(&engine, endpoint, review);
            assert_denied(&ask(&broken), &["cannot be decoded", "spec"]);
            let deleted = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"] });
            let freed = with_metadata(&broken, json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }));
            let heard = ask(&update(freed.clone(), &with_metadata(&broken, deleted.clone())));
            assert_allowed(&heard, &[]);
            assert_eq!(heard.audit["exempt"], "the object is being deleted");
            // Labels, and what is beside the template.
            let mut labelled = with_metadata(&broken, json!({ "labels": { "a": "b" } }));
            labelled["request"]["object"]["status"] = json!({ "containers": [[]] });
            assert_allowed(&ask(&update(labelled, &broken)), &[]);
            // It can be mended, and it is verified then.
            let mended = ask(&update(readable.clone(), &broken));
            let patch = [(AT, pinned("v1"))];
            assert_allowed(&mended, if endpoint == Endpoint::Admit { &patch } else { &[] });
            assert_denied(&ask(&update(rollout(&[&tagged("evil")]), &broken)), &["evil"]);
            // No other change passes, not even of an object that is being deleted.
            for (other, _) in unreadable().iter().filter(|(other, _)| *other != broken) {
                let freed = with_metadata(other, json!({}));
                assert_denied(&ask(&update(freed, &with_metadata(&broken, deleted.clone()))), &["cannot be decoded"]);
            }
            assert_denied(&ask(&update(broken.clone(), &readable)), &["cannot be decoded"]);
            // Only an UPDATE has a stored object, and only the stored object can be in deletion.
            let mut created = update(broken.clone(), &broken);
            created["request"]["operation"] = "CREATE".into();
            assert_denied(&ask(&created), &["cannot be decoded"]);
            let mut deletion = update(broken.clone(), &broken);
            deletion["request"]["operation"] = "DELETE".into();
            deletion["request"]["object"] = Value::Null;
            assert_allowed(&ask(&deletion), &[]);
        }
    }
}

/// What must be verified on every write, and cannot be read, is denied. A deletion passes.
#[test]
fn unchanged_templates_that_cannot_be_decoded_are_denied_where_they_are_verified() {
    let mut world = world("deny");
    world.more_config["admission"]["unchangedTemplates"] = "verify".into();
    let engine = world.simple(&json!({}));
    for (broken, _) in unreadable() {
        assert_denied(&admit(&engine, &update(broken.clone(), &broken)), &["cannot be decoded"]);
        let mut deleted = broken.clone();
        deleted["request"]["object"]["metadata"] = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        assert_allowed(&admit(&engine, &update(broken.clone(), &deleted)), &[]);
        assert_denied(&admit(&engine, &update(deleted.clone(), &broken)), &["cannot be decoded"]);
    }
}

/// Only the pod spec of a custom resource has the types of a Pod.
#[test]
fn other_fields_of_a_custom_resource_can_have_any_type() {
    let world = world("deny");
    let engine = world.simple(&json!({}));
    for (field, value) in [("containers", json!("all")), ("volumes", json!({})), ("nodeName", json!([1]))] {
        let mut odd = rollout(&[&tagged("v1")]);
        odd["request"]["object"]["spec"][field] = value.clone();
        odd["request"]["object"]["template"] = json!(field);
        assert_allowed(&admit(&engine, &odd), &[(AT, pinned("v1"))]);
        let mut evil = odd.clone();
        evil["request"]["object"]["spec"]["template"]["spec"]["containers"][0]["image"] = tagged("evil").into();
        assert_denied(&admit(&engine, &evil), &["evil"]);
        assert_allowed(&admit(&engine, &update(evil.clone(), &evil)), &[]);
        assert_denied(&admit(&engine, &update(evil, &odd)), &["evil"]);
        // One of Kubernetes itself cannot.
        let mut own = odd.clone();
        own["request"]["kind"] = json!({ "group": "apps", "version": "v1", "kind": "Deployment" });
        assert_denied(&admit(&engine, &own), &["cannot be decoded"]);
    }
}

/// A key of the path that stands twice could be read in another way by the API server.
#[test]
fn no_key_of_the_path_stands_twice() {
    let world = world("allow");
    let engine = world.simple(&json!({}));
    let text = rollout(&[&tagged("v1")]).to_string();
    for (once, twice) in
        [("\"template\":", "\"template\":null,\"template\":"), ("\"object\":", "\"object\":null,\"object\":")]
    {
        let body = text.replace(once, twice);
        let (answer, _) = engine.review(Endpoint::Admit, body.as_bytes(), Deadline::after(Duration::from_secs(10)));
        let answer = String::from_utf8(answer.body).unwrap();
        assert!(answer.contains("\"allowed\":false") && answer.contains("cannot be decoded"), "{answer}");
    }
}

fn child(group: &str, kind: &str, images: &[&str], owner: (&str, &str), user: &str) -> Value {
    let spec = if kind == "Pod" { pod_spec(images) } else { json!({ "template": { "spec": pod_spec(images) } }) };
    let mut child = review(group, kind, json!({ "spec": spec }));
    child["request"]["object"]["metadata"]["ownerReferences"] = json!([
        { "apiVersion": owner.0, "kind": owner.1, "name": "plc", "uid": UID, "controller": true },
    ]);
    child["request"]["userInfo"]["username"] = user.into();
    child
}

#[test]
fn a_custom_owner_counts_for_a_trusted_controller_only() {
    const ROLLOUT: (&str, &str) = ("argoproj.io/v1alpha1", "Rollout");
    let world = world("deny");
    let engine = world.simple(&json!({}));
    for (group, kind) in [("", "Pod"), ("apps", "ReplicaSet"), ("batch", "Job")] {
        let of = |owner, user| admit(&engine, &child(group, kind, &[&tagged("evil")], owner, user));
        let own = of(ROLLOUT, ARGO);
        assert_allowed(&own, &[]);
        assert_eq!(own.audit["exempt"], "made by a trusted controller for Rollout plc");
        assert_denied(&of(ROLLOUT, "kubernetes-admin"), &["evil"]);
        assert_denied(&of(ROLLOUT, "system:serviceaccount:default:argo-rollouts"), &["evil"]);
        // A kind that the configuration does not name makes nothing that is known.
        for owner in [("argoproj.io/v1alpha1", "Experiment"), ("example.com/v1", "Rollout"), ("v1", "Rollout")] {
            assert_denied(&of(owner, ARGO), &["evil"]);
        }
    }
    // Kinds that no controller makes from a template of another kind.
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        assert_denied(&admit(&engine, &child("apps", kind, &[&tagged("evil")], ROLLOUT, ARGO)), &["evil"]);
    }
    let mut shared = child("", "Pod", &[&tagged("evil")], ROLLOUT, ARGO);
    shared["request"]["object"]["metadata"]["ownerReferences"][0]["controller"] = false.into();
    assert_denied(&admit(&engine, &shared), &["evil"]);
}

/// `children: compare` reads the owner in the version that its reference names.
#[test]
fn a_custom_owner_is_compared() {
    let (mut world, api) = (world("deny"), ApiServer::start("t"));
    world.write("api/token", "t").write("api/ca.crt", api.ca_pem());
    let at = |name: &str| world.directory.path().join("api").join(name);
    let server = json!({ "server": api.url(), "token": at("token"), "ca": at("ca.crt") });
    world.more_config["credentials"] = json!({ "mounted": at("none"), "api": server });
    world.more_config["admission"]["children"] = "compare".into();
    let engine = world.simple(&json!({}));
    let resource = ("apis/argoproj.io/v1alpha1", "rollouts", "Rollout");
    api.owner(resource, ("line-1", "plc"), UID, json!({ "template": { "spec": pod_spec(&["never/signed"]) } }));
    let of = |version: &str, images: &[&str]| {
        admit(&engine, &child("apps", "ReplicaSet", images, (&format!("argoproj.io/{version}"), "Rollout"), ARGO))
    };
    assert_allowed(&of("v1alpha1", &["never/signed"]), &[]);
    assert_denied(&of("v1alpha1", &["never/signed", &tagged("evil")]), &["template of Rollout line-1/plc", "evil"]);
    assert_eq!(api.asked(), ["/apis/argoproj.io/v1alpha1/namespaces/line-1/rollouts/plc"]);
    // The same object in another version, which has its pod spec elsewhere.
    let beta = ("apis/argoproj.io/v1beta1", "rollouts", "Rollout");
    api.owner(beta, ("line-1", "plc"), UID, json!({ "template": { "spec": pod_spec(&["other/image"]) } }));
    assert_denied(&of("v1beta1", &["never/signed"]), &["template of Rollout line-1/plc", "never/signed"]);
    assert_allowed(&of("v1beta1", &["other/image"]), &[]);
    assert_allowed(&of("v1alpha1", &["never/signed"]), &[]);
    assert_eq!(api.asked()[1..], ["/apis/argoproj.io/v1beta1/namespaces/line-1/rollouts/plc"]);
    for version in ["", "v1/../v1", "V1"] {
        let mut other = child("", "Pod", &["never/signed"], ("argoproj.io/v1", "Rollout"), ARGO);
        other["request"]["object"]["metadata"]["ownerReferences"][0]["apiVersion"] =
            format!("argoproj.io/{version}").into();
        assert_denied(&admit(&engine, &other), &["never/signed"]);
    }
    assert_eq!(api.asked().len(), 2);
}
