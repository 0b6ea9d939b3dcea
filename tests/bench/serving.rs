//! What serving costs: readiness after exec, resident memory idle and with every connection busy, time and CPU of a
//! warm admission. It prints figures and judges none: they depend on the machine, and no test hangs on them.
//!
//! `cargo bench --bench serving` measures the executable that cargo built; `PORTREEVE=/path/to/portreeve` in the
//! environment another one, such as a static build. Linux only: it reads `/proc`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark may end with a panic")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::signer::Signer;
use portreeve_test_support::trust_server::{Fault, TrustServer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

const STARTS: usize = 15;
const WARM: usize = 5_000;
const BUSY: usize = 128;
const PATIENCE: Duration = Duration::from_secs(30);
const IMAGE: &str = "registry.local:9001/plant/plc";

fn main() {
    let site = Site::new();
    let binary = executable();
    println!("executable            {} bytes", fs::metadata(&binary).unwrap().len());

    let mut ready: Vec<Duration> = (0..STARTS).map(|_| Serving::start(&site).ready_after).collect();
    ready.sort();
    println!(
        "exec to ready         median {:?}, best {:?}, worst {:?}",
        ready[STARTS / 2],
        ready[0],
        ready[STARTS - 1]
    );

    let serving = Serving::start(&site);
    thread::sleep(Duration::from_secs(1));
    println!("idle                  {}", serving.memory());

    let review = review(&format!("{IMAGE}:v1"), "");
    let mut client = serving.connect(&site);
    let (status, body) = client.ask(&review);
    assert!(status == 200 && body.contains("\"allowed\":true"), "{status} {body}");
    println!("after one admission   {}", serving.memory());
    for _ in 0..200 {
        client.ask(&review);
    }
    let (cpu, begin) = (serving.cpu(), Instant::now());
    for _ in 0..WARM {
        assert_eq!(client.ask(&review).0, 200);
    }
    let (took, cpu) = (begin.elapsed(), serving.cpu() - cpu);
    println!(
        "warm admissions       {:.0}/s over one connection, {:?} each, {:?} of CPU each",
        WARM as f64 / took.as_secs_f64(),
        took / u32::try_from(WARM).unwrap(),
        cpu / u32::try_from(WARM).unwrap()
    );
    println!("after {WARM} of them  {}", serving.memory());

    // Nobody answers for these: each is in flight until its time is over.
    site.trust_server.misbehave("plant/unseen", Fault::Stall);
    for padding in [0, 60_000] {
        let mut clients: Vec<_> = (0..BUSY).map(|_| serving.connect(&site)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&self::review(&format!("registry.local:9001/plant/unseen-{number}:v1"), &"x".repeat(padding)));
        }
        thread::sleep(Duration::from_secs(2));
        println!("{BUSY} busy, {padding:>5} B more  {}", serving.memory());
        let answered = clients.iter_mut().filter_map(Client::answer).count();
        println!("                      {answered} of them answered; {}", serving.memory());
    }
    site.trust_server.behave();
    assert_eq!(client.ask(&review).0, 200);
    thread::sleep(Duration::from_secs(8));
    println!("idle again            {}", serving.memory());
}

/// A signed image, a trust server for it, and an installation's files.
struct Site {
    dir: PathBuf,
    trust_server: TrustServer,
    client: Arc<ClientConfig>,
}

impl Site {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("portreeve-bench-{}", std::process::id()));
        fs::create_dir_all(dir.join("policies")).unwrap();
        let authority = Authority::named("Bench CA");
        let (chain, key) = authority.server(&["localhost"]);
        let trust_server = TrustServer::start();
        let repo = Signer::new(IMAGE).signer("alice").release("v1", [7; 32], 1234, &["alice"]).publish();
        trust_server.publish(&repo);
        let signer = json!({ "name": "alice", "publicKey": repo.signer_public_key_pem("alice") });
        let policy = json!({
            "apiVersion": "portreeve/v1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": "plant" },
            "spec": { "repositories": [{
                "name": "registry.local:9001/*",
                "policy": { "trust": { "enabled": true, "signers": [signer] } },
            }] },
        });
        fs::write(dir.join("tls.crt"), chain).unwrap();
        fs::write(dir.join("tls.key"), key).unwrap();
        fs::write(dir.join("ca.pem"), trust_server.ca_pem()).unwrap();
        fs::write(dir.join("policies/plant.yaml"), policy.to_string()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { dir, trust_server, client: Arc::new(client) }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir); // nothing hangs on it
    }
}

