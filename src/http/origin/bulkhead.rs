//! How many requests wait for one trust server. Whoever waits keeps no worker (`crate::base::waiting`), but its connection, of
//! which there are not many; and a server that is asked by all of them at once becomes slower still.
//!
//! So at most half as many requests as there are workers ask one server at a time. The others wait for their turn, or for
//! what another request is fetching, but not always to their deadline:
//! - Once a server has been silent for [`PATIENCE`], no more requests wait for it than may ask it. A request that would
//!   ask goes before one that only waits, so that one repository that stalls does not keep others from the server.
//! - A request that has waited for so long is told to go, if more requests wait for this server than there are places
//!   left for all others. One slow server so holds half of the places at most, two of them a third each, and there
//!   are always some left for requests that need another server, or none. What is over sooner is bounded by nothing: a
//!   rollout waits whole for its one repository.
//!
//! Turns come in the order in which requests began to wait, and one whose credentials open nothing goes to the end of the
//! line with the next of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::context::{Deadline, RequestId};
use crate::http::url::TrustServer;

/// After this time without an answer to anybody a server is silent, and a request that has waited for so long is one of
/// those that are looked at: long enough for three round trips by satellite.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it is remembered that a server was silent when the last one left it.
const MEMORY: Duration = Duration::from_secs(30);
/// Most servers of which that is remembered.
const MAX_SERVERS: usize = 1_000;

/// All that wait, by the server. Shared by all workers.
pub(crate) struct Crowd {
    share: usize,
    /// How many requests there can be at once; all servers share them.
    places: usize,
    patience: Duration,
    queues: Mutex<HashMap<TrustServer, Queue>>,
    moved: Condvar,
}

/// Those who wait for one server. A request counts once, however many of its images do.
struct Queue {
    asking: Counted,
    /// For their turn, or for what another one fetches.
    waiting: Counted,
    /// The tickets of those that wait for their turn, and the next one.
    line: BTreeSet<(Instant, u64)>,
    next_ticket: u64,
    /// When the server last answered, or was asked after a time in which nobody did.
    heard: Instant,
    left: Instant,
}

type Counted = BTreeMap<RequestId, usize>;

impl Crowd {
    /// A crowd of at most `places` requests, of which half as many as there are workers may ask one server.
    pub(crate) fn new(workers: usize, places: usize) -> Self {
        Self {
            share: (workers / 2).max(1),
            places,
            patience: PATIENCE,
            queues: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    /// The same, with another patience.
    #[cfg(test)]
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Waits for the turn to ask the server, of a request that has waited for it since then, if only for what another
    /// one fetched.
    pub(crate) fn turn_since<'a>(
        &'a self,
        since: Instant,
        server: &'a TrustServer,
        deadline: Deadline,
    ) -> Result<Turn<'a>, NoTurn> {
        self.line_up(since, server, deadline, Times::First)
    }

    #[cfg(test)]
    fn turn<'a>(&'a self, server: &'a TrustServer, deadline: Deadline) -> Result<Turn<'a>, NoTurn> {
        self.turn_since(Instant::now(), server, deadline)
    }

