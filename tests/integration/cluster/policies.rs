//! Policies in their ConfigMap: replaced, changed, with mistakes, and by different users.

use serde_json::{Value, json};

use super::Cluster;
use super::kubectl::assert_denied;
use super::tenant::{SIGNED, images};
use crate::plant::{HMI, PLC};
use crate::process::run;
use crate::product::executable;
use crate::review::{in_policy, pinned};

/// From the first policy, which checks nothing, to the site's own policy, as docs/install.md says.
pub(super) fn the_first_policy_gives_way(cluster: &Cluster) {
    let editors = cluster.installation.manifests("examples/policy-editors.yaml");
    cluster.admin().ok(&["apply", "--filename", editors.to_str().unwrap()]);
    let trust = json!({
        "enabled": true,
        "trustServer": cluster.plant.notary.url(),
        "signers": in_policy(&[&cluster.plant.alice]),
    });
    let policy = json!({
        "apiVersion": "portreeve/v1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "site" },
        "spec": { "repositories": [{ "name": "registry.local:9001/plant/*", "policy": { "trust": trust } }] },
    });
    let labels = json!({ "app.kubernetes.io/name": "portreeve", "app.kubernetes.io/component": "policy",
        "app.kubernetes.io/part-of": "portreeve" });
    let mine = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "portreeve-policies", "namespace": "portreeve", "labels": labels },
        "data": { "site.yaml": policy.to_string() },
    })
    .to_string();
    let file = cluster.installation.file("my-policies.yaml", &mine);
    run(executable().arg("lint").arg(&file), "").expect(0);
    cluster.control.kubectl("editor").ok(&["replace", "--filename", file.to_str().unwrap()]);
    cluster.take_policies();
    assert_eq!(stored(cluster).as_object().unwrap().keys().collect::<Vec<_>>(), ["site.yaml"]);
    let unnamed = ["create", "deployment", "try", "--image=nginx", "--dry-run=server"];
    cluster.admin().denied(&unnamed, &["image nginx: rejected: "]);
}

pub(super) fn changes_take_effect(cluster: &Cluster) {
    let tenant = cluster.tenant("changes");
    let run = || tenant.alice().run(&["run", "hmi", "--image", &format!("{HMI}:v2"), "--dry-run=server"]);
    run().expect(0); // alice signed it, and the policy requires no other signer
    let wants = |signers: Vec<Value>| {
        let trust = json!({ "enabled": true, "trustServer": cluster.plant.notary.url(), "signers": signers });
        cluster.add_policies("changes.yaml", &[image_policy("changes", trust)]);
    };
    let (alice, bob) = (&cluster.plant.alice, &cluster.plant.bob);
    wants(in_policy(&[alice, bob]));
    assert_denied(&run(), &["hmi:v2: rejected: ", "bob", "changes.yaml"]);
    wants(in_policy(&[alice]));
    run().expect(0);
}

/// An image that was admitted and pinned under a pattern with a tag still matches that pattern: as a child, edited,
/// scaled, restarted.
pub(super) fn patterns_with_tags(cluster: &Cluster) {
    let tenant = cluster.tenant("tags");
    let alice = tenant.alice();
    let trust = json!({ "trust": { "enabled": true, "trustServer": cluster.plant.notary.url() } });
    let mut policy = image_policy("tags", json!({}));
    policy["spec"]["repositories"] = json!([
        { "name": format!("{PLC}:v*"), "policy": trust },
        { "name": format!("{HMI}:v1"), "policy": trust },
        { "name": "docker.io/*", "policy": { "deny": { "message": "use the plant's own registry" } } },
        { "name": "*", "policy": {} },
    ]);
    cluster.add_policies("tags.yaml", &[policy]);
    let plc = pinned(PLC, &cluster.plant.plc);
    let template = || tenant.get("/apis/apps/v1", "deployments/plc").unwrap()["spec"]["template"]["spec"].clone();

    alice.ok(&["create", "deployment", "plc", "--image", SIGNED]);
    assert_eq!(images(&template()), [&plc]);
    assert_eq!(images(&tenant.pods_of("ReplicaSet", 1)[0]["spec"]), [&plc]);
    alice.ok(&["run", "hmi", "--image", &format!("{HMI}:v1")]);
    assert_eq!(images(&tenant.get("/api/v1", "pods/hmi").unwrap()["spec"]), [&pinned(HMI, &cluster.plant.hmi)]);
    alice.ok(&["label", "deployment", "plc", "shift=night"]);
    alice.ok(&["scale", "deployment", "plc", "--replicas=0"]);
    alice.ok(&["rollout", "restart", "deployment/plc"]);
    assert_eq!(images(&template()), [&plc]);

    let unsigned = format!("{PLC}@sha256:{}", "0".repeat(64));
    alice.denied(&["run", "bad", "--image", &unsigned], &["rejected: ", "plc:v*"]);
    alice.denied(&["set", "image", "deployment/plc", &format!("plc={unsigned}")], &["rejected: ", "plc:v*"]);
    alice.denied(&["run", "bad", "--image=nginx"], &["rejected: denied by policy: use the plant's own registry"]);
    assert_eq!(images(&template()), [&plc]);
}