/// A running webhook; killed on drop.
struct Serving {
    child: Child,
    port: u16,
    ready_after: Duration,
}

impl Serving {
    fn start(site: &Site) -> Self {
        let [port, plain_port] = [(), ()].map(|()| {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
            listener.local_addr().unwrap().port()
        });
        let config = json!({
            "listen": format!("127.0.0.1:{port}"),
            "metricsListen": format!("127.0.0.1:{plain_port}"),
            "tls": { "certificate": site.dir.join("tls.crt"), "key": site.dir.join("tls.key") },
            "policies": [site.dir.join("policies")],
            "trust": {
                "ca": site.dir.join("ca.pem"),
                "servers": { "registry.local:9001": site.trust_server.url() },
                "refreshAfter": "1h",
            },
            // One more is kept open already, and sixteen are the plain listener's.
            "limits": { "connections": BUSY + 1 + 16 },
            "log": { "format": "json" },
        });
        let file = site.dir.join("portreeve.json");
        fs::write(&file, config.to_string()).unwrap();
        let begin = Instant::now();
        let child = Command::new(executable())
            .env_clear()
            .args(["serve", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !is_ready(plain_port) {
            assert!(begin.elapsed() < PATIENCE, "the webhook does not become ready");
            thread::sleep(Duration::from_micros(200));
        }
        Self { child, port, ready_after: begin.elapsed() }
    }

    fn connect(&self, site: &Site) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Client(StreamOwned::new(ClientConnection::new(Arc::clone(&site.client), name).unwrap(), stream))
    }

    /// User and system time of all threads, to a hundredth of a second.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    fn memory(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
        };
        format!(
            "resident {} (at most {}; anonymous {}), {} threads",
            value("VmRSS"),
            value("VmHWM"),
            value("RssAnon"),
            value("Threads")
        )
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn send(&mut self, review: &str) {
        let length = review.len();
        let head = format!(
            "POST /admit?timeout=10s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        self.0.write_all((head + review).as_bytes()).and_then(|()| self.0.flush()).unwrap();
    }

    /// Status and body.
    fn answer(&mut self) -> Option<(u16, String)> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let read = self.0.read(&mut chunk).ok().filter(|&read| read > 0)?;
            bytes.extend_from_slice(&chunk[..read]);
            let text = std::str::from_utf8(&bytes).ok()?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length: usize = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
            if body.len() >= length {
                return Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()));
            }
        }
    }

    fn ask(&mut self, review: &str) -> (u16, String) {
        self.send(review);
        self.answer().unwrap_or_else(|| panic!("no answer"))
    }
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

fn executable() -> PathBuf {
    std::env::var_os("PORTREEVE").map_or_else(|| env!("CARGO_BIN_EXE_portreeve").into(), PathBuf::from)
}

/// The AdmissionReview for a Pod with one container, about as large as kube-apiserver's own; and larger by `padding`.
fn review(image: &str, padding: &str) -> String {
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "6b7e1d0c-0001-4c6e-9a55-0242ac120002",
            "kind": kind, "requestKind": kind, "resource": resource, "requestResource": resource,
            "name": "plc",
            "namespace": "line-1",
            "operation": "CREATE",
            "userInfo": { "username": "alice", "groups": ["system:authenticated"] },
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "plc",
                    "namespace": "line-1",
                    "labels": { "app": "plc", "line": "1" },
                    "annotations": { "note": padding },
                },
                "spec": {
                    "containers": [{
                        "name": "plc",
                        "image": image,
                        "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
                        "env": [{ "name": "LINE", "value": "1" }],
                        "resources": { "limits": { "memory": "64Mi" } },
                        "volumeMounts": [{ "name": "token", "mountPath": "/var/run/secrets/token", "readOnly": true }],
                        "terminationMessagePath": "/dev/termination-log",
                        "imagePullPolicy": "IfNotPresent",
                    }],
                    "volumes": [{ "name": "token", "projected": { "sources": [], "defaultMode": 420 } }],
                    "restartPolicy": "Always",
                    "dnsPolicy": "ClusterFirst",
                    "serviceAccountName": "default",
                    "tolerations": [{ "key": "node.kubernetes.io/not-ready", "operator": "Exists" }],
                },
            },
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" },
        },
    })
    .to_string()
}
