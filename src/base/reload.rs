//! Decides when a file or directory is checked for changes again. One caller checks; all others go on with what they have.
//! A check that ends in a panic counts as ended: the next one is made when it is due.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When the last check ended, and whether one is running.
#[derive(Debug)]
pub(crate) struct Recheck {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    looked: Instant,
    looking: bool,
}

/// The right to check. No other caller gets it before this one is dropped.
#[must_use]
pub(crate) struct Look<'a>(&'a Recheck);

impl Recheck {
    /// The first check is due after this interval.
    pub(crate) fn every(every: Duration) -> Self {
        Self { every, state: Mutex::new(State { looked: Instant::now(), looking: false }) }
    }

    /// The right to check, if a check is due and none is running.
    pub(crate) fn due(&self) -> Option<Look<'_>> {
        let mut state = self.lock();
        if state.looking || state.looked.elapsed() < self.every {
            return None;
        }
        state.looking = true;
        Some(Look(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        *self.0.lock() = State { looked: Instant::now(), looking: false };
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn one_looks_when_it_is_due_and_a_panic_ends_it() {
        let recheck = Recheck::every(Duration::ZERO);
        let look = recheck.due().unwrap();
        assert!(recheck.due().is_none(), "somebody is looking");
        drop(look);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _look = recheck.due().unwrap();
            panic!("made up");
        }));
        assert!(panicked.is_err());
        assert!(recheck.due().is_some(), "never looked over again");
        assert!(Recheck::every(Duration::from_secs(60)).due().is_none());
    }
}
