//! The circuit breaker of one server. A request that waits too long without a response *half-opens* the circuit. Requests
//! are still sent then, and a thread sends a probe. If the probe gets no response either, the circuit is *open*: no request
//! is sent to the server, and it is probed again after short, growing pauses, or as soon as a request waits for it. Any response,
//! to a probe or to a request, *closes* the circuit at once.
//!
//! When no request has needed the server for a while, probing ends, but the silence is remembered: the next request half-opens
//! the circuit. A request that is sent while the circuit is half-open has no more time for a response than a probe has.
//!
//! A failure that comes at once (connection refused, a bad certificate, 5xx) costs no time and opens no circuit. While a
//! circuit is open, one request at a time may wait for the next probe: otherwise the only request for an image would be
//! denied in the moment in which the server comes back.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use super::Times;

/// Probes the server of a circuit that is remembered only.
const NOBODY: u64 = 0;

/// The circuit of a server that did not respond to some request in time. A server that has none is taken to be up.
pub(super) struct Circuit {
    /// The thread that probes. An older thread that still runs changes nothing.
    prober: u64,
    /// When a request last needed the server.
    wanted: Instant,
    state: State,
}

enum State {
    HalfOpen,
    Open(Open),
    /// The server was down when it was last needed, and is not probed any more.
    Remembered,
    /// The server responded, or fails fast. For a moment it is not probed again.
    Closed {
        since: Instant,
    },
}

/// The server is down.
pub(super) struct Open {
    /// When the last failed probe began.
    pub(super) probed: Instant,
    /// When that probe failed.
    found: Instant,
    why: String,
    pause: Duration,
    /// A request waits for the next probe.
    pub(super) awaited: bool,
}

impl Open {
    /// The time until the next probe, at most.
    pub(super) fn next_probe(&self, now: Instant) -> Duration {
        self.pause.saturating_sub(now.saturating_duration_since(self.found))
    }
}

impl Circuit {
    pub(super) fn half_open(prober: u64, now: Instant) -> Self {
        Self { prober, wanted: now, state: State::HalfOpen }
    }

    /// Does a request for the server wait no longer than a probe?
    pub(super) fn is_suspect(&self) -> bool {
        matches!(self.state, State::HalfOpen | State::Remembered)
    }

    /// Is it remembered only?
    pub(super) fn is_remembered(&self) -> bool {
        matches!(self.state, State::Remembered)
    }

    /// Why a request that needs the server now is not sent to it.
    pub(super) fn refusal(&mut self, now: Instant) -> Option<CircuitOpen> {
        self.wanted = now;
        let open = self.open()?;
        let ago = now.saturating_duration_since(open.found);
        Some(CircuitOpen { why: open.why.clone(), ago, next: open.next_probe(now) })
    }

    pub(super) fn open(&mut self) -> Option<&mut Open> {
        match &mut self.state {
            State::Open(open) => Some(open),
            State::HalfOpen | State::Remembered | State::Closed { .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Has it been closed for long enough that a slow request half-opens it again?
    pub(super) fn is_forgotten(&self, now: Instant, after: Duration) -> bool {
        matches!(self.state, State::Closed { since } if now.saturating_duration_since(since) >= after)
    }

    pub(super) fn is_probed_by(&self, prober: u64) -> bool {
        self.prober == prober
    }

    pub(super) fn close(&mut self, probe: &str, now: Instant) {
        match self.state {
            State::Closed { .. } => return,
            State::HalfOpen | State::Remembered => {}
            State::Open(_) => log::info!("{probe} is up again: requests are sent to it"),
        }
        self.state = State::Closed { since: now };
    }

    /// A probe failed. Returns the pause before the next one, or `None` if no other one is needed.
    pub(super) fn probe_failed(
        &mut self,
        probe: &str,
        (probed, now): (Instant, Instant),
        why: String,
        times: &Times,
    ) -> Option<Duration> {
        let is_wanted = now.saturating_duration_since(self.wanted) <= times.forget_after;
        let (pause, awaited) = match &self.state {
            State::Closed { .. } | State::Remembered => return None,
            State::HalfOpen | State::Open(_) if !is_wanted => {
                (self.prober, self.state) = (NOBODY, State::Remembered);
                return None;
            }
            State::HalfOpen => {
                log::warn!("{probe} is down: {why}; no request is sent to it until it responds to a probe");
                (times.first_pause, false)
            }
            State::Open(open) => ((open.pause * 2).min(times.longest_pause), open.awaited),
        };
        self.state = State::Open(Open { probed, found: now, why, pause, awaited });
        Some(jittered(pause))
    }
}

/// Between three quarters of a pause and the whole pause, so that replicas do not probe at the same moment.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(0) % 256).unwrap_or(0);
    pause * 3 / 4 + pause * random / 1024
}

/// No request is sent to a server, because it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CircuitOpen {
    why: String,
    /// How long ago the last probe failed.
    ago: Duration,
    /// The time until the next probe, at most.
    next: Duration,
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, ago, next } = self;
        write!(f, "{why} {:.1} s ago; it is not asked again before it responds to a probe, ", ago.as_secs_f64())?;
        if next.is_zero() {
            f.write_str("which is sent now")
        } else {
            write!(f, "the next one in {:.1} s", next.as_secs_f64())
        }
    }
}

impl std::error::Error for CircuitOpen {}
