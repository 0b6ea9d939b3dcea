//! How many requests wait for one trust server. A server that stalls keeps whoever has asked it for as long as they can
//! wait, and would so keep every worker from images that need another server, or none.
//!
//! So at most a share of the workers' requests ask one server at a time. The others wait for their turn, or for what
//! somebody else is fetching, as long as the server answers anybody anything; once it has been silent for a while, those
//! beyond the share are told so instead. No more than the share is ever kept longer than that; and who would ask goes before
//! who only waits, so that one repository that stalls does not keep others from the server.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::server_url::TrustServer;
use crate::deadline::{Deadline, RequestId};

/// After this time without an answer to anybody a server is silent: long enough for three round trips by satellite.
const SILENCE: Duration = Duration::from_secs(2);
/// How long it is remembered that a server was silent when the last one left it.
const MEMORY: Duration = Duration::from_secs(30);
/// Most servers of which that is remembered.
const MAX_SERVERS: usize = 1_000;

/// All that wait, by the server. Shared by all workers.
pub(super) struct Crowd {
    share: usize,
    silence: Duration,
    queues: Mutex<HashMap<TrustServer, Queue>>,
    moved: Condvar,
}

/// Those who wait for one server. A request counts once, however many of its images do.
struct Queue {
    asking: Counted,
    /// For their turn, or for what another one fetches.
    waiting: Counted,
    /// When the server last answered, or was asked after a time in which nobody did.
    heard: Instant,
    left: Instant,
}

type Counted = BTreeMap<RequestId, usize>;

impl Crowd {
    /// A crowd of so many workers' requests.
    pub(super) fn new(workers: usize) -> Self {
        Self::silent_after(workers, SILENCE)
    }

    pub(super) fn silent_after(workers: usize, silence: Duration) -> Self {
        Self { share: (workers / 2).max(1), silence, queues: Mutex::default(), moved: Condvar::new() }
    }

    /// Waits for the request's turn to ask the server.
    pub(super) fn turn<'a>(&'a self, server: &'a TrustServer, deadline: Deadline) -> Result<Turn<'a>, NoTurn> {
        let request = deadline.request();
        let waiting = self.stand_by(server, request);
        let mut queues = self.lock();
        loop {
            let Some(queue) = queues.get_mut(server) else { return Err(NoTurn::OutOfTime) };
            if queue.asking.contains_key(&request) || queue.asking.len() < self.share {
                add(&mut queue.asking, request);
                drop(queues);
                drop(waiting);
                return Ok(Turn { crowd: self, server, request });
            }
            queue.check(request, self)?;
            let left = deadline.remaining().ok_or(NoTurn::OutOfTime)?;
            let wait = left.min(queue.until_next_check(self));
            queues = self.moved.wait_timeout(queues, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts a request among those that wait for what another one fetches.
    pub(super) fn stand_by<'a>(&'a self, server: &'a TrustServer, request: RequestId) -> StandBy<'a> {
        let mut queues = self.lock();
        if queues.len() >= MAX_SERVERS {
            queues.retain(|_, queue| !queue.is_empty());
        }
        let now = Instant::now();
        let queue = queues.entry(server.clone()).or_insert_with(|| Queue {
            asking: Counted::new(),
            waiting: Counted::new(),
            heard: now,
            left: now,
        });
        if queue.is_empty() && queue.left.elapsed() > MEMORY {
            queue.heard = now;
        }
        add(&mut queue.waiting, request);
        StandBy { crowd: self, server, request }
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
        if queue.is_empty() && !queue.is_silent(self) {
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

    fn is_silent(&self, crowd: &Crowd) -> bool {
        self.heard.elapsed() >= crowd.silence
    }

    /// May this request go on waiting without asking? Whose own other image asks already keeps no further worker.
    fn check(&self, request: RequestId, crowd: &Crowd) -> Result<(), NoTurn> {
        let only_waiting = self.waiting.keys().filter(|request| !self.asking.contains_key(request)).count();
        let requests = self.asking.len() + only_waiting;
        if self.is_silent(crowd) && requests > crowd.share && !self.asking.contains_key(&request) {
            return Err(NoTurn::Crowded { share: crowd.share, silent: self.heard.elapsed() });
        }
        Ok(())
    }

    fn until_next_check(&self, crowd: &Crowd) -> Duration {
        let left = crowd.silence.saturating_sub(self.heard.elapsed());
        // Who may wait for a silent server gives way as soon as somebody asks it who has not tried.
        if left.is_zero() { crowd.silence / 8 } else { left }
    }
}

/// The right to ask a server, until it is dropped.
pub(super) struct Turn<'a> {
    crowd: &'a Crowd,
    server: &'a TrustServer,
    request: RequestId,
}

impl Turn<'_> {
    /// Somebody answered, whatever it was.
    pub(super) fn heard(&self) {
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
pub(super) struct StandBy<'a> {
    crowd: &'a Crowd,
    server: &'a TrustServer,
    request: RequestId,
}

impl StandBy<'_> {
    /// How long to wait before this is asked again, if one may wait at all.
    pub(super) fn patience(&self) -> Result<Duration, NoTurn> {
        let queues = self.crowd.lock();
        let Some(queue) = queues.get(self.server) else { return Ok(self.crowd.silence) };
        queue.check(self.request, self.crowd)?;
        Ok(queue.until_next_check(self.crowd))
    }
}

impl Drop for StandBy<'_> {
    fn drop(&mut self) {
        self.crowd.leave(self.server, self.request, |queue| &mut queue.waiting);
    }
}

/// A server may not be asked, or not waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// It is silent, and as many as may wait for it do.
    Crowded {
        /// How many that are.
        share: usize,
        /// For how long it has been silent.
        silent: Duration,
    },
    /// The turn did not come before the deadline.
    OutOfTime,
}

impl fmt::Display for NoTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crowded { share, silent } => write!(
                f,
                "has answered nobody for {:.1} s, and {share} other request(s) wait for it already, which is as many as \
                 may (half of limits.workers)",
                silent.as_secs_f64()
            ),
            Self::OutOfTime => f.write_str("the turn to ask it did not come in time"),
        }
    }
}

