//! The memory in which metadata is read and verified: one budget for all refreshes of a process, over the network, from
//! directories and from stored data alike. What a file costs is drawn before it is asked for and given back when it has
//! been dealt with. Whoever cannot draw waits for a turn, no longer than the deadline; nobody is refused for being second.
//!
//! Nobody waits for ever: a refresh draws once from the *light* part, for a large root or for a few lists, and once from
//! the *heavy* part, then for all that is to come; with a heavy draw in hand it asks for no more. So light draws wait only
//! for those that are waiting for nothing, or for heavy ones, and those wait for nothing. A crowd of large repositories
//! does not hold up small ones, which draw nothing, nor those of middle size; and one server, which may be slow, never
//! holds all of a part.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::context::Deadline;
use crate::metrics::{Limit, Metrics};
use portreeve_verify::tuf::source::reading_memory;

/// How often somebody is told that the wait goes on.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The budget. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Budget {
    light: Arc<Part>,
    heavy: Arc<Part>,
    metrics: Arc<Metrics>,
}

/// One part, first come first served.
#[derive(Debug)]
struct Part {
    bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is drawn, by which server's data.
    drawn: Vec<(Arc<str>, u64)>,
    waiting: VecDeque<(u64, Arc<str>, u64)>,
    next: u64,
}

/// Memory that was drawn; given back on drop.
pub(crate) struct Permit {
    part: Arc<Part>,
    server: Arc<str>,
    bytes: u64,
}

/// Why there is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMemory {
    /// Others had it all the time.
    OutOfTime,
    /// More than one server's data may take.
    TooMuch { wanted: u64, most: u64 },
}

impl Budget {
    /// A sixth of it is the light part.
    pub(crate) fn new(bytes: u64, metrics: Arc<Metrics>) -> Self {
        let light = bytes / 6;
        Self { light: Arc::new(Part::new(light)), heavy: Arc::new(Part::new(bytes - light)), metrics }
    }

    /// The most that one refresh can have.
    pub(crate) fn most(&self) -> u64 {
        self.heavy.share()
    }

    /// May this be drawn from the light part?
    pub(crate) fn is_light(&self, bytes: u64) -> bool {
        bytes <= self.light.share()
    }

    /// Draws, as soon as it is one's turn. `tell` is called now and then while that is waited for.
    pub(crate) fn draw_light(
        &self,
        server: &Arc<str>,
        bytes: u64,
        by: Deadline,
        tell: &dyn Fn(),
    ) -> Result<Permit, NoMemory> {
        self.counted(Part::draw(&self.light, server, bytes, by, tell))
    }

    /// Only for somebody who has nothing of the heavy part yet.
    pub(crate) fn draw_heavy(
        &self,
        server: &Arc<str>,
        bytes: u64,
        by: Deadline,
        tell: &dyn Fn(),
    ) -> Result<Permit, NoMemory> {
        self.counted(Part::draw(&self.heavy, server, bytes, by, tell))
    }

    fn counted(&self, drawn: Result<Permit, NoMemory>) -> Result<Permit, NoMemory> {
        if drawn.is_err() {
            self.metrics.limit(Limit::VerifyMemory);
        }
        drawn
    }
}

