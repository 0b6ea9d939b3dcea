//! What is under `manifests/`, as a cluster would read it: that everything selects, mounts, names and covers what it
//! means to. The configuration and the policies in it are put before the real executable. What needs kustomize is
//! skipped where neither `kustomize` nor `kubectl` is there: manifests/render does without.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::pki::Pki;
use crate::process::{Run, run};
use crate::product::{Site, executable};
use crate::review::{assert_allowed, pod_review};
use crate::temp::TempDir;

const WEBHOOKS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
/// Other kinds that stand in no namespace.
const CLUSTER_WIDE: [&str; 4] = ["Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding"];

#[test]
fn every_object_is_named_labelled_and_in_its_namespace() {
    for file in yaml_files(&manifests()) {
        let is_part = |word: &str| file.components().any(|part| part.as_os_str() == word);
        let listed = fs::read_to_string(file.with_file_name("kustomization.yaml")).unwrap_or_default();
        let name = file.file_name().unwrap().to_str().unwrap();
        if name != "kustomization.yaml" && (is_part("base") || is_part("components") || is_part("overlays")) {
            assert!(listed.contains(name), "{} is in no kustomization", file.display());
        }
        for object in documents(&file) {
            if object.is_array() || object.get("groups").is_some() {
                continue; // a JSON patch, or alert rules
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
                metadata["namespace"].clone() // rights are given where the secrets are
            } else {
                json!("portreeve")
            };
            assert_eq!(metadata["namespace"], namespace, "{at}");
            // Patches carry no labels, for they would change nothing.
            if !listed.contains(&format!("path: {name}")) && name != "signer-secrets.yaml" {
                for label in ["app.kubernetes.io/name", "app.kubernetes.io/part-of"] {
                    assert_eq!(metadata["labels"][label], "portreeve", "{at}");
                }
            }
        }
    }
}

