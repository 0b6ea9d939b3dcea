//! Sends one request and reads its response. Follows no redirect, keeps no cookie, asks for no compression, and uses https
//! unless plain HTTP is switched on. Every body has a cap. One deadline covers name lookup, connecting, sending and reading.
//! Reads the CA bundle again when it has changed. Never logs a header or a body.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{self, HeaderMap, Request, header};
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, AsSendBody, Body};

use super::error::{HttpError, HttpSetupError};
use super::peer_certificates::PeerCertificates;
use super::proxy::Proxies;
use super::resolver::Names;
use super::roots::{BuiltInRoots, CaError, tls_config};
use super::tls::TlsConnector;
use super::tunnel::TunnelConnector;
use super::url::PlainHttp;
use crate::base::context::Deadline;
use crate::base::files::Stamp;
use crate::base::reload::{Reload, Reloading, Source};
use crate::metrics::{Metrics, Reloaded};

/// The value of `User-Agent`.
pub(crate) const USER_AGENT: &str = concat!("portreeve/", env!("CARGO_PKG_VERSION"));
/// Most of the body of an error response that is read.
pub(super) const MAX_ERROR_BODY: usize = 4 << 10;
/// Buffers of one connection. The largest response head must fit into one.
const BUFFER: usize = 32 << 10;
const MAX_HEAD: usize = 24 << 10;
/// Idle connections that are kept. Refreshes of several repositories on one server use a few.
const POOL: usize = 16;
const POOL_PER_HOST: usize = 8;
const POOL_AGE: Duration = Duration::from_secs(30);

/// The connections, under the current CA bundle. Shared by all workers.
pub(super) struct Exchange {
    agents: Reloading<AgentSource>,
    proxies: Proxies,
    metrics: Arc<Metrics>,
}

/// Makes agents under the CA bundle.
struct AgentSource {
    built_in: BuiltInRoots,
    ca: Option<PathBuf>,
    plain_http: PlainHttp,
    peers: Arc<PeerCertificates>,
}

/// A server's response.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status.
    pub(crate) status: u16,
    /// Its fields.
    headers: HeaderMap,
    /// The whole body if the status is 200. Otherwise the body if it is short, or nothing.
    pub(crate) body: Vec<u8>,
}

/// A field that cannot be read. It is no valid value of any field, so that the field is refused and not ignored.
const UNREADABLE: &str = "\u{0}";

impl Response {
    /// The values of a field, one for each line that has it.
    pub(crate) fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or(UNREADABLE))
    }

    /// The value of a field that a response has once. Two of them are as one that cannot be read.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields(name);
        let first = fields.next()?;
        Some(if fields.next().is_some() { UNREADABLE } else { first })
    }
}

