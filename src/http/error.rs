//! Why a request has no response, and why a client cannot be set up, in an operator's words.

use std::{fmt, io};

use rustls::CertificateError;

use super::origin::circuit_breaker::CircuitOpen;
use super::proxy::ProxyError;
use super::roots::CaError;
use super::server_verifier;
use super::tunnel::ProxyFault;
use crate::metrics::RequestOutcome;

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The deadline passed.
    Timeout,
    /// The request was not sent, because the server is down.
    Down(CircuitOpen),
    /// The host's name is not known.
    HostNotFound,
    /// The certificate was not accepted.
    Certificate(CertificateError),
    /// TLS failed in another way.
    Tls(rustls::Error),
    /// The connection broke before the response was complete.
    Disconnected,
    /// Connecting, sending or receiving failed.
    Io(io::Error),
    /// The proxy failed, or refused to connect.
    Proxy(Box<ProxyFault>),
    /// The body is larger than it may be.
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// The body has no length.
    NoLength,
    /// The body is compressed, although the request asked for none.
    Encoded,
    /// The request cannot be made: its URL or a header contains characters that HTTP does not allow.
    Request,
    /// The response is not valid HTTP.
    Protocol(ureq::Error),
}

impl HttpError {
    /// Whether the deadline passed, be it at the server or at the proxy. A request with more time might have had a response.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Proxy(fault) => fault.is_timeout(),
            _ => false,
        }
    }

    /// What the request is counted as.
    pub(super) fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Timeout => RequestOutcome::Timeout,
            Self::HostNotFound => RequestOutcome::HostNotFound,
            Self::Certificate(_) => RequestOutcome::Certificate,
            Self::Tls(_) => RequestOutcome::Tls,
            Self::Disconnected => RequestOutcome::Disconnected,
            Self::Io(_) | Self::Down(_) => RequestOutcome::Unreachable,
            Self::Proxy(_) => RequestOutcome::Proxy,
            Self::TooLarge { .. } | Self::NoLength | Self::Encoded => RequestOutcome::Body,
            Self::Request | Self::Protocol(_) => RequestOutcome::Protocol,
        }
    }
}

impl From<ureq::Error> for HttpError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::Timeout,
            ureq::Error::HostNotFound => Self::HostNotFound,
            ureq::Error::Rustls(rustls::Error::InvalidCertificate(why)) => Self::Certificate(why),
            ureq::Error::Rustls(error) => Self::Tls(error),
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Disconnected,
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
                _ => Self::Io(error),
            },
            ureq::Error::Other(other) => match other.downcast::<ProxyFault>() {
                Ok(fault) => Self::Proxy(fault),
                Err(other) => Self::Protocol(ureq::Error::Other(other)),
            },
            other => Self::Protocol(other),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        // While a body is read, ureq's own error is wrapped in it.
        Self::from(ureq::Error::from(error))
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("did not answer in time"),
            Self::Down(error) => error.fmt(f),
            Self::HostNotFound => f.write_str("its host name could not be looked up"),
            Self::Certificate(why) => {
                write!(f, "its certificate was not accepted: {}", server_verifier::describe(why))
            }
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Disconnected => f.write_str("closed the connection before the response was complete"),
            Self::Io(error) => write!(f, "could not be reached: {error}"),
            Self::Proxy(fault) => fault.fmt(f),
            Self::TooLarge { cap } => write!(f, "sent more than {cap} bytes"),
            Self::NoLength => {
                f.write_str("sent a response without a length, so that a truncated one would go unnoticed")
            }
            Self::Encoded => f.write_str("sent a compressed response, although the request asked for none"),
            Self::Request => {
                f.write_str("cannot be asked: the URL or the credentials contain characters that HTTP does not allow")
            }
            Self::Protocol(error) => write!(f, "sent a response that is not valid HTTP: {error}"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Down(error) => Some(error),
            Self::Proxy(fault) => Some(fault.as_ref()),
            Self::Tls(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Protocol(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a client cannot be set up.
#[derive(Debug)]
pub(crate) enum HttpSetupError {
    /// The CA bundle.
    Ca(CaError),
    /// The proxy variables.
    Proxy(ProxyError),
}
