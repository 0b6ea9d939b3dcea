//! What a reader of a page has already, by the name of the test. Add a line here for a page whose commands need files.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::process::run;

/// Writes what the commands of this name need.
pub(crate) fn prepare(name: &str, directory: &Path) {
    // The CA of the site's registries and trust servers.
    let ca = rcgen::generate_simple_self_signed(["registry.local".to_owned()]).unwrap();
    fs::write(directory.join("site-ca.pem"), ca.cert.pem()).unwrap();
    match name {
        "installed-upgrade" => {
            fs::create_dir(directory.join("new")).unwrap();
            let manifests = [directory.join("manifests"), directory.join("new/manifests")];
            run(Command::new("cp").arg("-r").args(manifests), "").expect(0);
        }
        "commands" => {
            let image = "registry.local:9001/platform/tool:1";
            let workload = json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "tool" },
                "spec": {
                    "selector": { "matchLabels": { "app": "tool" } },
                    "template": {
                        "metadata": { "labels": { "app": "tool" } },
                        "spec": { "containers": [{ "name": "tool", "image": image }] },
                    },
                },
            });
            let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "tool" } });
            let kustomization = json!({ "resources": ["deployment.json"], "namePrefix": "site-" });
            for (directory_name, name, content) in [
                ("k8s", "deployment.json", &workload),
                ("k8s", "service.json", &service),
                ("overlay", "deployment.json", &workload),
                ("overlay", "kustomization.yaml", &kustomization),
                ("site", "site.yaml", &json!({ "log": { "level": "warn" } })),
            ] {
                fs::create_dir_all(directory.join(directory_name)).unwrap();
                fs::write(directory.join(directory_name).join(name), content.to_string()).unwrap();
            }
        }
        "installed-signer-secret" | "installed-policies" => {
            fs::write(directory.join("cosign.pub"), "a public key").unwrap()
        }
        "policies" => {
            fs::create_dir(directory.join("policies")).unwrap();
        }
        "installed-notation" => {
            let ca = directory.join("notation/truststore/x509/ca/plant");
            fs::create_dir_all(&ca).unwrap();
            fs::copy(directory.join("site-ca.pem"), ca.join("root.crt")).unwrap();
            fs::create_dir(directory.join("notation/crl")).unwrap();
            fs::write(directory.join("notation/crl/plant.crl"), [0x30, 0xff, 0x80]).unwrap(); // DER is no text
        }
        "trusted-roots" => {
            fs::create_dir(directory.join("trusted-roots")).unwrap();
            fs::write(directory.join("trusted-roots/plant.json"), "{}").unwrap();
        }
        _ => {}
    }
}
