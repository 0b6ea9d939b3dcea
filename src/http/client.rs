//! The HTTP client for registries, trust servers, token services and the Kubernetes API. Counts every request, and sends none to a
//! server that is down ([`super::origin`]). How one request is sent: [`super::exchange`].

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::AsSendBody;
use ureq::http::{HeaderValue, Method, Request, header};

use super::error_body;
use super::exchange::{Exchange, MAX_ERROR_BODY};
use super::origin::permit::Permit;
use super::origin::{Limits, Origin, Origins};
use super::proxy::Proxies;
use super::roots::BuiltInRoots;
use super::url::PlainHttp;
use crate::base::context::Deadline;
use crate::base::secret::Secret;
use crate::metrics::{self, Metrics, RequestOutcome};

pub(crate) use super::error::{HttpError, HttpSetupError};
pub(crate) use super::exchange::Response;

/// The CA bundle is checked for changes no more often than this.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The media type of most responses.
pub(crate) const JSON: &str = "application/json";

/// A client with its connections. Shared by all workers.
pub(crate) struct Http {
    exchange: Arc<Exchange>,
    origins: Arc<Origins>,
    metrics: Arc<Metrics>,
}

/// The server that a request goes to.
#[derive(Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// What the request is counted as.
    pub(crate) kind: metrics::Peer,
    /// The server's probe URL ([`super::origin`]).
    pub(crate) probe: &'a str,
    /// The permit that the request holds, if any: a response keeps the server of the permit from counting as silent.
    pub(crate) permit: Option<&'a Permit<'a>>,
}

impl Http {
    /// A client under the built-in roots and a bundle.
    pub(crate) fn new(
        ca: Option<PathBuf>,
        plain_http: PlainHttp,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, HttpSetupError> {
        let proxies = Proxies::from_environment().map_err(HttpSetupError::Proxy)?;
        Self::checked_every(ca, plain_http, proxies, CHECK_EVERY, limits, metrics)
    }

    /// A client that trusts this bundle alone, which must be there, and uses https alone.
    pub(crate) fn under_only(ca: PathBuf, metrics: Arc<Metrics>) -> Result<Self, HttpSetupError> {
        let proxies = Proxies::from_environment().map_err(HttpSetupError::Proxy)?;
        let (built_in, plain_http) = (BuiltInRoots::Ignored, PlainHttp::Refused);
        let exchange = Exchange::new(built_in, Some(ca), plain_http, proxies, CHECK_EVERY, Arc::clone(&metrics))?;
        Ok(Self::over(exchange, Limits::NO_BULKHEAD, metrics))
    }

    pub(crate) fn checked_every(
        ca: Option<PathBuf>,
        plain_http: PlainHttp,
        proxies: Proxies,
        check_every: Duration,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, HttpSetupError> {
        let built_in = BuiltInRoots::Trusted;
        let exchange = Exchange::new(built_in, ca, plain_http, proxies, check_every, Arc::clone(&metrics))?;
        Ok(Self::over(exchange, limits, metrics))
    }

    fn over(exchange: Exchange, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let exchange = Arc::new(exchange);
        let client = Arc::downgrade(&exchange);
        let send_probe = Box::new(move |url: &str, wait: Duration| Some(send_probe(&*client.upgrade()?, url, wait)));
        let origins = Arc::new(Origins::new(limits, Arc::clone(&metrics), send_probe));
        Self { exchange, origins, metrics }
    }

    /// The state of the server with this probe URL.
    pub(crate) fn origin(&self, probe: &str) -> Origin<'_> {
        self.origins.origin(probe)
    }

    /// When the certificates end that servers sent, by host and port: the soonest of each chain, in seconds since 1970.
    pub(crate) fn certificate_ends(&self) -> Vec<(String, i64)> {
        self.exchange.peer_certificates().ends()
    }

    /// GETs a URL. `accept` lists the media types that are asked for. `cap` is for the body of a 200.
    pub(crate) fn get(
        &self,
        url: &str,
        accept: &'static str,
        authorization: Option<&Secret>,
        cap: usize,
        deadline: Deadline,
        peer: Peer<'_>,
    ) -> Result<Response, HttpError> {
        let request = || {
            let mut request = Request::builder().method(Method::GET).uri(url).header(header::ACCEPT, accept);
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, secret_header(authorization)?);
            }
            request.body(()).map_err(|_| HttpError::Request)
        };
        let attempt = self.begin(peer)?;
        let result = match attempt.send(request()?, cap, attempt.at_most(deadline)) {
            // A server may close an idle connection in the moment in which it is used again. A second GET is harmless.
            Err(HttpError::Disconnected) => attempt.send(request()?, cap, attempt.at_most(deadline)),
            // The server was taken to be silent, and is not.
            Err(error) if error.is_timeout() && attempt.was_wrong(deadline) => attempt.send(request()?, cap, deadline),
            result => result,
        };
        attempt.end(result)
    }

    /// POSTs a form to a URL.
    pub(crate) fn post_form(
        &self,
        url: &str,
        form: &Secret,
        cap: usize,
        deadline: Deadline,
        peer: Peer<'_>,
    ) -> Result<Response, HttpError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::ACCEPT, JSON)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.reveal())
            .map_err(|_| HttpError::Request)?;
        let attempt = self.begin(peer)?;
        let result = attempt.send(request, cap, attempt.at_most(deadline));
        attempt.end(result)
    }

    /// Begins a request to a server, unless the server is down.
    fn begin<'a>(&'a self, peer: Peer<'a>) -> Result<Attempt<'a>, HttpError> {
        let patience = self.origins.check(peer.probe).map_err(HttpError::Down)?;
        Ok(Attempt { http: self, peer, began: Instant::now(), patience, has_responded: Cell::new(false) })
    }
}

