//! Pods as users create them: `kubectl run`, `kubectl debug`, manifests with every list of images; and what users write
//! into them to get past the check.

use serde_json::{Value, json};

use super::Cluster;
use super::kubectl::assert_denied;
use super::policies::image_policy;
use super::tenant::{SIGNED, Tenant, UNSIGNED, images, object, selector, template};
use crate::plant::{HMI, PLC};
use crate::review::pinned;

pub(super) fn kubectl_run(cluster: &Cluster) {
    let tenant = cluster.tenant("run");
    let alice = tenant.alice();
    let unsigned = ["run", "bad", "--image", UNSIGNED];
    alice.denied(
        &unsigned,
        &["Pod run/bad: 1 of 1 image is not trusted", "container \"bad\"", "plc:unsigned: rejected: "],
    );
    alice.denied(&[&unsigned[..], &["--dry-run=server"]].concat(), &["plc:unsigned"]);
    alice.denied(&["run", "bad", "--image=nginx"], &["image nginx: rejected: "]);
    alice.run(&["run", "bad", "--image=registry.local:9001/plant/PLC:v1"]).expect(1);
    assert!(tenant.pods().is_empty());

    alice.ok(&["run", "plc", "--image", SIGNED]);
    assert_eq!(images(&tenant.pods()[0]["spec"]), [&pinned(PLC, &cluster.plant.plc)]);
    // The pinned object is accepted as it is.
    let again = pinned(PLC, &cluster.plant.plc);
    alice.ok(&["run", "again", "--image", &again]);
    let other = format!("{PLC}@sha256:{}", "0".repeat(64));
    alice.denied(&["run", "other", "--image", &other], &["rejected: "]);
}

pub(super) fn kubectl_debug(cluster: &Cluster) {
    let tenant = cluster.tenant("debug");
    let alice = tenant.alice();
    // The role `edit` does not include it. A user who may debug gets it by another role.
    let admin = cluster.admin().within("debug");
    admin.ok(&["create", "role", "debugger", "--verb=patch", "--resource=pods/ephemeralcontainers"]);
    admin.ok(&["create", "rolebinding", "debugger", "--role=debugger", "--user=alice"]);
    alice.ok(&["run", "plc", "--image", SIGNED]);
    let debug = |image: &str, more: &[&str]| {
        let args = ["debug", "plc", "--image", image, "--container=debugger", "--profile=general", "--attach=false"];
        alice.run(&[&args[..], more].concat())
    };
    let pod = || tenant.get("/api/v1", "pods/plc").unwrap();
    assert_denied(&debug(UNSIGNED, &[]), &["ephemeral container \"debugger\"", "plc:unsigned: rejected: "]);
    assert_eq!(pod()["spec"].get("ephemeralContainers"), None);
    debug(&format!("{HMI}:v1"), &[]).expect(0);
    let [plc, hmi] = [pinned(PLC, &cluster.plant.plc), pinned(HMI, &cluster.plant.hmi)];
    assert_eq!(images(&pod()["spec"]), [&plc, &hmi]);
    // A copy of the Pod is checked as every Pod.
    let copy = ["--copy-to=copy", "--set-image=*=registry.local:9001/plant/plc:unsigned"];
    assert_denied(&debug(&format!("{HMI}:v1"), &copy), &["container \"plc\"", "plc:unsigned"]);
    assert_eq!(tenant.pods().len(), 1);
}

