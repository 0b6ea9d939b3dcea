//! Why a request has no answer, in an operator's words. An error is never recognised by its text.

use std::fmt;
use std::io;

use rustls::CertificateError;

use super::origin::circuit_breaker::CircuitOpen;
use super::proxy::ProxyError;
use super::roots::CaError;
use super::server_verifier;
use super::tunnel::ProxyFault;
use crate::metrics::RequestOutcome;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The deadline passed.
    Timeout,
    /// Nothing was asked, because nobody is there.
    Down(CircuitOpen),
    /// The host's name is not known.
    HostNotFound,
    /// The certificate was not accepted.
    Certificate(CertificateError),
    /// TLS failed in another way.
    Tls(rustls::Error),
    /// The connection broke before the answer was complete.
    Disconnected,
    /// Connecting, sending or receiving failed.
    Io(io::Error),
    /// The proxy failed, or would not connect us.
    Proxy(Box<ProxyFault>),
    /// The body is larger than it may be.
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// The body has no length.
    NoLength,
    /// The body is compressed, which was not asked for.
    Encoded,
    /// The request cannot be made: a URL or a header that HTTP cannot carry.
    Request,
    /// The answer is not HTTP, or not as it should be.
    Protocol(ureq::Error),
}

impl HttpError {
    /// For metrics.
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
        // ureq's own error travels inside when a body is read.
        Self::from(ureq::Error::from(error))
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("did not answer in time"),
            Self::Down(outage) => outage.fmt(f),
            Self::HostNotFound => f.write_str("its host name is not known"),
            Self::Certificate(why) => {
                write!(f, "its certificate was not accepted: {}", server_verifier::trouble(why))
            }
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Disconnected => f.write_str("closed the connection before the answer was complete"),
            Self::Io(error) => write!(f, "could not be reached: {error}"),
            Self::Proxy(fault) => fault.fmt(f),
            Self::TooLarge { cap } => write!(f, "sent more than {cap} bytes"),
            Self::NoLength => f.write_str("did not say how long its answer is, so that a cut-off one would not show"),
            Self::Encoded => f.write_str("sent a compressed answer, which was not asked for"),
            Self::Request => f.write_str("cannot be asked: the URL or the credentials do not fit into HTTP"),
            Self::Protocol(error) => write!(f, "did not answer as HTTP has it: {error}"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Down(outage) => Some(outage),
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
