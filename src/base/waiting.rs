//! Requests that wait for a server of somebody else: a trust server, its token service, or another request that is
//! asking it. They keep their thread, but no worker: the pool of workers is told, and another thread takes over.
//!
//! It decides nothing. How many may wait for one server is for `crate::http::origin` to say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::base::context::RequestId;

/// The requests that wait now. Shared by the trust service and the workers.
pub struct Waiting {
    places: usize,
    /// How many waits each request is in: one for each of its images at most.
    requests: Mutex<BTreeMap<RequestId, usize>>,
    watcher: OnceLock<Watcher>,
}

/// Is told of each request that begins to wait, and of each that goes on.
type Watcher = Box<dyn Fn(Moved) + Send + Sync>;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It waits from here on, and needs no worker.
    Away,
    /// It goes on.
    Back,
}

impl Waiting {
    /// `places` is how many requests there can be at once; all servers share them.
    pub fn new(places: usize) -> Self {
        Self { places, requests: Mutex::default(), watcher: OnceLock::new() }
    }

    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// Who is to be told. Only the first one is.
    pub(crate) fn watched_by(&self, watcher: impl Fn(Moved) + Send + Sync + 'static) {
        let _second = self.watcher.set(Box::new(watcher));
    }

    /// From here on a request waits, until what is returned is dropped.
    pub(crate) fn begin(&self, request: RequestId) -> Wait<'_> {
        let mut requests = self.lock();
        let waits = requests.entry(request).or_default();
        *waits += 1;
        let is_first = *waits == 1;
        drop(requests);
        if is_first {
            self.tell(Moved::Away);
        }
        Wait { waiting: self, request }
    }

    fn end(&self, request: RequestId) {
        let mut requests = self.lock();
        let Some(waits) = requests.get_mut(&request) else { return };
        *waits -= 1;
        if *waits == 0 {
            requests.remove(&request);
            drop(requests);
            self.tell(Moved::Back);
        }
    }

    fn tell(&self, moved: Moved) {
        if let Some(watcher) = self.watcher.get() {
            watcher(moved);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RequestId, usize>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("places", &self.places).finish_non_exhaustive()
    }
}

/// A request's wait, until it is dropped.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    waiting: &'a Waiting,
    request: RequestId,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiting.end(self.request);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::base::context::Deadline;

    #[test]
    fn a_request_is_away_once_however_many_of_its_images_wait() {
        let waiting = Waiting::new(9);
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        waiting.watched_by(move |moved| log.lock().unwrap().push(moved));
        let [one, other] = [(); 2].map(|()| Deadline::after(Duration::from_secs(9)).request());
        let waits = [waiting.begin(one), waiting.begin(one), waiting.begin(other)];
        assert_eq!(*told.lock().unwrap(), [Moved::Away, Moved::Away]);
        let [first, second, third] = waits;
        drop(first);
        drop(third);
        assert_eq!(*told.lock().unwrap(), [Moved::Away, Moved::Away, Moved::Back]);
        drop(second);
        assert_eq!(told.lock().unwrap().len(), 4);
        assert!(waiting.lock().is_empty());
    }
}
