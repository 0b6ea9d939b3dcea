//! What is remembered, and who is fetching it: a bounded shelf of slots, each holding at most one value and at most
//! one flight at a time, as a rule. Whoever finds nobody fetching leads; the others wait, each by its own deadline, and
//! share what the leader brings. One who is held up by what concerns the leader alone may lead another flight beside it. A failure is told to those who waited and then forgotten. No lock is held while anybody
//! fetches, and a leader that panics leaves the slot free. What is held is bounded by number and by weight.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::base::context::Deadline;

/// The shelf. `V` is what is kept, `T` on what terms a flight was made, `E` why one failed.
pub(crate) struct Shelf<K, V, T, E> {
    capacity: usize,
    /// The most that all values may weigh together.
    max_weight: u64,
    weigh: fn(&V) -> u64,
    slots: Mutex<Slots<K, V, T, E>>,
}

struct Slots<K, V, T, E> {
    by_key: HashMap<K, Shelved<V, T, E>>,
    /// Counts up with every use; the smallest was used longest ago.
    clock: u64,
    /// What the values weigh together, as far as they were weighed.
    weight: u64,
}

struct Shelved<V, T, E> {
    slot: Arc<Slot<V, T, E>>,
    used: u64,
    weight: u64,
}

impl<K: Eq + Hash + Clone, V, T, E> Slots<K, V, T, E> {
    fn remove(&mut self, key: &K) {
        if let Some(shelved) = self.by_key.remove(key) {
            self.weight = self.weight.saturating_sub(shelved.weight);
        }
    }

    /// Gives up the slot that was used longest ago and is in nobody's hands, if there is one besides `but`.
    fn give_one_up(&mut self, but: Option<&K>) -> bool {
        let idle =
            self.by_key.iter().filter(|(key, shelved)| Arc::strong_count(&shelved.slot) == 1 && but != Some(*key));
        let oldest = idle.min_by_key(|(_, shelved)| shelved.used).map(|(key, _)| key.clone());
        oldest.is_some_and(|oldest| {
            self.remove(&oldest);
            true
        })
    }
}

impl<K: Eq + Hash + Clone, V: Clone, T, E: Clone> Shelf<K, V, T, E> {
    pub(crate) fn new(capacity: usize, max_weight: u64, weigh: fn(&V) -> u64) -> Self {
        let slots = Slots { by_key: HashMap::new(), clock: 0, weight: 0 };
        Self { capacity, max_weight, weigh, slots: Mutex::new(slots) }
    }

    /// The slot of a key. A full shelf gives up the slot that was used longest ago and is in nobody's hands.
    pub(crate) fn slot(&self, key: &K) -> Arc<Slot<V, T, E>> {
        let mut slots = lock(&self.slots);
        slots.clock += 1;
        let used = slots.clock;
        if let Some(shelved) = slots.by_key.get_mut(key) {
            shelved.used = used;
            return Arc::clone(&shelved.slot);
        }
        if slots.by_key.len() >= self.capacity {
            slots.give_one_up(None);
        }
        let slot = Arc::new(Slot { state: Mutex::new(State { held: None, held_of: None, flight: None }) });
        slots.by_key.insert(key.clone(), Shelved { slot: Arc::clone(&slot), used, weight: 0 });
        slot
    }

    /// Puts a slot back. One that holds nothing, and that nobody else has, leaves the shelf: names that do not exist push
    /// out none that do. What is held is weighed, and where all of it is too heavy, the oldest goes.
    pub(crate) fn tidy(&self, key: &K, slot: Arc<Slot<V, T, E>>) {
        let weight = slot.held().map(|held| (self.weigh)(&held));
        let mut slots = lock(&self.slots);
        drop(slot);
        let Some(shelved) = slots.by_key.get_mut(key) else { return };
        let Some(weight) = weight else {
            if Arc::strong_count(&shelved.slot) == 1 {
                slots.remove(key);
            }
            return;
        };
        let before = std::mem::replace(&mut shelved.weight, weight);
        slots.weight = slots.weight.saturating_sub(before).saturating_add(weight);
        while slots.weight > self.max_weight && slots.give_one_up(Some(key)) {}
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.slots).by_key.len()
    }
}

/// One key's place.
pub(crate) struct Slot<V, T, E> {
    state: Mutex<State<V, T, E>>,
}

struct State<V, T, E> {
    held: Option<V>,
    /// When the flight began that brought it.
    held_of: Option<Instant>,
    /// The newest flight under way.
    flight: Option<Arc<Flight<V, T, E>>>,
}

impl<V, T, E> State<V, T, E> {
    /// Holds what a flight brought, unless one that began later has brought something already.
    fn hold(&mut self, value: V, began: Instant) {
        if self.held_of.is_none_or(|held_of| held_of <= began) {
            self.held = Some(value);
            self.held_of = Some(began);
        }
    }
}

