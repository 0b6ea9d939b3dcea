//! One deadline a request, handed down to every wait: made once at the edge, never lengthened on the way down. By it
//! one request's waits are told from another's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The moment by which an answer must have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    request: RequestId,
}

/// Tells one request of this process from another. Says nothing to anybody outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl Deadline {
    /// The deadline of a new request, `wait` from now. A wait too long for the clock becomes a day.
    pub fn after(wait: Duration) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { at: from_now(wait), request: RequestId(NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// What is left, or `None` once the deadline has passed.
    pub fn remaining(self) -> Option<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The nearer of this deadline and one `wait` from now: for a phase with a limit of its own.
    pub fn at_most(self, wait: Duration) -> Self {
        Self { at: self.at.min(from_now(wait)), ..self }
    }

    /// Half of what is left: the other half is for the next phase.
    pub fn half(self) -> Self {
        self.remaining().map_or(self, |left| self.at_most(left / 2))
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.at
    }

    /// Whose deadline it is: every phase's of one request.
    pub fn request(self) -> RequestId {
        self.request
    }
}

fn from_now(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400))
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

    #[test]
    fn a_request_is_known_in_all_its_phases() {
        let (one, other) = (Deadline::after(Duration::from_secs(1)), Deadline::after(Duration::from_secs(1)));
        assert_ne!(one.request(), other.request());
        assert_eq!(one.at_most(Duration::ZERO).request(), one.request());
    }
}
