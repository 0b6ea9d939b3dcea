//! The open connections: how many there may be, which one is closed for a new one, and how they end at shutdown.
//!
//! Health probes have places that no other request can take. More connections are accepted than may have other requests in
//! progress, so there is always one that may be closed for a new connection, until the request of the new one shows whether
//! it is a probe. An admission in progress is never closed before the deadline of the shutdown: a decision that is made is also
//! delivered. Nothing here waits: a new connection without a place waits in the backlog of its listener.

mod table;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::table::{Entry, Table};
use crate::base::context::Deadline;
use crate::metrics::{Listener, Metrics};

pub(super) use self::table::Phase;

/// A connection, as far as the table of connections is concerned.
pub(super) trait Peer {
    /// Shuts its socket.
    fn shut(&self, how: Shutdown);
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Connections<C> {
    tls: usize,
    plain: usize,
    metrics: Arc<Metrics>,
    table: Mutex<Table<C>>,
    /// The last connection is gone.
    emptied: Condvar,
    /// Each connection is closed after its next response.
    draining: AtomicBool,
    /// No connection is accepted any more.
    closing: AtomicBool,
}

/// The kinds of requests that have different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// A health probe. It is answered at once, whatever else is in progress.
    Health,
    /// `/metrics`. One is answered at a time, because it costs far more than sending it.
    Metrics,
    /// Any other request.
    Other,
}

/// Whether a complete request may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Now.
    Granted,
    /// Later: [`Connections::next_granted`] gives its connection then.
    Queued,
    /// Its connection was closed for another one.
    Closed,
}

/// Whether there is a place for a new connection.
#[derive(Debug)]
pub(super) enum Room<C> {
    /// There is one.
    Free,
    /// There is one once this connection is closed. It is not in the table any more.
    Of(Arc<C>),
    /// There is none. It is worth trying again after this time, or when a connection ends.
    None(Duration),
}

/// The connection was closed for another one, or the server is closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// How long a new connection waits for a place before the next attempt.
const ADMIT_TIME: Duration = Duration::from_secs(1);
/// How long a complete request waits for a permit.
const PERMIT_TIME: Duration = Duration::from_secs(5);

impl<C: Peer> Connections<C> {
    /// `connections` in all may have a request in progress. With a plain listener, an eighth of them (at least one, at most
    /// 16) belongs to it, so that a flood on one listener starves neither health probes nor admissions on the other. Each
    /// listener accepts [`spare`] connections more.
    pub(super) fn new(connections: usize, plain_listener: bool, metrics: Arc<Metrics>) -> Self {
        let plain = if plain_listener { (connections / 8).clamp(1, 16) } else { 0 };
        let tls = connections.saturating_sub(plain).max(1);
        let [draining, closing] = [AtomicBool::new(false), AtomicBool::new(false)];
        Self { tls, plain, metrics, table: Mutex::default(), emptied: Condvar::new(), draining, closing }
    }

    /// Makes room for a new connection of this address. If all places are taken, a connection without a request in progress is
    /// given away: otherwise idle connections would keep kube-apiserver and the probes out for as long as a client likes.
    pub(super) fn make_room(&self, listener: Listener, from: IpAddr) -> Room<C> {
        let most = self.most(listener);
        let mut table = self.lock();
        if table.of(listener).open < most {
            return Room::Free;
        }
        match table.evict(listener, from, most / 2) {
            Ok(evicted) => {
                self.metrics.connections(listener, table.of(listener).open);
                Room::Of(evicted)
            }
            Err(wait) => Room::None(wait),
        }
    }

    /// Whether there is a place for a new connection without closing another one.
    pub(super) fn has_room(&self, listener: Listener) -> bool {
        self.lock().of(listener).open < self.most(listener)
    }

    /// Puts a new connection into the table. `make` is given its number. The client must send a byte before `deadline`.
    pub(super) fn insert(
        &self,
        listener: Listener,
        from: IpAddr,
        deadline: Instant,
        make: impl FnOnce(u64) -> Arc<C>,
    ) -> Arc<C> {
        let mut table = self.lock();
        let number = table.next_number();
        let connection = make(number);
        table.insert(number, Entry::new(listener, from, Arc::clone(&connection), number, deadline));
        self.metrics.connections(listener, table.of(listener).open);
        connection
    }

    /// The connection of this number, if it is open.
    pub(super) fn get(&self, number: u64) -> Option<Arc<C>> {
        self.lock().get(number)
    }

    /// The most open connections.
    fn most(&self, listener: Listener) -> usize {
        self.cap(listener) + spare(self.cap(listener))
    }

    /// The most requests in progress, probes not counted.
    fn cap(&self, listener: Listener) -> usize {
        match listener {
            Listener::Tls => self.tls,
            Listener::Plain => self.plain,
        }
    }