/// What one finds at a slot.
pub(crate) enum Boarding<'a, V: Clone, T, E: Clone> {
    /// Nobody is fetching: this caller does.
    Lead(Pilot<'a, V, T, E>),
    /// Somebody is.
    Wait(Arc<Flight<V, T, E>>),
}

impl<V: Clone, T, E: Clone> Slot<V, T, E> {
    /// What is held.
    pub(crate) fn held(&self) -> Option<V> {
        lock(&self.state).held.clone()
    }

    /// Leads a flight on these terms, or joins the one that is under way.
    pub(crate) fn board(&self, terms: impl FnOnce() -> T) -> Boarding<'_, V, T, E> {
        self.board_if(|_| true, terms)
    }

    /// The same for somebody who waits for such a flight alone, and leads another one beside any other.
    pub(crate) fn board_if(&self, joins: impl Fn(&T) -> bool, terms: impl FnOnce() -> T) -> Boarding<'_, V, T, E> {
        let mut state = lock(&self.state);
        if let Some(flight) = state.flight.as_ref().filter(|flight| joins(&flight.terms)) {
            return Boarding::Wait(Arc::clone(flight));
        }
        let flight = Arc::new(Flight {
            terms: terms(),
            began: Instant::now(),
            landing: Mutex::new(None),
            landed: Condvar::new(),
        });
        state.flight = Some(Arc::clone(&flight));
        Boarding::Lead(Pilot { slot: self, flight })
    }
}

/// One fetching, seen by those who wait for it.
pub(crate) struct Flight<V, T, E> {
    /// On what terms it was made.
    pub(crate) terms: T,
    /// When it began.
    pub(crate) began: Instant,
    landing: Mutex<Option<Landing<V, E>>>,
    landed: Condvar,
}

/// How a flight ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Landing<V, E> {
    /// It brought this.
    Brought(V),
    /// It failed.
    Failed(E),
    /// Its leader gave up without a word.
    Abandoned,
}

impl<V: Clone, T, E: Clone> Flight<V, T, E> {
    /// Waits for its end; `None` once the deadline has passed.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<Landing<V, E>> {
        let mut landing = lock(&self.landing);
        loop {
            if let Some(landing) = &*landing {
                return Some(landing.clone());
            }
            let left = deadline.remaining()?;
            let waited = self.landed.wait_timeout(landing, left);
            landing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The right, and the duty, to end a flight. Dropped without a word, also by a panic, it ends as abandoned.
pub(crate) struct Pilot<'a, V: Clone, T, E: Clone> {
    slot: &'a Slot<V, T, E>,
    flight: Arc<Flight<V, T, E>>,
}

impl<V: Clone, T, E: Clone> Pilot<'_, V, T, E> {
    /// On what terms the flight is made.
    pub(crate) fn terms(&self) -> &T {
        &self.flight.terms
    }

    /// Holds this from now on, however the flight ends.
    pub(crate) fn hold(&self, value: V) {
        lock(&self.slot.state).hold(value, self.flight.began);
    }

    /// Ends the flight: what it brought is held from now on, a failure is told to those who wait.
    pub(crate) fn land(self, result: &Result<V, E>) {
        if let Ok(value) = result {
            self.hold(value.clone());
        }
        *lock(&self.flight.landing) = Some(match result {
            Ok(value) => Landing::Brought(value.clone()),
            Err(error) => Landing::Failed(error.clone()),
        });
    }
}

impl<V: Clone, T, E: Clone> Drop for Pilot<'_, V, T, E> {
    fn drop(&mut self) {
        let mut state = lock(&self.slot.state);
        if state.flight.as_ref().is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            state.flight = None;
        }
        drop(state);
        lock(&self.flight.landing).get_or_insert(Landing::Abandoned);
        self.flight.landed.notify_all();
    }
}

