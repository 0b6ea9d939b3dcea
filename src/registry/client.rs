//! What all sessions share: connections, tokens, and how each server wants to be signed in to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::challenge::{Challenge, ChallengeError};
use super::realm::Realm;
use super::session::Server;
use super::token::Tokens;
use crate::base::context::Deadline;
use crate::http::client::{Http, HttpError, HttpSetupError, JSON, Peer, Response};
use crate::http::origin::{Limits, Origin};
use crate::http::url::{PlainHttp, ServerUrl};
use crate::metrics::Metrics;
use portreeve_verify::text::printable;

/// Most servers whose way of signing in is remembered.
const MAX_METHODS: usize = 1_000;
/// Most bytes of a response that only says that the server is there.
const MAX_LOOK: usize = 64 << 10;

/// Connections, tokens and ways of signing in. Shared by all workers.
pub(crate) struct Client {
    pub(super) http: Http,
    pub(super) tokens: Tokens,
    /// `None`: a server that has answered without a sign-in.
    methods: Mutex<HashMap<ServerUrl, Option<Method>>>,
    pub(super) plain_http: PlainHttp,
}

/// The way in which a server requires clients to sign in. It is cached, so that only the first request to a server is sent
/// without credentials and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Bearer { realm: Realm, service: Option<String> },
    Basic,
}

impl Client {
    /// A client under the built-in roots and a bundle.
    pub(crate) fn new(
        ca: Option<PathBuf>,
        plain_http: PlainHttp,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, HttpSetupError> {
        Ok(Self::over(Http::new(ca, plain_http, limits, metrics)?, plain_http))
    }

    pub(crate) fn over(http: Http, plain_http: PlainHttp) -> Self {
        Self { http, tokens: Tokens::default(), methods: Mutex::default(), plain_http }
    }

    /// The state of this server, as all requests share it.
    pub(crate) fn origin(&self, server: &ServerUrl) -> Origin<'_> {
        self.http.origin(&probe_url(server))
    }

    /// GETs the path to which every registry and Notary server that is up responds, without credentials.
    pub(crate) fn look(&self, server: Server<'_>, deadline: Deadline) -> Result<Response, HttpError> {
        let probe = probe_url(server.url);
        let peer = Peer { kind: server.peer, probe: &probe, permit: None };
        self.http.get(&probe, JSON, None, MAX_LOOK, deadline, peer)
    }

    /// When the certificates end that servers sent, by host and port, in seconds since 1970.
    pub(crate) fn certificate_ends(&self) -> Vec<(String, i64)> {
        self.http.certificate_ends()
    }

    pub(super) fn method(&self, server: &ServerUrl) -> Option<Method> {
        self.lock().get(server).cloned().flatten()
    }

    /// Has this server never answered a request?
    pub(super) fn is_new(&self, server: &ServerUrl) -> bool {
        !self.lock().contains_key(server)
    }

    /// Records that a server has answered without a sign-in.
    pub(super) fn record_open(&self, server: &ServerUrl) {
        if self.is_new(server) {
            self.record(server, None);
        }
    }

    pub(super) fn record_method(&self, server: &ServerUrl, method: &Method) {
        self.record(server, Some(method.clone()));
    }

    fn record(&self, server: &ServerUrl, method: Option<Method>) {
        let mut methods = self.lock();
        if methods.len() >= MAX_METHODS && !methods.contains_key(server) {
            // An image's name may name any registry. Starting over costs one request for each server.
            methods.clear();
        }
        methods.insert(server.clone(), method);
    }

    pub(super) fn evict_method(&self, server: &ServerUrl) {
        self.lock().remove(server);
    }

    /// The method that a response asks for. The error follows "… answered 401, and ".
    pub(super) fn read_method(&self, response: &Response) -> Result<Method, String> {
        let challenges = Challenge::parse_all(response.fields("www-authenticate"));
        let challenges = challenges.map_err(|error: ChallengeError| error.to_string())?;
        let mut has_basic = false;
        let mut others = Vec::new();
        for challenge in challenges {
            match challenge {
                Challenge::Bearer { realm, service } => {
                    let realm = Realm::parse(&realm, self.plain_http)
                        .map_err(|error| format!("no credentials are sent to its token service: {error}"))?;
                    return Ok(Method::Bearer { realm, service });
                }
                Challenge::Basic { .. } => has_basic = true,
                Challenge::Other { scheme } => others.push(printable(&scheme, 40)),
            }
        }
        match others {
            _ if has_basic => Ok(Method::Basic),
            others if others.is_empty() => Err("does not say how to sign in".to_owned()),
            others => Err(format!("wants to be signed in to by {}, which is not supported", others.join(", "))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServerUrl, Option<Method>>> {
        self.methods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A URL to which a registry or a Notary server that is up responds: with 200, or with 401 where it wants to be signed in to.
pub(super) fn probe_url(server: &ServerUrl) -> String {
    format!("{server}/v2/")
}