    fn line_up<'a>(
        &'a self,
        since: Instant,
        server: &'a TrustServer,
        deadline: Deadline,
        times: Times,
    ) -> Result<Turn<'a>, NoTurn> {
        let request = deadline.request();
        let waiting = self.stand_by(server, request);
        let ticket = self.ticket(since, server);
        let mut queues = self.lock();
        loop {
            let Some(queue) = queues.get_mut(server) else { return Err(NoTurn::OutOfTime) };
            let ahead = queue.line.range(..ticket.place).count();
            let may_ask = match queue.asking.contains_key(&request) {
                true => times == Times::First || ahead == 0,
                false => ahead < self.share.saturating_sub(queue.asking.len()),
            };
            if may_ask {
                add(&mut queue.asking, request);
                drop(queues);
                drop(ticket);
                drop(waiting);
                return Ok(Turn { crowd: self, server, request });
            }
            let again = self.check(&queues, server, request, since)?;
            let left = deadline.remaining().ok_or(NoTurn::OutOfTime)?;
            let wait = left.min(again);
            queues = self.moved.wait_timeout(queues, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A place in the line of those that wait for their turn.
    fn ticket<'a>(&'a self, since: Instant, server: &'a TrustServer) -> Ticket<'a> {
        let mut place = (since, 0);
        if let Some(queue) = self.lock().get_mut(server) {
            place.1 = queue.next_ticket;
            queue.next_ticket += 1;
            queue.line.insert(place);
        }
        Ticket { crowd: self, server, place }
    }

    /// Counts a request among those that wait for what another one fetches.
    pub(crate) fn stand_by<'a>(&'a self, server: &'a TrustServer, request: RequestId) -> StandBy<'a> {
        let mut queues = self.lock();
        if queues.len() >= MAX_SERVERS {
            queues.retain(|_, queue| !queue.is_empty());
        }
        let now = Instant::now();
        let queue = queues.entry(server.clone()).or_insert_with(|| Queue {
            asking: Counted::new(),
            waiting: Counted::new(),
            line: BTreeSet::new(),
            next_ticket: 0,
            heard: now,
            left: now,
        });
        if queue.is_empty() && queue.left.elapsed() > MEMORY {
            queue.heard = now;
        }
        add(&mut queue.waiting, request);
        StandBy { crowd: self, server, request, since: now }
    }

    /// May this request go on waiting without asking? If so, when to look again. A request whose other image asks stays:
    /// its place is taken anyway.
    fn check(
        &self,
        queues: &HashMap<TrustServer, Queue>,
        server: &TrustServer,
        request: RequestId,
        since: Instant,
    ) -> Result<Duration, NoTurn> {
        let Some(queue) = queues.get(server) else { return Ok(self.patience) };
        let (silent, waited) = (queue.heard.elapsed(), since.elapsed());
        if !queue.asking.contains_key(&request) {
            let here = queue.requests();
            if silent >= self.patience && here > self.share {
                return Err(NoTurn::Silent { share: self.share, silent });
            }
            let all: usize = queues.values().map(Queue::requests).sum();
            if waited >= self.patience && here > self.places.saturating_sub(all) {
                return Err(NoTurn::Crowded { others: here - 1, waited });
            }
        }
        // From then on the answer may change whenever another request comes.
        let left = self.patience.saturating_sub(silent.max(waited));
        Ok(if left.is_zero() { self.patience / 8 } else { left })
    }

    fn leave(&self, server: &TrustServer, request: RequestId, of: fn(&mut Queue) -> &mut Counted) {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(server) else { return };
        let counted = of(queue);
        if let Some(count) = counted.get_mut(&request) {
            *count -= 1;
            if *count == 0 {
                counted.remove(&request);
            }
        }
        queue.left = Instant::now();
        if queue.is_empty() && queue.heard.elapsed() < self.patience {
            queues.remove(server);
        }
        drop(queues);
        self.moved.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TrustServer, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

fn add(counted: &mut Counted, request: RequestId) {
    *counted.entry(request).or_default() += 1;
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.asking.is_empty() && self.waiting.is_empty()
    }

    /// How many requests ask or wait.
    fn requests(&self) -> usize {
        self.asking.len() + self.waiting.keys().filter(|request| !self.asking.contains_key(request)).count()
    }
}

/// The right to ask a server, until it is dropped.
pub(crate) struct Turn<'a> {
    crowd: &'a Crowd,
    server: &'a TrustServer,
    request: RequestId,
}

/// Has this image had its turn before?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    First,
    Again,
}

/// A place in the line, until it is dropped.
struct Ticket<'a> {
    crowd: &'a Crowd,
    server: &'a TrustServer,
    place: (Instant, u64),
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.crowd.lock().get_mut(self.server) {
            queue.line.remove(&self.place);
        }
        self.crowd.moved.notify_all();
    }
}

impl<'a> Turn<'a> {
    /// Lets those ask first who wait for their turn, if there are any, and waits for the next one.
    pub(crate) fn give_way(self, deadline: Deadline) -> Result<Turn<'a>, NoTurn> {
        let (crowd, server) = (self.crowd, self.server);
        if crowd.lock().get(server).is_none_or(|queue| queue.line.is_empty()) {
            return Ok(self);
        }
        // Whoever comes in between goes first as well.
        drop(self);
        crowd.line_up(Instant::now(), server, deadline, Times::Again)
    }

    /// Somebody answered, whatever it was.
    pub(crate) fn heard(&self) {
        if let Some(queue) = self.crowd.lock().get_mut(self.server) {
            queue.heard = Instant::now();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.crowd.leave(self.server, self.request, |queue| &mut queue.asking);
    }
}

/// A place among those that wait, until it is dropped.
pub(crate) struct StandBy<'a> {
    crowd: &'a Crowd,
    server: &'a TrustServer,
    request: RequestId,
    /// Since when it has waited for this server, if only for another's turn.
    pub(crate) since: Instant,
}

impl StandBy<'_> {
    /// How long to wait before this is asked again, if one may wait at all.
    pub(crate) fn patience(&self) -> Result<Duration, NoTurn> {
        self.crowd.check(&self.crowd.lock(), self.server, self.request, self.since)
    }
}

