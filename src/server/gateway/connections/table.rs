//! The table of open connections, and the rule by which one is closed for a new one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ADMIT_TIME, PERMIT_TIME, RequestKind};
use crate::metrics::Listener;

/// The age from which a connection without a request is closed first. An honest client sends its request within a few
/// milliseconds.
const NEW_TIME: Duration = Duration::from_secs(1);
/// A new connection is not closed sooner than this before it has sent a byte...
const SILENT_GRACE: Duration = Duration::from_millis(100);
/// ... and not sooner than this before its request is complete. A response to a probe has the same time.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// A new connection of an address with many connections is closed sooner, because all new connections wait behind it.
const MANY_GRACE: Duration = Duration::from_millis(25);
/// An admission that waits for a permit is not closed sooner than this. Other admissions take a few milliseconds.
const QUEUED_GRACE: Duration = Duration::from_millis(100);
/// After a response to `/metrics`, the next one waits this many times as long as the first one took. However many clients
/// ask, `/metrics` costs at most a quarter of a processor.
const METRICS_PAUSE: u32 = 3;

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) connections: HashMap<u64, Connection>,
    last_number: u64,
    leaving_tls: usize,
    leaving_plain: usize,
    pub(super) metrics: MetricsPermit,
    /// Each connection is closed after its next response.
    pub(super) draining: bool,
    /// No connection is accepted any more.
    pub(super) closing: bool,
}

/// The one permit for `/metrics`.
#[derive(Debug, Default)]
pub(super) enum MetricsPermit {
    #[default]
    Free,
    Taken(Instant),
    FreeAt(Instant),
}

impl MetricsPermit {
    /// How long it may take until it is free; `None` if it is free now.
    pub(super) fn left(&self) -> Option<Duration> {
        match self {
            Self::Free => None,
            Self::Taken(_) => Some(PERMIT_TIME),
            Self::FreeAt(at) => Some(at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()),
        }
    }
}

impl Table {
    /// The number of connections of a listener that were closed for others and whose threads have not ended yet.
    pub(super) fn leaving(&mut self, listener: Listener) -> &mut usize {
        match listener {
            Listener::Tls => &mut self.leaving_tls,
            Listener::Plain => &mut self.leaving_plain,
        }
    }

    /// A number that is larger than all before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Gives the permit for `/metrics` back, if a connection in this phase has it.
    pub(super) fn release_metrics_permit(&mut self, phase: Phase) {
        if let (Phase::Answering(RequestKind::Metrics), MetricsPermit::Taken(since)) = (phase, &self.metrics) {
            let pause = (since.elapsed() * METRICS_PAUSE).min(Duration::from_secs(1));
            self.metrics = MetricsPermit::FreeAt(Instant::now() + pause);
        }
    }

    /// Closes one connection. If none may be closed yet, returns when to try again.
    ///
    /// The first candidates are connections that have been open for [`NEW_TIME`] without a request, and those whose request
    /// is no probe and waits for a permit. On the plain listener, connections that had their response come next. New
    /// connections come last, and each has some time to send a request. Among equal candidates, one of the address with the
    /// most connections is closed first, then the one that has been idle longest. A connection of an address that has fewer
    /// connections than the new one's address is never closed for it, unless it is a first candidate. Silent clients
    /// therefore cannot keep new ones out, and an address with many connections takes places from itself. On the plain
    /// listener `many` connections are many.
    pub(super) fn evict(&mut self, listener: Listener, address: IpAddr, many: usize) -> Option<Duration> {
        let here = || self.connections.iter().filter(move |(_, connection)| connection.listener == listener);
        // Counted once: a new connection costs one look at each other one, also when a thousand are open.
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        here().for_each(|(_, connection)| *by_address.entry(connection.from).or_default() += 1);
        let has = |address: &IpAddr| by_address.get(address).copied().unwrap_or_default();
        let candidates = || here().filter(|(_, other)| other.worth() == 0 || has(&other.from) >= has(&address));
        // kube-apiserver may have the most connections to the TLS listener.
        let has_many = |address: &IpAddr| listener == Listener::Plain && has(address) >= many.max(2);
        let grace = |connection: &Connection| connection.grace(has_many(&connection.from));
        let closable = candidates().filter(|(_, connection)| grace(connection) == Some(Duration::ZERO));
        let first = closable
            .min_by_key(|(_, connection)| (connection.worth(), Reverse(has(&connection.from)), connection.last_used));
        let Some(id) = first.map(|(id, _)| *id) else {
            return Some(candidates().filter_map(|(_, connection)| grace(connection)).min().unwrap_or(ADMIT_TIME));
        };
        if let Some(connection) = self.connections.remove(&id) {
            connection.shut(Shutdown::Both);
            *self.leaving(listener) += 1;
        }
        None
    }

