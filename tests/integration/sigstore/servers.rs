//! The servers of the instance.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portreeve_test_support::temp::TempDir;
use rcgen::{KeyPair, PKCS_ED25519};

use super::path;
use super::program::Program;
use crate::https;
use crate::process::{free_port, run, wait_patiently};

/// The port of the time stamp authority's metrics, which has no option. So only one instance runs at a time.
const METRICS: u16 = 2112;
static RUNNING: Mutex<()> = Mutex::new(());

/// The servers, and their addresses.
pub(super) struct Servers {
    programs: Vec<Program>,
    running: Option<MutexGuard<'static, ()>>,
    pub(super) fulcio: String,
    pub(super) rekor: String,
    pub(super) tsa: String,
    pub(super) certificate_log: Option<String>,
}

impl Servers {
    /// Starts them with the files of this directory: `chain.pem` and `ca.key` of the certificate authority, `root.pem` of its root,
    /// `fulcio.json`. Fulcio trusts this CA. Adds `rekor.pub`, `ct.pub`, `tsa.pem`.
    pub(super) fn start(dir: &TempDir, place: &Path, ca: &Path, has_certificate_log: bool) -> Self {
        let program = |name: &str| {
            let mut command = Command::new(place.join(name));
            command.env_clear();
            command
        };
        let log = log_key(dir, "rekor", KeyPair::generate_for(&PKCS_ED25519).unwrap());
        let (rekor, rekor_port) = Program::start(dir.path(), "rekor", |port| {
            let mut command = program("rekor-server");
            // The name in checkpoints must be the host of the log's URL, or cosign does not know the log.
            command.args(["serve", "--hostname", "localhost", "--checkpoint-interval", "250ms"]);
            command.args(["--storage-dir", "rekor", "--http-port", &port.to_string()]);
            command.arg("--signer-filepath").arg(&log);
            command.args(["--grpc-port", &free_port().to_string(), "--http-metrics-port", &free_port().to_string()]);
            command
        });
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        wait_patiently("the port of another authority's metrics", || TcpListener::bind(("0.0.0.0", METRICS)).is_ok());
        let (tsa, tsa_port) = Program::start(dir.path(), "tsa", |port| {
            let mut command = program("timestamp-server");
            command.args(["serve", "--scheme", "http", "--host", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--timestamp-signer", "memory", "--disable-ntp-monitoring", "--include-chain-in-response"]);
            command
        });
        let mut programs = vec![rekor, tsa];
        let mut certificate_log = None;
        if has_certificate_log {
            let pkcs8 = log_key(dir, "ct", KeyPair::generate().unwrap());
            // The server reads keys in the older form alone.
            let key = dir.path().join("ct-sec1.key");
            let args = ["pkey", "-traditional", "-in", path(&pkcs8), "-out", path(&key)];
            run(Command::new("/usr/bin/openssl").args(args), "").expect(0);
            let (ct, port) = Program::start(dir.path(), "ct", |port| {
                let mut command = program("ct-server");
                command.args(["-origin", "ct.plant.example", "-storage_dir", "ct", "-roots_pem_file", "root.pem"]);
                command.args(["-ext_key_usages", "CodeSigning", "-checkpoint_interval", "250ms", "-private_key"]);
                command.arg(&key).args(["-http_endpoint", &format!("127.0.0.1:{port}")]);
                command
            });
            programs.push(ct);
            certificate_log = Some(format!("http://127.0.0.1:{port}"));
        }
        let (fulcio, fulcio_port) = Program::start(dir.path(), "fulcio", |port| {
            let mut command = program("fulcio-server");
            command.args(["serve", "--ca", "fileca", "--fileca-cert", "chain.pem", "--fileca-key", "ca.key"]);
            command.args(["--fileca-key-passwd", "none", "--fileca-watch=false", "--config-path", "fulcio.json"]);
            command.args(["--http-host", "127.0.0.1", "--http-port", &port.to_string()]);
            command.args(["--grpc-host", "127.0.0.1", "--grpc-port", &free_port().to_string()]);
            // It listens there on every interface, and nobody asks it.
            command.args(["--metrics-port", "0", "--legacy-unix-domain-socket", "fulcio.sock"]);
            command.args(["--ct-log-url", certificate_log.as_deref().unwrap_or_default()]);
            if has_certificate_log {
                command.args(["--ct-log-public-key-path", "ct.pub"]);
            }
            command.env("SSL_CERT_FILE", ca);
            command
        });
        programs.push(fulcio);
        dir.write("tsa.pem", https::http(tsa_port, "GET", "/api/v1/timestamp/certchain", b"").unwrap().body);
        Self {
            programs,
            running: Some(running),
            fulcio: format!("http://127.0.0.1:{fulcio_port}"),
            rekor: format!("http://localhost:{rekor_port}"),
            tsa: format!("http://127.0.0.1:{tsa_port}"),
            certificate_log,
        }
    }

    /// Ends all of them.
    pub(super) fn stop(&mut self) {
        self.programs.clear();
        self.running = None;
    }
}

/// Writes a log's keys. Returns the private one's file.
fn log_key(dir: &TempDir, name: &str, key: KeyPair) -> PathBuf {
    dir.write(&format!("{name}.pub"), key.public_key_pem());
    dir.write(&format!("{name}.key"), key.serialize_pem())
}
