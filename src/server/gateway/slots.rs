//! Who is connected: how many may be, which are idle, and how they are closed at the end.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::deadline::Deadline;
use crate::metrics::{Listener, Metrics};

/// All open connections.
#[derive(Debug)]
pub(super) struct Slots {
    tls: usize,
    plain: usize,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
    fewer: Condvar,
}

impl Slots {
    /// `connections` in all. With a plain listener, an eighth of them (at least one, at most 16) is its own: a flood
    /// of one listener then starves neither health probes nor admissions on the other.
    pub(super) fn new(connections: usize, plain_listener: bool, metrics: Arc<Metrics>) -> Self {
        let plain = if plain_listener { (connections / 8).clamp(1, 16) } else { 0 };
        let tls = connections.saturating_sub(plain).max(1);
        Self { tls, plain, metrics, open: Mutex::default(), fewer: Condvar::new() }
    }

    /// A slot for a new connection; `None` if there is none left, or the end has begun.
    pub(super) fn take(self: &Arc<Self>, listener: Listener, stream: Arc<TcpStream>) -> Option<Slot> {
        let mut open = self.lock();
        let cap = match listener {
            Listener::Tls => self.tls,
            Listener::Plain => self.plain,
        };
        if open.closing || open.count(listener) >= cap {
            return None;
        }
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Connection { listener, stream, busy: false });
        self.metrics.connections(listener, open.count(listener));
        Some(Slot { slots: Arc::clone(self), id })
    }

    /// Takes no more connections and ends the idle ones. Only their reading side is shut: one that had just begun to
    /// send still gets its answer.
    pub(super) fn close(&self) {
        let mut open = self.lock();
        open.closing = true;
        for connection in open.connections.values().filter(|connection| !connection.busy) {
            shut(connection, Shutdown::Read);
        }
    }

    /// Waits until no connection is left, and says how many are by the deadline.
    pub(super) fn wait_until_empty(&self, deadline: Deadline) -> usize {
        let mut open = self.lock();
        while let (false, Some(left)) = (open.connections.is_empty(), deadline.remaining()) {
            open = self.fewer.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        open.connections.len()
    }

    /// Cuts whatever is left.
    pub(super) fn cut(&self) {
        for connection in self.lock().connections.values() {
            shut(connection, Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection's place. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
}

impl Slot {
    /// A request has begun: the connection is left alone until it is answered.
    pub(super) fn busy(&self) {
        self.set(true);
    }

    /// Nothing is in hand. False: the end has begun, so close.
    pub(super) fn idle(&self) -> bool {
        self.set(false)
    }

    /// May another request follow this one?
    pub(super) fn may_stay(&self) -> bool {
        !self.slots.lock().closing
    }

    fn set(&self, busy: bool) -> bool {
        let mut open = self.slots.lock();
        if let Some(connection) = open.connections.get_mut(&self.id) {
            connection.busy = busy;
        }
        !open.closing
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        if let Some(connection) = open.connections.remove(&self.id) {
            self.slots.metrics.connections(connection.listener, open.count(connection.listener));
        }
        drop(open);
        self.slots.fewer.notify_all();
    }
}

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Connection>,
    next: u64,
    closing: bool,
}

impl Open {
    /// At most a few hundred connections: counting them beats keeping a second count in step.
    fn count(&self, listener: Listener) -> usize {
        self.connections.values().filter(|connection| connection.listener == listener).count()
    }
}

#[derive(Debug)]
struct Connection {
    listener: Listener,
    stream: Arc<TcpStream>,
    busy: bool,
}

fn shut(connection: &Connection, how: Shutdown) {
    if let Err(error) = connection.stream.shutdown(how) {
        // The client was faster.
        log::trace!("a connection was closed already: {error}");
    }
}