pub(super) fn errors_are_refused(cluster: &Cluster) {
    let before = stored(cluster);
    let editor = cluster.control.kubectl("editor").within("portreeve");
    let refused = |key: &str, text: &str, words: &[&str]| {
        let patch = json!({ "data": { key: text } }).to_string();
        let run = editor.run(&["patch", "configmap", "portreeve-policies", "--type=merge", "--patch", &patch]);
        assert_eq!(run.status, Some(1), "{run:?}");
        let denied =
            "admission webhook \"policies.portreeve.svc\" denied the request: portreeve: these policies cannot";
        for word in [&[denied], words].concat() {
            assert!(run.stderr.contains(word), "no {word:?} in {run:?}");
        }
    };
    let slip = "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: { name: slip }\nspec:\n  repositories:\n\
                \x20   - name: \"*\"\n      policy:\n        trust:\n          enabeld: true\n";
    refused("slip.yaml", slip, &["slip.yaml:9:", "enabeld", "enabled"]);
    refused("slip.yaml", "kind: [", &["slip.yaml:1:"]);
    refused("slip.yaml", "apiVersion: v1\nkind: Pod\n", &["slip.yaml"]);
    assert_eq!(stored(cluster).get("slip.yaml"), None);
    assert!(before.as_object().unwrap().keys().all(|key| stored(cluster).get(key).is_some()));
    // Other ConfigMaps of the namespace are not checked.
    let other = ["--namespace=portreeve", "create", "configmap", "other", "--from-literal=slip.yaml=kind: ["];
    cluster.admin().ok(&other);
}

pub(super) fn only_editors_may_edit(cluster: &Cluster) {
    let can = |user: &str, args: &[&str]| {
        let kubectl = cluster.control.kubectl(user).within("portreeve");
        kubectl.run(&[&["auth", "can-i"], args].concat()).stdout.trim() == "yes"
    };
    const MAY: [&[&str]; 5] = [
        &["get", "configmaps/portreeve-policies"],
        &["update", "configmaps/portreeve-policies"],
        &["patch", "configmaps/portreeve-policies"],
        &["list", "pods"],
        &["get", "pods", "--subresource=log"],
    ];
    const MAY_NOT: [&[&str]; 8] = [
        &["delete", "configmaps/portreeve-policies"],
        &["update", "configmaps/portreeve-config"],
        &["create", "configmaps"],
        &["create", "pods"],
        &["get", "secrets"],
        &["patch", "deployments.apps/portreeve"],
        &["patch", "mutatingwebhookconfigurations.admissionregistration.k8s.io/portreeve"],
        &["update", "configmaps/portreeve-policies", "--namespace=default"],
    ];
    for question in MAY {
        assert!(can("editor", question), "{question:?}");
        assert!(!can("alice", question), "{question:?}");
    }
    for question in MAY_NOT {
        assert!(!can("editor", question), "{question:?}");
        assert!(can("admin", question), "{question:?}");
    }
}

/// An ImagePolicy of one namespace for everything under `registry.local:9001/plant/`.
pub(super) fn image_policy(namespace: &str, trust: Value) -> Value {
    json!({
        "apiVersion": "portreeve/v1",
        "kind": "ImagePolicy",
        "metadata": { "name": "plant", "namespace": namespace },
        "spec": { "repositories": [{ "name": "registry.local:9001/plant/*", "policy": { "trust": trust } }] },
    })
}

/// The files of the policies' ConfigMap.
fn stored(cluster: &Cluster) -> Value {
    cluster.get("/api/v1/namespaces/portreeve/configmaps/portreeve-policies").unwrap()["data"].clone()
}
