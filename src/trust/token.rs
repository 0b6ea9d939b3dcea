//! Docker's token protocol: a realm and a credential go in, a Bearer token comes out. The scope is built here and
//! never taken from a challenge, so that nobody can make us fetch a token for more than reading one repository.
//! Tokens are kept until shortly before they expire; neither they nor passwords are ever logged.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::http::{Http, HttpError, Peer};
use super::server_url::{Realm, form};
use super::{Gun, wire};
use crate::credentials::{Credential, Secret, TOKEN_USER};
use crate::deadline::Deadline;
use crate::metrics;

/// Largest answer, and longest token in it: a token must fit into one request's head.
const MAX_ANSWER: usize = 64 << 10;
const MAX_TOKEN: usize = 16 << 10;
/// Most tokens that are kept.
const MAX_KEPT: usize = 2_000;
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
pub(super) struct Tokens {
    kept: Mutex<HashMap<TokenKey, Kept>>,
}

/// What a token is good for, and whose it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    realm: Realm,
    service: Option<String>,
    scope: String,
    user: Option<(String, Secret)>,
}

struct Kept {
    token: Secret,
    until: Instant,
}

impl TokenKey {
    /// A token for reading one repository; without a credential, an anonymous one.
    pub(super) fn new(realm: Realm, service: Option<String>, gun: &Gun, credential: Option<&Credential>) -> Self {
        let user = credential.map(|c| (c.username.clone(), c.password.clone()));
        Self { realm, service, scope: format!("repository:{gun}:pull"), user }
    }

    /// The token service, for people.
    pub(super) fn realm(&self) -> &Realm {
        &self.realm
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        let service = self.service.as_deref().map(|service| ("service", service));
        service.into_iter().chain([("scope", self.scope.as_str())]).collect()
    }
}

impl Tokens {
    /// A kept token that has not expired.
    pub(super) fn kept(&self, key: &TokenKey) -> Option<Secret> {
        self.lock().get(key).filter(|kept| kept.until > Instant::now()).map(|kept| kept.token.clone())
    }

    /// Drops a token that was not accepted, unless another one has taken its place.
    pub(super) fn forget(&self, key: &TokenKey, token: &Secret) {
        let mut kept = self.lock();
        if kept.get(key).is_some_and(|held| held.token == *token) {
            kept.remove(key);
        }
    }

    /// Asks the token service, and keeps what it gives. `answered` is told of every answer.
    pub(super) fn fetch(
        &self,
        http: &Arc<Http>,
        key: &TokenKey,
        deadline: Deadline,
        answered: &dyn Fn(),
    ) -> Result<Secret, TokenError> {
        // The lifetime counts from before the asking; `issued_at` is by a clock that is not ours.
        let asked = Instant::now();
        let answer = ask(&Service { http, key, deadline, answered })?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or(TokenError::NoToken)?;
        // RFC 6750 §2.1: b64token. Nothing else gets into a header.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if token.len() > MAX_TOKEN || !token.bytes().all(allowed) {
            return Err(TokenError::BadToken);
        }
        let token = Secret::new(token);
        let until = asked + usable_for(answer.expires_in);
        self.keep(key.clone(), Kept { token: token.clone(), until });
        Ok(token)
    }

    fn keep(&self, key: TokenKey, token: Kept) {
        let mut kept = self.lock();
        if kept.len() >= MAX_KEPT && !kept.contains_key(&key) {
            let now = Instant::now();
            kept.retain(|_, kept| kept.until > now);
            if kept.len() >= MAX_KEPT {
                let first = kept.iter().min_by_key(|(_, kept)| kept.until).map(|(key, _)| key.clone());
                first.map(|key| kept.remove(&key));
            }
        }
        kept.insert(key, token);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenKey, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a token is used that has this lifetime by its answer.
fn usable_for(expires_in: Option<i64>) -> Duration {
    let said = expires_in.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let lifetime = said.filter(|said| !said.is_zero()).unwrap_or(LIFETIME).min(MAX_LIFETIME);
    lifetime.saturating_sub(MARGIN.min(lifetime / 2))
}

/// The value of `Authorization` for a token.
pub(super) fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.reveal()))
}

/// The value of `Authorization` for a user and a password (RFC 7617).
pub(super) fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{}", password.reveal()))))
}

/// The token service, while it is asked for one token.
struct Service<'a> {
    http: &'a Arc<Http>,
    key: &'a TokenKey,
    deadline: Deadline,
    answered: &'a dyn Fn(),
}

