//! Real image registries over TLS: Debian's docker-registry, which has no referrers API and may demand tokens, and the one
//! of `tests/producers`, which has it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use portreeve_test_support::temp::TempDir;
use serde_json::json;

use crate::process::{self, free_port, skip_for_want_of, wait_until};
use crate::producers::Producers;
use crate::token::TokenService;

const DOCKER_REGISTRY: &str = "/usr/bin/docker-registry";

/// Is Debian's registry installed? If not, the test is skipped; in CI it fails.
#[track_caller]
pub(crate) fn available() -> bool {
    if Path::new(DOCKER_REGISTRY).exists() {
        return true;
    }
    skip_for_want_of("docker-registry (Debian package docker-registry)");
    false
}

/// A running registry, killed on drop.
pub(crate) struct RealRegistry {
    port: u16,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    /// Words in the log's lines that are requests of the product. The registry of `tests/producers` does not log who asks.
    asked_by: &'static str,
    _dir: TempDir,
}

impl RealRegistry {
    /// Debian's docker-registry, which keeps what it has when it ends. It demands tokens of the service if there is one.
    pub(crate) fn without_referrers(producers: &Producers, tokens: Option<&TokenService>) -> Self {
        let dir = TempDir::new();
        let storage = dir.directory("storage");
        let pki = &producers.pki;
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": storage } },
            "http": { "tls": { "certificate": pki.certificate(), "key": pki.key() } },
        });
        if let Some(tokens) = tokens {
            let mut settings = tokens.server_settings();
            config["auth"] = json!({ "token": settings["options"].take() });
        }
        // Another process may take the port before the server does. The next port is tried then.
        for _ in 0..5 {
            let port = free_port();
            config["http"]["addr"] = json!(format!("127.0.0.1:{port}"));
            let file = dir.write("registry.json", config.to_string());
            let command = Box::new(move || {
                let mut command = Command::new(DOCKER_REGISTRY);
                command.env_clear().arg("serve").arg(&file);
                command
            });
            let log = Arc::default();
            if let Some(child) = start(command(), port, &log) {
                return Self { port, command, child, log, asked_by: "\"portreeve/", _dir: dir };
            }
        }
        panic!("docker-registry does not start");
    }

    /// The registry of `tests/producers`, whose content ends with it.
    pub(crate) fn with_referrers(producers: &Producers) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let (pki, program) = (Arc::clone(&producers.pki), producers.program("registry").get_program().to_owned());
            let command = Box::new(move || {
                let mut command = Command::new(&program);
                command.env_clear().args(["-listen", &format!("127.0.0.1:{port}")]);
                command.arg("-cert").arg(pki.certificate()).arg("-key").arg(pki.key());
                command
            });
            let log = Arc::default();
            if let Some(child) = start(command(), port, &log) {
                return Self { port, command, child, log, asked_by: "", _dir: TempDir::new() };
            }
        }
        panic!("the registry does not start");
    }

    /// The registry in names of images.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.host())
    }

    /// The requests of the product since [`RealRegistry::forget_requests`], in short and in the order in which they were
    /// answered: `manifests/v1`, `referrers/sha256:…`. Hashes are left out, because they differ from run to run.
    pub(crate) fn requests(&self) -> Vec<String> {
        // A line is written after its response has left.
        let mut before = usize::MAX;
        wait_until("the registry's log to be quiet", || {
            let now = self.log.lock().unwrap().len();
            let quiet = now == before;
            before = now;
            thread::sleep(Duration::from_millis(if quiet { 0 } else { 150 }));
            quiet
        });
        let log = String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned();
        let lines = log.lines().filter(|line| line.contains(self.asked_by) && !line.contains("crane/"));
        lines.filter_map(|line| Some(short(line.split_once(" /v2/").or(line.split_once("GET /v2/"))?.1))).collect()
    }

    pub(crate) fn forget_requests(&self) {
        self.requests();
        self.log.lock().unwrap().clear();
    }

    /// Ends the registry. Connections are refused.
    pub(crate) fn go_away(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, at the same port.
    pub(crate) fn come_back(&mut self) {
        self.child = start((self.command)(), self.port, &self.log).unwrap();
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have been ended already
        let _ = process::wait(&mut self.child, Duration::from_secs(10));
    }
}

/// Starts a registry and waits for its port. `None` if it ends.
fn start(mut command: Command, port: u16, log: &Arc<Mutex<Vec<u8>>>) -> Option<Child> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    collect(child.stdout.take().unwrap(), log);
    collect(child.stderr.take().unwrap(), log);
    let mut alive = true;
    wait_until("the registry's port to open", || {
        alive = child.try_wait().unwrap().is_none();
        !alive || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    alive.then_some(child)
}

fn collect(mut stream: impl std::io::Read + Send + 'static, log: &Arc<Mutex<Vec<u8>>>) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            log.lock().unwrap().extend_from_slice(&block[..length]);
        }
    });
}

/// The end of a path without hashes: `manifests/v1`, `blobs/sha256:…`, `manifests/sha256-….sig`.
fn short(rest: &str) -> String {
    let path = rest.split([' ', '?']).next().unwrap_or_default();
    let mut words = path.rsplit('/');
    let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let parts = name.split_at_checked("sha256:".len()).filter(|(algorithm, _)| algorithm.starts_with("sha256"));
    match parts.and_then(|(algorithm, hex)| Some((algorithm, hex.split_at_checked(64)?.1))) {
        Some((algorithm, rest)) => format!("{kind}/{algorithm}…{rest}"),
        None => format!("{kind}/{name}"),
    }
}
