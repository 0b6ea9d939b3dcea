//! The Helm chart on the real API server: installed, upgraded and uninstalled by the real helm. Nothing is checked before a
//! replica is ready, so a mistake in the values cannot stop the cluster.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Cluster;
use super::installing::own_pods;
use crate::manifests::chart::helm;
use crate::process::{Run, run, wait_patiently};

/// A workload that nobody stores.
const TRY: [&str; 5] = ["create", "deployment", "try-chart", "--image=nginx", "--dry-run=server"];

pub(super) fn installed_upgraded_and_uninstalled(cluster: &Cluster) {
    let Some(program) = helm() else { return };
    let (site, admin) = (&cluster.installation, cluster.admin());
    let helm = |args: &[&str]| -> Run {
        let mut command = Command::new(&program);
        command.env_clear().env("HOME", site.file("helm/home", "").parent().unwrap());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("KUBECONFIG", cluster.control.admin_kubeconfig());
        run(command.args(["--namespace", "portreeve"]).args(args), "")
    };
    let chart = site.manifests("chart");
    let upgrade = |values: &[&str]| {
        let fixed = ["upgrade", "portreeve", path(&chart), "--reset-then-reuse-values"];
        helm(&[&fixed[..], values].concat()).expect(0).stdout
    };
    let webhooks = || {
        let list = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/portreeve";
        cluster.get(list).is_some()
    };

    // As docs/helm.md says, with an image that does not exist.
    admin.ok(&["apply", "--filename", path(&site.manifests("base/namespace.yaml"))]);
    admin.ok(&["create", "--filename", path(&site.manifests("first-policy.yaml"))]);
    let texts: Vec<String> = [("caCert", "ca.crt"), ("tlsCert", "tls.crt"), ("tlsKey", "tls.key")]
        .iter()
        .map(|(value, file)| format!("UseGeneratedCerts.{value}={}", path(&site.certs(file))))
        .collect();
    let mut args = vec!["install", "portreeve", path(&chart), "--set", "UseGeneratedCerts.enabled=true"];
    args.extend(["--set", "image.tag=absent", "--set", "kubernetesCredentials=true"]);
    for text in &texts {
        args.extend(["--set-file", text]);
    }
    let told = helm(&args).expect(0).stdout;
    assert!(told.contains("NOTHING IS CHECKED YET"), "{told}");
    wait_patiently("the chart's three pods", || own_pods(cluster).len() == 3);
    upgrade(&[]);
    assert!(!webhooks(), "no replica is ready");
    admin.ok(&TRY);

    // With the right image the pods become ready, and the same command makes the webhooks.
    upgrade(&["--set", "image.tag="]);
    let version = env!("CARGO_PKG_VERSION");
    let is_new = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().ends_with(version);
    wait_patiently("a new pod", || own_pods(cluster).iter().any(is_new));
    site.serve(&cluster.control);
    wait_patiently("the Deployment to have a ready replica", || {
        own_pods(cluster).iter().filter(|pod| is_new(pod)).for_each(|pod| become_ready(cluster, pod));
        super::installation::deployment(&cluster.control)["status"]["readyReplicas"].as_u64().unwrap_or(0) > 0
    });
    let told = upgrade(&[]);
    assert!(told.contains("asks Portreeve about every workload"), "{told}");
    assert!(webhooks());
    admin.ok(&TRY);
    let decided = cluster.decided("default", "deployments", "create");
    assert_eq!(decided.last().unwrap().1["images"], "nginx=unchecked");

    // The webhooks stay when no replica is ready any more: an upgrade does not switch the checks off.
    upgrade(&["--set", "image.tag=absent", "--set", "config.admission.mode=warn"]);
    assert!(webhooks());
    let config = cluster.get("/api/v1/namespaces/portreeve/configmaps/portreeve-site-config").unwrap();
    assert_eq!(config["data"]["site.yaml"], "admission:\n  mode: warn\n");

    site.stop();
    helm(&["uninstall", "portreeve"]).expect(0);
    assert!(!webhooks());
    admin.ok(&TRY);
    wait_patiently("the pods to be gone", || {
        // Without a kubelet nobody confirms that they have ended.
        admin.run(&["--namespace=portreeve", "delete", "pods", "--all", "--force", "--grace-period=0"]);
        own_pods(cluster).is_empty()
    });
    let policies = "/api/v1/namespaces/portreeve/configmaps/portreeve-policies";
    assert!(cluster.get(policies).is_some(), "policies outlive the release");
    admin.ok(&["delete", "namespace", "portreeve", "--wait=false"]);
    wait_patiently("the namespace to be gone", || cluster.get("/api/v1/namespaces/portreeve").is_none());
}

/// What kubelet would report of a pod whose container answers its probes.
fn become_ready(cluster: &Cluster, pod: &Value) {
    let now = pod["metadata"]["creationTimestamp"].clone();
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now });
    let status =
        json!({ "status": { "phase": "Running", "conditions": [condition("Ready"), condition("ContainersReady")] } });
    let name = pod["metadata"]["name"].as_str().unwrap();
    let patch = status.to_string();
    let args =
        ["--namespace=portreeve", "patch", "pod", name, "--subresource=status", "--type=strategic", "--patch", &patch];
    cluster.admin().ok(&args);
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
