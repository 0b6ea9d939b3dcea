//! kubelet's part in a cluster without nodes: starts what a Pod of Portreeve runs as soon as everything that it mounts is there
//! and its image can be pulled, and tells the API server which Pods are ready.
//!
//! The Pods of one template share one process. Pods of cert-manager's namespace are always ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::installation::{Installation, deployment};
use crate::pki::Pki;

/// The only image that the nodes can pull, by the names that pages give it.
const IMAGES: [&str; 2] = ["registry.local:9001/portreeve/portreeve:", "registry.example.com/portreeve:"];

const PODS: &str = "/api/v1/namespaces/portreeve/pods";

/// The processes by the hash of their template.
pub(super) struct Kubelet<'a> {
    cluster: &'a ControlPlane,
    pki: Arc<Pki>,
    running: BTreeMap<String, Installation>,
}

impl<'a> Kubelet<'a> {
    pub(super) fn new(cluster: &'a ControlPlane, pki: &Arc<Pki>) -> Self {
        Self { cluster, pki: Arc::clone(pki), running: BTreeMap::new() }
    }

    /// Does once what kubelet does all the time.
    pub(super) fn sync(&mut self) {
        for pod in self.pods("/api/v1/namespaces/cert-manager/pods") {
            self.tell(&pod, true);
        }
        let pods = self.pods(&format!("{PODS}?labelSelector=app.kubernetes.io/component%3Dadmission-webhook"));
        self.running.retain(|hash, process| {
            let is_wanted = pods.iter().any(|pod| hash_of(pod) == hash);
            if !is_wanted {
                process.stop();
            }
            is_wanted
        });
        for pod in pods {
            let hash = hash_of(&pod).to_owned();
            if !self.running.contains_key(&hash) {
                if !self.can_start(&pod) {
                    self.tell(&pod, false);
                    continue;
                }
                let process = Installation::new(&self.pki);
                process.start(self.cluster);
                self.running.insert(hash.clone(), process);
            }
            let process = &self.running[&hash];
            process.mount(self.cluster);
            let is_ready = process.is_ready();
            if is_ready {
                process.is_called_by(self.cluster);
            }
            self.tell(&pod, is_ready);
        }
    }

    /// Where the process of the Pods is, for `kubectl exec`.
    pub(super) fn root(&self) -> Option<std::path::PathBuf> {
        self.running.values().next().map(Installation::root)
    }

    fn pods(&self, path: &str) -> Vec<Value> {
        let response = self.cluster.ask("GET", path, "");
        if response.status == 200 { response.json()["items"].as_array().unwrap().clone() } else { Vec::new() }
    }

    /// Is everything there that the containers mount, the image, and the Secrets to pull it with?
    fn can_start(&self, pod: &Value) -> bool {
        let spec = &pod["spec"];
        let image = spec["containers"][0]["image"].as_str().unwrap();
        if !IMAGES.iter().any(|name| image.strip_prefix(name) == Some(env!("CARGO_PKG_VERSION"))) {
            return false;
        }
        let current = &deployment(self.cluster)["spec"]["template"]["spec"]["containers"][0];
        if current["args"] != spec["containers"][0]["args"] {
            return false; // an older template, of which nothing new is started
        }
        let mut needed = Vec::new();
        for secret in spec["imagePullSecrets"].as_array().into_iter().flatten() {
            needed.push(("secrets", secret["name"].clone()));
        }
        for volume in spec["volumes"].as_array().unwrap() {
            let sources = volume["projected"]["sources"].as_array().cloned().unwrap_or_else(|| vec![volume.clone()]);
            for source in sources {
                for (kind, name, plural) in [
                    ("configMap", "name", "configmaps"),
                    ("secret", "secretName", "secrets"),
                    ("persistentVolumeClaim", "claimName", "persistentvolumeclaims"),
                ] {
                    if source[kind].is_object() && source[kind]["optional"] != true {
                        needed.push((plural, source[kind][name].clone()));
                    }
                }
            }
        }
        needed.iter().all(|(plural, name)| {
            let path = format!("/api/v1/namespaces/portreeve/{plural}/{}", name.as_str().unwrap());
            let response = self.cluster.ask("GET", &path, "");
            response.status == 200
                && (*plural != "persistentvolumeclaims" || response.json()["status"]["phase"] == "Bound")
        })
    }

    /// Sets a Pod's condition, unless it has it.
    fn tell(&self, pod: &Value, is_ready: bool) {
        let status = if is_ready { "True" } else { "False" };
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_told = |condition: &Value| condition["type"] == "Ready" && condition["status"] == status;
        if conditions.iter().any(is_told)
            || (!is_ready && conditions.iter().all(|condition| condition["type"] != "Ready"))
        {
            return;
        }
        let mut pod = pod.clone();
        pod["status"]["phase"] = json!("Running");
        pod["status"]["conditions"] = json!([{ "type": "Ready", "status": status }]);
        let metadata = &pod["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap());
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        // A conflict is told again in the next turn.
        self.cluster.ask("PUT", &path, &pod.to_string());
    }
}

fn hash_of(pod: &Value) -> &str {
    pod["metadata"]["labels"]["pod-template-hash"].as_str().unwrap_or_default()
}
