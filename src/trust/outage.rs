//! Trust servers and token services that are down. Whoever waited in vain for one makes it *suspected*; then a thread of
//! ours knocks at its door, and only if it gets no answer in good time the server is *down*: nobody else waits for it until
//! it answers again, which is tried in short, growing pauses, one knock at a time. Any answer ends it at once.
//!
//! Whether a server is down is never decided by a question: the repository, the credentials and the time of a question
//! are a tenant's choice, those of a knock are not. A failure that comes at once (connection refused, a bad certificate,
//! 5xx) costs nobody any time, and makes nobody suspected.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::metrics::{Metrics, NotAsked};

/// Most servers that are knocked at, each by a thread: tenants can name made-up servers where a template of
/// `trust.servers` has a `*`. The others are asked as if they were up.
const MAX_DOORS: usize = 16;

/// The times that are kept. Tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Who has waited this long in vain suspects the server, and who failed sooner has lost no time. A knock that fails
    /// sooner ends the suspicion.
    pub(super) suspect_after: Duration,
    /// How long a knock waits: enough for three round trips over a satellite.
    pub(super) knock: Duration,
    /// The first pause between knocks; each is twice as long as the one before.
    pub(super) first_pause: Duration,
    /// The longest pause: nobody is kept from a server that is up again for longer.
    pub(super) longest_pause: Duration,
    /// A server that nobody has asked for this long is no longer knocked at.
    pub(super) forget_after: Duration,
}

impl Times {
    pub(super) const USUAL: Self = Self {
        suspect_after: Duration::from_secs(1),
        knock: Duration::from_secs(3),
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(5),
        forget_after: Duration::from_secs(60),
    };
}

/// The servers that are suspected or down, by their doors. Shared by all workers.
pub(super) struct Outages {
    times: Times,
    metrics: Arc<Metrics>,
    doors: Mutex<Doors>,
}

#[derive(Default)]
struct Doors {
    by_url: HashMap<String, Trouble>,
    next_knocker: u64,
}

struct Trouble {
    /// Which thread knocks: one that was overtaken stops.
    knocker: u64,
    /// When somebody last wanted to ask.
    wanted: Instant,
    state: State,
}

enum State {
    Suspected,
    Down(Down),
    /// It was suspected, and did answer. It is not knocked at again at once.
    Fine(Instant),
}

struct Down {
    /// When the last knock found it so.
    found: Instant,
    why: String,
    pause: Duration,
}

