//! One request's conversation with one server about one repository. Signs in where the server asks for it: tries each
//! credential in order, and reports how each was refused. Decides by status codes and parsed challenges, never by
//! searching text. Says nothing of what a response means.

use std::fmt;
use std::time::{Duration, Instant};

use super::client::{Client, Method, probe_url};
use super::sign_in::SignIn;
use super::token::{TokenError, TokenRequest};
use crate::base::context::Deadline;
use crate::base::secret::Secret;
use crate::http::authorization::{basic, bearer};
use crate::http::client::{HttpError, JSON, Peer, Response};
use crate::http::error_body;
use crate::http::origin::bulkhead::NoPermit;
use crate::http::origin::permit::Permit;
use crate::http::url::ServerUrl;
use crate::keychain::Credential;
use crate::keychain::credentials::{Credentials, Fingerprint};
use crate::keychain::docker_config::TOKEN_USER;
use crate::metrics;
use portreeve_verify::text::printable;
use portreeve_verify::{Unavailable, UnavailableCause};

pub(crate) mod redirect;
pub(crate) mod together;

/// A shorter time is not reported when the deadline has passed.
const WORTH_TELLING: Duration = Duration::from_millis(100);
/// Most credentials that are tried in one session.
const MAX_CREDENTIALS: usize = 32;

/// The server of a session.
#[derive(Clone, Copy)]
pub(crate) struct Server<'a> {
    /// Its URL. Paths are appended to it.
    pub(crate) url: &'a ServerUrl,
    /// Its kind, for messages.
    pub(crate) name: &'static str,
    /// Its kind, for metrics.
    pub(crate) peer: metrics::Peer,
}

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.url)
    }
}

/// What a token is asked for: `repository:registry.local/plant/plc:pull`. Never taken from a challenge, so that no server
/// can get a token for more than this.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The repository, as the server names it.
    pub(crate) repository: &'a str,
    /// The actions.
    pub(crate) actions: &'static str,
}

impl<'a> Scope<'a> {
    /// For nothing but signing in, as `docker login` does.
    pub(crate) const SIGN_IN: Scope<'static> = Scope { repository: "", actions: "" };

    /// For reading a repository.
    pub(crate) fn pull(repository: &'a str) -> Self {
        Self { repository, actions: "pull" }
    }
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repository {
            "" => Ok(()),
            repository => write!(f, "repository:{repository}:{}", self.actions),
        }
    }
}

/// One repository on one server, for the time of one request.
pub(crate) struct Session<'a> {
    client: &'a Client,
    server: Server<'a>,
    scope: Scope<'a>,
    credentials: &'a Credentials<'a>,
    deadline: Deadline,
    permit: Option<&'a Permit<'a>>,
    progress: Option<&'a SignIn>,
    method: Option<Method>,
    access: Option<Access>,
    /// The credentials that were refused, with the reason. Safe to print.
    tried: Vec<String>,
    /// Why no credential gives access: [`UnavailableCause::SignIn`] while each was seen and refused.
    cause: UnavailableCause,
    began: Instant,
    /// How long the token service took.
    waited_for_tokens: Duration,
}

/// What gave a session access, so that the next one about the same repository begins with it.
#[derive(Clone)]
pub(crate) struct Granted {
    method: Method,
    access: Access,
}

/// What is sent to the server, as long as it accepts it.
#[derive(Clone)]
struct Access {
    /// The position of the credential that it was made of.
    credential: usize,
    authorization: Secret,
    /// The token, and whether it was cached by an earlier session.
    token: Option<(Fingerprint, Secret, Age)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Cached,
    Fresh,
}

fn is_refusal(response: &Response) -> bool {
    matches!(response.status, 401 | 403)
}

/// Why a credential gives no access.
struct NoAccess {
    message: String,
    cause: UnavailableCause,
}

