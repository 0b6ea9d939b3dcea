//! `manifests/` and the real API server: every object is valid, the installation works as the documentation says, and
//! removal leaves nothing behind.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Cluster, operator};
use crate::process::{Run, wait_patiently};

const STRICTLY: [&str; 2] = ["--dry-run=server", "--validate=strict"];

pub(super) fn every_site_is_valid(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    // A dry run of an object needs its namespace. The documentation begins with the namespace as well.
    admin.ok(&["apply", "--filename", path(&site.manifests("base/namespace.yaml"))]);
    site.certificates(&["--fill", path(&site.manifests("portreeve.yaml"))]);
    let mut definitions =
        vec![stand_in("Issuer", "issuers").to_string(), stand_in("Certificate", "certificates").to_string()];
    let operator = operator::definitions();
    definitions.extend(operator.clone());
    for crds in definitions {
        // Not `apply`, which keeps a second copy of the object in an annotation.
        let created = admin.feed(&["create", "--filename=-"], &crds).expect(0);
        for name in created.stdout.lines().map(|line| line.split_whitespace().next().unwrap()) {
            admin.ok(&["wait", "--for=condition=established", "--timeout=50s", name]);
        }
    }
    let apply = |directory: &Path| admin.run(&[&["apply", "--kustomize", path(directory)], &STRICTLY[..]].concat());

    flawless(&apply(&site.manifests("base")), "base");
    for name in directories(&site.manifests("sites")) {
        flawless(&apply(&site.copy_of(&name)), &name);
    }
    let mut components = directories(&site.manifests("components"));
    assert!(components.len() >= 5, "{components:?}");
    if operator.is_none() {
        components.retain(|name| name != "monitoring-operator");
    }
    let components: Vec<String> = components.iter().map(|name| format!("manifests/components/{name}")).collect();
    for component in &components {
        let alone = site.kustomization(component, "manifests/base", &["certs", component], &[]);
        flawless(&apply(&alone), component);
    }
    // Each of these stands in place of `monitoring`, or is a part of it.
    let others = components.iter().map(String::as_str).filter(|name| !name.contains("monitoring-"));
    let all: Vec<&str> = others.chain(["certs"]).collect();
    let patches = example_patches(cluster);
    let together = site.kustomization("together", "manifests/base", &all, &patches);
    flawless(&apply(&together), "all components together");
    for example in ["egress.yaml", "policies.yaml", "policy-editors.yaml"] {
        let file = site.manifests(&format!("examples/{example}"));
        flawless(&admin.run(&[&["apply", "--filename", path(&file)], &STRICTLY[..]].concat()), example);
    }

    // A misspelt field is refused, so the server did check the objects above.
    let slip = |operation: Value| {
        let patch = json!([operation]).to_string();
        let patch = json!({ "target": { "kind": "Deployment", "name": "portreeve" }, "patch": patch });
        apply(&site.kustomization("slip", "manifests/base", &[], &[patch])).expect(1).stderr
    };
    let unknown = slip(json!({ "op": "add", "path": "/spec/replicaCount", "value": 3 }));
    assert!(unknown.contains("unknown field \"spec.replicaCount\""), "{unknown}");
    let path = "/spec/template/spec/containers/0/volumeMounts/0/name";
    let invalid = slip(json!({ "op": "replace", "path": path, "value": "absent" }));
    assert!(invalid.contains("Not found: \"absent\""), "{invalid}");
    if operator.is_some() {
        operator::slips_are_refused(cluster);
    }
}

/// The example patches, as the documentation names them in a kustomization.
pub(super) fn example_patches(cluster: &Cluster) -> Vec<Value> {
    let text =
        |name: &str| fs::read_to_string(cluster.installation.manifests(&format!("examples/{name}.yaml"))).unwrap();
    let target = json!({ "kind": "CronJob", "name": "portreeve-review" });
    let pair = |name: &str| {
        [json!({ "patch": text(name) }), json!({ "patch": text(&format!("{name}-review")), "target": target })]
    };
    ["signer-secrets", "namespace-policies", "notation-trust-stores"].iter().flat_map(|name| pair(name)).collect()
}

pub(super) fn the_plain_file_is_valid_once_filled(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    let apply = |file: &Path| admin.run(&[&["apply", "--filename", path(file)], &STRICTLY[..]].concat());
    let filled = apply(&site.certs("portreeve.yaml"));
    flawless(&filled, "the filled plain file");
    // Unfilled, everything but the webhooks is accepted: the file cannot lock a cluster.
    let unfilled = apply(&site.manifests("portreeve.yaml")).expect(1);
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let refused = unfilled.stderr.lines().find(|line| line.contains(kind)).unwrap_or_default();
        assert!(refused.contains("illegal base64"), "{unfilled:?}");
    }
    let lines = |run: &Run| run.stdout.lines().count();
    assert_eq!(lines(&unfilled) + 2 + 1, lines(&filled), "{unfilled:?}\n{filled:?}"); // both webhook configurations and the Secret
}

