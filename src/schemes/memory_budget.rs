//! The memory in which metadata is read and verified: one budget for all refreshes of a process, from servers, directories and
//! the disk alike. A refresh draws what a file will cost before it asks for the file, and gives it back when the file has been
//! dealt with. A refresh that cannot draw waits for its turn until its deadline.
//!
//! No refresh waits for ever. It draws once from the *light* part, for a large root or a few lists, and once from the *heavy*
//! part, for all that is still to come. A refresh that has a heavy draw draws no more. So heavy draws wait only for refreshes
//! that wait for nothing, and light draws wait only for those or for heavy ones. Many large repositories do not hold up small
//! ones, which draw nothing, nor middle-sized ones. One server, which may be slow, never has all of a part.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::context::Deadline;
use crate::metrics::{Limit, Metrics};
use portreeve_verify::tuf::reading_memory;

/// How often a waiting refresh calls `tell`.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The budget. Shared by all workers.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    /// The light and the heavy part.
    pools: [Arc<Pool>; 2],
    metrics: Arc<Metrics>,
}

/// A part of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A sixth of it.
    Light,
    /// The rest, for refreshes that have no heavy draw yet.
    Heavy,
}

/// One part. Draws are served in order.
#[derive(Debug)]
struct Pool {
    bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Each draw: the server and the bytes.
    drawn: Vec<(Arc<str>, u64)>,
    waiting: VecDeque<(u64, Arc<str>, u64)>,
    next: u64,
}

/// Memory that was drawn. Dropping it gives it back.
pub(crate) struct Permit {
    pool: Arc<Pool>,
    server: Arc<str>,
    bytes: u64,
}

/// Why no memory was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMemory {
    /// Other refreshes had it until the deadline.
    OutOfTime,
    /// It is more than the data of one server may take.
    TooMuch { wanted: u64, most: u64 },
}

impl MemoryBudget {
    pub(crate) fn new(bytes: u64, metrics: Arc<Metrics>) -> Self {
        let light = bytes / 6;
        Self { pools: [light, bytes - light].map(|bytes| Arc::new(Pool::new(bytes))), metrics }
    }

    /// The most that one refresh can have.
    pub(crate) fn most(&self) -> u64 {
        self.pool(Part::Heavy).share()
    }

    /// May so many bytes be drawn from the light part?
    pub(crate) fn is_light(&self, bytes: u64) -> bool {
        bytes <= self.pool(Part::Light).share()
    }

    /// Draws, as soon as it is this refresh's turn. `tell` is called now and then while it waits.
    pub(crate) fn draw(
        &self,
        part: Part,
        server: &Arc<str>,
        bytes: u64,
        by: Deadline,
        tell: &dyn Fn(),
    ) -> Result<Permit, NoMemory> {
        let drawn = Pool::draw(self.pool(part), server, bytes, by, tell);
        if drawn.is_err() {
            self.metrics.limit(Limit::VerifyMemory);
        }
        drawn
    }

    fn pool(&self, part: Part) -> &Arc<Pool> {
        let [light, heavy] = &self.pools;
        match part {
            Part::Light => light,
            Part::Heavy => heavy,
        }
    }
}

