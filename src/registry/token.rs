//! Docker's token protocol: gets a Bearer token for a realm, a scope and a credential. The scope is the session's and never
//! the challenge's, so that no server gets a token for more than the session needs.
//!
//! Tokens are cached until shortly before they expire, by the fingerprint of their request: no password is kept with them.
//! Neither tokens nor passwords are ever logged.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::realm::Realm;
use super::session::Scope;
use crate::base::context::Deadline;
use crate::base::secret::Secret;
use crate::http::authorization::{basic, is_token};
use crate::http::client::{Http, HttpError, JSON, Peer};
use crate::http::error_body;
use crate::http::origin::permit::Permit;
use crate::http::url::form;
use crate::keychain::Credential;
use crate::keychain::credentials::Fingerprint;
use crate::keychain::docker_config::TOKEN_USER;
use crate::metrics;
use portreeve_verify::ordered;

/// Largest response, and longest token in it: a token must fit into one request's head.
const MAX_RESPONSE: usize = 64 << 10;
const MAX_TOKEN: usize = 16 << 10;
/// Most tokens that are cached, and the most memory that they may take: a tenant's token service sets their length.
const MAX_CACHED: usize = 2_000;
const MAX_CACHED_BYTES: usize = 2 << 20;
/// The memory that a token takes besides its own bytes.
const OVERHEAD: usize = 160;
/// The lifetime of a token where the response has none: the protocol's own default, and its minimum.
const LIFETIME: Duration = Duration::from_secs(60);
/// No token is cached for longer, whatever the response says.
const MAX_LIFETIME: Duration = Duration::from_secs(3_600);
/// A token is no longer used this long before it expires, or half of its lifetime before, if that is shorter.
const MARGIN: Duration = Duration::from_secs(15);
/// `client_id` in a form.
const CLIENT_ID: &str = "portreeve";

/// How long a request waits for a token that another one is fetching. After that it asks the token service itself.
const SHARE_FOR: Duration = Duration::from_secs(1);

/// The cached tokens. Shared by all workers.
#[derive(Default)]
pub(crate) struct Tokens {
    cache: Mutex<Cache>,
    /// The requests that are under way.
    fetching: Mutex<Vec<Fingerprint>>,
    fetched: Condvar,
}

#[derive(Default)]
struct Cache {
    by_request: HashMap<Fingerprint, CachedToken>,
    /// The heap size of all tokens.
    bytes: usize,
}

impl Cache {
    fn insert(&mut self, request: Fingerprint, token: CachedToken) {
        self.remove(request);
        self.bytes += token.heap_size();
        self.by_request.insert(request, token);
    }

    fn remove(&mut self, request: Fingerprint) {
        if let Some(token) = self.by_request.remove(&request) {
            self.bytes -= token.heap_size();
        }
    }
}

/// A request for a token.
pub(crate) struct TokenRequest<'a> {
    realm: &'a Realm,
    service: Option<&'a str>,
    scope: String,
    user: Option<&'a Credential>,
}

struct CachedToken {
    token: Secret,
    until: Instant,
}

impl CachedToken {
    fn heap_size(&self) -> usize {
        self.token.reveal().len() + OVERHEAD
    }
}

impl<'a> TokenRequest<'a> {
    /// A request for a token of this scope; without a credential, for an anonymous one.
    pub(crate) fn new(
        realm: &'a Realm,
        service: Option<&'a str>,
        scope: Scope<'_>,
        user: Option<&'a Credential>,
    ) -> Self {
        Self { realm, service, scope: scope.to_string(), user }
    }

    /// The token service, for messages.
    pub(crate) fn realm(&self) -> &Realm {
        self.realm
    }

    /// Identifies the request without containing the password.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let realm = self.realm.whole();
        let service = [self.service.map_or("0", |_| "1"), self.service.unwrap_or_default()];
        let user = self.user.map(|user| [user.username.as_str(), user.password.reveal()]);
        let parts = [realm.as_str(), &self.scope].into_iter().chain(service).chain(user.into_iter().flatten());
        Fingerprint::of_parts(parts)
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        let service = self.service.map(|service| ("service", service));
        let scope = Some(("scope", self.scope.as_str())).filter(|(_, scope)| !scope.is_empty());
        service.into_iter().chain(scope).collect()
    }
}

impl Tokens {
    /// A cached token that has not expired.
    pub(crate) fn get(&self, request: Fingerprint) -> Option<Secret> {
        self.lock()
            .by_request
            .get(&request)
            .filter(|cached| cached.until > Instant::now())
            .map(|cached| cached.token.clone())
    }

