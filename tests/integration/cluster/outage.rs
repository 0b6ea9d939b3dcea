//! Portreeve replaced, and Portreeve stopped: what still works, what does not, and how it recovers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use super::Cluster;
use super::endings::has_counted;
use super::installing::own_pods;
use super::policies::image_policy;
use super::tenant::{SIGNED, images};
use crate::notary::RealNotary;
use crate::plant::PLC;
use crate::process::{wait_patiently, wait_until};
use crate::review::{pinned, pod};

const NOBODY_ANSWERS: &str = "failed calling webhook \"admit.portreeve.svc\"";

/// `certs-gen --renew` and `kubectl apply`, several times while Pods are created: no request may fail.
///
/// The API server keeps its connections and so would not see the new certificate. Each time, a trust server stops for a
/// moment: the requests that wait for it keep their connections busy, and other requests need new ones.
pub(super) fn the_certificate_is_renewed_under_load(cluster: &Cluster) {
    let namespace = cluster.tenant("load").namespace;
    let notary = RealNotary::start(&cluster.plant.pki);
    let trust = json!({ "enabled": true, "trustServer": notary.url() });
    cluster.add_policies("held.yaml", &[image_policy(cluster.tenant("held").namespace, trust)]);
    let create = |namespace: &str, image: &str| {
        let mut pod = pod(image);
        pod["metadata"]["namespace"] = json!(namespace);
        cluster.control.ask("POST", &format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), &pod.to_string())
    };
    let site = &cluster.installation;
    let taken = || site.metric("portreeve_reloads_total", &["certificate", "\"ok\""]);
    let open = || site.metric("portreeve_connections", &["\"tls\""]);
    let renew = || {
        let before = taken();
        site.certificates(&["--renew"]);
        cluster.admin().ok(&["apply", "--filename", site.certs("secret.yaml").to_str().unwrap()]);
        assert_eq!(site.mount(&cluster.control), ["certs"]);
        wait_until("the new certificate to be taken", || taken() > before);
    };

    let digest = pinned(PLC, &cluster.plant.plc);
    let (over, admitted) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // The load ends even if this fails, because a scope waits for its threads.
        let end = End(&over);
        let load = || {
            while !over.load(Ordering::SeqCst) {
                let response = create(namespace, SIGNED);
                assert!(response.status == 201 && response.body.contains(&digest), "{response:?}");
                admitted.fetch_add(1, Ordering::SeqCst);
            }
        };
        let load: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for round in 1..=3 {
            renew();
            let before = open();
            notary.freeze();
            // More than last time, because those connections are kept too.
            let held: Vec<_> = (0..8 * round)
                .map(|at| {
                    scope.spawn(move || create("held", &format!("registry.local:9001/plant/held-{round}-{at}:v1")))
                })
                .collect();
            wait_until("new connections", || open() > before);
            notary.thaw();
            for thread in held {
                let response = thread.join().unwrap();
                assert!(response.status == 403 && response.body.contains("denied the request"), "{response:?}");
            }
            let so_far = admitted.load(Ordering::SeqCst);
            wait_until("admissions to go on", || admitted.load(Ordering::SeqCst) > so_far + 20);
        }
        drop(end);
        load.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Raises a flag when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub(super) fn the_webhook_is_down(cluster: &Cluster) {
    let tenant = cluster.tenant("outage");
    let alice = tenant.alice();
    alice.ok(&["create", "deployment", "plc", "--image", SIGNED]);
    alice.ok(&["run", "plc", "--image", SIGNED]);
    let made = tenant.pods_of("ReplicaSet", 1).remove(0);
    cluster.installation.stop();

    let refused = alice.run(&["run", "other", "--image", SIGNED]).expect(1).stderr;
    assert!(refused.contains(NOBODY_ANSWERS) && refused.contains("no pod is there"), "{refused}");
    // Running Pods continue, and can be deleted.
    alice.ok(&["get", "pods"]);
    alice.ok(&["delete", "pod", "plc", "--timeout=30s"]);
    // Controllers get the same error, and try again.
    alice.ok(&["scale", "deployment/plc", "--replicas=2"]);
    alice.ok(&["delete", "pod", made["metadata"]["name"].as_str().unwrap(), "--timeout=30s"]);
    let told = || alice.ok(&["get", "events", "--field-selector=reason=FailedCreate", "--output=jsonpath={..message}"]);
    wait_patiently("the controller to be refused", || told().contains(NOBODY_ANSWERS));
    assert!(tenant.pods().is_empty());
    // Nobody is told of the scaling. The API server counts it.
    assert!(has_counted(cluster, "PortreeveNotReached", "admit.portreeve.svc"));
    // Portreeve's own Pods are created again by their controller.
    let own = |pods: &[serde_json::Value]| -> Vec<String> {
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let before = own(&own_pods(cluster));
    cluster.admin().within("portreeve").ok(&["delete", "pod", &before[0], "--timeout=30s"]);
    wait_patiently("Portreeve's pod to be made again", || {
        let now = own(&own_pods(cluster));
        now.len() == before.len() && !now.contains(&before[0])
    });

    cluster.installation.serve(&cluster.control);
    for pod in tenant.pods_of("ReplicaSet", 2) {
        assert_eq!(images(&pod["spec"]), [&pinned(PLC, &cluster.plant.plc)]);
    }
    alice.ok(&["run", "other", "--image", SIGNED]);
}

/// One node after a boot: no webhook answers, and the Pods that bring up the node must still be created.
pub(super) fn one_node_starts_again(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    let tenant = cluster.tenant("simplex");
    for namespace in ["cert-manager", "flux-helm", "platform-deployment-manager", "rook-ceph"] {
        admin.ok(&["create", "namespace", namespace]);
    }
    let made = |namespace: &str| {
        let kubectl = cluster.admin().within(namespace);
        kubectl.run(&[
            "create",
            "deployment",
            "platform",
            "--image=registry.local:9001/platform/cni:1",
            "--dry-run=server",
        ])
    };
    let refused = |namespace: &str| made(namespace).expect(1).stderr.contains(NOBODY_ANSWERS);
    site.stop();
    assert!(refused("kube-system"), "it is not exempt by hand");

    for (name, exempt, others) in [
        (
            "starlingx-simplex",
            &["kube-system", "cert-manager", "flux-helm", "platform-deployment-manager", "rook-ceph"][..],
            &[][..],
        ),
        ("edge-simplex", &["kube-system"], &["cert-manager"]),
    ] {
        admin.ok(&["apply", "--kustomize", site.site(name).to_str().unwrap()]);
        for namespace in exempt {
            wait_until("the exemption to count", || made(namespace).status == Some(0));
        }
        for namespace in others.iter().chain(&[tenant.namespace, "default"]) {
            wait_until("the others to be refused", || refused(namespace));
        }
    }
    let controllers = cluster.admin().within("kube-system");
    controllers.ok(&["create", "deployment", "cni", "--image=registry.local:9001/platform/cni:1"]);
    let pods = || cluster.get("/api/v1/namespaces/kube-system/pods?labelSelector=app%3Dcni").unwrap();
    wait_patiently("the platform's pod", || pods()["items"].as_array().unwrap().len() == 1);

    // Portreeve's own Pod mounts the node's disk through a bound claim.
    let phase = ["get", "persistentvolumeclaim", "portreeve-cache", "--output=jsonpath={.status.phase}"];
    wait_patiently("the cache to be bound", || cluster.admin().within("portreeve").ok(&phase) == "Bound");
    wait_patiently("a pod that mounts it", || {
        let mounts = |pod: &serde_json::Value| pod["spec"]["volumes"].to_string().contains("portreeve-cache");
        own_pods(cluster).iter().any(mounts)
    });
    site.serve(&cluster.control);
    tenant.alice().ok(&["create", "deployment", "plc", "--image", SIGNED]);
    tenant.pods_of("ReplicaSet", 1);
}

/// A set of policies that was stored without a check can be replaced, although it keeps Portreeve from becoming ready.
pub(super) fn policies_are_put_right(cluster: &Cluster) {
    let site = &cluster.installation;
    let editor = cluster.control.kubectl("editor").within("portreeve");
    let patch = |value: &str| {
        let patch = format!("{{\"data\":{{\"slip.yaml\":{value}}}}}");
        editor.ok(&["patch", "configmap", "portreeve-policies", "--type=merge", "--patch", &patch]);
    };
    site.stop();
    patch("\"kind: [\""); // no webhook answers
    assert!(has_counted(cluster, "PortreeveBypassed", "policies.portreeve.svc"));
    site.start(&cluster.control);
    wait_until("Portreeve to say that it is not ready", || site.serving().as_ref().unwrap().is_alive());
    assert!(!site.is_ready());
    patch("null");
    site.mount(&cluster.control);
    wait_until("Portreeve to be ready", || site.is_ready());
}
