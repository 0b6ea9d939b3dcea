//! The settings of the server: where it listens, the files of its certificate, and its limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the server listens, with which certificate, under which limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the TLS listener. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The address of the plain listener for `/metrics` and the health paths; `None`: there is no such listener.
    pub metrics_listen: Option<SocketAddr>,
    /// The files of the serving certificate.
    pub tls: TlsFiles,
    /// The limits.
    pub limits: Limits,
}

/// The files of the serving certificate.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key (PKCS#8, PKCS#1 or SEC 1).
    pub key: PathBuf,
    /// PEM bundle of CAs that clients' certificates must chain to; `None`: no client certificate is asked for.
    pub client_ca: Option<PathBuf>,
}

/// The limits on what a client may use. Each is named after what it limits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that may have a request in progress, both listeners together, health probes not counted. An eighth of
    /// them, at most 16, belongs to the plain listener. Each listener accepts half as many connections more, at most 16,
    /// which only probes and new connections can hold. Beyond that, new connections wait to be accepted; the connection that
    /// has been of no use for longest is closed for them.
    pub connections: usize,
    /// Threads that decide admissions.
    pub workers: usize,
    /// Admissions that may wait for a worker. One more is answered 503.
    pub queue: usize,
    /// Bytes of a request's head (request line and headers).
    pub head_bytes: usize,
    /// Bytes of a request's body. A larger one is answered 413.
    pub request_bytes: usize,
    /// Bytes of all bodies together, beyond the first 64 KiB of each. A request that would exceed it is answered 503.
    pub body_memory: usize,
    /// A TLS handshake must end within this time.
    pub handshake_time: Duration,
    /// A request's head must be complete within this time, counted from its first byte.
    pub head_time: Duration,
    /// A request, head and body, must be complete within this time, counted from its first byte.
    pub request_time: Duration,
    /// A client must have read its response within this time.
    pub answer_time: Duration,
    /// A connection may be idle between requests for this long; before its first request, for `request_time` at most.
    pub idle_time: Duration,
    /// An admission is answered within this time, if the client gives no `?timeout=`.
    pub admission_time: Duration,
    /// After SIGTERM the server takes requests for this long while it reports that it is not ready: other nodes need a
    /// moment to stop sending requests here.
    pub shutdown_delay: Duration,
    /// After that, requests in progress have this long to end.
    pub drain_time: Duration,
}

/// The most admissions that wait for other servers at the same time. Each has a thread. More wait in the queue.
const MAX_WAITING: usize = 248;

impl Limits {
    /// How many admissions may wait for other servers at the same time.
    pub fn waiting(&self) -> usize {
        self.connections.min(MAX_WAITING)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1040,
            workers: 8,
            queue: 1024,
            head_bytes: 16 << 10,
            request_bytes: 8 << 20,
            body_memory: 16 << 20,
            handshake_time: Duration::from_secs(5),
            head_time: Duration::from_secs(5),
            request_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(120),
            admission_time: Duration::from_secs(10),
            shutdown_delay: Duration::ZERO,
            drain_time: Duration::from_secs(20),
        }
    }
}