    /// Removes a token that was not accepted, unless another one has replaced it.
    pub(crate) fn evict(&self, request: Fingerprint, token: &Secret) {
        let mut cache = self.lock();
        if cache.by_request.get(&request).is_some_and(|cached| cached.token == *token) {
            cache.remove(request);
        }
    }

    /// Requests a token from the token service, and caches it. Requests for the same token at the same time share one.
    pub(crate) fn fetch(
        &self,
        http: &Http,
        request: &TokenRequest<'_>,
        deadline: Deadline,
        permit: Option<&Permit<'_>>,
    ) -> Result<Secret, TokenError> {
        let fingerprint = request.fingerprint();
        let _fetching = match self.begin(fingerprint, deadline) {
            Ok(token) => return Ok(token),
            Err(fetching) => fetching,
        };
        // The lifetime counts from before the request: `issued_at` is by the service's clock.
        let asked = Instant::now();
        let response = ask(&Service { http, request, deadline, permit })?;
        let token = [response.token, response.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = token.ok_or(TokenError::NoToken)?;
        if token.len() > MAX_TOKEN || !is_token(&token) {
            return Err(TokenError::BadToken);
        }
        let token = Secret::new(token);
        let until = asked + usable_for(response.expires_in);
        self.record(fingerprint, CachedToken { token: token.clone(), until });
        Ok(token)
    }

    /// The token that another request was fetching, or the note that this one fetches it now. A failure is not shared: the
    /// requests that waited ask for themselves.
    fn begin(&self, request: Fingerprint, deadline: Deadline) -> Result<Secret, Fetching<'_>> {
        let until = deadline.at_most(SHARE_FOR);
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        let has_waited = fetching.contains(&request);
        while fetching.contains(&request)
            && let Some(left) = until.remaining()
        {
            fetching = self.fetched.wait_timeout(fetching, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if has_waited && let Some(token) = self.get(request) {
            return Ok(token);
        }
        fetching.push(request);
        Err(Fetching { tokens: self, request })
    }

    fn record(&self, request: Fingerprint, token: CachedToken) {
        let mut cache = self.lock();
        cache.insert(request, token);
        let is_full = |cache: &Cache| cache.by_request.len() > MAX_CACHED || cache.bytes > MAX_CACHED_BYTES;
        if is_full(&cache) {
            let mut oldest: Vec<_> =
                cache.by_request.iter().map(|(request, cached)| (cached.until, *request)).collect();
            ordered::sort_by(&mut oldest, |(a, _), (b, _)| a.cmp(b));
            for (_, other) in oldest.into_iter().filter(|(_, other)| *other != request) {
                if !is_full(&cache) {
                    break;
                }
                cache.remove(other);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token is being fetched, until this is dropped.
struct Fetching<'a> {
    tokens: &'a Tokens,
    request: Fingerprint,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut fetching = self.tokens.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = fetching.iter().position(|request| *request == self.request) {
            fetching.swap_remove(at);
        }
        self.tokens.fetched.notify_all();
    }
}

/// How long a token is used whose response has this lifetime.
fn usable_for(expires_in: Option<i64>) -> Duration {
    let said = expires_in.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let lifetime = said.filter(|said| !said.is_zero()).unwrap_or(LIFETIME).min(MAX_LIFETIME);
    lifetime.saturating_sub(MARGIN.min(lifetime / 2))
}

/// The token service, for the time of one request.
struct Service<'a> {
    http: &'a Http,
    request: &'a TokenRequest<'a>,
    deadline: Deadline,
    permit: Option<&'a Permit<'a>>,
}

/// GET with Basic or nothing; where there is no GET, POST with a form.
fn ask(service: &Service<'_>) -> Result<TokenResponse, TokenError> {
    let TokenRequest { realm, user, .. } = service.request;
    let mut parameters = service.request.parameters();
    let response = match user {
        // An identity token is an OAuth2 refresh token, which only a form can carry.
        Some(Credential { username, password, .. }) if username == TOKEN_USER => {
            parameters.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]);
            parameters.push(("refresh_token", password.reveal()));
            service.post(&parameters)?
        }
        Some(Credential { username, password, .. }) => {
            let mut query = parameters.clone();
            query.push(("account", username));
            let url = realm.with_query(&query);
            match service.get(&url, Some(&basic(username, password))) {
                Err(TokenError::Status { status: 404 | 405, .. }) => {
                    parameters.extend([("grant_type", "password"), ("client_id", CLIENT_ID)]);
                    parameters.extend([("username", username.as_str()), ("password", password.reveal())]);
                    service.post(&parameters)?
                }
                result => result?,
            }
        }
        None => service.get(&realm.with_query(&parameters), None)?,
    };
    TokenResponse::read(&response).ok_or(TokenError::NotJson)
}

impl Service<'_> {
    fn get(&self, url: &str, authorization: Option<&Secret>) -> Result<Vec<u8>, TokenError> {
        let response = self.http.get(url, JSON, authorization, MAX_RESPONSE, self.deadline, self.peer());
        let response = response.map_err(TokenError::Http)?;
        only_ok("GET", response.status, response.body)
    }