pub(super) fn as_the_documentation_says(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    let first = ["create", "--filename", path(&site.manifests("first-policy.yaml"))].map(str::to_owned);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    admin.ok(&first);
    let own = site.site("by-hand");
    admin.ok(&["apply", "--kustomize", path(&own)]);
    let create = ["create", "deployment", "try", "--image=nginx", "--dry-run=server"];

    // No webhook answers yet, and Portreeve's own Pods are still created: under the restricted standard and
    // within their quota.
    let refused = admin.run(&create).expect(1).stderr;
    assert!(refused.contains("failed calling webhook \"admit.portreeve.svc\""), "{refused}");
    wait_patiently("Portreeve's three pods", || own_pods(cluster).len() == 3);
    for pod in own_pods(cluster) {
        assert_eq!(pod["spec"]["priorityClassName"], "system-cluster-critical");
        assert!(pod["spec"]["priority"].as_i64().unwrap() > 1_000_000_000, "the plugin knows the class");
    }
    let quota = cluster.get("/api/v1/namespaces/portreeve/resourcequotas/portreeve-critical-pods").unwrap();
    assert_eq!(quota["status"]["used"]["pods"], "3");

    let ca = format!("--from-file=ca.pem={}", path(&cluster.plant.pki.ca()));
    admin.ok(&["--namespace=portreeve", "create", "configmap", "portreeve-trust-ca", &ca]);
    site.serve(&cluster.control);
    admin.ok(&create);
    let decided = cluster.decided("default", "deployments", "create");
    assert_eq!(decided.last().unwrap().1["images"], "nginx=unchecked", "the annotation says that nothing was checked");

    let again = admin.ok(&["apply", "--kustomize", path(&own)]);
    let changed: Vec<&str> = again.lines().filter(|line| !line.ends_with(" unchanged")).collect();
    // kubectl always sends the whole selector of this kind.
    assert_eq!(changed, ["poddisruptionbudget.policy/portreeve configured"]);
    assert_eq!(admin.run(&first).expect(1).stderr.matches("AlreadyExists").count(), 1, "it replaces nothing");
}

pub(super) fn a_clean_removal(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    let left = || -> Vec<String> {
        let kinds = admin.ok(&["api-resources", "--verbs=list", "--output=name"]);
        let kinds = kinds.lines().collect::<Vec<_>>().join(",");
        let all = admin.ok(&["get", &kinds, "--all-namespaces", "--output=name", "--ignore-not-found"]);
        // Leases, endpoints and events have the name of their object, with or without labels.
        all.lines().filter(|name| name.contains("portreeve")).map(str::to_owned).collect()
    };
    // The site with the most objects.
    let own = site.site("edge-simplex");
    admin.ok(&["apply", "--kustomize", path(&own)]);
    for name in ["namespace/portreeve", "deployment.apps/portreeve", "persistentvolume/portreeve-cache"] {
        assert!(left().iter().any(|found| found == name), "what is not found now proves nothing");
    }

    admin.ok(&["delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "portreeve"]);
    site.stop();
    admin.ok(&["delete", "--ignore-not-found", "--wait=false", "--kustomize", path(&own)]);
    wait_patiently("the namespace to be gone", || cluster.get("/api/v1/namespaces/portreeve").is_none());
    let volume = "/api/v1/persistentvolumes/portreeve-cache";
    wait_patiently("the volume to be gone", || cluster.get(volume).is_none());
    assert_eq!(left(), <[&str; 0]>::default());
    // No webhook is called any more.
    admin.ok(&["create", "deployment", "try", "--image=registry.local:9001/plant/plc:unsigned"]);
}

/// Portreeve's own pods.
pub(super) fn own_pods(cluster: &Cluster) -> Vec<Value> {
    cluster.get("/api/v1/namespaces/portreeve/pods").unwrap()["items"].as_array().unwrap().clone()
}

/// Fails the test unless the API server accepted everything without a warning.
#[track_caller]
fn flawless(run: &Run, what: &str) {
    assert_eq!((run.status, &*run.stderr), (Some(0), ""), "{what}");
    assert!(run.stdout.contains("server dry run"), "{what}: {run:?}");
}

/// A CRD in place of cert-manager's, so that the API server accepts such objects.
pub(super) fn stand_in(kind: &str, plural: &str) -> Value {
    definition("cert-manager.io", "v1", "Namespaced", kind, plural)
}

/// A CRD that checks no field.
pub(super) fn definition(group: &str, version: &str, scope: &str, kind: &str, plural: &str) -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let version = json!({ "name": version, "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "scope": scope,
            "names": { "kind": kind, "plural": plural },
            "versions": [version],
        },
    })
}

fn directories(of: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(of)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
