//! The tunnel through a proxy (RFC 9110 §9.3.6, CONNECT). ureq's own implementation gives each read of the proxy's response
//! the whole time limit, so that a proxy that sends a byte now and then could hold a request for hours; and it reports a
//! proxy's faults as the server's. Here the tunnel shares the time limit of connecting, and an error names the proxy.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::transport::time::Duration as Wait;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter,
};
use ureq::{Error, Proxy};

use super::authorization::basic;
use super::connect_deadline::remaining;
use super::exchange::USER_AGENT;
use super::{server_verifier, url};
use crate::base::secret::Secret;

/// Longest head of a proxy's response.
const MAX_HEAD: usize = 16 << 10;

/// Connects through the proxy if a request has one. The first connector in the chain.
#[derive(Debug)]
pub(crate) struct TunnelConnector {
    /// For the connection to the proxy itself: it names no proxy.
    config: Config,
}

impl TunnelConnector {
    pub(crate) fn new(config: Config) -> Self {
        Self { config }
    }
}

impl<In: Transport> Connector<In> for TunnelConnector {
    type Out = Either<In, Tunnel>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(proxy) = details.config.proxy().filter(|_| chained.is_none()) else {
            return Ok(chained.map(Either::A));
        };
        match open_tunnel(details, proxy, &self.config) {
            Ok(tunnel) => Ok(Some(Either::B(tunnel))),
            Err(failure) => Err(Error::Other(Box::new(ProxyFault {
                proxy: format!("{}:{}", proxy.host(), proxy.port()),
                variable: if details.needs_tls() { "HTTPS_PROXY" } else { "HTTP_PROXY" },
                target: target(details.uri),
                failure,
            }))),
        }
    }
}

fn open_tunnel(details: &ConnectionDetails<'_>, proxy: &Proxy, config: &Config) -> Result<Tunnel, Failure> {
    let to_proxy = ConnectionDetails {
        uri: proxy.uri(),
        addrs: details.resolver.resolve(proxy.uri(), config, remaining(details))?,
        config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: (details.current_time)(),
        timeout: remaining(details),
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
    };
    let transport = (details.run_connector)(&to_proxy)?;
    let mut writer = TransportAdapter::new(transport, Arc::clone(&details.current_time));
    writer.set_timeout(remaining(details));
    let target = target(details.uri);
    let credentials = match (proxy.username(), proxy.password()) {
        (None, None) => String::new(),
        (user, password) => {
            let password = Secret::new(password.unwrap_or_default());
            format!("Proxy-Authorization: {}\r\n", basic(user.unwrap_or_default(), &password).reveal())
        }
    };
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\n{credentials}\r\n");
    writer.write_all(head.as_bytes()).map_err(Error::from)?;
    writer.flush().map_err(Error::from)?;
    let mut transport = writer.into_inner();
    loop {
        let timeout = remaining(details);
        if matches!(timeout.after, Wait::Exact(left) if left == Duration::ZERO) {
            return Err(Failure::Timeout);
        }
        let came = transport.await_input(timeout)?;
        let input = transport.buffers().input();
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            let status = status(input).ok_or(Failure::NotAProxy)?;
            transport.buffers().input_consume(end + 4);
            return if (200..300).contains(&status) { Ok(Tunnel(transport)) } else { Err(Failure::Status(status)) };
        }
        if !came {
            return Err(Failure::Closed);
        }
        if input.len() > MAX_HEAD {
            return Err(Failure::NotAProxy);
        }
    }
}

/// The status of a response that begins with these bytes: `HTTP/1.1 200 Connected`.
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The target of CONNECT: host and port.
fn target(uri: &Uri) -> String {
    format!("{}:{}", uri.host().unwrap_or_default(), url::port(uri))
}

/// A connection through a proxy. It has no TLS to the server yet, even if the connection to the proxy has TLS.
#[derive(Debug)]
pub(crate) struct Tunnel(Box<dyn Transport>);

impl Transport for Tunnel {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        false
    }
}

/// Why there is no tunnel. Holds neither the user name nor the password for the proxy.
#[derive(Debug)]
pub(crate) struct ProxyFault {
    proxy: String,
    variable: &'static str,
    target: String,
    failure: Failure,
}

impl ProxyFault {
    /// Whether the deadline passed before the proxy answered.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self.failure, Failure::Timeout)
    }
}

#[derive(Debug)]
enum Failure {
    HostNotFound,
    Unreachable(io::Error),
    Tls(rustls::Error),
    Timeout,
    Closed,
    NotAProxy,
    Status(u16),
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::HostNotFound => Self::HostNotFound,
            Error::Timeout(_) => Self::Timeout,
            Error::Rustls(error) => Self::Tls(error),
            Error::Io(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    Self::Closed
                }
                io::ErrorKind::WouldBlock => Self::Timeout,
                _ => Self::Unreachable(error),
            },
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, variable, target, failure } = self;
        write!(f, "the proxy {proxy} ({variable}) ")?;
        match failure {
            Failure::HostNotFound => f.write_str("could not be reached: its host name could not be looked up"),
            Failure::Unreachable(error) => write!(f, "could not be reached: {error}"),
            Failure::Tls(rustls::Error::InvalidCertificate(why)) => {
                write!(f, "has a certificate that was not accepted: {}", server_verifier::describe(why))
            }
            Failure::Tls(error) => write!(f, "failed in TLS: {error}"),
            Failure::Timeout => f.write_str("did not answer in time"),
            Failure::Closed => f.write_str("closed the connection before it answered"),
            Failure::NotAProxy => f.write_str("sent a response that no HTTP proxy sends"),
            Failure::Status(407) => write!(
                f,
                "requires a user name and a password, or refused those that it got (407): {variable} takes \
                 http://user:password@{proxy}"
            ),
            Failure::Status(403) => write!(
                f,
                "does not allow connections to {target} (403): allow them there, or put the host into NO_PROXY if it can \
                 be reached without the proxy"
            ),
            Failure::Status(status @ 500..) => write!(f, "could not connect to {target} (it answered {status})"),
            Failure::Status(status) => write!(f, "refused to connect to {target} (it answered {status})"),
            Failure::Other(error) => write!(f, "failed: {error}"),
        }
    }
}

impl std::error::Error for ProxyFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            Failure::Unreachable(error) => Some(error),
            Failure::Tls(error) => Some(error),
            Failure::Other(error) => Some(error),
            _ => None,
        }
    }
}
