//! The serving side: gateway → http → handler.

use std::sync::Arc;

use crate::config::{Limits, TlsFiles};
use crate::deadline::Deadline;
use crate::metrics::Metrics;

/// Which decision is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /admit`: decide and patch.
    Admit,
    /// `POST /validate`: decide, without a patch.
    Validate,
}

/// What is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// Decides; knows no sockets. Called from worker threads, many at a time. A panic in it is answered 500 and hurts
/// nobody else.
pub trait Handler: Send + Sync + 'static {
    /// Decides on one request's body, and has answered by the deadline.
    fn admit(&self, endpoint: Endpoint, body: &[u8], deadline: Deadline) -> Answer;

    /// Can it decide? `Err` says why not, for the readiness answer and the log.
    fn ready(&self) -> Result<(), String>;
}

/// Everything the server is started with.
pub struct ServerSettings {
    /// The TLS listener's address; port 0 picks a free one.
    pub listen: std::net::SocketAddr,
    /// The plain listener's address.
    pub metrics_listen: Option<std::net::SocketAddr>,
    /// Certificate, key and client CA.
    pub tls: TlsFiles,
    /// Limits.
    pub limits: Limits,
    /// Decides.
    pub handler: Arc<dyn Handler>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}
