//! Asks one server: is it there, is it what it should be, does it accept the credentials, what time does it have?

use super::clock::{Offset, date};
use super::finding::{Findings, State, moment};
use super::servers::{Kind, Question, Target};
use crate::base::clock;
use crate::base::context::Deadline;
use crate::http::client::{HttpError, Response};
use crate::http::error_body;
use crate::keychain::{Credentials, Fingerprint, Keychain, MountedCredentials, OfNamespace};
use crate::metrics;
use crate::registry::client::Client;
use crate::registry::session::{Scope, Server, Session, SessionError};
use crate::schemes::notary::remote;
use crate::schemes::notary::trust_server::{DOCKER_HUB_ENDS, TrustServer};
use jiff::Timestamp;
use portreeve_verify::{Unavailable, UnavailableCause};
use rustls::CertificateError;

/// Most bytes of a response. A timestamp has some hundred.
const MAX_BODY: usize = 64 << 10;
/// The end of Docker's Notary server, on 8 December 2026.
const DOCKER_HUB_END: i64 = 1_796_688_000;
/// The most sign-ins at one server.
const MAX_SIGN_INS: usize = 4;

/// What asks the servers.
pub(super) struct Asker<'a> {
    pub(super) client: &'a Client,
    pub(super) credentials: &'a MountedCredentials,
    /// Why there may be credentials that are not known here. Empty if there are none.
    pub(super) others: &'static str,
    pub(super) now: Timestamp,
}

/// What one server said.
pub(super) struct Asked {
    pub(super) findings: Findings,
    pub(super) offset: Option<Offset>,
}

/// What a server says of a repository, and whether it was said after a sign-in.
type Answer = Result<(Response, bool), SessionError>;

/// What a response shows of a server.
enum Nature {
    /// It is what it should be.
    Right,
    /// It is something else.
    Other(String),
    /// It could not say.
    Unclear(String),
}

impl Kind {
    fn check(self) -> &'static str {
        match self {
            Self::TrustServer => "trust_server",
            Self::Registry => "registry",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::TrustServer => "a Notary server",
            Self::Registry => "a registry",
        }
    }

    /// A file of a repository that is short, and that each such server has an answer about.
    fn path(self, repository: &str) -> String {
        match self {
            Self::TrustServer => format!("/v2/{repository}/_trust/tuf/timestamp.json"),
            Self::Registry => format!("/v2/{repository}/tags/list?n=1"),
        }
    }
}

impl Asker<'_> {
    /// Asks one server, until the deadline.
    pub(super) fn ask(&self, target: &Target, deadline: Deadline) -> Asked {
        let mut findings = Findings::new(self.now);
        let mut asked = Asking { asker: self, target, deadline, findings: &mut findings };
        let offset = asked.run();
        Asked { findings, offset }
    }
}

/// One server that is being asked.
struct Asking<'a> {
    asker: &'a Asker<'a>,
    target: &'a Target,
    deadline: Deadline,
    findings: &'a mut Findings,
}

