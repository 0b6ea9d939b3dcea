//! One question while it is being answered: from memory, by sharing another one's refresh, or by making one.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::cached::{Brought, CachedRepository, Failed, Failure, Key, Terms};
use super::expiry;
use super::negative_cache::Known;
use super::query::{Question, Refusal, Verified, WhenUnavailable};
use super::{MAX_ROLES, Notary, RECHECK_AFTER};
use crate::base::context::Deadline;
use crate::base::single_flight::{Call, Entry, Join, Outcome};
use crate::http::origin;
use crate::http::origin::bulkhead::NoPermit;
use crate::http::origin::permit::Permit;
use crate::keychain::credentials::Fingerprint;
use crate::metrics::Source;
use crate::registry::session::{no_permit, out_of_time};
use crate::registry::sign_in::SignIn;
use crate::schemes::Freshness;
use crate::schemes::notary::recorder::Recorder;
use crate::schemes::notary::store::repository_record::{Confirmation, RepositoryRecord};
use portreeve_verify::tuf::RoleName;
use portreeve_verify::tuf::{FailedRefresh, RefreshError, Rejection, Repository, SignedTarget};
use portreeve_verify::{Unavailable, UnavailableCause};

/// One question while it is being answered.
pub(crate) struct Asking<'a> {
    pub(crate) notary: &'a Notary,
    pub(crate) question: &'a Question<'a>,
    /// The required signers' roles.
    pub(crate) roles: BTreeSet<RoleName>,
    /// What a refresh for it is for, once one is needed.
    pub(crate) key: OnceCell<Key>,
    pub(crate) began: Instant,
    pub(crate) now: Timestamp,
}