/// A request under way, sent once or twice.
struct Attempt<'a> {
    http: &'a Http,
    peer: Peer<'a>,
    began: Instant,
    /// How long it waits for a response, if not until its deadline: the server did not respond before.
    patience: Option<Duration>,
    has_responded: Cell<bool>,
}

impl Attempt<'_> {
    /// Sends the request, and counts it.
    fn send(&self, request: Request<impl AsSendBody>, cap: usize, deadline: Deadline) -> Result<Response, HttpError> {
        let began = Instant::now();
        let result = self.http.exchange.send(request, cap, deadline, &|| self.responded());
        self.count(&result, began);
        result
    }

    fn at_most(&self, deadline: Deadline) -> Deadline {
        self.patience.map_or(deadline, |patience| deadline.at_most(patience.saturating_sub(self.began.elapsed())))
    }

    /// Was it given less time than the deadline, for a server that is up?
    fn was_wrong(&self, deadline: Deadline) -> bool {
        let is_up = || self.http.origins.check(self.peer.probe).is_ok_and(|patience| patience.is_none());
        self.patience.is_some() && deadline.remaining().is_some() && is_up()
    }

    fn responded(&self) {
        self.has_responded.set(true);
        self.http.origins.responded(self.peer.probe);
        if let Some(permit) = self.peer.permit {
            permit.responded();
        }
    }

    fn count(&self, result: &Result<Response, HttpError>, began: Instant) {
        let (outcome, bytes) = match result {
            Ok(response) => (outcome_of(self.peer.kind, response), response.body.len()),
            Err(error) => (error.outcome(), 0),
        };
        self.http.metrics.trust_request(self.peer.kind, outcome, bytes, began.elapsed());
    }

    /// Half-opens the circuit of a server that took too long to fail.
    fn end(self, result: Result<Response, HttpError>) -> Result<Response, HttpError> {
        // A response that breaks off, trickles or is too large is a response: the cause may be one repository.
        if result.is_err() && !self.has_responded.get() && self.http.origins.is_slow(self.began.elapsed()) {
            self.http.origins.half_open(self.peer.probe);
        }
        result
    }
}

/// Is there any response, whatever the status?
fn send_probe(exchange: &Exchange, url: &str, wait: Duration) -> Result<(), String> {
    let has_responded = Cell::new(false);
    let request = Request::builder().method(Method::GET).uri(url).body(()).map_err(|_| HttpError::Request);
    let result = request
        .and_then(|request| exchange.send(request, MAX_ERROR_BODY, Deadline::after(wait), &|| has_responded.set(true)));
    match result {
        Err(error) if !has_responded.get() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn secret_header(value: &Secret) -> Result<HeaderValue, HttpError> {
    let mut header = HeaderValue::from_str(value.reveal()).map_err(|_| HttpError::Request)?;
    header.set_sensitive(true);
    Ok(header)
}

fn outcome_of(kind: metrics::Peer, response: &Response) -> RequestOutcome {
    match response.status {
        200 => RequestOutcome::Ok,
        401 | 403 => RequestOutcome::Unauthorized,
        404 if kind == metrics::Peer::TrustServer && !error_body::is_absence(404, &response.body) => {
            RequestOutcome::OtherStatus
        }
        404 => RequestOutcome::NotFound,
        // So registries say that they do not have the referrers API, and where a blob is.
        400 | 405 | 406 if kind == metrics::Peer::Registry => RequestOutcome::NotFound,
        301 | 302 | 303 | 307 | 308 if kind == metrics::Peer::Registry => RequestOutcome::Ok,
        500..600 => RequestOutcome::ServerError,
        _ => RequestOutcome::OtherStatus,
    }
}
