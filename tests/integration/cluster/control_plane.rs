//! A control plane without nodes: etcd, kube-apiserver with RBAC and the usual admission plugins, and
//! kube-controller-manager with all its controllers. It creates and changes workloads as every cluster does, and runs
//! none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portreeve_test_support::temp::TempDir;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use super::service_network::ServiceNetwork;
use crate::https::{Response, connect_tls, https_with};
use crate::pki::Pki;
use crate::process::{free_port, run, skip_for_want_of, wait, wait_patiently};

/// The users by token: token, user name, groups.
const USERS: [(&str, &str, &str); 6] = [
    (ADMIN, "kubernetes-admin", "system:masters"),
    (CONTROLLERS, "system:kube-controller-manager", ""),
    ("alice", "alice", ""),
    ("editor", "editor", "image-policy-editors"),
    ("keeper", "keeper", "line-2-policy-editors"),
    ("node", "system:node:edge-1", "system:nodes"),
];
const ADMIN: &str = "admin";
const CONTROLLERS: &str = "controllers";

/// The paths of the programs.
pub(super) struct Programs {
    etcd: PathBuf,
    api_server: PathBuf,
    controller_manager: PathBuf,
    kubectl: PathBuf,
}

impl Programs {
    /// Finds them all. If a program is missing, the test is skipped; in CI it fails.
    #[track_caller]
    pub(super) fn find() -> Option<Self> {
        Some(Self {
            etcd: program("etcd")?,
            api_server: program("kube-apiserver")?,
            controller_manager: program("kube-controller-manager")?,
            kubectl: program("kubectl")?,
        })
    }
}

/// One of Kubernetes' programs, in the directories that `tests/cluster/build` prints. If it is missing, the test is skipped; in
/// CI it fails.
#[track_caller]
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/build");
    let places = run(Command::new(script).arg("--where"), "").expect(0).stdout;
    let found = places.lines().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    if found.is_none() {
        skip_for_want_of(&format!(
            "{name} (tests/cluster/build makes it, or name its directory in KUBEBUILDER_ASSETS)"
        ));
    }
    found
}

/// The user of the controllers' requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controllers {
    /// Each controller has its own service account, as in nearly every cluster.
    ServiceAccounts,
    /// All are `system:kube-controller-manager`.
    OneUser,
}

/// A running control plane, killed on drop.
pub(super) struct ControlPlane {
    // In the order in which they end.
    controllers: Mutex<Option<Daemon>>,
    api_server: Mutex<Daemon>,
    _etcd: Daemon,
    programs: Programs,
    port: u16,
    pki: Arc<Pki>,
    services: ServiceNetwork,
    dir: TempDir,
}

impl ControlPlane {
    /// Serves with this PKI's certificate, under the name `localhost`.
    pub(super) fn start(programs: Programs, pki: &Arc<Pki>) -> Self {
        let dir = TempDir::new();
        let (store, peer, port) = (free_port(), free_port(), free_port());
        let store = format!("http://127.0.0.1:{store}");
        let peer = format!("http://127.0.0.1:{peer}");
        let etcd = Daemon::start(
            &dir,
            &programs.etcd,
            &[
                ("data-dir", path(&dir.path().join("etcd"))),
                ("listen-client-urls", &store),
                ("advertise-client-urls", &store),
                ("listen-peer-urls", &peer),
                ("initial-advertise-peer-urls", &peer),
                ("initial-cluster", &format!("default={peer}")),
                ("unsafe-no-fsync", "true"),
                ("log-level", "error"),
            ],
        );
        let tokens: String =
            USERS.iter().map(|(token, user, groups)| format!("{token},{user},{user},\"{groups}\"\n")).collect();
        let tokens = dir.write("tokens.csv", tokens);
        let accounts = KeyPair::generate().unwrap();
        dir.write("accounts.pub", accounts.public_key_pem());
        let accounts = dir.write("accounts.key", accounts.serialize_pem());
        let audit = dir.write("audit.json", audit_policy().to_string());
        let services = ServiceNetwork::new(&dir);
        let egress = dir.write("egress.json", services.configuration().to_string());
        let api_server = Daemon::start(
            &dir,
            &programs.api_server,
            &[
                ("etcd-servers", &store),
                ("bind-address", "127.0.0.1"),
                ("advertise-address", "127.0.0.1"),
                ("endpoint-reconciler-type", "none"), // an endpoint must not be a loopback address
                ("secure-port", &port.to_string()),
                ("tls-cert-file", path(&pki.certificate())),
                ("tls-private-key-file", path(&pki.key())),
                ("token-auth-file", path(&tokens)),
                ("authorization-mode", "Node,RBAC"),
                ("enable-admission-plugins", "NodeRestriction"),
                ("service-account-issuer", "https://kubernetes.default.svc"),
                ("service-account-key-file", path(&dir.path().join("accounts.pub"))),
                ("service-account-signing-key-file", path(&accounts)),
                ("service-cluster-ip-range", "10.96.0.0/24"),
                ("egress-selector-config-file", path(&egress)),
                ("audit-policy-file", path(&audit)),
                ("audit-log-path", path(&dir.path().join("audit.log"))),
            ],
        );
        let plane = Self {
            controllers: Mutex::default(),
            api_server: Mutex::new(api_server),
            _etcd: etcd,
            programs,
            port,
            pki: Arc::clone(pki),
            services,
            dir,
        };
        for (token, ..) in USERS {
            plane.dir.write(&format!("{token}.kubeconfig"), plane.kubeconfig(token).to_string());
        }
        wait_patiently("the API server to be ready", || {
            plane.api_server.lock().unwrap().assert_running();
            connect_tls(pki, port).is_ok() && plane.ask("GET", "/readyz", "").status == 200
        });
        plane.control(Controllers::ServiceAccounts);
        plane
    }

