//! Portreeve in the cluster, installed from the manifests. kubelet is replaced: this file mounts what the Deployment mounts,
//! from the objects in the cluster, and starts the container's command with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use crate::mount::Mount;
use crate::pki::Pki;
use crate::process::{free_port, wait_until};
use crate::product::{Serving, executable};

/// The path of the token in a container.
const SERVICE_ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// A copy of `manifests/` with certificates, and the one running Pod.
pub(super) struct Installation {
    dir: TempDir,
    /// The webhook's port on this machine.
    port: u16,
    plain_port: u16,
    serving: Mutex<Option<Serving>>,
    /// The last mounted content by path. A mount is replaced only if its object has changed.
    mounted: Mutex<BTreeMap<PathBuf, BTreeMap<String, String>>>,
    pki: Arc<Pki>,
}

impl Installation {
    /// Before anything is applied.
    pub(super) fn new(pki: &Arc<Pki>) -> Self {
        let dir = TempDir::new();
        copy(&repository().join("manifests"), &dir.path().join("manifests"));
        Self {
            dir,
            port: free_port(),
            plain_port: free_port(),
            serving: Mutex::default(),
            mounted: Mutex::default(),
            pki: Arc::clone(pki),
        }
    }

    /// Creates certificates as the documentation says, by `certs-gen`.
    pub(super) fn certificates(&self, args: &[&str]) {
        certs_gen(&self.certs(""), args);
    }

    /// A path in the copy of `manifests/`.
    pub(super) fn manifests(&self, name: &str) -> PathBuf {
        self.dir.path().join("manifests").join(name)
    }

