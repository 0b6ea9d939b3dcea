//! Who is connected: how many may be, who must go when one more comes, and how they are closed at the end.
//!
//! Health probes have places of their own, which nothing else can take: more connections are let in than may have other
//! requests in hand, so there is always one that may be cut for a newcomer, until its request shows what it is. An admission
//! in hand is never cut, but for the end's deadline: what is decided is also answered.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::context::Deadline;
use crate::metrics::{Limit, Listener, Metrics};

/// All open connections.
#[derive(Debug)]
pub(crate) struct Slots {
    tls: usize,
    plain: usize,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
    changed: Condvar,
}

/// What a request is for, as far as places go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A probe: answered in no time, whatever else is in hand.
    Health,
    /// `/metrics`: one at a time, because each costs far more than its sender.
    Metrics,
    /// Anything else.
    Other,
}

/// A request may not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// Its connection was cut for another one.
    Cut,
    /// As many as may be in hand already.
    Full,
}

impl Slots {
    /// `connections` in all may have a request in hand. With a plain listener, an eighth of them (at least one, at most 16)
    /// is its own: a flood of one listener then starves neither health probes nor admissions on the other. Beyond that
    /// each listener has [`spare`] connections.
    pub(crate) fn new(connections: usize, plain_listener: bool, metrics: Arc<Metrics>) -> Self {
        let plain = if plain_listener { (connections / 8).clamp(1, 16) } else { 0 };
        let tls = connections.saturating_sub(plain).max(1);
        Self { tls, plain, metrics, open: Mutex::default(), changed: Condvar::new() }
    }

