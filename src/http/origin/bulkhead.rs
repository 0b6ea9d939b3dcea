//! The bulkhead of one server: how many requests wait for it. A request that waits keeps no worker
//! (`crate::base::waiting`), but it keeps its connection, and connections are few. A slow server also becomes slower when
//! every request asks it at once.
//!
//! Therefore at most half as many requests as there are workers hold a *permit* to ask one server. The other requests wait
//! for a permit, or for data that a request with a permit is fetching. Two rules refuse requests before their deadline:
//! - The server has responded to no request for two seconds ([`Times::silent_after`]). Then no more requests wait for it
//!   than there are permits, and the newest ones are refused. A free permit is still given, even if a request that waits
//!   for data is refused in exchange. One repository that stalls thus keeps no other repository from the server.
//! - More requests wait for the server than there are places left for all other requests. Then requests that have waited
//!   two seconds are refused, the longest wait first. One slow server thus holds at most half of the places, two slow
//!   servers hold a third each, and requests for other servers always find a place. Shorter waits have no bound: a rollout
//!   of one repository waits as a whole for one refresh.
//!
//! No more requests are refused than these rules need. Permits are given in the order in which the requests began to wait.
//! A request whose credentials were refused yields its permit before it tries the next ones.

use std::fmt;
use std::time::{Duration, Instant};

use super::Limits;
#[cfg(doc)]
use super::Times;
use crate::base::context::RequestId;
use portreeve_verify::ordered::{Map, Set};

/// How long a server's silence is remembered after the last request for it.
pub(super) const REMEMBER_SILENCE: Duration = Duration::from_secs(30);

/// A place among the waiting requests: the begin of the wait, and a number that makes the place unique.
pub(super) type Place = (Instant, u64);

/// The requests that hold a permit for one server, and those that wait. A request counts once, whatever the number of its
/// images.
pub(super) struct Bulkhead {
    /// The number of permits that each request holds: at most one for each of its images.
    holders: Map<RequestId, usize>,
    /// The waiting requests, in the order in which they began to wait.
    waiters: Map<Place, Wait>,
    /// The number of places that each waiting request has. Every waiting request is counted again and again, so counting must
    /// not look at each of them.
    waiting: Map<RequestId, usize>,
    next_number: u64,
    /// When the server last responded to a request; or when it was first needed, or needed again after
    /// [`REMEMBER_SILENCE`].
    pub(super) last_response: Instant,
    last_leave: Instant,
}

struct Wait {
    request: RequestId,
    needs: Needs,
}

/// What a request waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// A permit to ask the server.
    Permit,
    /// The data that another request is fetching.
    Data,
}

/// Whether an image has had a permit before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

impl Bulkhead {
    pub(super) fn new(now: Instant) -> Self {
        let (holders, waiters, waiting) = (Map::new(), Map::new(), Map::new());
        Self { holders, waiters, waiting, next_number: 0, last_response: now, last_leave: now }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }

    /// How many requests hold a permit or wait.
    pub(super) fn requests(&self) -> usize {
        let both = self.holders.keys().filter(|request| self.waiting.contains_key(request)).count();
        self.holders.len() + self.waiting.len() - both
    }

    /// Adds a request that has waited since then.
    pub(super) fn wait(&mut self, request: RequestId, since: Instant, needs: Needs, now: Instant) -> Place {
        if self.is_empty() && now.saturating_duration_since(self.last_leave) > REMEMBER_SILENCE {
            self.last_response = now;
        }
        let place = (since, self.next_number);
        self.next_number += 1;
        self.waiters.insert(place, Wait { request, needs });
        *self.waiting.get_or_default(request) += 1;
        place
    }

    pub(super) fn stop_waiting(&mut self, place: Place, now: Instant) {
        if let Some(Wait { request, .. }) = self.waiters.remove(&place) {
            take_one(&mut self.waiting, request);
        }
        self.last_leave = now;
    }

    /// Does any request wait for a permit?
    pub(super) fn is_permit_awaited(&self) -> bool {
        self.waiters.values().any(|wait| wait.needs == Needs::Permit)
    }

    /// May there be a permit for a request that waits for one?
    pub(super) fn is_permit_free(&self, permits: usize) -> bool {
        let may_ask = |request| self.holders.len() < permits || self.holders.contains_key(request);
        self.waiters.values().any(|wait| wait.needs == Needs::Permit && may_ask(&wait.request))
    }

