//! Workloads of every kind, and the objects that the real controllers create for them.

use serde_json::{Value, json};

use super::Cluster;
use super::control_plane::Controllers;
use super::kubectl::assert_denied;
use super::tenant::{SIGNED, UNSIGNED, images, object, selector, template};
use crate::plant::{HMI, PLC};
use crate::process::wait_patiently;
use crate::review::pinned;

const DEPLOYMENT: &str = "system:serviceaccount:kube-system:deployment-controller";
const REPLICA_SET: &str = "system:serviceaccount:kube-system:replicaset-controller";
const REPLICATION: &str = "system:serviceaccount:kube-system:replication-controller";
const DAEMON_SET: &str = "system:serviceaccount:kube-system:daemon-set-controller";
const STATEFUL_SET: &str = "system:serviceaccount:kube-system:statefulset-controller";
const JOB: &str = "system:serviceaccount:kube-system:job-controller";
const CRON_JOB: &str = "system:serviceaccount:kube-system:cronjob-controller";

pub(super) fn deployments(cluster: &Cluster) {
    let tenant = cluster.tenant("deployments");
    let (alice, plc, hmi) = (tenant.alice(), pinned(PLC, &cluster.plant.plc), pinned(HMI, &cluster.plant.hmi));
    let template_of = |name: &str| {
        let deployment = tenant.get("/apis/apps/v1", &format!("deployments/{name}")).unwrap();
        images(&deployment["spec"]["template"]["spec"]).concat()
    };
    alice.denied(
        &["create", "deployment", "bad", "--image", UNSIGNED],
        &[
            "portreeve denied Deployment deployments/bad: 1 of 1 image is not trusted",
            "container \"plc\", image registry.local:9001/plant/plc:unsigned: rejected: ",
            "policies/site.yaml",
        ],
    );
    assert_eq!(tenant.get("/apis/apps/v1", "deployments/bad"), None);

    alice.ok(&["create", "deployment", "plc", "--image", SIGNED, "--replicas=2"]);
    assert_eq!(template_of("plc"), plc);
    for pod in tenant.pods_of("ReplicaSet", 2) {
        assert_eq!(images(&pod["spec"]), [&plc]);
    }
    tenant.made_by(DEPLOYMENT, "replicasets", "Deployment");
    tenant.made_by(REPLICA_SET, "pods", "ReplicaSet");

    let unsigned = format!("plc={UNSIGNED}");
    alice.denied(&["set", "image", "deployment/plc", &unsigned], &["plc:unsigned: rejected: "]);
    assert_eq!(template_of("plc"), plc);
    alice.ok(&["set", "image", "deployment/plc", &format!("plc={HMI}:v1")]);
    assert_eq!(template_of("plc"), hmi);
    // The old ReplicaSet has the image by digest.
    alice.ok(&["rollout", "undo", "deployment/plc"]);
    assert_eq!(template_of("plc"), plc);
    alice.ok(&["rollout", "restart", "deployment/plc"]);
    alice.ok(&["scale", "deployment/plc", "--replicas=3"]);
    wait_patiently("the scaled ReplicaSet", || tenant.pods().len() >= 3);
}

pub(super) fn other_templates(cluster: &Cluster) {
    let tenant = cluster.tenant("templates");
    let plc = pinned(PLC, &cluster.plant.plc);
    let labels = json!({ "app": "plc" });
    for (api, kind, plural, spec) in [
        ("apps/v1", "ReplicaSet", "replicasets", json!({ "replicas": 1, "selector": selector() })),
        ("v1", "ReplicationController", "replicationcontrollers", json!({ "replicas": 1, "selector": labels })),
    ] {
        let made = |name: &str, image: &str| {
            let mut spec = spec.clone();
            spec["template"] = template(image);
            tenant.create(&object(api, kind, name, spec))
        };
        assert_denied(
            &made("bad", UNSIGNED),
            &[&format!("portreeve denied {kind} templates/bad: 1 of 1 image is"), "plc:unsigned"],
        );
        made("plc", SIGNED).expect(0);
        assert_eq!(images(&tenant.pods_of(kind, 1)[0]["spec"]), [&plc], "{kind}");
        // Deleted before the next, which has the same selector.
        tenant.alice().ok(&["delete", plural, "plc"]);
    }
    tenant.made_by(REPLICA_SET, "pods", "ReplicaSet");
    tenant.made_by(REPLICATION, "pods", "ReplicationController");

    let stored = |name: &str, image: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": name }, "template": template(image),
        });
        // The role `edit` does not include them.
        cluster.admin().within("templates").feed(&["create", "--filename=-"], &object.to_string())
    };
    assert_denied(&stored("bad", UNSIGNED), &["PodTemplate templates/bad: 1 of 1 image is", "plc:unsigned"]);
    stored("plc", SIGNED).expect(0);
    let stored = tenant.get("/api/v1", "podtemplates/plc").unwrap();
    assert_eq!(images(&stored["template"]["spec"]), [&plc]);
}

