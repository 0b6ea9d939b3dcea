//! The webhook configurations: both fail closed, exempt one namespace, and ask about exactly the kinds that the executable
//! understands. The webhook for policies is asked about policies alone.

use std::collections::BTreeSet;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use super::{WEBHOOKS, array, base, find};
use crate::process::run;
use crate::product::executable;

#[test]
fn both_webhooks_ask_about_the_same_and_fail_closed() {
    let base = base();
    let [mutating, validating] = WEBHOOKS.map(|kind| array(&find(&base, kind, "portreeve")["webhooks"])[0].clone());
    let mut twin = mutating.clone();
    twin["name"] = validating["name"].clone();
    twin["clientConfig"]["service"]["path"] = json!("/validate");
    assert_eq!(twin.as_object_mut().unwrap().remove("reinvocationPolicy"), Some(json!("IfNeeded")));
    assert_eq!(twin, validating, "the twin is a twin");

    let service = &mutating["clientConfig"]["service"];
    assert_eq!(*service, json!({ "name": "portreeve", "namespace": "portreeve", "path": "/admit", "port": 443 }));
    assert!(mutating["clientConfig"].get("caBundle").is_none(), "cert-manager's would be overwritten by every apply");
    for (field, value) in [
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Equivalent")),
        ("sideEffects", json!("None")),
        ("admissionReviewVersions", json!(["v1", "v1beta1"])),
        ("timeoutSeconds", json!(10)),
    ] {
        assert_eq!(mutating[field], value, "{field}");
    }
    for webhook in [&mutating, &validating] {
        // Kubernetes: a fully qualified name of at least three labels.
        assert!(webhook["name"].as_str().unwrap().split('.').count() >= 3);
        let own = json!({ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["portreeve"] });
        assert_eq!(webhook["namespaceSelector"], json!({ "matchExpressions": [own] }), "no other namespace is exempt");
        assert!(webhook.get("objectSelector").is_none(), "a tenant writes its own labels");
    }
}

#[test]
fn config_maps_are_looked_over_by_name_and_can_always_be_put_right() {
    let base = base();
    let webhooks = array(&find(&base, WEBHOOKS[1], "portreeve")["webhooks"]);
    assert_eq!(array(&find(&base, WEBHOOKS[0], "portreeve")["webhooks"]).len(), 1);
    assert_eq!(webhooks.len(), 2);
    let webhook = &webhooks[1];
    assert_eq!(webhook["clientConfig"]["service"]["path"], "/validate-policy");
    assert_eq!(webhook["failurePolicy"], "Ignore", "else a broken set could not be replaced while no replica is ready");
    assert_eq!(webhook["namespaceSelector"], json!({ "matchLabels": { "kubernetes.io/metadata.name": "portreeve" } }));
    let [rule] = array(&webhook["rules"]) else { panic!("{webhook}") };
    assert_eq!((&rule["apiGroups"], &rule["resources"]), (&json!([""]), &json!(["configmaps"])));
    assert!(webhook.get("objectSelector").is_none(), "labels get lost, and the executable reads the name");
}

#[test]
fn the_rules_cover_exactly_what_the_product_understands() {
    let base = base();
    let rules = array(&find(&base, WEBHOOKS[0], "portreeve")["webhooks"][0]["rules"]);
    let mut covered = BTreeSet::new();
    for rule in rules {
        assert_eq!((&rule["operations"], &rule["scope"]), (&json!(["CREATE", "UPDATE"]), &json!("Namespaced")));
        let [groups, versions, resources] = ["apiGroups", "apiVersions", "resources"]
            .map(|field| array(&rule[field]).iter().map(|v| v.as_str().unwrap()));
        let versions: Vec<&str> = versions.collect();
        assert!(!versions.is_empty() && !versions.contains(&"*"), "{rule}");
        let resources: Vec<&str> = resources.collect();
        for group in groups {
            covered.extend(resources.iter().map(|resource| (group.to_owned(), (*resource).to_owned())));
        }
    }
    assert!(covered.remove(&(String::new(), "pods/ephemeralcontainers".to_owned())), "kubectl debug");

    // Workloads, and kinds that resemble one, in every API group that such a kind may have.
    let groups = [
        "",
        "apps",
        "batch",
        "extensions",
        "autoscaling",
        "policy",
        "networking.k8s.io",
        "apps.openshift.io",
        "batch.io",
    ];
    let kinds = [
        "Pod",
        "PodTemplate",
        "ReplicationController",
        "Deployment",
        "ReplicaSet",
        "DaemonSet",
        "StatefulSet",
        "Job",
        "CronJob",
        "Service",
        "ConfigMap",
        "Secret",
        "Node",
        "Binding",
        "ControllerRevision",
        "DeploymentConfig",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "Ingress",
        "ScheduledJob",
        "Scale",
        "PodPreset",
    ];
    let spec = json!({ "containers": [{ "name": "c", "image": "unknown.example.com/x:1" }] });
    let template = json!({ "spec": spec });
    let object = json!({
        "template": template,
        "spec": { "containers": spec["containers"], "template": template, "jobTemplate": { "spec": { "template": template } } },
    });
    let mut asked = Vec::new();
    let mut reviews = Vec::new();
    for group in groups {
        for kind in kinds {
            asked.push((group.to_owned(), format!("{}s", kind.to_lowercase())));
            let review = json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "request": {
                    "uid": "u", "kind": { "group": group, "version": "v1", "kind": kind }, "namespace": "default",
                    "operation": "CREATE", "userInfo": { "username": "alice" }, "object": object,
                },
            });
            reviews.push(review.to_string());
        }
    }
    let dir = TempDir::new();
    let policy = json!({
        "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": { "name": "nothing" },
        "spec": { "repositories": [{ "name": "registry.local:9001/nothing" }] },
    });
    dir.write("p.yaml", policy.to_string());
    let mut command = executable();
    command.args(["review", "--output", "json", "-", "--policies"]).arg(dir.path());
    let answers = run(&mut command, &reviews.join("\n---\n")).expect(1).stdout;
    let answers: Vec<Value> = serde_json::Deserializer::from_str(&answers).into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.len(), asked.len());
    let mut understood = BTreeSet::new();
    for (resource, answer) in asked.into_iter().zip(&answers) {
        assert_eq!(answer["response"]["allowed"], false, "{resource:?}");
        if answer["response"]["status"]["message"].as_str().unwrap().contains("unknown.example.com/x") {
            understood.insert(resource);
        }
    }
    assert_eq!(covered, understood);
}
