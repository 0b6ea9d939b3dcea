//! The real Notary server with repositories that the real client signs (Debian's package `notary`).

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::certificates::{Authority, Leaf};
use portreeve_test_support::signer::Key;
use serde_json::json;

use portreeve_test_support::temp::TempDir;

const SERVER: &str = "/usr/bin/notary-server";
const CLIENT: &str = "/usr/bin/notary";

/// A running server with storage in memory, and its only signer, alice. Killed on drop.
pub(crate) struct RealNotary {
    scratch: TempDir,
    child: Child,
    port: u16,
    ca_pem: String,
    alice: Key,
}

impl RealNotary {
    pub(crate) fn is_there() -> bool {
        [SERVER, CLIENT].iter().all(|program| Path::new(program).exists())
    }

    pub(crate) fn start() -> Self {
        let scratch = TempDir::new();
        let dir = scratch.path();
        let authority = Authority::named("Notary CA");
        let (chain, key) = authority.server(&["localhost"]);
        let alice = Key::p256();
        for (name, text) in [
            ("tls.crt", chain),
            ("tls.key", key),
            ("ca.crt", authority.pem()),
            ("alice.key", alice.private_pem()),
            ("alice.crt", Leaf::new("alice").self_signed(&alice)),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let config = json!({
            "server": {
                "http_addr": format!("127.0.0.1:{port}"),
                "tls_cert_file": dir.join("tls.crt"),
                "tls_key_file": dir.join("tls.key"),
            },
            "trust_service": { "type": "local" },
            "storage": { "backend": "memory" },
            "logging": { "level": "error" },
        });
        fs::write(dir.join("server.json"), config.to_string()).unwrap();
        let mut command = Command::new(SERVER);
        command.arg("-config").arg(dir.join("server.json"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "notary-server does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Self { ca_pem: authority.pem(), scratch, child, port, alice }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Alice's key for a policy.
    pub(crate) fn alice_pem(&self) -> String {
        self.alice.public_pem()
    }

    /// A repository in Docker's layout, with the tag `v1` signed by alice.
    pub(crate) fn publish(&self, gun: &str) {
        let dir = self.scratch.path();
        let [key, certificate] = ["alice.key", "alice.crt"].map(|name| dir.join(name).to_str().unwrap().to_owned());
        let role = "targets/alice";
        let digest = "ab".repeat(32);
        self.client(&["init", "-p", gun], "");
        self.client(&["key", "rotate", gun, "snapshot", "-r"], "y\n");
        self.client(&["key", "import", &key, "--role", role, "-g", gun], "");
        for role in ["targets/releases", role] {
            self.client(&["delegation", "add", "-p", gun, role, &certificate, "--all-paths"], "");
        }
        self.client(
            &["addhash", "-p", gun, "v1", "1234", "--sha256", &digest, "-r", "targets/releases", "-r", role],
            "",
        );
    }

    fn client(&self, args: &[&str], stdin: &str) {
        let dir = self.scratch.path();
        let mut command = Command::new(CLIENT);
        command.arg("-d").arg(dir.join("trust")).arg("-s").arg(format!("https://localhost:{}", self.port));
        command.arg("--tlscacert").arg(dir.join("ca.crt")).args(args);
        for role in ["ROOT", "TARGETS", "SNAPSHOT", "DELEGATION"] {
            command.env(format!("NOTARY_{role}_PASSPHRASE"), "passpass1");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "notary {args:?}: {}", String::from_utf8_lossy(&said));
    }
}

impl Drop for RealNotary {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}