impl Drop for StandBy<'_> {
    fn drop(&mut self) {
        self.crowd.leave(self.server, self.request, |queue| &mut queue.waiting);
    }
}

/// A server may not be asked, or not waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// It is silent, and as many as may wait for it then do.
    Silent {
        /// How many that are.
        share: usize,
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
    /// The turn did not come before the deadline.
    OutOfTime,
}

impl fmt::Display for NoTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { share, silent } => write!(
                f,
                "has answered nobody for {:.1} s, and {share} other request(s) wait for it already, which is as many as \
                 may (half of limits.workers)",
                silent.as_secs_f64()
            ),
            Self::Crowded { others, waited } => write!(
                f,
                "is slow: this request has waited for {:.1} s, and {others} others wait for it too, which is more than \
                 the places left for other images (limits.connections)",
                waited.as_secs_f64()
            ),
            Self::OutOfTime => f.write_str("the turn to ask it did not come in time"),
        }
    }
}

impl std::error::Error for NoTurn {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::http::url::PlainHttp;

    const NEVER: Duration = Duration::from_secs(3600);

    fn server(name: &str) -> TrustServer {
        TrustServer::parse(&format!("https://{name}"), PlainHttp::Refused).unwrap()
    }

    fn crowd(workers: usize, patience: Duration) -> Crowd {
        Crowd::new(workers, 999).with_patience(patience)
    }

    fn long() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn is_silent<T>(result: Result<T, NoTurn>) -> bool {
        matches!(result, Err(NoTurn::Silent { .. }))
    }

    #[test]
    fn half_of_the_workers_ask_and_at_least_one() {
        for (workers, share) in [(8, 4), (3, 1), (2, 1), (1, 1), (0, 1)] {
            let (crowd, a, b) = (crowd(workers, NEVER), server("a"), server("b"));
            let turns: Vec<_> = (0..share).map(|_| crowd.turn(&a, long()).unwrap()).collect();
            let late = Deadline::after(Duration::from_millis(20));
            assert!(matches!(crowd.turn(&a, late), Err(NoTurn::OutOfTime)), "{workers}");
            // Another server has its own.
            crowd.turn(&b, long()).unwrap();
            drop(turns);
            crowd.turn(&a, long()).unwrap();
            assert!(crowd.lock().is_empty());
        }
    }

    #[test]
    fn a_request_counts_once_however_many_images_it_asks_for() {
        let (crowd, a) = (crowd(2, NEVER), server("a"));
        let request = long();
        let turns: Vec<_> = (0..8).map(|_| crowd.turn(&a, request).unwrap()).collect();
        assert_eq!(turns.len(), 8);
        let late = Deadline::after(Duration::from_millis(20));
        assert!(matches!(crowd.turn(&a, late), Err(NoTurn::OutOfTime)));
    }

    #[test]
    fn whoever_is_beyond_the_share_waits_only_while_the_server_speaks() {
        let (crowd, a) = (crowd(4, Duration::from_millis(200)), server("a"));
        let turns = [crowd.turn(&a, long()).unwrap(), crowd.turn(&a, long()).unwrap()];
        let waiting = crowd.stand_by(&a, long().request());
        let own = crowd.stand_by(&a, turns[0].request);
        assert!(waiting.patience().is_ok());
        assert!(is_silent(crowd.turn(&a, long())), "it became silent while we waited");
        assert!(is_silent(crowd.turn(&a, long())), "at once");
        assert!(is_silent(waiting.patience()));
        assert!(own.patience().is_ok(), "its worker is kept anyway");
        turns[0].heard();
        assert!(waiting.patience().is_ok());
        drop(waiting);
        // Within the share one may wait for a silent server.
        let [first, second] = turns;
        drop(second);
        thread::sleep(Duration::from_millis(300));
        let waiting = crowd.stand_by(&a, long().request());
        assert!(waiting.patience().is_ok());
        assert!(is_silent(crowd.stand_by(&a, long().request()).patience()));
        // But who asks goes first.
        let third = crowd.turn(&a, long()).unwrap();
        assert!(is_silent(waiting.patience()));
        drop((first, third, waiting));
    }

