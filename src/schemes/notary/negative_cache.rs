//! A short-lived cache of definite failures: no trust data, data that does not verify, credentials that are not accepted. A
//! workload that is created again and again gets the same response without a request to the server. After a moment the server
//! is asked again, so that a new signature is not hidden.
//!
//! Entries are keyed by server, GUN and anchor, and count only for the same credentials and the same epoch of the store.
//! Timeouts and unreachable servers are not cached.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cached::{Failure, Key, RefreshScope};

/// Most entries. One that is evicted early costs a refresh.
const MAX_ENTRIES: usize = 256;

/// The cache. Shared by all workers.
#[derive(Default)]
pub(crate) struct NegativeCache(Mutex<HashMap<Key, NegativeEntry>>);

/// A failure, with the scope in which it holds.
#[derive(Clone)]
pub(crate) struct NegativeEntry {
    pub(crate) failure: Failure,
    pub(crate) scope: RefreshScope,
    /// The store's epoch when it failed.
    pub(crate) epoch: u64,
    /// When the server was asked.
    pub(crate) since: Instant,
}

impl NegativeCache {
    /// An entry, if the server was asked no longer ago than `max_age`. The caller checks whether it holds for its request.
    pub(crate) fn get(&self, key: &Key, max_age: Duration) -> Option<NegativeEntry> {
        self.lock().get(key).filter(|entry| entry.since.elapsed() < max_age).cloned()
    }

    /// Records a failure, if it is a definite one.
    pub(crate) fn record(&self, key: &Key, entry: NegativeEntry) {
        if !entry.failure.is_definite() {
            return;
        }
        let mut entries = self.lock();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(key) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.since).map(|(key, _)| key.clone());
            oldest.map(|oldest| entries.remove(&oldest));
        }
        entries.insert(key.clone(), entry);
    }

    /// A refresh succeeded.
    pub(crate) fn evict(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, NegativeEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::url::PlainHttp;
    use crate::schemes::notary::trust_server::TrustServer;
    use portreeve_verify::ordered::Set;
    use portreeve_verify::tuf::{Anchor, FirstUse, Gun, Rejection};
    use portreeve_verify::{Unavailable, UnavailableCause};

    const LONG: Duration = Duration::from_secs(60);

    fn key(name: usize) -> Key {
        Key {
            server: TrustServer::parse("https://notary.local", PlainHttp::Refused).unwrap(),
            gun: Gun::new(&format!("registry.local/{name}")).unwrap(),
            anchor: Anchor { pins: Arc::default(), first_use: FirstUse::Allowed },
        }
    }

    fn failed(failure: Failure, since: Instant) -> NegativeEntry {
        NegativeEntry { failure, scope: RefreshScope { roles: Set::new(), sign_in: Arc::default() }, epoch: 7, since }
    }

    fn rejected() -> Failure {
        Failure { error: Box::new(Rejection::NothingAsked.into()), tried: None }
    }

    fn unavailable(cause: UnavailableCause) -> Failure {
        Unavailable::new(cause, "").into()
    }

    #[test]
    fn definite_failures_are_known_for_a_moment() {
        let failures = NegativeCache::default();
        let known = |max_age| failures.get(&key(1), max_age).map(|known| known.epoch);
        for (failure, remembered) in [
            (rejected(), true),
            (unavailable(UnavailableCause::SignIn), true),
            (unavailable(UnavailableCause::OutOfTime), false),
            (unavailable(UnavailableCause::Other), false),
        ] {
            failures.evict(&key(1));
            failures.record(&key(1), failed(failure, Instant::now()));
            assert_eq!(known(LONG), remembered.then_some(7));
        }
        failures.record(&key(1), failed(rejected(), Instant::now()));
        assert_eq!(known(Duration::ZERO), None);
        assert!(failures.get(&key(2), LONG).is_none());
        let before = Instant::now().checked_sub(LONG).unwrap();
        failures.record(&key(1), failed(rejected(), before));
        assert_eq!(known(LONG), None);
    }

    #[test]
    fn they_are_bounded_and_the_oldest_goes_first() {
        let failures = NegativeCache::default();
        for number in 0..=MAX_ENTRIES {
            failures.record(&key(number), failed(rejected(), Instant::now()));
        }
        assert_eq!(failures.lock().len(), MAX_ENTRIES);
        assert!(failures.get(&key(0), LONG).is_none());
        assert!(failures.get(&key(MAX_ENTRIES), LONG).is_some());
    }
}
