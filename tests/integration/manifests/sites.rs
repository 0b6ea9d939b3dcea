//! Sites and components as kustomize builds them: a copy of a directory of `manifests/sites` beside `manifests/`. Skipped
//! without `kustomize` or `kubectl`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use super::{WEBHOOKS, array, base, configuration, container, documents, find, manifests, parse, root};
use crate::cluster::control_plane::program;
use crate::process::run;
use crate::product::executable;

#[test]
fn kustomize_makes_of_the_base_what_is_there() {
    let Some(made) = kustomize(&manifests().join("base")) else { return };
    assert_eq!(by_name(made), by_name(base()));
}

#[test]
fn one_node_is_one_replica_that_no_reboot_can_lock_out() {
    let Some(made) = site_of("starlingx-simplex", "").made() else { return };
    let deployment = find(&made, "Deployment", "portreeve");
    assert_eq!(deployment["spec"]["replicas"], 1);
    let spec = &deployment["spec"]["template"]["spec"];
    assert!(spec.get("topologySpreadConstraints").is_none());
    let cache = array(&spec["volumes"]).iter().find(|volume| volume["name"] == "cache").unwrap();
    assert_eq!(*cache, json!({ "name": "cache", "persistentVolumeClaim": { "claimName": "portreeve-cache" } }));
    assert_eq!(array(&spec["volumes"]).len(), 7, "the other volumes are still there");
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
    let Some(made) = site_of("cert-manager", "").made() else { return };
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
        assert!(annotations["argocd.argoproj.io/sync-wave"].is_string(), "the other annotations stay");
        assert_eq!(exempt(&made, kind), [json!("portreeve"), json!("cert-manager")]);
    }
}

#[test]
fn components_that_ask_the_api_go_together() {
    let components =
        "components: [../manifests/components/api-credentials, ../manifests/components/compare-children]\n";
    let Some(made) = site_of("cert-manager", components).made() else { return };
    assert_api_options(&made, &["--kubernetes-credentials", "--compare-children"]);
}

/// As `manifests/examples/api-credentials-by-namespace.yaml` says at its head.
#[test]
fn credentials_from_the_api_can_be_given_by_namespace() {
    let site = site_of(
        "by-hand",
        "components: [../manifests/components/api-credentials]
patches:
  - target: { kind: ClusterRoleBinding, name: portreeve-api-credentials }
    patch: |
      $patch: delete
      apiVersion: rbac.authorization.k8s.io/v1
      kind: ClusterRoleBinding
      metadata: { name: portreeve-api-credentials }
",
    );
    let Some(made) = site.made() else { return };
    assert_api_options(&made, &["--kubernetes-credentials"]);
    find(&made, "ClusterRole", "portreeve-api-credentials");
    assert!(made.iter().all(|object| object["kind"] != "ClusterRoleBinding"), "as the example says");
}

/// The configuration of the site comes beside that of the manifests, whatever the name of its file, and both are read.
#[test]
fn a_site_s_configuration_replaces_nothing() {
    for name in ["by-hand", "cert-manager", "edge-simplex", "starlingx-simplex"] {
        let Some(made) = site_of(name, "").made() else { return };
        let own = find(&made, "ConfigMap", "portreeve-site-config");
        let keys: Vec<&String> = own["data"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["site.yaml"]);
        assert_eq!(own["metadata"]["labels"]["app.kubernetes.io/part-of"], "portreeve");
        assert_eq!(configuration(&made), configuration(&base()));
        let volumes = array(&find(&made, "Deployment", "portreeve")["spec"]["template"]["spec"]["volumes"]);
        let config = volumes.iter().find(|volume| volume["name"] == "config").unwrap();
        assert_eq!(config["projected"]["sources"][1]["configMap"]["name"], own["metadata"]["name"]);
        // The webhooks alone come last.
        for object in &made {
            let is_webhook = WEBHOOKS.iter().any(|kind| object["kind"] == *kind);
            assert_eq!(object["metadata"]["labels"]["portreeve.io/apply"] == "last", is_webhook, "{object}");
        }
    }
}

