//! Updates: what is already running or stored is not verified again, and a new image always is.

use super::*;

#[test]
fn an_update_of_a_pod_asks_only_for_what_changes() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let update = |old: &[&str], new: &[&str]| {
        let mut review = pod(new);
        review["request"]["operation"] = "UPDATE".into();
        review["request"]["oldObject"] = json!({ "spec": pod_spec(old) });
        review
    };
    // Fault 20: labels can be edited while the trust server is away.
    assert_allowed(&admit(&engine, &update(&["never/signed"], &["never/signed"])), &[]);
    assert_eq!(world.server.connections(), 0);
    assert_denied(&admit(&engine, &update(&["never/signed"], &[&tagged("evil")])), &["evil"]);
    // The same image in another container is another use of it.
    assert_denied(&admit(&engine, &update(&[&tagged("evil")], &[&tagged("evil"), &tagged("evil")])), &["\"c1\""]);
    let mut debug = update(&["never/signed"], &["never/signed"]);
    debug["request"]["subResource"] = "ephemeralcontainers".into();
    debug["request"]["object"]["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": tagged("evil") }]);
    assert_denied(&admit(&engine, &debug), &["ephemeral container \"debug\""]);
    debug["request"]["object"]["spec"]["ephemeralContainers"][0]["image"] = tagged("v1").into();
    assert_allowed(&admit(&engine, &debug), &[("/spec/ephemeralContainers/0/image", pinned("v1"))]);
    // Nor is it in another list, or beside another container of the same name, which the API server refuses only later.
    let evil = json!({ "name": "c0", "image": tagged("evil") });
    for (list, entry) in [
        ("initContainers", evil.clone()),
        ("ephemeralContainers", evil.clone()),
        ("volumes", json!({ "name": "c0", "image": { "reference": tagged("evil") } })),
    ] {
        let mut moved = update(&[&tagged("evil")], &[&tagged("evil")]);
        moved["request"]["object"]["spec"][list] = json!([entry]);
        assert_denied(&admit(&engine, &moved), &["1 of 1", "evil"]);
    }
    let mut twins = update(&["never/signed"], &["never/signed"]);
    twins["request"]["object"]["spec"]["containers"].as_array_mut().unwrap().push(evil);
    assert_denied(&admit(&engine, &twins), &["evil"]);
    // A subresource that the API server takes no image from may pass, and never with one.
    for (sub_resource, words) in [("status", "the subresource"), ("resize", "evil"), ("binding", "the subresource")] {
        let mut unchanged = update(&["never/signed"], &["never/signed"]);
        unchanged["request"]["subResource"] = sub_resource.into();
        assert_allowed(&admit(&engine, &unchanged), &[]);
        let mut changed = update(&["never/signed"], &[&tagged("evil")]);
        changed["request"]["subResource"] = sub_resource.into();
        assert_denied(&admit(&engine, &changed), &[words]);
    }
    // On CREATE an old object is worth nothing.
    let mut create = update(&[&tagged("evil")], &[&tagged("evil")]);
    create["request"]["operation"] = "CREATE".into();
    assert_denied(&admit(&engine, &create), &["evil"]);
}

/// An UPDATE of an object of each kind that holds a template: the object now, and the stored one.
fn template_updates(metadata: &Value, images: &[&str], stored: &[&str]) -> Vec<Value> {
    let update = |(group, kind): (&str, &str)| {
        let object = |images: &[&str], replicas: u32| {
            let template = json!({ "spec": pod_spec(images) });
            match kind {
                "PodTemplate" => json!({ "template": template }),
                "CronJob" => json!({ "spec": { "jobTemplate": { "spec": { "template": template } } } }),
                _ => json!({ "spec": { "replicas": replicas, "template": template } }),
            }
        };
        let mut update = review(group, kind, object(images, 0));
        update["request"]["operation"] = "UPDATE".into();
        update["request"]["oldObject"] = object(stored, 3);
        update["request"]["oldObject"]["metadata"] = metadata.clone();
        update
    };
    let kinds = [
        ("", "PodTemplate"),
        ("", "ReplicationController"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "DaemonSet"),
        ("apps", "StatefulSet"),
        ("batch", "Job"),
        ("batch", "CronJob"),
    ];
    kinds.map(update).into()
}

