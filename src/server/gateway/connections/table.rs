//! The table of open connections, and the rule by which one is closed for a new one.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ADMIT_TIME, Closed, PERMIT_TIME, Peer, RequestKind};
use crate::metrics::Listener;

/// The age from which a connection without a request is closed first. An honest client sends its request within a few
/// milliseconds.
const NEW_TIME: Duration = Duration::from_secs(1);
/// A new connection is not closed sooner than this before it has sent a byte. A connection that waits for the next request is
/// not closed sooner than this after a response.
const SILENT_GRACE: Duration = Duration::from_millis(100);
/// A new connection is not closed sooner than this before its request is complete. A response to a probe has the same time.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// A new connection of an address with many connections is closed sooner, because all new connections wait behind it.
const MANY_GRACE: Duration = Duration::from_millis(25);
/// An admission that waits for a permit is not refused sooner than this. Other admissions take a few milliseconds.
const QUEUED_GRACE: Duration = Duration::from_millis(100);
/// After a response to `/metrics`, the next one waits this many times as long as the first one took. However many clients
/// ask, `/metrics` costs at most a quarter of a processor.
const METRICS_PAUSE: u32 = 3;

/// The open connections.
#[derive(Debug)]
pub(super) struct Table<C> {
    entries: HashMap<u64, Entry<C>>,
    last_number: u64,
    tls: Share,
    plain: Share,
    /// The requests that wait for the permit of `/metrics`.
    scrapes: VecDeque<u64>,
    pub(super) metrics: MetricsPermit,
}

/// The connections of one listener. Their numbers are kept beside the table, because each request needs them.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) open: usize,
    /// Requests in progress, probes and `/metrics` not counted.
    pub(super) in_progress: usize,
    /// The requests that wait for a permit.
    queue: VecDeque<u64>,
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

impl<C> Default for Table<C> {
    fn default() -> Self {
        let (entries, scrapes, metrics) = (HashMap::new(), VecDeque::new(), MetricsPermit::Free);
        Self { entries, last_number: 0, tls: Share::default(), plain: Share::default(), scrapes, metrics }
    }
}

impl<C: Peer> Table<C> {
    pub(super) fn of(&mut self, listener: Listener) -> &mut Share {
        match listener {
            Listener::Tls => &mut self.tls,
            Listener::Plain => &mut self.plain,
        }
    }

    /// A number that is larger than all before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn insert(&mut self, number: u64, entry: Entry<C>) {
        self.of(entry.listener).open += 1;
        self.entries.insert(number, entry);
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<C>> {
        self.entries.get(&number).map(|entry| Arc::clone(&entry.connection))
    }

    pub(super) fn listener(&self, number: u64) -> Option<Listener> {
        self.entries.get(&number).map(|entry| entry.listener)
    }

    /// Removes a connection, with what it holds. Returns its listener.
    pub(super) fn remove(&mut self, number: u64) -> Option<Listener> {
        self.take(number).map(|entry| entry.listener)
    }

    fn take(&mut self, number: u64) -> Option<Entry<C>> {
        let entry = self.entries.remove(&number)?;
        let share = self.of(entry.listener);
        share.open = share.open.saturating_sub(1);
        self.leave(entry.listener, entry.phase);
        Some(entry)
    }

    /// Gives back what a connection in this phase holds.
    fn leave(&mut self, listener: Listener, phase: Phase) {
        match phase {
            Phase::Answering(RequestKind::Other) => {
                let share = self.of(listener);
                share.in_progress = share.in_progress.saturating_sub(1);
            }
            Phase::Answering(RequestKind::Metrics) => {
                if let MetricsPermit::Taken(since) = self.metrics {
                    let pause = (since.elapsed() * METRICS_PAUSE).min(Duration::from_secs(1));
                    self.metrics = MetricsPermit::FreeAt(Instant::now() + pause);
                }
            }
            _ => {}
        }
    }

