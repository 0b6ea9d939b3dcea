//! The way to a trust server: one repository's metadata over HTTPS, signing in where the server asks for it. Every
//! candidate credential is tried in order, and what each was answered is told. Decides by status codes and parsed
//! challenges alone, never by searching text; says nothing of what the metadata means.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::challenge::Challenge;
use super::realm::Realm;
use super::token::{TokenError, TokenRequest, Tokens};
use crate::base::context::Deadline;
use crate::base::secret::Secret;
use crate::http::authorization::{basic, bearer};
use crate::http::client::{Answer, Http, HttpError, HttpSetupError, Peer};
use crate::http::error_body;
use crate::http::origin::{Limits, Origin};
use crate::http::url::{PlainHttp, ServerUrl};
use crate::keychain::Credential;
use crate::keychain::candidates::{Candidates, Fingerprint};
use crate::keychain::docker_config::TOKEN_USER;
use crate::metrics::{self, Metrics};
use portreeve_verify::text::printable;
use portreeve_verify::tuf::gun::Gun;
use portreeve_verify::tuf::source::{FetchError, MetadataName, MetadataSource};
use portreeve_verify::unavailable::{Unavailable, UnavailableCause};

/// Most servers whose way of signing in is remembered.
const MAX_OFFERS: usize = 1_000;
/// What took less is not told, where the time is up.
const WORTH_TELLING: Duration = Duration::from_millis(100);
/// Most candidates that are tried for one question.
const MAX_CANDIDATES: usize = 32;

/// The client: connections, tokens, and how each server wants to be signed in to. Shared by all workers.
pub(crate) struct Client {
    http: Arc<Http>,
    tokens: Tokens,
    offers: Mutex<HashMap<ServerUrl, Offer>>,
    plain_http: PlainHttp,
}

/// How a server wants to be signed in to. Remembered, so that only the first request to it is made in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Offer {
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
        Self { http: Arc::new(http), tokens: Tokens::default(), offers: Mutex::default(), plain_http }
    }

    /// One repository's metadata, for one question.
    pub(crate) fn source<'a>(
        &'a self,
        server: &'a ServerUrl,
        gun: &'a Gun,
        credentials: &'a Candidates<'a>,
        deadline: Deadline,
    ) -> Source<'a> {
        let (offer, pass, tried) = (None, None, Vec::new());
        let spent = Spent { began: Instant::now(), tokens: Duration::ZERO };
        Source {
            client: self,
            server,
            gun,
            credentials,
            deadline,
            offer,
            pass,
            tried,
            refused_for: UnavailableCause::SignIn,
            ear: &(),
            spent,
        }
    }

    /// The state of this server, as all requests share it.
    pub(crate) fn origin(&self, server: &ServerUrl) -> Origin<'_> {
        self.http.origin(&probe_url(server))
    }

    fn offer(&self, server: &ServerUrl) -> Option<Offer> {
        self.offers().get(server).cloned()
    }

    fn remember_offer(&self, server: &ServerUrl, offer: &Offer) {
        let mut offers = self.offers();
        if offers.len() >= MAX_OFFERS && !offers.contains_key(server) {
            // Servers come from policies, of which there are few; starting over costs one request for each.
            offers.clear();
        }
        offers.insert(server.clone(), offer.clone());
    }

    fn forget_offer(&self, server: &ServerUrl) {
        self.offers().remove(server);
    }

    fn offers(&self) -> MutexGuard<'_, HashMap<ServerUrl, Offer>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What Notary answers to everybody: 200, or 401 where it wants to be signed in to.
fn probe_url(server: &ServerUrl) -> String {
    format!("{server}/v2/")
}

/// Hears what becomes of a question's requests.
pub(crate) trait Ear {
    /// The trust server or its token service answered, whatever it was.
    fn answered(&self);
    /// Credentials are looked for, or these were found and are tried.
    fn signs_in(&self, _found: Option<&[Credential]>) {}
    /// There is something to show to the trust server: a token, or a password.
    fn has_pass(&self) {}
    /// A credential opened nothing. An error ends the question.
    fn refused(&self) -> Result<(), FetchError> {
        Ok(())
    }
    /// The trust server took what it was shown.
    fn let_in(&self) {}
}

