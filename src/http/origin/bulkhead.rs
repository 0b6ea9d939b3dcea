//! One server's bulkhead: how many requests wait for it. A request that waits keeps no worker (`crate::base::waiting`),
//! but its connection, of which there are not many; and a server that all of them ask at once becomes slower still.
//!
//! So at most half as many requests as there are workers hold a *permit* to ask one server. The others wait for a permit,
//! or for the data that another request is fetching, but not always to their deadline:
//! - Once a server has been silent for two seconds ([`Times::silent_after`]), no more requests wait for it than there are
//!   permits: the newest ones are refused. Before that, a request that asks for a permit gets a free one, even if
//!   another request then has to go which only waits for data: one repository that stalls so keeps no request for
//!   another repository from the server.
//! - If more requests wait for one server than there are places left for all others, the requests that have waited for
//!   two seconds make room, those that have waited longest first. One slow server so holds half of the places at most,
//!   two of them a third each, and there are always places left for requests that need another server, or none.
//!   Shorter waits are bounded by nothing: a rollout waits whole for the refresh of its one repository.
//!
//! No more requests are refused than have to go. Permits are given in the order in which requests began to wait; a
//! request whose credentials are refused goes to the end of that line with its next ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use super::Limits;
#[cfg(doc)]
use super::Times;
use crate::base::context::RequestId;

/// How long it is remembered that a server was silent when the last request left it.
pub(super) const REMEMBER_SILENCE: Duration = Duration::from_secs(30);

/// A place among those that wait: since when, and a number that no other one has.
pub(super) type Place = (Instant, u64);

/// The requests that hold a permit for one server, or wait. A request counts once, however many of its images do.
pub(super) struct Bulkhead {
    /// How many permits each request holds: one for each of its images at most.
    holders: BTreeMap<RequestId, usize>,
    /// Those that wait, in the order in which they began.
    waiters: BTreeMap<Place, Wait>,
    next_number: u64,
    /// When the server last responded to a request, or was needed after a time in which it was not.
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
    /// To be the next one that asks the server.
    Permit,
    /// The data that another request is fetching.
    Data,
}

/// How often an image has had a permit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

impl Bulkhead {
    pub(super) fn new(now: Instant) -> Self {
        Self { holders: BTreeMap::new(), waiters: BTreeMap::new(), next_number: 0, last_response: now, last_leave: now }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }

    /// How many requests hold a permit or wait.
    pub(super) fn requests(&self) -> usize {
        let waiting: BTreeSet<_> = self.waiters.values().map(|wait| wait.request).collect();
        self.holders.len() + waiting.iter().filter(|request| !self.holders.contains_key(request)).count()
    }

    /// Adds a request that has waited since then.
    pub(super) fn wait(&mut self, request: RequestId, since: Instant, needs: Needs, now: Instant) -> Place {
        if self.is_empty() && now.saturating_duration_since(self.last_leave) > REMEMBER_SILENCE {
            self.last_response = now;
        }
        let place = (since, self.next_number);
        self.next_number += 1;
        self.waiters.insert(place, Wait { request, needs });
        place
    }

    pub(super) fn stop_waiting(&mut self, place: Place, now: Instant) {
        self.waiters.remove(&place);
        self.last_leave = now;
    }

    /// Does any request wait for a permit?
    pub(super) fn is_permit_awaited(&self) -> bool {
        self.waiters.values().any(|wait| wait.needs == Needs::Permit)
    }

    /// Gives the request at this place a permit, if it is its turn. Every image of a request that holds one may have
    /// one more, the first time without waiting.
    pub(super) fn take_permit(&mut self, place: Place, request: RequestId, attempt: Attempt, permits: usize) -> bool {
        let ahead = self.waiters.range(..place).filter(|(_, wait)| wait.needs == Needs::Permit).count();
        let may_ask = match self.holders.contains_key(&request) {
            true => attempt == Attempt::First || ahead == 0,
            false => ahead < permits.saturating_sub(self.holders.len()),
        };
        if may_ask {
            *self.holders.entry(request).or_default() += 1;
        }
        may_ask
    }

    pub(super) fn give_back(&mut self, request: RequestId, now: Instant) {
        if let Some(count) = self.holders.get_mut(&request) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&request);
            }
        }
        self.last_leave = now;
    }

    /// May the request at this place go on waiting? If so, when to look again. `everywhere` counts the requests of all
    /// servers. A request that holds a permit for another image stays: its place is taken anyway.
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
            // Each one that goes makes one fewer here, and one more place for others.
            let excess = || (here + everywhere()).saturating_sub(limits.places).div_ceil(2);
            if waited >= silent_after && self.is_among(self.waiters.values(), excess(), request) {
                return Err(NoPermit::Crowded { others: here - 1, waited });
            }
        }
        // From then on the answer may change whenever another request comes.
        let left = silent_after.saturating_sub(silent.max(waited));
        Ok(if left.is_zero() { silent_after / 8 } else { left })
    }

    /// Is this request among the first so many, of those that hold no permit?
    fn is_among<'a>(&self, order: impl Iterator<Item = &'a Wait>, first: usize, request: RequestId) -> bool {
        let mut found = BTreeSet::new();
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

    /// Is there nothing to remember: no request, and no silence?
    pub(super) fn is_forgettable(&self, now: Instant, limits: &Limits) -> bool {
        self.is_empty() && now.saturating_duration_since(self.last_response) < limits.times.silent_after
    }

    #[cfg(test)]
    pub(super) fn waiting(&self, needs: Needs) -> usize {
        self.waiters.values().filter(|wait| wait.needs == needs).count()
    }
}

/// A server may not be asked, or not waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPermit {
    /// It is silent, and as many requests as may wait for it then do.
    Silent {
        /// How many that are.
        permits: usize,
        /// For how long it has been silent.
        silent: Duration,
    },
    /// It is slow, and its requests would leave no place for others.
    Crowded {
        /// How many other requests wait for it.
        others: usize,
        /// For how long this one has waited.
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
