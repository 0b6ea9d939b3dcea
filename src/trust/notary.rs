//! The trust service: asks a Notary server, verifies, remembers, and answers with one of three verdicts.
//!
//! Within `refresh_after` of the server's last word no request is made; after it, one question refreshes and all that
//! ask the same at that time share what it finds. Nothing that was not verified is ever kept, a failure is never kept,
//! and what is remembered never goes back behind what was seen, by whatever anchor, in whatever earlier process.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use super::ca::CaError;
use super::client::Client;
use super::directory::Directory;
use super::http::HttpSetupError;
pub use super::proxy::ProxyError;
use super::recorder::{Record, Recorder};
use super::repository::{
    FailedRefresh, Judgement, RefreshError, Rejection, Repository, RequiredSigner, RoleExpiry, Wanted,
};
pub use super::server_url::{PlainHttp, TrustServer, TrustServerError};
use super::shelf::{Boarding, Landing, Shelf, Slot};
use super::store::{Store, StoredSummary};
use super::{Anchor, Gun, KeyId, MetadataSource, RoleName};
use crate::credentials::{Candidates, Credential};
use crate::deadline::Deadline;
use crate::metrics::Metrics;

/// What stored trust data may do while the trust server cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// Nothing: the image is denied as unavailable.
    Deny,
    /// Stand in, while it is unexpired and was confirmed by the server no longer ago than this.
    UseCached {
        /// The age past which it may not.
        max_stale: Duration,
    },
}

/// The service's settings.
#[derive(Clone, Debug)]
pub struct NotarySettings {
    /// A PEM bundle added to the built-in roots; re-read when it changes. `None`, or a file that is absent: built-in
    /// roots alone.
    pub ca: Option<PathBuf>,
    /// How old a verified timestamp may be before it is asked for again.
    pub refresh_after: Duration,
    /// May realms and servers be plain HTTP?
    pub plain_http: PlainHttp,
    /// Where verified trust data is kept for the next start; `None`: in memory alone.
    pub cache: Option<PathBuf>,
    /// Where it is counted what became of that.
    pub metrics: Arc<Metrics>,
}

/// One question to the service.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The repository, in trust data's own name (after `remap`).
    pub gun: &'a Gun,
    /// The server to ask.
    pub server: &'a TrustServer,
    /// The image.
    pub wanted: Wanted<'a>,
    /// Where trust in the root begins.
    pub anchor: &'a Anchor,
    /// Who must have signed; empty: any valid publication counts.
    pub signers: &'a [RequiredSigner],
    /// Candidates for the trust server's token service, in the order in which to try them; none: anonymous.
    pub credentials: &'a Candidates<'a>,
    /// May stored data stand in?
    pub when_unavailable: WhenUnavailable,
    /// When to have answered.
    pub deadline: Deadline,
}

/// Where the data behind a verdict came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The server was asked for this very question.
    Fetched,
    /// Verified a moment ago, within `refreshAfter`.
    Remembered,
    /// The server is away; stored data stands in. An answer built on this carries a warning.
    StoodIn {
        /// How long ago the server last confirmed it.
        age: Duration,
    },
}

/// The image is verified.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Digest, tag and signers.
    pub judgement: Judgement,
    /// Where the data came from.
    pub origin: Origin,
    /// When each role's metadata ends.
    pub expiries: Vec<RoleExpiry>,
    /// The IDs of the root keys.
    pub root_key_ids: Vec<KeyId>,
}

/// The image is not verified.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The trust data says no.
    Rejected(Rejection),
    /// Nobody could say; what was tried, safe to print.
    Unavailable(String),
}

/// The trust service. Shared by all workers.
pub struct Notary {
    client: Client,
    store: Store,
    refresh_after: Duration,
    shelf: Shelf<Key, Arc<Held>, Terms, Failure>,
}