    #[test]
    fn one_slow_server_leaves_places_for_the_others() {
        let crowd = Crowd::new(2, 12).with_patience(Duration::from_millis(100));
        let (a, b) = (server("a"), server("b"));
        let (turns, heard) =
            ([crowd.turn(&a, long()).unwrap(), crowd.turn(&b, long()).unwrap()], AtomicBool::new(true));
        thread::scope(|scope| {
            // Both are slow, and neither is silent.
            scope.spawn(|| {
                while heard.load(Ordering::SeqCst) {
                    turns.iter().for_each(Turn::heard);
                    thread::sleep(Duration::from_millis(5));
                }
            });
            let wait = |server| crowd.stand_by(server, long().request());
            let stay = |waiting: &mut Vec<StandBy<'_>>| {
                thread::sleep(Duration::from_millis(150));
                while let Some(at) = waiting.iter().position(|waiting| waiting.patience().is_err()) {
                    assert!(matches!(waiting[at].patience(), Err(NoTurn::Crowded { .. })));
                    waiting.remove(at);
                }
            };
            // Six of the twelve places are one's, where nobody else wants any: one asks, five wait, one waits for b.
            let mut of_a: Vec<_> = (0..10).map(|_| wait(&a)).collect();
            assert!(of_a.iter().all(|waiting| waiting.patience().is_ok()), "what is over soon is bounded by nothing");
            stay(&mut of_a);
            assert_eq!(of_a.len(), 4);
            // Where two are slow, each has a third.
            let mut of_b: Vec<_> = (0..10).map(|_| wait(&b)).collect();
            stay(&mut of_b);
            stay(&mut of_a);
            stay(&mut of_b);
            assert_eq!((of_a.len(), of_b.len()), (3, 2));
            heard.store(false, Ordering::SeqCst);
        });
    }

    #[test]
    fn a_turn_comes_when_another_one_leaves() {
        let (crowd, a) = (crowd(2, NEVER), server("a"));
        let first = crowd.turn(&a, long()).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| crowd.turn(&a, long()).is_ok());
            while crowd.lock()[&a].waiting.is_empty() {
                thread::sleep(Duration::from_millis(2));
            }
            drop(first);
            assert!(second.join().unwrap());
        });
    }

    #[test]
    fn turns_come_in_order_and_who_gives_way_goes_last() {
        let (crowd, a) = (crowd(2, NEVER), server("a"));
        // Another image of the same request keeps no turn for one that gives way.
        let (request, order) = (long(), Mutex::new(Vec::new()));
        let first = crowd.turn(&a, request).unwrap();
        let other_image = crowd.turn(&a, request).unwrap();
        assert!(
            first.give_way(request).is_ok_and(|turn| {
                drop(turn);
                true
            }),
            "nobody waits"
        );
        let first = crowd.turn(&a, request).unwrap();
        let lined_up = |number: usize| {
            let end = Instant::now() + Duration::from_secs(10);
            while crowd.lock().get(&a).map_or(0, |queue| queue.line.len()) < number {
                assert!(Instant::now() < end, "nobody comes");
                thread::sleep(Duration::from_millis(5));
            }
        };
        let (crowd, a, order, lined_up) = (&crowd, &a, &order, &lined_up);
        thread::scope(|scope| {
            for name in ["second", "third"] {
                scope.spawn(move || {
                    let _turn = crowd.turn(a, long()).unwrap();
                    order.lock().unwrap().push(name);
                });
                lined_up(if name == "second" { 1 } else { 2 });
            }
            scope.spawn(move || {
                let _turn = first.give_way(request).unwrap();
                order.lock().unwrap().push("first");
            });
            lined_up(3);
            drop(other_image);
        });
        assert_eq!(*order.lock().unwrap(), ["second", "third", "first"]);
        assert!(crowd.lock().is_empty());
    }

    #[test]
    fn silence_outlives_those_who_heard_it() {
        let (crowd, a) = (crowd(4, Duration::from_millis(50)), server("a"));
        let turn = crowd.turn(&a, long()).unwrap();
        thread::sleep(Duration::from_millis(80));
        drop(turn);
        let turns = [crowd.turn(&a, long()).unwrap(), crowd.turn(&a, long()).unwrap()];
        assert!(is_silent(crowd.turn(&a, long())), "the next ones do not begin anew");
        turns[0].heard();
        drop(turns);
        assert!(crowd.lock().is_empty());
        // For a while.
        let long_ago = Instant::now().checked_sub(MEMORY * 2).unwrap();
        let queue = Queue {
            asking: Counted::new(),
            waiting: Counted::new(),
            line: BTreeSet::new(),
            next_ticket: 0,
            heard: long_ago,
            left: long_ago,
        };
        crowd.lock().insert(a.clone(), queue);
        let _turns = [crowd.turn(&a, long()).unwrap(), crowd.turn(&a, long()).unwrap()];
        assert!(crowd.lock()[&a].heard > long_ago);
    }
}