impl Outages {
    pub(super) fn new(times: Times, metrics: Arc<Metrics>) -> Self {
        Self { times, metrics, doors: Mutex::default() }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// May this server be asked?
    pub(super) fn check(&self, door: &str) -> Result<(), Outage> {
        let mut doors = self.lock();
        let Some(trouble) = doors.by_url.get_mut(door) else { return Ok(()) };
        trouble.wanted = Instant::now();
        let State::Down(down) = &trouble.state else { return Ok(()) };
        let ago = down.found.elapsed();
        let outage = Outage { why: down.why.clone(), ago, next: down.pause.saturating_sub(ago) };
        drop(doors);
        self.metrics.trust_server_not_asked(NotAsked::Down);
        Err(outage)
    }

    /// It answered: whatever it said, it is up.
    pub(super) fn answered(&self, door: &str) {
        if let Some(trouble) = self.lock().by_url.get_mut(door) {
            trouble.ends(door);
        }
    }

    /// Is a failure after this time a reason for suspicion?
    pub(super) fn is_suspicious(&self, waited: Duration) -> bool {
        waited >= self.times.suspect_after
    }

    /// Suspects a server. `knock` waits for an answer, whatever it is, for so long; `None` where nobody needs it any more.
    /// It is called by a thread of its own.
    pub(super) fn suspect<K>(self: &Arc<Self>, door: &str, knock: K)
    where
        K: Fn(&str, Duration) -> Option<Result<(), String>> + Send + 'static,
    {
        let mut doors = self.lock();
        let lately = self.times.first_pause;
        doors.by_url.retain(|_, trouble| !matches!(trouble.state, State::Fine(since) if since.elapsed() >= lately));
        if doors.by_url.contains_key(door) || doors.by_url.len() >= MAX_DOORS {
            return;
        }
        doors.next_knocker += 1;
        let knocker = Knocker { outages: Arc::clone(self), door: door.to_owned(), id: doors.next_knocker };
        let trouble = Trouble { knocker: knocker.id, wanted: Instant::now(), state: State::Suspected };
        doors.by_url.insert(door.to_owned(), trouble);
        drop(doors);
        // Without a thread the knocker ends here, and the suspicion with it.
        if let Err(error) = thread::Builder::new().name("knocker".into()).spawn(move || knocker.run(knock)) {
            log::warn!("no thread to find out whether {door} is up: {error}");
        }
    }

    /// A knock was in vain: the pause before the next one, or `None` where nobody needs it.
    fn found_down(&self, door: &str, knocker: u64, why: String) -> Option<Duration> {
        let mut doors = self.lock();
        let trouble = doors.by_url.get_mut(door).filter(|trouble| trouble.knocker == knocker)?;
        if trouble.wanted.elapsed() > self.times.forget_after {
            return None;
        }
        let pause = match &trouble.state {
            State::Fine(_) => return None,
            State::Suspected => {
                log::warn!("{door} is down: {why}; nobody waits for it until it answers");
                self.times.first_pause
            }
            State::Down(down) => (down.pause * 2).min(self.times.longest_pause),
        };
        trouble.state = State::Down(Down { found: Instant::now(), why, pause });
        Some(jittered(pause))
    }

    /// Is this server down, as far as we know?
    #[cfg(test)]
    pub(super) fn is_down(&self, door: &str) -> bool {
        self.lock().by_url.get(door).is_some_and(|trouble| matches!(trouble.state, State::Down(_)))
    }

    /// Is this server known to be in no trouble?
    #[cfg(test)]
    pub(super) fn is_fine(&self, door: &str) -> bool {
        self.lock().by_url.get(door).is_none_or(|trouble| matches!(trouble.state, State::Fine(_)))
    }

    fn lock(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl Trouble {
    /// It is over, or was none.
    fn ends(&mut self, door: &str) {
        match self.state {
            State::Fine(_) => return,
            State::Suspected => {}
            State::Down(_) => log::info!("{door} is asked again"),
        }
        self.state = State::Fine(Instant::now());
    }
}

/// A thread that knocks. However it ends, also by a panic, what it stood for ends with it.
struct Knocker {
    outages: Arc<Outages>,
    door: String,
    id: u64,
}

impl Knocker {
    fn run(self, knock: impl Fn(&str, Duration) -> Option<Result<(), String>>) {
        let times = self.outages.times;
        loop {
            let began = Instant::now();
            let why = match knock(&self.door, times.knock) {
                // Up, or failing at once: then nobody loses time by asking.
                None | Some(Ok(())) => return,
                Some(Err(_)) if began.elapsed() < times.suspect_after.min(times.knock) => return,
                Some(Err(why)) => why,
            };
            let Some(pause) = self.outages.found_down(&self.door, self.id, why) else { return };
            thread::sleep(pause);
        }
    }
}

impl Drop for Knocker {
    fn drop(&mut self) {
        let mut doors = self.outages.lock();
        if let Some(trouble) = doors.by_url.get_mut(&self.door).filter(|trouble| trouble.knocker == self.id) {
            trouble.ends(&self.door);
        }
    }
}

/// Between three quarters of a pause and the whole, so that replicas do not knock all at once.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(0) % 256).unwrap_or(0);
    pause * 3 / 4 + pause * random / 1024
}

/// A server is not asked, because it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    why: String,
    /// How long ago that was found.
    ago: Duration,
    /// When that is looked at again, at the latest.
    next: Duration,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, ago, next } = self;
        write!(f, "{why} {:.1} s ago; it is not asked again before it answers, which is tried ", ago.as_secs_f64())?;
        if next.is_zero() { f.write_str("now") } else { write!(f, "in {:.1} s", next.as_secs_f64()) }
    }
}