/// Most repositories that are remembered, and most bytes of their metadata: on a public trust server anybody may publish
/// repositories of many megabytes, and name them all in workloads.
const MAX_REPOSITORIES: usize = 5_000;
const MAX_BYTES: u64 = 64 << 20;
/// A remembered rejection is checked with the server again if what it rests on is older than this: a new signature
/// shows at once, and a workload that is tried again and again costs no more than one refresh in this time.
const RECHECK_AFTER: Duration = Duration::from_secs(2);
/// Most signer roles that a refresh looks for on behalf of earlier questions.
const MAX_ROLES: usize = 32;

/// Credentials are no part of it: trust data holds no secrets, and a verdict does not depend on who fetched the data.
/// What was verified with one tenant's credentials may therefore answer another tenant's question.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    server: TrustServer,
    gun: Gun,
    anchor: Anchor,
}

/// A verified repository.
struct Held {
    repository: Arc<Repository>,
    /// When the server was last asked whether this is the newest. By the monotonic clock: setting the time of day back
    /// makes nothing younger.
    confirmed: Instant,
    /// The signers that were looked for.
    roles: BTreeSet<RoleName>,
    /// The store's epoch that it is of: a reset by hand begins another.
    epoch: u64,
}

impl Held {
    fn age(&self) -> Duration {
        self.confirmed.elapsed()
    }
}

/// What a refresh brought, to be stored.
struct Brought {
    repository: Arc<Repository>,
    record: Record,
    /// When the server was asked whether this is the newest, by the wall clock.
    confirmed: Option<Timestamp>,
    epoch: u64,
}

/// Why a refresh gave nothing, and what is to be remembered of it.
type Failed = (Failure, Option<Brought>);

/// On what terms a refresh is made.
struct Terms {
    roles: BTreeSet<RoleName>,
}

/// Why a refresh gave nothing.
#[derive(Clone)]
enum Failure {
    Rejected(Rejection),
    Unavailable {
        why: String,
        /// The candidates that were tried; `None` where it never came to signing in.
        credentials: Option<Vec<Credential>>,
        /// Was it only that the asker's time was up?
        out_of_time: bool,
    },
}

impl Notary {
    /// A service with nothing remembered. An unreadable CA bundle is an error; an absent one is not.
    pub fn new(settings: NotarySettings) -> Result<Self, NotaryError> {
        let client = Client::new(settings.ca, settings.plain_http).map_err(|error| match error {
            HttpSetupError::Ca(error) => NotaryError::Ca(error),
            HttpSetupError::Proxy(error) => NotaryError::Proxy(error),
        })?;
        let store = Store::new(settings.cache, settings.metrics);
        Ok(Self {
            client,
            store,
            refresh_after: settings.refresh_after,
            shelf: Shelf::new(MAX_REPOSITORIES, MAX_BYTES, |held| held.repository.weight()),
        })
    }

    /// What is stored of a repository, for people.
    pub fn stored(&self, server: &TrustServer, gun: &Gun) -> Option<StoredSummary> {
        self.store.summary(server, gun)
    }

    /// A repository's metadata, wherever the server keeps it.
    pub(super) fn source<'a>(
        &'a self,
        server: &'a TrustServer,
        gun: &'a Gun,
        credentials: &'a Candidates<'a>,
        deadline: Deadline,
    ) -> Box<dyn MetadataSource + 'a> {
        match server.directory() {
            Some(directory) => Box::new(Directory::new(directory, gun)),
            None => Box::new(self.client.source(server, gun, credentials, deadline)),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Answers one question, by its deadline. `now` is the time by which expiry is judged.
    pub fn ask(&self, question: &Question<'_>, now: Timestamp) -> Result<Verified, Refusal> {
        let key = Key { server: question.server.clone(), gun: question.gun.clone(), anchor: question.anchor.clone() };
        let slot = self.shelf.slot(&key);
        let asking = Asking {
            notary: self,
            question,
            roles: question.signers.iter().map(|signer| signer.role.clone()).collect(),
            slot: &slot,
            began: Instant::now(),
            now,
        };
        let answer = asking.answer();
        self.shelf.tidy(&key, slot);
        answer
    }
}

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notary").field("refresh_after", &self.refresh_after).finish_non_exhaustive()
    }
}

/// One question while it is being answered.
struct Asking<'a> {
    notary: &'a Notary,
    question: &'a Question<'a>,
    roles: BTreeSet<RoleName>,
    slot: &'a Slot<Arc<Held>, Terms, Failure>,
    began: Instant,
    now: Timestamp,
}