impl<'a> Session<'a> {
    /// A session that has sent nothing yet.
    pub(crate) fn new(
        client: &'a Client,
        server: Server<'a>,
        scope: Scope<'a>,
        credentials: &'a Credentials<'a>,
        deadline: Deadline,
    ) -> Self {
        Self {
            client,
            server,
            scope,
            credentials,
            deadline,
            permit: None,
            progress: None,
            method: None,
            access: None,
            tried: Vec::new(),
            cause: UnavailableCause::SignIn,
            began: Instant::now(),
            waited_for_tokens: Duration::ZERO,
        }
    }

    /// The same, while other requests wait for it. The session yields the permit whenever a credential is refused.
    pub(crate) fn watched(self, permit: Option<&'a Permit<'a>>, progress: &'a SignIn) -> Self {
        Self { permit, progress: Some(progress), ..self }
    }

    /// The same, with the access of an earlier session. What it was made of may have ended since.
    pub(crate) fn resumed(self, granted: Option<Granted>) -> Self {
        let Some(Granted { method, mut access }) = granted else { return self };
        if let Some((_, _, age)) = &mut access.token {
            *age = Age::Cached;
        }
        Self { method: Some(method), access: Some(access), ..self }
    }

    /// What gives this session access; `None` if the server asked for no sign-in, or refused every one.
    pub(crate) fn granted(&self) -> Option<Granted> {
        Some(Granted { method: self.method.clone()?, access: self.access.clone()? })
    }

    /// GETs JSON from a path on the server, such as `/v2/…`. `cap` is the most bytes that the body of a 200 may have. Gives
    /// every response but 401 and 403.
    pub(crate) fn get(&mut self, path: &str, cap: usize) -> Result<Response, SessionError> {
        self.get_as(path, JSON, cap)
    }

    /// The same for other media types.
    pub(crate) fn get_as(&mut self, path: &str, accept: &'static str, cap: usize) -> Result<Response, SessionError> {
        self.begin()?;
        // Each round but the last uses up a cached token or a credential, so this ends.
        loop {
            let response = self.send(path, accept, cap)?;
            if !is_refusal(&response) {
                self.accepted();
                return Ok(response);
            }
            self.no_access(&response)?;
        }
    }

    /// Signs in before the first request, where the server is known to want it.
    fn begin(&mut self) -> Result<(), Unavailable> {
        if self.access.is_none()
            && let Some(method) = self.client.method(self.server.url)
        {
            self.sign_in(method, 0, Age::Cached)?;
        }
        Ok(())
    }

    fn accepted(&self) {
        match self.access {
            Some(_) => self.tell(SignIn::accepted),
            None => self.client.record_open(self.server.url),
        }
    }

    fn send(&self, path: &str, accept: &'static str, cap: usize) -> Result<Response, SessionError> {
        let url = format!("{}{path}", self.server.url);
        let probe = probe_url(self.server.url);
        let peer = Peer { kind: self.server.peer, probe: &probe, permit: self.permit };
        let authorization = self.access.as_ref().map(|access| &access.authorization);
        let asked = Instant::now();
        let response = self.client.http.get(&url, accept, authorization, cap, self.deadline, peer);
        response.map_err(|error| self.failed(error, "", asked, path))
    }

    /// There is no response. `place`: empty, or the server that was asked instead of the session's, before a colon.
    fn failed(&self, error: HttpError, place: &str, asked: Instant, path: &str) -> SessionError {
        match error {
            HttpError::TooLarge { cap } => SessionError::TooLarge { cap },
            HttpError::Timeout => {
                let times = self.times(asked, path);
                let message = format!("{}: {place}{}: {times}", self.server, HttpError::Timeout);
                Unavailable::new(UnavailableCause::OutOfTime, message).into()
            }
            error if error.is_timeout() => {
                Unavailable::new(UnavailableCause::OutOfTime, format!("{}: {place}{error}", self.server)).into()
            }
            error => Unavailable::other(format!("{}: {place}{error}", self.server)).into(),
        }
    }