impl Pool {
    fn new(bytes: u64) -> Self {
        Self { bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// The most that one server's data may take at a time.
    fn share(&self) -> u64 {
        self.bytes / 5 * 4
    }

    fn draw(
        pool: &Arc<Self>,
        server: &Arc<str>,
        bytes: u64,
        by: Deadline,
        tell: &dyn Fn(),
    ) -> Result<Permit, NoMemory> {
        if bytes > pool.share() {
            return Err(NoMemory::TooMuch { wanted: bytes, most: pool.share() });
        }
        let mut state = pool.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back((ticket, Arc::clone(server), bytes));
        let drawn = loop {
            if pool.is_turn_of(&state, ticket) {
                state.drawn.push((Arc::clone(server), bytes));
                break Ok(Permit { pool: Arc::clone(pool), server: Arc::clone(server), bytes });
            }
            let Some(left) = by.remaining() else { break Err(NoMemory::OutOfTime) };
            state = pool.changed.wait_timeout(state, left.min(TELL_EVERY)).unwrap_or_else(PoisonError::into_inner).0;
            tell();
        };
        state.waiting.retain(|(waiting, ..)| *waiting != ticket);
        drop(state);
        // There may be room for the next draw as well, or this one was in its way.
        pool.changed.notify_all();
        drawn
    }

    /// Draws are served in order, but none waits behind one whose own server has its share already.
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
        let mut state = self.pool.lock();
        let ours = state.drawn.iter().position(|(server, bytes)| *server == self.server && *bytes == self.bytes);
        if let Some(ours) = ours {
            state.drawn.swap_remove(ours);
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}

/// The memory to read and verify one file: its bytes, the parsed values, and the verified role.
pub(crate) fn cost_of_one(role: &str, bytes: usize) -> u64 {
    cost_of_kept(bytes).saturating_add(as_u64(reading_memory(role, bytes)))
}

/// The memory that such a file keeps while the rest of the repository is verified.
pub(crate) fn cost_of_kept(bytes: usize) -> u64 {
    as_u64(bytes.saturating_mul(3))
}

/// The memory to read and verify lists of targets. Each keeps its verified role, five eighths of its bytes. `at_once`: the bytes
/// of all are in memory at the same time, because they are fetched together or are to be stored.
pub(crate) fn cost_of_lists(lengths: &[usize], at_once: bool) -> u64 {
    let made = |bytes: usize| as_u64(bytes / 8 * 5 + 1024);
    let all: u64 = lengths.iter().map(|bytes| made(*bytes)).sum();
    let bytes: u64 = lengths.iter().map(|bytes| as_u64(*bytes)).sum();
    let one = |bytes: usize| as_u64(reading_memory("targets", bytes)) + if at_once { 0 } else { as_u64(bytes) };
    let largest = lengths.iter().map(|bytes| one(*bytes)).max().unwrap_or_default();
    all + largest + if at_once { bytes } else { 0 }
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
    use portreeve_verify::tuf::SMALL_FILE;

    fn budget(bytes: u64) -> MemoryBudget {
        MemoryBudget::new(bytes, Arc::default())
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
        let first = budget.draw(Part::Heavy, &a, 3_000, soon(), &|| {}).ok().unwrap();
        assert_eq!(
            (first.bytes(), budget.draw(Part::Heavy, &a, 1_001, soon(), &|| {}).err()),
            (3_000, Some(NoMemory::OutOfTime))
        );
        assert!(budget.draw(Part::Heavy, &a, 1_000, soon(), &|| {}).is_ok());
        // The light part is apart.
        assert!(budget.draw(Part::Light, &a, 800, soon(), &|| {}).is_ok());
        drop(first);
        assert!(budget.draw(Part::Heavy, &a, 4_000, soon(), &|| {}).is_ok());
        let too_much = NoMemory::TooMuch { wanted: 4_001, most: 4_000 };
        assert_eq!(budget.draw(Part::Heavy, &a, 4_001, later(), &|| {}).err(), Some(too_much));
        let hits = "portreeve_limit_hits_total{limit=\"verify_memory\"} 2";
        assert!(budget.metrics.render().contains(hits), "{}", budget.metrics.render());
    }

    #[test]
    fn no_server_holds_all_of_it() {
        let (budget, a, b) = (budget(6_000), Arc::from("a"), Arc::from("b"));
        let _slow = budget.draw(Part::Heavy, &a, 4_000, soon(), &|| {}).ok().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                budget.draw(Part::Heavy, &a, 2_000, Deadline::after(Duration::from_millis(300)), &|| {}).err()
            });
            while budget.pool(Part::Heavy).lock().waiting.is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
            // It waits for its own server's share; the other server's data do not wait behind it.
            assert!(budget.draw(Part::Heavy, &b, 1_000, soon(), &|| {}).is_ok());
            assert_eq!(waiting.join().unwrap(), Some(NoMemory::OutOfTime));
        });
    }

    #[test]
    fn a_large_draw_is_not_overtaken_for_ever() {
        let (budget, servers) = (budget(6_000), ["a", "b", "c"].map(Arc::<str>::from));
        let held = [&servers[0], &servers[1]]
            .map(|server| budget.draw(Part::Heavy, server, 2_000, soon(), &|| {}).ok().unwrap());
        let (tell, order) = channel();
        thread::scope(|scope| {
            let wait = |number: usize, server: usize, bytes: u64, tell: Sender<usize>| {
                let (budget, server) = (&budget, &servers[server]);
                scope.spawn(move || {
                    let permit = budget.draw(Part::Heavy, server, bytes, later(), &|| {}).ok().unwrap();
                    tell.send(number).unwrap();
                    drop(permit);
                });
                while budget.pool(Part::Heavy).lock().waiting.len() < number {
                    thread::sleep(Duration::from_millis(1));
                }
            };
            wait(1, 2, 4_000, tell.clone());
            wait(2, 0, 1_000, tell.clone()); // would fit now
            wait(3, 1, 1_000, tell.clone());
            let [first, second] = held;
            drop(first);
            assert!(order.recv_timeout(Duration::from_millis(30)).is_err(), "a draw did not wait for the first");
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
