//! A kind of custom resources: Argo's Rollout, as a CRD without a schema. Its controller is not here. Its part is taken by its
//! user, who makes the ReplicaSets that it would make.

use serde_json::{Value, json};

use super::Cluster;
use super::kubectl::{Kubectl, assert_denied};
use super::reviewing::{job, named};
use super::tenant::{SIGNED, UNSIGNED, images, object, selector, template};
use crate::plant::PLC;
use crate::process::wait_patiently;
use crate::review::pinned;

const ALLOWED: i32 = 0;
const UNDECIDED: i32 = 3;

const API: &str = "/apis/argoproj.io/v1alpha1";
const VERSION: &str = "argoproj.io/v1alpha1";
const ARGO: &str = "system:serviceaccount:argo-rollouts:argo-rollouts";
const REPLICA_SET: &str = "system:serviceaccount:kube-system:replicaset-controller";

pub(super) fn rollouts(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    admin.feed(&["apply", "--filename=-"], &custom_resource().to_string()).expect(0);
    admin.ok(&["wait", "--for=condition=established", "--timeout=50s", "crd/rollouts.argoproj.io"]);
    let tenant = cluster.tenant("rollouts");
    let within = || cluster.admin().within("rollouts");
    // Stored before the webhooks are called for this kind. No schema refuses it.
    let mut broken = object(VERSION, "Rollout", "broken", json!({ "template": { "spec": [["c", UNSIGNED]] } }));
    broken["metadata"]["finalizers"] = json!(["example.com/wait"]);
    within().feed(&["create", "--filename=-"], &broken.to_string()).expect(0);
    let example = site.manifests("examples/custom-workloads/webhooks.yaml");
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        admin.ok(&["patch", kind, "portreeve", "--type=json", "--patch-file", example.to_str().unwrap()]);
    }
    let rights = ["examples/custom-workloads/rights.yaml", "components/compare-children/rights.yaml"];
    let rights = rights.map(|file| site.manifests(file));
    rights.iter().for_each(|file| drop(admin.ok(&["apply", "--filename", file.to_str().unwrap()])));
    configure(
        cluster,
        Some(&json!({
            "children": "compare",
            "workloads": [{ "group": "argoproj.io", "kind": "Rollout", "podSpec": "/spec/template/spec" }],
            "trustedControllers": { "add": [ARGO] },
        })),
    );

    within().ok(&["create", "role", "rollouts", "--verb=create,get,patch", "--resource=rollouts.argoproj.io"]);
    within().ok(&["create", "rolebinding", "rollouts", "--role=rollouts", "--user=alice"]);
    within().ok(&[
        "create",
        "rolebinding",
        "argo",
        "--clusterrole=edit",
        "--serviceaccount=argo-rollouts:argo-rollouts",
    ]);
    let rollout = |version: &str, name: &str, image: &str| {
        object(version, "Rollout", name, json!({ "replicas": 1, "selector": selector(), "template": template(image) }))
    };
    // The API server takes a moment to know of the rules.
    wait_patiently("a Rollout to be denied", || {
        let tried = rollout(VERSION, "bad", UNSIGNED).to_string();
        tenant.alice().feed(&["create", "--dry-run=server", "--filename=-"], &tried).status == Some(1)
    });
    // In every version: the API server converts the others to those of the rules.
    for version in [VERSION, "argoproj.io/v1"] {
        assert_denied(
            &tenant.create(&rollout(version, "bad", UNSIGNED)),
            &["portreeve denied Rollout rollouts/bad: 1 of 1 image is not trusted", "plc:unsigned: rejected: "],
        );
    }
    assert_eq!(tenant.get(API, "rollouts/bad"), None);
    tenant.create(&rollout("argoproj.io/v1", "plc", SIGNED)).expect(0);
    let plc = pinned(PLC, &cluster.plant.plc);
    let stored = || tenant.get(API, "rollouts/plc").unwrap();
    let image = || images(&stored()["spec"]["template"]["spec"]).concat();
    assert_eq!(image(), plc);

    let alice = tenant.alice();
    let patch = |patch: &Value| alice.run(&["patch", "rollout", "plc", "--type=merge", "--patch", &patch.to_string()]);
    patch(&json!({ "spec": { "replicas": 2 } })).expect(0);
    assert_eq!(cluster.decided("rollouts", "rollouts", "patch").last().unwrap().1["exempt"], "no image changes");
    assert_denied(&patch(&json!({ "spec": { "template": template(UNSIGNED) } })), &["plc:unsigned: rejected: "]);
    assert_denied(
        &patch(&json!({ "spec": { "template": null, "workloadRef": { "kind": "Deployment", "name": "plc" } } })),
        &["it has no pod spec at /spec/template/spec"],
    );
    assert_eq!(image(), plc);

    let replica_set = |name: &str, more: Option<&str>| {
        let mut template = stored()["spec"]["template"].clone();
        if let Some(image) = more {
            let containers = template["spec"]["containers"].as_array_mut().unwrap();
            containers.push(json!({ "name": "sidecar", "image": image }));
        }
        let spec = json!({ "replicas": 1, "selector": selector(), "template": template });
        let mut made = object("apps/v1", "ReplicaSet", name, spec);
        made["metadata"]["ownerReferences"] = json!([{ "apiVersion": VERSION, "kind": "Rollout", "name": "plc",
            "uid": stored()["metadata"]["uid"], "controller": true }]);
        made.to_string()
    };
    let create = |kubectl: Kubectl, user: &[&str], object: &str| {
        kubectl.feed(&[&["create", "--filename=-"], user].concat(), object)
    };
    let argo = [&*format!("--as={ARGO}")];
    create(within(), &argo, &replica_set("plc-1", None)).expect(0);
    assert_eq!(images(&tenant.pods_of("ReplicaSet", 1)[0]["spec"]), [&plc]);
    tenant.made_by(ARGO, "replicasets", "Rollout");
    tenant.made_by(REPLICA_SET, "pods", "ReplicaSet");
    assert_denied(
        &create(within(), &argo, &replica_set("plc-2", Some(UNSIGNED))),
        &["only images in the template of Rollout rollouts/plc pass unverified", "\"sidecar\"", "plc:unsigned"],
    );
    // A tenant may write the same owner.
    assert_denied(&create(tenant.alice(), &[], &replica_set("plc-3", Some(UNSIGNED))), &["plc:unsigned: rejected: "]);

    what_cannot_be_decoded_can_be_deleted(cluster);
    is_reviewed(cluster);

    configure(cluster, None);
    admin.ok(&["delete", "crd", "rollouts.argoproj.io"]);
    rights.iter().for_each(|file| drop(admin.ok(&["delete", "--filename", file.to_str().unwrap()])));
}