    /// Gives the request at this place a permit, if it is its turn. A request that holds a permit gets one for each of its
    /// other images, the first time without waiting.
    pub(super) fn take_permit(&mut self, place: Place, request: RequestId, attempt: Attempt, permits: usize) -> bool {
        let before = self.waiters.iter().take_while(|(known, _)| **known < place);
        let ahead = before.filter(|(_, wait)| wait.needs == Needs::Permit).count();
        let may_ask = match self.holders.contains_key(&request) {
            true => attempt == Attempt::First || ahead == 0,
            false => ahead < permits.saturating_sub(self.holders.len()),
        };
        if may_ask {
            *self.holders.get_or_default(request) += 1;
        }
        may_ask
    }

    pub(super) fn give_back(&mut self, request: RequestId, now: Instant) {
        take_one(&mut self.holders, request);
        self.last_leave = now;
    }

    /// May the request at this place go on waiting? If so, after how long this is to be asked again. `everywhere` counts the
    /// requests for all servers. A request that holds a permit for another image may: it keeps its place anyway.
    pub(super) fn may_wait(
        &self,
        place: Place,
        request: RequestId,
        limits: &Limits,
        everywhere: &dyn Fn() -> usize,
        now: Instant,
    ) -> Result<Duration, NoPermit> {
        let silent_after = limits.times.silent_after;
        let silent = now.saturating_duration_since(self.last_response);
        let waited = now.saturating_duration_since(place.0);
        if !self.holders.contains_key(&request) {
            let here = self.requests();
            if silent >= silent_after
                && self.is_among(self.waiters.values().rev(), here.saturating_sub(limits.permits), request)
            {
                return Err(NoPermit::Silent { permits: limits.permits, silent });
            }
            // Each refusal leaves one request fewer here, and one more place for others.
            let excess = || (here + everywhere()).saturating_sub(limits.places).div_ceil(2);
            if waited >= silent_after && self.is_among(self.waiters.values(), excess(), request) {
                return Err(NoPermit::Crowded { others: here - 1, waited });
            }
        }
        // From then on the result may change with every new request.
        let left = silent_after.saturating_sub(silent.max(waited));
        Ok(if left.is_zero() { silent_after / 8 } else { left })
    }

    /// Is this request among the first so many requests in this order, permit holders left out?
    fn is_among<'a>(&self, order: impl Iterator<Item = &'a Wait>, first: usize, request: RequestId) -> bool {
        let mut found = Set::new();
        for wait in order.filter(|wait| !self.holders.contains_key(&wait.request)) {
            if !found.contains(&wait.request) && found.len() == first {
                return false;
            }
            if wait.request == request {
                return true;
            }
            found.insert(wait.request);
        }
        false
    }

    /// No request is here, and the server is not silent.
    pub(super) fn is_forgettable(&self, now: Instant, limits: &Limits) -> bool {
        self.is_empty() && now.saturating_duration_since(self.last_response) < limits.times.silent_after
    }

    #[cfg(test)]
    pub(super) fn waiting(&self, needs: Needs) -> usize {
        self.waiters.values().filter(|wait| wait.needs == needs).count()
    }
}

fn take_one(counts: &mut Map<RequestId, usize>, request: RequestId) {
    if let Some(count) = counts.get_mut(&request) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&request);
        }
    }
}

/// A request may not ask a server, and may not wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPermit {
    /// The server is silent, and enough requests wait for it.
    Silent {
        /// How many may.
        permits: usize,
        /// How long it has been silent.
        silent: Duration,
    },
    /// The server is slow, and its requests leave too few places for others.
    Crowded {
        /// How many other requests wait for it.
        others: usize,
        /// How long this one has waited.
        waited: Duration,
    },
    /// There was no permit before the deadline.
    OutOfTime,
}

impl fmt::Display for NoPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { permits, silent } => write!(
                f,
                "has responded to no request for {:.1} s, and {permits} other request(s) wait for it already; no more may \
                 wait for a silent server (half of limits.workers)",
                silent.as_secs_f64()
            ),
            Self::Crowded { others, waited } => write!(
                f,
                "is slow: this request has waited for {:.1} s, and {others} others wait for it too, which leaves too few \
                 places for other images (limits.connections)",
                waited.as_secs_f64()
            ),
            Self::OutOfTime => f.write_str("there was no permit to ask it in time"),
        }
    }
}

impl std::error::Error for NoPermit {}
