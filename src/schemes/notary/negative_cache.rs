//! A short memory of definite failures: no trust data, data that does not verify, credentials that are not accepted.
//! Whoever asks again at once, as a workload does that is tried again and again, is told the same without asking the
//! server; after a moment everything is asked anew, so that a new signature is not hidden.
//!
//! A failure is remembered only for those whose it is: the same server, name and anchor, the same credentials, and the
//! store's data of the same epoch. That somebody's time was up, or that a server was away, is never remembered here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cached::{Failure, Key, Terms};

/// Most failures that are remembered: one that is forgotten early costs a refresh.
const MAX_FAILURES: usize = 256;

/// The memory. Shared by all workers.
#[derive(Default)]
pub(crate) struct Failures(Mutex<HashMap<Key, Known>>);

/// A failure, and whose it is.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) failure: Failure,
    pub(crate) terms: Terms,
    /// The store's, when it failed.
    pub(crate) epoch: u64,
    /// When the server was asked.
    pub(crate) since: Instant,
}

impl Failures {
    /// What is known to fail, if the server was asked no longer ago than `max_age`. Whose failure it is, is for the caller
    /// to look at.
    pub(crate) fn known(&self, key: &Key, max_age: Duration) -> Option<Known> {
        self.lock().get(key).filter(|known| known.since.elapsed() < max_age).cloned()
    }

    /// Remembers a failure, if it is a definite one.
    pub(crate) fn remember(&self, key: &Key, failed: Known) {
        if !failed.failure.is_definite() {
            return;
        }
        let mut known = self.lock();
        if known.len() >= MAX_FAILURES && !known.contains_key(key) {
            let oldest = known.iter().min_by_key(|(_, known)| known.since).map(|(key, _)| key.clone());
            oldest.map(|oldest| known.remove(&oldest));
        }
        known.insert(key.clone(), failed);
    }

    /// It did not fail this time.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::http::url::PlainHttp;
    use crate::schemes::notary::trust_server::TrustServer;
    use portreeve_verify::tuf::Gun;
    use portreeve_verify::tuf::Rejection;
    use portreeve_verify::tuf::{Anchor, FirstUse};
    use portreeve_verify::{Unavailable, UnavailableCause};

    const LONG: Duration = Duration::from_secs(60);

    fn key(name: usize) -> Key {
        Key {
            server: TrustServer::parse("https://notary.local", PlainHttp::Refused).unwrap(),
            gun: Gun::new(&format!("registry.local/{name}")).unwrap(),
            anchor: Anchor { pins: Vec::new(), first_use: FirstUse::Allowed },
        }
    }

    fn failed(failure: Failure, since: Instant) -> Known {
        Known { failure, terms: Terms { roles: BTreeSet::new(), sign_in: Arc::default() }, epoch: 7, since }
    }

    fn rejected() -> Failure {
        Failure { error: Box::new(Rejection::NothingAsked.into()), tried: None }
    }

    fn unavailable(cause: UnavailableCause) -> Failure {
        Unavailable::new(cause, "").into()
    }

    #[test]
    fn definite_failures_are_known_for_a_moment() {
        let failures = Failures::default();
        let known = |max_age| failures.known(&key(1), max_age).map(|known| known.epoch);
        for (failure, remembered) in [
            (rejected(), true),
            (unavailable(UnavailableCause::SignIn), true),
            (unavailable(UnavailableCause::OutOfTime), false),
            (unavailable(UnavailableCause::Other), false),
        ] {
            failures.forget(&key(1));
            failures.remember(&key(1), failed(failure, Instant::now()));
            assert_eq!(known(LONG), remembered.then_some(7));
        }
        failures.remember(&key(1), failed(rejected(), Instant::now()));
        assert_eq!(known(Duration::ZERO), None);
        assert!(failures.known(&key(2), LONG).is_none());
        let before = Instant::now().checked_sub(LONG).unwrap();
        failures.remember(&key(1), failed(rejected(), before));
        assert_eq!(known(LONG), None);
    }

    #[test]
    fn they_are_bounded_and_the_oldest_goes_first() {
        let failures = Failures::default();
        for number in 0..=MAX_FAILURES {
            failures.remember(&key(number), failed(rejected(), Instant::now()));
        }
        assert_eq!(failures.lock().len(), MAX_FAILURES);
        assert!(failures.known(&key(0), LONG).is_none());
        assert!(failures.known(&key(MAX_FAILURES), LONG).is_some());
    }
}
