//! A request that the gateway has read whole, the response to it, and who is given the response.

use std::fmt;
use std::io;
use std::time::Instant;

use crate::metrics::Listener;

/// A complete request. The gateway has checked every part of it.
pub(super) struct Request {
    /// The listener on which it came.
    pub(super) listener: Listener,
    /// When its first byte arrived.
    pub(super) first_byte: Instant,
    /// The method.
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// `Content-Type`.
    pub(super) content_type: Option<String>,
    /// The whole body.
    pub(super) body: Vec<u8>,
}

/// Is given the response to one request. If it is dropped without a call, there is no response, and the client must be
/// answered 500.
pub(super) trait Reply: Send {
    /// Takes the response, on the thread that has it.
    fn reply(self: Box<Self>, response: Result<RelayResponse, RelayError>);
}

/// The response to a request.
#[derive(Debug)]
pub(super) struct RelayResponse {
    /// The status.
    pub(super) status: u16,
    /// `Content-Type`.
    pub(super) content_type: Option<&'static str>,
    /// `Allow`, with a 405.
    pub(super) allow: Option<&'static str>,
    /// The body's length; for HEAD, the length that GET would give.
    pub(super) length: usize,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// A request got no response.
#[derive(Debug)]
pub(super) enum RelayError {
    /// The internal socket failed.
    Io(io::Error),
    /// The response cannot be read.
    Unreadable(&'static str),
}

impl From<io::Error> for RelayError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(source) => write!(f, "the internal socket failed: {source}"),
            Self::Unreadable(reason) => write!(f, "the internal response cannot be read: {reason}"),
        }
    }
}

impl std::error::Error for RelayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::Unreadable(_) => None,
        }
    }
}
