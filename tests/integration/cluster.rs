//! Portreeve in front of a real API server: etcd, kube-apiserver and kube-controller-manager, `manifests/` applied by a
//! real kubectl, a real Notary server. There is no node: Pods are created and never run. Denials and warnings are read
//! from kubectl, exemptions from the API server's audit log.
//!
//! Starting the cluster takes a while, so all scenarios are steps of one test. Each scenario of a tenant has a
//! namespace of its own, and these run side by side. The scenarios that stop Portreeve run after them.
//! `PORTREEVE_CLUSTER=WORD tests/run cluster` runs the scenarios whose names contain a word.

mod chart;
pub(crate) mod control_plane;
mod documentation;
mod installation;
mod kubectl;
mod kubelet;
mod operator;
mod service_network;
mod tenant;

mod credentials;
mod endings;
mod gitops;
mod installing;
mod outage;
mod owners;
mod pods;
mod policies;
mod reviewing;
mod rollouts;
mod sidecars;
mod signatures;
mod trust;
mod workloads;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use self::control_plane::{ControlPlane, Programs};
use self::installation::Installation;
use self::kubectl::Kubectl;
use self::tenant::Tenant;
use crate::notary::needs_notary;
use crate::plant::Plant;
use crate::process::wait_patiently;

/// A name, and the steps.
type Scenario = (&'static str, fn(&Cluster));

/// The last scenario.
const REMOVAL: Scenario = ("a clean removal", installing::a_clean_removal);

/// On the cluster that is empty again.
const CHART: Scenario = ("the Helm chart", chart::installed_upgraded_and_uninstalled);

/// On an empty cluster, in this order. These always run, because the others need the objects that they leave.
const FIRST: [Scenario; 4] = [
    ("every site and component is valid", installing::every_site_is_valid),
    ("the plain file is valid once it is filled", installing::the_plain_file_is_valid_once_filled),
    ("installing as the documentation says", installing::as_the_documentation_says),
    ("the first policy gives way to the site's", policies::the_first_policy_gives_way),
];

/// Side by side, the slow scenarios first.
const TENANTS: [Scenario; 25] = [
    ("CronJob and Job", workloads::cron_jobs_and_jobs),
    ("stored trust data stands in, with a warning", trust::stored_data_stands_in),
    ("pull secrets, of a ServiceAccount and of a Pod", credentials::pull_secrets),
    ("Deployment", workloads::deployments),
    ("a policy changes through its ConfigMap", policies::changes_take_effect),
    ("policies with errors are refused", policies::errors_are_refused),
    ("patterns with tags, and a denial", policies::patterns_with_tags),
    ("who may edit policies", policies::only_editors_may_edit),
    ("a namespace's people edit its policies", owners::its_people_edit_its_policies),
    ("ReplicaSet, ReplicationController and PodTemplate", workloads::other_templates),
    ("server-side apply of a template that is pinned", gitops::pinned_templates),
    ("server-side apply with mutateImage: pods", gitops::pinned_pods),
    ("StatefulSet", workloads::stateful_sets),
    ("DaemonSet", workloads::daemon_sets),
    ("kubectl run", pods::kubectl_run),
    ("kubectl debug", pods::kubectl_debug),
    ("init containers and image volumes", pods::every_list_of_images),
    ("what changes no image passes", pods::what_changes_no_image),
    ("another webhook that changes pods", sidecars::a_later_webhook),
    ("a forged owner", pods::forged_owners),
    ("a static pod's mirror, and a forged one", pods::mirror_pods),
    ("images signed by cosign", signatures::signed_by_cosign),
    ("mode: warn", trust::warn_mode),
    ("the trust server is away", trust::the_server_is_away),
    ("a signer's key from a Secret", trust::signers_from_secrets),
];

/// One at a time, in this order.
const LAST: [Scenario; 10] = [
    ("a certificate that is out of date", endings::a_certificate_that_is_out_of_date),
    ("what runs already is reviewed", reviewing::what_runs_already),
    ("the certificate is renewed under load", outage::the_certificate_is_renewed_under_load),
    ("the webhook is down", outage::the_webhook_is_down),
    ("one node starts again", outage::one_node_starts_again),
    ("policies are replaced while no webhook answers", outage::policies_are_put_right),
    ("a namespace's mistake that no webhook saw", owners::a_mistake_that_no_webhook_saw),
    ("a container that is put into a controller's pod", sidecars::injected_into_a_child),
    ("a custom resource with a pod template", rollouts::rollouts),
    ("controllers as one user", workloads::controllers_as_one_user),
];

#[test]
fn portreeve_holds_in_a_real_cluster() {
    needs_notary!();
    let Some(programs) = Programs::find() else { return };
    let plant = Plant::visit();
    let cluster = Cluster {
        control: ControlPlane::start(programs, &plant.pki),
        installation: Installation::new(&plant.pki),
        plant,
        failed: Mutex::default(),
    };
    let word = std::env::var("PORTREEVE_CLUSTER").unwrap_or_default();
    let wanted = |scenario: &&Scenario| scenario.0.contains(&word);

    cluster.has_a_node();
    for scenario in &FIRST {
        cluster.show(scenario);
    }
    let next = AtomicUsize::new(0);
    let tenants: Vec<&Scenario> = TENANTS.iter().filter(wanted).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(scenario) = tenants.get(next.fetch_add(1, Ordering::SeqCst)) {
                    cluster.show(scenario);
                }
            });
        }
    });
    for scenario in LAST.iter().filter(wanted) {
        cluster.show(scenario);
        if !cluster.installation.is_ready() {
            // A scenario that failed may have left it stopped. If the start fails as well, the next scenario says so.
            let _ = catch_unwind(AssertUnwindSafe(|| cluster.installation.serve(&cluster.control)));
        }
    }
    cluster.show(&REMOVAL);
    cluster.show(&CHART);
    let failed = cluster.failed.lock().unwrap();
    assert!(failed.is_empty(), "failed: {}\n--- Portreeve's log\n{}", failed.join(", "), cluster.installation.log());
}

