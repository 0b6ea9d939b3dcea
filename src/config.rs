//! The configuration: read once from a file and the command line into values that are already checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where `/admit`, `/validate` and the health paths are served over TLS.
    pub listen: SocketAddr,
    /// Where `/metrics` and the health paths are served in the clear; `None` turns it off.
    pub metrics_listen: Option<SocketAddr>,
    /// The serving certificate.
    pub tls: TlsFiles,
    /// Limits.
    pub limits: Limits,
    /// Registries' trust servers, by host pattern.
    pub servers: BTreeMap<String, String>,
    /// Policy directories.
    pub policies: Vec<PathBuf>,
}

/// Files of the serving side.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key (PKCS#8, PKCS#1 or SEC 1).
    pub key: PathBuf,
    /// PEM bundle of CAs that clients' certificates must chain to; `None`: no client certificate is asked for.
    pub client_ca: Option<PathBuf>,
}

/// What a client may take of us. Each is named after what it stops.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections, both listeners together; a new one past that is closed at once. An eighth of them, at most 16,
    /// is the plain listener's own.
    pub connections: usize,
    /// Threads that decide admissions.
    pub workers: usize,
    /// Admissions that may wait for a worker; one more is answered 503.
    pub queue: usize,
    /// Bytes of a request's head (request line and headers).
    pub head_bytes: usize,
    /// Bytes of a request's body; more is answered 413.
    pub request_bytes: usize,
    /// Bytes of all requests' bodies together, beyond 64 KiB of each; a request that would exceed it is answered 503.
    pub body_memory: usize,
    /// A TLS handshake must be done by then.
    pub handshake_time: Duration,
    /// A request, head and body, must be there by then, counted from its first byte.
    pub request_time: Duration,
    /// An answer must have been taken by the client by then.
    pub answer_time: Duration,
    /// A connection may be idle between requests for this long; before its first one, for `request_time` at most.
    pub idle_time: Duration,
    /// An admission is answered by then, where the client names no `?timeout=`.
    pub admission_time: Duration,
    /// Finishing what is in hand after SIGTERM may take this long.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            workers: 8,
            queue: 128,
            head_bytes: 16 << 10,
            request_bytes: 8 << 20,
            body_memory: 32 << 20,
            handshake_time: Duration::from_secs(5),
            request_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(120),
            admission_time: Duration::from_secs(10),
            drain_time: Duration::from_secs(20),
        }
    }
}
