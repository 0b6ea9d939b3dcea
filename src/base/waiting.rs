//! The requests that wait for a remote server: a Notary server, a token service, or another request that is asking one.
//! A waiting request keeps its thread, but occupies no worker: the pool of workers is notified and starts another thread.
//!
//! Nothing is limited here. `crate::http::origin` limits how many requests wait for one server.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::base::context::RequestId;
use portreeve_verify::ordered::Map;

/// The requests that wait now. Shared by the Notary scheme and the pool of workers.
pub struct Waiting {
    capacity: usize,
    /// The number of waits of each request: at most one for each of its images.
    requests: Mutex<Map<RequestId, usize>>,
    observer: OnceLock<Observer>,
}

/// Called for each request that begins or ends waiting.
type Observer = Box<dyn Fn(WaitEvent) + Send + Sync>;

/// A change of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEvent {
    /// It began to wait, and needs no worker.
    Began,
    /// It goes on, and needs a worker again.
    Ended,
}

impl Waiting {
    /// `capacity` is the largest number of requests at the same time. All servers share it.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, requests: Mutex::default(), observer: OnceLock::new() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets the observer. A second one is ignored.
    pub(crate) fn observe(&self, observer: impl Fn(WaitEvent) + Send + Sync + 'static) {
        let _second = self.observer.set(Box::new(observer));
    }

    /// Begins a wait. It ends when the returned value is dropped.
    pub(crate) fn begin(&self, request: RequestId) -> Wait<'_> {
        let mut requests = self.lock();
        let waits = requests.get_or_default(request);
        *waits += 1;
        let is_first = *waits == 1;
        drop(requests);
        if is_first {
            self.notify(WaitEvent::Began);
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
            self.notify(WaitEvent::Ended);
        }
    }

    fn notify(&self, event: WaitEvent) {
        if let Some(observer) = self.observer.get() {
            observer(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map<RequestId, usize>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// A wait of a request. It ends when this is dropped.
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
        waiting.observe(move |event| log.lock().unwrap().push(event));
        let [one, other] = [(); 2].map(|()| Deadline::after(Duration::from_secs(9)).request());
        let waits = [waiting.begin(one), waiting.begin(one), waiting.begin(other)];
        assert_eq!(*told.lock().unwrap(), [WaitEvent::Began, WaitEvent::Began]);
        let [first, second, third] = waits;
        drop(first);
        drop(third);
        assert_eq!(*told.lock().unwrap(), [WaitEvent::Began, WaitEvent::Began, WaitEvent::Ended]);
        drop(second);
        assert_eq!(told.lock().unwrap().len(), 4);
        assert!(waiting.lock().is_empty());
    }
}
