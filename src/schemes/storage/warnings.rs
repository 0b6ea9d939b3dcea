//! Warnings that tenants can cause as often as they like: each is logged once an hour at most.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When one warning was last logged.
#[derive(Debug, Default)]
pub(crate) struct HourlyWarning(Mutex<Option<Instant>>);

impl HourlyWarning {
    const HOUR: Duration = Duration::from_secs(3_600);

    /// Was it last logged an hour ago or longer? Then it counts as logged now.
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner); // no code under it can panic
        let is_due = last.is_none_or(|last| last.elapsed() >= Self::HOUR);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    #[cfg(test)]
    pub(crate) fn was_due(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}
