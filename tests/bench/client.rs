//! A client like kube-apiserver: TLS, one request at a time, AdmissionReviews of its form.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

/// The longest wait for a response. The benchmark ends after it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration that trusts one CA. Every handshake is a full one, as kube-apiserver's are.
pub(crate) fn trusting(ca_pem: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// One connection.
pub(crate) struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// Connects. The handshake happens with the first request.
    pub(crate) fn connect(port: u16, config: &Arc<ClientConfig>) -> Self {
        Self::try_connect(port, config).unwrap()
    }

    /// The same, if the server may refuse it.
    pub(crate) fn try_connect(port: u16, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").unwrap();
        Ok(Self(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)))
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> std::io::Result<()> {
        self.0.write_all(request).and_then(|()| self.0.flush())
    }

    /// Status and body; `None` if the connection ends first.
    pub(crate) fn answer(&mut self) -> Option<(u16, String)> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 << 10];
        loop {
            let read = self.0.read(&mut chunk).ok().filter(|&read| read > 0)?;
            bytes.extend_from_slice(&chunk[..read]);
            let text = std::str::from_utf8(&bytes).ok()?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = |line: &str| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("Content-Length").then(|| value.trim().parse::<usize>().ok())?
            };
            let length = head.lines().find_map(length)?;
            if body.len() >= length {
                return Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()));
            }
        }
    }

    pub(crate) fn ask(&mut self, request: &[u8]) -> Option<(u16, String)> {
        self.send(request).ok()?;
        self.answer()
    }

    /// Sends a request, which must be allowed.
    pub(crate) fn admit(&mut self, request: &[u8]) {
        let answer = self.ask(request);
        assert!(is_allowed(&answer), "{answer:?}");
    }
}

pub(crate) fn is_allowed(answer: &Option<(u16, String)>) -> bool {
    answer.as_ref().is_some_and(|(status, body)| *status == 200 && body.contains("\"allowed\":true"))
}

/// The whole request for a Pod with these images, with the longest timeout that kube-apiserver has.
pub(crate) fn request(images: &[String]) -> Vec<u8> {
    request_with(images, "", 30)
}

/// The same with `padding` and another timeout.
pub(crate) fn request_with(images: &[String], padding: &str, seconds: u64) -> Vec<u8> {
    let body = review(images, padding);
    let head = format!(
        "POST /admit?timeout={seconds}s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// The AdmissionReview for a Pod, about as large as kube-apiserver's own.
fn review(images: &[String], padding: &str) -> String {
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    let container = |(number, image): (usize, &String)| {
        json!({
            "name": format!("plc-{number}"),
            "image": image,
            "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
            "env": [{ "name": "LINE", "value": "1" }],
            "resources": { "limits": { "memory": "64Mi" } },
            "volumeMounts": [{ "name": "token", "mountPath": "/var/run/secrets/token", "readOnly": true }],
            "terminationMessagePath": "/dev/termination-log",
            "imagePullPolicy": "IfNotPresent",
        })
    };
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
                    "containers": images.iter().enumerate().map(container).collect::<Vec<_>>(),
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