impl Exchange {
    pub(super) fn new(
        built_in: BuiltInRoots,
        ca: Option<PathBuf>,
        plain_http: PlainHttp,
        proxies: Proxies,
        check_every: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<Self, HttpSetupError> {
        let source = AgentSource { built_in, ca, plain_http, peers: Arc::default() };
        let agents = Reloading::start(source, check_every).map_err(HttpSetupError::Ca)?;
        Ok(Self { agents, proxies, metrics })
    }

    /// Sends a request. `responded` is called as soon as the head of a response is there. `cap` is for the body of a 200.
    pub(super) fn send(
        &self,
        request: Request<impl AsSendBody>,
        cap: usize,
        deadline: Deadline,
        responded: &dyn Fn(),
    ) -> Result<Response, HttpError> {
        let agent = self.agent();
        let left = deadline.remaining().ok_or(HttpError::Timeout)?;
        let proxy = self.proxies.to(request.uri()).cloned();
        let request = agent
            .configure_request(request)
            .timeout_global(Some(left))
            .timeout_connect(Some(left))
            .proxy(proxy)
            .build();
        let response = agent.run(request).map_err(HttpError::from)?;
        responded();
        Self::receive(response, cap)
    }

    /// When the certificates of the servers end to which there were connections.
    pub(super) fn peer_certificates(&self) -> &PeerCertificates {
        &self.agents.source().peers
    }

    fn receive(mut response: http::Response<Body>, cap: usize) -> Result<Response, HttpError> {
        let status = response.status().as_u16();
        let body = if status == 200 { read_whole(&mut response, cap)? } else { read_beginning(&mut response) };
        let headers = std::mem::take(response.headers_mut());
        Ok(Response { status, headers, body })
    }

    /// The agent under the current CA bundle. One caller checks the file; the others do not wait.
    fn agent(&self) -> Agent {
        match self.agents.check() {
            Reload::Unchanged => self.agents.value(),
            Reload::Made(agent) => {
                log::info!("CA bundle {} was read again", self.agents.source().file());
                self.metrics.reload(Reloaded::TrustCa, true);
                agent
            }
            Reload::Failed { error, .. } => {
                log::error!("{error}; the roots read before stay in force");
                self.metrics.reload(Reloaded::TrustCa, false);
                self.agents.value()
            }
        }
    }
}

impl AgentSource {
    fn file(&self) -> impl std::fmt::Display + '_ {
        self.ca.as_deref().unwrap_or(Path::new("")).display()
    }
}

impl Source for AgentSource {
    type Value = Agent;
    /// Without a bundle nothing ever changes.
    type Stamp = Option<Stamp>;
    type Error = CaError;

    fn stamp(&self) -> Option<Stamp> {
        self.ca.as_deref().and_then(Stamp::of)
    }

    fn make(&self, _: &Option<Stamp>, _: Option<&Agent>) -> Result<Agent, CaError> {
        new_agent(self)
    }
}

fn new_agent(source: &AgentSource) -> Result<Agent, CaError> {
    let AgentSource { built_in, ca, plain_http, peers } = source;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(*plain_http == PlainHttp::Refused)
        .max_redirects(0)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_response_header_size(MAX_HEAD)
        .max_idle_connections(POOL)
        .max_idle_connections_per_host(POOL_PER_HOST)
        .max_idle_age(POOL_AGE)
        .proxy(None)
        .build();
    let connector =
        ().chain(TunnelConnector::new(config.clone()))
            .chain(TcpConnector::default())
            .chain(TlsConnector::new(tls_config(*built_in, ca.as_deref())?, Arc::clone(peers)));
    Ok(Agent::with_parts(config, connector, Names::default()))
}

/// The whole body of a 200, or an error.
fn read_whole(response: &mut http::Response<Body>, cap: usize) -> Result<Vec<u8>, HttpError> {
    if response.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(HttpError::Encoded);
    }
    if !says_its_length(response.headers()) {
        // If the body ends with the connection, a truncated body looks like a whole one.
        return Err(HttpError::NoLength);
    }
    read(response, cap)
}

/// The body of an error response, or nothing if it is long or cannot be read: it only makes messages more precise.
fn read_beginning(response: &mut http::Response<Body>) -> Vec<u8> {
    read(response, MAX_ERROR_BODY).unwrap_or_default()
}

fn read(response: &mut http::Response<Body>, cap: usize) -> Result<Vec<u8>, HttpError> {
    let limit = u64::try_from(cap).unwrap_or(u64::MAX);
    if response.body().content_length().is_some_and(|length| length > limit) {
        return Err(HttpError::TooLarge { cap });
    }
    // Allocated once: a buffer that grows fragments the heap.
    let length = response.body().content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Vec::with_capacity(length.map_or(0, |length| length.min(cap) + 1));
    let reader = response.body_mut().with_config().limit(limit.saturating_add(2)).reader();
    reader.take(limit.saturating_add(1)).read_to_end(&mut body).map_err(HttpError::from)?;
    if body.len() > cap {
        return Err(HttpError::TooLarge { cap });
    }
    Ok(body)
}

fn says_its_length(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}
