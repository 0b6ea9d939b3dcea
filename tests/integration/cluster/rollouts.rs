//! A kind of custom resources: Argo's Rollout, as a CRD without a schema. Its controller is not here. Its part is taken by its
//! user, who makes the ReplicaSets that it would make.

use serde_json::{Value, json};

use super::Cluster;
use super::kubectl::{Kubectl, assert_denied};
use super::tenant::{SIGNED, UNSIGNED, images, object, selector, template};
use crate::plant::PLC;
use crate::process::wait_patiently;
use crate::review::pinned;

const API: &str = "/apis/argoproj.io/v1alpha1";
const VERSION: &str = "argoproj.io/v1alpha1";
const ARGO: &str = "system:serviceaccount:argo-rollouts:argo-rollouts";
const REPLICA_SET: &str = "system:serviceaccount:kube-system:replicaset-controller";

pub(super) fn rollouts(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    admin.feed(&["apply", "--filename=-"], &custom_resource().to_string()).expect(0);
    admin.ok(&["wait", "--for=condition=established", "--timeout=50s", "crd/rollouts.argoproj.io"]);
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

    let tenant = cluster.tenant("rollouts");
    let within = || cluster.admin().within("rollouts");
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

    configure(cluster, None);
    admin.ok(&["delete", "crd", "rollouts.argoproj.io"]);
    rights.iter().for_each(|file| drop(admin.ok(&["delete", "--filename", file.to_str().unwrap()])));
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
