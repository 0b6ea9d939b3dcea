//! The server over real sockets on 127.0.0.1, with a real TLS client and with clients that misbehave.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::settings::{Limits, TlsFiles};
use super::*;
use crate::metrics;

mod certificates;
mod hostile;
mod lifecycle;
mod requests;

/// Longer than any step takes, so that a failing test ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// Responds according to the body: `panic`, `gate` (waits until the test opens the gate), `long N` (N bytes), or anything else
/// (echoed).
struct Script {
    ready: Mutex<Result<(), String>>,
    arrived: Sender<()>,
    gate: Mutex<Receiver<()>>,
}

impl Application for Script {
    fn routes(&self) -> &'static [Route] {
        const ROUTES: [Route; 3] = [
            Route { path: "/admit", label: metrics::Endpoint::Admit, workers: Workers::Shared },
            Route { path: "/validate", label: metrics::Endpoint::Validate, workers: Workers::Shared },
            Route { path: "/validate-policy", label: metrics::Endpoint::ValidatePolicy, workers: Workers::Single },
        ];
        &ROUTES
    }

    fn respond(&self, route: &Route, body: &[u8], deadline: Deadline) -> HttpResponse {
        match body {
            b"panic" => panic!("a bug in the handler"),
            b"gate" => {
                self.arrived.send(()).unwrap();
                self.gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            _ => {}
        }
        if let Some(length) = body.strip_prefix(b"long ") {
            let length = std::str::from_utf8(length).unwrap().parse().unwrap();
            return HttpResponse::text(200, "x".repeat(length));
        }
        let left = deadline.remaining().map_or(0, |left| left.as_millis());
        let text = format!("{:?} {} {left} {}", route.label, body.len(), String::from_utf8_lossy(body));
        HttpResponse { status: 200, content_type: "application/json", body: text.into_bytes() }
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.lock().unwrap().clone()
    }
}

/// A running server with its certificate on disk.
struct Site {
    server: Option<Server>,
    address: SocketAddr,
    metrics_address: SocketAddr,
    metrics: Arc<Metrics>,
    script: Arc<Script>,
    arrived: Receiver<()>,
    open_gate: Sender<()>,
    files: TlsFiles,
    dir: PathBuf,
    client: Arc<ClientConfig>,
}

impl Site {
    fn start(change: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(change, |_| {})
    }

    fn start_with(change: impl FnOnce(&mut Limits), prepare: impl FnOnce(&mut TlsFiles)) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("portreeve-server-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut files = TlsFiles { certificate: dir.join("tls.crt"), key: dir.join("tls.key"), client_ca: None };
        let ca = issue(&files, "first");
        prepare(&mut files);
        let mut limits = Limits { workers: 2, ..Limits::default() };
        change(&mut limits);
        let (arrived_in, arrived) = channel();
        let (open_gate, gate) = channel();
        let script = Arc::new(Script { ready: Mutex::new(Ok(())), arrived: arrived_in, gate: Mutex::new(gate) });
        let metrics = Arc::new(Metrics::new());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let settings = Settings { listen: any, metrics_listen: Some(any), tls: files.clone(), limits };
        let application = Arc::clone(&script) as Arc<dyn Application>;
        let (waiting, interval) = (Waiting::new(9), Duration::from_millis(20));
        let metrics_too = Arc::clone(&metrics);
        let server = Server::start_with(settings, application, &waiting, metrics_too, Vec::new(), interval).unwrap();
        Self {
            address: server.address(),
            metrics_address: server.metrics_address().unwrap(),
            server: Some(server),
            metrics,
            script,
            arrived,
            open_gate,
            files,
            dir,
            client: client(&[ca]),
        }
    }

    fn tls(&self) -> Client<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection =
            ClientConnection::new(Arc::clone(&self.client), ServerName::try_from("localhost").unwrap()).unwrap();
        Client { stream: StreamOwned::new(connection, stream), read: Vec::new() }
    }

    fn plain(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.metrics_address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, read: Vec::new() }
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|found| found == line)
    }

    /// Waits for a line of the metrics. A request may be counted a moment after its response.
    fn wait_for(&self, line: &str) {
        wait_until(&format!("{line}, in\n{}", self.metrics.render()), || self.counts(line));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.server.take());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a new self-signed certificate named after `name`, and its key; returns the certificate.
fn issue(files: &TlsFiles, name: &str) -> rustls::pki_types::CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    replace(&files.key, &key.serialize_pem());
    replace(&files.certificate, &certificate.pem());
    certificate.der().clone()
}

/// Replaces a file in one step, as kubelet does by swapping a link.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn client(roots: &[rustls::pki_types::CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let mut config =
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

struct Client<S> {
    stream: S,
    read: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    head: String,
    body: String,
}

impl<S: Read + Write> Client<S> {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Seen {
        self.send(bytes);
        self.answer()
    }

    fn answer(&mut self) -> Seen {
        self.read_answer(true)
    }

    fn read_answer(&mut self, with_body: bool) -> Seen {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more();
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse::<usize>().unwrap());
        let length = if with_body { length } else { 0 };
        while self.read.len() < length {
            self.more();
        }
        let body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        Seen { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body }
    }

    fn more(&mut self) {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the server closed after {:?}", String::from_utf8_lossy(&self.read));
        self.read.extend_from_slice(&chunk[..read]);
    }

    /// Whether the server closes the connection, with FIN or with a reset.
    fn is_closed(&mut self) -> bool {
        self.read.is_empty() && matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}