    /// Puts a connection into a phase.
    pub(super) fn enter(&mut self, number: u64, phase: Phase, deadline: Option<Instant>) -> Result<(), Closed> {
        let entry = self.entries.get_mut(&number).ok_or(Closed)?;
        entry.deadline = deadline;
        if (entry.phase, phase) == (Phase::Silent, Phase::Waiting) {
            return Ok(());
        }
        let (listener, before) = (entry.listener, std::mem::replace(&mut entry.phase, phase));
        if phase == Phase::Waiting {
            entry.idle_since = Instant::now();
        }
        if let Phase::Handshake(since) = before {
            // Only the client's own time makes its connection old.
            entry.silent_since = entry.silent_since.and_then(|silent| silent.checked_add(since.elapsed()));
        }
        self.leave(listener, before);
        Ok(())
    }

    pub(super) fn extend(&mut self, number: u64, deadline: Instant) -> Result<(), Closed> {
        let entry = self.entries.get_mut(&number).ok_or(Closed)?;
        entry.deadline = Some(deadline);
        Ok(())
    }

    /// Lets a request be answered.
    pub(super) fn grant(&mut self, number: u64, kind: RequestKind, deadline: Instant) {
        if self.enter(number, Phase::Answering(kind), Some(deadline)) == Err(Closed) {
            return;
        }
        match kind {
            RequestKind::Health => {}
            RequestKind::Metrics => self.metrics = MetricsPermit::Taken(Instant::now()),
            RequestKind::Other => {
                if let Some(listener) = self.listener(number) {
                    self.of(listener).in_progress += 1;
                }
            }
        }
        let used = self.next_number();
        if let Some(entry) = self.entries.get_mut(&number) {
            (entry.silent_since, entry.last_used) = (None, used);
        }
    }

    pub(super) fn queue(&mut self, listener: Listener, kind: RequestKind, number: u64) {
        match kind {
            RequestKind::Metrics => self.scrapes.push_back(number),
            RequestKind::Health | RequestKind::Other => self.of(listener).queue.push_back(number),
        }
    }

    /// The request that has waited longest for a permit of this kind. Those that do not wait any more are forgotten.
    pub(super) fn next_queued(&mut self, listener: Listener, kind: RequestKind) -> Option<u64> {
        loop {
            let number = match kind {
                RequestKind::Metrics => self.scrapes.pop_front(),
                RequestKind::Health | RequestKind::Other => self.of(listener).queue.pop_front(),
            }?;
            let phase = self.entries.get(&number).map(|entry| entry.phase);
            if matches!(phase, Some(Phase::Queued(queued, _)) if queued == kind) {
                return Some(number);
            }
        }
    }

    pub(super) fn is_queued(&self) -> bool {
        !(self.tls.queue.is_empty() && self.plain.queue.is_empty() && self.scrapes.is_empty())
    }

    pub(super) fn next_permit(&self) -> Option<Duration> {
        if self.scrapes.is_empty() { None } else { self.metrics.left() }
    }

    /// Takes out the connection that is closed for a new one of this address. If none may be closed yet, the error is when to
    /// try again.
    ///
    /// The first candidates are connections that have been open for [`NEW_TIME`] without a request, and those whose request
    /// is no probe and waits for a permit. On the plain listener, connections that had their response come next. New
    /// connections come last, and each has some time to send a request. Among equal candidates, one of the address with the
    /// most connections is closed first, then the one that has been idle longest. A connection of an address that has fewer
    /// connections than the new one's address is never closed for it, unless it is a first candidate. Silent clients
    /// therefore cannot keep new ones out, and an address with many connections takes places from itself. On the plain
    /// listener `many` connections are many.
    pub(super) fn evict(&mut self, listener: Listener, address: IpAddr, many: usize) -> Result<Arc<C>, Duration> {
        let here = || self.entries.iter().filter(move |(_, entry)| entry.listener == listener);
        // Counted once: a new connection costs one look at each other one, also when a thousand are open.
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        here().for_each(|(_, entry)| *by_address.entry(entry.from).or_default() += 1);
        let has = |address: &IpAddr| by_address.get(address).copied().unwrap_or_default();
        let candidates = || here().filter(|(_, other)| other.worth() == 0 || has(&other.from) >= has(&address));
        // kube-apiserver may have the most connections to the TLS listener.
        let has_many = |address: &IpAddr| listener == Listener::Plain && has(address) >= many.max(2);
        let grace = |entry: &Entry<C>| entry.grace(has_many(&entry.from));
        let closable = candidates().filter(|(_, entry)| grace(entry) == Some(Duration::ZERO));
        let first = closable.min_by_key(|(_, entry)| (entry.worth(), Reverse(has(&entry.from)), entry.last_used));
        let Some(number) = first.map(|(number, _)| *number) else {
            return Err(candidates().filter_map(|(_, entry)| grace(entry)).min().unwrap_or(ADMIT_TIME));
        };
        self.take(number).map(|entry| entry.connection).ok_or(ADMIT_TIME)
    }

