//! Writes to the disk what was brought, on threads of its own: a disk that is slow, or does not answer at all, takes
//! longer than anybody's deadline. Who brought it waits for half of what is left of its time, so that what was answered
//! is usually on the disk; the writing goes on without it.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Store;
use super::cached::Brought;
use crate::base::context::Deadline;
use crate::schemes::notary::memory_budget::Permit;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::gun::Gun;

/// Most writings at the same time. What is not written is fetched anew after a restart.
const MAX_WRITERS: usize = 16;
/// Most bytes that wait for the disk; a single writing may have more.
const MAX_BYTES: usize = 16 << 20;
/// How long one waits for others' bytes to be written.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// The scribe. Shared by all workers.
pub(crate) struct Scribe {
    store: Arc<Store>,
    desk: Arc<Desk>,
}

/// What is being written.
#[derive(Default)]
struct Desk {
    state: Mutex<Writing>,
    changed: Condvar,
}

#[derive(Default)]
struct Writing {
    writers: usize,
    bytes: usize,
    /// Somebody has waited in vain, and nothing was finished since.
    is_stuck: bool,
}

impl Scribe {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, desk: Arc::default() }
    }

    /// Writes what was brought and is remembered. Its memory is given back as soon as there is room for its bytes here.
    pub(crate) fn write(&self, server: &TrustServer, gun: &Gun, brought: Brought, deadline: Deadline) {
        if !self.store.keeps_bytes() {
            return;
        }
        let Brought { repository, record, memory, epoch, .. } = brought;
        let (store, server, gun) = (Arc::clone(&self.store), server.clone(), gun.clone());
        let bytes = record.values().map(Vec::len).sum();
        let write = move || store.persist(&server, &gun, &repository, epoch, record, deadline);
        self.run(bytes, memory, deadline, write);
    }

    /// Writes what a failed refresh has seen.
    pub(crate) fn write_noted(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) {
        if !self.store.keeps_bytes() {
            return;
        }
        let (store, server, gun) = (Arc::clone(&self.store), server.clone(), gun.clone());
        self.run(0, None, deadline, move || store.persist_noted(&server, &gun, deadline));
    }

    fn run(&self, bytes: usize, memory: Option<Permit>, by: Deadline, write: impl FnOnce() + Send + 'static) {
        let Some(place) = Desk::place(&self.desk, bytes, by.at_most(ROOM_PATIENCE)) else {
            return self.store.not_written(&"the disk is too slow");
        };
        drop(memory);
        let (tell, written) = channel::<()>();
        let job = move || {
            write();
            drop(place);
            drop(tell);
        };
        if let Err(error) = thread::Builder::new().name("scribe".into()).spawn(job) {
            return self.store.not_written(&error);
        }
        let patience = by.remaining().unwrap_or_default() / 2;
        if written.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            log::debug!("the disk under trust.cache is slow: nobody waits for it any more");
        }
    }
}

impl Desk {
    /// A place for so many bytes, waited for where others have it; not at all where others have waited in vain.
    fn place(desk: &Arc<Self>, bytes: usize, by: Deadline) -> Option<Place> {
        let mut state = desk.lock();
        // Versions alone take next to nothing, and what is seen must not be lost.
        let is_full = |state: &Writing| bytes > 0 && state.bytes > 0 && state.bytes + bytes > MAX_BYTES;
        while is_full(&state) && !state.is_stuck {
            match by.remaining() {
                Some(left) => {
                    state = desk.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state.is_stuck = true,
            }
        }
        if is_full(&state) || state.writers >= MAX_WRITERS {
            return None;
        }
        state.writers += 1;
        state.bytes += bytes;
        Some(Place { desk: Arc::clone(desk), bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer's place, which is free again however it ends.
struct Place {
    desk: Arc<Desk>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        state.writers -= 1;
        state.bytes -= self.bytes;
        state.is_stuck = false;
        drop(state);
        self.desk.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::Sender;
    use std::time::Instant;

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
        scribe.run(0, None, Deadline::after(Duration::from_secs(60)), move || {
            thread::sleep(Duration::from_millis(50));
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(written.load(Ordering::SeqCst), 1);
        scribe.run(0, None, Deadline::after(Duration::from_secs(60)), || panic!("made up"));
        wait_until(|| scribe.desk.lock().writers == 0);
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
            scribe.run(0, None, Deadline::after(Duration::from_millis(20)), move || {
                let _ = held.lock().unwrap().recv();
                written.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(scribe.desk.lock().writers, MAX_WRITERS);
        assert!(metrics.render().contains("portreeve_trust_store_failures_total 9"), "{}", metrics.render());
        drop(release.lock().unwrap().take());
        wait_until(|| scribe.desk.lock().writers == 0);
        assert_eq!(written.load(Ordering::SeqCst), MAX_WRITERS);
    }

    #[test]
    fn few_bytes_wait_for_the_disk() {
        let metrics = Arc::new(Metrics::new());
        let scribe = scribe(&metrics);
        let (release, held) = channel::<()>();
        let hurried = || Deadline::after(Duration::from_millis(20));
        scribe.run(2 * MAX_BYTES, None, hurried(), move || {
            let _ = held.recv();
        });
        // There is no room; and once somebody has waited, the next does not.
        scribe.run(1, None, hurried(), || panic!("there was no room"));
        let begin = Instant::now();
        scribe.run(1, None, Deadline::after(Duration::from_secs(60)), || panic!("there was no room"));
        assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
        assert!(metrics.render().contains("portreeve_trust_store_failures_total 2"), "{}", metrics.render());
        // Versions alone take none.
        let noted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&noted);
        scribe.run(0, None, Deadline::after(Duration::from_secs(60)), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(noted.load(Ordering::SeqCst), 1);
        drop(release);
        wait_until(|| scribe.desk.lock().writers == 0);
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        scribe.run(MAX_BYTES, None, Deadline::after(Duration::from_secs(60)), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(written.load(Ordering::SeqCst), 1);
    }
}