/// Nobody listens.
impl Ear for () {
    fn answered(&self) {}
}

/// One repository on one server, for the time of one question.
pub(crate) struct Source<'a> {
    client: &'a Client,
    server: &'a ServerUrl,
    gun: &'a Gun,
    credentials: &'a Candidates<'a>,
    deadline: Deadline,
    offer: Option<Offer>,
    pass: Option<Pass>,
    /// What was tried in vain, safe to print.
    tried: Vec<String>,
    /// Why no candidate opens the server: [`UnavailableCause::SignIn`] while each was seen and refused.
    refused_for: UnavailableCause,
    ear: &'a dyn Ear,
    spent: Spent,
}

/// What the question's time went into.
struct Spent {
    began: Instant,
    tokens: Duration,
}

/// What opens the server, as far as we know.
struct Pass {
    /// The candidate it is for.
    candidate: usize,
    authorization: Secret,
    /// The token, and whether it was kept from an earlier question.
    token: Option<(Fingerprint, Secret, Age)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Kept,
    Fresh,
}

/// Why one candidate opens nothing.
struct NoPass {
    why: String,
    /// [`UnavailableCause::SignIn`] where it was seen and refused.
    cause: UnavailableCause,
}

impl NoPass {
    fn of(request: &TokenRequest<'_>, error: &TokenError, took: Duration) -> Self {
        let mut why = format!("token service {}: {error}", request.realm());
        if matches!(error, TokenError::Http(HttpError::Timeout)) {
            why.push_str(&format!(": {:.1} s waiting for the token service", took.as_secs_f64()));
        }
        let cause = match error {
            TokenError::Http(HttpError::Timeout) => UnavailableCause::OutOfTime,
            error if error.is_refusal() => UnavailableCause::SignIn,
            _ => UnavailableCause::Other,
        };
        Self { why, cause }
    }
}

impl Spent {
    /// What the time went into, if it is up while a file is waited for.
    fn words(&self, asked: Instant, name: &MetadataName, offer: Option<&Offer>) -> String {
        let waited = asked.elapsed();
        let before = asked.saturating_duration_since(self.began).saturating_sub(self.tokens);
        let mut words = format!("{:.1} s waiting for {name}.json", waited.as_secs_f64());
        if let Some(Offer::Bearer { realm, .. }) = offer.filter(|_| self.tokens >= WORTH_TELLING) {
            let took = self.tokens.as_secs_f64();
            words.push_str(&format!(", {took:.1} s waiting for the token service {realm}"));
        }
        if before >= WORTH_TELLING {
            words.push_str(&format!(", {:.1} s for what was fetched first", before.as_secs_f64()));
        }
        words
    }
}

impl MetadataSource for Source<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let url = format!("{}/v2/{}/_trust/tuf/{}.json", self.server, self.gun, name.file_stem());
        if self.pass.is_none()
            && let Some(offer) = self.client.offer(self.server)
        {
            self.offer = Some(offer.clone());
            self.sign_in(&offer, 0, Age::Kept)?;
        }
        // Each round but the last uses up a kept token or a candidate, so this ends.
        loop {
            let authorization = self.pass.as_ref().map(|pass| &pass.authorization);
            let asked = Instant::now();
            let ear = self.ear;
            let peer =
                Peer { kind: metrics::Peer::TrustServer, probe: &probe_url(self.server), answered: &|| ear.answered() };
            let answer = match self.client.http.get(&url, authorization, cap, self.deadline, peer) {
                Ok(answer) => answer,
                Err(HttpError::TooLarge { cap }) => return Err(FetchError::TooLarge { cap }),
                Err(HttpError::Timeout) => {
                    let spent = self.spent.words(asked, name, self.offer.as_ref());
                    let message = format!("trust server {}: {}: {spent}", self.server, HttpError::Timeout);
                    return Err(Unavailable::new(UnavailableCause::OutOfTime, message).into());
                }
                Err(error) => return Err(unavailable(format!("trust server {}: {error}", self.server))),
            };
            if self.pass.is_some() && !matches!(answer.status, 401 | 403) {
                self.ear.let_in();
            }
            match answer.status {
                // A proxy's or a portal's page is nothing that the trust server said.
                200 if is_web_page(&answer.body) => {
                    return Err(unavailable(format!("{} sent a web page instead of {name}.json", self.server)));
                }
                200 => return Ok(answer.body),
                404 if error_body::is_absence(404, &answer.body) => return Err(FetchError::NotFound),
                401 | 403 => self.not_let_in(&answer)?,
                status => return Err(self.unexpected(name, status, &answer)),
            }
        }
    }
}