    /// Puts a connection into a phase, which must end before `deadline`. An error if the connection was closed for another one,
    /// or if it would wait for a request although the server is closing.
    pub(super) fn enter(&self, number: u64, phase: Phase, deadline: Option<Instant>) -> Result<(), Closed> {
        let mut table = self.lock();
        table.enter(number, phase, deadline)?;
        if phase == Phase::Waiting && self.closing.load(Ordering::SeqCst) { Err(Closed) } else { Ok(()) }
    }

    /// Gives the phase of a connection a new deadline.
    pub(super) fn extend(&self, number: u64, deadline: Instant) -> Result<(), Closed> {
        self.lock().extend(number, deadline)
    }

    /// A request is complete: may it be answered? Its response must be complete before `deadline`.
    pub(super) fn ask(&self, number: u64, kind: RequestKind, deadline: Instant) -> Permit {
        let mut table = self.lock();
        let Some(listener) = table.listener(number) else { return Permit::Closed };
        if self.is_free(&mut table, listener, kind) {
            table.grant(number, kind, deadline);
            return Permit::Granted;
        }
        let now = Instant::now();
        match table.enter(number, Phase::Queued(kind, now), Some(now + PERMIT_TIME)) {
            Ok(()) => {
                table.queue(listener, kind, number);
                Permit::Queued
            }
            Err(Closed) => Permit::Closed,
        }
    }

    /// Whether one more request of this kind may be answered.
    fn is_free(&self, table: &mut Table<C>, listener: Listener, kind: RequestKind) -> bool {
        match kind {
            RequestKind::Health => true,
            RequestKind::Other => table.of(listener).in_progress < self.cap(listener),
            RequestKind::Metrics => table.metrics.left().is_none(),
        }
    }

    /// The next connection whose request has waited for a permit and has it now.
    pub(super) fn next_granted(&self, deadline: Instant) -> Option<Arc<C>> {
        let mut table = self.lock();
        let kinds = [
            (Listener::Tls, RequestKind::Other),
            (Listener::Plain, RequestKind::Other),
            (Listener::Plain, RequestKind::Metrics),
        ];
        for (listener, kind) in kinds {
            if self.is_free(&mut table, listener, kind)
                && let Some(number) = table.next_queued(listener, kind)
            {
                table.grant(number, kind, deadline);
                return table.get(number);
            }
        }
        None
    }

    /// How long it may take until a request that waits for the permit of `/metrics` has it; `None` if none waits.
    pub(super) fn next_permit(&self) -> Option<Duration> {
        self.lock().next_permit()
    }

    /// Whether a request waits for a permit.
    pub(super) fn is_queued(&self) -> bool {
        self.lock().is_queued()
    }

    /// The connections whose deadline has passed.
    pub(super) fn expired(&self) -> Vec<Arc<C>> {
        self.lock().expired(Instant::now())
    }

    /// Whether the deadline of this connection has passed.
    pub(super) fn is_expired(&self, number: u64) -> bool {
        self.lock().is_expired(number, Instant::now())
    }

    /// Takes a connection out of the table. True if it was in it.
    pub(super) fn remove(&self, number: u64) -> bool {
        let mut table = self.lock();
        let Some(listener) = table.remove(number) else { return false };
        self.metrics.connections(listener, table.of(listener).open);
        if table.is_empty() {
            drop(table);
            self.emptied.notify_all();
        }
        true
    }

    /// Whether no connection is open.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// From now on each connection is closed after its next response.
    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Closes the idle connections. Only their reading side is shut: a client that has just begun to send still gets its
    /// response.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.lock().idle().for_each(|connection| connection.shut(Shutdown::Read));
    }

    /// Whether no connection is accepted any more.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Whether another request may follow a response.
    pub(super) fn may_keep_alive(&self) -> bool {
        !self.draining.load(Ordering::SeqCst) && !self.is_closing()
    }

    /// Waits until no connection is left. Returns how many are left at the deadline.
    pub(super) fn wait_until_empty(&self, deadline: Deadline) -> usize {
        let mut table = self.lock();
        while let (false, Some(left)) = (table.is_empty(), deadline.remaining()) {
            table = self.emptied.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        table.len()
    }

    /// Closes every connection that is left.
    pub(super) fn close_all(&self) {
        self.lock().all().for_each(|connection| connection.shut(Shutdown::Both));
    }

    /// Forgets all connections. Those that are still answered are closed when their responses come.
    pub(super) fn clear(&self) {
        let left = std::mem::take(&mut *self.lock());
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Table<C>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner) // nothing panics while it is held
    }
}

/// The connections that are accepted beyond those with requests in progress.
fn spare(cap: usize) -> usize {
    (cap / 2).clamp(1, 16)
}
