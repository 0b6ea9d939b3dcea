//! A short-lived cache of definite refusals: the image is not signed as a rule requires, does not exist, or no credential is
//! accepted. A workload that is created again and again gets the same response without a request to the registry. After a
//! moment the registry is asked again, so that a new signature is not hidden.
//!
//! Entries are keyed by the image and the rule with its keys, and count only for the same credentials. Timeouts and unavailable
//! registries are not cached.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::flight::Failure;
use portreeve_verify::image::Sha256;

/// Most entries. One that is evicted early costs a lookup.
const MAX_ENTRIES: usize = 256;
/// Most findings of an entry.
const MAX_FINDINGS: usize = 8;

/// The cache. Shared by all workers.
#[derive(Default)]
pub(super) struct NegativeCache(Mutex<HashMap<Sha256, (Box<Failure>, Instant)>>);

impl NegativeCache {
    /// An entry that is no older than `max_age`. The caller checks whether it holds for its credentials.
    pub(super) fn get(&self, key: Sha256, max_age: Duration) -> Option<Box<Failure>> {
        let entries = self.lock();
        let (failure, since) = entries.get(&key)?;
        (since.elapsed() < max_age).then(|| failure.clone())
    }

    /// Records a failure, if it is a definite one.
    pub(super) fn record(&self, key: Sha256, failure: &Failure) {
        if !failure.is_definite() {
            return;
        }
        let mut failure = Box::new(failure.clone());
        failure.findings.truncate(MAX_FINDINGS);
        let mut entries = self.lock();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            let oldest = entries.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| *key);
            oldest.map(|oldest| entries.remove(&oldest));
        }
        entries.insert(key, (failure, Instant::now()));
    }

    /// The image was verified.
    pub(super) fn evict(&self, key: Sha256) {
        self.lock().remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha256, (Box<Failure>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}