    /// The connections of a listener. There are at most a few hundred; a second count would have to be kept in step.
    pub(super) fn count(&self, listener: Listener) -> usize {
        self.connections.values().filter(|connection| connection.listener == listener).count()
    }

    /// The requests of a listener in progress, probes and `/metrics` not counted.
    pub(super) fn in_progress(&self, listener: Listener) -> usize {
        let other = |connection: &&Connection| {
            connection.listener == listener && connection.phase == Phase::Answering(RequestKind::Other)
        };
        self.connections.values().filter(other).count()
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    listener: Listener,
    from: IpAddr,
    stream: Arc<TcpStream>,
    pub(super) phase: Phase,
    /// When it was opened; `None` once it has sent a complete request.
    pub(super) silent_since: Option<Instant>,
    /// The number of its last complete request; before the first one, that of its opening.
    pub(super) last_used: u64,
}

impl Connection {
    pub(super) fn new(listener: Listener, from: IpAddr, stream: Arc<TcpStream>, number: u64) -> Self {
        let silent_since = Some(Instant::now());
        Self { listener, from, stream, phase: Phase::Silent, silent_since, last_used: number }
    }

    /// The lower it is, the sooner the connection is closed. kube-apiserver keeps its connections; probes and scrapers
    /// connect again.
    fn worth(&self) -> u8 {
        match (self.phase, self.silent_since, self.listener) {
            (Phase::Queued(..), _, _) => 0,
            (_, Some(begin), _) if begin.elapsed() >= NEW_TIME => 0,
            (_, None, Listener::Plain) => 1,
            (_, Some(_), Listener::Plain) | (_, _, Listener::Tls) => 2,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Silent | Phase::Waiting)
    }

    /// How long it may not be closed yet; `None`: not while it is in this phase.
    fn grace(&self, is_one_of_many: bool) -> Option<Duration> {
        let (grace, since) = match (self.phase, self.silent_since) {
            (Phase::Answering(_), _) => return None,
            (Phase::Queued(RequestKind::Other, since), _) => (QUEUED_GRACE, since),
            (Phase::Writing(since), _) => (GRACE, since),
            (Phase::Silent | Phase::Waiting | Phase::Receiving, Some(begin)) if is_one_of_many => (MANY_GRACE, begin),
            (Phase::Silent, Some(begin)) => (SILENT_GRACE, begin),
            (Phase::Waiting | Phase::Receiving, Some(begin)) => (GRACE, begin),
            (Phase::Queued(..) | Phase::Silent | Phase::Waiting | Phase::Receiving, _) => return Some(Duration::ZERO),
        };
        Some(grace.saturating_sub(since.elapsed()))
    }

    pub(super) fn shut(&self, how: Shutdown) {
        if let Err(error) = self.stream.shutdown(how) {
            // The client closed it first.
            log::trace!("a connection was closed already: {error}");
        }
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client has sent nothing yet.
    Silent,
    /// No request is in progress.
    Waiting,
    /// The TLS handshake or a request has begun to arrive.
    Receiving,
    /// Its request waits for a permit since this moment.
    Queued(RequestKind, Instant),
    /// A request is being decided or answered.
    Answering(RequestKind),
    /// A probe or a scraper may read its response since this moment.
    Writing(Instant),
}
