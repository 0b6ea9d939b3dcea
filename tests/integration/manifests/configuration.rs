//! The configuration and the policies in the manifests, read by the real executable.

use std::collections::BTreeMap;
use std::path::Path;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use super::{array, base, configuration, container, documents, find, first_policy, manifests};
use crate::pki::Pki;
use crate::process::{Run, run};
use crate::product::{Site, executable};
use crate::review::{assert_allowed, pod_review};

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
    // What the manifests' configuration does not name is mounted where it is looked for by default.
    assert_eq!(mounts["trusted-roots"], "/etc/portreeve/sigstore");
    assert_eq!(container["args"], json!(["serve", "--config", mounts["config"]]));
    assert_eq!(config["namespace"], find(&base, "Namespace", "portreeve")["metadata"]["name"], "no token tells it");

    for volume in volumes {
        let at = |pointer: &str| volume.pointer(pointer).and_then(Value::as_str);
        // A volume whose source may be absent at the first installation is optional, so the pods start without it.
        let optional = volume.pointer("/configMap/optional").or(volume.pointer("/secret/optional"));
        match (at("/configMap/name"), optional) {
            // The base does not contain the policies: applying it again must not replace the site's policies.
            (Some("portreeve-policies"), None) => {
                assert_eq!(first_policy()["metadata"]["name"], "portreeve-policies");
                assert!(base.iter().all(|object| object["metadata"]["name"] != "portreeve-policies"));
            }
            (Some(name), None) => drop(find(&base, "ConfigMap", name)),
            _ => {}
        }
        // The configuration of the manifests is there, under the first name; that of the site may be absent.
        for (source, optional) in
            array(volume.pointer("/projected/sources").unwrap_or(&json!([]))).iter().zip([false, true])
        {
            let source = &source["configMap"];
            assert_eq!(source["optional"] == true, optional);
            if !optional {
                let map = find(&base, "ConfigMap", source["name"].as_str().unwrap());
                let [item] = array(&source["items"]) else { panic!("{source}") };
                assert!(map["data"][item["key"].as_str().unwrap()].is_string() && item["path"] == "00-portreeve.yaml");
            }
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
            assert_eq!(told, format!("{image}=unchecked"), "the answer says that nothing was checked");
        }
    }
    let example = documents(&manifests().join("examples/policies.yaml"));
    for (policies, allowed) in [
        (first_policy(), true),
        (example[0].clone(), true),
        (json!({ "metadata": { "name": "portreeve-policies" }, "data": { "p.yaml": "kind: Pod" } }), false),
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
    // The file is read: a mistake in it changes the exit status.
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
    // An ImagePolicy of line-1 replaces the cluster's policies there.
    check("line-1", "registry.k8s.io/pause:3.9").expect(1);
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
