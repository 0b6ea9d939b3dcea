//! The objects of the base: names, labels, selectors, security and resources of the pod, the version; and that the plain
//! file is the base.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{WEBHOOKS, array, base, configuration, container, documents, find, manifests, root};
use crate::process::run;

/// Kinds besides the webhooks that have no namespace.
const CLUSTER_WIDE: [&str; 4] = ["Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding"];

#[test]
fn every_object_is_named_labelled_and_in_its_namespace() {
    for file in yaml_files(&manifests()) {
        let is_part = |word: &str| file.components().any(|part| part.as_os_str() == word);
        let listed = fs::read_to_string(file.with_file_name("kustomization.yaml")).unwrap_or_default();
        let name = file.file_name().unwrap().to_str().unwrap();
        // The site's part of the configuration is no object.
        if name == "site.yaml" {
            assert!(listed.contains("files: [site.yaml]"));
            continue;
        }
        if name != "kustomization.yaml" && (is_part("base") || is_part("components") || is_part("sites")) {
            assert!(listed.contains(name), "{} is in no kustomization", file.display());
        }
        for object in documents(&file) {
            if object.is_array() || object.get("groups").is_some() {
                continue; // a JSON patch or alert rules
            }
            let at = format!("{} of {}", object["kind"], file.display());
            assert!(object["apiVersion"].is_string() && object["kind"].is_string(), "{at}");
            if name == "kustomization.yaml" {
                continue;
            }
            let metadata = &object["metadata"];
            assert!(metadata["name"].as_str().is_some_and(|name| name.starts_with("portreeve")), "{at}");
            let namespace = if CLUSTER_WIDE.iter().chain(&WEBHOOKS).any(|kind| object["kind"] == **kind) {
                Value::Null
            } else if name == "api-credentials-by-namespace.yaml" {
                metadata["namespace"].clone() // the namespace of the Secrets
            } else {
                json!("portreeve")
            };
            assert_eq!(metadata["namespace"], namespace, "{at}");
            // Patches carry no labels: the patched object has them.
            if !listed.contains(&format!("path: {name}"))
                && !["signer-secrets", "namespace-policies", "notation-trust-stores"]
                    .iter()
                    .any(|patch| name.starts_with(patch))
            {
                for label in ["app.kubernetes.io/name", "app.kubernetes.io/part-of"] {
                    assert_eq!(metadata["labels"][label], "portreeve", "{at}");
                }
                assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "kubectl", "{at}");
            }
        }
    }
}

#[test]
fn every_selector_selects_the_pods_and_nothing_is_selected_by_nothing() {
    let base = base();
    let deployment = find(&base, "Deployment", "portreeve");
    let template = &deployment["spec"]["template"];
    let spread = array(&template["spec"]["topologySpreadConstraints"]);
    let keys: Vec<&Value> = spread.iter().map(|constraint| &constraint["topologyKey"]).collect();
    assert_eq!(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]);
    assert!(spread.iter().all(|constraint| constraint["whenUnsatisfiable"] == "ScheduleAnyway"), "a pod must not wait");
    let egress = documents(&manifests().join("examples/egress.yaml"));
    for (what, selector) in [
        ("Deployment", &deployment["spec"]["selector"]["matchLabels"]),
        ("Service", &find(&base, "Service", "portreeve")["spec"]["selector"]),
        ("PodDisruptionBudget", &find(&base, "PodDisruptionBudget", "portreeve")["spec"]["selector"]["matchLabels"]),
        ("NetworkPolicy", &find(&base, "NetworkPolicy", "portreeve")["spec"]["podSelector"]["matchLabels"]),
        ("zones", &spread[0]["labelSelector"]["matchLabels"]),
        ("nodes", &spread[1]["labelSelector"]["matchLabels"]),
        ("egress", &egress[0]["spec"]["podSelector"]["matchLabels"]),
    ] {
        let selector = selector.as_object().unwrap_or_else(|| panic!("{what} selects by no labels"));
        assert!(!selector.is_empty(), "{what}");
        for (label, value) in selector {
            assert_eq!(&template["metadata"]["labels"][label], value, "{what}");
        }
    }

    let ports: BTreeSet<&str> =
        array(&container(&base)["ports"]).iter().map(|port| port["name"].as_str().unwrap()).collect();
    let service = array(&find(&base, "Service", "portreeve")["spec"]["ports"]);
    let ingress = array(&find(&base, "NetworkPolicy", "portreeve")["spec"]["ingress"][0]["ports"]);
    let probes = ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| &container(&base)[probe]["httpGet"]);
    let named = service.iter().map(|port| &port["targetPort"]);
    let named = named.chain(ingress.iter().map(|port| &port["port"])).chain(probes.iter().map(|probe| &probe["port"]));
    for port in named {
        assert!(ports.contains(port.as_str().unwrap()), "there is no port {port}");
    }
    assert_eq!(find(&base, "Service", "portreeve")["spec"]["ports"][0]["port"], 443);
    assert_eq!(find(&base, "Service", "portreeve")["spec"]["ipFamilyPolicy"], "PreferDualStack");
    assert_eq!(find(&base, "PodDisruptionBudget", "portreeve")["spec"]["maxUnavailable"], 1);
}

