//! A request's permit to ask a server, and its place among the requests that wait for one. Each is given back when it is
//! dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::bulkhead::{Attempt, Needs, NoPermit, Place};
use super::{Origin, Origins, Table};
use crate::base::context::{Deadline, RequestId};
use crate::metrics::NotSent;

/// The permit to ask a server, until it is dropped.
pub(crate) struct Permit<'a> {
    origins: &'a Arc<Origins>,
    probe: Arc<str>,
    request: RequestId,
    /// False while it is yielded to other requests, and from then on if it was not given again.
    is_held: AtomicBool,
}

/// A place among the requests that wait for a server, until it is dropped.
pub(crate) struct Waiter<'a> {
    origins: &'a Arc<Origins>,
    probe: Arc<str>,
    pub(super) request: RequestId,
    place: Place,
}

impl<'a> Origin<'a> {
    /// Waits for a permit. `since`: when the request began to wait for this server, be it for a permit or for data.
    pub(crate) fn permit(&self, since: Instant, deadline: Deadline) -> Result<Permit<'a>, NoPermit> {
        acquire(self.origins, &self.probe, since, deadline, Attempt::First)?;
        let (probe, request) = (Arc::clone(&self.probe), deadline.request());
        Ok(Permit { origins: self.origins, probe, request, is_held: AtomicBool::new(true) })
    }

    /// Counts a request among those that wait for data which another request is fetching.
    pub(crate) fn wait(&self, since: Instant, request: RequestId) -> Waiter<'a> {
        Waiter::new(self.origins, &self.probe, since, request, Needs::Data)
    }
}

fn acquire(
    origins: &Arc<Origins>,
    probe: &Arc<str>,
    since: Instant,
    deadline: Deadline,
    attempt: Attempt,
) -> Result<(), NoPermit> {
    let request = deadline.request();
    let waiter = Waiter::new(origins, probe, since, request, Needs::Permit);
    let mut table = origins.lock();
    loop {
        let Some(bulkhead) = table.bulkhead(probe) else { return Err(NoPermit::OutOfTime) };
        if bulkhead.take_permit(waiter.place, request, attempt, origins.limits.permits) {
            return Ok(());
        }
        let again = match waiter.may_wait_in(&table) {
            Ok(again) => again,
            Err(refusal) => {
                drop(table);
                return Err(waiter.refused(refusal));
            }
        };
        let left = deadline.remaining().ok_or(NoPermit::OutOfTime)?;
        table = origins.changed.wait_timeout(table, left.min(again)).unwrap_or_else(PoisonError::into_inner).0;
    }
}

impl Permit<'_> {
    /// Yields the permit to the requests that wait for one, if there are any, and waits until it is given again.
    pub(crate) fn yield_to_others(&self, deadline: Deadline) -> Result<(), NoPermit> {
        if self.origins.lock().bulkhead(&self.probe).is_none_or(|bulkhead| !bulkhead.is_permit_awaited()) {
            return Ok(());
        }
        // A request that comes between these two lines gets its permit first as well. Of the threads of one request, one
        // yields: each would get a permit, and one permit is given back.
        if !self.give_back() {
            return Ok(());
        }
        acquire(self.origins, &self.probe, Instant::now(), deadline, Attempt::Again)?;
        self.is_held.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The server is not silent: it responded to a request, or the request made progress without it.
    pub(crate) fn responded(&self) {
        if let Some(bulkhead) = self.origins.lock().bulkhead(&self.probe) {
            bulkhead.last_response = Instant::now();
        }
    }

    /// Gives the permit back; false if it is not held.
    fn give_back(&self) -> bool {
        if !self.is_held.swap(false, Ordering::Relaxed) {
            return false;
        }
        let now = Instant::now();
        let mut table = self.origins.lock();
        if let Some(bulkhead) = table.bulkhead(&self.probe) {
            bulkhead.give_back(self.request, now);
        }
        self.origins.left(&mut table, &self.probe, now);
        true
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<'a> Waiter<'a> {
    fn new(origins: &'a Arc<Origins>, probe: &Arc<str>, since: Instant, request: RequestId, needs: Needs) -> Self {
        let now = Instant::now();
        let place = origins.lock().bulkhead_or_new(probe, now).wait(request, since, needs, now);
        Self { origins, probe: Arc::clone(probe), request, place }
    }

    /// May the request go on waiting? If so, after how long this is to be asked again.
    pub(crate) fn may_wait(&self) -> Result<Duration, NoPermit> {
        let checked = self.may_wait_in(&self.origins.lock());
        checked.map_err(|refusal| self.refused(refusal))
    }

    fn may_wait_in(&self, table: &Table) -> Result<Duration, NoPermit> {
        let limits = &self.origins.limits;
        let bulkhead = table.by_probe.get(&self.probe).and_then(|state| state.bulkhead.as_ref());
        let Some(bulkhead) = bulkhead else { return Ok(limits.times.silent_after) };
        bulkhead.may_wait(self.place, self.request, limits, &|| table.requests(), Instant::now())
    }

    /// Counts a refusal. A silent server may be down, so that its circuit is half-opened.
    fn refused(&self, refusal: NoPermit) -> NoPermit {
        self.origins.metrics.request_not_sent(NotSent::BulkheadFull);
        if matches!(refusal, NoPermit::Silent { .. }) {
            self.origins.half_open(&self.probe);
        }
        refusal
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut table = self.origins.lock();
        if let Some(bulkhead) = table.bulkhead(&self.probe) {
            bulkhead.stop_waiting(self.place, now);
        }
        self.origins.left(&mut table, &self.probe, now);
    }
}

impl Origins {
    /// A request gave back its permit or its place. The others are woken only if one of them may have a permit now: a hundred
    /// requests that are refused one after the other would each wake all that are left.
    fn left(&self, table: &mut Table, probe: &str, now: Instant) {
        let Some(bulkhead) = table.bulkhead(probe) else { return };
        if bulkhead.is_forgettable(now, &self.limits) {
            table.drop_bulkhead(probe);
        } else if bulkhead.is_permit_free(self.limits.permits) {
            self.changed.notify_all();
        }
    }
}