impl Part {
    fn new(bytes: u64) -> Self {
        Self { bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// The most that one server's data may take at a time.
    fn share(&self) -> u64 {
        self.bytes / 5 * 4
    }

    fn draw(
        part: &Arc<Self>,
        server: &Arc<str>,
        bytes: u64,
        by: Deadline,
        tell: &dyn Fn(),
    ) -> Result<Permit, NoMemory> {
        if bytes > part.share() {
            return Err(NoMemory::TooMuch { wanted: bytes, most: part.share() });
        }
        let mut state = part.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back((ticket, Arc::clone(server), bytes));
        let drawn = loop {
            if part.is_turn_of(&state, ticket) {
                state.drawn.push((Arc::clone(server), bytes));
                break Ok(Permit { part: Arc::clone(part), server: Arc::clone(server), bytes });
            }
            let Some(left) = by.remaining() else { break Err(NoMemory::OutOfTime) };
            state = part.changed.wait_timeout(state, left.min(TELL_EVERY)).unwrap_or_else(PoisonError::into_inner).0;
            tell();
        };
        state.waiting.retain(|(waiting, ..)| *waiting != ticket);
        drop(state);
        // There may be room for the next one as well, or this one stood in its way.
        part.changed.notify_all();
        drawn
    }

    /// In order of coming, but that nobody waits behind those whose own server has its share.
    fn is_turn_of(&self, state: &State, ticket: u64) -> bool {
        let mut drawn = state.drawn.clone();
        for (waiting, server, bytes) in &state.waiting {
            let of_server: u64 = drawn.iter().filter(|(other, _)| other == server).map(|(_, bytes)| bytes).sum();
            if of_server + bytes > self.share() {
                continue;
            }
            if drawn.iter().map(|(_, bytes)| bytes).sum::<u64>() + bytes > self.bytes {
                return false;
            }
            if *waiting == ticket {
                return true;
            }
            drawn.push((Arc::clone(server), *bytes));
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.part.lock();
        let ours = state.drawn.iter().position(|(server, bytes)| *server == self.server && *bytes == self.bytes);
        if let Some(ours) = ours {
            state.drawn.swap_remove(ours);
        }
        drop(state);
        self.part.changed.notify_all();
    }
}

/// What reading and verifying one file takes: its bytes, what they are read into, and what is made of them.
pub(crate) fn cost_of_one(role: &str, bytes: usize) -> u64 {
    cost_of_kept(bytes).saturating_add(as_u64(reading_memory(role, bytes)))
}

/// What stays of such a file while the rest of the repository is verified.
pub(crate) fn cost_of_kept(bytes: usize) -> u64 {
    as_u64(bytes.saturating_mul(3))
}

/// What it takes to read and verify lists of targets, one after the other. Of each stays what is made of it, five eighths
/// of its bytes, and its bytes too, where they are to be stored.
pub(crate) fn cost_of_lists(lengths: &[usize], keeps_bytes: bool) -> u64 {
    let made = |bytes: usize| as_u64(bytes / 8 * 5 + 1024);
    let all: u64 = lengths.iter().map(|bytes| made(*bytes)).sum();
    let bytes: u64 = lengths.iter().map(|bytes| as_u64(*bytes)).sum();
    let one = |bytes: usize| as_u64(reading_memory("targets", bytes)) + if keeps_bytes { 0 } else { as_u64(bytes) };
    let largest = lengths.iter().map(|bytes| one(*bytes)).max().unwrap_or_default();
    all + largest + if keeps_bytes { bytes } else { 0 }
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use portreeve_verify::tuf::source::SMALL_FILE;

    fn budget(bytes: u64) -> Budget {
        Budget::new(bytes, Arc::default())
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(30))
    }

    fn later() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[test]
    fn what_is_drawn_is_given_back() {
        let (budget, a) = (budget(6_000), Arc::from("a"));
        assert_eq!((budget.most(), budget.is_light(800), budget.is_light(801)), (4_000, true, false));
        let first = budget.draw_heavy(&a, 3_000, soon(), &|| {}).ok().unwrap();
        assert_eq!(
            (first.bytes(), budget.draw_heavy(&a, 1_001, soon(), &|| {}).err()),
            (3_000, Some(NoMemory::OutOfTime))
        );
        assert!(budget.draw_heavy(&a, 1_000, soon(), &|| {}).is_ok());
        // The other part is another's.
        assert!(budget.draw_light(&a, 800, soon(), &|| {}).is_ok());
        drop(first);
        assert!(budget.draw_heavy(&a, 4_000, soon(), &|| {}).is_ok());
        let too_much = NoMemory::TooMuch { wanted: 4_001, most: 4_000 };
        assert_eq!(budget.draw_heavy(&a, 4_001, later(), &|| {}).err(), Some(too_much));
        let hits = "portreeve_limit_hits_total{limit=\"verify_memory\"} 2";
        assert!(budget.metrics.render().contains(hits), "{}", budget.metrics.render());
    }

    #[test]
    fn no_server_holds_all_of_it() {
        let (budget, a, b) = (budget(6_000), Arc::from("a"), Arc::from("b"));
        let _slow = budget.draw_heavy(&a, 4_000, soon(), &|| {}).ok().unwrap();
        thread::scope(|scope| {
            let waiting =
                scope.spawn(|| budget.draw_heavy(&a, 2_000, Deadline::after(Duration::from_millis(300)), &|| {}).err());
            while budget.heavy.lock().waiting.is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
            // It waits for its own server's share; the other server's data do not wait behind it.
            assert!(budget.draw_heavy(&b, 1_000, soon(), &|| {}).is_ok());
            assert_eq!(waiting.join().unwrap(), Some(NoMemory::OutOfTime));
        });
    }

    #[test]
    fn a_large_draw_is_not_overtaken_for_ever() {
        let (budget, servers) = (budget(6_000), ["a", "b", "c"].map(Arc::<str>::from));
        let held =
            [&servers[0], &servers[1]].map(|server| budget.draw_heavy(server, 2_000, soon(), &|| {}).ok().unwrap());
        let (tell, order) = channel();
        thread::scope(|scope| {
            let wait = |number: usize, server: usize, bytes: u64, tell: Sender<usize>| {
                let (budget, server) = (&budget, &servers[server]);
                scope.spawn(move || {
                    let permit = budget.draw_heavy(server, bytes, later(), &|| {}).ok().unwrap();
                    tell.send(number).unwrap();
                    drop(permit);
                });
                while budget.heavy.lock().waiting.len() < number {
                    thread::sleep(Duration::from_millis(1));
                }
            };
            wait(1, 2, 4_000, tell.clone());
            wait(2, 0, 1_000, tell.clone()); // would fit now
            wait(3, 1, 1_000, tell.clone());
            let [first, second] = held;
            drop(first);
            assert!(order.recv_timeout(Duration::from_millis(30)).is_err(), "somebody did not wait for the first");
            drop(second);
        });
        drop(tell);
        assert_eq!(order.iter().count(), 3);
    }

    #[test]
    fn a_repository_of_75_000_tags_fits_whole_and_the_largest_root_is_light() {
        let budget = budget(48 << 20);
        let lists = [4_000, 7_100_000, 7_100_000];
        assert!(cost_of_lists(&lists, true) <= budget.most(), "{}", cost_of_lists(&lists, true));
        assert!(cost_of_lists(&[1_000, 10_000_000, 10_000_000], false) <= budget.most());
        assert!(budget.is_light(cost_of_one("root", 1 << 20)) && cost_of_one("root", SMALL_FILE) < 256 << 10);
        // Without the bytes, which are then not stored, more.
        assert!(cost_of_lists(&lists, false) < cost_of_lists(&lists, true));
    }
}