    /// The server said 401 or 403: finds the next credential to try.
    fn no_access(&mut self, response: &Response) -> Result<(), Unavailable> {
        let code = error_body::error_code(&response.body).map(|code| format!(" {code}")).unwrap_or_default();
        let Some(access) = self.access.take() else {
            let method = self.client.read_method(response).map_err(|why| {
                Unavailable::other(format!("{} answered {}{code}, and {why}", self.server.url, response.status))
            })?;
            self.client.record_method(self.server.url, &method);
            return self.sign_in(method, 0, Age::Cached);
        };
        if let Some((request, token, age)) = &access.token {
            self.client.tokens.evict(*request, token);
            // A token from before may have been taken back, or the server's key may be new: ask once more.
            if *age == Age::Cached
                && let Some(method) = self.method.take()
            {
                return self.sign_in(method, access.credential, Age::Fresh);
            }
        }
        self.credential_refused()?;
        let how = if access.token.is_some() { "got a token, but " } else { "" };
        let source = self.describe(access.credential);
        self.tried.push(format!("{source} {how}was answered {}{code}", response.status));
        match self.method.take() {
            Some(method) => self.sign_in(method, access.credential + 1, Age::Cached),
            None => Err(self.nothing_left()),
        }
    }

    /// Signs in with the first credential from `first` on that gives access. `age` is of the tokens that may be used for
    /// `first`; for later ones cached tokens are fine.
    fn sign_in(&mut self, method: Method, first: usize, age: Age) -> Result<(), Unavailable> {
        if let Some(progress) = self.progress {
            progress.begin(self.credentials.fingerprint());
            progress.begin(Some(self.credentials.get_fingerprint(self.deadline)));
        }
        let mut next = first;
        while let Some(credential) = self.credential(next) {
            let may_be_cached = age == Age::Cached || next != first;
            match self.access(&method, next, credential, may_be_cached) {
                Ok(access) => {
                    self.tell(SignIn::ready);
                    self.access = Some(access);
                    self.method = Some(method);
                    return Ok(());
                }
                Err(NoAccess { message, cause }) => {
                    self.credential_refused()?;
                    // Out of time stays: with more time that credential might have given access.
                    if self.cause != UnavailableCause::OutOfTime && cause != UnavailableCause::SignIn {
                        self.cause = cause;
                    }
                    let source = self.describe(next);
                    self.tried.push(format!("{source}: {message}"));
                }
            }
            next += 1;
        }
        Err(self.nothing_left())
    }