pub(super) fn stateful_sets(cluster: &Cluster) {
    let tenant = cluster.tenant("stateful-sets");
    let made = |name: &str, image: &str| {
        tenant.create(&object(
            "apps/v1",
            "StatefulSet",
            name,
            json!({
                "replicas": 2,
                "serviceName": "plc",
                "podManagementPolicy": "Parallel", // otherwise the second Pod waits until the first runs
                "selector": selector(),
                "template": template(image),
            }),
        ))
    };
    assert_denied(&made("bad", UNSIGNED), &["StatefulSet stateful-sets/bad: 1 of 1 image is", "plc:unsigned"]);
    made("plc", SIGNED).expect(0);
    for pod in tenant.pods_of("StatefulSet", 2) {
        assert_eq!(images(&pod["spec"]), [&pinned(PLC, &cluster.plant.plc)]);
    }
    tenant.made_by(STATEFUL_SET, "pods", "StatefulSet");
    let unsigned = format!("plc={UNSIGNED}");
    tenant.alice().denied(&["set", "image", "statefulset/plc", &unsigned], &["plc:unsigned"]);
}

pub(super) fn daemon_sets(cluster: &Cluster) {
    let tenant = cluster.tenant("daemon-sets");
    let made = |name: &str, image: &str| {
        let mut template = template(image);
        template["spec"]["tolerations"] = json!([{ "operator": "Exists" }]); // no kubelet keeps the node ready
        tenant.create(&object("apps/v1", "DaemonSet", name, json!({ "selector": selector(), "template": template })))
    };
    assert_denied(&made("bad", UNSIGNED), &["DaemonSet daemon-sets/bad: 1 of 1 image is", "plc:unsigned"]);
    made("plc", SIGNED).expect(0);
    assert_eq!(images(&tenant.pods_of("DaemonSet", 1)[0]["spec"]), [&pinned(PLC, &cluster.plant.plc)]);
    tenant.made_by(DAEMON_SET, "pods", "DaemonSet");
    let unsigned = format!("plc={UNSIGNED}");
    tenant.alice().denied(&["set", "image", "daemonset/plc", &unsigned], &["plc:unsigned"]);
}

pub(super) fn cron_jobs_and_jobs(cluster: &Cluster) {
    let tenant = cluster.tenant("jobs");
    let (alice, plc) = (tenant.alice(), pinned(PLC, &cluster.plant.plc));
    let every_minute =
        |name: &str, image: &str| alice.run(&["create", "cronjob", name, "--schedule=* * * * *", "--image", image]);
    assert_denied(&every_minute("bad", UNSIGNED), &["CronJob jobs/bad: 1 of 1 image is", "plc:unsigned"]);
    every_minute("plc", SIGNED).expect(0);
    let job_of = |object: &Value| images(&object["spec"]["template"]["spec"]).concat();
    let cron_job = tenant.get("/apis/batch/v1", "cronjobs/plc").unwrap();
    assert_eq!(job_of(&cron_job["spec"]["jobTemplate"]), plc);

    alice.denied(&["create", "job", "bad", "--image", UNSIGNED], &["Job jobs/bad: 1 of 1 image is", "plc:unsigned"]);
    alice.ok(&["create", "job", "plc", "--image", SIGNED]);
    assert_eq!(job_of(&tenant.get("/apis/batch/v1", "jobs/plc").unwrap()), plc);
    // kubectl adds the CronJob's ownerReference, which does not exempt a user's request. The image is verified.
    alice.ok(&["create", "job", "now", "--from=cronjob/plc"]);
    assert_eq!(job_of(&tenant.get("/apis/batch/v1", "jobs/now").unwrap()), plc);
    let decided = cluster.decided("jobs", "jobs", "create");
    let by_hand = decided.iter().filter(|(user, annotations)| user == "alice" && annotations["decision"] == "allowed");
    let by_hand: Vec<_> = by_hand.collect();
    assert_eq!(by_hand.len(), 2, "{decided:?}");
    assert!(by_hand.iter().all(|(_, annotations)| annotations.get("exempt").is_none()), "{by_hand:?}");

    let pods = || tenant.pods().iter().filter(|pod| images(&pod["spec"]) == [&plc]).count();
    wait_patiently("the jobs' pods", || pods() >= 2);
    tenant.made_by(JOB, "pods", "Job");
    // The CronJob's controller creates the Job within a minute.
    tenant.made_by(CRON_JOB, "jobs", "CronJob");
    wait_patiently("the pod of the scheduled job", || pods() >= 3);
    alice.ok(&["delete", "cronjob", "plc"]);
}

/// Clusters in which all controllers are one user.
pub(super) fn controllers_as_one_user(cluster: &Cluster) {
    let user = "system:kube-controller-manager";
    // Alone this user has few rights, because each controller's account has its own. It gets all rights.
    let binding = ["create", "clusterrolebinding", "one-user", "--clusterrole=cluster-admin", "--user", user];
    cluster.admin().ok(&binding);
    cluster.control.control(Controllers::OneUser);
    let tenant = cluster.tenant("one-user");
    tenant.alice().ok(&["create", "deployment", "plc", "--image", SIGNED]);
    assert_eq!(images(&tenant.pods_of("ReplicaSet", 1)[0]["spec"]), [&pinned(PLC, &cluster.plant.plc)]);
    tenant.made_by(user, "replicasets", "Deployment");
    tenant.made_by(user, "pods", "ReplicaSet");
}
