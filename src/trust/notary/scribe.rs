//! Writes to the disk what was brought, on threads of its own: a disk that is slow, or does not answer at all, takes
//! longer than anybody's deadline. Who brought it waits for half of what is left of its time, so that what was answered
//! is usually on the disk; the writing goes on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use super::{Store, TrustServer};
use crate::deadline::Deadline;
use crate::trust::Gun;
use crate::trust::recorder::Record;
use crate::trust::repository::Repository;

/// Most writings at the same time. What is not written is fetched anew after a restart.
const MAX_WRITERS: usize = 16;

/// The scribe. Shared by all workers.
pub(super) struct Scribe {
    store: Arc<Store>,
    writers: Arc<AtomicUsize>,
}

impl Scribe {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, writers: Arc::default() }
    }

    /// Writes what was remembered. `record` has what the server gave for it.
    pub(super) fn write(
        &self,
        server: &TrustServer,
        gun: &Gun,
        repository: &Arc<Repository>,
        epoch: u64,
        record: Record,
        deadline: Deadline,
    ) {
        if !self.store.keeps_bytes() {
            return;
        }
        let (store, server, gun, repository) =
            (Arc::clone(&self.store), server.clone(), gun.clone(), Arc::clone(repository));
        self.run(deadline, move || store.persist(&server, &gun, &repository, epoch, record, deadline));
    }

    /// Writes what a failed refresh has seen.
    pub(super) fn write_noted(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) {
        if !self.store.keeps_bytes() {
            return;
        }
        let (store, server, gun) = (Arc::clone(&self.store), server.clone(), gun.clone());
        self.run(deadline, move || store.persist_noted(&server, &gun, deadline));
    }

    fn run(&self, deadline: Deadline, write: impl FnOnce() + Send + 'static) {
        let place = Place(Arc::clone(&self.writers));
        if self.writers.fetch_add(1, Ordering::SeqCst) >= MAX_WRITERS {
            return self.store.not_written(&"the disk is too slow");
        }
        let (tell, written) = channel::<()>();
        let job = move || {
            write();
            drop(place);
            drop(tell);
        };
        if let Err(error) = thread::Builder::new().name("scribe".into()).spawn(job) {
            return self.store.not_written(&error);
        }
        let patience = deadline.remaining().unwrap_or_default() / 2;
        if written.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            log::debug!("the disk under trust.cache is slow: nobody waits for it any more");
        }
    }
}

/// A writer's place, which is free again however it ends.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::metrics::Metrics;

    fn scribe(metrics: &Arc<Metrics>) -> Scribe {
        Scribe::new(Arc::new(Store::new(None, 0, Arc::clone(metrics))))
    }

    fn wait_until(holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < end, "waited in vain");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn who_brought_it_waits_until_it_is_written() {
        let scribe = scribe(&Arc::default());
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        scribe.run(Deadline::after(Duration::from_secs(60)), move || {
            thread::sleep(Duration::from_millis(50));
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(written.load(Ordering::SeqCst), 1);
        scribe.run(Deadline::after(Duration::from_secs(60)), || panic!("made up"));
        wait_until(|| scribe.writers.load(Ordering::SeqCst) == 0);
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_nobody_and_few_threads() {
        let metrics = Arc::new(Metrics::new());
        let scribe = scribe(&metrics);
        let (release, held) = channel::<()>();
        let release: Mutex<Option<Sender<()>>> = Mutex::new(Some(release));
        let held = Arc::new(Mutex::new(held));
        let written = Arc::new(AtomicUsize::new(0));
        for _ in 0..MAX_WRITERS + 9 {
            let (held, written) = (Arc::clone(&held), Arc::clone(&written));
            scribe.run(Deadline::after(Duration::from_millis(20)), move || {
                let _ = held.lock().unwrap().recv();
                written.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(scribe.writers.load(Ordering::SeqCst), MAX_WRITERS);
        assert!(metrics.render().contains("portreeve_trust_store_failures_total 9"), "{}", metrics.render());
        drop(release.lock().unwrap().take());
        wait_until(|| scribe.writers.load(Ordering::SeqCst) == 0);
        assert_eq!(written.load(Ordering::SeqCst), MAX_WRITERS);
    }
}