impl<'a> Source<'a> {
    /// Lets somebody hear what becomes of the requests.
    pub(crate) fn heard_by(self, ear: &'a dyn Ear) -> Self {
        Self { ear, ..self }
    }

    /// The server said 401 or 403: finds the next thing to try, or says that there is none.
    fn not_let_in(&mut self, answer: &Answer) -> Result<(), FetchError> {
        let code = error_body::error_code(&answer.body).map(|code| format!(" {code}")).unwrap_or_default();
        let Some(pass) = self.pass.take() else {
            let offer = self.read_offer(answer, &code)?;
            self.client.remember_offer(self.server, &offer);
            self.offer = Some(offer.clone());
            return self.sign_in(&offer, 0, Age::Kept);
        };
        let offer = self.offer.clone();
        if let Some((request, token, age)) = &pass.token {
            self.client.tokens.forget(*request, token);
            // A token from before may have been taken back, or the server's key may be new: ask once more.
            if *age == Age::Kept
                && let Some(offer) = &offer
            {
                return self.sign_in(offer, pass.candidate, Age::Fresh);
            }
        }
        self.ear.refused()?;
        let how = if pass.token.is_some() { "got a token, but " } else { "" };
        let who = self.describe(pass.candidate);
        self.tried.push(format!("{who} {how}was answered {}{code}", answer.status));
        match offer {
            Some(offer) => self.sign_in(&offer, pass.candidate + 1, Age::Kept),
            None => Err(self.nothing_left()),
        }
    }

    /// Signs in with the first candidate from `first` on that works. `age` is of the tokens that may be used for
    /// `first`; for later ones kept tokens are fine.
    fn sign_in(&mut self, offer: &Offer, first: usize, age: Age) -> Result<(), FetchError> {
        let mut next = first;
        self.ear.signs_in(self.credentials.seen());
        self.ear.signs_in(Some(self.credentials.get(self.deadline)));
        while let Some(credential) = self.candidate(next) {
            let candidate = next;
            next += 1;
            let may_be_kept = age == Age::Kept || candidate != first;
            match self.pass_for(offer, candidate, credential, may_be_kept) {
                Ok(pass) => {
                    self.ear.has_pass();
                    self.pass = Some(pass);
                    return Ok(());
                }
                Err(NoPass { why, cause }) => {
                    self.ear.refused()?;
                    // Out of time holds to the end: with more time this candidate might have opened the server.
                    self.refused_for = match (self.refused_for, cause) {
                        (UnavailableCause::OutOfTime, _) | (_, UnavailableCause::SignIn) => self.refused_for,
                        (_, cause) => cause,
                    };
                    let who = self.describe(candidate);
                    self.tried.push(format!("{who}: {why}"));
                }
            }
        }
        Err(self.nothing_left())
    }

