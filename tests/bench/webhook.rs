//! The measured executable, and the files of its installation.
//!
//! `PORTREEVE=/path/to/portreeve` in the environment names another executable than cargo's, for instance a static
//! build. Linux only: it reads `/proc`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::registry::Registry;
use portreeve_test_support::signer::Repo;
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::callgrind::Counter;
use crate::client::{Client, PATIENCE, trusting};
use portreeve_test_support::temp::TempDir;

/// The registry of all images.
pub(crate) const REGISTRY: &str = "registry.local:9001";
/// The most connections of a load.
pub(crate) const CONNECTIONS: usize = 128;

/// An installation's files: certificates, policies, configuration.
pub(crate) struct Site {
    scratch: TempDir,
    authority: Authority,
    config: Value,
    client: Arc<ClientConfig>,
}

impl Site {
    /// A site whose images are signed on this trust server, under this CA. Verified data is used for an hour and kept
    /// in memory alone.
    pub(crate) fn new(trust_server: &str, trust_ca_pem: &str) -> Self {
        let scratch = TempDir::new();
        let authority = Authority::named("Bench CA");
        let (chain, key) = authority.server(&["localhost"]);
        let dir = scratch.path();
        fs::create_dir_all(dir.join("policies")).unwrap();
        fs::write(dir.join("tls.crt"), chain).unwrap();
        fs::write(dir.join("tls.key"), key).unwrap();
        fs::write(dir.join("ca.pem"), trust_ca_pem).unwrap();
        let config = json!({
            "tls": { "certificate": dir.join("tls.crt"), "key": dir.join("tls.key") },
            "policies": [dir.join("policies")],
            "trust": {
                "ca": dir.join("ca.pem"),
                "servers": { REGISTRY: trust_server },
                "refreshAfter": "1h",
            },
            // One more connection observes, and sixteen belong to the plain listener.
            "limits": { "connections": CONNECTIONS + 1 + 16 },
            "log": { "format": "json" },
        });
        let client = trusting(&authority.pem());
        Self { scratch, authority, config, client }
    }

    /// Changes one setting (`trust`, `refreshAfter`).
    pub(crate) fn set(&mut self, section: &str, key: &str, value: impl Into<Value>) {
        self.config[section][key] = value.into();
    }

    /// Keeps verified data on disk as well.
    pub(crate) fn store(&mut self) {
        let cache = self.scratch.path().join("cache");
        self.set("trust", "cache", cache.to_str().unwrap());
    }

    /// Deletes the data on disk.
    pub(crate) fn empty_store(&self) {
        let _ = fs::remove_dir_all(self.scratch.path().join("cache")); // it may not be there yet
    }

    /// Writes a policy file: a cluster policy for these patterns, each of which requires this signer.
    pub(crate) fn policy(&self, file: &str, patterns: &[String], signer: (&str, &str)) {
        let (name, public_key) = signer;
        let trust = json!({ "enabled": true, "signers": [{ "name": name, "publicKey": public_key }] });
        self.policy_with(file, patterns, &json!({ "trust": trust }));
    }

    /// The same, with any requirement.
    pub(crate) fn policy_with(&self, file: &str, patterns: &[String], required: &Value) {
        let repository = |pattern| json!({ "name": pattern, "policy": required });
        let policy = json!({
            "apiVersion": "portreeve/v1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": file },
            "spec": { "repositories": patterns.iter().map(repository).collect::<Vec<_>>() },
        });
        // As kubelet does: the whole file or nothing.
        let (new, file) = (self.scratch.path().join("new-policy"), self.scratch.path().join("policies").join(file));
        fs::write(&new, policy.to_string()).unwrap();
        fs::rename(new, file.with_extension("yaml")).unwrap();
    }

    /// The policy for all images of the registry, signed by this repository's alice.
    pub(crate) fn policy_of(&self, repo: &Repo) {
        self.policy("plant", &[format!("{REGISTRY}/*")], ("alice", &repo.signer_public_key_pem("alice")));
    }

    /// A site whose images are in this registry, each signed with this key by cosign.
    pub(crate) fn with_cosign(registry: &Registry, public_key: &str) -> Self {
        let mut site = Self::new("https://notary.invalid", registry.ca_pem());
        site.set("registries", "endpoints", json!({ REGISTRY: registry.url() }));
        let signers = json!([{ "name": "alice", "publicKey": public_key }]);
        site.policy_with("plant", &[format!("{REGISTRY}/*")], &json!({ "cosign": { "signers": signers } }));
        site
    }

    /// A certificate and a key for another server under the same CA.
    pub(crate) fn certificate(&self) -> (String, String) {
        self.authority.server(&["localhost"])
    }

    pub(crate) fn client_config(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    fn write_config(&self, port: u16, plain_port: u16) -> PathBuf {
        let mut config = self.config.clone();
        config["listen"] = format!("127.0.0.1:{port}").into();
        config["metricsListen"] = format!("127.0.0.1:{plain_port}").into();
        let file = self.scratch.path().join("portreeve.json");
        fs::write(&file, config.to_string()).unwrap();
        file
    }
}

/// The executable.
pub(crate) fn executable() -> PathBuf {
    std::env::var_os("PORTREEVE").map_or_else(|| env!("CARGO_BIN_EXE_portreeve").into(), PathBuf::from)
}

/// A running webhook, killed on drop.
pub(crate) struct Webhook<'s> {
    site: &'s Site,
    child: Child,
    port: u16,
    /// From exec to ready.
    pub(crate) ready_after: Duration,
}

impl<'s> Webhook<'s> {
    pub(crate) fn start(site: &'s Site) -> Self {
        let mut command = Command::new(executable());
        command.env_clear();
        Self::launch(site, command)
    }

    /// Under callgrind, not yet counted.
    pub(crate) fn start_counted(site: &'s Site, counter: &Counter) -> Self {
        Self::launch(site, counter.command(executable()))
    }

    fn launch(site: &'s Site, mut command: Command) -> Self {
        let [port, plain_port] = [(), ()].map(|()| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            listener.local_addr().unwrap().port()
        });
        command.args(["serve", "--config"]).arg(site.write_config(port, plain_port));
        let begin = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut webhook = Self { site, child, port, ready_after: Duration::ZERO };
        while !is_ready(plain_port) {
            assert!(begin.elapsed() < 2 * PATIENCE, "the webhook does not become ready");
            thread::sleep(Duration::from_micros(200));
        }
        webhook.ready_after = begin.elapsed();
        webhook
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port, &self.site.client)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// User and system time of all threads, to a hundredth of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
        };
        Memory {
            resident: value("VmRSS"),
            most: value("VmHWM"),
            anonymous: value("RssAnon"),
            threads: value("Threads"),
        }
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// Memory in KiB, and threads.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) most: u64,
    pub(crate) anonymous: u64,
    pub(crate) threads: u64,
}

impl Memory {
    /// The cells of a table: resident, the most so far, anonymous, threads.
    pub(crate) fn cells(self) -> [String; 4] {
        let [resident, most, anonymous] = [self.resident, self.most, self.anonymous].map(mebibytes);
        [resident, most, anonymous, self.threads.to_string()]
    }
}

/// KiB as `7.3 MiB`.
pub(crate) fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}

fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    let request = b"GET /health/readiness HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let _ = stream.set_read_timeout(Some(PATIENCE));
    stream.write_all(request).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}
