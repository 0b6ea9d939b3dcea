//! Objects of the cluster, kept for seconds: a storm of pods asks for the same few Secrets, and a Secret that changes must
//! count soon. Requests for the same object at the same time share one GET. Bounded in number and bytes; an object is kept
//! under its namespace and name, so that no namespace is ever given another's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pull_secrets::ClusterError;
use crate::base::context::Deadline;
use crate::base::single_flight::{Boarding, Landing, Shelf, Slot};

/// How long an object is used.
pub(crate) const KEEP: Duration = Duration::from_secs(15);
/// How long it is believed that an object could not be had: long enough for a storm, short enough for whoever has just
/// put it right.
pub(crate) const KEEP_FAILURE: Duration = Duration::from_secs(3);
/// The longest that one GET may take.
const GET_TIME: Duration = Duration::from_secs(3);
/// Most objects that are kept, and most bytes.
const MAX_OBJECTS: usize = 1_000;
const MAX_BYTES: u64 = 4 << 20;

/// Objects of one kind. Shared by all workers.
pub(crate) struct Cache<T> {
    shelf: Shelf<Key, Arc<Kept<T>>, (), ()>,
    weigh: fn(&T) -> u64,
    keep: Duration,
    keep_failure: Duration,
}

/// Namespace and name.
type Key = (String, String);

/// What asking for an object came to.
pub(crate) struct Kept<T> {
    /// The object, or why there is none.
    pub(crate) found: Result<Arc<T>, ClusterError>,
    /// When it was asked for.
    asked: Instant,
    weight: u64,
}

impl<T> Cache<T> {
    pub(crate) fn keeping(keep: Duration, keep_failure: Duration, weigh: fn(&T) -> u64) -> Self {
        let shelf = Shelf::new(MAX_OBJECTS, MAX_BYTES, |kept: &Arc<Kept<T>>| kept.weight);
        Self { shelf, weigh, keep, keep_failure }
    }

    /// The object as it was a moment ago, or as `get` brings it; `None` where the deadline passed first.
    pub(crate) fn get(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
        get: &dyn Fn(Deadline) -> Result<T, ClusterError>,
    ) -> Option<Arc<Kept<T>>> {
        let key = (namespace.to_owned(), name.to_owned());
        let slot = self.shelf.slot(&key);
        let kept = self.bring(&slot, deadline, get);
        self.shelf.tidy(&key, slot);
        kept
    }

    fn bring(
        &self,
        slot: &Slot<Arc<Kept<T>>, (), ()>,
        deadline: Deadline,
        get: &dyn Fn(Deadline) -> Result<T, ClusterError>,
    ) -> Option<Arc<Kept<T>>> {
        loop {
            if let Some(kept) = slot.held().filter(|kept| self.is_fresh(kept)) {
                return Some(kept);
            }
            deadline.remaining()?;
            match slot.board(|| ()) {
                Boarding::Lead(pilot) => {
                    // Between our look and now, another one may have brought it.
                    if let Some(kept) = slot.held().filter(|kept| self.is_fresh(kept)) {
                        return Some(kept);
                    }
                    let asked = Instant::now();
                    let found = get(deadline.at_most(GET_TIME)).map(Arc::new);
                    // That one asker's time was up says nothing to the others.
                    let is_ours = deadline.remaining().is_none() && found.as_ref().is_err_and(ClusterError::is_timeout);
                    let weight = 512 + found.as_ref().map_or(0, |found| (self.weigh)(found));
                    let kept = Arc::new(Kept { found, asked, weight });
                    pilot.land(&if is_ours { Err(()) } else { Ok(Arc::clone(&kept)) });
                    return Some(kept);
                }
                Boarding::Wait(flight) => {
                    if let Landing::Brought(kept) = flight.wait(deadline)? {
                        return Some(kept);
                    }
                }
            }
        }
    }

    fn is_fresh(&self, kept: &Kept<T>) -> bool {
        kept.asked.elapsed() < if kept.found.is_ok() { self.keep } else { self.keep_failure }
    }
}
