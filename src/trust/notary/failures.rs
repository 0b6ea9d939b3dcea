//! A short memory of definite failures: no trust data, data that does not verify, credentials that are not accepted.
//! Whoever asks again at once, as a workload does that is tried again and again, is told the same without asking the
//! server; after a moment everything is asked anew, so that a new signature is not hidden.
//!
//! A failure is remembered only for those whose it is: the same server, name and anchor, the same credentials, and the
//! store's data of the same epoch. That somebody's time was up, or that a server was away, is never remembered here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::held::{Failure, Key, Terms};

/// Most failures that are remembered: one that is forgotten early costs a refresh.
const MAX_FAILURES: usize = 256;

/// The memory. Shared by all workers.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<Key, Known>>);

struct Known {
    failure: Failure,
    terms: Terms,
    epoch: u64,
    /// When the server was asked.
    since: Instant,
}

impl Failures {
    /// What is known to fail, if the server was asked no longer ago than `max_age`, and in which epoch of the store.
    /// `is_ours` says whether a failure on such terms is that of who asks now.
    pub(super) fn known(
        &self,
        key: &Key,
        max_age: Duration,
        is_ours: impl FnOnce(&Failure, &Terms) -> bool,
    ) -> Option<(Failure, u64)> {
        let known = self.lock();
        let known = known.get(key)?;
        let holds = known.since.elapsed() < max_age && is_ours(&known.failure, &known.terms);
        holds.then(|| (known.failure.clone(), known.epoch))
    }

    /// Remembers a failure, if it is a definite one. `since` is when the server was asked.
    pub(super) fn remember(&self, key: &Key, failure: &Failure, terms: Terms, epoch: u64, since: Instant) {
        if !failure.is_definite() {
            return;
        }
        let mut known = self.lock();
        if known.len() >= MAX_FAILURES && !known.contains_key(key) {
            let oldest = known.iter().min_by_key(|(_, known)| known.since).map(|(key, _)| key.clone());
            oldest.map(|oldest| known.remove(&oldest));
        }
        known.insert(key.clone(), Known { failure: failure.clone(), terms, epoch, since });
    }

    /// It did not fail this time.
    pub(super) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::held::Cause;
    use super::super::{PlainHttp, TrustServer};
    use super::*;
    use crate::trust::{Anchor, FirstUse, Gun, Rejection};

    const LONG: Duration = Duration::from_secs(60);

    fn key(name: usize) -> Key {
        Key {
            server: TrustServer::parse("https://notary.local", PlainHttp::Refused).unwrap(),
            gun: Gun::new(&format!("registry.local/{name}")).unwrap(),
            anchor: Anchor { pins: Vec::new(), first_use: FirstUse::Allowed },
        }
    }

    fn terms() -> Terms {
        Terms { roles: BTreeSet::new(), credentials: Vec::new() }
    }

    fn rejected() -> Failure {
        Failure::Rejected(Rejection::NothingAsked)
    }

    fn unavailable(cause: Cause) -> Failure {
        Failure::Unavailable { why: String::new(), cause }
    }

    #[test]
    fn definite_failures_are_known_for_a_moment() {
        let failures = Failures::default();
        let known = |max_age| failures.known(&key(1), max_age, |_, _| true).map(|(_, epoch)| epoch);
        for (failure, remembered) in [
            (rejected(), true),
            (unavailable(Cause::NobodyLetIn), true),
            (unavailable(Cause::OutOfTime), false),
            (unavailable(Cause::Other), false),
        ] {
            failures.forget(&key(1));
            failures.remember(&key(1), &failure, terms(), 7, Instant::now());
            assert_eq!(known(LONG), remembered.then_some(7));
        }
        failures.remember(&key(1), &rejected(), terms(), 7, Instant::now());
        assert_eq!(known(Duration::ZERO), None);
        assert!(failures.known(&key(1), LONG, |_, _| false).is_none(), "another one's failure");
        assert!(failures.known(&key(2), LONG, |_, _| true).is_none());
        let before = Instant::now().checked_sub(LONG).unwrap();
        failures.remember(&key(1), &rejected(), terms(), 7, before);
        assert_eq!(known(LONG), None);
    }

    #[test]
    fn they_are_bounded_and_the_oldest_goes_first() {
        let failures = Failures::default();
        for number in 0..=MAX_FAILURES {
            failures.remember(&key(number), &rejected(), terms(), 0, Instant::now());
        }
        assert_eq!(failures.lock().len(), MAX_FAILURES);
        assert!(failures.known(&key(0), LONG, |_, _| true).is_none());
        assert!(failures.known(&key(MAX_FAILURES), LONG, |_, _| true).is_some());
    }
}
