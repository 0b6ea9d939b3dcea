//! HTTP as trust servers, token services and the Kubernetes API are spoken to: no redirects, no cookies, no compression,
//! https unless plain HTTP is switched on, a cap on every body and one deadline over resolving, connecting, sending and
//! reading. Nobody waits for a server that is known to be down (`outage`). Never logs a header or a body.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::CertificateError;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, AsSendBody, Body};

use super::error_body;
use super::origin::circuit_breaker::{Outage, Outages, Times};
use super::proxy::{Proxies, ProxyError};
use super::resolver::Names;
use super::roots::{BuiltInRoots, CaError, tls_config};
use super::server_verifier;
use super::tls::TlsConnector;
use super::tunnel::{ProxyFault, TunnelConnector};
use super::url::PlainHttp;
use crate::base::context::Deadline;
use crate::base::files::Stamp;
use crate::base::reload::Recheck;
use crate::base::secret::Secret;
use crate::metrics::{self, Metrics, RequestOutcome, What};

/// What we say we are.
pub(crate) const USER_AGENT: &str = concat!("portreeve/", env!("CARGO_PKG_VERSION"));
/// Most of an error's body that is read.
const MAX_ERROR_BODY: usize = 4 << 10;
/// Buffers of one connection; the largest response head must fit.
const BUFFER: usize = 32 << 10;
const MAX_HEAD: usize = 24 << 10;
/// Idle connections that are kept: a refresh of several repositories on one server uses a few.
const POOL: usize = 16;
const POOL_PER_HOST: usize = 8;
const POOL_AGE: Duration = Duration::from_secs(30);
/// How often the CA bundle's stamp is looked at, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A client with its connections. Shared by all workers.
pub(crate) struct Http {
    built_in: BuiltInRoots,
    ca: Option<PathBuf>,
    plain_http: PlainHttp,
    proxies: Proxies,
    recheck: Recheck,
    outages: Arc<Outages>,
    state: Mutex<State>,
}

/// Whom a request goes to.
#[derive(Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// What it is counted as.
    pub(crate) kind: metrics::Peer,
    /// A URL there that may be asked for without a reason, and that is answered, with whatever status, if anything is.
    pub(crate) door: &'a str,
    /// Told as soon as there is an answer, whatever it says.
    pub(crate) answered: &'a dyn Fn(),
}

#[derive(Clone)]
struct State {
    agent: Agent,
    stamp: Option<Stamp>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Its `WWW-Authenticate` fields.
    pub(crate) challenges: Vec<String>,
    /// The body: whole if the status is 200, else its beginning, or nothing.
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// A client under the built-in roots and a bundle.
    pub(crate) fn new(
        ca: Option<PathBuf>,
        plain_http: PlainHttp,
        metrics: Arc<Metrics>,
    ) -> Result<Self, HttpSetupError> {
        let proxies = Proxies::from_environment().map_err(HttpSetupError::Proxy)?;
        Self::checked_every(ca, plain_http, proxies, CHECK_EVERY, Outages::new(Times::USUAL, metrics))
    }

    /// A client that believes nobody but this bundle, which must be there, and speaks https alone.
    pub(crate) fn under_only(ca: PathBuf, metrics: Arc<Metrics>) -> Result<Self, HttpSetupError> {
        let proxies = Proxies::from_environment().map_err(HttpSetupError::Proxy)?;
        let outages = Outages::new(Times::USUAL, metrics);
        Self::set_up(BuiltInRoots::Ignored, Some(ca), PlainHttp::Refused, proxies, CHECK_EVERY, outages)
    }

    pub(crate) fn checked_every(
        ca: Option<PathBuf>,
        plain_http: PlainHttp,
        proxies: Proxies,
        check_every: Duration,
        outages: Outages,
    ) -> Result<Self, HttpSetupError> {
        Self::set_up(BuiltInRoots::Trusted, ca, plain_http, proxies, check_every, outages)
    }

    fn set_up(
        built_in: BuiltInRoots,
        ca: Option<PathBuf>,
        plain_http: PlainHttp,
        proxies: Proxies,
        check_every: Duration,
        outages: Outages,
    ) -> Result<Self, HttpSetupError> {
        // The stamp first: a change between the two is then seen at the next look.
        let stamp = ca.as_deref().and_then(Stamp::of);
        let agent = new_agent(built_in, ca.as_deref(), plain_http).map_err(HttpSetupError::Ca)?;
        let state = State { agent, stamp };
        let outages = Arc::new(outages);
        let recheck = Recheck::every(check_every);
        Ok(Self { built_in, ca, plain_http, proxies, recheck, outages, state: Mutex::new(state) })
    }

