//! HTTP as trust servers, token services and the Kubernetes API are spoken to. Every request is counted, and none is sent
//! to a server that is down ([`super::origin`]). How a request is sent: [`super::exchange`].

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
pub(crate) use super::exchange::Answer;

/// How often the CA bundle's stamp is looked at, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A client with its connections. Shared by all workers.
pub(crate) struct Http {
    exchange: Arc<Exchange>,
    origins: Arc<Origins>,
    metrics: Arc<Metrics>,
}

/// Whom a request goes to.
#[derive(Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// What it is counted as.
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

    /// A client that believes nobody but this bundle, which must be there, and speaks https alone.
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

    /// GETs a URL. `cap` is for the body of a 200.
    pub(crate) fn get(
        &self,
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
        &self,
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

    /// Sends nothing to a server that is down, and half-opens the circuit of one that was slow to fail.
    fn to_peer(
        &self,
        peer: Peer<'_>,
        ask: impl FnOnce(&dyn Fn()) -> Result<Answer, HttpError>,
    ) -> Result<Answer, HttpError> {
        self.origins.check(peer.probe).map_err(HttpError::Down)?;
        let began = Instant::now();
        let heard = Cell::new(false);
        let result = ask(&|| {
            heard.set(true);
            self.origins.responded(peer.probe);
            if let Some(permit) = peer.permit {
                permit.responded();
            }
        });
        // An answer that breaks off, drips or is too large is an answer: the repository may be what is wrong with it.
        if result.is_err() && !heard.get() && self.origins.is_slow(began.elapsed()) {
            self.origins.half_open(peer.probe);
        }
        result
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
        let result = self.exchange.send(request, cap, deadline, answered);
        let (outcome, bytes) = match &result {
            Ok(answer) => (outcome_of(kind, answer), answer.body.len()),
            Err(error) => (error.outcome(), 0),
        };
        self.metrics.trust_request(kind, outcome, bytes, began.elapsed());
        result
    }
}

/// Is there any answer, whatever it says?
fn send_probe(exchange: &Exchange, url: &str, wait: Duration) -> Result<(), String> {
    let heard = Cell::new(false);
    let request = Request::builder().method(Method::GET).uri(url).body(()).map_err(|_| HttpError::Request);
    let result =
        request.and_then(|request| exchange.send(request, MAX_ERROR_BODY, Deadline::after(wait), &|| heard.set(true)));
    match result {
        Err(error) if !heard.get() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn secret_header(value: &Secret) -> Result<HeaderValue, HttpError> {
    let mut header = HeaderValue::from_str(value.reveal()).map_err(|_| HttpError::Request)?;
    header.set_sensitive(true);
    Ok(header)
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
