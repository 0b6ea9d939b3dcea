//! Opens loopbacks for all lanes, on one thread of its own, so that neither the gateway nor a worker waits for it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lane::Lane;
use crate::server::threads::spawn;

/// The thread that opens loopbacks.
#[derive(Default)]
pub(super) struct Opener {
    state: Mutex<State>,
    changed: Condvar,
    #[cfg(test)]
    pub(super) fails: std::sync::atomic::AtomicBool,
    #[cfg(test)]
    pub(super) attempts: std::sync::atomic::AtomicUsize,
}

#[derive(Default)]
struct State {
    is_asked: bool,
    /// The last attempt failed.
    is_failing: bool,
    is_over: bool,
}

/// The pause after a failed attempt. Descriptors and threads take a moment to become free.
const PAUSE: Duration = Duration::from_millis(100);

impl Opener {
    /// Starts the thread. It opens loopbacks for the lanes that need one.
    pub(super) fn start(self: &Arc<Self>, lanes: Vec<Arc<Lane>>) -> io::Result<()> {
        let opener = Arc::clone(self);
        spawn("opener".to_owned(), Box::new(move || opener.run(&lanes))).map(drop)
    }

    /// A lane needs a loopback.
    pub(super) fn ask(&self) {
        if !std::mem::replace(&mut self.lock().is_asked, true) {
            self.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.lock().is_over = true;
        self.changed.notify_one();
    }

    /// Whether the last attempt to open a loopback failed.
    pub(super) fn is_failing(&self) -> bool {
        self.lock().is_failing
    }

    fn run(&self, lanes: &[Arc<Lane>]) {
        while self.wait() {
            let mut failed = None;
            for lane in lanes {
                while failed.is_none() && lane.needs_loopback() {
                    failed = self.open(lane).err();
                }
            }
            let mut state = self.lock();
            let was_failing = std::mem::replace(&mut state.is_failing, failed.is_some());
            drop(state);
            // Logged once for a series of failures.
            if let (Some(error), false) = (failed, was_failing) {
                log::error!("no more streams to the internal HTTP server: {error}");
            }
        }
    }

    /// Waits until a loopback is needed; after a failure, for a pause. False: the thread ends.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        if state.is_failing {
            // Requests that ask meanwhile do not shorten the pause.
            let waited = self.changed.wait_timeout_while(state, PAUSE, |state| !state.is_over);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            let waited = self.changed.wait_while(state, |state| !state.is_over && !state.is_asked);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_asked = false;
        !state.is_over
    }

    fn open(&self, lane: &Arc<Lane>) -> io::Result<()> {
        #[cfg(test)]
        {
            self.attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if self.fails.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(io::Error::other("a test lets it fail"));
            }
        }
        lane.open_loopback()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