#[test]
fn kube_system_can_be_left_out() {
    for name in ["by-hand", "cert-manager"] {
        let component = "components: [../manifests/components/exempt-kube-system]\n";
        let [Some(without), Some(with)] = ["", component].map(|lines| site_of(name, lines).made()) else { return };
        for kind in WEBHOOKS {
            assert!(!exempt(&without, kind).contains(&json!("kube-system")));
            assert_eq!(exempt(&with, kind), [&exempt(&without, kind)[..], &[json!("kube-system")]].concat());
        }
    }
}

#[test]
fn components_and_a_site_s_own_files_go_together() {
    let site = site_of(
        "cert-manager",
        "components: [../manifests/components/skip-label, ../manifests/components/monitoring]
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
    let keys = fs::read(manifests().join("examples/signer-secrets.yaml")).unwrap();
    site.0.write("own/signer-secrets.yaml", keys);
    site.0.write("own/plant.yaml", "apiVersion: portreeve/v1\n");
    let Some(made) = site.made() else { return };
    let template = &find(&made, "Deployment", "portreeve")["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], "8080");
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["image"], format!("registry.example.com/portreeve:{}", env!("CARGO_PKG_VERSION")));
    let keys = array(&container["volumeMounts"]).iter().find(|mount| mount["name"] == "line-1-alice-key").unwrap();
    let directory = configuration(&made)["secrets"].as_str().unwrap().to_owned();
    assert_eq!(keys["mountPath"], format!("{directory}/line-1/alice-key"));
    assert_eq!(array(&template["spec"]["volumes"]).len(), 8);

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

/// What a site mounts into the Deployment, the daily review mounts too. Without the review, its patches do nothing.
#[test]
fn the_review_mounts_what_the_webhook_mounts() {
    let lines = |components: &str, name: &str| {
        format!(
            "components: [{components}]
patches:
  - path: {name}.yaml
  - {{ path: {name}-review.yaml, target: {{ kind: CronJob, name: portreeve-review }} }}
"
        )
    };
    for (name, volume) in [
        ("signer-secrets", "line-1-alice-key"),
        ("namespace-policies", "policies-line-2"),
        ("notation-trust-stores", "trust-store-ca-plant"),
        ("notation-trust-stores", "revocation-lists"),
    ] {
        for component in ["", "../manifests/components/review-cronjob"] {
            let site = site_of("by-hand", &lines(component, name));
            for file in [format!("{name}.yaml"), format!("{name}-review.yaml")] {
                site.0.write(&format!("own/{file}"), fs::read(manifests().join("examples").join(&file)).unwrap());
            }
            let page = fs::read_to_string(root().join("docs/commands.md")).unwrap();
            for line in lines("", name).lines().skip(2) {
                assert!(page.lines().any(|printed| printed == line), "docs/commands.md does not say {line:?}");
            }
            let Some(made) = site.made() else { return };
            let parts = |pod: &Value| {
                let is_it = |part: &&Value| part["name"] == volume;
                let volume = array(&pod["volumes"]).iter().find(is_it).cloned();
                (volume, array(&pod["containers"][0]["volumeMounts"]).iter().find(is_it).cloned())
            };
            let webhook = parts(&find(&made, "Deployment", "portreeve")["spec"]["template"]["spec"]);
            assert!(webhook.0.is_some() && webhook.1.is_some(), "{name}");
            if component.is_empty() {
                assert!(made.iter().all(|object| object["kind"] != "CronJob"));
            } else {
                let review =
                    &find(&made, "CronJob", "portreeve-review")["spec"]["jobTemplate"]["spec"]["template"]["spec"];
                assert_eq!(parts(review), webhook, "{name}");
            }
        }
    }
}

/// The example mounts the ConfigMaps that docs/notation.md makes, where trust stores are looked for by default.
#[test]
fn the_trust_stores_of_the_example_are_those_of_the_page() {
    let example = documents(&manifests().join("examples/notation-trust-stores.yaml")).remove(0);
    let pod = &example["spec"]["template"]["spec"];
    let [page, configuration] =
        ["docs/notation.md", "docs/configuration.md"].map(|page| fs::read_to_string(root().join(page)).unwrap());
    let directory = configuration.split_once("  trustStores: ").unwrap().1.split(' ').next().unwrap();
    for (name, below) in [("trust-store-ca-plant", "truststore/x509/ca/plant"), ("revocation-lists", "crl")] {
        let is_it = |part: &&Value| part["name"] == name;
        let mount = array(&pod["containers"][0]["volumeMounts"]).iter().find(is_it).unwrap();
        assert_eq!(mount["mountPath"], format!("{directory}/{below}"));
        let volume = array(&pod["volumes"]).iter().find(is_it).unwrap();
        let map = format!("portreeve-{name}");
        assert_eq!(volume["configMap"], json!({ "name": map, "optional": true }));
        let command = format!("kubectl -n portreeve create configmap {map} --from-file=notation/{below}/");
        assert!(page.contains(&command), "docs/notation.md does not say {command:?}");
    }
}

/// The lines that docs/operations.md prints for a Prometheus operator that selects by a label.
#[test]
fn the_operators_objects_take_a_label() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, lines) =
        page.split_once("```yaml\ncomponents:\n  - ../manifests/components/monitoring-operator\n").unwrap();
    let lines = lines.split_once("```").unwrap().0;
    let lines = format!("components: [../manifests/components/monitoring-operator]\n{lines}");
    let Some(made) = site_of("by-hand", &lines).made() else { return };
    for kind in ["PodMonitor", "PrometheusRule"] {
        assert_eq!(find(&made, kind, "portreeve")["metadata"]["labels"]["release"], "kube-prometheus-stack", "{kind}");
    }
    assert!(find(&made, "Service", "portreeve")["metadata"]["labels"]["release"].is_null());
}