#[test]
fn every_selector_selects_the_pods_and_nothing_is_selected_by_nothing() {
    let base = base();
    let deployment = find(&base, "Deployment", "portreeve");
    let template = &deployment["spec"]["template"];
    let anti_affinity = "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0\
                         /podAffinityTerm/labelSelector/matchLabels";
    let egress = documents(&manifests().join("examples/egress.yaml"));
    for (what, selector) in [
        ("Deployment", &deployment["spec"]["selector"]["matchLabels"]),
        ("Service", &find(&base, "Service", "portreeve")["spec"]["selector"]),
        ("PodDisruptionBudget", &find(&base, "PodDisruptionBudget", "portreeve")["spec"]["selector"]["matchLabels"]),
        ("NetworkPolicy", &find(&base, "NetworkPolicy", "portreeve")["spec"]["podSelector"]["matchLabels"]),
        ("anti-affinity", template.pointer(anti_affinity).unwrap()),
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
    assert_eq!(find(&base, "PodDisruptionBudget", "portreeve")["spec"]["maxUnavailable"], 1);
}

#[test]
fn configuration_and_mounts_agree() {
    let base = base();
    let (config, container) = (configuration(&base), container(&base));
    let port = |name: &str| {
        let port = array(&container["ports"]).iter().find(|port| port["name"] == name).unwrap();
        port["containerPort"].as_u64().unwrap()
    };
    for (key, name) in [("listen", "https"), ("metricsListen", "metrics")] {
        let (_, number) = config[key].as_str().unwrap().rsplit_once(':').unwrap();
        assert_eq!(number.parse(), Ok(port(name)), "{key}");
    }

    let volumes = array(&find(&base, "Deployment", "portreeve")["spec"]["template"]["spec"]["volumes"]);
    let mounts: BTreeMap<&str, &str> = array(&container["volumeMounts"])
        .iter()
        .map(|mount| (mount["name"].as_str().unwrap(), mount["mountPath"].as_str().unwrap()))
        .collect();
    assert_eq!(mounts.len(), volumes.len(), "every volume is mounted once");
    for (key, volume, file) in [
        ("/tls/certificate", "certs", "/tls.crt"),
        ("/tls/key", "certs", "/tls.key"),
        ("/policies/0", "policies", ""),
        ("/credentials/mounted", "registries", ""),
        ("/trust/ca", "trust-ca", "/ca.pem"),
        ("/trust/cache", "cache", ""),
    ] {
        assert_eq!(config.pointer(key).unwrap().as_str().unwrap(), format!("{}{file}", mounts[volume]), "{key}");
    }
    assert_eq!(container["args"], json!(["serve", "--config", format!("{}/portreeve.yaml", mounts["config"])]));
    assert_eq!(config["namespace"], find(&base, "Namespace", "portreeve")["metadata"]["name"], "no token tells it");

    for volume in volumes {
        let at = |pointer: &str| volume.pointer(pointer).and_then(Value::as_str);
        // What may be absent at a first installation must not keep the pods from starting.
        let optional = volume.pointer("/configMap/optional").or(volume.pointer("/secret/optional"));
        match (at("/configMap/name"), optional) {
            // Applying the manifests again must not put the first policy in the place of the site's own.
            (Some("portreeve-policies"), None) => {
                assert_eq!(first_policy()["metadata"]["name"], "portreeve-policies");
                assert!(base.iter().all(|object| object["metadata"]["name"] != "portreeve-policies"));
            }
            (Some(name), None) => drop(find(&base, "ConfigMap", name)),
            _ => {}
        }
        if let (Some(name), None) = (at("/secret/secretName"), optional) {
            assert_eq!(name, "portreeve-certs");
        }
    }
}

#[test]
fn the_configuration_and_the_first_policy_start_the_real_webhook() {
    let (base, pki) = (base(), Pki::new());
    let mut site = Site::new(&pki);
    let placed = site.config.clone();
    site.config = configuration(&base);
    for key in ["tls", "policies", "secrets", "credentials"] {
        site.config[key] = placed[key].clone();
    }
    site.config["trust"]["ca"] = placed["trust"]["ca"].clone();
    site.config["trust"]["cache"] = placed["trust"]["cache"].clone();
    site.policy_text(first_policy()["data"]["first-install.yaml"].as_str().unwrap());
    let serving = site.serve();
    for image in ["nginx", "registry.local:9001/plant/plc:v1"] {
        for endpoint in ["/admit?timeout=10s", "/validate?timeout=10s"] {
            let answer = serving.admit(endpoint, &pod_review(image));
            assert_allowed(&answer);
            let told = answer["response"]["auditAnnotations"]["images"].as_str().unwrap();
            assert_eq!(told, format!("{image}=unchecked"), "nobody may take it for protection");
        }
    }
    let example = documents(&manifests().join("examples/policies.yaml"));
    for (policies, allowed) in [
        (first_policy(), true),
        (example[0].clone(), true),
        (json!({ "metadata": { "name": "x" }, "data": { "p.yaml": "kind: Pod" } }), false),
    ] {
        let answer = serving.admit("/validate-policy?timeout=5s", &config_map_review(policies));
        assert_eq!(answer["response"]["allowed"], allowed, "{answer}");
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container(&base)[probe]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(serving.get_plain(path).unwrap().status, 200, "{probe}");
    }
}

#[test]
fn the_configuration_is_read_as_it_stands() {
    let (base, dir) = (base(), TempDir::new());
    let text = find(&base, "ConfigMap", "portreeve-config")["data"]["portreeve.yaml"].as_str().unwrap();
    let config = dir.write("portreeve.yaml", text);
    let policies = dir.directory("policies");
    dir.write("policies/p.yaml", first_policy()["data"]["first-install.yaml"].as_str().unwrap());
    let check = |config: &Path| {
        let mut command = executable();
        command.arg("check").arg("--config").arg(config).arg("--policies").arg(&policies).arg("nginx");
        run(&mut command, "")
    };
    assert!(check(&config).expect(0).stdout.contains("first-install-lets-everything-in-unchecked"));
    // Were the file not read, this would be 0 as well.
    check(&dir.write("bad.yaml", text.replace("listen:", "lisen:"))).expect(2);
}

#[test]
fn every_policy_passes_lint() {
    for (file, policies) in [("first-policy.yaml", "1 policy"), ("examples/policies.yaml", "2 policies")] {
        let lint = run(executable().arg("lint").arg(manifests().join(file)), "").expect(0);
        assert!(lint.stdout.contains(policies), "{lint:?}");
    }
    let dir = TempDir::new();
    let example = documents(&manifests().join("examples/policies.yaml"));
    for (name, text) in example[0]["data"].as_object().unwrap() {
        dir.write(name, text.as_str().unwrap());
    }
    let check = |namespace: &str, image: &str| -> Run {
        run(executable().args(["check", "-n", namespace, image, "--policies"]).arg(dir.path()), "")
    };
    check("default", "registry.k8s.io/pause:3.9").expect(0);
    check("default", "evil.example.com/x:1").expect(1);
    // line-1's own policy hides the cluster's.
    check("line-1", "registry.k8s.io/pause:3.9").expect(1);
}

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
        assert_eq!(webhook["namespaceSelector"], json!({ "matchExpressions": [own] }), "nobody else is exempt");
        assert!(webhook.get("objectSelector").is_none(), "a tenant writes its own labels");
    }
}

