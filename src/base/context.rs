//! The deadline of a request, with the request's identity. The server makes it once, and every wait gets it as an argument.
//! A phase can shorten it, and nothing can lengthen it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The moment by which the response must be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    request: RequestId,
}

/// Identifies a request within this process. It has no meaning outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl Deadline {
    /// The deadline of a new request, `wait` from now. A wait too long for the clock becomes a day.
    pub fn after(wait: Duration) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { at: from_now(wait), request: RequestId(NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The time that is left; `None` once the deadline has passed.
    pub fn remaining(self) -> Option<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The earlier of this deadline and one `wait` from now, for a phase with a limit of its own.
    pub fn at_most(self, wait: Duration) -> Self {
        Self { at: self.at.min(from_now(wait)), ..self }
    }

    /// The deadline of a phase that may take half of the time that is left.
    pub fn half(self) -> Self {
        self.remaining().map_or(self, |left| self.at_most(left / 2))
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.at
    }

    /// The request, the same in all its phases.
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
