//! Writes to the disk on threads of its own, because a disk that is slow or does not answer takes longer than any deadline. A
//! request waits for a part of the time that is left, so that the data behind a verdict is usually on the disk. The write goes on
//! after that.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io, thread};

use crate::base::context::Deadline;
use crate::schemes::memory_budget::Permit;

/// Most writes at the same time. Data that is not written is fetched again after a restart.
pub(crate) const MAX_WRITES: usize = 16;
/// Most bytes that wait for the disk. A single write may have more.
const MAX_BYTES: usize = 16 << 20;
/// How long a write waits for the bytes of others to be written.
const BYTES_PATIENCE: Duration = Duration::from_secs(1);

/// The background writer. Shared by all workers and schemes. Clones are the same writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer(Arc<Queue>);

/// The writes under way.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Writing>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Writing {
    writes: usize,
    bytes: usize,
    /// A write has timed out waiting for [`MAX_BYTES`], and no write has ended since.
    is_stuck: bool,
    /// A request has waited for its write in vain, and no write has ended since.
    is_late: bool,
}

/// A write.
pub(crate) struct Job {
    /// The bytes that it keeps in memory; 0 if they are few and must not be lost.
    pub(crate) bytes: usize,
    /// Memory that is given back as soon as [`MAX_BYTES`] leaves room for the bytes.
    pub(crate) memory: Option<Permit>,
    /// It is not started if so many writes are under way.
    pub(crate) most: usize,
    /// How long the request waits until it is written.
    pub(crate) patience: Duration,
    /// The write itself.
    pub(crate) write: Box<dyn FnOnce() + Send>,
}

impl Writer {
    /// Starts a write, and waits for it during its patience.
    pub(crate) fn run(&self, job: Job, by: Deadline) -> Result<(), NotWritten> {
        let Job { bytes, memory, most, patience, write } = job;
        let slot = Queue::slot(&self.0, bytes, most, by.at_most(BYTES_PATIENCE)).ok_or(NotWritten::TooSlow)?;
        drop(memory);
        let (tell, written) = channel::<()>();
        let job = move || {
            write();
            drop(slot);
            drop(tell);
        };
        thread::Builder::new().name("writer".into()).spawn(job).map_err(NotWritten::NoThread)?;
        if written.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            self.0.lock().is_late = true;
            log::debug!("the disk under trust.cache is slow: the request does not wait for it any longer");
        }
        Ok(())
    }

    /// Waits until all writes have ended.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while self.0.lock().writes > 0 {
            assert!(std::time::Instant::now() < end, "a write does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has a request waited for its write in vain, and has no write ended since?
    pub(crate) fn is_late(&self) -> bool {
        let state = self.0.lock();
        state.is_late && state.writes > 0
    }
}

/// Why a write was not started.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// Others wait for the disk.
    TooSlow,
    /// The system gives no thread.
    NoThread(io::Error),
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSlow => f.write_str("the disk is too slow"),
            Self::NoThread(error) => error.fmt(f),
        }
    }
}

impl Queue {
    /// A slot for so many bytes. Waits for one, but not while [`Writing::is_stuck`].
    fn slot(queue: &Arc<Self>, bytes: usize, most: usize, by: Deadline) -> Option<WriteSlot> {
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
        if is_full(&state) || state.writes >= most {
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
        (state.is_stuck, state.is_late) = (false, false);
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

    /// Starts a write and waits for half of the time.
    fn run(writer: &Writer, bytes: usize, by: Deadline, write: impl FnOnce() + Send + 'static) -> bool {
        let patience = by.remaining().unwrap_or_default() / 2;
        let job = Job { bytes, memory: None, most: MAX_WRITES, patience, write: Box::new(write) };
        writer.run(job, by).is_ok()
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
        let writer = Writer::default();
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        run(&writer, 0, Deadline::after(Duration::from_secs(60)), move || {
            thread::sleep(Duration::from_millis(50));
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(written.load(Ordering::SeqCst), 1);
        run(&writer, 0, Deadline::after(Duration::from_secs(60)), || panic!("made up"));
        wait_until(|| writer.0.lock().writes == 0);
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_nobody_and_few_threads() {
        let writer = Writer::default();
        let (release, held) = channel::<()>();
        let release: Mutex<Option<Sender<()>>> = Mutex::new(Some(release));
        let held = Arc::new(Mutex::new(held));
        let written = Arc::new(AtomicUsize::new(0));
        let mut refused = 0;
        for _ in 0..MAX_WRITES + 9 {
            let (held, written) = (Arc::clone(&held), Arc::clone(&written));
            let started = run(&writer, 0, Deadline::after(Duration::from_millis(20)), move || {
                let _ = held.lock().unwrap().recv();
                written.fetch_add(1, Ordering::SeqCst);
            });
            refused += usize::from(!started);
        }
        assert!(writer.is_late());
        assert_eq!(writer.0.lock().writes, MAX_WRITES);
        assert_eq!(refused, 9);
        drop(release.lock().unwrap().take());
        wait_until(|| writer.0.lock().writes == 0);
        assert_eq!(written.load(Ordering::SeqCst), MAX_WRITES);
        assert!(!writer.is_late());
    }

    #[test]
    fn few_bytes_wait_for_the_disk() {
        let writer = Writer::default();
        let (release, held) = channel::<()>();
        let hurried = || Deadline::after(Duration::from_millis(20));
        run(&writer, 2 * MAX_BYTES, hurried(), move || {
            let _ = held.recv();
        });
        // There is no room; and after one write has timed out, the next does not wait.
        assert!(!run(&writer, 1, hurried(), || panic!("there was no room")));
        let begin = Instant::now();
        assert!(!run(&writer, 1, Deadline::after(Duration::from_secs(60)), || panic!("there was no room")));
        assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
        // Versions alone take none.
        let noted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&noted);
        run(&writer, 0, Deadline::after(Duration::from_secs(60)), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(noted.load(Ordering::SeqCst), 1);
        drop(release);
        wait_until(|| writer.0.lock().writes == 0);
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        run(&writer, MAX_BYTES, Deadline::after(Duration::from_secs(60)), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(written.load(Ordering::SeqCst), 1);
    }
}
