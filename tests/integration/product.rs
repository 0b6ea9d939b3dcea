//! The product under test: its executable, its configuration, and the files that a cluster mounts.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use crate::https::{self, Response, TlsStream};
use crate::mount::Mount;
use crate::pki::Pki;
use crate::process::{self, Run, free_port, run, wait_until};

/// One installation: configuration, mounted policies, secrets and credentials.
pub(crate) struct Site {
    dir: TempDir,
    pki: Arc<Pki>,
    policies: Mount,
    /// The configuration. A test changes it before it runs anything.
    pub(crate) config: Value,
}

impl Site {
    /// A site that trusts the test's CA and has no policies, trust servers or credentials.
    pub(crate) fn new(pki: &Arc<Pki>) -> Self {
        let dir = TempDir::new();
        let policies = Mount::at(dir.directory("policies"));
        let config = json!({
            "tls": { "certificate": pki.certificate(), "key": pki.key() },
            "policies": [policies.path()],
            "secrets": dir.directory("secrets"),
            "credentials": { "mounted": dir.directory("registries") },
            "trust": { "ca": pki.ca(), "servers": {}, "cache": dir.directory("cache") },
        });
        Self { dir, pki: Arc::clone(pki), policies, config }
    }

    /// A site whose configuration names this trust server for `registry.local:9001`.
    pub(crate) fn with_server(pki: &Arc<Pki>, url: &str) -> Self {
        let mut site = Self::new(pki);
        site.config["trust"]["servers"] = json!({ "registry.local:9001": url });
        site
    }

    /// Replaces all policies, as a new version of the ConfigMap does.
    pub(crate) fn policies(&self, documents: &[Value]) -> &Self {
        let text: Vec<String> = documents.iter().map(Value::to_string).collect();
        self.policy_text(&text.join("\n---\n"))
    }

    /// The same, from text.
    pub(crate) fn policy_text(&self, text: &str) -> &Self {
        self.policies.swap(&[("plant.yaml", text)]);
        self
    }

    /// Mounts a pull secret.
    pub(crate) fn pull_secret(&self, name: &str, registry: &str, username: &str, password: &str) -> &Self {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        let config = json!({ "auths": { registry: { "auth": auth } } });
        let mount = Mount::at(self.dir.path().join("registries").join(name));
        mount.swap(&[(".dockerconfigjson", &config.to_string())]);
        self
    }

    /// Mounts a secret for policies: `<secrets>/<namespace>/<name>/<key>`.
    pub(crate) fn secret(&self, namespace: &str, name: &str, keys: &[(&str, &str)]) -> &Self {
        Mount::at(self.dir.path().join("secrets").join(namespace).join(name)).swap(keys);
        self
    }

    /// Mounts the serving certificate of a PKI as a TLS Secret. The next call renews it.
    pub(crate) fn serve_with(&mut self, pki: &Pki) -> &Self {
        let mount = Mount::at(self.dir.path().join("certs"));
        let [certificate, key] = [pki.certificate(), pki.key()].map(|file| fs::read_to_string(file).unwrap());
        mount.swap(&[("tls.crt", &certificate), ("tls.key", &key)]);
        self.config["tls"] =
            json!({ "certificate": mount.path().join("tls.crt"), "key": mount.path().join("tls.key") });
        self
    }

    /// Breaks the mounted serving certificate, as an unfinished renewal does.
    pub(crate) fn break_certificate(&self) {
        let mount = Mount::at(self.dir.path().join("certs"));
        mount.swap(&[("tls.crt", "-----BEGIN CERTIFICATE-----\n"), ("tls.key", "")]);
    }

    /// Writes another file, and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        self.dir.write(&format!("files/{name}"), content)
    }

    /// The directory with these files.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// The executable with this site's configuration and an empty environment.
    pub(crate) fn command(&self, subcommand: &str, args: &[&str]) -> Command {
        let config = self.dir.write("portreeve.yaml", self.config.to_string());
        let mut command = executable();
        command.arg(subcommand).arg("--config").arg(config).args(args);
        command
    }

    /// `portreeve review` of a file.
    #[track_caller]
    pub(crate) fn review(&self, args: &[&str], file: &Path) -> Run {
        run(self.command("review", args).arg(file), "")
    }

    /// `portreeve review --output json` of a manifest: exit status and responses.
    #[track_caller]
    pub(crate) fn answers(&self, file: &Path) -> (Option<i32>, Vec<Value>) {
        let run = self.review(&["--output", "json"], file);
        let answers = serde_json::Deserializer::from_str(&run.stdout)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{error} in {run:?}"));
        (run.status, answers)
    }

    /// Starts the webhook and waits until it is ready.
    #[track_caller]
    pub(crate) fn serve(&self) -> Serving {
        self.start().until_ready()
    }

    /// Starts the webhook and waits until it answers at all.
    #[track_caller]
    pub(crate) fn start(&self) -> Serving {
        self.start_on(free_port(), free_port(), executable())
    }

    /// Starts the webhook as another user, whose processes a test can limit without limiting its own, and waits until
    /// it is ready. Only root can do this.
    #[track_caller]
    pub(crate) fn serve_as(&self, user: u32) -> Serving {
        // That user may have no right to read the build directory.
        let copy = self.dir.path().join("portreeve");
        fs::copy(program(), &copy).unwrap();
        let mut command = Command::new("/usr/bin/setpriv");
        command.env_clear().arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
        command.arg(copy);
        self.start_on(free_port(), free_port(), command).until_ready()
    }

    /// Starts the webhook, in a control group if there is one, and waits until it is ready.
    #[track_caller]
    pub(crate) fn serve_in(&self, group: Option<&Path>) -> Serving {
        let Some(group) = group else { return self.serve() };
        let mut command = Command::new("/bin/sh");
        command.env_clear().args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(group.join("cgroup.procs"));
        command.arg(program());
        // The image has musl's allocator. glibc's keeps freed memory in an arena for each thread.
        command.env("MALLOC_ARENA_MAX", "2").env("MALLOC_MMAP_THRESHOLD_", "131072");
        self.start_on(free_port(), free_port(), command).until_ready()
    }

    /// Starts the webhook by another program, which is given its command line, and waits until it is ready.
    #[track_caller]
    pub(crate) fn serve_under(&self, mut by: Command) -> Serving {
        by.arg(program());
        self.start_on(free_port(), free_port(), by).until_ready()
    }

    /// Starts the webhook on the ports of an earlier one, and waits until it is ready.
    #[track_caller]
    pub(crate) fn serve_again(&self, ended: &Serving) -> Serving {
        self.start_on(ended.port, ended.plain_port, executable()).until_ready()
    }

    #[track_caller]
    fn start_on(&self, port: u16, plain_port: u16, mut command: Command) -> Serving {
        let mut config = self.config.clone();
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        config["metricsListen"] = json!(format!("127.0.0.1:{plain_port}"));
        command.args(["serve", "--config"]).arg(self.dir.write("serve.yaml", config.to_string()));
        let mut serving = Serving::start(command, port, plain_port, &self.pki);
        wait_until("the webhook to be alive", || serving.is_alive() || serving.has_ended());
        serving
    }
}

