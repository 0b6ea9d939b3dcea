//! Runs jobs at the same time, such as requests that do not depend on each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A place for the result of a job.
pub(crate) struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs jobs by their number, at most so many at the same time, as far as there are threads. The threads have this name.
pub(crate) fn side_by_side(jobs: usize, most: usize, name: &str, run: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= jobs {
                break;
            }
            run(number);
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs.min(most) {
            // Without a thread, those that there are do its work.
            if thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn each_job_runs_once_and_as_many_as_allowed_at_the_same_time() {
        for (jobs, most) in [(0, 4), (1, 4), (4, 4), (9, 3), (3, 1)] {
            let slots: Vec<Slot<usize>> = (0..jobs).map(|_| Slot::new()).collect();
            // Each round needs all of them.
            let round = Barrier::new(jobs.min(most).max(1));
            side_by_side(jobs, most, "test", &|number| {
                round.wait();
                assert!(slots[number].take().is_none());
                slots[number].put(number);
            });
            let ran: Vec<_> = slots.iter().filter_map(Slot::take).collect();
            assert_eq!(ran, (0..jobs).collect::<Vec<_>>());
        }
    }
}