/// No code that can panic runs under these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    type TestShelf = Shelf<u32, &'static str, (), &'static str>;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn lead<'a>(slot: &'a Slot<&'static str, (), &'static str>) -> Pilot<'a, &'static str, (), &'static str> {
        match slot.board(|| ()) {
            Boarding::Lead(pilot) => pilot,
            Boarding::Wait(_) => panic!("somebody is leading"),
        }
    }

    fn join(slot: &Slot<&'static str, (), &'static str>) -> Arc<Flight<&'static str, (), &'static str>> {
        match slot.board(|| ()) {
            Boarding::Wait(flight) => flight,
            Boarding::Lead(_) => panic!("nobody is leading"),
        }
    }

    #[test]
    fn one_leads_and_the_others_share() {
        let shelf = TestShelf::new(9, 99, |_| 1);
        let slot = shelf.slot(&1);
        let pilot = lead(&slot);
        let flights: Vec<_> = (0..3).map(|_| join(&shelf.slot(&1))).collect();
        thread::scope(|scope| {
            let waiting: Vec<_> = flights.iter().map(|flight| scope.spawn(|| flight.wait(soon()))).collect();
            pilot.land(&Ok("data"));
            for thread in waiting {
                assert_eq!(thread.join().unwrap(), Some(Landing::Brought("data")));
            }
        });
        assert_eq!(slot.held(), Some("data"));
        drop(lead(&slot));
    }

    #[test]
    fn one_who_does_not_wait_any_more_leads_beside() {
        let shelf = TestShelf::new(9, 99, |_| 1);
        let slot = shelf.slot(&1);
        let first = lead(&slot);
        let left = join(&slot);
        let Boarding::Lead(second) = slot.board_if(|()| false, || ()) else { panic!("it waits") };
        // Others wait for the newer one.
        let newer = join(&slot);
        assert!(!Arc::ptr_eq(&newer, &left));
        second.land(&Ok("new"));
        assert_eq!(newer.wait(soon()), Some(Landing::Brought("new")));
        // What began earlier does not push out what is newer.
        first.hold("old, noted");
        first.land(&Ok("old"));
        assert_eq!(left.wait(soon()), Some(Landing::Brought("old")));
        assert_eq!(slot.held(), Some("new"));
        lead(&slot).land(&Ok("newest"));
        assert_eq!(slot.held(), Some("newest"));
        // Nor does its end free the place of the newer one.
        let first = lead(&slot);
        let Boarding::Lead(second) = slot.board_if(|()| false, || ()) else { panic!("it waits") };
        drop(first);
        join(&slot);
        drop(second);
        drop(lead(&slot));
    }

    #[test]
    fn a_failure_is_told_but_not_remembered() {
        let shelf = TestShelf::new(9, 99, |_| 1);
        let slot = shelf.slot(&1);
        lead(&slot).land(&Ok("old"));
        let pilot = lead(&slot);
        let flight = join(&slot);
        pilot.land(&Err("why"));
        assert_eq!(flight.wait(soon()), Some(Landing::Failed("why")));
        assert_eq!(slot.held(), Some("old"));
        lead(&slot).land(&Ok("new"));
        assert_eq!(slot.held(), Some("new"));
    }

    #[test]
    fn a_panic_of_the_leader_frees_the_slot() {
        let shelf = TestShelf::new(9, 99, |_| 1);
        let slot = shelf.slot(&1);
        let flight = thread::scope(|scope| {
            let pilot = lead(&slot);
            let flight = join(&slot);
            let thread = scope.spawn(move || {
                let _pilot = pilot;
                panic!("made up");
            });
            assert!(thread.join().is_err());
            flight
        });
        assert_eq!(flight.wait(soon()), Some(Landing::Abandoned));
        drop(lead(&slot));
    }

    #[test]
    fn waiting_ends_with_the_deadline() {
        let shelf = TestShelf::new(9, 99, |_| 1);
        let slot = shelf.slot(&1);
        let _pilot = lead(&slot);
        let started = Instant::now();
        assert_eq!(join(&slot).wait(Deadline::after(Duration::from_millis(50))), None);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_full_shelf_gives_up_what_was_used_longest_ago() {
        let shelf = TestShelf::new(2, 99, |_| 1);
        lead(&shelf.slot(&1)).land(&Ok("1"));
        lead(&shelf.slot(&2)).land(&Ok("2"));
        shelf.slot(&1);
        lead(&shelf.slot(&3)).land(&Ok("3"));
        assert_eq!(shelf.len(), 2);
        assert_eq!(shelf.slot(&1).held(), Some("1"));
        assert_eq!(shelf.slot(&3).held(), Some("3"));
        assert_eq!(shelf.slot(&2).held(), None);
    }

    #[test]
    fn empty_slots_do_not_stay() {
        let shelf = TestShelf::new(2, 99, |_| 1);
        let slot = shelf.slot(&1);
        shelf.tidy(&1, slot);
        assert_eq!(shelf.len(), 0);
        let (one, other) = (shelf.slot(&1), shelf.slot(&1));
        shelf.tidy(&1, one);
        assert_eq!(shelf.len(), 1);
        lead(&other).land(&Ok("1"));
        shelf.tidy(&1, other);
        assert_eq!(shelf.len(), 1);
    }

    #[test]
    fn what_is_too_heavy_together_gives_up_the_oldest() {
        let shelf = TestShelf::new(9, 10, |value| value.len() as u64);
        let put = |key: u32, value: &'static str| {
            let slot = shelf.slot(&key);
            lead(&slot).land(&Ok(value));
            shelf.tidy(&key, slot);
        };
        let keys = || (1..=4).filter(|key| lock(&shelf.slots).by_key.contains_key(key)).collect::<Vec<_>>();
        put(1, "1234");
        put(2, "1234");
        put(1, "12345");
        assert_eq!(keys(), [1, 2]);
        put(3, "12");
        assert_eq!(keys(), [1, 3], "2 was used longest ago");
        // One that is in somebody's hands stays, and the newest always does.
        let held = shelf.slot(&1);
        put(4, "a value heavier than all");
        assert_eq!(keys(), [1, 4]);
        shelf.tidy(&1, held);
        assert_eq!(keys(), [1]);
        assert_eq!(lock(&shelf.slots).weight, 5);
    }
}
