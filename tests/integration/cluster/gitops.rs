//! A GitOps controller's way of working: server-side apply, dry runs, comparing Git with the cluster, two field managers.

use serde_json::{Value, json};

use super::Cluster;
use super::policies::image_policy;
use super::tenant::{SIGNED, Tenant, UNSIGNED, images, object, selector, template};
use crate::plant::{HMI, PLC};
use crate::process::{Run, wait_patiently};
use crate::review::{in_policy, pinned};

const REPLICA_SET: &str = "system:serviceaccount:kube-system:replicaset-controller";

/// The Deployment as it is in Git.
fn in_git(image: &str) -> Value {
    object(
        "apps/v1",
        "Deployment",
        "plc",
        json!({ "replicas": 1, "selector": selector(), "template": template(image) }),
    )
}

/// `kubectl apply --server-side` by a field manager.
fn apply(tenant: &Tenant<'_>, manager: &str, object: &Value, more: &[&str]) -> Run {
    let manager = format!("--field-manager={manager}");
    let args = ["apply", "--server-side", &*manager, "--filename=-"];
    tenant.alice().feed(&[&args[..], more].concat(), &object.to_string())
}

/// The image in the Deployment's template.
fn image_of(tenant: &Tenant<'_>) -> String {
    let deployment = tenant.get("/apis/apps/v1", "deployments/plc").unwrap();
    images(&deployment["spec"]["template"]["spec"]).concat()
}

fn replica_sets(tenant: &Tenant<'_>) -> Vec<Value> {
    tenant.get("/apis/apps/v1", "replicasets").unwrap()["items"].as_array().unwrap().clone()
}

/// By default the template in the cluster has a digest that Git does not have.
pub(super) fn pinned_templates(cluster: &Cluster) {
    let tenant = cluster.tenant("git-and-pins");
    let plc = pinned(PLC, &cluster.plant.plc);
    // A dry run is decided in the same way, and stores nothing.
    let dry = ["--dry-run=server", "--output=json"];
    let shown = || {
        let shown = apply(&tenant, "git", &in_git(SIGNED), &dry).expect(0).stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        images(&shown["spec"]["template"]["spec"]).concat()
    };
    assert_eq!(shown(), plc);
    assert_eq!(tenant.get("/apis/apps/v1", "deployments/plc"), None);
    let refused = apply(&tenant, "git", &in_git(UNSIGNED), &dry[..1]).expect(1).stderr;
    assert!(refused.contains("plc:unsigned: rejected: "), "{refused}");
    let uid = |number: usize| cluster.decided("git-and-pins", "deployments", "patch")[number].1["uid"].clone();
    let line = log_line(cluster, uid(0).as_str().unwrap());
    assert_eq!((&line["dryRun"], &line["allowed"]), (&json!(true), &json!(true)), "{line}");

    apply(&tenant, "git", &in_git(SIGNED), &[]).expect(0);
    assert_eq!(image_of(&tenant), plc);
    wait_patiently("the ReplicaSet", || replica_sets(&tenant).len() == 1);
    // The same controller again: the tag is its own field, is pinned again, and nothing changes.
    let generation = || tenant.get("/apis/apps/v1", "deployments/plc").unwrap()["metadata"]["generation"].clone();
    let before = generation();
    apply(&tenant, "git", &in_git(SIGNED), &[]).expect(0);
    assert_eq!((image_of(&tenant), generation()), (plc.clone(), before));
    assert_eq!(replica_sets(&tenant).len(), 1);
    // A comparison that asks the webhooks finds no difference, and one that does not ask them finds the digest.
    assert_eq!(shown(), image_of(&tenant));
    assert_ne!(image_of(&tenant), SIGNED);
    // Another field manager wants the same tag, and conflicts with the digest.
    let other = apply(&tenant, "promoter", &in_git(SIGNED), &[]).expect(1).stderr;
    assert!(other.contains("conflict with \"git\"") && other.contains(".image"), "{other}");
    // With the digest in Git, both agree.
    for manager in ["git", "promoter"] {
        apply(&tenant, manager, &in_git(&plc), &[]).expect(0);
    }
    assert_eq!(image_of(&tenant), plc);
}

/// With `mutateImage: pods`, the template is what Git has, and the Pod is pinned.
pub(super) fn pinned_pods(cluster: &Cluster) {
    let tenant = cluster.tenant("git-as-it-is");
    let trust = json!({
        "enabled": true, "trustServer": cluster.plant.notary.url(), "signers": in_policy(&[&cluster.plant.alice]),
    });
    let mut policy = image_policy("git-as-it-is", trust);
    policy["spec"]["repositories"][0]["policy"]["mutateImage"] = json!("pods");
    cluster.add_policies("git-as-it-is.yaml", &[policy]);
    let plc = pinned(PLC, &cluster.plant.plc);

    let refused = apply(&tenant, "git", &in_git(UNSIGNED), &[]).expect(1).stderr;
    assert!(refused.contains("plc:unsigned: rejected: "), "{refused}");
    for manager in ["git", "promoter", "git"] {
        apply(&tenant, manager, &in_git(SIGNED), &[]).expect(0);
        assert_eq!(image_of(&tenant), SIGNED);
    }
    assert_eq!(images(&tenant.pods_of("ReplicaSet", 1)[0]["spec"]), [&plc]);
    let [replica_set] = &replica_sets(&tenant)[..] else { panic!("{:?}", replica_sets(&tenant)) };
    assert_eq!(images(&replica_set["spec"]["template"]["spec"]), [SIGNED]);

    // The Pod was verified, and not exempt.
    let made = || -> Option<Value> {
        let all = cluster.decided("git-as-it-is", "pods", "create").into_iter();
        all.filter(|(user, _)| user == REPLICA_SET).map(|(_, annotations)| annotations).next()
    };
    wait_patiently("the audit event of the Pod", || made().is_some());
    let made = made().unwrap();
    assert_eq!(made["compared"], "images under \"mutateImage: pods\" are verified when a Pod is made");
    assert_eq!(made["policies"], format!("{SIGNED}=ImagePolicy/git-as-it-is/plant"));
    let digest = plc.split_once('@').unwrap().1;
    assert_eq!((&made["decision"], &made["images"]), (&json!("allowed"), &json!(format!("{SIGNED}={digest}"))));
    let line = log_line(cluster, made["uid"].as_str().unwrap());
    assert_eq!((&line["kind"], &line["user"]), (&json!("Pod"), &json!(REPLICA_SET)), "{line}");

    // A change in Git replaces the Pod, and a bare Pod is pinned as it is by default.
    apply(&tenant, "git", &in_git(&format!("{HMI}:v1")), &["--force-conflicts"]).expect(0);
    let hmi = pinned(HMI, &cluster.plant.hmi);
    wait_patiently("the new image", || tenant.pods().iter().any(|pod| images(&pod["spec"]) == [&hmi]));
    tenant.alice().ok(&["run", "bare", "--image", SIGNED]);
    assert_eq!(images(&tenant.get("/api/v1", "pods/bare").unwrap()["spec"]), [&plc]);
}

/// The line of the decision log with this uid.
#[track_caller]
fn log_line(cluster: &Cluster, uid: &str) -> Value {
    let find = || cluster.installation.log().lines().find(|line| line.contains(uid)).map(str::to_owned);
    wait_patiently("the line of the log", || find().is_some());
    serde_json::from_str(&find().unwrap()).unwrap()
}