impl Asking<'_> {
    fn answer(&self) -> Result<Verified, Refusal> {
        let mut remembered_rejection = None;
        for max_age in [self.notary.refresh_after, RECHECK_AFTER.min(self.notary.refresh_after)] {
            let (held, origin) = match self.slot.held().filter(|held| self.serves(held, max_age)) {
                Some(held) => (held, Origin::Remembered),
                None => match self.bring(max_age) {
                    Ok(held) => (held, Origin::Fetched),
                    Err(failure) => return self.without_server(failure, remembered_rejection),
                },
            };
            match self.judge(&held) {
                Ok(judgement) => return Ok(verified(&held, judgement, origin)),
                Err(rejection) if held.confirmed >= self.began || held.age() <= RECHECK_AFTER => {
                    return Err(Refusal::Rejected(rejection));
                }
                // Perhaps it was signed a moment ago: nobody is denied before the server was asked.
                Err(rejection) => remembered_rejection = Some(rejection),
            }
        }
        match remembered_rejection {
            Some(rejection) => Err(Refusal::Rejected(rejection)),
            None => Err(Refusal::Unavailable("the trust server was not asked".to_owned())),
        }
    }

    /// A repository that the server confirmed no longer ago than `max_age`, from the server or from whoever is asking
    /// it already.
    fn bring(&self, max_age: Duration) -> Result<Arc<Held>, Failure> {
        let deadline = self.deadline_for_asking();
        loop {
            if deadline.remaining().is_none() {
                return Err(self.out_of_time());
            }
            let terms = || Terms { roles: self.roles.clone() };
            match self.slot.board(terms) {
                Boarding::Lead(pilot) => {
                    let held = self.slot.held();
                    // Between our look and now, another one may have brought it.
                    if let Some(held) = held.as_ref().filter(|held| self.serves(held, max_age)) {
                        return Ok(Arc::clone(held));
                    }
                    let Question { gun, server, .. } = *self.question;
                    let (result, brought) = match self.refresh(held.as_deref(), max_age, deadline) {
                        Ok((held, brought)) => (Ok(Arc::new(held)), Some(brought)),
                        Err(failed) => {
                            let (failure, noted) = *failed;
                            if let (Some(brought), Some(held)) = (&noted, held) {
                                // The data stays, with what was seen of newer data. What was noted may be another
                                // anchor's: only what was verified under this one is held here.
                                let repository = Arc::new(held.repository.with_seen_of(&brought.repository));
                                let (confirmed, roles) = (held.confirmed, held.roles.clone());
                                pilot.hold(Arc::new(Held { repository, confirmed, roles, epoch: held.epoch }));
                            }
                            (Err(failure), noted)
                        }
                    };
                    if let Some(Brought { repository, confirmed, epoch, .. }) = &brought {
                        self.notary.store.remember(server, gun, repository, *confirmed, *epoch);
                    }
                    pilot.land(&result);
                    // After landing: nobody waits for the disk but whoever led.
                    if let Some(Brought { repository, record, .. }) = brought {
                        let Question { deadline, .. } = *self.question;
                        self.notary.store.persist(server, gun, &repository, record, deadline);
                    }
                    return result;
                }
                Boarding::Wait(flight) => match flight.wait(deadline) {
                    None => return Err(self.out_of_time()),
                    Some(Landing::Brought(held))
                        if held.repository.has_looked_for(&self.roles)
                            && (held.confirmed >= flight.began || held.age() <= max_age) =>
                    {
                        return Ok(held);
                    }
                    Some(Landing::Failed(failure)) if self.shares(&failure, &flight.terms) => return Err(failure),
                    // It was made for other roles or with other credentials, its leader's time was up before ours, or
                    // its leader is gone: our turn.
                    Some(_) => {}
                },
            }
        }
    }

    /// A failure comes with what is to be remembered in place of what is held.
    fn refresh(
        &self,
        held: Option<&Held>,
        max_age: Duration,
        deadline: Deadline,
    ) -> Result<(Held, Brought), Box<Failed>> {
        let Question { gun, server, anchor, credentials, .. } = *self.question;
        // A server that is known to be down would be let alone here, before anything is asked of it.
        let mut source =
            Recorder::new(self.notary.source(server, gun, credentials, deadline), self.notary.store.keeps_bytes());
        let mut roles = self.roles.clone();
        if let Some(held) = held {
            // Others' signers are kept up to date too, or two policies for one repository would fetch in turns. What
            // is wrong with one signer's role denies only those who ask for it.
            let more: Vec<_> = held.roles.difference(&self.roles).cloned().collect();
            roles.extend(more.into_iter().take(MAX_ROLES.saturating_sub(self.roles.len())));
            if held.age() <= max_age
                && !held.repository.has_looked_for(&self.roles)
                // Whatever goes wrong here, a whole refresh says better.
                && let Ok(repository) = held.repository.with_signers(&mut source, &self.roles, self.now)
            {
                let repository = Arc::new(repository);
                let brought = Brought {
                    repository: Arc::clone(&repository),
                    record: source.into_record(),
                    confirmed: None,
                    epoch: held.epoch,
                };
                return Ok((Held { repository, confirmed: held.confirmed, roles, epoch: held.epoch }, brought));
            }
        }
        let began = Instant::now();
        let known = self.notary.store.recall(server, gun);
        let epoch = known.as_ref().map_or(0, |known| known.epoch());
        let refreshed = match &known {
            Some(known) => {
                let more: Vec<_> = known.roles().filter(|role| !roles.contains(role)).cloned().collect();
                roles.extend(more.into_iter().take(MAX_ROLES.saturating_sub(roles.len())));
                known.refresh(&mut source, gun, anchor, &roles, self.now)
            }
            None => {
                let previous = held.map(|held| held.repository.as_ref());
                Repository::refresh_or_note(&mut source, gun, anchor, previous, &roles, self.now)
            }
        };
        match refreshed {
            Ok(repository) => {
                let repository = Arc::new(repository);
                let brought = Brought {
                    repository: Arc::clone(&repository),
                    record: source.into_record(),
                    confirmed: Some(self.now),
                    epoch,
                };
                Ok((Held { repository, confirmed: began, roles, epoch }, brought))
            }
            Err(failed) => {
                let FailedRefresh { error, noted } = *failed;
                let failure = match error {
                    RefreshError::Rejected(rejection) => Failure::Rejected(rejection),
                    RefreshError::Unavailable(why) => {
                        let out_of_time = deadline.remaining().is_none();
                        let credentials = credentials.seen().map(<[Credential]>::to_vec);
                        Failure::Unavailable { why, credentials, out_of_time }
                    }
                };
                let noted = noted.map(|repository| Brought {
                    repository: Arc::new(repository),
                    record: source.into_record(),
                    confirmed: None,
                    epoch,
                });
                Err(Box::new((failure, noted)))
            }
        }
    }

    /// The server could not be asked, or what it says is bad.
    fn without_server(&self, failure: Failure, remembered: Option<Rejection>) -> Result<Verified, Refusal> {
        let why = match failure {
            Failure::Rejected(rejection) => return Err(Refusal::Rejected(rejection)),
            Failure::Unavailable { why, .. } => why,
        };
        // What the server said within `refresh_after` still holds.
        if let Some(rejection) = remembered {
            return Err(Refusal::Rejected(rejection));
        }
        let WhenUnavailable::UseCached { max_stale } = self.question.when_unavailable else {
            return Err(Refusal::Unavailable(why));
        };
        let Some((held, age)) = self.stand_in().map_err(Refusal::Rejected)? else {
            return Err(Refusal::Unavailable(format!("{why}; nothing is stored that could stand in")));
        };
        if held.repository.is_superseded() {
            return Err(Refusal::Unavailable(format!(
                "{why}; newer trust data was seen but could not be read whole, so the stored data may not stand in"
            )));
        }
        if age > max_stale {
            return Err(Refusal::Unavailable(format!(
                "{why}; the stored data was confirmed {} ago, and maxStale allows {}",
                spoken(age),
                spoken(max_stale)
            )));
        }
        // TRUST.md, rows 55 and 56: expired data stands in for nothing.
        match self.judge(&held) {
            Ok(judgement) => Ok(verified(&held, judgement, Origin::StoodIn { age })),
            Err(rejection) => Err(Refusal::Rejected(rejection)),
        }
    }

    /// What this process has verified by this anchor, unless newer data was seen by another; then, or where there is
    /// none, what is known by whatever anchor. And how old that is.
    fn stand_in(&self) -> Result<Option<(Arc<Held>, Duration)>, Rejection> {
        let Question { gun, server, anchor, .. } = *self.question;
        let held = self.slot.held().filter(|held| held.repository.has_looked_for(&self.roles));
        let known = self.notary.store.recall(server, gun);
        // Or it was reset since.
        let newer = |held: &Held| {
            known.as_ref().is_some_and(|known| known.epoch() != held.epoch || known.is_beyond(&held.repository))
        };
        if let Some(held) = held.as_ref().filter(|held| !held.repository.is_superseded() && !newer(held)) {
            return Ok(Some((Arc::clone(held), held.age())));
        }
        let found = known.as_ref().map_or(Ok(None), |known| known.stand_in(anchor, &self.roles, self.now));
        match (found, held) {
            (Ok(Some((repository, age))), _) => {
                let epoch = known.as_ref().map_or(0, |known| known.epoch());
                let (repository, roles) = (Arc::new(repository), self.roles.clone());
                Ok(Some((Arc::new(Held { repository, confirmed: self.began, roles, epoch }), age)))
            }
            // It says why nothing stands in.
            (_, Some(held)) if held.repository.is_superseded() => {
                let age = held.age();
                Ok(Some((held, age)))
            }
            (found, _) => found.map(|_| None),
        }
    }

    fn judge(&self, held: &Held) -> Result<Judgement, Rejection> {
        held.repository.judge(self.question.wanted, self.question.signers, self.now)
    }

    fn serves(&self, held: &Held, max_age: Duration) -> bool {
        held.age() <= max_age && !held.repository.is_superseded() && held.repository.has_looked_for(&self.roles)
    }

    /// Is another one's failure ours as well?
    fn shares(&self, failure: &Failure, terms: &Terms) -> bool {
        match failure {
            Failure::Rejected(_) => true,
            Failure::Unavailable { out_of_time, credentials, .. } => {
                let Question { credentials: ours, deadline, .. } = *self.question;
                !out_of_time
                    && terms.roles.is_subset(&self.roles)
                    && credentials.as_ref().is_none_or(|tried| tried == ours.get(deadline))
            }
        }
    }

    /// Where stored data may stand in, a server that hangs gets half of the time, so that there is an answer.
    fn deadline_for_asking(&self) -> Deadline {
        let deadline = self.question.deadline;
        match (self.question.when_unavailable, deadline.remaining()) {
            (WhenUnavailable::UseCached { .. }, Some(left)) if self.has_data() => deadline.at_most(left / 2),
            _ => deadline,
        }
    }

    fn has_data(&self) -> bool {
        let Question { gun, server, .. } = *self.question;
        self.slot.held().is_some() || self.notary.store.recall(server, gun).is_some_and(|known| known.has_data())
    }

    fn out_of_time(&self) -> Failure {
        let why = format!("trust server {}: no answer about {} in time", self.question.server, self.question.gun);
        Failure::Unavailable { why, credentials: None, out_of_time: true }
    }
}

fn verified(held: &Held, judgement: Judgement, origin: Origin) -> Verified {
    Verified { judgement, origin, expiries: held.repository.expiries(), root_key_ids: held.repository.root_key_ids() }
}

fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}

/// The service cannot be set up.
#[derive(Debug)]
pub enum NotaryError {
    /// The CA bundle cannot be used.
    Ca(CaError),
    /// The environment's proxy cannot be used.
    Proxy(ProxyError),
}

impl fmt::Display for NotaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ca(error) => error.fmt(f),
            Self::Proxy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotaryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ca(error) => Some(error),
            Self::Proxy(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests;