    /// A slot for a new connection; `None` if the end has begun, or there is none left. If all are taken, one that has
    /// nothing in hand is cut and its slot given on: held for nothing, a hundred connections would keep kube-apiserver and
    /// the probes out for as long as somebody cares to open new ones.
    pub(crate) fn take(self: &Arc<Self>, listener: Listener, stream: Arc<TcpStream>, from: IpAddr) -> Option<Slot> {
        let most = self.cap(listener) + spare(self.cap(listener));
        let mut open = self.lock();
        if open.count(listener) >= most {
            self.metrics.limit(Limit::Connections);
        }
        let deadline = Deadline::after(CROWDED_TIME);
        while !open.closing && open.count(listener) >= most {
            let mut wait = deadline.remaining()?;
            if *open.leaving(listener) < LEAVING {
                match open.evict(listener, from, most / 2) {
                    None => {
                        self.changed.notify_all();
                        break;
                    }
                    Some(left) => wait = wait.min(left),
                }
            }
            // Threads of those that were cut end, probes are answered: neither takes long.
            open = self.changed.wait_timeout(open, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        if open.closing {
            return None;
        }
        let id = open.number();
        let silent_since = Some(Instant::now());
        let connection = Connection { listener, from, stream, phase: Phase::Silent, silent_since, since: id };
        open.connections.insert(id, connection);
        self.metrics.connections(listener, open.count(listener));
        Some(Slot { slots: Arc::clone(self), listener, id })
    }

    /// The most requests that may be in hand, probes aside.
    fn cap(&self, listener: Listener) -> usize {
        match listener {
            Listener::Tls => self.tls,
            Listener::Plain => self.plain,
        }
    }

    /// From here on each connection ends with its next answer.
    pub(crate) fn part(&self) {
        self.lock().parting = true;
    }

    /// Takes no more connections and ends the idle ones. Only their reading side is shut: one that had just begun to
    /// send still gets its answer.
    pub(crate) fn close(&self) {
        let mut open = self.lock();
        open.closing = true;
        for connection in open.connections.values().filter(|connection| connection.is_idle()) {
            shut(connection, Shutdown::Read);
        }
        drop(open);
        self.changed.notify_all();
    }

    /// Waits until no connection is left, and says how many are by the deadline.
    pub(crate) fn wait_until_empty(&self, deadline: Deadline) -> usize {
        let mut open = self.lock();
        while let (false, Some(left)) = (open.connections.is_empty(), deadline.remaining()) {
            open = self.changed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        open.connections.len()
    }

    /// Cuts whatever is left.
    pub(crate) fn cut(&self) {
        for connection in self.lock().connections.values() {
            shut(connection, Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections beyond those whose requests may be in hand.
fn spare(cap: usize) -> usize {
    (cap / 2).clamp(1, 16)
}

/// An open connection's place. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    listener: Listener,
    id: u64,
}

impl Slot {
    /// A request has begun: at the end, it is waited for.
    pub(crate) fn receiving(&self) {
        self.enter(Phase::Receiving);
    }

    /// A request is complete, and has its turn: the connection is left alone until it is answered.
    pub(crate) fn answering(&self, errand: Errand) -> Result<(), NoPlace> {
        let deadline = Deadline::after(TURN_TIME);
        let mut open = self.slots.lock();
        loop {
            let wait = match errand {
                Errand::Health => None,
                Errand::Other => (open.in_hand(self.listener) >= self.slots.cap(self.listener)).then_some(TURN_TIME),
                Errand::Metrics => open.metrics.left(),
            };
            let Some(connection) = open.connections.get_mut(&self.id) else { return Err(NoPlace::Cut) };
            let Some(wait) = wait else { break };
            let left = deadline.remaining().ok_or(NoPlace::Full)?;
            if !matches!(connection.phase, Phase::Queued(..)) {
                connection.phase = Phase::Queued(errand, Instant::now());
                // A newcomer may be waiting for one that can be cut.
                self.slots.changed.notify_all();
            }
            open = self.slots.changed.wait_timeout(open, left.min(wait)).unwrap_or_else(PoisonError::into_inner).0;
        }
        if errand == Errand::Metrics {
            open.metrics = Turn::Taken(Instant::now());
        }
        let number = open.number();
        if let Some(connection) = open.connections.get_mut(&self.id) {
            connection.phase = Phase::Answering(errand);
            (connection.silent_since, connection.since) = (None, number);
        }
        Ok(())
    }

    /// The answer is there, and only has to be read. A probe or a scraper that takes its time may be cut meanwhile.
    pub(crate) fn writing(&self) {
        let mut open = self.slots.lock();
        let Some(connection) = open.connections.get_mut(&self.id) else { return };
        let phase = connection.phase;
        if self.listener == Listener::Plain || phase == Phase::Answering(Errand::Health) {
            connection.phase = Phase::Writing(Instant::now());
            open.metrics_end(phase);
            drop(open);
            self.slots.changed.notify_all();
        }
    }

    /// Nothing is in hand. False: the end has come, or the connection was cut; so close.
    pub(crate) fn waiting(&self) -> bool {
        self.enter(Phase::Waiting) && !self.slots.lock().closing
    }

    /// May another request follow this one?
    pub(crate) fn may_stay(&self) -> bool {
        let open = self.slots.lock();
        !open.parting && !open.closing
    }

    /// False if the connection was cut.
    fn enter(&self, phase: Phase) -> bool {
        let mut open = self.slots.lock();
        let Some(connection) = open.connections.get_mut(&self.id) else { return false };
        if (connection.phase, phase) == (Phase::Silent, Phase::Waiting) {
            return true;
        }
        let before = std::mem::replace(&mut connection.phase, phase);
        open.metrics_end(before);
        drop(open);
        if matches!(before, Phase::Answering(_)) {
            self.slots.changed.notify_all();
        }
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        match open.connections.remove(&self.id) {
            Some(connection) => {
                open.metrics_end(connection.phase);
                self.slots.metrics.connections(connection.listener, open.count(connection.listener));
            }
            None => {
                let leaving = open.leaving(self.listener);
                *leaving = leaving.saturating_sub(1);
            }
        }
        drop(open);
        self.slots.changed.notify_all();
    }
}

/// Connections of a listener that were cut for others and whose threads have not ended yet. With so many, new ones wait:
/// the cap is there for the threads' sake.
const LEAVING: usize = 16;
/// How long a new connection waits for its place. A thread that was cut has nothing more to do, and a probe takes no time.
const CROWDED_TIME: Duration = Duration::from_secs(2);
/// How long a client may take to bring its first request without being the first to go. An honest one takes a few
/// milliseconds.
const NEWCOMER: Duration = Duration::from_secs(1);
/// How long a complete request waits for its turn.
const TURN_TIME: Duration = Duration::from_secs(5);
/// No newcomer is cut sooner than this: until it has sent anything, in which an honest client loses no time...
const SILENT_GRACE: Duration = Duration::from_millis(100);
/// ... and until its request is complete; and no answer to a probe sooner.
const GRACE: Duration = Duration::from_millis(250);
/// One of a crowd is cut sooner: each that is not is waited for, by all that have come behind it.
const CROWD_GRACE: Duration = Duration::from_millis(25);
/// An admission that waits for its turn is not cut sooner than this: others are done in a few milliseconds.
const QUEUED_GRACE: Duration = Duration::from_millis(100);
/// After a page of metrics, nobody is given one for so many times as long as it took to make: however many ask, a
/// quarter of a processor is the most that it costs.
const METRICS_REST: u32 = 3;

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Connection>,
    next: u64,
    leaving_tls: usize,
    leaving_plain: usize,
    metrics: Turn,
    /// The end is near: nobody is to stay.
    parting: bool,
    /// The end has come: nobody gets in.
    closing: bool,
}

/// The one turn at `/metrics`.
#[derive(Debug, Default)]
enum Turn {
    #[default]
    Free,
    Taken(Instant),
    FreeAt(Instant),
}

impl Turn {
    /// How long it takes until it is free, if it is not; no more than that when it is taken.
    fn left(&self) -> Option<Duration> {
        match self {
            Self::Free => None,
            Self::Taken(_) => Some(TURN_TIME),
            Self::FreeAt(at) => Some(at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()),
        }
    }
}

impl Open {
    fn leaving(&mut self, listener: Listener) -> &mut usize {
        match listener {
            Listener::Tls => &mut self.leaving_tls,
            Listener::Plain => &mut self.leaving_plain,
        }
    }

    /// A number that is larger than all before.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Ends the turn at `/metrics`, if a connection in this phase has it.
    fn metrics_end(&mut self, phase: Phase) {
        if let (Phase::Answering(Errand::Metrics), Turn::Taken(since)) = (phase, &self.metrics) {
            let rest = (since.elapsed() * METRICS_REST).min(Duration::from_secs(1));
            self.metrics = Turn::FreeAt(Instant::now() + rest);
        }
    }

    /// Cuts one connection. If none may be cut yet, says when to try again.
    ///
    /// First goes one that has been here for a while without bringing a request, or whose request is no probe and waits for
    /// its turn; then, where only probes and scrapers come, one that had its answer already. Newcomers are cut last, and each
    /// has a little time to show what it is. Among equals one of the address that has the most goes first, then the one
    /// that was of use longest ago; and no connection of an address that has fewer than the newcomer's goes for it,
    /// unless it is of no use. A crowd of silent clients so keeps nobody out, and takes places from itself. An address that
    /// has `crowd` connections to the plain port is one.
    fn evict(&mut self, listener: Listener, newcomer: IpAddr, crowd: usize) -> Option<Duration> {
        let here = || self.connections.iter().filter(move |(_, connection)| connection.listener == listener);
        // Counted once: a newcomer costs no more than one look at each connection, also where a thousand are open.
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        here().for_each(|(_, connection)| *by_address.entry(connection.from).or_default() += 1);
        let has = |address: &IpAddr| by_address.get(address).copied().unwrap_or_default();
        let candidates = || here().filter(|(_, other)| other.worth() == 0 || has(&other.from) >= has(&newcomer));
        // The API server may well have most connections to the other port.
        let is_crowd = |address: &IpAddr| listener == Listener::Plain && has(address) >= crowd.max(2);
        let grace = |connection: &Connection| connection.grace(is_crowd(&connection.from));
        let free = candidates().filter(|(_, connection)| grace(connection) == Some(Duration::ZERO));
        let first =
            free.min_by_key(|(_, connection)| (connection.worth(), Reverse(has(&connection.from)), connection.since));
        let Some(id) = first.map(|(id, _)| *id) else {
            return Some(candidates().filter_map(|(_, connection)| grace(connection)).min().unwrap_or(CROWDED_TIME));
        };
        if let Some(connection) = self.connections.remove(&id) {
            shut(&connection, Shutdown::Both);
            *self.leaving(listener) += 1;
        }
        None
    }

    /// At most a few hundred connections: counting them beats keeping a second count in step.
    fn count(&self, listener: Listener) -> usize {
        self.connections.values().filter(|connection| connection.listener == listener).count()
    }

    /// Requests of a listener that are in hand, probes aside.
    fn in_hand(&self, listener: Listener) -> usize {
        let other = |connection: &&Connection| {
            connection.listener == listener && connection.phase == Phase::Answering(Errand::Other)
        };
        self.connections.values().filter(other).count()
    }
}

#[derive(Debug)]
struct Connection {
    listener: Listener,
    from: IpAddr,
    stream: Arc<TcpStream>,
    phase: Phase,
    /// When it began; `None` once it has brought a complete request.
    silent_since: Option<Instant>,
    /// The number of its last complete request; before the first, of its beginning.
    since: u64,
}

impl Connection {
    /// The less, the sooner it goes. kube-apiserver keeps its connections; who probes or scrapes dials again.
    fn worth(&self) -> u8 {
        match (self.phase, self.silent_since, self.listener) {
            (Phase::Queued(..), _, _) => 0,
            (_, Some(begin), _) if begin.elapsed() >= NEWCOMER => 0,
            (_, None, Listener::Plain) => 1,
            (_, Some(_), Listener::Plain) | (_, _, Listener::Tls) => 2,
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Silent | Phase::Waiting)
    }

    /// For how long it may not be cut yet; `None`: not until that changes.
    fn grace(&self, is_of_crowd: bool) -> Option<Duration> {
        let (grace, since) = match (self.phase, self.silent_since) {
            (Phase::Answering(_), _) => return None,
            (Phase::Queued(Errand::Other, since), _) => (QUEUED_GRACE, since),
            (Phase::Writing(since), _) => (GRACE, since),
            (Phase::Silent | Phase::Waiting | Phase::Receiving, Some(begin)) if is_of_crowd => (CROWD_GRACE, begin),
            (Phase::Silent, Some(begin)) => (SILENT_GRACE, begin),
            (Phase::Waiting | Phase::Receiving, Some(begin)) => (GRACE, begin),
            (Phase::Queued(..) | Phase::Silent | Phase::Waiting | Phase::Receiving, _) => return Some(Duration::ZERO),
        };
        Some(grace.saturating_sub(since.elapsed()))
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was heard of it yet.
    Silent,
    /// Nothing is in hand.
    Waiting,
    /// It shakes hands, or a request has begun to arrive.
    Receiving,
    /// Its request waits for its turn since then.
    Queued(Errand, Instant),
    /// A request is being decided or answered.
    Answering(Errand),
    /// A probe or a scraper has been given its answer to read since then.
    Writing(Instant),
}

fn shut(connection: &Connection, how: Shutdown) {
    if let Err(error) = connection.stream.shutdown(how) {
        // The client was faster.
        log::trace!("a connection was closed already: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn connection(slots: &Arc<Slots>, from: IpAddr) -> Slot {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        slots.take(Listener::Plain, Arc::new(stream), from).unwrap()
    }

    fn slots() -> Arc<Slots> {
        // Four requests in hand, and two connections beyond.
        Arc::new(Slots::new(32, true, Arc::new(Metrics::new())))
    }

    #[test]
    fn one_client_takes_places_from_itself() {
        let slots = slots();
        let probe = connection(&slots, OTHER);
        let crowd: Vec<_> = (0..16).map(|_| connection(&slots, ONE)).collect();
        assert!(probe.waiting(), "it came first, but the others came all from one address");
        drop(crowd);
    }

    #[test]
    fn who_had_an_answer_goes_before_who_has_not_asked_yet() {
        let slots = slots();
        let served: Vec<_> = (0..5).map(|_| connection(&slots, ONE)).collect();
        let probe = connection(&slots, ONE);
        for slot in &served {
            assert_eq!(slot.answering(Errand::Health), Ok(()));
            slot.writing();
            assert!(slot.waiting());
        }
        let more: Vec<_> = (0..3).map(|_| connection(&slots, ONE)).collect();
        assert!(probe.waiting() && more.iter().all(Slot::waiting));
        assert_eq!(served.iter().filter(|slot| slot.waiting()).count(), 2);
    }

    #[test]
    fn metrics_are_made_for_one_at_a_time_and_not_without_a_pause() {
        let slots = slots();
        let [one, other] = [(); 2].map(|()| connection(&slots, ONE));
        assert_eq!(one.answering(Errand::Metrics), Ok(()));
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| other.answering(Errand::Metrics));
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(one.slots.lock().in_hand(Listener::Plain), 0, "neither counts among what is in hand");
            one.writing();
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
        // A turn ends with its connection, however that ends.
        drop(other);
        assert_eq!(one.answering(Errand::Metrics), Ok(()));
    }

    #[test]
    fn a_connection_that_is_cut_gets_no_turn() {
        let slots = slots();
        let first = connection(&slots, ONE);
        assert_eq!(first.answering(Errand::Metrics), Ok(()));
        let second = connection(&slots, ONE);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| second.answering(Errand::Metrics));
            let crowd: Vec<_> = (0..12).map(|_| connection(&slots, ONE)).collect();
            assert_eq!(waiting.join().unwrap(), Err(NoPlace::Cut));
            drop(crowd);
        });
    }

    #[test]
    fn who_stands_behind_a_crowd_of_one_address_does_not_wait_long() {
        let slots = slots();
        let begin = Instant::now();
        // Six at a time, each of which has begun a request.
        let mut crowd = Vec::new();
        for _ in 0..60 {
            crowd.push(connection(&slots, ONE));
            // The threads of those that were cut end.
            crowd.retain(|slot| slot.enter(Phase::Receiving));
        }
        let probe = connection(&slots, OTHER);
        assert!(begin.elapsed() < 5 * GRACE, "{:?}", begin.elapsed());
        assert!(probe.waiting());
        drop(crowd);
    }
}