    /// Starts the controllers in place of those that run.
    pub(super) fn control(&self, controllers: Controllers) {
        let own = controllers == Controllers::ServiceAccounts;
        let mut running = self.controllers.lock().unwrap();
        drop(running.take());
        *running = Some(Daemon::start(
            &self.dir,
            &self.programs.controller_manager,
            &[
                ("kubeconfig", path(&self.dir.path().join(format!("{CONTROLLERS}.kubeconfig")))),
                ("use-service-account-credentials", &own.to_string()),
                ("service-account-private-key-file", path(&self.dir.path().join("accounts.key"))),
                ("root-ca-file", path(&self.pki.ca())),
                ("leader-elect", "false"),
                ("kube-api-qps", "200"),
                ("kube-api-burst", "400"),
                ("pvclaimbinder-sync-period", "2s"),
                ("secure-port", "0"),
            ],
        ));
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The way to Services.
    pub(super) fn services(&self) -> &ServiceNetwork {
        &self.services
    }

    /// A request to the API server as the cluster's administrator.
    pub(super) fn ask(&self, method: &str, target: &str, body: &str) -> Response {
        let authorization = format!("Bearer {ADMIN}");
        https_with(&self.pki, self.port, method, target, &[("Authorization", &authorization)], body.as_bytes())
    }

    /// The credentials of the cluster's administrator.
    pub(super) fn admin_kubeconfig(&self) -> PathBuf {
        self.dir.path().join(format!("{ADMIN}.kubeconfig"))
    }

    /// kubectl as the user with this token.
    pub(super) fn kubectl(&self, token: &str) -> Kubectl {
        Kubectl::new(&self.programs.kubectl, &self.kubeconfig_file(token), self.dir.path())
    }

    /// The kubeconfig of the user with this token.
    pub(super) fn kubeconfig_file(&self, token: &str) -> PathBuf {
        self.dir.path().join(format!("{token}.kubeconfig"))
    }

    /// The audit log so far: one event for each request that may change an object.
    pub(super) fn audit(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.dir.path().join("audit.log")).unwrap_or_default();
        // The last line may be incomplete.
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn kubeconfig(&self, token: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://localhost:{}", self.port), "certificate-authority": self.pki.ca(),
            }}],
            "users": [{ "name": token, "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": token } }],
            "current-context": "test",
        })
    }
}

fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "None", "verbs": ["get", "list", "watch"] }, { "level": "Metadata" }],
    })
}

/// A program that runs until it is dropped. Its output goes to a file.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(dir: &TempDir, program: &Path, flags: &[(&str, &str)]) -> Self {
        let name = program.file_name().unwrap().to_str().unwrap();
        let path = dir.path().join(format!("{name}.log"));
        let log = File::create(&path).unwrap();
        let child = Command::new(program)
            .env_clear()
            .current_dir(dir.path())
            .args(flags.iter().map(|(flag, value)| format!("--{flag}={value}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, log: path }
    }

    /// Fails the test if the program has ended, and prints its last output.
    #[track_caller]
    fn assert_running(&mut self) {
        let Some(status) = self.child.try_wait().unwrap() else { return };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        panic!("{} ended ({status}); the last first:\n{}", self.log.display(), last.join("\n"));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = wait(&mut self.child, Duration::from_secs(10));
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