impl std::error::Error for NoTurn {}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::trust::server_url::PlainHttp;

    const NEVER: Duration = Duration::from_secs(3600);

    fn server(name: &str) -> TrustServer {
        TrustServer::parse(&format!("https://{name}"), PlainHttp::Refused).unwrap()
    }

    fn long() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn is_crowded<T>(result: Result<T, NoTurn>) -> bool {
        matches!(result, Err(NoTurn::Crowded { .. }))
    }

    #[test]
    fn half_of_the_workers_ask_and_at_least_one() {
        for (workers, share) in [(8, 4), (3, 1), (2, 1), (1, 1), (0, 1)] {
            let (crowd, a, b) = (Crowd::silent_after(workers, NEVER), server("a"), server("b"));
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
        let (crowd, a) = (Crowd::silent_after(2, NEVER), server("a"));
        let request = long();
        let turns: Vec<_> = (0..8).map(|_| crowd.turn(&a, request).unwrap()).collect();
        assert_eq!(turns.len(), 8);
        let late = Deadline::after(Duration::from_millis(20));
        assert!(matches!(crowd.turn(&a, late), Err(NoTurn::OutOfTime)));
    }

    #[test]
    fn whoever_is_beyond_the_share_waits_only_while_the_server_speaks() {
        let (crowd, a) = (Crowd::silent_after(4, Duration::from_millis(200)), server("a"));
        let turns = [crowd.turn(&a, long()).unwrap(), crowd.turn(&a, long()).unwrap()];
        let waiting = crowd.stand_by(&a, long().request());
        let own = crowd.stand_by(&a, turns[0].request);
        assert!(waiting.patience().is_ok());
        assert!(is_crowded(crowd.turn(&a, long())), "it became silent while we waited");
        assert!(is_crowded(crowd.turn(&a, long())), "at once");
        assert!(is_crowded(waiting.patience()));
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
        assert!(is_crowded(crowd.stand_by(&a, long().request()).patience()));
        // But who asks goes first.
        let third = crowd.turn(&a, long()).unwrap();
        assert!(is_crowded(waiting.patience()));
        drop((first, third, waiting));
    }

    #[test]
    fn a_turn_comes_when_another_one_leaves() {
        let (crowd, a) = (Crowd::silent_after(2, NEVER), server("a"));
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
    fn silence_outlives_those_who_heard_it() {
        let (crowd, a) = (Crowd::silent_after(4, Duration::from_millis(50)), server("a"));
        let turn = crowd.turn(&a, long()).unwrap();
        thread::sleep(Duration::from_millis(80));
        drop(turn);
        let turns = [crowd.turn(&a, long()).unwrap(), crowd.turn(&a, long()).unwrap()];
        assert!(is_crowded(crowd.turn(&a, long())), "the next ones do not begin anew");
        turns[0].heard();
        drop(turns);
        assert!(crowd.lock().is_empty());
        // For a while.
        let long_ago = Instant::now().checked_sub(MEMORY * 2).unwrap();
        let queue = Queue { asking: Counted::new(), waiting: Counted::new(), heard: long_ago, left: long_ago };
        crowd.lock().insert(a.clone(), queue);
        let _turns = [crowd.turn(&a, long()).unwrap(), crowd.turn(&a, long()).unwrap()];
        assert!(crowd.lock()[&a].heard > long_ago);
    }
}