/// Labels, replicas, and the owner that the garbage collector takes away: nothing new can run.
#[test]
fn an_update_of_a_template_that_changes_no_image_passes_without_a_question() {
    let mut world = World::new();
    let engine = world.simple(&json!({}));
    world.server.stop();
    let owner = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "1", "controller": true });
    let owned = json!({ "ownerReferences": [owner] });
    for image in [tagged("v1"), tagged("evil"), pinned("gone")] {
        for endpoint in [Endpoint::Admit, Endpoint::Validate] {
            for update in template_updates(&owned, &[&image, "a"], &[&image, "a"]) {
                let heard = ask(&engine, endpoint, &update);
                assert_allowed(&heard, &[]);
                assert_eq!(heard.audit["exempt"], "no image changes");
            }
            // Nor does one that takes an image away.
            for update in template_updates(&json!({}), &[&image], &[&image, "a"]) {
                assert_allowed(&ask(&engine, endpoint, &update), &[]);
            }
        }
    }
    assert_eq!(world.server.connections(), 0);
}

#[test]
fn an_update_of_a_template_that_changes_an_image_is_judged_whole() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let (v1, both, evil) = (tagged("v1"), tagged("both"), tagged("evil"));
    for update in template_updates(&json!({}), &[&v1, &both], &[&v1, &v1]) {
        let heard = admit(&engine, &update);
        assert!(heard.allowed, "{heard:?}");
        let values: Vec<&str> = heard.patch.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, [pinned("v1"), pinned("both")]);
    }
    for (images, stored) in [
        ([&v1, &evil], [&v1, &v1]),
        // One that was let in before makes new pods with the new one.
        ([&evil, &both], [&evil, &v1]),
        // The same images in each other's places are others.
        ([&v1, &evil], [&evil, &v1]),
        ([&evil, &evil], [&evil, &v1]),
    ] {
        for update in template_updates(&json!({}), &[images[0], images[1]], &[stored[0], stored[1]]) {
            assert_denied(&admit(&engine, &update), &["evil"]);
        }
    }
    // Without the stored object the changes are unknown.
    for mut update in template_updates(&json!({}), &[&evil], &[&evil]) {
        update["request"].as_object_mut().unwrap().remove("oldObject");
        assert_denied(&admit(&engine, &update), &["evil"]);
    }
}

/// The template of a Job is immutable: the API server refuses a patch of an object whose labels change.
#[test]
fn templates_may_be_verified_on_every_write_and_are_patched_only_with_a_new_image() {
    let mut world = World::new();
    world.more_config = json!({ "admission": { "unchangedTemplates": "verify" } });
    let engine = world.simple(&json!({}));
    let (v1, both, evil) = (tagged("v1"), tagged("both"), tagged("evil"));
    for update in template_updates(&json!({}), &[&v1], &[&v1]) {
        assert_allowed(&admit(&engine, &update), &[]);
    }
    for update in template_updates(&json!({}), &[&both], &[&v1]) {
        assert_eq!(admit(&engine, &update).patch.len(), 1);
    }
    for update in template_updates(&json!({}), &[&evil], &[&evil]) {
        assert_denied(&admit(&engine, &update), &["evil"]);
    }
    // A pod is no template: what it runs, it runs.
    let mut labelled = pod(&[&evil]);
    labelled["request"]["operation"] = "UPDATE".into();
    labelled["request"]["oldObject"] = labelled["request"]["object"].clone();
    let heard = admit(&engine, &labelled);
    assert_allowed(&heard, &[]);
    assert_eq!(heard.audit["exempt"], "no image changes");
}

/// A tenant keeps a ReplicaSet from its deletion, gives it other images, and has the Deployment, whose owner is forged,
/// rolled back to it by the Deployment's own controller.
#[test]
fn a_roll_back_brings_in_no_unverified_image() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let update = |kind: &str, user: &str, metadata: Value| {
        let object = |image: &str| json!({ "metadata": metadata, "spec": { "template": { "spec": pod_spec(&[&tagged(image)]) } } });
        let mut update = review("apps", kind, object("evil"));
        update["request"]["operation"] = "UPDATE".into();
        update["request"]["oldObject"] = object("v1");
        update["request"]["userInfo"]["username"] = user.into();
        admit(&engine, &update)
    };
    let deleted = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"] });
    assert_denied(&update("ReplicaSet", "alice", deleted), &["evil"]);
    let forged = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", "controller": true });
    let forged = json!({ "ownerReferences": [forged] });
    let controller = "system:serviceaccount:kube-system:deployment-controller";
    assert_denied(&update("Deployment", controller, forged), &["evil"]);
}