/// The Rollout `broken` has a list in place of its pod spec, and a finalizer.
fn what_cannot_be_decoded_can_be_deleted(cluster: &Cluster) {
    let within = || cluster.admin().within("rollouts");
    let patch =
        |patch: Value| within().run(&["patch", "rollout", "broken", "--type=merge", "--patch", &patch.to_string()]);
    let denied = patch(json!({ "spec": { "template": { "spec": [["c", "other"]] } } }));
    let words = "the object cannot be decoded, so that its images are not known: spec.template.spec: invalid type: sequence, \
                 expected an object\n";
    assert!(denied.status == Some(1) && denied.stderr.ends_with(words), "{denied:?}");
    patch(json!({ "metadata": { "labels": { "line": "1" } }, "spec": { "replicas": 0 } })).expect(0);
    assert_eq!(cluster.decided("rollouts", "rollouts", "patch").last().unwrap().1["exempt"], "no image changes");
    within().ok(&["delete", "rollout", "broken", "--wait=false"]);
    assert!(within().run(&["get", "rollout", "broken"]).status == Some(0), "it waits for its finalizer");
    patch(json!({ "metadata": { "finalizers": null } })).expect(0);
    wait_patiently("the Rollout to be gone", || within().run(&["get", "rollout", "broken"]).status == Some(1));
}

/// `review --cluster` reads Rollouts with the rights of the example.
fn is_reviewed(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    let component =
        ["rights.yaml", "cronjob.yaml"].map(|name| site.manifests(&format!("components/review-cronjob/{name}")));
    let rights = site.manifests("examples/custom-workloads/review-rights.yaml");
    let file = |verb: &str, file: &std::path::Path| drop(admin.ok(&[verb, "--filename", file.to_str().unwrap()]));
    component.iter().for_each(|path| file("apply", path));
    // Without the rights, it is told, and what the Rollout made is reviewed.
    let (status, answers, summary) = job(cluster, "no-rollouts", &["--namespace", "rollouts"]);
    assert_eq!(status, Some(UNDECIDED), "{summary}");
    assert!(summary.contains("\nnot read: rollouts\n"), "{summary}");
    assert_eq!(reviewed(&answers), ["Pod plc", "ReplicaSet plc"]);
    file("apply", &rights);
    let (status, answers, summary) = job(cluster, "rollouts", &["--namespace", "rollouts"]);
    assert_eq!(status, Some(ALLOWED), "{summary}");
    assert_eq!(reviewed(&answers), ["Pod plc", "Rollout plc"]);
    let rollout = answers.iter().find(|answer| answer["request"]["kind"]["kind"] == "Rollout").unwrap();
    assert_eq!(rollout["request"]["kind"]["version"], "v1", "the version that the API server prefers");
    [&rights, &component[0], &component[1]].iter().for_each(|path| file("delete", path));
}

fn reviewed(answers: &[Value]) -> Vec<String> {
    let mut all: Vec<String> = named(answers, "rollouts").into_iter().map(|(name, _)| name).collect();
    all.sort();
    all.dedup();
    all
}

/// Puts a section `admission` into the site's configuration, or removes it, and starts Portreeve again.
fn configure(cluster: &Cluster, admission: Option<&Value>) {
    let text = admission.map(|admission| json!({ "admission": admission }).to_string());
    let patch = json!({ "data": { "workloads.yaml": text } }).to_string();
    let admin = cluster.admin().within("portreeve");
    admin.ok(&["patch", "configmap", "portreeve-site-config", "--type=merge", "--patch", &patch]);
    cluster.installation.stop();
    cluster.installation.serve(&cluster.control);
}

fn custom_resource() -> Value {
    let version = |name: &str, is_stored: bool| {
        json!({
            "name": name, "served": true, "storage": is_stored,
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "rollouts.argoproj.io" },
        "spec": {
            "group": "argoproj.io",
            "names": { "kind": "Rollout", "plural": "rollouts" },
            "scope": "Namespaced",
            "versions": [version("v1alpha1", true), version("v1", false)],
        },
    })
}
