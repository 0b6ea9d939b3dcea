//! The policies of a namespace, edited by its own people, who may do nothing else.

use serde_json::{Value, json};

use super::Cluster;
use super::kubectl::assert_denied;
use super::policies::image_policy;
use super::tenant::{SIGNED, UNSIGNED};
use crate::process::{Run, wait_patiently, wait_until};

const CONFIG_MAP: &str = "portreeve-policies-line-2";

/// The ConfigMap of namespace line-2, as its people have it in a file.
fn config_map(policy: &str) -> String {
    let metadata = json!({ "name": CONFIG_MAP, "namespace": "portreeve" });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "ours.yaml": policy } })
        .to_string()
}

/// An ImagePolicy that denies every image of a namespace.
fn denial(namespace: &str) -> Value {
    let mut policy = image_policy(namespace, json!({}));
    policy["spec"]["repositories"] =
        json!([{ "name": "*", "policy": { "deny": { "message": "line 2 stands still" } } }]);
    policy
}

/// `kubectl apply` by the people of line-2.
fn apply(cluster: &Cluster, policy: &Value) -> Run {
    let keeper = cluster.control.kubectl("keeper").within("portreeve");
    keeper.feed(&["apply", "--filename=-"], &config_map(&policy.to_string()))
}

/// Mounts what is stored, and waits until Portreeve has read it.
fn take(cluster: &Cluster) {
    let taken = || cluster.installation.metric("portreeve_reloads_total", &["\"namespace_policies\""]);
    let before = taken();
    cluster.installation.mount(&cluster.control);
    wait_patiently("the namespace's policies to be read", || taken() > before);
}

pub(super) fn its_people_edit_its_policies(cluster: &Cluster) {
    let tenant = cluster.tenant("line-2");
    let other = cluster.tenant("beside-line-2");
    let dry_run = |namespace: &str, image: &str| {
        cluster.control.kubectl("alice").within(namespace).run(&["run", "plc", "--image", image, "--dry-run=server"])
    };
    dry_run(tenant.namespace, SIGNED).expect(0);
    assert_denied(&dry_run(tenant.namespace, UNSIGNED), &["ClusterImagePolicy site"]);

    // Their policies decide on their namespace, and on no other.
    apply(cluster, &denial("line-2")).expect(0);
    take(cluster);
    assert_denied(&dry_run("line-2", SIGNED), &["line 2 stands still"]);
    dry_run(other.namespace, SIGNED).expect(0);

    // Mistakes, and policies for others, are refused when they are applied.
    let refused = |policy: &Value, words: &[&str]| {
        let run = apply(cluster, policy).expect(1);
        for word in
            [&["admission webhook \"policies.portreeve.svc\" denied the request", "ours.yaml:1:"], words].concat()
        {
            assert!(run.stderr.contains(word), "no {word:?} in {run:?}");
        }
    };
    let mut slip = denial("line-2");
    slip["spec"]["repositorys"] = json!([]);
    refused(&slip, &["did you mean \"repositories\"?"]);
    refused(&denial(other.namespace), &["there are only ImagePolicies of namespace line-2"]);
    let mut cluster_s = denial("line-2");
    cluster_s["kind"] = json!("ClusterImagePolicy");
    cluster_s["metadata"].as_object_mut().unwrap().remove("namespace");
    refused(&cluster_s, &["ClusterImagePolicy plant does not belong here"]);
    assert_denied(&dry_run("line-2", SIGNED), &["line 2 stands still"]);

    // They may do nothing else.
    let keeper = cluster.control.kubectl("keeper");
    let can = |args: &[&str]| {
        let namespace =
            if args.iter().any(|arg| arg.starts_with("--namespace")) { &[][..] } else { &["--namespace=portreeve"] };
        keeper.run(&[&["auth", "can-i"], args, namespace].concat()).stdout.trim() == "yes"
    };
    for verb in ["get", "update", "patch"] {
        assert!(can(&[verb, &format!("configmaps/{CONFIG_MAP}")]), "{verb}");
        for other in ["portreeve-policies", "portreeve-policies-line-1", "portreeve-config", "portreeve-site-config"] {
            assert!(!can(&[verb, &format!("configmaps/{other}")]), "{verb} {other}");
        }
    }
    for question in [
        &["create", "configmaps"] as &[&str],
        &["list", "configmaps"],
        &["delete", &format!("configmaps/{CONFIG_MAP}")],
        &["get", "secrets"],
        &["list", "pods"],
        &["get", "pods", "--subresource=log"],
        &["create", "pods"],
        &["update", &format!("configmaps/{CONFIG_MAP}"), "--namespace=line-2"],
        &["create", "pods", "--namespace=line-2"],
        &["patch", "validatingwebhookconfigurations.admissionregistration.k8s.io/portreeve"],
    ] {
        assert!(!can(question), "{question:?}");
    }
    for taken in ["portreeve-policies", "portreeve-policies-line-1"] {
        let patch = ["patch", "configmap", taken, "--type=merge", "--patch", "{\"data\":null}"];
        let run = cluster.control.kubectl("keeper").within("portreeve").run(&patch).expect(1);
        assert!(run.stderr.contains("Forbidden") || run.stderr.contains("forbidden"), "{run:?}");
    }

    // Without keys, the ClusterImagePolicies count again.
    keeper.within("portreeve").ok(&["patch", "configmap", CONFIG_MAP, "--type=merge", "--patch", "{\"data\":null}"]);
    take(cluster);
    dry_run("line-2", SIGNED).expect(0);
}

/// A mistake that no webhook saw, in the pod that starts with it.
pub(super) fn a_mistake_that_no_webhook_saw(cluster: &Cluster) {
    let site = &cluster.installation;
    let line_2 = cluster.control.kubectl("admin").within("line-2");
    if cluster.get("/api/v1/namespaces/line-2").is_none() {
        cluster.tenant("line-2");
    }
    let dry_run = || line_2.run(&["run", "plc", "--image", SIGNED, "--dry-run=server"]);
    let keeper = cluster.control.kubectl("keeper").within("portreeve");
    site.stop();
    keeper.feed(&["apply", "--filename=-"], &config_map("kind: [")).expect(0); // no webhook answers
    site.serve(&cluster.control);
    assert_denied(&dry_run(), &["unavailable: ", CONFIG_MAP, "line-2/ours.yaml:1:"]);
    let elsewhere = cluster.control.kubectl("admin").within("default");
    elsewhere.ok(&["run", "plc", "--image", SIGNED, "--dry-run=server"]);
    let denied = || site.metric("portreeve_namespace_policies_unusable", &["denied"]);
    assert!(denied() > 0.5);
    keeper.ok(&["patch", "configmap", CONFIG_MAP, "--type=merge", "--patch", "{\"data\":null}"]);
    site.mount(&cluster.control);
    wait_until("the correction to be read", || denied() < 0.5);
    dry_run().expect(0);
}
