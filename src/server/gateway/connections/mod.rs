//! The open connections: how many there may be, which one is closed for a new one, and how they end at shutdown.
//!
//! Health probes have places that no other request can take. More connections are accepted than may have other requests in
//! progress, so there is always one that may be closed for a new connection, until the request of the new one shows whether
//! it is a probe. An admission in progress is never closed before the deadline of the shutdown: a decision that is made is also
//! delivered.

mod table;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::table::{Connection, MetricsPermit, Phase, Table};
use crate::base::context::Deadline;
use crate::metrics::{Limit, Listener, Metrics};

/// All open connections.
#[derive(Debug)]
pub(in crate::server) struct Connections {
    tls: usize,
    plain: usize,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
    changed: Condvar,
}

/// The kinds of requests that have different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum RequestKind {
    /// A health probe. It is answered at once, whatever else is in progress.
    Health,
    /// `/metrics`. One is answered at a time, because it costs far more than sending it.
    Metrics,
    /// Any other request.
    Other,
}

/// A request got no permit to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum NoPermit {
    /// Its connection was closed for another one.
    Closed,
    /// The most requests are in progress already.
    Busy,
}

/// The connections of a listener that were closed for others and whose threads have not ended yet. At this number, new
/// connections wait: the limit on connections is a limit on threads.
const LEAVING: usize = 16;
/// How long a new connection waits for a place. The thread of a closed connection ends soon, and a probe takes no time.
const ADMIT_TIME: Duration = Duration::from_secs(2);
/// How long a complete request waits for a permit.
const PERMIT_TIME: Duration = Duration::from_secs(5);

impl Connections {
    /// `connections` in all may have a request in progress. With a plain listener, an eighth of them (at least one, at most
    /// 16) belongs to it, so that a flood on one listener starves neither health probes nor admissions on the other. Each
    /// listener accepts [`spare`] connections more.
    pub(in crate::server) fn new(connections: usize, plain_listener: bool, metrics: Arc<Metrics>) -> Self {
        let plain = if plain_listener { (connections / 8).clamp(1, 16) } else { 0 };
        let tls = connections.saturating_sub(plain).max(1);
        Self { tls, plain, metrics, table: Mutex::default(), changed: Condvar::new() }
    }