#[test]
fn policies_are_looked_over_and_nothing_else_is_and_they_can_always_be_put_right() {
    let base = base();
    let webhooks = array(&find(&base, WEBHOOKS[1], "portreeve")["webhooks"]);
    assert_eq!(array(&find(&base, WEBHOOKS[0], "portreeve")["webhooks"]).len(), 1);
    assert_eq!(webhooks.len(), 2);
    let webhook = &webhooks[1];
    assert_eq!(webhook["clientConfig"]["service"]["path"], "/validate-policy");
    assert_eq!(webhook["failurePolicy"], "Ignore", "else a broken set could not be replaced while nobody is ready");
    assert_eq!(webhook["namespaceSelector"], json!({ "matchLabels": { "kubernetes.io/metadata.name": "portreeve" } }));
    let [rule] = array(&webhook["rules"]) else { panic!("{webhook}") };
    assert_eq!((&rule["apiGroups"], &rule["resources"]), (&json!([""]), &json!(["configmaps"])));
    let selects = |object: &Value| {
        let selector = webhook["objectSelector"]["matchLabels"].as_object().unwrap();
        selector.iter().all(|(label, value)| &object["metadata"]["labels"][label] == value)
    };
    assert!(selects(&first_policy()));
    assert!(selects(&documents(&manifests().join("examples/policies.yaml"))[0]));
    assert!(!selects(find(&base, "ConfigMap", "portreeve-config")), "it is no policy");
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

    // Everything that a cluster serves and that looks like a workload, in every group that it could be taken for.
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

    // DESIGN: at most 24 MiB with every connection busy. On top come request bodies (limits.bodyMemory, 16 MiB), twice, trust
    // data that is being verified (limits.verifyMemory, 48 MiB), that waits for the disk (16 MiB) and that is kept (8 MiB).
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
    // kubelet counts blocks, and evicts the pod whose volume grows beyond its size: tenants would choose the moment.
    let number = |text: &Value, unit: &str| -> u64 {
        text.as_str().and_then(|text| text.strip_suffix(unit)).unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    let room = number(&configuration(&base)["limits"]["trustCache"], "MiB");
    let volume = array(&spec["volumes"]).iter().find(|volume| volume["name"] == "cache").unwrap();
    assert!(1024 * number(&volume["emptyDir"]["sizeLimit"], "Gi") >= 8 * room);
}

#[test]
fn the_version_is_everywhere_the_same() {
    let base = base();
    let version = env!("CARGO_PKG_VERSION");
    let deployment = find(&base, "Deployment", "portreeve");
    for labels in [&deployment["metadata"]["labels"], &deployment["spec"]["template"]["metadata"]["labels"]] {
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
        // Applied unfilled it must be refused, not lock the cluster: no base64 has a space.
        let object = objects.iter_mut().find(|object| object["kind"] == kind).unwrap();
        for webhook in object["webhooks"].as_array_mut().unwrap() {
            let bundle = webhook["clientConfig"].as_object_mut().unwrap().remove("caBundle").unwrap();
            assert!(bundle.as_str().unwrap().contains(' '));
        }
    }
    assert_eq!(objects, base());
}

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
fn the_rights_to_read_secrets_are_to_get_them_and_nothing_more() {
    let rights = documents(&manifests().join("components/api-credentials/rights.yaml"));
    let examples = documents(&manifests().join("examples/api-credentials-by-namespace.yaml"));
    for role in rights.iter().chain(&examples).filter(|object| object["kind"].as_str().unwrap().ends_with("Role")) {
        let mut resources = BTreeSet::new();
        for rule in array(&role["rules"]) {
            assert_eq!((&rule["apiGroups"], &rule["verbs"]), (&json!([""]), &json!(["get"])), "{role}");
            resources.extend(array(&rule["resources"]).iter().map(|resource| resource.as_str().unwrap()));
        }
        assert_eq!(resources, BTreeSet::from(["secrets", "serviceaccounts"]), "{role}");
    }
    let account = json!([{ "kind": "ServiceAccount", "name": "portreeve", "namespace": "portreeve" }]);
    let is_binding = |object: &&Value| object["kind"].as_str().unwrap().ends_with("RoleBinding");
    let bindings: Vec<&Value> = rights.iter().chain(&examples).filter(is_binding).collect();
    assert_eq!(bindings.len(), 3);
    for binding in bindings {
        assert_eq!(binding["subjects"], account);
        let role = &binding["roleRef"];
        assert_eq!(role["apiGroup"], "rbac.authorization.k8s.io");
        let is_it = |object: &&Value| {
            object["kind"] == role["kind"]
                && object["metadata"]["name"] == role["name"]
                && (role["kind"] == "ClusterRole"
                    || object["metadata"]["namespace"] == binding["metadata"]["namespace"])
        };
        assert!(rights.iter().chain(&examples).any(|object| is_it(&object)), "{binding} binds nothing that is here");
    }
    assert_eq!(find(&base(), "ServiceAccount", "portreeve")["metadata"]["name"], account[0]["name"]);
    assert!(base().iter().all(|object| !object["kind"].as_str().unwrap().contains("Role")), "the base has no rights");
}

/// What the executable reads of a child's owner: every kind that makes pods, Jobs or ReplicaSets.
#[test]
fn the_rights_to_compare_children_are_to_get_their_owners() {
    let rights = documents(&manifests().join("components/compare-children/rights.yaml"));
    let role = find(&rights, "ClusterRole", "portreeve-compare-children");
    let mut resources = BTreeSet::new();
    for rule in array(&role["rules"]) {
        assert_eq!(rule["verbs"], json!(["get"]));
        let group = rule["apiGroups"][0].as_str().unwrap();
        resources
            .extend(array(&rule["resources"]).iter().map(|plural| format!("{group}/{}", plural.as_str().unwrap())));
    }
    let expected = [
        "/replicationcontrollers",
        "apps/daemonsets",
        "apps/deployments",
        "apps/replicasets",
        "apps/statefulsets",
        "batch/cronjobs",
        "batch/jobs",
    ];
    assert_eq!(resources, expected.map(str::to_owned).into());
    let binding = find(&rights, "ClusterRoleBinding", "portreeve-compare-children");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let account = json!([{ "kind": "ServiceAccount", "name": "portreeve", "namespace": "portreeve" }]);
    assert_eq!(binding["subjects"], account);
}

#[test]
fn components_that_ask_the_api_go_together() {
    let site = TempDir::new();
    run(Command::new("cp").arg("-r").arg(manifests()).arg(site.path().join("manifests")), "").expect(0);
    site.write(
        "kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [manifests/overlays/cert-manager]\n\
         components: [manifests/components/api-credentials, manifests/components/compare-children]\n",
    );
    let Some(made) = kustomize(site.path()) else { return };
    let pod = &find(&made, "Deployment", "portreeve")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], true);
    let args: Vec<&str> = array(&container(&made)["args"]).iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(args[3..], ["--kubernetes-credentials", "--compare-children"]);
    // The executable takes the option: it finds out that this is no pod.
    let dir = TempDir::new();
    let mut command = executable();
    command.arg(args[0]).arg("--config").arg(dir.write("c.yaml", "{}")).arg(args[4]);
    assert!(run(&mut command, "").expect(2).stderr.contains("KUBERNETES_SERVICE_HOST"));
}

