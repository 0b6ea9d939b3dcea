//! The lookup for one query: from the cache, from another request's refresh, or by a refresh of its own.
//!
//! A request waits only for a refresh that can answer it: one for other signers, or with credentials that are refused, is
//! left, and another refresh is made beside it. A failure is shared where it does not depend on the request that failed.

use std::cell::OnceCell;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::cached::{CachedRepository, Failure, Key, RefreshScope};
use super::negative_cache::NegativeEntry;
use super::query::{Query, Verified};
use super::service::{Notary, RECHECK_AFTER};
use crate::base::context::Deadline;
use crate::base::single_flight::{Call, Entry, Join, Outcome};
use crate::http::origin::Origin;
use crate::http::origin::bulkhead::NoPermit;
use crate::http::origin::permit::Permit;
use crate::keychain::credentials::Fingerprint;
use crate::metrics::Source;
use crate::registry::session::{no_permit, out_of_time};
use crate::registry::sign_in::SignIn;
use crate::schemes::notary::store::repository_record::RepositoryRecord;
use crate::schemes::{Freshness, WhenUnavailable};
use portreeve_verify::ordered;
use portreeve_verify::ordered::Set;
use portreeve_verify::tuf::{RefreshError, Rejection, RequiredSigner, RoleName, SignedTarget};
use portreeve_verify::{Unavailable, UnavailableCause};

/// The lookup for one query.
pub(crate) struct Lookup<'a> {
    pub(crate) notary: &'a Notary,
    pub(crate) query: &'a Query<'a>,
    /// The required signers' roles.
    pub(crate) roles: RequiredRoles<'a>,
    /// The key of its refresh, once one is needed.
    pub(crate) key: OnceCell<Key>,
    pub(crate) began: Instant,
    pub(crate) now: Timestamp,
}

/// The roles of signers. The set is made only for queries that the cache does not answer.
pub(crate) struct RequiredRoles<'a> {
    pub(crate) signers: &'a [RequiredSigner],
    pub(crate) set: OnceCell<Set<RoleName>>,
}

impl Deref for RequiredRoles<'_> {
    type Target = Set<RoleName>;

    fn deref(&self) -> &Set<RoleName> {
        self.set.get_or_init(|| ordered::set(self.signers.iter().map(|signer| signer.role.clone())))
    }
}

/// How often a request that waits for a refresh checks how that one comes along with signing in.
const CHECK_EVERY: Duration = Duration::from_millis(50);