    fn post(&self, parameters: &[(&str, &str)]) -> Result<Vec<u8>, TokenError> {
        let form = Secret::new(form(parameters));
        let response =
            self.http.post_form(&self.request.realm.whole(), &form, MAX_RESPONSE, self.deadline, self.peer());
        let response = response.map_err(TokenError::Http)?;
        only_ok("POST", response.status, response.body)
    }

    /// It is probed at its address alone. Without parameters it refuses, which is a response.
    fn peer(&self) -> Peer<'_> {
        Peer { kind: metrics::Peer::TokenService, probe: self.request.realm.base(), permit: self.permit }
    }
}

fn only_ok(method: &'static str, status: u16, body: Vec<u8>) -> Result<Vec<u8>, TokenError> {
    if status == 200 {
        return Ok(body);
    }
    Err(TokenError::Status { method, status, code: error_body::error_code(&body) })
}

/// A token. `issued_at` and `refresh_token` are not used.
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<i64>,
}

impl TokenResponse {
    /// `None`: it is no JSON of the protocol's shape.
    fn read(response: &[u8]) -> Option<Self> {
        let response: Value = serde_json::from_slice(response).ok()?;
        let object = response.as_object()?;
        let member = |key: &str| object.get(key).filter(|value| !value.is_null());
        let text = |key: &str| match member(key) {
            Some(value) => value.as_str().map(|text| Some(text.to_owned())),
            None => Some(None),
        };
        let expires_in = match member("expires_in") {
            Some(seconds) => Some(seconds.as_i64()?),
            None => None,
        };
        Some(Self { token: text("token")?, access_token: text("access_token")?, expires_in })
    }
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// There was no response.
    Http(HttpError),
    /// The status was not 200.
    Status {
        /// The request's method.
        method: &'static str,
        /// The status.
        status: u16,
        /// The code in its body, safe to print.
        code: Option<String>,
    },
    /// The response is not JSON of the protocol's shape.
    NotJson,
    /// It has neither `token` nor `access_token`.
    NoToken,
    /// Its token cannot be sent in a header.
    BadToken,
}