    /// The credential to try at this position: `Some(None)` for none at all, `None` after the last one.
    fn credential(&self, position: usize) -> Option<Option<&'a Credential>> {
        match self.credentials.get(self.deadline) {
            // Anonymous only where there is nothing else: as kubelet does, which never falls back to it.
            [] => (position == 0).then_some(None),
            known => known.iter().take(MAX_CREDENTIALS).nth(position).map(Some),
        }
    }

    fn access(
        &mut self,
        method: &Method,
        position: usize,
        credential: Option<&Credential>,
        may_be_cached: bool,
    ) -> Result<Access, NoAccess> {
        let unfit = |message: &str| NoAccess { message: message.to_owned(), cause: UnavailableCause::SignIn };
        match method {
            Method::Basic => match credential {
                None => Err(unfit("the server wants a user name and a password")),
                Some(credential) if credential.username == TOKEN_USER => {
                    Err(unfit("an identity token, but the server wants a user name and a password"))
                }
                Some(credential) => {
                    let authorization = basic(&credential.username, &credential.password);
                    Ok(Access { credential: position, authorization, token: None })
                }
            },
            Method::Bearer { realm, service } => {
                let request = TokenRequest::new(realm, service.as_deref(), self.scope, credential);
                let fingerprint = request.fingerprint();
                let cached = if may_be_cached { self.client.tokens.get(fingerprint) } else { None };
                let (token, age) = match cached {
                    Some(token) => (token, Age::Cached),
                    None => (self.fetch_token(&request)?, Age::Fresh),
                };
                let authorization = bearer(&token);
                Ok(Access { credential: position, authorization, token: Some((fingerprint, token, age)) })
            }
        }
    }

    fn fetch_token(&mut self, request: &TokenRequest<'_>) -> Result<Secret, NoAccess> {
        let asked = Instant::now();
        let fetched = self.client.tokens.fetch(&self.client.http, request, self.deadline, self.permit);
        let took = asked.elapsed();
        self.waited_for_tokens += took;
        fetched.map_err(|error| {
            let mut message = format!("token service {}: {error}", request.realm());
            let cause = match error {
                TokenError::Http(HttpError::Timeout) => {
                    message.push_str(&format!(": {:.1} s waiting for the token service", took.as_secs_f64()));
                    UnavailableCause::OutOfTime
                }
                TokenError::Http(error) if error.is_timeout() => UnavailableCause::OutOfTime,
                error if error.is_refusal() => UnavailableCause::SignIn,
                _ => UnavailableCause::Other,
            };
            NoAccess { message, cause }
        })
    }

    /// A credential gave no access: lets other requests ask first that have not tried this server yet.
    fn credential_refused(&self) -> Result<(), Unavailable> {
        self.tell(SignIn::refused);
        let Some(permit) = self.permit else { return Ok(()) };
        let began = Instant::now();
        permit
            .yield_to_others(self.deadline)
            .map_err(|refusal| no_permit(&self.server, self.scope.repository, &refusal, began.elapsed()))
    }

    fn tell(&self, step: fn(&SignIn)) {
        if let Some(progress) = self.progress {
            step(progress);
        }
    }

    fn nothing_left(&mut self) -> Unavailable {
        // Perhaps the server has changed its way of signing in: the next session finds out.
        self.client.evict_method(self.server.url);
        let tried = std::mem::take(&mut self.tried).join("; ");
        Unavailable::new(self.cause, format!("{} refused every sign-in: {tried}", self.server))
    }

    fn describe(&self, position: usize) -> String {
        match self.credential(position).flatten() {
            Some(credential) => printable(&credential.source, 300),
            None => "anonymously (no credentials are configured for this registry)".to_owned(),
        }
    }

    /// What took the time, where the deadline has passed while a file was waited for.
    fn times(&self, asked: Instant, path: &str) -> String {
        let waited = asked.elapsed();
        let before = asked.saturating_duration_since(self.began).saturating_sub(self.waited_for_tokens);
        // The query of a page is the server's.
        let file = path.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let mut words = format!("{:.1} s waiting for {file}", waited.as_secs_f64());
        if let Some(Method::Bearer { realm, .. }) = &self.method
            && self.waited_for_tokens >= WORTH_TELLING
        {
            let took = self.waited_for_tokens.as_secs_f64();
            words.push_str(&format!(", {took:.1} s waiting for the token service {realm}"));
        }
        if before >= WORTH_TELLING {
            words.push_str(&format!(", {:.1} s for what was fetched first", before.as_secs_f64()));
        }
        words
    }
}

/// A request may not ask the server, or not wait for it any longer.
pub(crate) fn no_permit(
    server: &dyn fmt::Display,
    repository: &str,
    refusal: &NoPermit,
    waited: Duration,
) -> Unavailable {
    match refusal {
        NoPermit::Silent { .. } | NoPermit::Crowded { .. } => {
            Unavailable::new(UnavailableCause::Busy, format!("{server} {refusal}"))
        }
        NoPermit::OutOfTime => {
            let waited = waited.as_secs_f64();
            let why = format_args!("{waited:.1} s waiting for other requests that were asking it");
            out_of_time(server, repository, &why)
        }
    }
}

/// The deadline passed before the server answered.
pub(crate) fn out_of_time(server: &dyn fmt::Display, repository: &str, why: &dyn fmt::Display) -> Unavailable {
    let message = format!("{server}: no answer about {repository} in time: {why}");
    Unavailable::new(UnavailableCause::OutOfTime, message)
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionError {
    /// The body is larger than its cap.
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// The server is down, slow, refuses the credentials or fails.
    Unavailable(Unavailable),
}

impl From<Unavailable> for SessionError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { cap } => write!(f, "the response is larger than {cap} bytes"),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for SessionError {}
