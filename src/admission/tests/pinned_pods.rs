//! `mutateImage: pods`: templates are verified and stay as they are written, Pods are pinned, also those of trusted
//! controllers.

use super::*;

const RS: &str = "system:serviceaccount:kube-system:replicaset-controller";

/// A policy for everything with this `mutateImage`.
fn policy(world: &World, mutate_image: &Value) -> Value {
    rule(world, "*", mutate_image, "enforce")
}

fn rule(world: &World, pattern: &str, mutate_image: &Value, mode: &str) -> Value {
    let trust = json!({ "enabled": true, "trustServer": world.server.url() });
    json!({ "name": pattern, "policy": { "mode": mode, "mutateImage": mutate_image, "trust": trust } })
}

fn engine(world: &World) -> Engine {
    world.engine(&[document(None, json!([policy(world, &"pods".into())]))])
}

/// A Pod that a controller makes.
fn child(images: &[&str]) -> Value {
    let mut child = pod(images);
    child["request"]["object"]["metadata"]["ownerReferences"] = json!([
        { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "plc", "uid": "1", "controller": true },
    ]);
    child["request"]["userInfo"]["username"] = RS.into();
    child
}

#[test]
fn templates_stay_and_pods_are_pinned() {
    let world = World::new();
    let engine = engine(&world);
    let template = |image: &str| json!({ "spec": pod_spec(&[image]) });
    let workload = |image: &str| json!({ "spec": { "template": template(image) } });
    for (group, kind) in [
        ("", "ReplicationController"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "DaemonSet"),
        ("apps", "StatefulSet"),
        ("batch", "Job"),
    ] {
        assert_allowed(&admit(&engine, &review(group, kind, workload(&tagged("v1")))), &[]);
        assert_denied(&admit(&engine, &review(group, kind, workload(&tagged("evil")))), &["evil"]);
    }
    let others = |image: &str| {
        [
            review("", "PodTemplate", json!({ "template": template(image) })),
            review("batch", "CronJob", json!({ "spec": { "jobTemplate": workload(image) } })),
        ]
    };
    others(&tagged("v1")).iter().for_each(|review| assert_allowed(&admit(&engine, review), &[]));
    others(&tagged("evil")).iter().for_each(|review| assert_denied(&admit(&engine, review), &["evil"]));
    assert_allowed(&admit(&engine, &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
}

#[test]
fn a_trusted_controller_s_pod_is_verified_and_pinned() {
    let world = World::new();
    let engine = engine(&world);
    let made = admit(&engine, &child(&[&tagged("v1")]));
    assert_allowed(&made, &[(FIRST, pinned("v1"))]);
    assert_eq!(made.audit["compared"], "images under \"mutateImage: pods\" are verified when a Pod is made");
    assert_denied(
        &admit(&engine, &child(&[&tagged("evil")])),
        &["(images under \"mutateImage: pods\" are verified when a Pod is made)", "evil"],
    );
    // Each list, and the second call after another webhook: what is pinned is not verified again.
    let mut whole = child(&[&tagged("v1"), &tagged("both")]);
    let spec = &mut whole["request"]["object"]["spec"];
    spec["initContainers"] = json!([{ "name": "i", "image": tagged("v1") }]);
    spec["volumes"] = json!([{ "name": "v", "image": { "reference": tagged("both") } }]);
    let expected = [
        ("/spec/initContainers/0/image", pinned("v1")),
        (FIRST, pinned("v1")),
        ("/spec/containers/1/image", pinned("both")),
        ("/spec/volumes/0/image/reference", pinned("both")),
    ];
    assert_allowed(&admit(&engine, &whole), &expected);
    let connections = world.server.connections();
    for endpoint in [Endpoint::Admit, Endpoint::Validate] {
        let again = ask(&engine, endpoint, &child(&[&pinned("v1"), &by_digest("evil")]));
        assert_allowed(&again, &[]);
        assert_eq!(again.audit["exempt"], "made by a trusted controller for ReplicaSet plc");
    }
    assert_eq!(world.server.connections(), connections);
    // What another webhook adds is verified, beside what is pinned.
    assert_allowed(
        &admit(&engine, &child(&[&pinned("v1"), &tagged("both")])),
        &[("/spec/containers/1/image", pinned("both"))],
    );
    // An unpinned image that comes past the mutating webhook.
    assert_denied(&ask(&engine, Endpoint::Validate, &child(&[&tagged("evil")])), &["evil"]);
}

/// Templates that controllers make from templates stay: a Deployment's controller would not know its ReplicaSet again.
#[test]
fn what_controllers_make_for_controllers_is_left_alone() {
    let world = World::new();
    let engine = engine(&world);
    for (group, kind, version, owner) in
        [("apps", "ReplicaSet", "apps/v1", "Deployment"), ("batch", "Job", "batch/v1", "CronJob")]
    {
        let spec = json!({ "template": { "spec": pod_spec(&[&tagged("evil")]) } });
        let mut made = review(group, kind, json!({ "spec": spec }));
        made["request"]["object"]["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": version, "kind": owner, "name": "plc", "uid": "1", "controller": true }]);
        made["request"]["userInfo"]["username"] = "system:kube-controller-manager".into();
        assert_allowed(&admit(&engine, &made), &[]);
    }
    assert_eq!(world.server.connections(), 0);
}