/// GET with Basic or nothing; where there is no GET, POST with a form.
fn ask(service: &Service<'_>) -> Result<TokenAnswer, TokenError> {
    let key = service.key;
    let mut parameters = key.parameters();
    let answer = match &key.user {
        // An identity token is an OAuth2 refresh token, which only a form can carry.
        Some((user, token)) if user == TOKEN_USER => {
            parameters.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]);
            parameters.push(("refresh_token", token.reveal()));
            service.post(&parameters)?
        }
        Some((user, password)) => {
            let mut query = parameters.clone();
            query.push(("account", user));
            let url = key.realm.with_query(&query);
            match service.get(&url, Some(&basic(user, password))) {
                Err(TokenError::Status { status: 404 | 405, .. }) => {
                    parameters.extend([("grant_type", "password"), ("client_id", CLIENT_ID)]);
                    parameters.extend([("username", user.as_str()), ("password", password.reveal())]);
                    service.post(&parameters)?
                }
                answered => answered?,
            }
        }
        None => service.get(&key.realm.with_query(&parameters), None)?,
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
        let answer = self.http.post_form(&self.key.realm.whole(), &form, MAX_ANSWER, self.deadline, self.peer());
        let answer = answer.map_err(TokenError::Http)?;
        only_ok("POST", answer.status, answer.body)
    }

    /// Its door is its address alone: without parameters it says no, which is an answer.
    fn peer(&self) -> Peer<'_> {
        Peer { kind: metrics::Peer::TokenService, door: self.key.realm.base(), answered: self.answered }
    }
}

fn only_ok(method: &'static str, status: u16, body: Vec<u8>) -> Result<Vec<u8>, TokenError> {
    if status == 200 {
        return Ok(body);
    }
    Err(TokenError::Status { method, status, code: wire::error_code(&body) })
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
pub(super) enum TokenError {
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
    pub(super) fn is_refusal(&self) -> bool {
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
    use crate::trust::server_url::PlainHttp;

    fn key(number: usize) -> TokenKey {
        let realm = Realm::parse("https://h/token", PlainHttp::Refused).unwrap();
        TokenKey::new(realm, None, &Gun::new(&format!("r/{number}")).unwrap(), None)
    }

    fn kept(lifetime: Duration) -> Kept {
        Kept { token: Secret::new("t"), until: Instant::now() + lifetime }
    }

    #[test]
    fn tokens_are_bounded_and_the_oldest_goes_first() {
        let tokens = Tokens::default();
        tokens.keep(key(MAX_KEPT), kept(Duration::from_secs(50)));
        for number in 0..MAX_KEPT {
            tokens.keep(key(number), kept(Duration::from_secs(100)));
        }
        assert_eq!(tokens.lock().len(), MAX_KEPT);
        assert!(tokens.kept(&key(MAX_KEPT)).is_none());
        assert!(tokens.kept(&key(0)).is_some());
    }

    #[test]
    fn expired_and_refused_tokens_are_not_used() {
        let tokens = Tokens::default();
        tokens.keep(key(1), kept(Duration::ZERO));
        assert!(tokens.kept(&key(1)).is_none());
        tokens.keep(key(2), kept(Duration::from_secs(9)));
        tokens.forget(&key(2), &Secret::new("another"));
        assert!(tokens.kept(&key(2)).is_some());
        tokens.forget(&key(2), &Secret::new("t"));
        assert!(tokens.kept(&key(2)).is_none());
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
    fn keys_tell_credentials_apart() {
        let realm = || Realm::parse("https://h/token", PlainHttp::Refused).unwrap();
        let gun = Gun::new("r/x").unwrap();
        let credential = |password: &str| Credential {
            username: "alice".to_owned(),
            password: Secret::new(password),
            source: String::new(),
        };
        let with = |c: Option<&Credential>| TokenKey::new(realm(), None, &gun, c);
        assert!(with(None) != with(Some(&credential("a"))));
        assert!(with(Some(&credential("a"))) != with(Some(&credential("b"))));
        assert!(with(Some(&credential("a"))) == with(Some(&credential("a"))));
        assert_eq!(with(None).parameters(), [("scope", "repository:r/x:pull")]);
    }

    #[test]
    fn miniserde_reads_the_same() {
        for text in [
            r#"{"token":"a","access_token":"b","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
            r#"{"access_token":"b"}"#,
            r#"{"token":null,"expires_in":-1}"#,
        ] {
            let a: TokenAnswer = serde_json::from_str(text).unwrap();
            let b: TokenAnswer = miniserde::json::from_str(text).unwrap();
            assert_eq!((a.token, a.access_token, a.expires_in), (b.token, b.access_token, b.expires_in), "{text}");
        }
    }
}
