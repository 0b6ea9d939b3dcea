//! A bounded cache that fetches each value once at a time. An entry has at most one value. The first request that finds no
//! call under way leads one; the others follow it, each until its own deadline, and share its outcome. The followers share
//! a failure too, and it is not kept. A request that cannot use the call under way may lead another one beside it.
//!
//! No lock is held while a value is fetched. A leader that panics ends its call as abandoned. The values are bounded in
//! number and in heap size.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::base::context::Deadline;

/// The cache: values `V` by key `K`. `S` is the scope of a call, which says for which requests it counts, and `E` why one failed.
pub(crate) struct SingleFlight<K, V, S, E> {
    max_entries: usize,
    /// The largest heap size of all values together.
    max_heap: u64,
    heap_size: fn(&V) -> u64,
    entries: Mutex<Entries<K, V, S, E>>,
}

struct Entries<K, V, S, E> {
    by_key: HashMap<K, Cached<V, S, E>>,
    /// Counts up with every use. The entry with the smallest count is the least recently used.
    clock: u64,
    /// The heap size of all values that were measured.
    heap_size: u64,
}

struct Cached<V, S, E> {
    entry: Arc<Entry<V, S, E>>,
    used: u64,
    heap_size: u64,
}

impl<K: Eq + Hash + Clone, V, S, E> Entries<K, V, S, E> {
    fn remove(&mut self, key: &K) {
        if let Some(cached) = self.by_key.remove(key) {
            self.heap_size = self.heap_size.saturating_sub(cached.heap_size);
        }
    }

    /// Removes the least recently used entry that no request holds, if there is one other than `except`.
    fn evict_one(&mut self, except: Option<&K>) -> bool {
        let idle =
            self.by_key.iter().filter(|(key, cached)| Arc::strong_count(&cached.entry) == 1 && except != Some(*key));
        let oldest = idle.min_by_key(|(_, cached)| cached.used).map(|(key, _)| key.clone());
        oldest.is_some_and(|oldest| {
            self.remove(&oldest);
            true
        })
    }
}

impl<K: Eq + Hash + Clone, V: Clone, S, E: Clone> SingleFlight<K, V, S, E> {
    pub(crate) fn new(max_entries: usize, max_heap: u64, heap_size: fn(&V) -> u64) -> Self {
        let entries = Entries { by_key: HashMap::new(), clock: 0, heap_size: 0 };
        Self { max_entries, max_heap, heap_size, entries: Mutex::new(entries) }
    }

    /// The entry of a key. A new entry in a full cache takes the place of the least recently used one that no request holds.
    pub(crate) fn entry(&self, key: &K) -> Arc<Entry<V, S, E>> {
        let mut entries = lock(&self.entries);
        entries.clock += 1;
        let used = entries.clock;
        if let Some(cached) = entries.by_key.get_mut(key) {
            cached.used = used;
            return Arc::clone(&cached.entry);
        }
        if entries.by_key.len() >= self.max_entries {
            entries.evict_one(None);
        }
        let entry = Arc::new(Entry { state: Mutex::new(State { value: None, value_since: None, call: None }) });
        entries.by_key.insert(key.clone(), Cached { entry: Arc::clone(&entry), used, heap_size: 0 });
        entry
    }

    /// Gives an entry back. An entry without a value that no other request holds is removed, so that names that do not exist
    /// push out none that do. A value is measured, and if all of them are too large, the least recently used are removed.
    pub(crate) fn release(&self, key: &K, entry: Arc<Entry<V, S, E>>) {
        let heap_size = entry.value().map(|value| (self.heap_size)(&value));
        let mut entries = lock(&self.entries);
        drop(entry);
        let Some(cached) = entries.by_key.get_mut(key) else { return };
        let Some(heap_size) = heap_size else {
            if Arc::strong_count(&cached.entry) == 1 {
                entries.remove(key);
            }
            return;
        };
        let before = std::mem::replace(&mut cached.heap_size, heap_size);
        entries.heap_size = entries.heap_size.saturating_sub(before).saturating_add(heap_size);
        while entries.heap_size > self.max_heap && entries.evict_one(Some(key)) {}
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.entries).by_key.len()
    }
}

/// The place of one key.
pub(crate) struct Entry<V, S, E> {
    state: Mutex<State<V, S, E>>,
}

struct State<V, S, E> {
    value: Option<V>,
    /// When the call began that fetched the value.
    value_since: Option<Instant>,
    /// The newest call under way.
    call: Option<Arc<Call<V, S, E>>>,
}

impl<V, S, E> State<V, S, E> {
    /// Stores the value of a call, unless there is one of a later call.
    fn store(&mut self, value: V, began: Instant) {
        if self.value_since.is_none_or(|since| since <= began) {
            self.value = Some(value);
            self.value_since = Some(began);
        }
    }
}