impl TokenError {
    /// Did the service see the credentials and refuse them?
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status: 401 | 403, .. })
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Status { method, status, code } => {
                write!(f, "answered {status}")?;
                if let Some(code) = code {
                    write!(f, " {code}")?;
                }
                write!(f, " to {method}")
            }
            Self::NotJson => f.write_str("sent something that is not a token in JSON"),
            Self::NoToken => f.write_str("sent an answer without a token in it"),
            Self::BadToken => f.write_str("sent a token that cannot be used"),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Http(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::url::PlainHttp;

    fn request(number: usize) -> Fingerprint {
        Fingerprint::of_parts([number.to_string().as_str()])
    }

    fn kept(lifetime: Duration) -> CachedToken {
        CachedToken { token: Secret::new("t"), until: Instant::now() + lifetime }
    }

    #[test]
    fn tokens_are_bounded_and_the_oldest_goes_first() {
        let tokens = Tokens::default();
        tokens.record(request(MAX_CACHED), kept(Duration::from_secs(50)));
        for number in 0..MAX_CACHED {
            tokens.record(request(number), kept(Duration::from_secs(100)));
        }
        assert_eq!(tokens.lock().by_request.len(), MAX_CACHED);
        assert!(tokens.get(request(MAX_CACHED)).is_none());
        assert!(tokens.get(request(0)).is_some());
    }

    #[test]
    fn long_tokens_and_longer_passwords_take_no_more_than_their_share() {
        let realm = Realm::parse("https://h/token", PlainHttp::Refused).unwrap();
        let scope = Scope::pull("r/x");
        let tokens = Tokens::default();
        for number in 0..MAX_CACHED {
            let credential = Credential {
                username: format!("user-{number}"),
                password: Secret::new("p".repeat(48 << 10)),
                source: String::new(),
            };
            let request = TokenRequest::new(&realm, None, scope, Some(&credential)).fingerprint();
            let token = Secret::new("t".repeat(if number % 2 == 0 { MAX_TOKEN } else { 1_000 }));
            tokens.record(request, CachedToken { token, until: Instant::now() + LIFETIME });
            assert!(tokens.get(request).is_some(), "the newest stays");
        }
        let kept = tokens.lock();
        let weighed: usize = kept.by_request.values().map(CachedToken::heap_size).sum();
        assert_eq!(kept.bytes, weighed);
        // Nothing else is kept: the keys are 32 bytes each.
        assert!(weighed <= MAX_CACHED_BYTES && weighed > MAX_CACHED_BYTES / 2, "{weighed}");
        assert!(size_of::<(Fingerprint, CachedToken)>() <= OVERHEAD / 2);
    }

    #[test]
    fn expired_and_refused_tokens_are_not_used() {
        let tokens = Tokens::default();
        tokens.record(request(1), kept(Duration::ZERO));
        assert!(tokens.get(request(1)).is_none());
        tokens.record(request(2), kept(Duration::from_secs(9)));
        tokens.evict(request(2), &Secret::new("another"));
        assert!(tokens.get(request(2)).is_some());
        tokens.evict(request(2), &Secret::new("t"));
        assert!(tokens.get(request(2)).is_none());
        assert_eq!(tokens.lock().bytes, kept(LIFETIME).heap_size());
    }

    #[test]
    fn a_token_is_given_up_before_it_ends() {
        for (said, used) in [
            (Some(300), 285),
            (Some(31), 16),
            (Some(30), 15),
            (Some(20), 10),
            (Some(3_600), 3_585),
            (Some(i64::MAX), 3_585),
            (None, 45),
            (Some(0), 45),
            (Some(-1), 45),
        ] {
            assert_eq!(usable_for(said), Duration::from_secs(used), "{said:?}");
        }
        assert_eq!(usable_for(Some(1)), Duration::from_millis(500));
    }

    #[test]
    fn requests_are_told_apart() {
        let realm = |url: &str| Realm::parse(url, PlainHttp::Refused).unwrap();
        let credential = |username: &str, password: &str| Credential {
            username: username.to_owned(),
            password: Secret::new(password),
            source: password.to_owned(),
        };
        let of = |url: &str, service: Option<&str>, repository: &str, user: Option<Credential>| {
            TokenRequest::new(&realm(url), service, Scope::pull(repository), user.as_ref()).fingerprint()
        };
        let all = [
            of("https://h/token", None, "r/x", None),
            of("https://h/token?a=b", None, "r/x", None),
            of("https://h/token", Some(""), "r/x", None),
            of("https://h/token", Some("s"), "r/x", None),
            of("https://h/token", None, "r/y", None),
            of("https://h/token", None, "r/x", Some(credential("", ""))),
            of("https://h/token", None, "r/x", Some(credential("alice", "a"))),
            of("https://h/token", None, "r/x", Some(credential("alice", "b"))),
            of("https://h/token", None, "r/x", Some(credential("alicea", ""))),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().enumerate().all(|(other, found)| (found == one) == (other == at)), "{at}");
        }
        // Where a credential stands says nothing about the token.
        let elsewhere = Credential { source: "elsewhere".to_owned(), ..credential("alice", "a") };
        assert!(of("https://h/token", None, "r/x", Some(elsewhere)) == all[6]);
        let realm = realm("https://h/token");
        let request = TokenRequest::new(&realm, None, Scope::pull("r/x"), None);
        assert_eq!(request.parameters(), [("scope", "repository:r/x:pull")]);
    }

    #[test]
    fn a_token_is_read_from_the_protocols_shape_alone() {
        let read = |text: &str| {
            let response = TokenResponse::read(text.as_bytes())?;
            Some((response.token, response.access_token, response.expires_in))
        };
        let text = |text: &str| Some(text.to_owned());
        for (response, expected) in [
            (r#"{"token":"a","access_token":"b","expires_in":300,"issued_at":1}"#, (text("a"), text("b"), Some(300))),
            (r#"{"access_token":"b"}"#, (None, text("b"), None)),
            (r#"{"token":null,"expires_in":-1}"#, (None, None, Some(-1))),
            ("{}", (None, None, None)),
        ] {
            assert_eq!(read(response), Some(expected), "{response}");
        }
        for response in
            ["", "[]", r#"["a"]"#, r#"{"token":1}"#, r#"{"token":"a","expires_in":1.5}"#, r#"{"token":"a"}x"#]
        {
            assert_eq!(read(response), None, "{response}");
        }
    }
}