/// A running webhook, killed on drop.
pub(crate) struct Serving {
    child: Child,
    port: u16,
    plain_port: u16,
    log: Arc<Mutex<Vec<u8>>>,
    pki: Arc<Pki>,
}

impl Serving {
    /// Starts `portreeve serve` on these ports with this PKI's certificate. Waits for nothing.
    pub(crate) fn start(mut command: Command, port: u16, plain_port: u16, pki: &Arc<Pki>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (mut stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut block) {
                lines.lock().unwrap().extend_from_slice(&block[..length]);
            }
        });
        Self { child, port, plain_port, log, pki: Arc::clone(pki) }
    }

    /// Waits until it is ready. Fails the test if it ends instead.
    #[track_caller]
    pub(crate) fn until_ready(mut self) -> Self {
        wait_until("the webhook to be ready", || self.is_ready() || self.has_ended());
        assert!(self.is_ready(), "the webhook ended:\n{}", self.log());
        self
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn plain_port(&self) -> u16 {
        self.plain_port
    }

    pub(crate) fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sets one of its soft limits (`nofile`, `nproc`), as a container runtime does.
    pub(crate) fn limit(&self, what: &str, most: &str) {
        // As its own user: root in a container may not change another user's limits.
        let user = fs::metadata(format!("/proc/{}", self.id())).unwrap().uid();
        let mut command = Command::new("/usr/bin/prlimit");
        if user != fs::metadata("/proc/self").unwrap().uid() {
            command = Command::new("/usr/bin/setpriv");
            command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
            command.arg("/usr/bin/prlimit");
        }
        run(command.arg(format!("--pid={}", self.id())).arg(format!("--{what}={most}:")), "").expect(0);
    }

    /// A counter or gauge by its name and labels, as `/metrics` prints them. `None` if it is absent.
    pub(crate) fn metric(&self, series: &str) -> Option<u64> {
        let metrics = self.get_plain("/metrics")?.body;
        metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Sends SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A TLS connection, for requests that no well-behaved client sends.
    pub(crate) fn connect(&self) -> std::io::Result<TlsStream> {
        https::connect_tls(&self.pki, self.port)
    }

    /// POSTs a body over TLS.
    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: &str) -> Response {
        https::https(&self.pki, self.port, "POST", target, body.as_bytes())
    }

    /// POSTs an AdmissionReview over TLS, and parses the response.
    #[track_caller]
    pub(crate) fn admit(&self, target: &str, review: &Value) -> Value {
        let response = self.post(target, &review.to_string());
        assert_eq!(response.status, 200, "{response:?}\n{}", self.log());
        response.json()
    }

    /// GETs from the TLS listener.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        https::https(&self.pki, self.port, "GET", target, b"")
    }

    /// GETs from the plain listener.
    pub(crate) fn get_plain(&self, target: &str) -> Option<Response> {
        https::http(self.plain_port, "GET", target, b"")
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get_plain("/health/readiness").is_some_and(|response| response.status == 200)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.get_plain("/health/liveness").is_some_and(|response| response.status == 200)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends SIGTERM, as kubelet does.
    pub(crate) fn ask_to_end(&self) {
        process::signal(&self.child, "TERM");
    }

    /// Sends SIGTERM, and waits for the exit status.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.ask_to_end();
        self.wait()
    }

    /// Waits for the exit status.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        process::wait(&mut self.child, Duration::from_secs(30))
            .unwrap_or_else(|| panic!("SIGTERM did not end it:\n{}", self.log()))
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = process::wait(&mut self.child, Duration::from_secs(10));
    }
}

/// The executable that cargo built, or the one that `PORTREEVE` names, for instance a static build.
fn program() -> PathBuf {
    std::env::var_os("PORTREEVE").map_or_else(|| env!("CARGO_BIN_EXE_portreeve").into(), PathBuf::from)
}

/// The executable with an empty environment, as in a scratch image.
pub(crate) fn executable() -> Command {
    let mut command = Command::new(program());
    command.env_clear();
    command
}
