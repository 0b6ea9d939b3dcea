//! Docker's token protocol: a realm and a credential go in, a Bearer token comes out. The scope is built here and
//! never taken from a challenge, so that nobody can make us fetch a token for more than reading one repository.
//! Tokens are kept until shortly before they expire, under a fingerprint: no password is kept with them. Neither they nor
//! passwords are ever logged.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::realm::Realm;
use super::session::Scope;
use crate::base::context::Deadline;
use crate::base::secret::Secret;
use crate::http::authorization::basic;
use crate::http::client::{Http, HttpError, Peer};
use crate::http::error_body;
use crate::http::origin::permit::Permit;
use crate::http::url::form;
use crate::keychain::Credential;
use crate::keychain::credentials::Fingerprint;
use crate::keychain::docker_config::TOKEN_USER;
use crate::metrics;
use portreeve_verify::ordered;

/// Largest answer, and longest token in it: a token must fit into one request's head.
const MAX_ANSWER: usize = 64 << 10;
const MAX_TOKEN: usize = 16 << 10;
/// Most tokens that are kept, and the most that they may take in memory: a tenant's token service says how long they are.
const MAX_KEPT: usize = 2_000;
const MAX_KEPT_BYTES: usize = 2 << 20;
/// What a token takes besides its own bytes.
const BESIDE: usize = 160;
/// How long a token lives where the answer does not say: the token protocol's own default and floor.
const LIFETIME: Duration = Duration::from_secs(60);
/// No token is kept longer than this, whatever the answer says.
const MAX_LIFETIME: Duration = Duration::from_secs(3_600);
/// How long before its end a token is no longer used, if it lives long enough for that.
const MARGIN: Duration = Duration::from_secs(15);
/// Who we say we are where the protocol asks for it.
const CLIENT_ID: &str = "portreeve";

/// The tokens that are kept. Shared by all workers.
#[derive(Default)]
pub(crate) struct Tokens {
    kept: Mutex<KeptTokens>,
}

#[derive(Default)]
struct KeptTokens {
    by_request: HashMap<Fingerprint, Kept>,
    /// What they take.
    bytes: usize,
}

impl KeptTokens {
    fn insert(&mut self, request: Fingerprint, token: Kept) {
        self.remove(request);
        self.bytes += token.weight();
        self.by_request.insert(request, token);
    }

    fn remove(&mut self, request: Fingerprint) {
        if let Some(token) = self.by_request.remove(&request) {
            self.bytes -= token.weight();
        }
    }
}

/// What a token is for, and whose it is.
pub(crate) struct TokenRequest<'a> {
    realm: &'a Realm,
    service: Option<&'a str>,
    scope: String,
    user: Option<&'a Credential>,
}

struct Kept {
    token: Secret,
    until: Instant,
}

impl Kept {
    fn weight(&self) -> usize {
        self.token.reveal().len() + BESIDE
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

    /// The token service, for people.
    pub(crate) fn realm(&self) -> &Realm {
        self.realm
    }

    /// Which request it is, without the password in it.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let realm = self.realm.whole();
        let service = [self.service.map_or("0", |_| "1"), self.service.unwrap_or_default()];
        let user = self.user.map(|user| [user.username.as_str(), user.password.reveal()]);
        let parts = [realm.as_str(), &self.scope].into_iter().chain(service).chain(user.into_iter().flatten());
        Fingerprint::of_parts(parts)
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        let service = self.service.map(|service| ("service", service));
        service.into_iter().chain([("scope", self.scope.as_str())]).collect()
    }
}

impl Tokens {
    /// A kept token that has not expired.
    pub(crate) fn get(&self, request: Fingerprint) -> Option<Secret> {
        self.lock().by_request.get(&request).filter(|kept| kept.until > Instant::now()).map(|kept| kept.token.clone())
    }

    /// Drops a token that was not accepted, unless another one has taken its place.
    pub(crate) fn evict(&self, request: Fingerprint, token: &Secret) {
        let mut kept = self.lock();
        if kept.by_request.get(&request).is_some_and(|held| held.token == *token) {
            kept.remove(request);
        }
    }

    /// Asks the token service, and keeps what it gives. `answered` is told of every answer.
    pub(crate) fn fetch(
        &self,
        http: &Http,
        request: &TokenRequest<'_>,
        deadline: Deadline,
        permit: Option<&Permit<'_>>,
    ) -> Result<Secret, TokenError> {
        // The lifetime counts from before the asking; `issued_at` is by a clock that is not ours.
        let asked = Instant::now();
        let answer = ask(&Service { http, request, deadline, permit })?;
        let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = token.ok_or(TokenError::NoToken)?;
        // RFC 6750 §2.1: b64token. Nothing else gets into a header.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if token.len() > MAX_TOKEN || !token.bytes().all(allowed) {
            return Err(TokenError::BadToken);
        }
        let token = Secret::new(token);
        let until = asked + usable_for(answer.expires_in);
        self.keep(request.fingerprint(), Kept { token: token.clone(), until });
        Ok(token)
    }

    fn keep(&self, request: Fingerprint, token: Kept) {
        let mut kept = self.lock();
        kept.insert(request, token);
        let is_full = |kept: &KeptTokens| kept.by_request.len() > MAX_KEPT || kept.bytes > MAX_KEPT_BYTES;
        if is_full(&kept) {
            let mut oldest: Vec<_> = kept.by_request.iter().map(|(request, kept)| (kept.until, *request)).collect();
            ordered::sort_by(&mut oldest, |(a, _), (b, _)| a.cmp(b));
            for (_, other) in oldest.into_iter().filter(|(_, other)| *other != request) {
                if !is_full(&kept) {
                    break;
                }
                kept.remove(other);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeptTokens> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a token is used that has this lifetime by its answer.
fn usable_for(expires_in: Option<i64>) -> Duration {
    let said = expires_in.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let lifetime = said.filter(|said| !said.is_zero()).unwrap_or(LIFETIME).min(MAX_LIFETIME);
    lifetime.saturating_sub(MARGIN.min(lifetime / 2))
}

/// The token service, while it is asked for one token.
struct Service<'a> {
    http: &'a Http,
    request: &'a TokenRequest<'a>,
    deadline: Deadline,
    permit: Option<&'a Permit<'a>>,
}

/// GET with Basic or nothing; where there is no GET, POST with a form.
fn ask(service: &Service<'_>) -> Result<TokenAnswer, TokenError> {
    let TokenRequest { realm, user, .. } = service.request;
    let mut parameters = service.request.parameters();
    let answer = match user {
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
                answered => answered?,
            }
        }
        None => service.get(&realm.with_query(&parameters), None)?,
    };
    serde_json::from_slice(&answer).map_err(|_| TokenError::NotJson)
}

