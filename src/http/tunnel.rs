//! The way through a proxy (RFC 9110 §9.3.6, CONNECT). ureq's own gives each read of the proxy's answer the whole time, so
//! that a proxy that sends a byte now and then would hold a request for hours, and tells its faults as the server's. Here
//! all of it has the time for connecting, and what the proxy does wrong is blamed on the proxy.

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
use super::server_verifier;
use crate::base::secret::Secret;

/// The longest head of a proxy's answer.
const MAX_HEAD: usize = 16 << 10;

/// Connects through the proxy of a request that has one. Stands first in the chain.
#[derive(Debug)]
pub(crate) struct TunnelConnector {
    /// Without a proxy: for the connection to the proxy itself.
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
        match dig(details, proxy, &self.config) {
            Ok(tunnel) => Ok(Some(Either::B(tunnel))),
            Err(trouble) => Err(Error::Other(Box::new(ProxyFault {
                proxy: format!("{}:{}", proxy.host(), proxy.port()),
                variable: if details.needs_tls() { "HTTPS_PROXY" } else { "HTTP_PROXY" },
                target: target(details.uri),
                trouble,
            }))),
        }
    }
}

fn dig(details: &ConnectionDetails<'_>, proxy: &Proxy, config: &Config) -> Result<Tunnel, Trouble> {
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
            return Err(Trouble::Timeout);
        }
        let came = transport.await_input(timeout)?;
        let input = transport.buffers().input();
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            let status = status(input).ok_or(Trouble::NoProxy)?;
            transport.buffers().input_consume(end + 4);
            return if (200..300).contains(&status) { Ok(Tunnel(transport)) } else { Err(Trouble::Status(status)) };
        }
        if !came {
            return Err(Trouble::Closed);
        }
        if input.len() > MAX_HEAD {
            return Err(Trouble::NoProxy);
        }
    }
}

/// Of an answer whose head begins these bytes: `HTTP/1.1 200 Connected`.
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Host and port, as CONNECT wants them.
fn target(uri: &Uri) -> String {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

/// A connection through a proxy. It has no TLS yet, be there some to the proxy or not.
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

/// What a proxy did wrong. Its user and password are not in it.
#[derive(Debug)]
pub(crate) struct ProxyFault {
    proxy: String,
    variable: &'static str,
    target: String,
    trouble: Trouble,
}

#[derive(Debug)]
enum Trouble {
    HostNotFound,
    Unreachable(io::Error),
    Tls(rustls::Error),
    Timeout,
    Closed,
    NoProxy,
    Status(u16),
    Other(Error),
}

impl From<Error> for Trouble {
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
        let Self { proxy, variable, target, trouble } = self;
        write!(f, "the proxy {proxy} ({variable}) ")?;
        match trouble {
            Trouble::HostNotFound => f.write_str("could not be reached: its host name is not known"),
            Trouble::Unreachable(error) => write!(f, "could not be reached: {error}"),
            Trouble::Tls(rustls::Error::InvalidCertificate(why)) => {
                write!(f, "has a certificate that was not accepted: {}", server_verifier::trouble(why))
            }
            Trouble::Tls(error) => write!(f, "could not be spoken to by TLS: {error}"),
            Trouble::Timeout => f.write_str("did not answer in time"),
            Trouble::Closed => f.write_str("closed the connection before it answered"),
            Trouble::NoProxy => f.write_str("did not answer as a proxy does"),
            Trouble::Status(407) => write!(
                f,
                "wants a user name and a password, or others than it got (407): {variable} takes \
                 http://user:password@{proxy}"
            ),
            Trouble::Status(403) => write!(
                f,
                "does not allow connections to {target} (403): allow them there, or put the host into NO_PROXY if it can \
                 be reached without"
            ),
            Trouble::Status(status @ 500..) => write!(f, "could not connect to {target} (it answered {status})"),
            Trouble::Status(status) => write!(f, "would not connect to {target} (it answered {status})"),
            Trouble::Other(error) => write!(f, "failed: {error}"),
        }
    }
}

impl std::error::Error for ProxyFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.trouble {
            Trouble::Unreachable(error) => Some(error),
            Trouble::Tls(error) => Some(error),
            Trouble::Other(error) => Some(error),
            _ => None,
        }
    }
}