    pub(super) fn expired(&self, now: Instant) -> Vec<Arc<C>> {
        let expired = self.entries.values().filter(|entry| entry.is_expired(now));
        expired.map(|entry| Arc::clone(&entry.connection)).collect()
    }

    pub(super) fn is_expired(&self, number: u64, now: Instant) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.is_expired(now))
    }

    /// The connections without a request in progress.
    pub(super) fn idle(&self) -> impl Iterator<Item = &C> {
        let idle = self.entries.values().filter(|entry| matches!(entry.phase, Phase::Silent | Phase::Waiting));
        idle.map(|entry| entry.connection.as_ref())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &C> {
        self.entries.values().map(|entry| entry.connection.as_ref())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Entry<C> {
    listener: Listener,
    from: IpAddr,
    connection: Arc<C>,
    phase: Phase,
    /// The end of its phase.
    deadline: Option<Instant>,
    /// When it was opened; `None` once it has sent a complete request.
    silent_since: Option<Instant>,
    /// When it began to wait for the next request.
    idle_since: Instant,
    /// The number of its last complete request; before the first one, that of its opening.
    last_used: u64,
}

impl<C> Entry<C> {
    pub(super) fn new(listener: Listener, from: IpAddr, connection: Arc<C>, number: u64, deadline: Instant) -> Self {
        let (idle_since, phase) = (Instant::now(), Phase::Silent);
        let (silent_since, deadline, last_used) = (Some(idle_since), Some(deadline), number);
        Self { listener, from, connection, phase, deadline, silent_since, idle_since, last_used }
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
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

    /// How long it may not be closed yet; `None`: not while it is in this phase.
    fn grace(&self, is_one_of_many: bool) -> Option<Duration> {
        let (grace, since) = match (self.phase, self.silent_since) {
            (Phase::Answering(_) | Phase::Handshake(_), _) => return None,
            (Phase::Queued(RequestKind::Other, since), _) => (QUEUED_GRACE, since),
            (Phase::Writing(since), _) => (GRACE, since),
            (Phase::Silent | Phase::Waiting | Phase::Receiving, Some(begin)) if is_one_of_many => (MANY_GRACE, begin),
            (Phase::Silent, Some(begin)) => (SILENT_GRACE, begin),
            (Phase::Waiting | Phase::Receiving, Some(begin)) => (GRACE, begin),
            (Phase::Waiting, None) if self.listener == Listener::Tls => (SILENT_GRACE, self.idle_since),
            (Phase::Queued(..) | Phase::Silent | Phase::Waiting | Phase::Receiving, _) => return Some(Duration::ZERO),
        };
        Some(grace.saturating_sub(since.elapsed()))
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server::gateway) enum Phase {
    /// The client has sent nothing yet.
    Silent,
    /// The client's part of the TLS handshake is worked on since this moment, or waits for that.
    Handshake(Instant),
    /// No request is in progress.
    Waiting,
    /// The TLS handshake or a request has begun to arrive.
    Receiving,
    /// Its request waits for a permit since this moment.
    Queued(RequestKind, Instant),
    /// A request is being decided or answered.
    Answering(RequestKind),
    /// The client does not take its response as fast as it is written, since this moment.
    Writing(Instant),
}
