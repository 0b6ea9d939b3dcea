//! Trust servers and token services that are down. Whoever waited in vain for one makes it *suspected*; then a thread of
//! ours knocks at its door, and only if it gets no answer in good time the server is *down*: nobody else waits for it until
//! it answers again, which is tried in short, growing pauses, one knock at a time. Any answer ends it at once. One
//! question at a time may wait for the next knock, so that a lone one is not denied the moment after a server came back.
//!
//! Whether a server is down is never decided by a question: the repository, the credentials and the time of a question
//! are a tenant's choice, those of a knock are not. A failure that comes at once (connection refused, a bad certificate,
//! 5xx) costs nobody any time, and makes nobody suspected.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::context::Deadline;
use crate::metrics::{Metrics, NotAsked};

/// Most servers that are knocked at, each by a thread: tenants can name made-up servers where a template of
/// `trust.servers` has a `*`. The others are asked as if they were up.
const MAX_DOORS: usize = 16;

/// The times that are kept. Tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Who has waited this long in vain suspects the server, and who failed sooner has lost no time. A knock that fails
    /// sooner ends the suspicion.
    pub(crate) suspect_after: Duration,
    /// How long a knock waits: enough for three round trips over a satellite.
    pub(crate) knock: Duration,
    /// The first pause between knocks; each is twice as long as the one before.
    pub(crate) first_pause: Duration,
    /// The longest pause: nobody is kept from a server that is up again for longer.
    pub(crate) longest_pause: Duration,
    /// A server that nobody has asked for this long is no longer knocked at.
    pub(crate) forget_after: Duration,
}

impl Times {
    pub(crate) const USUAL: Self = Self {
        suspect_after: Duration::from_secs(1),
        knock: Duration::from_secs(3),
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(5),
        forget_after: Duration::from_secs(60),
    };
}

/// The servers that are suspected or down, by their doors. Shared by all workers.
pub(crate) struct Outages {
    times: Times,
    metrics: Arc<Metrics>,
    doors: Mutex<Doors>,
    turned: Condvar,
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
    /// When the last knock began, and when it was found to be in vain.
    knocked: Instant,
    found: Instant,
    why: String,
    pause: Duration,
    /// Does a question wait for the next knock?
    awaited: bool,
}

impl Down {
    fn outage(&self) -> Outage {
        let ago = self.found.elapsed();
        Outage { why: self.why.clone(), ago, next: self.pause.saturating_sub(ago) }
    }
}

impl Outages {
    pub(crate) fn new(times: Times, metrics: Arc<Metrics>) -> Self {
        Self { times, metrics, doors: Mutex::default(), turned: Condvar::new() }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// May this server be asked?
    pub(crate) fn check(&self, door: &str) -> Result<(), Outage> {
        let mut doors = self.lock();
        let Some(trouble) = doors.by_url.get_mut(door) else { return Ok(()) };
        trouble.wanted = Instant::now();
        let State::Down(down) = &trouble.state else { return Ok(()) };
        let outage = down.outage();
        drop(doors);
        self.metrics.trust_server_not_asked(NotAsked::Down);
        Err(outage)
    }

    /// The same, for somebody who may wait for the next knock, if nobody else does.
    pub(crate) fn check_or_wait(&self, door: &str, deadline: Deadline) -> Result<(), Outage> {
        if let Some(awaited) = self.wait_for_knock(door, deadline) {
            drop(awaited);
        }
        self.check(door)
    }

    fn wait_for_knock(&self, door: &str, deadline: Deadline) -> Option<Awaited<'_>> {
        let mut doors = self.lock();
        let down = doors.down(door)?;
        // A knock that comes too late is not waited for.
        if down.awaited || deadline.remaining().is_none_or(|left| down.outage().next >= left) {
            return None;
        }
        down.awaited = true;
        let awaited = Awaited { outages: self, door: door.to_owned() };
        let came = Instant::now();
        // A knock that is under way may have begun before the server came back: it says nothing about now.
        while let Some(left) = deadline.remaining()
            && doors.down(door).is_some_and(|down| down.knocked < came)
        {
            doors = self.turned.wait_timeout(doors, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(doors);
        Some(awaited)
    }

    /// It answered: whatever it said, it is up.
    pub(crate) fn answered(&self, door: &str) {
        if let Some(trouble) = self.lock().by_url.get_mut(door) {
            trouble.ends(door);
            self.turned.notify_all();
        }
    }

    /// Is a failure after this time a reason for suspicion?
    pub(crate) fn is_suspicious(&self, waited: Duration) -> bool {
        waited >= self.times.suspect_after
    }

    /// Suspects a server. `knock` waits for an answer, whatever it is, for so long; `None` where nobody needs it any more.
    /// It is called by a thread of its own.
    pub(crate) fn suspect<K>(self: &Arc<Self>, door: &str, knock: K)
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
    fn found_down(&self, door: &str, knocker: u64, knocked: Instant, why: String) -> Option<Duration> {
        let mut doors = self.lock();
        let trouble = doors.by_url.get_mut(door).filter(|trouble| trouble.knocker == knocker)?;
        if trouble.wanted.elapsed() > self.times.forget_after {
            return None;
        }
        let (pause, awaited) = match &trouble.state {
            State::Fine(_) => return None,
            State::Suspected => {
                log::warn!("{door} is down: {why}; nobody waits for it until it answers");
                (self.times.first_pause, false)
            }
            State::Down(down) => ((down.pause * 2).min(self.times.longest_pause), down.awaited),
        };
        trouble.state = State::Down(Down { knocked, found: Instant::now(), why, pause, awaited });
        self.turned.notify_all();
        Some(jittered(pause))
    }

    /// Is this server down, as far as we know?
    #[cfg(test)]
    pub(crate) fn is_down(&self, door: &str) -> bool {
        self.lock().by_url.get(door).is_some_and(|trouble| matches!(trouble.state, State::Down(_)))
    }

    /// Is this server known to be in no trouble?
    #[cfg(test)]
    pub(crate) fn is_fine(&self, door: &str) -> bool {
        self.lock().by_url.get(door).is_none_or(|trouble| matches!(trouble.state, State::Fine(_)))
    }

    fn lock(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl Doors {
    /// How a server is down, if it is.
    fn down(&mut self, door: &str) -> Option<&mut Down> {
        match &mut self.by_url.get_mut(door)?.state {
            State::Down(down) => Some(down),
            State::Suspected | State::Fine(_) => None,
        }
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
            let Some(pause) = self.outages.found_down(&self.door, self.id, began, why) else { return };
            thread::sleep(pause);
        }
    }
}

impl Drop for Knocker {
    fn drop(&mut self) {
        let mut doors = self.outages.lock();
        if let Some(trouble) = doors.by_url.get_mut(&self.door).filter(|trouble| trouble.knocker == self.id) {
            trouble.ends(&self.door);
            self.outages.turned.notify_all();
        }
    }
}

/// Somebody who waits for the next knock.
struct Awaited<'a> {
    outages: &'a Outages,
    door: String,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if let Some(down) = self.outages.lock().down(&self.door) {
            down.awaited = false;
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
mod tests;