    /// Whom to try as the `number`th; `Some(None)` stands for nobody, `None` for the end of the list.
    fn candidate(&self, number: usize) -> Option<Option<&'a Credential>> {
        match self.credentials.get(self.deadline) {
            // Anonymous only where there is nothing else: as kubelet does, which never falls back to it.
            [] => (number == 0).then_some(None),
            known => known.iter().take(MAX_CANDIDATES).nth(number).map(Some),
        }
    }

    fn pass_for(
        &mut self,
        offer: &Offer,
        candidate: usize,
        credential: Option<&Credential>,
        may_be_kept: bool,
    ) -> Result<Pass, NoPass> {
        let unfit = |why: &str| NoPass { why: why.to_owned(), cause: UnavailableCause::SignIn };
        match offer {
            Offer::Basic => match credential {
                None => Err(unfit("the server wants a user name and a password")),
                Some(credential) if credential.username == TOKEN_USER => {
                    Err(unfit("an identity token, but the server wants a user name and a password"))
                }
                Some(credential) => {
                    let authorization = basic(&credential.username, &credential.password);
                    Ok(Pass { candidate, authorization, token: None })
                }
            },
            Offer::Bearer { realm, service } => {
                let request = TokenRequest::new(realm, service.as_deref(), self.gun, credential);
                let fingerprint = request.fingerprint();
                let kept = if may_be_kept { self.client.tokens.kept(fingerprint) } else { None };
                let (token, age) = match kept {
                    Some(token) => (token, Age::Kept),
                    None => {
                        let (asked, ear) = (Instant::now(), self.ear);
                        let fetched =
                            self.client.tokens.fetch(&self.client.http, &request, self.deadline, &|| ear.answered());
                        let took = asked.elapsed();
                        self.spent.tokens += took;
                        match fetched {
                            Ok(token) => (token, Age::Fresh),
                            Err(error) => return Err(NoPass::of(&request, &error, took)),
                        }
                    }
                };
                Ok(Pass { candidate, authorization: bearer(&token), token: Some((fingerprint, token, age)) })
            }
        }
    }

    /// What the server's challenge offers.
    fn read_offer(&self, answer: &Answer, code: &str) -> Result<Offer, FetchError> {
        let refused = |why: String| unavailable(format!("{} answered {}{code}, and {why}", self.server, answer.status));
        let challenges = Challenge::parse_all(answer.challenges.iter().map(String::as_str))
            .map_err(|error| refused(error.to_string()))?;
        let mut has_basic = false;
        for challenge in &challenges {
            match challenge {
                Challenge::Bearer { realm, service } => {
                    let realm = Realm::parse(realm, self.client.plain_http)
                        .map_err(|error| refused(format!("no credentials are sent to its token service: {error}")))?;
                    return Ok(Offer::Bearer { realm, service: service.clone() });
                }
                Challenge::Basic { .. } => has_basic = true,
                Challenge::Other { .. } => {}
            }
        }
        if has_basic {
            return Ok(Offer::Basic);
        }
        let schemes: Vec<String> = challenges
            .iter()
            .filter_map(|challenge| match challenge {
                Challenge::Other { scheme } => Some(printable(scheme, 40)),
                _ => None,
            })
            .collect();
        Err(refused(if schemes.is_empty() {
            "does not say how to sign in".to_owned()
        } else {
            format!("wants to be signed in to by {}, which is not supported", schemes.join(", "))
        }))
    }

    fn nothing_left(&mut self) -> FetchError {
        // Perhaps the server has changed its way of signing in: the next question finds out.
        self.client.forget_offer(self.server);
        let tried = std::mem::take(&mut self.tried).join("; ");
        let message = format!("trust server {} let nobody in: {tried}", self.server);
        Unavailable::new(self.refused_for, message).into()
    }

    fn unexpected(&self, name: &MetadataName, status: u16, answer: &Answer) -> FetchError {
        let code = error_body::error_code(&answer.body).map(|code| format!(" {code}")).unwrap_or_default();
        let more = match status {
            300..400 => ", a redirect, and those are not followed",
            404 => {
                ", which is not how a Notary server says that there is no trust data: this is no Notary server; check \
                 its address, and what stands in front of it"
            }
            _ => "",
        };
        unavailable(format!("trust server {} answered {status}{code} for {name}.json{more}", self.server))
    }

    fn describe(&self, candidate: usize) -> String {
        match self.candidate(candidate).flatten() {
            Some(credential) => printable(&credential.source, 300),
            None => "anonymously (no credentials are configured for this registry)".to_owned(),
        }
    }
}

fn unavailable(message: String) -> FetchError {
    Unavailable::other(message).into()
}

fn is_web_page(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'<')
}

#[cfg(test)]
mod tests;
