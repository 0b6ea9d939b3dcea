//! Looks something over now and then, on whatever thread asks for it: one caller looks, the others do not wait. A look
//! that ends in a panic is over as well, and the next one is made when it is due.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When something was looked over, and whether somebody is at it.
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

/// The right to look, until it is dropped: nobody else has it meanwhile.
#[must_use]
pub(crate) struct Look<'a>(&'a Recheck);

impl Recheck {
    /// It was looked over just now.
    pub(crate) fn every(every: Duration) -> Self {
        Self { every, state: Mutex::new(State { looked: Instant::now(), looking: false }) }
    }

    /// The right to look, if that is due and nobody has it.
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