/// How often those who wait for a leader look how it fares with signing in.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Asking<'_> {
    pub(crate) fn answer(&self) -> Result<Verified, Refusal> {
        let mut remembered_rejection = None;
        for max_age in [self.notary.refresh_after, RECHECK_AFTER.min(self.notary.refresh_after)] {
            let (held, freshness) = match self.cached().filter(|held| self.serves(held, max_age)) {
                Some(held) => {
                    self.notary.metrics.trust_lookup(Source::Remembered);
                    (held, Freshness::Cached)
                }
                None => match self.bring(max_age) {
                    Ok(held) => (held, Freshness::Fetched),
                    Err(failure) => return self.without_server(failure, remembered_rejection),
                },
            };
            match self.judge(&held) {
                Ok(target) => {
                    if self.notary.store.keeps_bytes() && !held.admitted {
                        self.notary.store.admitted(self.question.server, self.question.gun);
                    }
                    return Ok(verified(&held, target, freshness));
                }
                Err(rejection) if held.confirmed >= self.began || held.age() <= RECHECK_AFTER => {
                    return Err(Refusal::Rejected(rejection));
                }
                // Perhaps it was signed a moment ago: nobody is denied before the server was asked.
                Err(rejection) => remembered_rejection = Some(rejection),
            }
        }
        match remembered_rejection {
            Some(rejection) => Err(Refusal::Rejected(rejection)),
            None => Err(Refusal::Unavailable(Unavailable::other("the trust server was not asked"))),
        }
    }

    /// A repository that the server confirmed no longer ago than `max_age`: from the server, or from a refresh that is under
    /// way.
    fn bring(&self, max_age: Duration) -> Result<CachedRepository, Failure> {
        let refresh = self.notary.refreshes.entry(self.key());
        let brought = self.bring_by(&refresh, max_age);
        self.notary.refreshes.release(self.key(), refresh);
        brought
    }

    fn bring_by(
        &self,
        entry: &Entry<CachedRepository, Terms, Failure>,
        max_age: Duration,
    ) -> Result<CachedRepository, Failure> {
        if let Some(failure) = self.known_failure() {
            return Err(failure);
        }
        let deadline = self.deadline_for_asking();
        // A directory is read at a worker: it is this machine's own, and answers at once.
        let _away = match self.question.server.directory() {
            Some(_) => None,
            None => Some(self.notary.waiting.begin(deadline.request())),
        };
        // Once another one's credentials have held us up, we wait for nobody who has not ours.
        let mut alone = None;
        loop {
            if deadline.remaining().is_none() {
                return Err(self
                    .out_of_time(&match self.began.elapsed().as_secs_f64() {
                        waited @ 0.1.. => format!("{waited:.1} s waiting for other requests that were asking it"),
                        _ => "the time was up before it could be asked: the request had waited for a worker \
                          (limits.workers), or for other images of its own"
                            .to_owned(),
                    })
                    .into());
            }
            self.check_server(deadline)?;
            let joins = |terms: &Terms| alone.is_none_or(|ours| terms.sign_in.state().is_with(ours));
            match entry.join_if(joins, || self.terms(alone)) {
                Join::Lead(leader) => {
                    // Between our look and now, or while we wait for our turn, another one may have brought it.
                    if let Some(held) = self.brought_meanwhile(max_age) {
                        return Ok(held);
                    }
                    let permit = self.permit(deadline);
                    if let Some(held) = self.brought_meanwhile(max_age) {
                        return Ok(held);
                    }
                    let held = self.cached();
                    if let Some(failure) = self.known_failure() {
                        return Err(failure);
                    }
                    let Question { gun, server, anchor, .. } = *self.question;
                    let store = &self.notary.store;
                    let mut noted = None;
                    let refreshed =
                        permit.map_err(|unavailable| Box::new((unavailable.into(), None))).and_then(|permit| {
                            self.refresh(held.as_ref(), permit, &leader.scope().sign_in, max_age, deadline)
                        });
                    let (result, brought) = match refreshed {
                        Ok((mut held, brought)) => {
                            let Brought { repository, confirmation, epoch, .. } = &brought;
                            store.remember(server, gun, anchor, repository, *confirmation, *epoch);
                            if self.judge(&held).is_ok() {
                                store.admitted(server, gun);
                                held.admitted = true;
                                expiry::count(&self.notary.metrics, &held.repository, server.source_kind());
                            }
                            (Ok(held), Some(brought))
                        }
                        Err(failed) => {
                            let failure;
                            (failure, noted) = *failed;
                            if let Some((seen, epoch)) = &noted {
                                store.note(server, gun, seen, *epoch);
                            }
                            (Err(failure), None)
                        }
                    };
                    leader.tell(&result);
                    // After the end of the call: only the leader waits for the disk.
                    let Question { deadline, .. } = *self.question;
                    if let Some(brought) = brought {
                        self.notary.scribe.write(server, gun, brought, deadline);
                    } else if noted.is_some() {
                        self.notary.scribe.write_noted(server, gun, deadline);
                    }
                    if result.is_ok() {
                        self.notary.metrics.trust_lookup(Source::Refreshed);
                    }
                    return result;
                }
                Join::Follow(call) => match self.wait(&call, deadline)? {
                    None => alone = Some(self.fingerprint()),
                    Some(Outcome::Fetched(held))
                        if held.repository.knows_delegations(&self.roles)
                            && (held.confirmed >= call.began || held.age() <= max_age) =>
                    {
                        self.notary.metrics.trust_lookup(Source::Shared);
                        return Ok(held);
                    }
                    Some(Outcome::Failed(failure)) if self.shares(&failure, &call.scope) => return Err(failure),
                    // It was made for other roles or with other credentials, its leader's time was up before ours, or
                    // its leader is gone: our turn.
                    Some(Outcome::Fetched(_) | Outcome::Failed(_) | Outcome::Abandoned) => {}
                },
            }
        }
    }

    /// The data in memory under this anchor.
    pub(crate) fn cached(&self) -> Option<CachedRepository> {
        let Question { gun, server, anchor, .. } = *self.question;
        self.notary.store.cached(server, gun, anchor, self.now)
    }

    fn key(&self) -> &Key {
        let Question { gun, server, anchor, .. } = *self.question;
        self.key.get_or_init(|| Key { server: server.clone(), gun: gun.clone(), anchor: anchor.clone() })
    }

    /// The data of a refresh that ended since this question came. Data that was asked for after that is new enough.
    fn brought_meanwhile(&self, max_age: Duration) -> Option<CachedRepository> {
        let held = self.cached().filter(|held| self.serves(held, max_age.max(self.began.elapsed())))?;
        self.notary.metrics.trust_lookup(Source::Shared);
        Some(held)
    }

    /// What the server said of this a moment ago, where that was a definite no.
    fn known_failure(&self) -> Option<Failure> {
        let max_age = RECHECK_AFTER.min(self.notary.refresh_after);
        let Known { failure, terms, epoch, .. } = self.notary.failures.known(self.key(), max_age)?;
        // A reset by hand was made for the next question to be asked.
        let now = self.recall().map_or(0, |known| known.epoch());
        (now == epoch && self.shares(&failure, &terms)).then_some(failure)
    }

    /// Waits for what another one is fetching; `None` where that one's credentials, and not ours, hold it up.
    fn wait(
        &self,
        call: &Call<CachedRepository, Terms, Failure>,
        deadline: Deadline,
    ) -> Result<Option<Outcome<CachedRepository, Failure>>, Failure> {
        let began = Instant::now();
        let waiter = self.origin().map(|origin| origin.wait(self.began, deadline.request()));
        loop {
            let again = match &waiter {
                Some(waiter) => waiter.may_wait().map_err(|refused| self.no_permit(&refused, began))?,
                None => Duration::MAX,
            };
            if let Some(outcome) = call.wait(deadline.at_most(again.min(LOOK_EVERY))) {
                return Ok(Some(outcome));
            }
            let sign_in = &call.scope.sign_in;
            if sign_in.state().is_slow() {
                // Ours are looked for before we compare: the leader may be looking for the same.
                let ours = self.fingerprint();
                if !sign_in.state().is_with(ours) {
                    return Ok(None);
                }
            }
            if deadline.remaining().is_none() {
                let waited = began.elapsed().as_secs_f64();
                return Err(self
                    .out_of_time(&format!("{waited:.1} s waiting for another request that was asking it"))
                    .into());
            }
            self.check_server(deadline)?;
        }
    }

    /// The server's state, as all requests share it. A directory has none.
    fn origin(&self) -> Option<origin::Origin<'_>> {
        self.question.server.remote().map(|url| self.notary.client.origin(url))
    }

    /// Waits until we may ask the server; a directory may always be read.
    fn permit(&self, deadline: Deadline) -> Result<Option<Permit<'_>>, Unavailable> {
        let began = Instant::now();
        let Some(origin) = self.origin() else { return Ok(None) };
        origin.permit(self.began, deadline).map(Some).map_err(|refused| self.no_permit(&refused, began))
    }

    /// A server that is down is asked by nobody. Who has stored data does not wait for it to come back either.
    fn check_server(&self, deadline: Deadline) -> Result<(), Unavailable> {
        let Question { server, when_unavailable, .. } = *self.question;
        let Some(origin) = self.origin() else { return Ok(()) };
        let checked = match when_unavailable {
            WhenUnavailable::UseCached { .. } if self.has_data() => origin.check(),
            WhenUnavailable::UseCached { .. } | WhenUnavailable::Deny => origin.check_or_wait(deadline),
        };
        checked.map_err(|open| Unavailable::other(format!("trust server {server}: {open}")))
    }

    fn no_permit(&self, refused: &NoPermit, began: Instant) -> Unavailable {
        let Question { gun, server, .. } = *self.question;
        no_permit(&format_args!("trust server {server}"), gun.as_str(), refused, began.elapsed())
    }

    fn terms(&self, ours: Option<Fingerprint>) -> Terms {
        Terms { roles: self.roles.clone(), sign_in: Arc::new(ours.map_or_else(SignIn::default, SignIn::with)) }
    }

    /// A failure comes with what is to be remembered in place of what is held.
    fn refresh(
        &self,
        held: Option<&CachedRepository>,
        permit: Option<Permit<'_>>,
        sign_in: &SignIn,
        max_age: Duration,
        deadline: Deadline,
    ) -> Result<(CachedRepository, Brought), Box<Failed>> {
        let Question { gun, server, anchor, credentials, .. } = *self.question;
        let source = self.notary.source(server, gun, credentials, deadline, permit.as_ref(), sign_in);
        let (store, budget, away) = (&self.notary.store, &self.notary.budget, OnceCell::new());
        // Told of what takes longer than a moment: verifying, and waiting for memory. Meanwhile the server is not silent, and
        // the request keeps no worker, whether it came over a network or not.
        let working = || {
            if let Some(permit) = &permit {
                permit.responded();
            }
            away.get_or_init(|| self.notary.waiting.begin(deadline.request()));
        };
        let mut source = Recorder::new(source, store.keeps_bytes(), budget, &server.to_string(), deadline)
            .telling(&working)
            .timed(&self.notary.metrics);
        if let Some(held) = held
            && held.age() <= max_age
            && !held.repository.knows_delegations(&self.roles)
            // Whatever goes wrong here, a whole refresh says better.
            && let Ok(repository) = held.repository.with_signers(&mut source, &self.roles, self.now)
        {
            let repository = Arc::new(repository);
            let brought = Brought {
                repository: Arc::clone(&repository),
                record: source.take_record(),
                memory: source.take_memory(),
                confirmation: None,
                epoch: held.epoch,
            };
            return Ok((CachedRepository { repository, ..held.clone() }, brought));
        }
        source.begin_anew();
        let began = Instant::now();
        let known = self.recall();
        let epoch = known.as_ref().map_or(0, |known| known.epoch());
        let mut roles = self.roles.clone();
        if let Some(known) = &known {
            // The signers of other questions are kept up to date too, or two policies for one repository would fetch in turns.
            // What is wrong with one signer's role denies only those who ask for it.
            let more: Vec<_> = known.roles().filter(|role| !roles.contains(role)).cloned().collect();
            roles.extend(more.into_iter().take(MAX_ROLES.saturating_sub(roles.len())));
        }
        let mut attempt = |known: Option<&RepositoryRecord>, roles: &BTreeSet<RoleName>| match known {
            Some(known) => known.refresh(&mut source, gun, anchor, roles, self.now),
            None => Repository::refresh_with_state(&mut source, gun, anchor, None, roles, self.now),
        };
        let mut refreshed = attempt(known.as_deref(), &roles);
        // What cannot be had may be another one's signer alone. What was seen meanwhile holds.
        if let (Some(known), Err(failed)) = (&known, &refreshed)
            && matches!(failed.error, RefreshError::Unavailable(_))
            && roles != self.roles
            && deadline.remaining().is_some()
        {
            let known =
                failed.state.as_ref().map_or_else(|| Arc::clone(known), |seen| Arc::new(known.with_state(seen)));
            roles.clone_from(&self.roles);
            refreshed = attempt(Some(&known), &roles);
        }
        match refreshed {
            Ok(repository) => {
                self.notary.failures.forget(self.key());
                let repository = Arc::new(repository);
                let brought = Brought {
                    repository: Arc::clone(&repository),
                    record: source.take_record(),
                    memory: source.take_memory(),
                    confirmation: Some(Confirmation { time: self.now, asked: began }),
                    epoch,
                };
                Ok((CachedRepository { repository, confirmed: began, epoch, admitted: false }, brought))
            }
            Err(failed) => {
                let FailedRefresh { error, state: noted } = *failed;
                let failure = Failure { error: Box::new(error), tried: credentials.fingerprint() };
                let failed = Known { failure: failure.clone(), terms: self.terms(None), epoch, since: began };
                self.notary.failures.remember(self.key(), failed);
                Err(Box::new((failure, noted.map(|seen| (seen, epoch)))))
            }
        }
    }

    pub(crate) fn judge(&self, held: &CachedRepository) -> Result<SignedTarget, Rejection> {
        let Question { wanted, tags, signers, .. } = *self.question;
        held.repository.find_target_among(wanted, tags, signers, self.now)
    }

    fn serves(&self, held: &CachedRepository, max_age: Duration) -> bool {
        held.age() <= max_age && !held.repository.is_superseded() && held.repository.knows_delegations(&self.roles)
    }

    /// Is another one's failure ours as well?
    fn shares(&self, failure: &Failure, terms: &Terms) -> bool {
        let is_said_of_all = match &*failure.error {
            RefreshError::Rejected(_) => true,
            RefreshError::Unavailable(Unavailable { cause, .. }) => {
                !matches!(cause, UnavailableCause::OutOfTime | UnavailableCause::Busy)
                    && terms.roles.is_subset(&self.roles)
            }
        };
        // That there is no trust data may be what somebody without rights is told.
        is_said_of_all && self.would_try(failure.tried)
    }

    /// Are these our credentials as well? Nobody has any where it never came to signing in.
    fn would_try(&self, tried: Option<Fingerprint>) -> bool {
        tried.is_none_or(|tried| tried == self.fingerprint())
    }

    fn fingerprint(&self) -> Fingerprint {
        let Question { credentials, deadline, .. } = *self.question;
        credentials.get_fingerprint(deadline)
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
        self.notary.store.has_data(server, gun) || self.recall().is_some_and(|known| known.has_data())
    }

    /// What is known of the repository, by whatever anchor.
    pub(crate) fn recall(&self) -> Option<Arc<RepositoryRecord>> {
        let Question { gun, server, deadline, .. } = *self.question;
        self.notary.store.recall(server, gun, deadline)
    }

    /// The time is up; `what` took it.
    fn out_of_time(&self, what: &str) -> Unavailable {
        let Question { gun, server, .. } = *self.question;
        out_of_time(&format_args!("trust server {server}"), gun.as_str(), &what)
    }
}

pub(crate) fn verified(held: &CachedRepository, target: SignedTarget, freshness: Freshness) -> Verified {
    Verified { target, freshness, repository: Arc::clone(&held.repository) }
}