impl std::error::Error for Outage {}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const DOOR: &str = "https://notary.local/v2/";
    /// Pauses so short that a test need not wait, and knocks so long that none ends by itself.
    const SHORT: Times = Times {
        suspect_after: Duration::ZERO,
        knock: Duration::from_secs(60),
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(4),
        forget_after: Duration::from_secs(60),
    };

    /// What each knock finds is sent by the test.
    struct Bench {
        outages: Arc<Outages>,
        find: Sender<Result<(), String>>,
        knocks: Receiver<()>,
    }

    impl Bench {
        fn suspecting(times: Times) -> Self {
            let outages = Arc::new(Outages::new(times, Arc::new(Metrics::new())));
            let (find, found) = channel::<Result<(), String>>();
            let (tell, knocks) = channel();
            let found = Mutex::new(found);
            outages.suspect(DOOR, move |_, _| {
                tell.send(()).ok()?;
                found.lock().unwrap().recv().ok()
            });
            Self { outages, find, knocks }
        }

        fn find(&self, what: Result<(), &str>) {
            self.find.send(what.map_err(str::to_owned)).unwrap();
        }

        fn wait_until(&self, done: impl Fn(&Outages) -> bool) {
            for _ in 0..2_000 {
                if done(&self.outages) {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
            panic!("it never came to that");
        }
    }

    #[test]
    fn only_a_knock_in_vain_makes_a_server_down_and_one_answer_brings_it_back() {
        let bench = Bench::suspecting(SHORT);
        bench.knocks.recv().unwrap();
        assert_eq!(bench.outages.check(DOOR), Ok(()), "suspicion stops nobody");
        bench.find(Err("did not answer in time"));
        bench.wait_until(|outages| outages.is_down(DOOR));
        let words = bench.outages.check(DOOR).unwrap_err().to_string();
        assert!(words.starts_with("did not answer in time 0.") && words.contains("not asked again before"), "{words}");
        assert_eq!(bench.outages.check("https://other.local/v2/"), Ok(()));
        // It goes on knocking while it is down.
        bench.find(Err("did not answer in time"));
        bench.knocks.recv().unwrap();
        bench.knocks.recv().unwrap();
        assert!(bench.outages.check(DOOR).is_err());
        bench.find(Ok(()));
        bench.wait_until(|outages| outages.is_fine(DOOR));
        assert_eq!(bench.outages.check(DOOR), Ok(()));
    }

    #[test]
    fn a_server_that_answers_a_knock_was_never_down() {
        let bench = Bench::suspecting(SHORT);
        bench.find(Ok(()));
        bench.wait_until(|outages| outages.is_fine(DOOR));
    }

    #[test]
    fn a_knock_that_fails_at_once_keeps_nobody_away() {
        let bench = Bench::suspecting(Times { suspect_after: Duration::from_secs(60), ..SHORT });
        bench.find(Err("connection refused"));
        bench.wait_until(|outages| outages.is_fine(DOOR));
    }

    #[test]
    fn an_answer_to_anybody_ends_it_at_once() {
        let bench = Bench::suspecting(Times { first_pause: Duration::from_secs(60), ..SHORT });
        bench.find(Err("did not answer in time"));
        bench.wait_until(|outages| outages.is_down(DOOR));
        bench.outages.answered(DOOR);
        assert_eq!(bench.outages.check(DOOR), Ok(()));
        // The old knocker says nothing about a new suspicion.
        assert_eq!(bench.outages.found_down(DOOR, 1, String::new()), None);
    }

    #[test]
    fn one_knocks_however_many_suspect_and_a_panic_ends_it() {
        let outages = Arc::new(Outages::new(SHORT, Arc::new(Metrics::new())));
        let knocks = Arc::new(AtomicUsize::new(0));
        let barrier = Arc::new(Barrier::new(2));
        for _ in 0..9 {
            let (knocks, barrier) = (Arc::clone(&knocks), Arc::clone(&barrier));
            outages.suspect(DOOR, move |_, _| {
                knocks.fetch_add(1, Ordering::SeqCst);
                barrier.wait();
                panic!("made up");
            });
        }
        barrier.wait();
        let bench = Bench { outages, find: channel().0, knocks: channel().1 };
        bench.wait_until(|outages| outages.is_fine(DOOR));
        assert_eq!(knocks.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_server_that_did_answer_is_left_in_peace_for_a_moment() {
        let knocks = |times: Times| {
            let outages = Arc::new(Outages::new(times, Arc::new(Metrics::new())));
            let knocks = Arc::new(AtomicUsize::new(0));
            for _ in 0..3 {
                let count = Arc::clone(&knocks);
                outages.suspect(DOOR, move |_, _| {
                    count.fetch_add(1, Ordering::SeqCst);
                    Some(Ok(()))
                });
                let bench = Bench { outages: Arc::clone(&outages), find: channel().0, knocks: channel().1 };
                bench.wait_until(|outages| outages.is_fine(DOOR));
                thread::sleep(Duration::from_millis(5));
            }
            knocks.load(Ordering::SeqCst)
        };
        assert_eq!(knocks(SHORT), 3);
        assert_eq!(knocks(Times { first_pause: Duration::from_secs(60), ..SHORT }), 1);
    }

    #[test]
    fn whom_nobody_wants_is_not_knocked_at_for_ever() {
        let bench = Bench::suspecting(Times { forget_after: Duration::ZERO, ..SHORT });
        bench.find(Err("did not answer in time"));
        bench.wait_until(|outages| outages.is_fine(DOOR));
    }

    #[test]
    fn made_up_servers_are_bounded() {
        let outages = Arc::new(Outages::new(SHORT, Arc::new(Metrics::new())));
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for number in 0..MAX_DOORS + 5 {
            let held = Arc::clone(&held);
            outages.suspect(&format!("https://h{number}/v2/"), move |_, _| {
                let _ = held.lock().unwrap().recv();
                None
            });
        }
        assert_eq!(outages.lock().by_url.len(), MAX_DOORS);
        drop(hold);
    }

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let outages = Outages::new(Times::USUAL, Arc::new(Metrics::new()));
        let trouble = Trouble { knocker: 7, wanted: Instant::now(), state: State::Suspected };
        outages.lock().by_url.insert(DOOR.to_owned(), trouble);
        let pause = || outages.found_down(DOOR, 7, String::new()).unwrap();
        for seconds in [1, 2, 4, 5, 5] {
            let (pause, whole) = (pause(), Duration::from_secs(seconds));
            assert!(pause >= whole * 3 / 4 && pause <= whole, "{pause:?}");
        }
        assert!((0..50).map(|_| pause()).collect::<std::collections::BTreeSet<_>>().len() > 5);
    }
}
