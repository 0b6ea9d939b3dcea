//! Writes refreshed data to the disk on threads of its own, because a disk that is slow or does not answer takes longer than
//! any deadline. The request that refreshed waits for half of the time that is left, so that the data behind a verdict is
//! usually on the disk. The write goes on after that.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::cached::RefreshResult;
use super::store::Store;
use crate::base::context::Deadline;
use crate::schemes::memory_budget::Permit;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::Gun;

/// Most writes at the same time. Data that is not written is fetched again after a restart.
const MAX_WRITES: usize = 16;
/// Most bytes that wait for the disk. A single write may have more.
const MAX_BYTES: usize = 16 << 20;
/// How long a write waits for the bytes of others to be written.
const BYTES_PATIENCE: Duration = Duration::from_secs(1);

/// The background writer. Shared by all workers.
pub(crate) struct Writer {
    store: Arc<Store>,
    queue: Arc<Queue>,
}

/// The writes under way.
#[derive(Default)]
struct Queue {
    state: Mutex<Writing>,
    changed: Condvar,
}

#[derive(Default)]
struct Writing {
    writes: usize,
    bytes: usize,
    /// A write has timed out waiting for [`MAX_BYTES`], and no write has ended since.
    is_stuck: bool,
}

impl Writer {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, queue: Arc::default() }
    }

    /// Writes the result of a refresh. Its memory is given back as soon as [`MAX_BYTES`] leaves room for its bytes.
    pub(crate) fn write(&self, server: &TrustServer, gun: &Gun, result: RefreshResult, deadline: Deadline) {
        if !self.store.keeps_bytes() {
            return;
        }
        let RefreshResult { repository, record, memory, epoch, .. } = result;
        let (store, server, gun) = (Arc::clone(&self.store), server.clone(), gun.clone());
        let bytes = record.values().map(Vec::len).sum();
        let write = move || store.persist(&server, &gun, &repository, epoch, record, deadline);
        self.run(bytes, memory, deadline, write);
    }

    /// Writes the versions that a failed refresh has verified.
    pub(crate) fn write_versions(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) {
        if !self.store.keeps_bytes() {
            return;
        }
        let (store, server, gun) = (Arc::clone(&self.store), server.clone(), gun.clone());
        self.run(0, None, deadline, move || store.persist_versions(&server, &gun, deadline));
    }

    fn run(&self, bytes: usize, memory: Option<Permit>, by: Deadline, write: impl FnOnce() + Send + 'static) {
        let Some(slot) = Queue::slot(&self.queue, bytes, by.at_most(BYTES_PATIENCE)) else {
            return self.store.not_written(&"the disk is too slow");
        };
        drop(memory);
        let (tell, written) = channel::<()>();
        let job = move || {
            write();
            drop(slot);
            drop(tell);
        };
        if let Err(error) = thread::Builder::new().name("writer".into()).spawn(job) {
            return self.store.not_written(&error);
        }
        let patience = by.remaining().unwrap_or_default() / 2;
        if written.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            log::debug!("the disk under trust.cache is slow: the request does not wait for it any longer");
        }
    }
}

impl Queue {
    /// A slot for so many bytes. Waits for one, but not while [`Writing::is_stuck`].
    fn slot(queue: &Arc<Self>, bytes: usize, by: Deadline) -> Option<WriteSlot> {
        let mut state = queue.lock();
        // Versions alone take next to nothing, and must not be lost.
        let is_full = |state: &Writing| bytes > 0 && state.bytes > 0 && state.bytes + bytes > MAX_BYTES;
        while is_full(&state) && !state.is_stuck {
            match by.remaining() {
                Some(left) => {
                    state = queue.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state.is_stuck = true,
            }
        }
        if is_full(&state) || state.writes >= MAX_WRITES {
            return None;
        }
        state.writes += 1;
        state.bytes += bytes;
        Some(WriteSlot { queue: Arc::clone(queue), bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of one write. It is free again when it is dropped, also by a panic.
struct WriteSlot {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Drop for WriteSlot {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.writes -= 1;
        state.bytes -= self.bytes;
        state.is_stuck = false;
        drop(state);
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::Sender;
    use std::time::Instant;

    use super::*;
    use crate::metrics::Metrics;

    fn writer(metrics: &Arc<Metrics>) -> Writer {
        Writer::new(Arc::new(Store::new(None, 0, Arc::clone(metrics))))
    }

    fn wait_until(holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < end, "the write did not come");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn who_brought_it_waits_until_it_is_written() {
        let writer = writer(&Arc::default());
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        writer.run(0, None, Deadline::after(Duration::from_secs(60)), move || {
            thread::sleep(Duration::from_millis(50));
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(written.load(Ordering::SeqCst), 1);
        writer.run(0, None, Deadline::after(Duration::from_secs(60)), || panic!("made up"));
        wait_until(|| writer.queue.lock().writes == 0);
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_nobody_and_few_threads() {
        let metrics = Arc::new(Metrics::new());
        let writer = writer(&metrics);
        let (release, held) = channel::<()>();
        let release: Mutex<Option<Sender<()>>> = Mutex::new(Some(release));
        let held = Arc::new(Mutex::new(held));
        let written = Arc::new(AtomicUsize::new(0));
        for _ in 0..MAX_WRITES + 9 {
            let (held, written) = (Arc::clone(&held), Arc::clone(&written));
            writer.run(0, None, Deadline::after(Duration::from_millis(20)), move || {
                let _ = held.lock().unwrap().recv();
                written.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(writer.queue.lock().writes, MAX_WRITES);
        assert!(metrics.render().contains("portreeve_trust_store_failures_total 9"), "{}", metrics.render());
        drop(release.lock().unwrap().take());
        wait_until(|| writer.queue.lock().writes == 0);
        assert_eq!(written.load(Ordering::SeqCst), MAX_WRITES);
    }

    #[test]
    fn few_bytes_wait_for_the_disk() {
        let metrics = Arc::new(Metrics::new());
        let writer = writer(&metrics);
        let (release, held) = channel::<()>();
        let hurried = || Deadline::after(Duration::from_millis(20));
        writer.run(2 * MAX_BYTES, None, hurried(), move || {
            let _ = held.recv();
        });
        // There is no room; and after one write has timed out, the next does not wait.
        writer.run(1, None, hurried(), || panic!("there was no room"));
        let begin = Instant::now();
        writer.run(1, None, Deadline::after(Duration::from_secs(60)), || panic!("there was no room"));
        assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
        assert!(metrics.render().contains("portreeve_trust_store_failures_total 2"), "{}", metrics.render());
        // Versions alone take none.
        let noted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&noted);
        writer.run(0, None, Deadline::after(Duration::from_secs(60)), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(noted.load(Ordering::SeqCst), 1);
        drop(release);
        wait_until(|| writer.queue.lock().writes == 0);
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        writer.run(MAX_BYTES, None, Deadline::after(Duration::from_secs(60)), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(written.load(Ordering::SeqCst), 1);
    }
}
