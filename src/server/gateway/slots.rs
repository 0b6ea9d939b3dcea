//! Who is connected: how many may be, who must go when one more comes, and how they are closed at the end.
//!
//! It never cuts a connection whose request is complete, but for the end's deadline: what is decided is also answered.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::metrics::{Limit, Listener, Metrics};

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

    /// A slot for a new connection; `None` if the end has begun, or there is none left. If all are taken, the one that
    /// has kept us waiting longest is cut and its slot given on: held for nothing, a hundred connections would keep
    /// kube-apiserver and the probes out for as long as somebody cares to open new ones.
    pub(super) fn take(self: &Arc<Self>, listener: Listener, stream: Arc<TcpStream>) -> Option<Slot> {
        let mut open = self.lock();
        let cap = match listener {
            Listener::Tls => self.tls,
            Listener::Plain => self.plain,
        };
        if open.count(listener) >= cap && !open.closing {
            self.metrics.limit(Limit::Connections);
            open = self
                .fewer
                .wait_timeout_while(open, LEAVING_TIME, Open::is_crowded)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if open.count(listener) >= cap && (open.is_crowded() || !open.evict(listener)) {
                return None;
            }
        }
        if open.closing {
            return None;
        }
        let id = open.number();
        open.connections.insert(
            id,
            Connection { listener, stream, phase: Phase::Waiting, silent_since: Some(Instant::now()), since: id },
        );
        self.metrics.connections(listener, open.count(listener));
        Some(Slot { slots: Arc::clone(self), id })
    }

    /// From here on each connection ends with its next answer.
    pub(super) fn part(&self) {
        self.lock().parting = true;
    }

    /// Takes no more connections and ends the idle ones. Only their reading side is shut: one that had just begun to
    /// send still gets its answer.
    pub(super) fn close(&self) {
        let mut open = self.lock();
        open.closing = true;
        for connection in open.connections.values().filter(|connection| connection.phase == Phase::Waiting) {
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
    /// A request has begun: at the end, it is waited for.
    pub(super) fn receiving(&self) {
        self.enter(Phase::Receiving);
    }

    /// A request is complete: the connection is left alone until it is answered. False: it was cut before.
    pub(super) fn answering(&self) -> bool {
        self.enter(Phase::Answering)
    }

    /// Nothing is in hand. False: the end has come, or the connection was cut; so close.
    pub(super) fn waiting(&self) -> bool {
        self.enter(Phase::Waiting) && !self.slots.lock().closing
    }

    /// May another request follow this one?
    pub(super) fn may_stay(&self) -> bool {
        let open = self.slots.lock();
        !open.parting && !open.closing
    }

    /// False if the connection was cut.
    fn enter(&self, phase: Phase) -> bool {
        let mut open = self.slots.lock();
        let number = open.number();
        let Some(connection) = open.connections.get_mut(&self.id) else { return false };
        connection.phase = phase;
        if phase == Phase::Answering {
            (connection.silent_since, connection.since) = (None, number);
        }
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        match open.connections.remove(&self.id) {
            Some(connection) => {
                self.slots.metrics.connections(connection.listener, open.count(connection.listener));
            }
            None => open.leaving = open.leaving.saturating_sub(1),
        }
        drop(open);
        self.slots.fewer.notify_all();
    }
}

/// Connections that were cut for others and whose threads have not ended yet. With so many, new ones wait: the cap is
/// there for the threads' sake.
const LEAVING: usize = 16;
/// And for so long. A thread that was cut has nothing more to do.
const LEAVING_TIME: Duration = Duration::from_secs(1);
/// How long a client may take to bring its first request without being the first to go. An honest one takes a few
/// milliseconds.
const NEWCOMER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Connection>,
    next: u64,
    leaving: usize,
    /// The end is near: nobody is to stay.
    parting: bool,
    /// The end has come: nobody gets in.
    closing: bool,
}

impl Open {
    fn is_crowded(&mut self) -> bool {
        self.leaving >= LEAVING && !self.closing
    }

    /// A number that is larger than all before.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Cuts one connection, if there is one that may be: first who has been here for a while without bringing a
    /// request, then who was of use longest ago. A crowd of silent clients so keeps nobody out, and none that was of
    /// use is cut for it, unless it fills all places within [`NEWCOMER`].
    fn evict(&mut self, listener: Listener) -> bool {
        let idlers = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.listener == listener && connection.phase != Phase::Answering);
        let Some((&id, _)) = idlers.min_by_key(|(_, connection)| (!connection.is_useless(), connection.since)) else {
            return false;
        };
        if let Some(connection) = self.connections.remove(&id) {
            shut(&connection, Shutdown::Both);
            self.leaving += 1;
        }
        true
    }

    /// At most a few hundred connections: counting them beats keeping a second count in step.
    fn count(&self, listener: Listener) -> usize {
        self.connections.values().filter(|connection| connection.listener == listener).count()
    }
}

#[derive(Debug)]
struct Connection {
    listener: Listener,
    stream: Arc<TcpStream>,
    phase: Phase,
    /// When it began; `None` once it has brought a complete request.
    silent_since: Option<Instant>,
    /// The number of its last complete request; before the first, of its beginning.
    since: u64,
}

impl Connection {
    fn is_useless(&self) -> bool {
        self.silent_since.is_some_and(|begin| begin.elapsed() >= NEWCOMER)
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It shakes hands, or nothing is in hand.
    Waiting,
    /// A request has begun to arrive.
    Receiving,
    /// A request is being decided or answered.
    Answering,
}

fn shut(connection: &Connection, how: Shutdown) {
    if let Err(error) = connection.stream.shutdown(how) {
        // The client was faster.
        log::trace!("a connection was closed already: {error}");
    }
}
