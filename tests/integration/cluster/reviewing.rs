//! What runs already, reviewed by the CronJob of `manifests/components/review-cronjob` with its own ServiceAccount's rights.

use std::fs;

use serde_json::{Value, json};

use super::Cluster;
use super::installing::example_patches;
use super::policies::image_policy;
use super::tenant::SIGNED;
use crate::process::{run, wait_patiently};

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;

pub(super) fn what_runs_already(cluster: &Cluster) {
    let admin = cluster.admin();
    let tenant = cluster.tenant("running");
    let signed_by = |signers: Value| {
        let trust = json!({ "enabled": true, "trustServer": cluster.plant.notary.url(), "signers": signers });
        cluster.add_policies("running.yaml", &[image_policy("running", trust)]);
    };
    signed_by(json!([cluster.plant.alice.in_policy()]));
    tenant.alice().ok(&["create", "deployment", "plc", "--image", SIGNED]);
    tenant.pods_of("ReplicaSet", 1);

    // With the example patches, as in a site.
    let component = "manifests/components/review-cronjob";
    let site =
        cluster.installation.kustomization("reviewed", "manifests/base", &[component], &example_patches(cluster));
    let component = "app.kubernetes.io/component=review";
    let with_files = |verb: &str| admin.ok(&[verb, "--kustomize", site.to_str().unwrap(), "--selector", component]);
    with_files("apply");
    only_what_it_needs(cluster);

    // While the policy is as it was when they were created, nothing would be denied.
    let (status, answers, summary) = job(cluster, "first", &["--namespace", "running"]);
    assert_eq!(status, Some(ALLOWED), "{answers:#?}");
    assert_eq!(named(&answers, "running"), [("Deployment plc".to_owned(), true), ("Pod plc".to_owned(), true)]);
    assert!(summary.starts_with("2 objects reviewed: 2 allowed, "), "{summary}");

    // Now another signer is required. What runs goes on running, and the review tells.
    signed_by(json!([cluster.plant.bob.in_policy()]));
    let (status, answers, summary) = job(cluster, "second", &[]);
    assert_eq!(status, Some(DENIED), "{summary}");
    assert_eq!(named(&answers, "running"), [("Deployment plc".to_owned(), false), ("Pod plc".to_owned(), false)]);
    assert!(summary.contains(" denied") && summary.contains("\ndenied Deployment running/plc\n"), "{summary}");
    // The webhooks leave out Portreeve's own namespace, and so does the review.
    let own = answers.iter().filter(|answer| answer["request"]["namespace"] == "portreeve");
    let own: Vec<&Value> = own.collect();
    assert!(!own.is_empty());
    for answer in own {
        let skipped = answer["response"]["auditAnnotations"]["skipped"].as_str().unwrap_or_default();
        assert_eq!(skipped, "namespace portreeve is exempt by the webhooks' namespaceSelector", "{answer}");
    }
    tells_who_watches_jobs(cluster);
    a_namespaces_own_policies_decide(cluster);
    with_files("delete");
    signed_by(json!([cluster.plant.alice.in_policy()]));
}

/// Runs the CronJob's command as kubelet would, in a Job that is made of it. Returns its exit status, the lines of its log, and
/// its termination message.
pub(super) fn job(cluster: &Cluster, name: &str, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let name = format!("review-{name}");
    cluster.admin().within("portreeve").ok(&["create", "job", &name, "--from=cronjob/portreeve-review"]);
    let pods = || -> Vec<Value> {
        let all = cluster.get("/api/v1/namespaces/portreeve/pods").unwrap()["items"].as_array().unwrap().clone();
        all.into_iter().filter(|pod| pod["metadata"]["labels"]["job-name"] == *name).collect()
    };
    wait_patiently("the Job's pod", || !pods().is_empty());
    let (mut command, message) = cluster.installation.command_of(&cluster.control, &pods()[0]);
    let run = run(command.args(more), "");
    let answers = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = fs::read_to_string(message).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    assert!(message.len() <= 4096);
    // kubelet reports how the container ended.
    let ended = json!({ "exitCode": run.status, "message": message, "reason": "Error" });
    let phase = if run.status == Some(0) { "Succeeded" } else { "Failed" };
    let status = json!({
        "status": { "phase": phase, "containerStatuses": [{
            "name": "review", "image": "x", "imageID": "x", "ready": false, "restartCount": 0, "state": { "terminated": ended },
        }] },
    });
    let pod = pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let patch = ["patch", "pod", &pod, "--subresource=status", "--type=merge", "--patch", &status.to_string()]
        .map(str::to_owned);
    let patch: Vec<&str> = patch.iter().map(String::as_str).collect();
    cluster.admin().within("portreeve").ok(&patch);
    (run.status, answers, message)
}