/// What a request does about an entry.
pub(crate) enum Join<'a, V: Clone, S, E: Clone> {
    /// It fetches the value.
    Lead(Leader<'a, V, S, E>),
    /// It waits for a call under way.
    Follow(Arc<Call<V, S, E>>),
}

impl<V: Clone, S, E: Clone> Entry<V, S, E> {
    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<V> {
        lock(&self.state).value.clone()
    }

    /// Follows the call under way, or else leads one of this scope.
    pub(crate) fn join(&self, scope: impl FnOnce() -> S) -> Join<'_, V, S, E> {
        self.join_if(|_| true, scope)
    }

    /// The same, for a request that can only use some calls. It leads a call beside any other.
    pub(crate) fn join_if(&self, can_use: impl Fn(&S) -> bool, scope: impl FnOnce() -> S) -> Join<'_, V, S, E> {
        let mut state = lock(&self.state);
        if let Some(call) = state.call.as_ref().filter(|call| can_use(&call.scope)) {
            return Join::Follow(Arc::clone(call));
        }
        let call =
            Arc::new(Call { scope: scope(), began: Instant::now(), outcome: Mutex::new(None), ended: Condvar::new() });
        state.call = Some(Arc::clone(&call));
        Join::Lead(Leader { entry: self, call })
    }
}

/// One fetch of a value, as its followers see it.
pub(crate) struct Call<V, S, E> {
    /// Its scope.
    pub(crate) scope: S,
    /// When it began.
    pub(crate) began: Instant,
    outcome: Mutex<Option<Outcome<V, E>>>,
    ended: Condvar,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<V, E> {
    /// With this value.
    Fetched(V),
    /// With a failure.
    Failed(E),
    /// Its leader gave up, or panicked.
    Abandoned,
}

impl<V: Clone, S, E: Clone> Call<V, S, E> {
    /// Waits for the end of the call; `None` once the deadline has passed.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<Outcome<V, E>> {
        let mut outcome = lock(&self.outcome);
        loop {
            if let Some(outcome) = &*outcome {
                return Some(outcome.clone());
            }
            let left = deadline.remaining()?;
            let waited = self.ended.wait_timeout(outcome, left);
            outcome = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The right and the duty to end a call. If it is dropped before, also by a panic, the call ends as abandoned.
pub(crate) struct Leader<'a, V: Clone, S, E: Clone> {
    entry: &'a Entry<V, S, E>,
    call: Arc<Call<V, S, E>>,
}

impl<V: Clone, S, E: Clone> Leader<'_, V, S, E> {
    /// The scope of the call.
    pub(crate) fn scope(&self) -> &S {
        &self.call.scope
    }

    /// Stores a value, however the call ends.
    pub(crate) fn store(&self, value: V) {
        lock(&self.entry.state).store(value, self.call.began);
    }

    /// Ends the call: a value is stored, and the followers get the value or the failure.
    pub(crate) fn finish(self, result: &Result<V, E>) {
        if let Ok(value) = result {
            self.store(value.clone());
        }
        self.tell(result);
    }

    /// Ends the call without storing a value, for values that are kept elsewhere. The followers get the value or the failure.
    pub(crate) fn tell(self, result: &Result<V, E>) {
        *lock(&self.call.outcome) = Some(match result {
            Ok(value) => Outcome::Fetched(value.clone()),
            Err(error) => Outcome::Failed(error.clone()),
        });
    }
}

impl<V: Clone, S, E: Clone> Drop for Leader<'_, V, S, E> {
    fn drop(&mut self) {
        let mut state = lock(&self.entry.state);
        if state.call.as_ref().is_some_and(|call| Arc::ptr_eq(call, &self.call)) {
            state.call = None;
        }
        drop(state);
        lock(&self.call.outcome).get_or_insert(Outcome::Abandoned);
        self.call.ended.notify_all();
    }
}

