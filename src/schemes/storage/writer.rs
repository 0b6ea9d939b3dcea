//! Writes to the disk behind the requests, on threads of its own: no request waits until something is written. Writes of the same
//! thing are made one after the other, in the order in which they came.
//!
//! The writes that wait are bounded in number and in bytes, because a disk may be slower than the changes, or may not answer at
//! all. A process that dies loses the writes that have not ended. One that ends in order waits for them ([`Writer::finish`]).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{fmt, io, thread};

use crate::base::context::Deadline;
use portreeve_verify::image::Sha256;

/// Most writes at the same time, each on a thread.
const MAX_WRITES: usize = 16;
/// Most writes that wait for a thread.
const MAX_WAITING: usize = 1_000;
/// Of both, evidence may have one part in this many. The others are for trust data, which must not be lost.
const EVIDENCE_SHARE: usize = 2;
/// Most bytes that wait for the disk. A single write may have more.
const MAX_BYTES: usize = 16 << 20;

/// The background writer. Shared by all workers and schemes. Clones are the same writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer(Arc<Queue>);

/// The writes that wait, and those under way.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// A write has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// What is being written, by each thread.
    running: Vec<(Sha256, Kind)>,
    threads: usize,
    bytes: usize,
}

/// A write.
pub(crate) struct Job {
    /// What it writes.
    pub(crate) key: Sha256,
    /// Its kind.
    pub(crate) kind: Kind,
    /// The write itself.
    pub(crate) write: Box<dyn FnOnce() + Send>,
}

/// The kinds of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Trust data: without it an older version may be accepted after a restart.
    TrustData,
    /// Evidence: without it a registry is asked again.
    Evidence,
}

impl Writer {
    /// Room for bytes that wait for the disk, until it is dropped; `None` if too many wait already.
    pub(crate) fn room(&self, bytes: usize) -> Option<Room> {
        let mut state = self.0.lock();
        if bytes > 0 && state.bytes > 0 && state.bytes.saturating_add(bytes) > MAX_BYTES {
            return None;
        }
        state.bytes += bytes;
        Some(Room { queue: Arc::clone(&self.0), bytes })
    }

    /// Starts a write as soon as a thread is free for it.
    pub(crate) fn start(&self, job: Job) -> Result<(), NotWritten> {
        let mut state = self.0.lock();
        let waiting = state.waiting.iter().filter(|other| other.kind == job.kind).count();
        if state.waiting.len() >= MAX_WAITING || waiting >= job.kind.share_of(MAX_WAITING) {
            return Err(NotWritten::TooSlow);
        }
        // A thread that makes an earlier write of the same thing makes this one too.
        let follows = state.waiting.iter().any(|other| other.key == job.key);
        state.waiting.push_back(job);
        if follows || state.threads >= MAX_WRITES || state.next().is_none() {
            return Ok(());
        }
        let queue = Arc::clone(&self.0);
        match thread::Builder::new().name("writer".into()).spawn(move || queue.work()) {
            Ok(_) => state.threads += 1,
            Err(_) if state.threads > 0 => {} // another thread makes it
            Err(error) => {
                state.waiting.pop_back();
                return Err(NotWritten::NoThread(error));
            }
        }
        Ok(())
    }

    /// Waits until all writes have ended. Returns how many have not when the deadline has passed.
    pub(crate) fn finish(&self, by: Deadline) -> usize {
        let mut state = self.0.lock();
        loop {
            let left = state.waiting.len() + state.running.len();
            let Some(time) = by.remaining().filter(|_| left > 0) else { return left };
            state = self.0.ended.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all writes have ended.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        let left = self.finish(Deadline::after(std::time::Duration::from_secs(60)));
        assert_eq!(left, 0, "a write does not end");
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

impl Kind {
    fn share_of(self, all: usize) -> usize {
        match self {
            Self::TrustData => all,
            Self::Evidence => all / EVIDENCE_SHARE,
        }
    }
}

impl State {
    /// The position of the next write that may begin.
    fn next(&self) -> Option<usize> {
        let running = |kind| self.running.iter().filter(|(_, other)| *other == kind).count();
        let may_begin = |job: &Job| {
            self.running.iter().all(|(key, _)| *key != job.key) && running(job.kind) < job.kind.share_of(MAX_WRITES)
        };
        self.waiting.iter().position(may_begin)
    }
}

impl Queue {
    /// Makes one write after the other, until none may begin.
    fn work(&self) {
        let mut state = self.lock();
        while let Some(Job { key, kind, write }) = state.next().and_then(|next| state.waiting.remove(next)) {
            state.running.push((key, kind));
            drop(state);
            // A panic is logged, and costs this write alone.
            let _panicked = catch_unwind(AssertUnwindSafe(write));
            state = self.lock();
            if let Some(place) = state.running.iter().position(|(other, _)| *other == key) {
                state.running.swap_remove(place);
            }
            self.ended.notify_all();
        }
        state.threads -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("running", &self.running).finish_non_exhaustive()
    }
}

/// Room for bytes that wait for the disk.
#[derive(Debug)]
pub(crate) struct Room {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.queue.lock().bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests;