/// The objects of a namespace by kind and the beginning of the name, and whether they would be admitted.
pub(super) fn named(answers: &[Value], namespace: &str) -> Vec<(String, bool)> {
    let ours = answers.iter().filter(|answer| answer["request"]["namespace"] == namespace);
    ours.map(|answer| {
        let request = &answer["request"];
        let name = request["name"].as_str().unwrap().split('-').next().unwrap();
        let kind = request["kind"]["kind"].as_str().unwrap();
        (format!("{kind} {name}"), answer["response"]["allowed"].as_bool().unwrap())
    })
    .collect()
}

/// The patch namespace-policies-review.yaml mounts the policies of namespace line-2, and they decide there and nowhere else.
fn a_namespaces_own_policies_decide(cluster: &Cluster) {
    let admin = cluster.admin();
    // While the webhook knows nothing of them.
    let pod = ["create", "deployment", "still", "--image", SIGNED, "--namespace", "line-2"];
    if admin.run(&["get", "namespace", "line-2"]).status != Some(0) {
        admin.ok(&["create", "namespace", "line-2"]);
    }
    admin.ok(&pod);
    let (_, answers, _) = job(cluster, "third", &["--namespace", "line-2"]);
    assert!(named(&answers, "line-2").contains(&("Deployment still".to_owned(), true)), "{answers:#?}");
    let with_own = |policy: &Value| {
        let metadata = json!({ "name": "portreeve-policies-line-2", "namespace": "portreeve" });
        let data = json!({ "ours.yaml": policy.to_string() });
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
        admin.feed(&["apply", "--filename=-"], &object.to_string()).expect(0);
    };
    let mut denial = image_policy("line-2", json!({}));
    denial["spec"]["repositories"] =
        json!([{ "name": "*", "policy": { "deny": { "message": "line 2 stands still" } } }]);
    with_own(&denial);
    let (status, answers, _) = job(cluster, "fourth", &["--namespace", "line-2"]);
    assert_eq!(status, Some(DENIED));
    assert!(named(&answers, "line-2").contains(&("Deployment still".to_owned(), false)), "{answers:#?}");
    assert!(answers.iter().any(|answer| answer.to_string().contains("line 2 stands still")), "{answers:#?}");
    admin.ok(&[
        "patch",
        "configmap",
        "portreeve-policies-line-2",
        "--namespace=portreeve",
        "--type=merge",
        "--patch",
        "{\"data\":null}",
    ]);
    admin.ok(&["delete", "deployment", "still", "--namespace=line-2"]);
}

/// A review with a denial is a failed Job: that is what alerts go by.
fn tells_who_watches_jobs(cluster: &Cluster) {
    let condition = |name: &str, kind: &str| {
        let job = cluster.get(&format!("/apis/batch/v1/namespaces/portreeve/jobs/review-{name}")).unwrap();
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    wait_patiently("the first Job to be complete", || condition("first", "Complete"));
    wait_patiently("the second Job to have failed", || condition("second", "Failed"));
}

fn only_what_it_needs(cluster: &Cluster) {
    let account = "--as=system:serviceaccount:portreeve:portreeve-review";
    let can = |verb: &str, resource: &str| {
        cluster.admin().run(&["auth", "can-i", verb, resource, "--all-namespaces", account]).status == Some(0)
    };
    for resource in ["pods", "deployments.apps", "cronjobs.batch", "namespaces"] {
        assert!(can("list", resource), "{resource}");
        assert!(!can("watch", resource) && !can("delete", resource) && !can("patch", resource), "{resource}");
    }
    assert!(can("get", "mutatingwebhookconfigurations/portreeve"));
    assert!(!can("get", "mutatingwebhookconfigurations/others") && !can("list", "mutatingwebhookconfigurations"));
    for resource in ["secrets", "configmaps", "serviceaccounts"] {
        assert!(!can("get", resource) && !can("list", resource), "{resource}");
    }
}