/// No code that can panic runs under these locks, so that a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    type TestCache = SingleFlight<u32, &'static str, (), &'static str>;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn lead<'a>(entry: &'a Entry<&'static str, (), &'static str>) -> Leader<'a, &'static str, (), &'static str> {
        match entry.join(|| ()) {
            Join::Lead(leader) => leader,
            Join::Follow(_) => panic!("another call is under way"),
        }
    }

    fn follow(entry: &Entry<&'static str, (), &'static str>) -> Arc<Call<&'static str, (), &'static str>> {
        match entry.join(|| ()) {
            Join::Follow(call) => call,
            Join::Lead(_) => panic!("no call is under way"),
        }
    }

    #[test]
    fn one_leads_and_the_others_share() {
        let cache = TestCache::new(9, 99, |_| 1);
        let entry = cache.entry(&1);
        let leader = lead(&entry);
        let calls: Vec<_> = (0..3).map(|_| follow(&cache.entry(&1))).collect();
        thread::scope(|scope| {
            let waiting: Vec<_> = calls.iter().map(|call| scope.spawn(|| call.wait(soon()))).collect();
            leader.finish(&Ok("data"));
            for thread in waiting {
                assert_eq!(thread.join().unwrap(), Some(Outcome::Fetched("data")));
            }
        });
        assert_eq!(entry.value(), Some("data"));
        drop(lead(&entry));
    }

    #[test]
    fn one_who_does_not_wait_any_more_leads_beside() {
        let cache = TestCache::new(9, 99, |_| 1);
        let entry = cache.entry(&1);
        let first = lead(&entry);
        let left = follow(&entry);
        let Join::Lead(second) = entry.join_if(|()| false, || ()) else { panic!("it waits") };
        // Others wait for the newer one.
        let newer = follow(&entry);
        assert!(!Arc::ptr_eq(&newer, &left));
        second.finish(&Ok("new"));
        assert_eq!(newer.wait(soon()), Some(Outcome::Fetched("new")));
        // What began earlier does not push out what is newer.
        first.store("old, noted");
        first.finish(&Ok("old"));
        assert_eq!(left.wait(soon()), Some(Outcome::Fetched("old")));
        assert_eq!(entry.value(), Some("new"));
        lead(&entry).finish(&Ok("newest"));
        assert_eq!(entry.value(), Some("newest"));
        // Nor does its end free the place of the newer one.
        let first = lead(&entry);
        let Join::Lead(second) = entry.join_if(|()| false, || ()) else { panic!("it waits") };
        drop(first);
        follow(&entry);
        drop(second);
        drop(lead(&entry));
    }

    #[test]
    fn a_failure_is_told_but_not_remembered() {
        let cache = TestCache::new(9, 99, |_| 1);
        let entry = cache.entry(&1);
        lead(&entry).finish(&Ok("old"));
        let leader = lead(&entry);
        let call = follow(&entry);
        leader.finish(&Err("why"));
        assert_eq!(call.wait(soon()), Some(Outcome::Failed("why")));
        assert_eq!(entry.value(), Some("old"));
        lead(&entry).finish(&Ok("new"));
        assert_eq!(entry.value(), Some("new"));
    }

    #[test]
    fn a_panic_of_the_leader_frees_the_slot() {
        let cache = TestCache::new(9, 99, |_| 1);
        let entry = cache.entry(&1);
        let call = thread::scope(|scope| {
            let leader = lead(&entry);
            let call = follow(&entry);
            let thread = scope.spawn(move || {
                let _leader = leader;
                panic!("made up");
            });
            assert!(thread.join().is_err());
            call
        });
        assert_eq!(call.wait(soon()), Some(Outcome::Abandoned));
        drop(lead(&entry));
    }

    #[test]
    fn waiting_ends_with_the_deadline() {
        let cache = TestCache::new(9, 99, |_| 1);
        let entry = cache.entry(&1);
        let _leader = lead(&entry);
        let started = Instant::now();
        assert_eq!(follow(&entry).wait(Deadline::after(Duration::from_millis(50))), None);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_full_shelf_gives_up_what_was_used_longest_ago() {
        let cache = TestCache::new(2, 99, |_| 1);
        lead(&cache.entry(&1)).finish(&Ok("1"));
        lead(&cache.entry(&2)).finish(&Ok("2"));
        cache.entry(&1);
        lead(&cache.entry(&3)).finish(&Ok("3"));
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.entry(&1).value(), Some("1"));
        assert_eq!(cache.entry(&3).value(), Some("3"));
        assert_eq!(cache.entry(&2).value(), None);
    }

    #[test]
    fn empty_slots_do_not_stay() {
        let cache = TestCache::new(2, 99, |_| 1);
        let entry = cache.entry(&1);
        cache.release(&1, entry);
        assert_eq!(cache.len(), 0);
        let (one, other) = (cache.entry(&1), cache.entry(&1));
        cache.release(&1, one);
        assert_eq!(cache.len(), 1);
        lead(&other).finish(&Ok("1"));
        cache.release(&1, other);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn what_is_too_heavy_together_gives_up_the_oldest() {
        let cache = TestCache::new(9, 10, |value| value.len() as u64);
        let put = |key: u32, value: &'static str| {
            let entry = cache.entry(&key);
            lead(&entry).finish(&Ok(value));
            cache.release(&key, entry);
        };
        let keys = || (1..=4).filter(|key| lock(&cache.entries).by_key.contains_key(key)).collect::<Vec<_>>();
        put(1, "1234");
        put(2, "1234");
        put(1, "12345");
        assert_eq!(keys(), [1, 2]);
        put(3, "12");
        assert_eq!(keys(), [1, 3], "2 was used longest ago");
        // A value that is in use stays, and so does the newest.
        let held = cache.entry(&1);
        put(4, "a value heavier than all");
        assert_eq!(keys(), [1, 4]);
        cache.release(&1, held);
        assert_eq!(keys(), [1]);
        assert_eq!(lock(&cache.entries).heap_size, 5);
    }
}