#[test]
fn credentials_from_the_api_go_with_a_configuration_of_one_s_own() {
    let site = TempDir::new();
    run(Command::new("cp").arg("-r").arg(manifests()).arg(site.path().join("manifests")), "").expect(0);
    site.write("portreeve.yaml", "namespace: portreeve\n");
    site.write(
        "kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [manifests/overlays/cert-manager]
components: [manifests/components/api-credentials]
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
    let Some(made) = kustomize(site.path()) else { return };
    let pod = &find(&made, "Deployment", "portreeve")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], true);
    assert_eq!(pod["serviceAccountName"], "portreeve");
    let args: Vec<&str> = array(&container(&made)["args"]).iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(args, ["serve", "--config", "/etc/portreeve/config/portreeve.yaml", "--kubernetes-credentials"]);
    let config = find(&made, "ConfigMap", "portreeve-config");
    assert_eq!(config["data"], json!({ "portreeve.yaml": "namespace: portreeve\n" }));
    find(&made, "ClusterRole", "portreeve-api-credentials");
    assert!(made.iter().all(|object| object["kind"] != "ClusterRoleBinding"), "as the example says");
    // The executable takes the command line as it stands: it finds out that this is no pod.
    let dir = TempDir::new();
    let mut command = executable();
    command.arg(args[0]).arg("--config").arg(dir.write("c.yaml", "{}")).arg(args[3]);
    assert!(run(&mut command, "").expect(2).stderr.contains("KUBERNETES_SERVICE_HOST"));
}

