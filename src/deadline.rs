//! One deadline a request, handed down to every wait: made once at the edge, never lengthened on the way down.

use std::time::{Duration, Instant};

/// The moment by which an answer must have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline `wait` from now. A wait too long for the clock becomes a day.
    pub fn after(wait: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400)))
    }

    /// What is left, or `None` once the deadline has passed.
    pub fn remaining(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The nearer of this deadline and one `wait` from now: for a phase with a limit of its own.
    pub fn at_most(self, wait: Duration) -> Self {
        self.min(Self::after(wait))
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_lengthens_the_request() {
        let request = Deadline::after(Duration::from_millis(50));
        assert_eq!(request.at_most(Duration::from_secs(60)), request);
        assert!(request.at_most(Duration::ZERO) < request);
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), None);
        assert!(Deadline::after(Duration::MAX).remaining().is_some());
    }
}