    /// Writes another file, and returns its path.
    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        self.dir.write(&format!("files/{name}"), content)
    }

    /// A path in the directory that certs-gen writes.
    pub(super) fn certs(&self, name: &str) -> PathBuf {
        self.dir.path().join("certs").join(name)
    }

    /// A copy of a directory of `manifests/sites`, with the certificates.
    pub(super) fn copy_of(&self, name: &str) -> PathBuf {
        let site = self.dir.path().join(name);
        if !site.exists() {
            copy(&self.manifests("sites").join(name), &site);
        }
        let _ = fs::remove_dir_all(site.join("certs")); // those of an earlier call may be old
        copy(&self.certs(""), &site.join("certs"));
        site
    }

    /// A site with the right to read pull secrets, and the documentation's patches for a signer's key and for the policies of a
    /// namespace.
    pub(super) fn site(&self, name: &str) -> PathBuf {
        self.copy_of(name);
        let patches = ["signer-secrets", "namespace-policies"].map(|name| {
            let file = self.manifests(&format!("examples/{name}.yaml"));
            json!({ "patch": fs::read_to_string(file).unwrap() })
        });
        let credentials = ["manifests/components/api-credentials"];
        self.kustomization(&format!("own-{name}"), name, &credentials, &patches)
    }

    /// Another kustomization: this resource and these components of the directory with `manifests/`, and patches.
    pub(super) fn kustomization(&self, name: &str, resource: &str, components: &[&str], patches: &[Value]) -> PathBuf {
        let components: Vec<String> = components.iter().map(|name| format!("../{name}")).collect();
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [format!("../{resource}")],
            "components": components,
            "patches": patches,
        });
        let name = name.replace('/', "-");
        let file = self.dir.write(&format!("{name}/kustomization.yaml"), kustomization.to_string());
        file.parent().unwrap().to_owned()
    }

    /// Mounts everything that the Deployment mounts, from the objects in the cluster. Returns the volumes that have
    /// changed.
    pub(super) fn mount(&self, cluster: &ControlPlane) -> Vec<String> {
        let mut changed = Vec::new();
        let mut mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        let pod = &deployment(cluster)["spec"]["template"]["spec"];
        let volumes = pod["volumes"].as_array().unwrap();
        for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            let place = self.root().join(mount["mountPath"].as_str().unwrap().trim_start_matches('/'));
            let Some(files) = self.files(cluster, volume) else {
                fs::create_dir_all(place).unwrap(); // an `emptyDir`, or a volume of the node
                continue;
            };
            if mounted.get(&place) != Some(&files) {
                let listed: Vec<(&str, &str)> = files.iter().map(|(key, text)| (&**key, &**text)).collect();
                Mount::at(place.clone()).swap(&listed);
                mounted.insert(place, files);
                changed.push(volume["name"].as_str().unwrap().to_owned());
            }
        }
        changed
    }

    /// The files of a volume from the objects in the cluster; `None` if it is not made of objects.
    fn files(&self, cluster: &ControlPlane, volume: &Value) -> Option<BTreeMap<String, String>> {
        let sources = match &volume["projected"]["sources"] {
            Value::Array(sources) => sources.clone(),
            _ => vec![volume.clone()],
        };
        let mut files = BTreeMap::new();
        for source in sources {
            let (object, source, is_secret) = if let Some(map) = source.get("configMap") {
                (stored(cluster, "configmaps", &map["name"], &map["optional"]), map, false)
            } else {
                let secret = source.get("secret")?;
                (stored(cluster, "secrets", &secret["secretName"], &secret["optional"]), secret, true)
            };
            for (key, value) in object["data"].as_object().into_iter().flatten() {
                let text = value.as_str().unwrap();
                let text = match volume["name"].as_str() {
                    _ if is_secret => String::from_utf8(STANDARD.decode(text).unwrap()).unwrap(),
                    Some("config") => self.here(text),
                    _ => text.to_owned(),
                };
                let items = source["items"].as_array().map(Vec::as_slice).unwrap_or_default();
                let item = items.iter().find(|item| item["key"] == **key);
                assert!(items.is_empty() || item.is_some(), "{key} is not mounted");
                let name = item.map_or(&**key, |item| item["path"].as_str().unwrap());
                files.insert(name.to_owned(), text);
            }
        }
        Some(files)
    }

    /// Starts the container's command, and waits until it is ready.
    pub(super) fn serve(&self, cluster: &ControlPlane) {
        self.start(cluster);
        wait_until("Portreeve to be ready", || self.is_ready());
    }

    /// Starts the container's command.
    pub(super) fn start(&self, cluster: &ControlPlane) {
        self.mount(cluster);
        self.is_called_by(cluster);
        let mut command = executable();
        // The environment that kubelet gives every container.
        command.env("KUBERNETES_SERVICE_HOST", "localhost");
        command.env("KUBERNETES_SERVICE_PORT", cluster.port().to_string());
        self.service_account(cluster);
        for argument in deployment(cluster)["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap() {
            command.arg(self.here(argument.as_str().unwrap()));
        }
        *self.serving() = Some(Serving::start(command, self.port, self.plain_port, &self.pki));
    }

    /// Mounts the token of the Pod's ServiceAccount, if the Pod asks for it.
    fn service_account(&self, cluster: &ControlPlane) {
        let pod = &deployment(cluster)["spec"]["template"]["spec"];
        if pod["automountServiceAccountToken"] != true {
            return;
        }
        let account = pod["serviceAccountName"].as_str().unwrap();
        mount_token(cluster, account, &self.root());
    }

    /// The command of another Pod's only container, with everything mounted that the Pod mounts, in a directory of its own.
    pub(super) fn command_of(&self, cluster: &ControlPlane, pod: &Value) -> (Command, PathBuf) {
        let root = self.dir.path().join(pod["metadata"]["name"].as_str().unwrap());
        let here = |text: &str| self.here(text).replace(self.root().to_str().unwrap(), root.to_str().unwrap());
        let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        for mount in container["volumeMounts"].as_array().unwrap() {
            let volumes = spec["volumes"].as_array().unwrap();
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            let place = root.join(mount["mountPath"].as_str().unwrap().trim_start_matches('/'));
            match self.files(cluster, volume) {
                None => fs::create_dir_all(place).unwrap(),
                Some(files) => {
                    let files: Vec<(String, String)> = files
                        .into_iter()
                        .map(|(key, text)| (key, text.replace(self.root().to_str().unwrap(), root.to_str().unwrap())))
                        .collect();
                    let listed: Vec<(&str, &str)> = files.iter().map(|(key, text)| (&**key, &**text)).collect();
                    Mount::at(place).swap(&listed);
                }
            }
        }
        mount_token(cluster, spec["serviceAccountName"].as_str().unwrap(), &root);
        let message = root.join("termination-log");
        let mut command = executable();
        command.env("KUBERNETES_SERVICE_HOST", "localhost").env("KUBERNETES_SERVICE_PORT", cluster.port().to_string());
        for argument in container["args"].as_array().unwrap() {
            let argument = argument.as_str().unwrap();
            command.arg(if argument == "/dev/termination-log" {
                message.to_str().unwrap().to_owned()
            } else {
                here(argument)
            });
        }
        (command, message)
    }

    /// Leads the API server's calls to this process.
    pub(super) fn is_called_by(&self, cluster: &ControlPlane) {
        cluster.services().lead_to(self.port);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.serving().as_ref().is_some_and(Serving::is_ready)
    }

    /// Sends SIGTERM, as kubelet does. The exit status must be 0.
    pub(super) fn stop(&self) {
        if let Some(mut serving) = self.serving().take() {
            assert_eq!(serving.terminate(), Some(0));
        }
    }

    /// The webhook, if it runs.
    pub(super) fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum of a metric's samples whose labels contain these words.
    pub(super) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.serving().as_ref().unwrap().get_plain("/metrics").unwrap().body;
        let lines =
            metrics.lines().filter(|line| line.starts_with(name) && labels.iter().all(|word| line.contains(word)));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// The webhook's log.
    pub(super) fn log(&self) -> String {
        self.serving().as_ref().map(Serving::log).unwrap_or_default()
    }

    /// A mounted text with this machine's paths and ports.
    fn here(&self, text: &str) -> String {
        let root = self.root();
        let mut text = text.to_owned();
        for directory in ["/etc/", "/var/"] {
            text = text.replace(directory, &format!("{}{directory}", root.display()));
        }
        // The default paths in a container.
        let account = self.root().join(SERVICE_ACCOUNT);
        let files = format!("api: {{ token: {0}/token, ca: {0}/ca.crt }}", account.display());
        text = text.replace("credentials: {", &format!("credentials: {{ {files},"));
        for (container, port) in [(8000, self.port), (8080, self.plain_port)] {
            text = text.replace(&format!("[::]:{container}"), &format!("127.0.0.1:{port}"));
        }
        text
    }

    /// The root of the container's files.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("pod")
    }
}