impl Lookup<'_> {
    /// The result of the lookup.
    pub(crate) fn run(&self) -> Result<Verified, RefreshError> {
        let mut cached_rejection = None;
        for max_age in [self.notary.refresh_after, RECHECK_AFTER.min(self.notary.refresh_after)] {
            let (cached, freshness) = match self.cached().filter(|cached| self.serves(cached, max_age)) {
                Some(cached) => {
                    self.notary.metrics.trust_lookup(Source::Remembered);
                    (cached, Freshness::Cached)
                }
                None => match self.fetch(max_age) {
                    Ok(cached) => (cached, Freshness::Fetched),
                    Err(failure) => return self.stale(failure, cached_rejection),
                },
            };
            match self.find_target(&cached) {
                Ok(target) => {
                    if self.notary.store.keeps_bytes() && !cached.admitted {
                        self.notary.store.admitted(self.query.server, self.query.gun);
                    }
                    return Ok(verified(&cached, target, freshness));
                }
                Err(rejection) if cached.confirmed >= self.began || cached.age() <= RECHECK_AFTER => {
                    return Err(rejection.into());
                }
                // It may have been signed a moment ago. No image is rejected before the server was asked.
                Err(rejection) => cached_rejection = Some(rejection),
            }
        }
        match cached_rejection {
            Some(rejection) => Err(rejection.into()),
            None => Err(Unavailable::other("the trust server was not asked").into()),
        }
    }

    /// A repository that the server confirmed no longer ago than `max_age`: from the server, or from a refresh that is under
    /// way.
    fn fetch(&self, max_age: Duration) -> Result<CachedRepository, Failure> {
        self.query.notice.give();
        let entry = self.notary.refreshes.entry(self.key());
        let fetched = self.fetch_by(&entry, max_age);
        self.notary.refreshes.release(self.key(), entry);
        fetched
    }

    fn fetch_by(
        &self,
        entry: &Entry<CachedRepository, RefreshScope, Failure>,
        max_age: Duration,
    ) -> Result<CachedRepository, Failure> {
        if let Some(failure) = self.cached_failure() {
            return Err(failure);
        }
        let deadline = self.fetch_deadline();
        // A worker reads a directory: it is local, and answers at once.
        let _wait = match self.query.server.directory() {
            Some(_) => None,
            None => Some(self.notary.waiting.begin(deadline.request())),
        };
        // Once a refresh with other credentials was slow, only a refresh with the same credentials is joined.
        let mut only_with = None;
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
            let can_use = |scope: &RefreshScope| only_with.is_none_or(|own| scope.sign_in.state().is_with(own));
            match entry.join_if(can_use, || self.scope(only_with)) {
                Join::Lead(leader) => return self.lead(leader, max_age, deadline),
                Join::Follow(call) => match self.wait(&call, deadline)? {
                    None => only_with = Some(self.fingerprint()),
                    Some(Outcome::Fetched(cached))
                        if cached.repository.knows_delegations(&self.roles)
                            && (cached.confirmed >= call.began || cached.age() <= max_age) =>
                    {
                        self.notary.metrics.trust_lookup(Source::Shared);
                        return Ok(cached);
                    }
                    Some(Outcome::Failed(failure)) if self.shares(&failure, &call.scope) => return Err(failure),
                    // It was made for other signers or with other credentials, its deadline was earlier, or its leader
                    // panicked.
                    Some(Outcome::Fetched(_) | Outcome::Failed(_) | Outcome::Abandoned) => {}
                },
            }
        }
    }

    /// The data in memory under this anchor.
    pub(crate) fn cached(&self) -> Option<CachedRepository> {
        let Query { gun, server, anchor, .. } = *self.query;
        self.notary.store.cached(server, gun, anchor, self.now)
    }

    pub(crate) fn key(&self) -> &Key {
        let Query { gun, server, anchor, .. } = *self.query;
        self.key.get_or_init(|| Key { server: server.clone(), gun: gun.clone(), anchor: anchor.clone() })
    }

    /// The data of a refresh that ended since this query came. Data that was asked for after that is new enough.
    pub(crate) fn fetched_meanwhile(&self, max_age: Duration) -> Option<CachedRepository> {
        let cached = self.cached().filter(|cached| self.serves(cached, max_age.max(self.began.elapsed())))?;
        self.notary.metrics.trust_lookup(Source::Shared);
        Some(cached)
    }

    /// The definite failure of a refresh a moment ago, if it holds for this query.
    pub(crate) fn cached_failure(&self) -> Option<Failure> {
        let max_age = RECHECK_AFTER.min(self.notary.refresh_after);
        let NegativeEntry { failure, scope, epoch, .. } = self.notary.failures.get(self.key(), max_age)?;
        // After a reset by hand the server is asked.
        let now = self.record().map_or(0, |record| record.epoch());
        (now == epoch && self.shares(&failure, &scope)).then_some(failure)
    }

    /// Waits for another request's refresh; `None` where it is slow to sign in with other credentials than this query's.
    fn wait(
        &self,
        call: &Call<CachedRepository, RefreshScope, Failure>,
        deadline: Deadline,
    ) -> Result<Option<Outcome<CachedRepository, Failure>>, Failure> {
        let began = Instant::now();
        let waiter = self.origin().map(|origin| origin.wait(self.began, deadline.request()));
        loop {
            let again = match &waiter {
                Some(waiter) => waiter.may_wait().map_err(|refusal| self.no_permit(&refusal, began))?,
                None => Duration::MAX,
            };
            if let Some(outcome) = call.wait(deadline.at_most(again.min(CHECK_EVERY))) {
                return Ok(Some(outcome));
            }
            let sign_in = &call.scope.sign_in;
            if sign_in.state().is_slow() {
                // The credentials are looked up first: the leader may be looking up the same.
                let own = self.fingerprint();
                if !sign_in.state().is_with(own) {
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
    fn origin(&self) -> Option<Origin<'_>> {
        self.query.server.remote().map(|url| self.notary.client.origin(url))
    }

    /// Waits for a permit to ask the server. A directory needs none.
    pub(crate) fn permit(&self, deadline: Deadline) -> Result<Option<Permit<'_>>, Unavailable> {
        let began = Instant::now();
        let Some(origin) = self.origin() else { return Ok(None) };
        origin.permit(self.began, deadline).map(Some).map_err(|refusal| self.no_permit(&refusal, began))
    }

    /// Fails if the server is down. A query with stored data does not wait for the next probe either.
    fn check_server(&self, deadline: Deadline) -> Result<(), Unavailable> {
        let Query { server, when_unavailable, .. } = *self.query;
        let Some(origin) = self.origin() else { return Ok(()) };
        let checked = match when_unavailable {
            WhenUnavailable::UseCached { .. } if self.has_data() => origin.check(),
            WhenUnavailable::UseCached { .. } | WhenUnavailable::Deny => origin.check_or_wait(deadline),
        };
        checked.map_err(|open| Unavailable::other(format!("trust server {server}: {open}")))
    }

    fn no_permit(&self, refusal: &NoPermit, began: Instant) -> Unavailable {
        let Query { gun, server, .. } = *self.query;
        no_permit(&format_args!("trust server {server}"), gun.as_str(), refusal, began.elapsed())
    }

    pub(crate) fn scope(&self, credentials: Option<Fingerprint>) -> RefreshScope {
        let sign_in = Arc::new(credentials.map_or_else(SignIn::default, SignIn::with));
        RefreshScope { roles: Set::clone(&self.roles), sign_in }
    }

    pub(crate) fn find_target(&self, cached: &CachedRepository) -> Result<SignedTarget, Rejection> {
        let Query { wanted, tags, signers, .. } = *self.query;
        cached.repository.find_target_among(wanted, tags, signers, self.now)
    }

    fn serves(&self, cached: &CachedRepository, max_age: Duration) -> bool {
        let delegations = cached.repository.delegations();
        cached.age() <= max_age && self.query.signers.iter().all(|signer| delegations.contains_key(&signer.role))
    }

    /// Does another request's failure hold for this query as well?
    fn shares(&self, failure: &Failure, scope: &RefreshScope) -> bool {
        let is_general = match &*failure.error {
            RefreshError::Rejected(_) => true,
            RefreshError::Unavailable(Unavailable { cause, .. }) => {
                !matches!(cause, UnavailableCause::OutOfTime | UnavailableCause::Busy)
                    && scope.roles.is_subset(&self.roles)
            }
        };
        // A server may tell a user without rights that there is no trust data.
        is_general && self.would_try(failure.tried)
    }

    /// Are these the query's credentials as well? A failure before any sign-in holds for all.
    fn would_try(&self, tried: Option<Fingerprint>) -> bool {
        tried.is_none_or(|tried| tried == self.fingerprint())
    }

    fn fingerprint(&self) -> Fingerprint {
        let Query { credentials, deadline, .. } = *self.query;
        credentials.get_fingerprint(deadline)
    }

    /// Half of the time, where stored data may be used if the server does not respond.
    fn fetch_deadline(&self) -> Deadline {
        let deadline = self.query.deadline;
        match (self.query.when_unavailable, deadline.remaining()) {
            (WhenUnavailable::UseCached { .. }, Some(left)) if self.has_data() => deadline.at_most(left / 2),
            _ => deadline,
        }
    }

    fn has_data(&self) -> bool {
        let Query { gun, server, .. } = *self.query;
        self.notary.store.has_data(server, gun) || self.record().is_some_and(|record| record.has_data())
    }

    /// The record of the repository, whatever the anchor.
    pub(crate) fn record(&self) -> Option<Arc<RepositoryRecord>> {
        let Query { gun, server, deadline, .. } = *self.query;
        self.notary.store.get(server, gun, deadline)
    }

    /// The deadline has passed. `why` says what took the time.
    fn out_of_time(&self, why: &str) -> Unavailable {
        let Query { gun, server, .. } = *self.query;
        out_of_time(&format_args!("trust server {server}"), gun.as_str(), &why)
    }
}

pub(crate) fn verified(cached: &CachedRepository, target: SignedTarget, freshness: Freshness) -> Verified {
    Verified { target, freshness, repository: Arc::clone(&cached.repository) }
}