    /// GETs a URL. `cap` is for the body of a 200.
    pub(crate) fn get(
        self: &Arc<Self>,
        url: &str,
        authorization: Option<&Secret>,
        cap: usize,
        deadline: Deadline,
        peer: Peer<'_>,
    ) -> Result<Answer, HttpError> {
        let request = || {
            let mut request =
                Request::builder().method(Method::GET).uri(url).header(header::ACCEPT, "application/json");
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, secret_header(authorization)?);
            }
            request.body(()).map_err(|_| HttpError::Request)
        };
        self.to_peer(peer, |answered| match self.run(peer.kind, request()?, cap, deadline, answered) {
            // A server may close an idle connection in the moment we reuse it; asking again is harmless.
            Err(HttpError::Disconnected) => self.run(peer.kind, request()?, cap, deadline, answered),
            answered => answered,
        })
    }

    /// POSTs a form to a URL.
    pub(crate) fn post_form(
        self: &Arc<Self>,
        url: &str,
        form: &Secret,
        cap: usize,
        deadline: Deadline,
        peer: Peer<'_>,
    ) -> Result<Answer, HttpError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.reveal().to_owned())
            .map_err(|_| HttpError::Request)?;
        self.to_peer(peer, |answered| self.run(peer.kind, request, cap, deadline, answered))
    }

    /// May whoever has this door be asked, or is it known to be down?
    pub(crate) fn check(&self, door: &str) -> Result<(), Outage> {
        self.outages.check(door)
    }

    /// The same, for somebody who may wait for the next look at it.
    pub(crate) fn check_or_wait(&self, door: &str, deadline: Deadline) -> Result<(), Outage> {
        self.outages.check_or_wait(door, deadline)
    }

    #[cfg(test)]
    pub(crate) fn is_fine(&self, door: &str) -> bool {
        self.outages.is_fine(door)
    }

    /// Finds out whether whoever has this door is down.
    pub(crate) fn suspect(self: &Arc<Self>, door: &str) {
        let http = Arc::downgrade(self);
        self.outages.suspect(door, move |door, wait| Some(http.upgrade()?.knock(door, wait)));
    }

    /// Nobody waits for a peer that is down, and whoever waited for one in vain has it looked at.
    fn to_peer(
        self: &Arc<Self>,
        peer: Peer<'_>,
        ask: impl FnOnce(&dyn Fn()) -> Result<Answer, HttpError>,
    ) -> Result<Answer, HttpError> {
        self.check(peer.door).map_err(HttpError::Down)?;
        let began = Instant::now();
        let heard = Cell::new(false);
        let result = ask(&|| {
            heard.set(true);
            self.outages.answered(peer.door);
            (peer.answered)();
        });
        // An answer that breaks off, drips or is too large is an answer: the repository may be what is wrong with it.
        if result.is_err() && !heard.get() && self.outages.is_suspicious(began.elapsed()) {
            self.suspect(peer.door);
        }
        result
    }

    /// Is there any answer, whatever it says?
    fn knock(&self, door: &str, wait: Duration) -> Result<(), String> {
        let heard = Cell::new(false);
        let request = Request::builder().method(Method::GET).uri(door).body(()).map_err(|_| HttpError::Request);
        let result = request.and_then(|request| {
            self.run_uncounted(request, MAX_ERROR_BODY, Deadline::after(wait), &|| heard.set(true))
        });
        match result {
            Err(error) if !heard.get() => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// One request, counted.
    fn run(
        &self,
        kind: metrics::Peer,
        request: Request<impl AsSendBody>,
        cap: usize,
        deadline: Deadline,
        answered: &dyn Fn(),
    ) -> Result<Answer, HttpError> {
        let began = Instant::now();
        let result = self.run_uncounted(request, cap, deadline, answered);
        let (outcome, bytes) = match &result {
            Ok(answer) => (outcome_of(kind, answer), answer.body.len()),
            Err(error) => (error.outcome(), 0),
        };
        self.metrics().trust_request(kind, outcome, bytes, began.elapsed());
        result
    }

    /// One request and its answer. `answered` is told as soon as the answer's head is there.
    fn run_uncounted(
        &self,
        request: Request<impl AsSendBody>,
        cap: usize,
        deadline: Deadline,
        answered: &dyn Fn(),
    ) -> Result<Answer, HttpError> {
        let agent = self.agent();
        let left = deadline.remaining().ok_or(HttpError::Timeout)?;
        let proxy = self.proxy(request.uri());
        let request = agent
            .configure_request(request)
            .timeout_global(Some(left))
            .timeout_connect(Some(left))
            .proxy(proxy)
            .build();
        let mut response = agent.run(request).map_err(HttpError::from)?;
        answered();
        let status = response.status().as_u16();
        let challenges = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            // Bytes that are not ASCII text become a field that cannot be read, rather than none at all.
            .map(|value| value.to_str().unwrap_or("\u{0}").to_owned())
            .collect();
        let body = if status == 200 { read_whole(&mut response, cap)? } else { read_beginning(&mut response) };
        Ok(Answer { status, challenges, body })
    }

    fn proxy(&self, url: &Uri) -> Option<ureq::Proxy> {
        self.proxies.to(url).cloned()
    }

    /// The agent under the CA bundle as it is now. One caller looks at the file; the others do not wait.
    fn agent(&self) -> Agent {
        let look = self.ca.as_deref().and_then(|ca| Some((ca, self.recheck.due()?)));
        let State { agent, stamp: known } = self.lock().clone();
        let Some((ca, _look)) = look else { return agent };
        let stamp = Stamp::of(ca);
        let renewed = (stamp != known).then(|| new_agent(self.built_in, Some(ca), self.plain_http));
        let mut state = self.lock();
        match renewed {
            None => {}
            Some(Ok(agent)) => {
                log::info!("CA bundle {} was read again", ca.display());
                self.metrics().reload(What::TrustCa, true);
                state.stamp = stamp;
                state.agent = agent;
            }
            Some(Err(error)) => {
                log::error!("{error}; the roots read before stay in force");
                self.metrics().reload(What::TrustCa, false);
                state.stamp = stamp;
            }
        }
        state.agent.clone()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.outages.metrics()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_agent(built_in: BuiltInRoots, ca: Option<&std::path::Path>, plain_http: PlainHttp) -> Result<Agent, CaError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(plain_http == PlainHttp::Refused)
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
            .chain(TlsConnector::new(tls_config(built_in, ca)?));
    Ok(Agent::with_parts(config, connector, Names::default()))
}

fn secret_header(value: &Secret) -> Result<HeaderValue, HttpError> {
    let mut header = HeaderValue::from_str(value.reveal()).map_err(|_| HttpError::Request)?;
    header.set_sensitive(true);
    Ok(header)
}

/// The body of a 200: all of it or an error.
fn read_whole(response: &mut Response<Body>, cap: usize) -> Result<Vec<u8>, HttpError> {
    if response.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(HttpError::Encoded);
    }
    if !says_its_length(response.headers()) {
        // Where only the connection's end ends the body, a cut-off one looks like a whole one.
        return Err(HttpError::NoLength);
    }
    let limit = u64::try_from(cap).unwrap_or(u64::MAX);
    if response.body().content_length().is_some_and(|length| length > limit) {
        return Err(HttpError::TooLarge { cap });
    }
    // In one piece from the beginning: one that grows leaves holes behind.
    let length = response.body().content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Vec::with_capacity(length.map_or(0, |length| length.min(cap) + 1));
    let reader = response.body_mut().with_config().limit(limit.saturating_add(2)).reader();
    reader.take(limit.saturating_add(1)).read_to_end(&mut body).map_err(HttpError::from)?;
    if body.len() > cap {
        return Err(HttpError::TooLarge { cap });
    }
    Ok(body)
}

/// The beginning of an error's body: it is only told to people, so trouble in reading it is not trouble.
fn read_beginning(response: &mut Response<Body>) -> Vec<u8> {
    let mut body = Vec::new();
    let limit = u64::try_from(MAX_ERROR_BODY).unwrap_or(u64::MAX);
    let reader = response.body_mut().with_config().limit(limit.saturating_add(2)).reader();
    match reader.take(limit.saturating_add(1)).read_to_end(&mut body) {
        Ok(_) if body.len() <= MAX_ERROR_BODY => body,
        _ => Vec::new(),
    }
}

fn outcome_of(kind: metrics::Peer, answer: &Answer) -> RequestOutcome {
    match answer.status {
        200 => RequestOutcome::Ok,
        401 | 403 => RequestOutcome::Unauthorized,
        404 if kind == metrics::Peer::TrustServer && !error_body::is_absence(404, &answer.body) => {
            RequestOutcome::OtherStatus
        }
        404 => RequestOutcome::NotFound,
        500..600 => RequestOutcome::ServerError,
        _ => RequestOutcome::OtherStatus,
    }
}

fn says_its_length(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The deadline passed.
    Timeout,
    /// Nothing was asked, because nobody is there.
    Down(Outage),
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
    fn outcome(&self) -> RequestOutcome {
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