#[test]
fn the_pod_holds_to_the_restricted_standard_and_to_the_budgets() {
    let base = base();
    assert_eq!(
        find(&base, "Namespace", "portreeve")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    let deployment = find(&base, "Deployment", "portreeve");
    let (spec, container) = (&deployment["spec"]["template"]["spec"], container(&base));
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(spec["priorityClassName"], "system-cluster-critical");
    assert_eq!(spec["automountServiceAccountToken"], false);
    let account = find(&base, "ServiceAccount", spec["serviceAccountName"].as_str().unwrap());
    assert_eq!(account["automountServiceAccountToken"], false);
    let security = &spec["securityContext"];
    assert_eq!((&security["runAsNonRoot"], &security["runAsUser"]), (&json!(true), &json!(65532)));
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        })
    );
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(spec.get(host).is_none(), "{host}");
    }
    assert!(array(&spec["volumes"]).iter().all(|volume| volume.get("hostPath").is_none()));
    let quota = find(&base, "ResourceQuota", "portreeve-critical-pods");
    assert_eq!(quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"], json!([spec["priorityClassName"]]));

    // 24 MiB with every connection busy (docs/performance.md). In addition: request bodies twice (limits.bodyMemory, 16 MiB),
    // trust data in verification (limits.verifyMemory, 48 MiB), trust data that waits for the disk (16 MiB), trust data in
    // memory (8 MiB).
    let mebibytes = |pointer: &str| -> u64 {
        let text = container["resources"].pointer(pointer).unwrap().as_str().unwrap();
        text.strip_suffix("Mi").unwrap().parse().unwrap()
    };
    assert!((8..=24).contains(&mebibytes("/requests/memory")));
    assert!((24 + 2 * 16 + 48 + 16 + 8..=128).contains(&mebibytes("/limits/memory")));
    // limits.drainTime is 20 s.
    let delay = configuration(&base)["limits"]["shutdownDelay"].as_str().unwrap().to_owned();
    let delay: u64 = delay.strip_suffix('s').unwrap().parse().unwrap();
    assert!(delay >= 2 && spec["terminationGracePeriodSeconds"].as_u64().unwrap() > delay + 20);
    // kubelet evicts a pod whose volume outgrows its size, and counts whole blocks. Tenants must not be able to cause that.
    let number = |text: &Value, unit: &str| -> u64 {
        text.as_str().and_then(|text| text.strip_suffix(unit)).unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    let room = number(&configuration(&base)["limits"]["trustCache"], "MiB");
    let volume = array(&spec["volumes"]).iter().find(|volume| volume["name"] == "cache").unwrap();
    let size = 1024 * number(&volume["emptyDir"]["sizeLimit"], "Gi");
    assert!(size >= 8 * room);
    // kubelet counts the volume, and five files of log of 10 MiB each.
    let storage = |what: &str| number(&container["resources"][what]["ephemeral-storage"], "Mi");
    assert!(storage("limits") >= size + 50 && storage("requests") <= 128);
}

/// The review's pod has the image of the webhook, reads what it reads, and is held to the same standard.
#[test]
fn the_review_runs_as_the_webhook_does() {
    let base = base();
    let webhook = &find(&base, "Deployment", "portreeve")["spec"]["template"]["spec"];
    let component = documents(&manifests().join("components/review-cronjob/cronjob.yaml"));
    let job = &find(&component, "CronJob", "portreeve-review")["spec"]["jobTemplate"]["spec"];
    let review = &job["template"]["spec"];
    let (theirs, ours) = (&webhook["containers"][0], &review["containers"][0]);
    assert_eq!((&ours["image"], &ours["imagePullPolicy"]), (&theirs["image"], &theirs["imagePullPolicy"]));
    assert_eq!(ours["securityContext"], theirs["securityContext"]);
    assert_eq!(review["securityContext"], webhook["securityContext"]);
    let without_certificate =
        |list: &Value| -> Vec<Value> { array(list).iter().filter(|entry| entry["name"] != "certs").cloned().collect() };
    assert_eq!(array(&ours["volumeMounts"]), &without_certificate(&theirs["volumeMounts"]));
    assert_eq!(array(&review["volumes"]), &without_certificate(&webhook["volumes"]));
    let config = array(&theirs["args"]).last().unwrap();
    assert!(array(&ours["args"]).contains(config), "the same configuration");
    // A denial is no reason to try again.
    assert_eq!((&job["backoffLimit"], &review["restartPolicy"]), (&json!(0), &json!("Never")));
}

#[test]
fn the_version_is_everywhere_the_same() {
    let base = base();
    let version = env!("CARGO_PKG_VERSION");
    let deployment = find(&base, "Deployment", "portreeve");
    for labels in [&deployment["metadata"]["labels"], &deployment["spec"]["template"]["metadata"]["labels"]] {
        assert_eq!(labels["app.kubernetes.io/version"], version);
    }
    let component = documents(&manifests().join("components/review-cronjob/cronjob.yaml"));
    let review = find(&component, "CronJob", "portreeve-review");
    let template = &review["spec"]["jobTemplate"]["spec"]["template"];
    for labels in [&review["metadata"]["labels"], &template["metadata"]["labels"]] {
        assert_eq!(labels["app.kubernetes.io/version"], version);
    }
    assert!(container(&base)["image"].as_str().unwrap().ends_with(&format!("/portreeve:{version}")));
    let containerfile = fs::read_to_string(root().join("Containerfile")).unwrap();
    assert!(containerfile.contains(&format!("ARG VERSION={version}\n")));
    assert!(containerfile.contains(&format!("CMD {}", container(&base)["args"].to_string().replace(',', ", "))));
}

#[test]
fn the_plain_file_is_current() {
    let rendered = run(&mut Command::new(manifests().join("render")), "").expect(0).stdout;
    let plain = fs::read_to_string(manifests().join("portreeve.yaml")).unwrap();
    assert!(rendered == plain, "run manifests/render >manifests/portreeve.yaml");
    let mut objects = documents(&manifests().join("portreeve.yaml"));
    for kind in WEBHOOKS {
        // The API server must refuse the file before it is filled in. The space makes the caBundle invalid base64.
        let object = objects.iter_mut().find(|object| object["kind"] == kind).unwrap();
        for webhook in object["webhooks"].as_array_mut().unwrap() {
            let bundle = webhook["clientConfig"].as_object_mut().unwrap().remove("caBundle").unwrap();
            assert!(bundle.as_str().unwrap().contains(' '));
        }
    }
    assert_eq!(objects, base());
}

/// Every YAML file below a directory.
fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // The chart: files are copies of those here, and templates are no YAML.
        if path.is_dir() && path != manifests().join("chart") {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|end| end == "yaml") {
            files.push(path);
        }
    }
    files
}