impl Service<'_> {
    fn get(&self, url: &str, authorization: Option<&Secret>) -> Result<Vec<u8>, TokenError> {
        let answer = self.http.get(url, authorization, MAX_ANSWER, self.deadline, self.peer());
        let answer = answer.map_err(TokenError::Http)?;
        only_ok("GET", answer.status, answer.body)
    }

    fn post(&self, parameters: &[(&str, &str)]) -> Result<Vec<u8>, TokenError> {
        let form = Secret::new(form(parameters));
        let answer = self.http.post_form(&self.request.realm.whole(), &form, MAX_ANSWER, self.deadline, self.peer());
        let answer = answer.map_err(TokenError::Http)?;
        only_ok("POST", answer.status, answer.body)
    }

    /// It is probed at its address alone: without parameters it says no, which is an answer.
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

/// Wire type. `issued_at` and `refresh_token` are not ours.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<i64>,
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// There was no answer.
    Http(HttpError),
    /// The answer was no.
    Status {
        /// How it was asked.
        method: &'static str,
        /// The status.
        status: u16,
        /// The code in its body, safe to print.
        code: Option<String>,
    },
    /// The answer is not a token answer in JSON.
    NotJson,
    /// It has neither `token` nor `access_token`.
    NoToken,
    /// Its token cannot be sent in a header.
    BadToken,
}

impl TokenError {
    /// Did the service see the credentials, and say no to them?
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

    fn kept(lifetime: Duration) -> Kept {
        Kept { token: Secret::new("t"), until: Instant::now() + lifetime }
    }

    #[test]
    fn tokens_are_bounded_and_the_oldest_goes_first() {
        let tokens = Tokens::default();
        tokens.keep(request(MAX_KEPT), kept(Duration::from_secs(50)));
        for number in 0..MAX_KEPT {
            tokens.keep(request(number), kept(Duration::from_secs(100)));
        }
        assert_eq!(tokens.lock().by_request.len(), MAX_KEPT);
        assert!(tokens.get(request(MAX_KEPT)).is_none());
        assert!(tokens.get(request(0)).is_some());
    }

    #[test]
    fn long_tokens_and_longer_passwords_take_no_more_than_their_share() {
        let realm = Realm::parse("https://h/token", PlainHttp::Refused).unwrap();
        let scope = Scope::pull("r/x");
        let tokens = Tokens::default();
        for number in 0..MAX_KEPT {
            let credential = Credential {
                username: format!("user-{number}"),
                password: Secret::new("p".repeat(48 << 10)),
                source: String::new(),
            };
            let request = TokenRequest::new(&realm, None, scope, Some(&credential)).fingerprint();
            let token = Secret::new("t".repeat(if number % 2 == 0 { MAX_TOKEN } else { 1_000 }));
            tokens.keep(request, Kept { token, until: Instant::now() + LIFETIME });
            assert!(tokens.get(request).is_some(), "the newest stays");
        }
        let kept = tokens.lock();
        let weighed: usize = kept.by_request.values().map(Kept::weight).sum();
        assert_eq!(kept.bytes, weighed);
        // Nothing else is kept: the keys are 32 bytes each.
        assert!(weighed <= MAX_KEPT_BYTES && weighed > MAX_KEPT_BYTES / 2, "{weighed}");
        assert!(size_of::<(Fingerprint, Kept)>() <= BESIDE / 2);
    }

    #[test]
    fn expired_and_refused_tokens_are_not_used() {
        let tokens = Tokens::default();
        tokens.keep(request(1), kept(Duration::ZERO));
        assert!(tokens.get(request(1)).is_none());
        tokens.keep(request(2), kept(Duration::from_secs(9)));
        tokens.evict(request(2), &Secret::new("another"));
        assert!(tokens.get(request(2)).is_some());
        tokens.evict(request(2), &Secret::new("t"));
        assert!(tokens.get(request(2)).is_none());
        assert_eq!(tokens.lock().bytes, kept(LIFETIME).weight());
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
    fn miniserde_reads_the_same() {
        for text in [
            r#"{"token":"a","access_token":"b","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
            r#"{"access_token":"b"}"#,
            r#"{"token":null,"expires_in":-1}"#,
            r#"{"token":"","access_token":"b"}"#,
        ] {
            let a: TokenAnswer = serde_json::from_str(text).unwrap();
            let b: TokenAnswer = miniserde::json::from_str(text).unwrap();
            assert_eq!((a.token, a.access_token, a.expires_in), (b.token, b.access_token, b.expires_in), "{text}");
        }
    }
}
