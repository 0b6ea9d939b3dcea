//! Children of controllers compared with their owners (`admission.children: compare`): an API server holds the owners, and
//! another webhook has put something into the child.

use portreeve_test_support::api_server::ApiServer;

use super::*;

const UID: &str = "5b0d8f2e-3c0c-4d8e-9a57-0f7a5a1f6f01";
const RS: (&str, &str, &str) = ("apis/apps/v1", "replicasets", "ReplicaSet");

/// `ReplicaSet line-1/plc`, whose template has these images.
fn world(template: &[&str]) -> (World, ApiServer) {
    let (mut world, api) = (World::new(), ApiServer::start("t"));
    world.write("api/token", "t").write("api/ca.crt", api.ca_pem());
    let at = |name: &str| world.directory.path().join("api").join(name);
    let server = json!({ "server": api.url(), "token": at("token"), "ca": at("ca.crt") });
    let mounted = world.directory.path().join("registries");
    world.more_config = json!({
        "credentials": { "mounted": mounted, "api": server }, "admission": { "children": "compare" },
    });
    api.owner(RS, ("line-1", "plc"), UID, json!({ "template": { "spec": pod_spec(template) } }));
    (world, api)
}

/// A child of an owner, as its controller makes it.
fn child(group: &str, kind: &str, object: Value, owner: (&str, &str), uid: &str) -> Value {
    let mut child = review(group, kind, object);
    let (version, owner) = owner;
    child["request"]["name"] = "plc-x".into();
    child["request"]["object"]["metadata"]["ownerReferences"] = json!([
        { "apiVersion": version, "kind": owner, "name": "plc", "uid": uid, "controller": true },
    ]);
    child["request"]["userInfo"]["username"] = "system:kube-controller-manager".into();
    child
}

fn pod_of_rs(images: &[&str]) -> Value {
    child("", "Pod", json!({ "spec": pod_spec(images) }), ("apps/v1", "ReplicaSet"), UID)
}

#[test]
fn the_owner_s_images_pass_and_an_injected_one_is_verified() {
    let (world, api) = world(&["never/signed", &tagged("gone")]);
    let engine = world.simple(&json!({}));
    let own = admit(&engine, &pod_of_rs(&["never/signed", &tagged("gone")]));
    assert_allowed(&own, &[]);
    assert_eq!(own.audit["exempt"], "made by a trusted controller for ReplicaSet plc");
    // Once more of one of them, in any list: it runs in this pod anyway.
    let mut again = pod_of_rs(&["never/signed", "never/signed"]);
    again["request"]["object"]["spec"]["initContainers"] = json!([{ "name": "i", "image": tagged("gone") }]);
    assert_allowed(&admit(&engine, &again), &[]);
    assert_eq!(world.server.connections(), 0);

    let signed = admit(&engine, &pod_of_rs(&["never/signed", &tagged("v1")]));
    assert_allowed(&signed, &[("/spec/containers/1/image", pinned("v1"))]);
    assert_eq!(signed.audit["compared"], "only images in the template of ReplicaSet line-1/plc pass unverified");
    assert!(!signed.audit["images"].as_str().unwrap().contains("never/signed"), "{signed:?}");
    assert_allowed(&ask(&engine, Endpoint::Validate, &pod_of_rs(&["never/signed", &pinned("v1")])), &[]);

    for endpoint in [Endpoint::Admit, Endpoint::Validate] {
        let words = [
            "portreeve denied Pod line-1/plc-x: 1 of 1 image is not trusted (only images in the template of ReplicaSet \
             line-1/plc pass unverified)",
            "container \"c1\"",
            "evil: rejected",
        ];
        assert_denied(&ask(&engine, endpoint, &pod_of_rs(&["never/signed", &tagged("evil")])), &words);
    }
    for (list, entry) in [
        ("initContainers", json!({ "name": "e", "image": tagged("evil") })),
        ("ephemeralContainers", json!({ "name": "e", "image": tagged("evil") })),
        ("volumes", json!({ "name": "e", "image": { "reference": tagged("evil") } })),
    ] {
        let mut injected = pod_of_rs(&["never/signed"]);
        injected["request"]["object"]["spec"][list] = json!([entry]);
        assert_denied(&admit(&engine, &injected), &["\"e\"", "evil"]);
    }
    // One question for all of them.
    assert_eq!(api.asked(), ["/apis/apps/v1/namespaces/line-1/replicasets/plc"]);
}

