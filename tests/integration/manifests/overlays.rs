//! Overlays and components as kustomize builds them. Skipped without `kustomize` or `kubectl`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use super::{WEBHOOKS, array, base, configuration, container, find, manifests, parse};
use crate::process::{run, skip};
use crate::product::executable;

#[test]
fn kustomize_makes_of_the_base_what_is_there() {
    let Some(made) = kustomize(&manifests().join("base")) else { return };
    assert_eq!(by_name(made), by_name(base()));
}

#[test]
fn one_node_is_one_replica_that_no_reboot_can_lock_out() {
    let Some(made) = kustomize(&manifests().join("overlays/starlingx-simplex")) else { return };
    let deployment = find(&made, "Deployment", "portreeve");
    assert_eq!(deployment["spec"]["replicas"], 1);
    let spec = &deployment["spec"]["template"]["spec"];
    assert!(spec.get("affinity").is_none());
    let cache = array(&spec["volumes"]).iter().find(|volume| volume["name"] == "cache").unwrap();
    assert_eq!(*cache, json!({ "name": "cache", "persistentVolumeClaim": { "claimName": "portreeve-cache" } }));
    assert_eq!(array(&spec["volumes"]).len(), 6, "the other volumes are still there");
    let [volume, claim] =
        ["PersistentVolume", "PersistentVolumeClaim"].map(|kind| find(&made, kind, "portreeve-cache"));
    assert_eq!(volume["spec"]["claimRef"], json!({ "name": "portreeve-cache", "namespace": "portreeve" }));
    assert_eq!(
        (&claim["spec"]["volumeName"], &claim["spec"]["storageClassName"]),
        (&json!("portreeve-cache"), &json!(""))
    );
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let toleration = array(&spec["tolerations"]).iter().find(|toleration| toleration["key"] == key).unwrap();
        assert_eq!((&toleration["effect"], toleration.get("tolerationSeconds")), (&json!("NoExecute"), None));
    }
    for kind in WEBHOOKS {
        let exempt = exempt(&made, kind);
        for namespace in ["portreeve", "kube-system", "cert-manager", "flux-helm"] {
            assert!(exempt.contains(&json!(namespace)), "{kind}: {namespace}");
        }
        assert!(!exempt.contains(&json!("default")));
    }
    assert_eq!(find(&made, "ServiceAccount", "portreeve")["imagePullSecrets"][0]["name"], "portreeve-registries");
}

#[test]
fn cert_manager_is_told_what_kube_apiserver_calls() {
    let Some(made) = kustomize(&manifests().join("overlays/cert-manager")) else { return };
    let service = find(&made, WEBHOOKS[0], "portreeve")["webhooks"][0]["clientConfig"]["service"].clone();
    let name = format!("{}.{}.svc", service["name"].as_str().unwrap(), service["namespace"].as_str().unwrap());
    let serving = &find(&made, "Certificate", "portreeve-serving")["spec"];
    assert!(array(&serving["dnsNames"]).contains(&json!(name)));
    assert_eq!(serving["secretName"], "portreeve-certs");
    let issuer = find(&made, "Issuer", serving["issuerRef"]["name"].as_str().unwrap());
    assert_eq!(issuer["spec"]["ca"]["secretName"], find(&made, "Certificate", "portreeve-ca")["spec"]["secretName"]);
    for kind in WEBHOOKS {
        let annotations = &find(&made, kind, "portreeve")["metadata"]["annotations"];
        assert_eq!(annotations["cert-manager.io/inject-ca-from"], "portreeve/portreeve-serving", "{kind}");
        assert_eq!(exempt(&made, kind), [json!("portreeve"), json!("cert-manager")]);
    }
}

#[test]
fn components_that_ask_the_api_go_together() {
    let site = site_of(
        "components: [manifests/components/api-credentials, manifests/components/compare-children]
",
    );
    let Some(made) = kustomize(site.path()) else { return };
    assert_api_options(&made, &["--kubernetes-credentials", "--compare-children"]);
}

#[test]
fn credentials_from_the_api_go_with_a_configuration_of_one_s_own() {
    let site = site_of(
        "components: [manifests/components/api-credentials]
configMapGenerator:
  - name: portreeve-config
    namespace: portreeve
    behavior: replace
    files: [portreeve.yaml]
    options: { disableNameSuffixHash: true }
patches:
  - target: { kind: ClusterRoleBinding, name: portreeve-api-credentials }
    patch: |
      $patch: delete
      apiVersion: rbac.authorization.k8s.io/v1
      kind: ClusterRoleBinding
      metadata: { name: portreeve-api-credentials }
",
    );
    site.write("portreeve.yaml", "namespace: portreeve\n");
    let Some(made) = kustomize(site.path()) else { return };
    assert_api_options(&made, &["--kubernetes-credentials"]);
    let config = find(&made, "ConfigMap", "portreeve-config");
    assert_eq!(config["data"], json!({ "portreeve.yaml": "namespace: portreeve\n" }));
    find(&made, "ClusterRole", "portreeve-api-credentials");
    assert!(made.iter().all(|object| object["kind"] != "ClusterRoleBinding"), "as the example says");
}