/// A copy of `manifests/`, and of one of its sites beside it.
struct Site(TempDir);

impl Site {
    /// What kustomize builds of it; `None` without kustomize.
    fn made(&self) -> Option<Vec<Value>> {
        kustomize(&self.0.path().join("own"))
    }
}

/// A site, as a resource of a kustomization that has these lines as well.
fn site_of(name: &str, lines: &str) -> Site {
    let site = TempDir::new();
    let copy = |from: &Path, to: &str| {
        run(Command::new("cp").arg("-r").arg(from).arg(site.path().join(to)), "").expect(0);
    };
    copy(&manifests(), "manifests");
    copy(&manifests().join("sites").join(name), "site");
    // In place of what certs-gen makes.
    site.write(
        "site/certs/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nconfigMapGenerator: [{ name: portreeve-ca }]\n",
    );
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../site]\n";
    site.write("own/kustomization.yaml", format!("{head}{lines}"));
    Site(site)
}

/// The pod has a token, and the executable's arguments end with these options. The executable knows each of them: outside
/// of a pod it fails because it misses the API server's address.
fn assert_api_options(made: &[Value], options: &[&str]) {
    let pod = &find(made, "Deployment", "portreeve")["spec"]["template"]["spec"];
    assert_eq!((&pod["automountServiceAccountToken"], &pod["serviceAccountName"]), (&json!(true), &json!("portreeve")));
    let args: Vec<&str> = array(&container(made)["args"]).iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(args[..3], ["serve", "--config", "/etc/portreeve/config"]);
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

/// The objects that kustomize builds from a directory. `None` without a kubectl that is new enough; a line on standard error
/// then says that the test is skipped.
pub(super) fn kustomize(directory: &Path) -> Option<Vec<Value>> {
    let made = run(Command::new(program("kubectl")?).arg("kustomize").arg(directory), "").expect(0);
    Some(parse(&made.stdout))
}