#[test]
fn an_update_of_a_pod_pins_only_new_images() {
    let world = World::new();
    let engine = engine(&world);
    let update = |mut review: Value, stored: &Value| {
        review["request"]["operation"] = "UPDATE".into();
        review["request"]["oldObject"] = stored["request"]["object"].clone();
        review
    };
    for made in [pod as fn(&[&str]) -> Value, child] {
        let stored = made(&[&tagged("v1")]);
        // A Pod from before the policy keeps its tag.
        assert_allowed(&admit(&engine, &update(stored.clone(), &stored)), &[]);
        assert_eq!(world.server.connections(), 0);
    }
    for made in [pod as fn(&[&str]) -> Value, child] {
        let stored = made(&[&tagged("v1")]);
        let changed = update(made(&[&tagged("both")]), &stored);
        assert_allowed(&admit(&engine, &changed), &[(FIRST, pinned("both"))]);
        let mut debug = update(stored.clone(), &stored);
        debug["request"]["subResource"] = "ephemeralcontainers".into();
        debug["request"]["object"]["spec"]["ephemeralContainers"] = json!([{ "name": "d", "image": tagged("v1") }]);
        assert_allowed(&admit(&engine, &debug), &[("/spec/ephemeralContainers/0/image", pinned("v1"))]);
        debug["request"]["object"]["spec"]["ephemeralContainers"][0]["image"] = tagged("evil").into();
        assert_denied(&admit(&engine, &debug), &["evil"]);
    }
}

/// Equally specific rules pin in all places that one of them names. Other rules change nothing for their images.
#[test]
fn of_several_rules_the_one_that_pins_in_more_places_counts() {
    let world = World::new();
    let template =
        review("apps", "Deployment", json!({ "spec": { "template": { "spec": pod_spec(&[&tagged("v1")]) } } }));
    let (everywhere, pods, nowhere) = (json!(true), json!("pods"), json!(false));
    const IN_TEMPLATE: &str = "/spec/template/spec/containers/0/image";
    for (one, other, in_template, in_pod, in_child) in [
        (&everywhere, &pods, true, true, true),
        (&pods, &everywhere, true, true, true),
        (&nowhere, &pods, false, true, true),
        (&pods, &pods, false, true, true),
        (&nowhere, &nowhere, false, false, false),
        (&everywhere, &nowhere, true, true, false),
    ] {
        let [a, b] = [GUN.replace("plc", "*plc"), GUN.replace("plc", "plc*")];
        let rules = json!([rule(&world, &a, one, "enforce"), rule(&world, &b, other, "enforce")]);
        let engine = world.engine(&[document(None, rules)]);
        let patch = |place, is_there: bool| if is_there { vec![(place, pinned("v1"))] } else { Vec::new() };
        assert_allowed(&admit(&engine, &template), &patch(IN_TEMPLATE, in_template));
        assert_allowed(&admit(&engine, &pod(&[&tagged("v1")])), &patch(FIRST, in_pod));
        assert_allowed(&admit(&engine, &child(&[&tagged("v1")])), &patch(FIRST, in_child));
    }
    // A child with images under different rules: only those under `pods` are verified.
    let rules = json!([
        rule(&world, &tagged("v1"), &pods, "enforce"),
        rule(&world, "never/*", &everywhere, "enforce"),
        { "name": "*" },
    ]);
    let engine = world.engine(&[document(None, rules)]);
    let made = admit(&engine, &child(&["never/signed", &tagged("v1"), "nginx", "Not An Image"]));
    assert_allowed(&made, &[("/spec/containers/1/image", pinned("v1"))]);
    // Of another namespace's policy, nothing counts.
    let own = document(Some("line-2"), json!([policy(&world, &pods)]));
    let engine = world.engine(&[own, document(None, json!([policy(&world, &everywhere)]))]);
    assert_allowed(&admit(&engine, &child(&["never/signed"])), &[]);
}

#[test]
fn a_rule_that_warns_lets_a_controller_s_pod_in_unpinned() {
    let world = World::new();
    let engine = world.engine(&[document(None, json!([rule(&world, "*", &"pods".into(), "warn")]))]);
    assert_allowed(&admit(&engine, &child(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
    let heard = admit(&engine, &child(&[&tagged("evil")]));
    assert_allowed(&heard, &[]);
    assert!(heard.warnings[0].contains("evil"), "{heard:?}");
}

/// With `children: compare`: images of the owner's template are verified if they are to be pinned, others in any case.
#[test]
fn a_child_that_is_compared_is_pinned_as_well() {
    use portreeve_test_support::api_server::ApiServer;

    let (mut world, api) = (World::new(), ApiServer::start("t"));
    world.write("api/token", "t").write("api/ca.crt", api.ca_pem());
    let at = |name: &str| world.directory.path().join("api").join(name);
    let server = json!({ "server": api.url(), "token": at("token"), "ca": at("ca.crt") });
    world.more_config = json!({
        "credentials": { "mounted": at("none"), "api": server }, "admission": { "children": "compare" },
    });
    let template = json!({ "template": { "spec": pod_spec(&[&tagged("v1"), "nginx"]) } });
    api.owner(("apis/apps/v1", "replicasets", "ReplicaSet"), ("line-1", "plc"), "1", template);
    let rules = json!([rule(&world, &format!("{GUN}:*"), &"pods".into(), "enforce"), { "name": "*" }]);
    let engine = world.engine(&[document(None, rules)]);
    let made = admit(&engine, &child(&[&tagged("v1"), "nginx"]));
    assert_allowed(&made, &[(FIRST, pinned("v1"))]);
    assert_eq!(made.audit["compared"], "images under \"mutateImage: pods\" are verified when a Pod is made");
    let injected = admit(&engine, &child(&[&tagged("v1"), "nginx", &tagged("evil")]));
    assert_denied(&injected, &["1 of 2 images", "only images in the template of ReplicaSet line-1/plc", "evil"]);
}
