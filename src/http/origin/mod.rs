//! The state of each server, shared by all requests: its circuit breaker (is the server down?) and its bulkhead (how many
//! requests wait for it?). There is one map and one lock. [`circuit_breaker`] and [`bulkhead`] hold plain state and take the
//! time as an argument.
//!
//! A server is named by its *probe URL*. A request for this URL needs no reason, and a server that is up responds to it with
//! some status. A token service has a state of its own. A directory has none.
//!
//! No tenant decides that a server is down. A tenant chooses the repository, the credentials and the time limit of a
//! request, but nothing of a probe, and only a failed probe opens a circuit.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::bulkhead::Bulkhead;
use self::circuit_breaker::{Circuit, CircuitOpen};
use self::probe::{Prober, SendProbe};
use crate::base::context::Deadline;
use crate::metrics::{Metrics, NotSent};

pub(crate) mod bulkhead;
pub(crate) mod circuit_breaker;
pub(crate) mod permit;
mod probe;

/// Most servers whose silence is remembered while no request waits for them.
const MAX_SERVERS: usize = 1_000;
/// Most servers that are probed, each by a thread. A tenant can name any number of servers that do not exist where a
/// template of `trust.servers` has a `*`. Further servers are taken to be up.
const MAX_PROBED: usize = 16;

/// Most servers that were down and are not probed any more. Past that, all of them are taken to be up again.
const MAX_REMEMBERED: usize = 100;

/// The limits of each server's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most requests that hold a permit for one server at a time.
    pub(crate) permits: usize,
    /// Most requests at a time for all servers (`limits.connections`).
    pub(crate) places: usize,
    /// The times.
    pub(crate) times: Times,
}

impl Limits {
    /// For a client that needs no permits.
    pub(crate) const NO_BULKHEAD: Self = Self { permits: usize::MAX, places: usize::MAX, times: Times::DEFAULT };

    /// One permit for every two workers, and at least one.
    pub(crate) fn new(workers: usize, places: usize) -> Self {
        Self { permits: (workers / 2).max(1), places, times: Times::DEFAULT }
    }
}

/// The times of each server's state. Tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// A request that waits longer than this without a response half-opens the circuit. Faster failures do not: they
    /// cost no worker time. A probe that fails faster closes it again.
    pub(crate) half_open_after: Duration,
    /// How long a probe waits for a response: enough for three round trips by satellite. A request waits no longer for a server
    /// that is known to be silent.
    pub(crate) probe: Duration,
    /// The pause after the first failed probe. Each later pause is twice as long as the one before.
    pub(crate) first_pause: Duration,
    /// The longest pause. A server that is up again is found within this time.
    pub(crate) longest_pause: Duration,
    /// Probing ends when no request has needed the server for this long. That it was silent is remembered.
    pub(crate) forget_after: Duration,
    /// A server that has responded to no request for this long is silent. A request that has waited this long may be
    /// refused to make room for other servers' requests.
    pub(crate) silent_after: Duration,
}

impl Times {
    pub(crate) const DEFAULT: Self = Self {
        half_open_after: Duration::from_secs(1),
        probe: Duration::from_secs(3),
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(5),
        forget_after: Duration::from_secs(60),
        silent_after: Duration::from_secs(2),
    };
}

/// All servers' states. Shared by all workers.
pub(crate) struct Origins {
    limits: Limits,
    metrics: Arc<Metrics>,
    send_probe: SendProbe,
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    by_probe: HashMap<Arc<str>, State>,
    next_prober: u64,
}

/// One server's state. An absent part is as for a server that no request needed yet.
#[derive(Default)]
struct State {
    circuit: Option<Circuit>,
    bulkhead: Option<Bulkhead>,
}

/// One server. Making one locks nothing and adds nothing to the map.
pub(crate) struct Origin<'a> {
    origins: &'a Arc<Origins>,
    probe: Arc<str>,
}

impl<'a> Origin<'a> {
    /// May a request be sent to the server, or is its circuit open?
    pub(crate) fn check(&self) -> Result<(), CircuitOpen> {
        self.origins.check(&self.probe).map(drop)
    }

    /// The same, but waits for the next probe first, unless another request does.
    pub(crate) fn check_or_wait(&self, deadline: Deadline) -> Result<(), CircuitOpen> {
        drop(self.origins.wait_for_probe(&self.probe, deadline));
        self.check()
    }

    /// Is the circuit closed?
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.origins.is_closed(&self.probe)
    }
}

impl Origins {
    pub(crate) fn new(limits: Limits, metrics: Arc<Metrics>, send_probe: SendProbe) -> Self {
        Self { limits, metrics, send_probe, table: Mutex::default(), changed: Condvar::new() }
    }