#[test]
fn components_and_a_site_s_own_files_go_together() {
    let site = site_of(
        "components: [manifests/components/skip-label, manifests/components/monitoring]
configMapGenerator:
  - name: portreeve-policies
    namespace: portreeve
    files: [plant.yaml]
    options:
      disableNameSuffixHash: true
      labels: { app.kubernetes.io/name: portreeve, app.kubernetes.io/component: policy }
images:
  - name: registry.local:9001/portreeve/portreeve
    newName: registry.example.com/portreeve
patches:
  - path: signer-secrets.yaml
",
    );
    fs::copy(manifests().join("examples/signer-secrets.yaml"), site.path().join("signer-secrets.yaml")).unwrap();
    site.write("plant.yaml", "apiVersion: portreeve/v1\n");
    let Some(made) = kustomize(site.path()) else { return };
    let template = &find(&made, "Deployment", "portreeve")["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], "8080");
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["image"], format!("registry.example.com/portreeve:{}", env!("CARGO_PKG_VERSION")));
    let keys = array(&container["volumeMounts"]).iter().find(|mount| mount["name"] == "line-1-alice-key").unwrap();
    let directory = configuration(&made)["secrets"].as_str().unwrap().to_owned();
    assert_eq!(keys["mountPath"], format!("{directory}/line-1/alice-key"));
    assert_eq!(array(&template["spec"]["volumes"]).len(), 7);

    let policies = find(&made, "ConfigMap", "portreeve-policies");
    assert_eq!(policies["metadata"]["labels"]["app.kubernetes.io/component"], "policy");
    let policies = &policies["data"];
    assert_eq!(*policies, json!({ "plant.yaml": "apiVersion: portreeve/v1\n" }));
    for (name, label) in [("portreeve-alerts", "prometheus_rule"), ("portreeve-dashboard", "grafana_dashboard")] {
        assert_eq!(find(&made, "ConfigMap", name)["metadata"]["labels"][label], "1");
    }
    for kind in WEBHOOKS {
        let webhook = &find(&made, kind, "portreeve")["webhooks"][0];
        let label = "securityenforcement.admission.cloud.ibm.com/namespace";
        let skip = json!({ "key": label, "operator": "NotIn", "values": ["skip"] });
        assert_eq!(webhook["namespaceSelector"]["matchExpressions"][1], skip, "{kind}");
    }
}

/// A site's overlay beside a copy of `manifests/`: the overlay `cert-manager` and these lines.
fn site_of(lines: &str) -> TempDir {
    let site = TempDir::new();
    run(Command::new("cp").arg("-r").arg(manifests()).arg(site.path().join("manifests")), "").expect(0);
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [manifests/overlays/cert-manager]\n";
    site.write("kustomization.yaml", format!("{head}{lines}"));
    site
}

/// The pod has a token, and the executable's arguments end with these options. The executable knows each of them: outside
/// of a pod it fails because it misses the API server's address.
fn assert_api_options(made: &[Value], options: &[&str]) {
    let pod = &find(made, "Deployment", "portreeve")["spec"]["template"]["spec"];
    assert_eq!((&pod["automountServiceAccountToken"], &pod["serviceAccountName"]), (&json!(true), &json!("portreeve")));
    let args: Vec<&str> = array(&container(made)["args"]).iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(args[..3], ["serve", "--config", "/etc/portreeve/config/portreeve.yaml"]);
    assert_eq!(args[3..], *options);
    let dir = TempDir::new();
    for option in options {
        let mut command = executable();
        command.arg(args[0]).arg("--config").arg(dir.write("c.yaml", "{}")).arg(option);
        assert!(run(&mut command, "").expect(2).stderr.contains("KUBERNETES_SERVICE_HOST"), "{option}");
    }
}

/// The namespaces that a webhook exempts.
fn exempt(objects: &[Value], kind: &str) -> Vec<Value> {
    let selector = &find(objects, kind, "portreeve")["webhooks"][0]["namespaceSelector"]["matchExpressions"][0];
    assert_eq!((&selector["key"], &selector["operator"]), (&json!("kubernetes.io/metadata.name"), &json!("NotIn")));
    array(&selector["values"]).to_vec()
}

/// By kind and name; each occurs once.
pub(super) fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let named: BTreeMap<_, _> = objects
        .into_iter()
        .map(|object| (format!("{} {}", object["kind"], object["metadata"]["name"]), object))
        .collect();
    assert_eq!(named.len(), count, "two objects of one name");
    named
}

/// The objects that kustomize builds from a directory. `None` if neither program is there; a line on standard error then says
/// that the test is skipped.
pub(super) fn kustomize(directory: &Path) -> Option<Vec<Value>> {
    // Old versions know no components.
    let probe = TempDir::new();
    probe.write("kustomization.yaml", "components: [part]\n");
    probe.write(
        "part/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n\
                 configMapGenerator: [{ name: a, literals: [b=c] }]\n",
    );
    for (program, argument) in [("kustomize", "build"), ("kubectl", "kustomize")] {
        let knows = Command::new(program).arg(argument).arg(probe.path()).output();
        if knows.is_ok_and(|output| output.status.success()) {
            let made = run(Command::new(program).arg(argument).arg(directory), "").expect(0);
            return Some(parse(&made.stdout));
        }
    }
    skip("needs kustomize, or kubectl 1.21 or newer");
    None
}
