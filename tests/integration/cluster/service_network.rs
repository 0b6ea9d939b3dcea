//! The way from the API server to Services. There is no network of Services and Pods, so the API server is told to reach them
//! through a proxy, as it does where nodes are on a network of their own (Konnectivity). The proxy leads every connection to one
//! port of this machine. So webhook configurations, certificates and their names are those of the manifests.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

/// A proxy that speaks HTTP CONNECT on a Unix socket. It ends with the process of the tests.
pub(super) struct ServiceNetwork {
    port: Arc<AtomicU16>,
    configuration: Value,
}

impl ServiceNetwork {
    pub(super) fn new(dir: &TempDir) -> Self {
        let socket = dir.path().join("services.sock");
        let port = Arc::new(AtomicU16::new(0));
        let (listener, target) = (UnixListener::bind(&socket).unwrap(), Arc::clone(&port));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = target.load(Ordering::SeqCst);
                thread::spawn(move || connect(client, port));
            }
        });
        Self { port, configuration: configuration(&socket) }
    }

    /// For kube-apiserver's `--egress-selector-config-file`.
    pub(super) fn configuration(&self) -> &Value {
        &self.configuration
    }

    /// Leads new connections to this port.
    pub(super) fn lead_to(&self, port: u16) {
        self.port.store(port, Ordering::SeqCst);
    }
}

fn configuration(socket: &Path) -> Value {
    json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{ "name": "cluster", "connection": {
            "proxyProtocol": "HTTPConnect", "transport": { "uds": { "udsName": socket } },
        }}],
    })
}

/// Reads the request's head, connects, and copies in both directions until one side ends.
fn connect(mut client: UnixStream, port: u16) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
        return client.write_all(b"HTTP/1.1 503 no pod is there\r\n\r\n");
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut up, &mut down); // either side may end it
        down.shutdown(Shutdown::Write)
    });
    let mut server = server;
    let _ = io::copy(&mut server, &mut client); // either side may end it
    client.shutdown(Shutdown::Both)
}