/// Mounts a token of this ServiceAccount, as kubelet does.
fn mount_token(cluster: &ControlPlane, account: &str, root: &Path) {
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} }).to_string();
    let target = format!("/api/v1/namespaces/portreeve/serviceaccounts/{account}/token");
    let token = cluster.ask("POST", &target, &request).json();
    let ca = stored(cluster, "configmaps", &json!("kube-root-ca.crt"), &Value::Null);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (token, ca) = (text(&token["status"]["token"]), text(&ca["data"]["ca.crt"]));
    Mount::at(root.join(SERVICE_ACCOUNT)).swap(&[("token", &token), ("ca.crt", &ca)]);
}

/// Portreeve's Deployment in the cluster.
pub(super) fn deployment(cluster: &ControlPlane) -> Value {
    let response = cluster.ask("GET", "/apis/apps/v1/namespaces/portreeve/deployments/portreeve", "");
    assert_eq!(response.status, 200, "{}", response.body);
    response.json()
}

/// An object that a Pod mounts. If it is optional and absent, an empty one.
fn stored(cluster: &ControlPlane, kind: &str, name: &Value, optional: &Value) -> Value {
    let response = cluster.ask("GET", &format!("/api/v1/namespaces/portreeve/{kind}/{}", name.as_str().unwrap()), "");
    match response.status {
        404 if *optional == true => json!({}),
        status => {
            assert_eq!(status, 200, "the pod would wait for it: {}", response.body);
            response.json()
        }
    }
}

/// Runs certs-gen for a directory.
pub(super) fn certs_gen(directory: &Path, args: &[&str]) {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(repository()).args(["run", "--quiet", "--locked", "--package", "certs-gen", "--"]);
    // Not `run`, which limits the time: cargo may have to build it first.
    let output = command.args(args).arg("--out").arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