pub(super) fn every_list_of_images(cluster: &Cluster) {
    let tenant = cluster.tenant("lists");
    let pod = |name: &str, init: &str, main: &str, volume: &str| {
        tenant.create(&object("v1", "Pod", name, json!({
            "initContainers": [{ "name": "init", "image": init }],
            "containers": [{ "name": "main", "image": main, "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }],
            "volumes": [{ "name": "data", "image": { "reference": volume, "pullPolicy": "IfNotPresent" } }],
        })))
    };
    assert_denied(&pod("a", UNSIGNED, SIGNED, SIGNED), &["1 of 3 images", "init container \"init\""]);
    assert_denied(&pod("b", SIGNED, SIGNED, UNSIGNED), &["1 of 3 images", "volume \"data\""]);
    assert_denied(&pod("c", UNSIGNED, UNSIGNED, UNSIGNED), &["3 of 3 images", "\"init\"", "\"main\"", "\"data\""]);
    assert!(tenant.pods().is_empty());
    pod("d", SIGNED, &format!("{HMI}:v1"), SIGNED).expect(0);
    let made = &tenant.pods()[0]["spec"];
    let [plc, hmi] = [pinned(PLC, &cluster.plant.plc), pinned(HMI, &cluster.plant.hmi)];
    assert_eq!(images(made), [&plc, &hmi]);
    let volumes = made["volumes"].as_array().unwrap();
    let data = volumes.iter().find(|volume| volume["name"] == "data").unwrap();
    assert_eq!(data["image"]["reference"], plc);
}

/// Labels, annotations and finalizers of a Pod change while it runs and while it is deleted. These updates never wait
/// for a trust server.
pub(super) fn what_changes_no_image(cluster: &Cluster) {
    let tenant = cluster.tenant("unchanged");
    let alice = tenant.alice();
    alice.ok(&["run", "plc", "--image", SIGNED]);
    alice.ok(&["label", "pod", "plc", "line=1"]);
    let finalizers = |value: &str| format!("{{\"metadata\":{{\"finalizers\":{value}}}}}");
    alice.ok(&["patch", "pod", "plc", "--type=merge", "--patch", &finalizers("[\"example.com/held\"]")]);
    alice.ok(&["delete", "pod", "plc", "--wait=false"]);
    assert!(tenant.pods()[0]["metadata"]["deletionTimestamp"].is_string());
    alice.ok(&["patch", "pod", "plc", "--type=merge", "--patch", &finalizers("null")]);
    assert!(tenant.pods().is_empty());
    let mut exempt = cluster.decided("unchanged", "pods", "patch");
    exempt.retain(|(user, _)| user == "alice"); // a controller may remove them too
    assert_eq!(exempt.len(), 3, "{exempt:?}");
    assert!(exempt.iter().all(|(_, annotations)| annotations["exempt"].is_string()), "{exempt:?}");
    assert_eq!(exempt[2].1["exempt"], "the object is being deleted");

    // A Job's template is immutable. If it was stored unpinned, a patch of it would make every change of a label fail.
    let policy = |server: &str, mutate: bool| {
        let mut policy = image_policy("unchanged", json!({ "enabled": true, "trustServer": server }));
        policy["spec"]["repositories"][0]["policy"]["mutateImage"] = json!(mutate);
        cluster.add_policies("unchanged.yaml", &[policy]);
    };
    let notary = cluster.plant.notary.url();
    policy(&notary, false);
    alice.ok(&["create", "job", "plc", "--image", SIGNED]);
    alice.ok(&["create", "deployment", "plc", "--image", SIGNED]);
    policy(&notary, true);
    alice.ok(&["label", "job", "plc", "line=1"]);
    // These updates do not wait for a trust server that is away.
    policy("https://127.0.0.1:1", true);
    alice.ok(&["label", "deployment", "plc", "line=1"]);
    alice.ok(&["scale", "deployment", "plc", "--replicas=0"]);
    alice.denied(&["create", "job", "other", "--image", SIGNED], &["unavailable: "]);
    policy(&notary, true);

    // An image of a running Pod can be replaced. The new one is checked.
    alice.ok(&["run", "hmi", "--image", &format!("{HMI}:v1")]);
    alice.denied(&["set", "image", "pod/hmi", &format!("hmi={UNSIGNED}")], &["plc:unsigned"]);
}

/// A forged owner (Portieris' fault 1), by a tenant and by an administrator, with owners that exist.
pub(super) fn forged_owners(cluster: &Cluster) {
    let tenant = cluster.tenant("forged");
    tenant.alice().ok(&["create", "deployment", "plc", "--image", SIGNED]);
    let made = tenant.pods_of("ReplicaSet", 1).remove(0);
    let owners = &made["metadata"]["ownerReferences"];
    let replica_set = owners[0]["name"].as_str().unwrap();
    let mut pod = object("v1", "Pod", "forged", json!({ "containers": [{ "name": "c", "image": UNSIGNED }] }));
    pod["metadata"]["ownerReferences"] = owners.clone();
    assert_eq!(owners[0]["controller"], true);
    assert_denied(&tenant.create(&pod), &["plc:unsigned: rejected: "]);
    let admin = cluster.admin().within("forged").feed(&["create", "--filename=-"], &pod.to_string());
    assert_denied(&admin, &["plc:unsigned: rejected: "]);
    // The same for a ReplicaSet, whose Pods a trusted controller would create.
    let owners = tenant.get("/apis/apps/v1", &format!("replicasets/{replica_set}")).unwrap();
    let spec = json!({ "replicas": 1, "selector": selector(), "template": template(UNSIGNED) });
    let mut forged = object("apps/v1", "ReplicaSet", "forged", spec);
    forged["metadata"]["ownerReferences"] = owners["metadata"]["ownerReferences"].clone();
    assert_denied(&tenant.create(&forged), &["plc:unsigned: rejected: "]);
    // A tenant cannot impersonate a controller.
    let account = "--as=system:serviceaccount:kube-system:replicaset-controller";
    let passed = tenant.alice().feed(&["create", "--filename=-", "--validate=false", account], &pod.to_string());
    assert!(passed.status == Some(1) && passed.stderr.contains("cannot impersonate"), "{passed:?}");
    assert_eq!(tenant.pods().len(), 1);
}

/// A node creates mirror Pods of its static Pods. It runs them whatever the API server answers.
pub(super) fn mirror_pods(cluster: &Cluster) {
    let tenant = cluster.tenant("static");
    let node = cluster.get("/api/v1/nodes/edge-1").unwrap();
    let mirror = |name: &str| {
        let mut pod = object(
            "v1",
            "Pod",
            name,
            json!({
                "nodeName": "edge-1", "containers": [{ "name": "c", "image": UNSIGNED }],
            }),
        );
        pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "f00d" });
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "Node", "name": "edge-1", "uid": node["metadata"]["uid"], "controller": true,
        }]);
        pod
    };
    assert_denied(&tenant.create(&mirror("forged")), &["plc:unsigned: rejected: "]);
    let kubelet = cluster.control.kubectl("node").within("static");
    kubelet.feed(&["create", "--filename=-"], &mirror("etcd-edge-1").to_string()).expect(0);
    assert_eq!(images(&only(&tenant)["spec"]), [UNSIGNED]);
    let decided = cluster.decided("static", "pods", "create");
    let (user, annotations) = decided.last().unwrap();
    assert_eq!((&**user, &annotations["decision"]), ("system:node:edge-1", &json!("allowed")));
    assert_eq!(annotations["exempt"], "the mirror of a static pod, made by its node");
}

fn only(tenant: &Tenant<'_>) -> Value {
    let mut pods = tenant.pods();
    assert_eq!(pods.len(), 1);
    pods.remove(0)
}