/// The running cluster.
struct Cluster {
    control: ControlPlane,
    installation: Installation,
    plant: Arc<Plant>,
    failed: Mutex<Vec<&'static str>>,
}

impl Cluster {
    /// A node without a kubelet: controllers create Pods for it.
    fn has_a_node(&self) {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "edge-1" } });
        self.admin().feed(&["create", "--filename=-"], &node.to_string()).expect(0);
    }

    /// Runs one scenario. The next ones run even if it fails.
    fn show(&self, (name, scenario): &Scenario) {
        let start = Instant::now();
        let outcome = match catch_unwind(AssertUnwindSafe(|| scenario(self))) {
            Ok(()) => "ok".to_owned(),
            Err(panic) => {
                self.failed.lock().unwrap().push(name);
                let words = panic.downcast_ref::<String>().map(String::as_str);
                format!("FAILED: {}", words.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default())
            }
        };
        // Written to the stream itself, because the test runner captures what `eprintln!` prints.
        let line = format!("cluster: {name} ... {outcome}, {:.1} s\n", start.elapsed().as_secs_f64());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// kubectl as the cluster's administrator.
    fn admin(&self) -> Kubectl {
        self.control.kubectl("admin")
    }

    /// A namespace in which alice, a tenant, has the role `edit`.
    fn tenant(&self, namespace: &'static str) -> Tenant<'_> {
        Tenant::new(self, namespace)
    }

    /// The response to a GET by the administrator; `None` for a 404.
    fn get(&self, path: &str) -> Option<Value> {
        let response = self.control.ask("GET", path, "");
        match response.status {
            404 => None,
            status => {
                assert_eq!(status, 200, "{path}: {}", response.body);
                Some(response.json())
            }
        }
    }

    /// Adds policies under a key of their own, as a policy editor, and waits until they are in force.
    fn add_policies(&self, key: &str, policies: &[Value]) {
        let text: Vec<String> = policies.iter().map(Value::to_string).collect();
        let patch = json!({ "data": { key: text.join("\n---\n") } }).to_string();
        let editor = self.control.kubectl("editor").within("portreeve");
        editor.ok(&["patch", "configmap", "portreeve-policies", "--type=merge", "--patch", &patch]);
        self.take_policies();
    }

    /// Mounts the stored policies, and waits until Portreeve has read them.
    fn take_policies(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let taken = || self.installation.metric("portreeve_reloads_total", &["\"policies\"", "\"ok\""]);
        let before = taken();
        if self.installation.mount(&self.control).iter().any(|volume| volume == "policies") {
            wait_patiently("the policies to be taken", || taken() > before);
        }
    }

    /// Portreeve's annotations in the audit log, for requests for one resource of one namespace: the user, and the
    /// annotations of `/admit` by their short names.
    fn decided(&self, namespace: &str, resource: &str, verb: &str) -> Vec<(String, Value)> {
        let events = self.control.audit().into_iter();
        let ours = events.filter(|event| {
            let object = &event["objectRef"];
            object["namespace"] == namespace && object["resource"] == resource && event["verb"] == verb
        });
        ours.map(|event| {
            let annotations = event["annotations"].as_object().cloned().unwrap_or_default();
            let ours = annotations
                .into_iter()
                .filter_map(|(key, value)| key.strip_prefix("admit.portreeve.svc/").map(|key| (key.to_owned(), value)));
            let user =
                [&event["impersonatedUser"], &event["user"]].into_iter().find_map(|user| user["username"].as_str());
            (user.unwrap().to_owned(), ours.collect::<serde_json::Map<_, _>>().into())
        })
        .collect()
    }
}