    /// A place for a new connection; `None` if the server is closing, or if there is no place. If all places are taken, a
    /// connection without a request in progress is closed and its place is given away: otherwise a hundred idle connections
    /// would keep kube-apiserver and the probes out for as long as a client opens new ones.
    pub(in crate::server) fn admit(
        self: &Arc<Self>,
        listener: Listener,
        stream: Arc<TcpStream>,
        from: IpAddr,
    ) -> Option<ConnectionGuard> {
        let most = self.cap(listener) + spare(self.cap(listener));
        let mut table = self.lock();
        if table.count(listener) >= most {
            self.metrics.limit(Limit::Connections);
        }
        let deadline = Deadline::after(ADMIT_TIME);
        while !table.closing && table.count(listener) >= most {
            let mut wait = deadline.remaining()?;
            if *table.leaving(listener) < LEAVING {
                match table.evict(listener, from, most / 2) {
                    None => {
                        self.changed.notify_all();
                        break;
                    }
                    Some(left) => wait = wait.min(left),
                }
            }
            // The threads of closed connections end, and probes are answered. Neither takes long.
            table = self.changed.wait_timeout(table, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        if table.closing {
            return None;
        }
        let id = table.next_number();
        table.connections.insert(id, Connection::new(listener, from, stream, id));
        self.metrics.connections(listener, table.count(listener));
        Some(ConnectionGuard { connections: Arc::clone(self), listener, id })
    }

    /// The most requests in progress, probes not counted.
    fn cap(&self, listener: Listener) -> usize {
        match listener {
            Listener::Tls => self.tls,
            Listener::Plain => self.plain,
        }
    }

    /// From now on each connection is closed after its next response.
    pub(in crate::server) fn start_draining(&self) {
        self.lock().draining = true;
    }

    /// Accepts no more connections and closes the idle ones. Only their reading side is shut: a client that has just begun to
    /// send still gets its response.
    pub(in crate::server) fn close(&self) {
        let mut table = self.lock();
        table.closing = true;
        for connection in table.connections.values().filter(|connection| connection.is_idle()) {
            connection.shut(Shutdown::Read);
        }
        drop(table);
        self.changed.notify_all();
    }

    /// Waits until no connection is left. Returns how many are left at the deadline.
    pub(in crate::server) fn wait_until_empty(&self, deadline: Deadline) -> usize {
        let mut table = self.lock();
        while let (false, Some(left)) = (table.connections.is_empty(), deadline.remaining()) {
            table = self.changed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        table.connections.len()
    }

    /// Closes every connection that is left.
    pub(in crate::server) fn close_all(&self) {
        for connection in self.lock().connections.values() {
            connection.shut(Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections that are accepted beyond those with requests in progress.
fn spare(cap: usize) -> usize {
    (cap / 2).clamp(1, 16)
}

/// The place of an open connection. Dropping it frees the place.
#[derive(Debug)]
pub(in crate::server) struct ConnectionGuard {
    connections: Arc<Connections>,
    listener: Listener,
    id: u64,
}

impl ConnectionGuard {
    /// A request has begun to arrive. At shutdown the server waits for it.
    pub(in crate::server) fn receiving(&self) {
        self.enter(Phase::Receiving);
    }

    /// A request is complete: waits for a permit to answer it. The connection is not closed for others until then.
    pub(in crate::server) fn answering(&self, kind: RequestKind) -> Result<(), NoPermit> {
        let deadline = Deadline::after(PERMIT_TIME);
        let cap = self.connections.cap(self.listener);
        let mut table = self.connections.lock();
        loop {
            let wait = match kind {
                RequestKind::Health => None,
                RequestKind::Other => (table.in_progress(self.listener) >= cap).then_some(PERMIT_TIME),
                RequestKind::Metrics => table.metrics.left(),
            };
            let Some(connection) = table.connections.get_mut(&self.id) else { return Err(NoPermit::Closed) };
            let Some(wait) = wait else { break };
            let left = deadline.remaining().ok_or(NoPermit::Busy)?;
            if !matches!(connection.phase, Phase::Queued(..)) {
                connection.phase = Phase::Queued(kind, Instant::now());
                // A new connection may be waiting for one that may be closed.
                self.connections.changed.notify_all();
            }
            table =
                self.connections.changed.wait_timeout(table, left.min(wait)).unwrap_or_else(PoisonError::into_inner).0;
        }
        if kind == RequestKind::Metrics {
            table.metrics = MetricsPermit::Taken(Instant::now());
        }
        let number = table.next_number();
        if let Some(connection) = table.connections.get_mut(&self.id) {
            connection.phase = Phase::Answering(kind);
            (connection.silent_since, connection.last_used) = (None, number);
        }
        Ok(())
    }

    /// The response is complete. From now on a probe or a scraper that reads it slowly may be closed.
    pub(in crate::server) fn writing(&self) {
        let mut table = self.connections.lock();
        let Some(connection) = table.connections.get_mut(&self.id) else { return };
        let phase = connection.phase;
        if self.listener == Listener::Plain || phase == Phase::Answering(RequestKind::Health) {
            connection.phase = Phase::Writing(Instant::now());
            table.release_metrics_permit(phase);
            drop(table);
            self.connections.changed.notify_all();
        }
    }

    /// No request is in progress. False: the server is closing, or the connection was closed for another one.
    pub(in crate::server) fn waiting(&self) -> bool {
        self.enter(Phase::Waiting) && !self.connections.lock().closing
    }

    /// Whether another request may follow this one.
    pub(in crate::server) fn may_keep_alive(&self) -> bool {
        let table = self.connections.lock();
        !table.draining && !table.closing
    }

    /// False if the connection was closed for another one.
    fn enter(&self, phase: Phase) -> bool {
        let mut table = self.connections.lock();
        let Some(connection) = table.connections.get_mut(&self.id) else { return false };
        if (connection.phase, phase) == (Phase::Silent, Phase::Waiting) {
            return true;
        }
        let before = std::mem::replace(&mut connection.phase, phase);
        table.release_metrics_permit(before);
        drop(table);
        if matches!(before, Phase::Answering(_)) {
            self.connections.changed.notify_all();
        }
        true
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        match table.connections.remove(&self.id) {
            Some(connection) => {
                table.release_metrics_permit(connection.phase);
                self.connections.metrics.connections(self.listener, table.count(self.listener));
            }
            None => {
                let leaving = table.leaving(self.listener);
                *leaving = leaving.saturating_sub(1);
            }
        }
        drop(table);
        self.connections.changed.notify_all();
    }
}
