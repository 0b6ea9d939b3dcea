//! The commands of the documentation against a real API server. `crate::docs` says which blocks these are.
//!
//! One control plane serves all scripts, one after the other. What a script that installs leaves is removed before the next one;
//! the others share one installation, which is put right between them. kubelet's part is played (`kubelet.rs`), and so is
//! cert-manager's.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use portreeve_test_support::signer::{Repo, Signer};
use portreeve_test_support::temp::TempDir;
use portreeve_test_support::trust_server::TrustServer;
use serde_json::{Value, json};

use super::control_plane::{ControlPlane, Programs, program};
use super::installing::{definition, stand_in};
use super::kubectl::Kubectl;
use super::kubelet::Kubelet;
use crate::docs::blocks::{Script, scripts};
use crate::docs::shell::Shell;
use crate::pki::Pki;
use crate::plant::PLC;
use crate::process::wait_patiently;

#[test]
fn the_documentations_commands_work_in_a_real_cluster() {
    let (Some(programs), Some(kubectl)) = (Programs::find(), program("kubectl")) else { return };
    let pki = Pki::new();
    let site = Operator {
        control: ControlPlane::start(programs, &pki),
        kubectl,
        pki,
        issued: TempDir::new(),
        notary: TrustServer::start(),
        plc: Signer::new(PLC).signer("alice").release("v1", [7; 32], 1234, &["alice"]).publish(),
    };
    site.notary.publish(&site.plc);
    let word = std::env::var("PORTREEVE_CLUSTER").unwrap_or_default();
    let mut failed = Vec::new();
    let mut show = |name: &str, outcome: Result<String, String>| {
        let line = format!("cluster: {name} ... {}\n", if outcome.is_ok() { "ok" } else { "FAILED" });
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        failed.extend(outcome.err());
        site.remove_everything();
    };
    let (mut installed, installing): (Vec<Script>, Vec<Script>) = scripts()
        .into_iter()
        .filter(|script| script.needs_a_cluster() && script.name.contains(&word))
        .partition(|script| script.name.starts_with("installed-"));
    for script in installing {
        show(&script.name, site.follows(&script));
    }
    installed.sort_by_key(|script| script.name == "installed-uninstall");
    if !installed.is_empty() {
        show("everything in one installation", site.has_installed(&installed));
    }
    if word.is_empty() || "wrong".contains(&word) {
        show("a wrong image name locks nothing", site.gives_a_wrong_image_name());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// A person with the documentation, and a cluster.
struct Operator {
    control: ControlPlane,
    kubectl: std::path::PathBuf,
    pki: Arc<Pki>,
    /// What cert-manager has made.
    issued: TempDir,
    /// The site's Notary server. Its CA is the reader's `site-ca.pem`.
    notary: TrustServer,
    /// What alice has signed there.
    plc: Repo,
}

impl Operator {
    /// Runs a script in a shell of its own.
    fn follows(&self, script: &Script) -> Result<String, String> {
        let shell = self.shell();
        self.prepare(&script.name);
        crate::docs::prepared::prepare(&script.name, shell.directory());
        std::fs::write(shell.directory().join("site-ca.pem"), self.notary.ca_pem()).unwrap();
        self.alive(&shell, || shell.run(script))
    }

    /// Installs by hand, and runs scripts that need this. Before each, the site's files, what is applied and the policy are as at
    /// the beginning.
    fn has_installed(&self, scripts: &[Script]) -> Result<String, String> {
        let shell = self.shell();
        self.prepare("installed-");
        let mut failed = Vec::new();
        crate::docs::prepared::prepare("cluster-by-hand", shell.directory());
        self.alive(&shell, || {
            shell.run(&by_hand())?;
            shell.bash("cp -r site ../$(basename $PWD)-site")?;
            for script in scripts {
                shell.bash(
                    "rm -rf site && cp -r ../$(basename $PWD)-site site
                     kubectl apply -k site
                     kubectl -n portreeve rollout status deployment portreeve --timeout=5m
                     kubectl replace -f manifests/first-policy.yaml",
                )?;
                if script.name == "installed-first-policy-stays" {
                    shell.bash("kubectl apply -f manifests/examples/policies.yaml")?;
                }
                crate::docs::prepared::prepare(&script.name, shell.directory());
                let outcome = shell.run(script);
                let line = format!("cluster: {} ... {}\n", script.name, if outcome.is_ok() { "ok" } else { "FAILED" });
                let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
                failed.extend(outcome.err());
            }
            shell.bash("rm -rf ../$(basename $PWD)-site")
        })?;
        if failed.is_empty() { Ok(String::new()) } else { Err(failed.join("\n\n")) }
    }

    /// Installs by hand, with a slip in the name of the image. The commands must end before the webhooks are there. What the page says
    /// to do then must install it.
    fn gives_a_wrong_image_name(&self) -> Result<String, String> {
        let (shell, mut script) = (self.shell(), by_hand());
        let (mut slips, mut waits) = (0, 0);
        for block in &mut script.blocks {
            waits += block.text.matches("--timeout=5m").count();
            block.text = block.text.replace("--timeout=5m", "--timeout=5s");
            if block.text.contains("cp -r manifests/sites/by-hand site\n") {
                slips += 1;
                block.text.push_str(
                    "sed -i 's|newName: .*|newName: registry.local:9001/portreeve/portreve|' site/kustomization.yaml\n",
                );
            }
        }
        crate::docs::prepared::prepare(&script.name, shell.directory());
        assert_eq!((slips, waits), (1, 1), "the page has changed: see what this test changes in it");
        self.alive(&shell, || {
            let told = shell.run(&script).err().ok_or("it should have failed")?;
            if !told.contains("timed out waiting for the condition") {
                return Err(told);
            }
            let admin = self.admin();
            let webhooks =
                admin.ok(&["get", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "--output=name"]);
            assert_eq!(webhooks, "", "no webhook is there");
            admin.ok(&["create", "deployment", "try", "--image=nginx", "--dry-run=server"]);
            shell.bash(
                "sed -i 's|newName: .*|newName: registry.local:9001/portreeve/portreeve|' site/kustomization.yaml
                 kubectl apply -k site -l 'portreeve.io/apply!=last'",
            )?;
            let mut webhooks = by_hand();
            webhooks.blocks.drain(..webhooks.blocks.len() - 1);
            if !webhooks.blocks.iter().all(|block| block.text.contains("kubectl apply -k site &&")) {
                return Err("the last block of the page is not that of the webhooks".to_owned());
            }
            shell.run(&webhooks)
        })
    }

    fn shell(&self) -> Shell {
        Shell::new(&self.kubectl, Some(&self.control.kubeconfig_file("admin")))
    }

    fn admin(&self) -> Kubectl {
        self.control.kubectl("admin")
    }

    /// Plays kubelet and cert-manager while a reader does something.
    fn alive(&self, shell: &Shell, reads: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        let over = AtomicBool::new(false);
        let root = Mutex::new(None);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut kubelet = Kubelet::new(&self.control, &self.pki);
                while !over.load(Ordering::SeqCst) {
                    // An object may be deleted between two looks, and kubelet tries again.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kubelet.sync()));
                    self.issue();
                    let now = kubelet.root();
                    let mut known = root.lock().unwrap();
                    if *known != now {
                        known.clone_from(&now);
                        self.kubectl_that_executes(shell, now.as_deref());
                    }
                    drop(known);
                    thread::sleep(Duration::from_millis(200));
                }
            });
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(reads));
            over.store(true, Ordering::SeqCst);
            outcome.unwrap_or_else(|_| Err("it panicked".to_owned()))
        })
    }

    /// `kubectl exec` is a matter between the API server and kubelet. The command's paths are those of the container.
    fn kubectl_that_executes(&self, shell: &Shell, root: Option<&Path>) {
        let root = root.map(|root| root.display().to_string()).unwrap_or_default();
        let kubeconfig = self.control.kubeconfig_file("admin");
        shell.program(
            "kubectl",
            &format!(
                "case \" $* \" in *' exec '*' -- /portreeve '*)\n\
                 while [[ $1 != /portreeve ]]; do shift; done\n\
                 shift\n\
                 exec portreeve \"${{@//\\/etc\\//{root}/etc/}}\" ;;\n\
                 *' logs '*) echo 'the log is a matter between the API server and kubelet'; exit ;;\n\
                 esac\n\
                 KUBECONFIG={} exec {} \"$@\"",
                kubeconfig.display(),
                self.kubectl.display()
            ),
        );
    }

    /// What must be there before a script of this name.
    fn prepare(&self, name: &str) {
        let admin = self.admin();
        if name.contains("cert-manager") || name.contains("starlingx") {
            for (kind, plural) in [("Issuer", "issuers"), ("Certificate", "certificates")] {
                self.define(&stand_in(kind, plural));
            }
            admin.ok(&["create", "namespace", "cert-manager"]);
            for part in ["cert-manager", "cert-manager-cainjector"] {
                admin.ok(&["--namespace=cert-manager", "create", "deployment", part, "--image=cert-manager"]);
            }
        }
        if name.starts_with("installed-") || name.contains("portieris") || name.contains("starlingx") {
            admin.ok(&["create", "deployment", "web", "--image=registry.k8s.io/pause:3.9"]);
        }
        if name.contains("portieris") || name.contains("starlingx") {
            self.has_portieris();
        }
        if name.contains("starlingx") {
            let server = ["--docker-server=registry.local:9001", "--docker-username=admin", "--docker-password=p"];
            let create = ["--namespace=kube-system", "create", "secret", "docker-registry", "default-registry-key"];
            admin.ok(&[&create[..], &server].concat());
        }
    }

    fn define(&self, crd: &Value) {
        let admin = self.admin();
        admin.feed(&["apply", "--filename=-"], &crd.to_string()).expect(0);
        let name = format!("crd/{}", crd["metadata"]["name"].as_str().unwrap());
        admin.ok(&["wait", "--for=condition=established", "--timeout=50s", &name]);
    }

    /// Policies of Portieris in the cluster, a signer's key that they name, and a workload of a signed image.
    fn has_portieris(&self) {
        let (group, admin) = ("portieris.cloud.ibm.com", self.admin());
        self.define(&definition(group, "v1", "Namespaced", "ImagePolicy", "imagepolicies"));
        self.define(&definition(group, "v1", "Cluster", "ClusterImagePolicy", "clusterimagepolicies"));
        admin.ok(&["create", "namespace", "line-1"]);
        let key = self.plc.signer_public_key_pem("alice");
        let secret = ["--namespace=line-1", "create", "secret", "generic", "alice-key", "--from-literal=name=alice"];
        admin.ok(&[&secret[..], &[&format!("--from-literal=publicKey={key}")]].concat());
        let trust = json!({
            "enabled": true, "trustServer": self.notary.url(), "signerSecrets": [{ "name": "alice-key" }],
        });
        let policy = |kind: &str, metadata: Value| {
            let repositories = json!([
                { "name": "registry.k8s.io/*", "policy": { "simple": { "requirements": [{ "type": "insecureAcceptAnything" }] } } },
                { "name": "registry.local:9001/plant/*", "policy": { "trust": trust } },
            ]);
            let api = format!("{group}/v1");
            json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": { "repositories": repositories } })
        };
        for object in [
            policy("ClusterImagePolicy", json!({ "name": "portieris-default" })),
            policy("ImagePolicy", json!({ "name": "line", "namespace": "line-1" })),
        ] {
            admin.feed(&["create", "--filename=-"], &object.to_string()).expect(0);
        }
        // Only with the key, `review` can say that it would be admitted.
        admin.ok(&["create", "deployment", "plc", &format!("--image={PLC}:v1")]);
    }

    /// cert-manager's part: a certificate for the Secret that a Certificate names, and its CA in the webhook configurations.
    fn issue(&self) {
        let certificate = "/apis/cert-manager.io/v1/namespaces/portreeve/certificates/portreeve-serving";
        if self.control.ask("GET", certificate, "").status != 200 {
            return;
        }
        let made = self.issued.path().join("certs");
        let admin = self.admin();
        if !made.exists() {
            super::installation::certs_gen(&made, &[]);
        }
        admin.run(&["apply", "--filename", made.join("secret.yaml").to_str().unwrap()]);
        for (kind, file) in [
            ("mutatingwebhookconfigurations", "ca-bundle-mutating.yaml"),
            ("validatingwebhookconfigurations", "ca-bundle-validating.yaml"),
        ] {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/portreeve");
            let object = self.control.ask("GET", &path, "");
            if object.status == 200 {
                let from = &object.json()["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
                assert_eq!(*from, json!("portreeve/portreeve-serving"));
                admin.run(&["patch", kind, "portreeve", "--patch-file", made.join(file).to_str().unwrap()]);
            }
        }
    }

    /// The cluster as it was before.
    fn remove_everything(&self) {
        let admin = self.admin();
        admin.run(&["delete", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "--all"]);
        let namespaces = || -> Vec<Value> {
            let all = self.control.ask("GET", "/api/v1/namespaces", "").json()["items"].as_array().unwrap().clone();
            let is_ours = |namespace: &Value| {
                let name = namespace["metadata"]["name"].as_str().unwrap();
                name != "default" && !name.starts_with("kube-")
            };
            all.into_iter().filter(is_ours).collect()
        };
        for namespace in namespaces() {
            admin.run(&["delete", "namespace", namespace["metadata"]["name"].as_str().unwrap(), "--wait=false"]);
        }
        wait_patiently("the namespaces to be gone", || namespaces().is_empty());
        let ours = "--selector=app.kubernetes.io/part-of=portreeve";
        admin.run(&["delete", "persistentvolumes,clusterroles,clusterrolebindings", ours, "--wait=false"]);
        admin.run(&["delete", "customresourcedefinitions", "--all"]);
        admin.run(&["delete", "--namespace=default", "deployments,pods,configmaps", "--all", "--wait=false"]);
        admin.run(&["delete", "--namespace=kube-system", "secret", "default-registry-key"]);
    }
}

/// The commands that install Portreeve by hand.
fn by_hand() -> Script {
    let found = scripts().into_iter().find(|script| script.name == "cluster-by-hand");
    found.unwrap_or_else(|| panic!("docs/install.md installs by hand"))
}
