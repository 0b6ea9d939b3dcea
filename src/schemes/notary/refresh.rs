//! A refresh that this request leads: asks the server, verifies, and records the result for all.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cached::{CachedRepository, FailedResult, Failure, RefreshResult, RefreshScope};
use super::expiry;
use super::lookup::Lookup;
use super::negative_cache::NegativeEntry;
use super::query::Query;
use super::recorder::Recorder;
use super::service::MAX_ROLES;
use super::store::repository_record::{Confirmation, RepositoryRecord};
use crate::base::context::Deadline;
use crate::base::single_flight::Leader;
use crate::http::origin::permit::Permit;
use crate::metrics::Source;
use crate::registry::sign_in::SignIn;
use portreeve_verify::ordered::Set;
use portreeve_verify::tuf::{FailedRefresh, RefreshError, Repository, RoleName};

impl Lookup<'_> {
    /// Refreshes the repository, for this request and for those that follow.
    pub(crate) fn lead(
        &self,
        leader: Leader<'_, CachedRepository, RefreshScope, Failure>,
        max_age: Duration,
        deadline: Deadline,
    ) -> Result<CachedRepository, Failure> {
        // Another refresh may have ended since the cache was read, and another one while this request waited for its permit.
        if let Some(cached) = self.fetched_meanwhile(max_age) {
            return Ok(cached);
        }
        let permit = self.permit(deadline);
        if let Some(cached) = self.fetched_meanwhile(max_age) {
            return Ok(cached);
        }
        let cached = self.cached();
        if let Some(failure) = self.cached_failure() {
            return Err(failure);
        }
        let Query { gun, server, anchor, .. } = *self.query;
        let store = &self.notary.store;
        let refreshed = permit
            .map_err(|unavailable| Box::new((unavailable.into(), None)))
            .and_then(|permit| self.refresh(cached.as_ref(), permit, &leader.scope().sign_in, max_age, deadline));
        match refreshed {
            Ok((mut cached, result)) => {
                let RefreshResult { repository, confirmation, epoch, .. } = &result;
                store.insert(server, gun, anchor, repository, *confirmation, *epoch);
                if self.find_target(&cached).is_ok() {
                    store.admitted(server, gun);
                    cached.admitted = true;
                    expiry::count(&self.notary.metrics, &cached.repository, server.source_kind());
                }
                let outcome = Ok(cached);
                leader.tell(&outcome);
                self.notary.writer.write(server, gun, result);
                self.notary.metrics.trust_lookup(Source::Refreshed);
                outcome
            }
            Err(failed) => {
                let (failure, state) = *failed;
                if let Some((state, epoch)) = &state {
                    store.record(server, gun, state, *epoch);
                }
                let outcome = Err(failure);
                leader.tell(&outcome);
                if let Some((state, epoch)) = state {
                    self.notary.writer.write_versions(server, gun, state, epoch);
                }
                outcome
            }
        }
    }

    /// Asks the server. A failure comes with the state that was verified before it.
    fn refresh(
        &self,
        cached: Option<&CachedRepository>,
        permit: Option<Permit<'_>>,
        sign_in: &SignIn,
        max_age: Duration,
        deadline: Deadline,
    ) -> Result<(CachedRepository, RefreshResult), Box<FailedResult>> {
        let Query { gun, server, anchor, credentials, .. } = *self.query;
        let source = self.notary.source(server, gun, credentials, deadline, permit.as_ref(), sign_in);
        let (store, budget, wait) = (&self.notary.store, &self.notary.budget, OnceCell::new());
        // Called while verifying or waiting for memory takes long. The server is not silent then, and the request keeps no
        // worker.
        let working = || {
            if let Some(permit) = &permit {
                permit.responded();
            }
            wait.get_or_init(|| self.notary.waiting.begin(deadline.request()));
        };
        let mut source = Recorder::new(source, store.keeps_bytes(), budget, &server.to_string(), deadline)
            .telling(&working)
            .timed(&self.notary.metrics);
        if let Some(cached) = cached
            && cached.age() <= max_age
            && !cached.repository.knows_delegations(&self.roles)
            // A failure is not used: a whole refresh reports it better.
            && let Ok(repository) = cached.repository.with_signers(&mut source, &self.roles, self.now)
        {
            let repository = Arc::new(repository);
            let result = RefreshResult {
                repository: Arc::clone(&repository),
                record: source.take_record(),
                memory: source.take_memory(),
                confirmation: None,
                epoch: cached.epoch,
            };
            return Ok((CachedRepository { repository, ..cached.clone() }, result));
        }
        source.discard();
        let began = Instant::now();
        let record = self.record();
        let epoch = record.as_ref().map_or(0, |record| record.epoch());
        let mut roles = Set::clone(&self.roles);
        if let Some(record) = &record {
            // The signers of other queries are refreshed as well, or two policies for one repository would fetch in turns. A
            // fault in one signer's role rejects only the images that need that signer.
            let more: Vec<_> = record.roles().filter(|role| !roles.contains(*role)).cloned().collect();
            roles.extend(more.into_iter().take(MAX_ROLES.saturating_sub(roles.len())));
        }
        let mut attempt = |record: Option<&RepositoryRecord>, roles: &Set<RoleName>| match record {
            Some(record) => record.refresh(&mut source, gun, anchor, roles, self.now),
            None => Repository::refresh_with_state(&mut source, gun, anchor, None, roles, self.now),
        };
        let mut refreshed = attempt(record.as_deref(), &roles);
        // The missing file may be that of another query's signer. The state that was verified so far stays.
        if let (Some(record), Err(failed)) = (&record, &refreshed)
            && matches!(failed.error, RefreshError::Unavailable(_))
            && roles != *self.roles
            && deadline.remaining().is_some()
        {
            let record =
                failed.state.as_ref().map_or_else(|| Arc::clone(record), |state| Arc::new(record.with_state(state)));
            roles.clone_from(&self.roles);
            refreshed = attempt(Some(&record), &roles);
        }
        match refreshed {
            Ok(repository) => {
                self.notary.failures.evict(self.key());
                let repository = Arc::new(repository);
                let result = RefreshResult {
                    repository: Arc::clone(&repository),
                    record: source.take_record(),
                    memory: source.take_memory(),
                    confirmation: Some(Confirmation { time: self.now, asked: began }),
                    epoch,
                };
                Ok((CachedRepository { repository, confirmed: began, epoch, admitted: false }, result))
            }
            Err(failed) => {
                let FailedRefresh { error, state } = *failed;
                let failure = Failure { error: Box::new(error), tried: credentials.fingerprint() };
                let entry = NegativeEntry { failure: failure.clone(), scope: self.scope(None), epoch, since: began };
                self.notary.failures.record(self.key(), entry);
                Err(Box::new((failure, state.map(|state| (state, epoch)))))
            }
        }
    }
}