#[test]
fn components_and_a_site_s_own_files_go_together() {
    let site = TempDir::new();
    let copied = run(Command::new("cp").arg("-r").arg(manifests()).arg(site.path().join("manifests")), "");
    copied.expect(0);
    fs::copy(manifests().join("examples/signer-secrets.yaml"), site.path().join("signer-secrets.yaml")).unwrap();
    site.write("plant.yaml", "apiVersion: portreeve/v1\n");
    site.write(
        "kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [manifests/overlays/cert-manager]
components: [manifests/components/skip-label, manifests/components/monitoring]
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

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn manifests() -> PathBuf {
    root().join("manifests")
}

/// Every YAML file below a directory, but what certs-gen may have made there.
fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path != manifests().join("certs") {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|end| end == "yaml") {
            files.push(path);
        }
    }
    files
}

fn parse(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn documents(file: &Path) -> Vec<Value> {
    parse(&fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// What is put in place once, by hand.
fn first_policy() -> Value {
    documents(&manifests().join("first-policy.yaml")).remove(0)
}

/// The objects of the base, in order.
fn base() -> Vec<Value> {
    let directory = manifests().join("base");
    let kustomization = documents(&directory.join("kustomization.yaml"));
    array(&kustomization[0]["resources"])
        .iter()
        .flat_map(|file| documents(&directory.join(file.as_str().unwrap())))
        .collect()
}

#[track_caller]
fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

#[track_caller]
fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn config_map_review(object: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": { "group": "", "version": "v1", "kind": "ConfigMap" }, "namespace": "portreeve",
            "name": object["metadata"]["name"], "operation": "CREATE", "userInfo": { "username": "alice" },
            "object": object,
        },
    })
}

fn container(objects: &[Value]) -> &Value {
    &find(objects, "Deployment", "portreeve")["spec"]["template"]["spec"]["containers"][0]
}

fn configuration(objects: &[Value]) -> Value {
    parse(find(objects, "ConfigMap", "portreeve-config")["data"]["portreeve.yaml"].as_str().unwrap()).remove(0)
}

/// The namespaces that a webhook leaves out.
fn exempt(objects: &[Value], kind: &str) -> Vec<Value> {
    let selector = &find(objects, kind, "portreeve")["webhooks"][0]["namespaceSelector"]["matchExpressions"][0];
    assert_eq!((&selector["key"], &selector["operator"]), (&json!("kubernetes.io/metadata.name"), &json!("NotIn")));
    array(&selector["values"]).to_vec()
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let named: BTreeMap<_, _> = objects
        .into_iter()
        .map(|object| (format!("{} {}", object["kind"], object["metadata"]["name"]), object))
        .collect();
    assert_eq!(named.len(), count, "two objects of one name");
    named
}

/// What kustomize makes of a directory; `None`, and a line that says so, where it is not to be had.
fn kustomize(directory: &Path) -> Option<Vec<Value>> {
    // Old ones know no components, and cannot do what the manifests ask.
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
    // Past the test runner's capture, which would swallow it.
    let words = b"skipped: needs kustomize, or kubectl 1.21 or newer\n";
    let _ = std::io::Write::write_all(&mut std::io::stderr(), words);
    None
}