#[test]
fn an_owner_that_cannot_be_read_vouches_for_nothing() {
    let own = [tagged("v1"), "never/signed".to_owned()];
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    type Break = fn(&World, &mut ApiServer);
    let broken: [(Break, &str); 10] = [
        (
            |_, api| {
                api.owner(
                    RS,
                    ("line-1", "plc"),
                    "of-one-made-anew",
                    json!({ "template": { "spec": pod_spec(&["never/signed"]) } }),
                );
            },
            "has another object of this name by now",
        ),
        (
            |_, api| {
                api.owner(("apis/apps/v1", "replicasets", "StatefulSet"), ("line-1", "plc"), UID, json!({}));
            },
            "something that is not this object",
        ),
        (|_, api| api.forbid("line-1", "replicasets"), "apply manifests/components/compare-children"),
        (|_, api| api.accept_only("another"), "did not accept"),
        (|_, api| api.stop(), "could not be read"),
        (|_, api| api.misbehave("replicasets", Fault::Status(500)), "answered 500"),
        (|_, api| api.misbehave("replicasets", Fault::Body("{}")), "something that is not this object"),
        (|_, api| api.misbehave("replicasets", Fault::HugeChunked(4 << 20)), "could not be read"),
        (
            |world, _| {
                world.write("api/token", "");
            },
            "holds no service-account token",
        ),
        (
            |_, api| {
                api.owner(RS, ("line-1", "plc"), UID, json!({ "template": 7 }));
            },
            "something that is not this object",
        ),
    ];
    for (change, words) in broken {
        let (world, mut api) = world(&own);
        let engine = world.simple(&json!({}));
        change(&world, &mut api);
        let mut pod = pod_of_rs(&own);
        let heard = admit(&engine, &pod);
        assert_denied(&heard, &["1 of 2 images", "never/signed", "all images are verified", words]);
        // A signed image still passes.
        pod["request"]["object"]["spec"] = pod_spec(&own[..1]);
        assert_allowed(&admit(&engine, &pod), &[(FIRST, pinned("v1"))]);
    }
    for (field, value) in
        [("uid", json!(null)), ("uid", json!("")), ("uid", json!("x".repeat(65))), ("name", json!("../plc"))]
    {
        let (world, api) = world(&own);
        let mut pod = pod_of_rs(&own);
        pod["request"]["object"]["metadata"]["ownerReferences"][0][field] = value;
        assert_denied(&admit(&world.simple(&json!({})), &pod), &["never/signed", "all images are verified"]);
        assert!(api.asked().is_empty());
    }
}

#[test]
fn an_api_server_that_hangs_leaves_time_to_verify() {
    let (world, api) = world(&["never/signed"]);
    api.misbehave("replicasets", Fault::Stall);
    let began = std::time::Instant::now();
    let body = pod_of_rs(&[&tagged("v1")]).to_string();
    let (answer, _) =
        world.simple(&json!({})).review(Endpoint::Admit, body.as_bytes(), Deadline::after(Duration::from_secs(2)));
    let answer = String::from_utf8(answer.body).unwrap();
    assert!(answer.contains("\"allowed\":true"), "{answer}");
    assert!(began.elapsed() < Duration::from_millis(1_800), "{:?}", began.elapsed());
}