impl Asking<'_> {
    fn run(&mut self) -> Option<Offset> {
        self.slip();
        let before = clock::now();
        let response = match self.asker.client.look(self.server(), self.deadline) {
            Ok(response) => response,
            Err(error) => {
                self.not_reached(&error);
                return None;
            }
        };
        let offset = offset(&response, before, clock::now());
        let first = self.findings.list.len();
        let nature = match response.status {
            429 | 500..600 => Nature::Unclear(format!("answered {}", response.status)),
            300..400 => Nature::Other(format!("answered {}, a redirect, and those are not followed", response.status)),
            200 if is_web_page(&response.body) => Nature::Other("sent a web page".to_owned()),
            404 if self.target.kind == Kind::Registry => Nature::Other("answered 404 for /v2/".to_owned()),
            _ => self.ask_questions(matches!(response.status, 401 | 403)),
        };
        let kind = self.target.kind.name();
        let named_by = self.named_by();
        match nature {
            Nature::Right => self.add(State::Ok, &format!("reached, {kind}{named_by}"), ""),
            Nature::Other(what) => {
                let action = "check the address, and any proxy in front of it";
                self.add(State::Wrong, &format!("reached, and it is not {kind}: it {what}{named_by}"), action);
            }
            Nature::Unclear(why) if why.is_empty() => self.add(State::Ok, &format!("reached{named_by}"), ""),
            Nature::Unclear(why) => {
                self.add(State::Unknown, &format!("it {why}{named_by}"), "look into the server's log");
            }
        }
        // Before the lines about single repositories.
        if let Some(tail @ [_, ..]) = self.findings.list.get_mut(first..) {
            tail.rotate_right(1);
        }
        self.certificate();
        Some(Offset { server: self.target.url.to_string(), seconds: offset? })
    }

    fn server(&self) -> Server<'_> {
        let url = &self.target.url;
        match self.target.kind {
            Kind::TrustServer => remote::server(url),
            Kind::Registry => Server { url, name: "registry", peer: metrics::Peer::Registry },
        }
    }

    fn add(&mut self, state: State, found: &str, action: &str) {
        self.findings.add(state, self.target.kind.check(), self.target.url.as_str(), found, action);
    }

    fn named_by(&self) -> String {
        match self.target.more {
            0 => format!(" ({})", self.target.named_by),
            more => format!(" ({} and {more} more)", self.target.named_by),
        }
    }

    /// A mistake in its address, or Docker's server, which ends.
    fn slip(&mut self) {
        let slip = match self.target.kind {
            Kind::TrustServer => TrustServer::Remote(self.target.url.clone()).slip(),
            Kind::Registry => None,
        };
        match slip {
            Some(DOCKER_HUB_ENDS) => {
                let url = self.target.url.as_str();
                self.findings.end("trust_server", url, "it", moment(DOCKER_HUB_END), DOCKER_HUB_ENDS);
            }
            Some(slip) => self.add(State::Note, slip, ""),
            None => {}
        }
    }

    fn not_reached(&mut self, error: &HttpError) {
        let found = format!("{error}{}", self.named_by());
        let (state, action) = match error {
            HttpError::Certificate(CertificateError::ExpiredContext { not_after, .. }) => {
                let (check, url) = (self.target.kind.check(), self.target.url.as_str());
                let end = moment(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX));
                self.findings.end(check, url, "its certificate", end, "renew it");
                return;
            }
            HttpError::Certificate(_) => (State::Wrong, ""),
            HttpError::Tls(_) | HttpError::Protocol(_) => {
                (State::Wrong, "check the address and its port: it must speak HTTP over TLS")
            }
            HttpError::TooLarge { .. } | HttpError::NoLength | HttpError::Encoded | HttpError::Request => {
                (State::Wrong, "check the address, and any proxy in front of it")
            }
            HttpError::HostNotFound => (State::Unknown, "check the address, and that the name can be looked up here"),
            HttpError::Proxy(_) => (State::Unknown, "check the proxy, and the variables HTTPS_PROXY and NO_PROXY"),
            HttpError::Timeout | HttpError::Down(_) | HttpError::Disconnected | HttpError::Io(_) => {
                (State::Unknown, "check that it runs, and that a network policy or firewall lets this machine reach it")
            }
        };
        self.add(state, &found, action);
    }

    /// Asks about repositories, real ones first, and once with each list of credentials. Says what the server is.
    fn ask_questions(&mut self, wants_sign_in: bool) -> Nature {
        let target = self.target;
        let mut seen: Vec<Fingerprint> = Vec::new();
        let mut nature = Nature::Unclear(String::new());
        let of_namespace = OfNamespace(self.asker.credentials);
        let in_order =
            [true, false].into_iter().flat_map(|is_real| target.questions.iter().filter(move |q| q.is_real == is_real));
        for question in in_order {
            let keychain: &dyn Keychain = if question.is_stranger { &of_namespace } else { self.asker.credentials };
            let credentials = Credentials::new(keychain, &question.credentials, question.mirror.as_deref());
            let fingerprint = credentials.get_fingerprint(self.deadline);
            if seen.contains(&fingerprint) || seen.len() >= MAX_SIGN_INS {
                continue;
            }
            seen.push(fingerprint);
            let answer =
                self.get(&credentials, Scope::pull(&question.repository), &target.kind.path(&question.repository));
            if let Ok((response, _)) = &answer {
                nature = better(nature, self.nature_of(response));
            }
            let has_any = !credentials.get(self.deadline).is_empty();
            match answer {
                // For an example of a name, a token may give no right: only whether the user is known can be asked.
                Err(_) if !question.is_real && has_any && wants_sign_in => {
                    let answer = self.get(&credentials, Scope::SIGN_IN, "/v2/");
                    self.signed_in(question, &credentials, answer);
                }
                Err(_) if !question.is_real && !has_any => self.anonymous(question),
                answer => self.signed_in(question, &credentials, answer),
            }
        }
        nature
    }

    /// The response, and whether it took a sign-in.
    fn get(&self, credentials: &Credentials<'_>, scope: Scope<'_>, path: &str) -> Answer {
        let mut session = Session::new(self.asker.client, self.server(), scope, credentials, self.deadline);
        session.get(path, MAX_BODY).map(|response| (response, session.granted().is_some()))
    }

    fn signed_in(&mut self, question: &Question, credentials: &Credentials<'_>, answer: Answer) {
        let name = &question.credentials;
        let known = credentials.get(self.deadline);
        let first = known.first();
        match (answer, first) {
            (Ok((_, true)), Some(credential)) => {
                let which = match known.len() {
                    1 => String::new(),
                    number => format!("one of {number} credentials, the first of which is in "),
                };
                self.add(State::Ok, &format!("signed in for {name}, with {which}{}", credential.source), "");
            }
            (Ok(_) | Err(SessionError::TooLarge { .. }), _) => {}
            (Err(SessionError::Unavailable(Unavailable { cause: UnavailableCause::SignIn, message })), first) => {
                let (state, action) = match first {
                    Some(_) => {
                        (State::Wrong, "correct the user name and the password in that file, or the user's rights")
                    }
                    None if self.others(question).is_empty() => {
                        (State::Wrong, "mount credentials for it (docs/credentials.md)")
                    }
                    None => (State::Skipped, self.others(question)),
                };
                self.add(state, &format!("not signed in for {name}: {message}"), action);
            }
            (Err(error), _) => {
                self.add(State::Unknown, &format!("not asked about {name}: {error}"), "look into the server's log");
            }
        }
    }

    /// Why there may be credentials that are not known here.
    fn others(&self, question: &Question) -> &'static str {
        const STRANGER: &str = "only a namespace's policy names this server, so that no mounted credentials are sent to it; pull secrets may be";
        if question.is_stranger { STRANGER } else { self.asker.others }
    }

    /// There are no credentials for a name, and the server wants some.
    fn anonymous(&mut self, question: &Question) {
        let folder = question.credentials.rsplit_once('/').map_or(&*question.credentials, |(folder, _)| folder);
        let found = format!("it wants a sign-in, and there are no credentials for {folder}");
        match self.others(question) {
            "" => self.add(State::Note, &found, "mount credentials for it, unless all is public (docs/credentials.md)"),
            others => self.add(State::Skipped, &found, others),
        }
    }

    fn nature_of(&self, response: &Response) -> Nature {
        let code = error_body::error_code(&response.body);
        let is_trust_server = self.target.kind == Kind::TrustServer;
        match response.status {
            200 if is_web_page(&response.body) => Nature::Other("sent a web page".to_owned()),
            200 => Nature::Right,
            404 if is_trust_server && !error_body::is_absence(404, &response.body) => {
                Nature::Other("answered 404 in other words than a Notary server without trust data".to_owned())
            }
            404 if !is_trust_server && code.is_none() => {
                Nature::Other("answered 404 in other words than a registry without an image".to_owned())
            }
            404 => Nature::Right,
            429 | 500..600 => Nature::Unclear(format!("answered {} {}", response.status, code.unwrap_or_default())),
            status => Nature::Other(format!("answered {status} {}", code.unwrap_or_default())),
        }
    }

    /// When the server's own certificate ends.
    fn certificate(&mut self) {
        let Some(address) = address(self.target.url.as_str()) else { return };
        let ends = self.asker.client.certificate_ends();
        if let Some((_, end)) = ends.iter().find(|(server, _)| *server == address) {
            let (check, url) = (self.target.kind.check(), self.target.url.as_str());
            self.findings.end(check, url, "its certificate", moment(*end), "renew it before it ends");
        }
    }
}

/// The host and the port of an https URL, as [`Client::certificate_ends`] has them.
pub(super) fn address(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = authority.rsplit_once(']').map_or(authority, |(_, after)| after).contains(':');
    let bare = authority.replace(['[', ']'], "");
    Some(if has_port { bare } else { format!("{bare}:443") })
}

/// What is known after another response: what it is not counts more than what it is, because an address may have several servers.
fn better(known: Nature, found: Nature) -> Nature {
    match (&known, &found) {
        (Nature::Other(_), _) => known,
        (Nature::Right, Nature::Unclear(_)) => known,
        _ => found,
    }
}

/// By how many seconds the server's clock is ahead. Its `Date` has whole seconds.
fn offset(response: &Response, before: Timestamp, after: Timestamp) -> Option<i64> {
    let theirs = date(response.field("date")?)?;
    let (before, after) = (before.as_second(), after.as_second());
    if theirs < before { theirs.checked_sub(before) } else { Some(theirs.saturating_sub(after).max(0)) }
}

fn is_web_page(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}