    /// The server with this probe URL.
    pub(crate) fn origin(self: &Arc<Self>, probe: &str) -> Origin<'_> {
        Origin { origins: self, probe: Arc::from(probe) }
    }

    /// May a request be sent to the server, or is its circuit open? If it may, how long it waits for a response, if not until its
    /// deadline.
    pub(crate) fn check(self: &Arc<Self>, probe: &str) -> Result<Option<Duration>, CircuitOpen> {
        let mut table = self.lock();
        let Some(circuit) = table.circuit(probe) else { return Ok(None) };
        if let Some(refusal) = circuit.refusal(Instant::now()) {
            self.metrics.request_not_sent(NotSent::CircuitOpen);
            return Err(refusal);
        }
        let patience = circuit.is_suspect().then_some(self.limits.times.probe);
        if circuit.is_remembered() {
            drop(table);
            self.half_open(probe);
        }
        Ok(patience)
    }

    /// Waits for the result of a probe that begins from now on, but no longer than a probe takes. A probe begins at once, unless
    /// one is under way. Does not wait if another request does.
    fn wait_for_probe(&self, probe: &str, deadline: Deadline) -> Option<ProbeWaiter<'_>> {
        let began = Instant::now();
        let mut table = self.lock();
        let open = table.circuit(probe)?.open()?;
        if open.awaited {
            return None;
        }
        open.awaited = true;
        self.changed.notify_all();
        let deadline = deadline.at_most(self.limits.times.probe);
        let waiter = ProbeWaiter { origins: self, probe: probe.to_owned() };
        // A probe that is under way may have begun before the server came back.
        while let Some(left) = deadline.remaining()
            && table.circuit(probe).and_then(Circuit::open).is_some_and(|open| open.probed < began)
        {
            table = self.changed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(table);
        Some(waiter)
    }

    /// The server is up: it responded to a request with some status.
    pub(crate) fn responded(&self, probe: &str) {
        if let Some(circuit) = self.lock().circuit(probe) {
            circuit.close(probe, Instant::now());
            self.changed.notify_all();
        }
    }

    /// Does a failure after this time half-open the circuit?
    pub(crate) fn is_slow(&self, waited: Duration) -> bool {
        waited >= self.limits.times.half_open_after
    }

    /// Starts a thread that probes the server, unless there is one.
    pub(crate) fn half_open(self: &Arc<Self>, probe: &str) {
        let now = Instant::now();
        let mut table = self.lock();
        table.by_probe.retain(|_, state| {
            state.circuit.take_if(|circuit| circuit.is_forgotten(now, self.limits.times.first_pause));
            !state.is_empty()
        });
        let circuits = || table.by_probe.values().filter_map(|state| state.circuit.as_ref());
        let remembered = circuits().filter(|circuit| circuit.is_remembered()).count();
        let probed = circuits().count() - remembered;
        if remembered > MAX_REMEMBERED {
            table.by_probe.retain(|_, state| {
                state.circuit.take_if(|circuit| circuit.is_remembered());
                !state.is_empty()
            });
        }
        if table.circuit(probe).is_some_and(|circuit| !circuit.is_remembered()) || probed >= MAX_PROBED {
            return;
        }
        table.next_prober += 1;
        let prober = Prober { origins: Arc::clone(self), probe: Arc::from(probe), id: table.next_prober };
        let state = table.by_probe.entry(Arc::clone(&prober.probe)).or_default();
        state.circuit = Some(Circuit::half_open(prober.id, now));
        drop(table);
        prober.start();
    }

    /// Is the server taken to be down?
    #[cfg(test)]
    fn is_open(&self, probe: &str) -> bool {
        self.lock().circuit(probe).is_some_and(|circuit| circuit.open().is_some())
    }

    #[cfg(test)]
    fn is_closed(&self, probe: &str) -> bool {
        self.lock().circuit(probe).is_none_or(|circuit| circuit.is_closed())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl Table {
    fn circuit(&mut self, probe: &str) -> Option<&mut Circuit> {
        self.by_probe.get_mut(probe)?.circuit.as_mut()
    }

    fn bulkhead(&mut self, probe: &str) -> Option<&mut Bulkhead> {
        self.by_probe.get_mut(probe)?.bulkhead.as_mut()
    }

    /// The server's bulkhead; a new one if it has none.
    fn bulkhead_or_new(&mut self, probe: &Arc<str>, now: Instant) -> &mut Bulkhead {
        if self.by_probe.len() >= MAX_SERVERS {
            self.by_probe.retain(|_, state| {
                state.bulkhead.take_if(|bulkhead| bulkhead.is_empty());
                !state.is_empty()
            });
        }
        let state = self.by_probe.entry(Arc::clone(probe)).or_default();
        state.bulkhead.get_or_insert_with(|| Bulkhead::new(now))
    }

    /// Drops the server's bulkhead, and its entry if nothing else is in it.
    fn drop_bulkhead(&mut self, probe: &str) {
        if let Some(state) = self.by_probe.get_mut(probe) {
            state.bulkhead = None;
            if state.is_empty() {
                self.by_probe.remove(probe);
            }
        }
    }

    /// How many requests hold a permit or wait, for all servers together.
    fn requests(&self) -> usize {
        self.by_probe.values().filter_map(|state| state.bulkhead.as_ref()).map(Bulkhead::requests).sum()
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.circuit.is_none() && self.bulkhead.is_none()
    }
}

/// The one request that waits for the next probe of a server.
struct ProbeWaiter<'a> {
    origins: &'a Origins,
    probe: String,
}

impl Drop for ProbeWaiter<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.origins.lock().circuit(&self.probe).and_then(Circuit::open) {
            open.awaited = false;
        }
    }
}

#[cfg(test)]
mod tests {
    mod bulkhead;
    mod circuit_breaker;
}