/// A CronJob's Jobs and a Deployment's ReplicaSets; each is compared with what made it.
#[test]
fn every_controller_s_children_are_compared_with_it() {
    let template = json!({ "spec": pod_spec(&["never/signed"]) });
    let workload = json!({ "template": template });
    for (owner, version, (child_group, child_kind)) in [
        (("api/v1", "replicationcontrollers", "ReplicationController"), "v1", ("", "Pod")),
        (RS, "apps/v1", ("", "Pod")),
        (RS, "extensions/v1beta1", ("", "Pod")),
        (("apis/apps/v1", "daemonsets", "DaemonSet"), "apps/v1", ("", "Pod")),
        (("apis/apps/v1", "statefulsets", "StatefulSet"), "apps/v1", ("", "Pod")),
        (("apis/batch/v1", "jobs", "Job"), "batch/v1", ("", "Pod")),
        (("apis/batch/v1", "cronjobs", "CronJob"), "batch/v1", ("batch", "Job")),
        (("apis/apps/v1", "deployments", "Deployment"), "apps/v1", ("apps", "ReplicaSet")),
    ] {
        let (world, api) = world(&[]);
        let spec = if owner.2 == "CronJob" { json!({ "jobTemplate": { "spec": workload } }) } else { workload.clone() };
        api.owner(owner, ("line-1", "plc"), UID, spec);
        let engine = world.simple(&json!({}));
        let of = |images: &[&str]| {
            let spec = if child_kind == "Pod" {
                pod_spec(images)
            } else {
                json!({ "template": { "spec": pod_spec(images) } })
            };
            admit(&engine, &child(child_group, child_kind, json!({ "spec": spec }), (version, owner.2), UID))
        };
        assert_allowed(&of(&["never/signed"]), &[]);
        assert_denied(&of(&["never/signed", &tagged("evil")]), &["evil", &format!("{} line-1/plc", owner.2)]);
        let path = format!("/{}/namespaces/line-1/{}/plc", owner.0, owner.1);
        let short = path.strip_prefix("/api/v1/namespaces/").unwrap_or(&path);
        assert_eq!(api.asked(), [short]);
    }
}

/// What is kept of one owner is no other's: not of another kind, namespace or uid.
#[test]
fn an_owner_is_its_kind_namespace_name_and_uid() {
    let (world, api) = world(&["never/signed"]);
    let template = |image: &str| json!({ "template": { "spec": pod_spec(&[image]) } });
    api.owner(("apis/apps/v1", "daemonsets", "DaemonSet"), ("line-1", "plc"), UID, template("another/image"));
    api.owner(RS, ("line-2", "plc"), UID, template("another/image"));
    let engine = world.simple(&json!({}));
    assert_allowed(&admit(&engine, &pod_of_rs(&["never/signed"])), &[]);
    let of_daemon_set = child("", "Pod", json!({ "spec": pod_spec(&["never/signed"]) }), ("apps/v1", "DaemonSet"), UID);
    assert_denied(&admit(&engine, &of_daemon_set), &["DaemonSet line-1/plc"]);
    let mut elsewhere = pod_of_rs(&["never/signed"]);
    elsewhere["request"]["namespace"] = "line-2".into();
    assert_denied(&admit(&engine, &elsewhere), &["ReplicaSet line-2/plc"]);
    // Deleted and made again under the same name, with another template.
    api.owner(RS, ("line-1", "plc"), "another-uid", template("another/image"));
    let mut anew = pod_of_rs(&["never/signed"]);
    anew["request"]["object"]["metadata"]["ownerReferences"][0]["uid"] = "another-uid".into();
    assert_denied(&admit(&engine, &anew), &["ReplicaSet line-1/plc"]);
}

/// An UPDATE that adds no image makes no request, and by default no child does.
#[test]
fn nobody_is_asked_where_nothing_is_compared() {
    let (mut world, api) = world(&[]);
    let engine = world.simple(&json!({}));
    let mut update = pod_of_rs(&["never/signed"]);
    update["request"]["operation"] = "UPDATE".into();
    update["request"]["oldObject"] = update["request"]["object"].clone();
    assert_allowed(&admit(&engine, &update), &[]);
    assert_allowed(&admit(&engine, &pod_of_rs(&[])), &[]);
    let mut forged = pod_of_rs(&["never/signed"]);
    forged["request"]["userInfo"]["username"] = "alice".into();
    assert_denied(&admit(&engine, &forged), &["never/signed"]);
    world.more_config["admission"]["children"] = "trust".into();
    assert_allowed(&admit(&world.simple(&json!({})), &pod_of_rs(&["never/signed"])), &[]);
    assert!(api.asked().is_empty(), "{:?}", api.asked());
}
