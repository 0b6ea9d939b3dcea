//! Values that are made of files, and made again when the files change. While the new files cannot be used, the last good
//! value stays in force.
//!
//! The files are compared by a stamp, without reading them, and no more often than at an interval. One caller checks; all
//! others go on with the value in force and wait for nothing. A check that ends in a panic counts as ended.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a value is made of files.
pub(crate) trait Source {
    /// What is made. Every user gets a clone.
    type Value: Clone;
    /// The state of the files. Equal stamps mean that nothing changed.
    type Stamp: PartialEq;
    /// Why the value cannot be made.
    type Error;

    /// The state of the files now.
    fn stamp(&self) -> Self::Stamp;

    /// Makes the value. `stamp` was taken before, so that a change during the read is seen at the next check. `last` is the
    /// value in force, if there is one.
    fn make(&self, stamp: &Self::Stamp, last: Option<&Self::Value>) -> Result<Self::Value, Self::Error>;

    /// Whether it is worth trying again although the files have not changed.
    fn is_transient(&self, _error: &Self::Error) -> bool {
        false
    }
}

/// A value and the files that it is made of. All threads share it.
#[derive(Debug)]
pub(crate) struct Reloading<S: Source> {
    source: S,
    every: Duration,
    value: Mutex<S::Value>,
    state: Mutex<State<S::Stamp>>,
}

#[derive(Debug)]
struct State<Stamp> {
    last: Attempt<Stamp>,
    /// When the last check ended.
    checked: Instant,
    is_checking: bool,
}

/// The last attempt to make a value of files.
#[derive(Clone, Debug)]
pub(crate) struct Attempt<Stamp> {
    /// The state of the files; `None` before the first attempt.
    seen: Option<Stamp>,
    /// Whether it failed and is worth repeating although the files have not changed.
    retry: bool,
}

impl<Stamp> Default for Attempt<Stamp> {
    fn default() -> Self {
        Self { seen: None, retry: false }
    }
}

impl<Stamp: PartialEq> Attempt<Stamp> {
    pub(crate) fn new(stamp: Stamp, is_worth_repeating: bool) -> Self {
        Self { seen: Some(stamp), retry: is_worth_repeating }
    }

    /// Did it see these files?
    fn saw(&self, stamp: &Stamp) -> bool {
        self.seen.as_ref() == Some(stamp)
    }

    /// Is another attempt useless?
    pub(crate) fn is_enough(&self, stamp: &Stamp) -> bool {
        !self.retry && self.saw(stamp)
    }

    /// Did it fail, and is it worth repeating?
    pub(crate) fn is_worth_repeating(&self) -> bool {
        self.retry
    }
}

/// The result of a check.
#[derive(Debug)]
pub(crate) enum Reload<V, E> {
    /// No check was due, or nothing has changed.
    Unchanged,
    /// The files changed, and this value is in force from now on.
    Made(V),
    /// The value could not be made, and the last good one stays in force.
    Failed {
        /// Why.
        error: E,
        /// The last attempt failed as well, and the files are the same.
        again: bool,
    },
}

impl<S: Source> Reloading<S> {
    /// Makes the first value. There is no other to fall back to, so that any failure is an error. The first check is due
    /// after `every`.
    pub(crate) fn start(source: S, every: Duration) -> Result<Self, S::Error> {
        let stamp = source.stamp();
        let value = source.make(&stamp, None)?;
        let state = State { last: Attempt::new(stamp, false), checked: Instant::now(), is_checking: false };
        Ok(Self { source, every, value: Mutex::new(value), state: Mutex::new(state) })
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// The value in force.
    pub(crate) fn value(&self) -> S::Value {
        lock(&self.value).clone()
    }

    /// Checks the files if that is due and no other caller is doing it. If they changed, makes the value again.
    pub(crate) fn check(&self) -> Reload<S::Value, S::Error> {
        let Some(_check) = self.begin() else { return Reload::Unchanged };
        let stamp = self.source.stamp();
        let again = {
            let state = lock(&self.state);
            if state.last.is_enough(&stamp) {
                return Reload::Unchanged;
            }
            state.last.saw(&stamp)
        };
        let made = self.source.make(&stamp, Some(&self.value()));
        let mut state = lock(&self.state);
        state.last = Attempt::new(stamp, made.as_ref().is_err_and(|error| self.source.is_transient(error)));
        match made {
            Ok(value) => {
                *lock(&self.value) = value.clone();
                Reload::Made(value)
            }
            Err(error) => Reload::Failed { error, again },
        }
    }

    fn begin(&self) -> Option<Check<'_, S::Stamp>> {
        let mut state = lock(&self.state);
        let is_due = state.checked.elapsed() >= self.every;
        if state.is_checking || !is_due {
            return None;
        }
        state.is_checking = true;
        Some(Check(&self.state))
    }
}

/// The right to check. It ends when it is dropped, also by a panic.
struct Check<'a, Stamp>(&'a Mutex<State<Stamp>>);

impl<Stamp> Drop for Check<'_, Stamp> {
    fn drop(&mut self) {
        let mut state = lock(self.0);
        state.is_checking = false;
        state.checked = Instant::now();
    }
}

/// No code that can panic changes a value under these locks, so that a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// A file in memory: its stamp and its content, or why it cannot be used.
    #[derive(Default)]
    struct File {
        stamp: Cell<u32>,
        content: Cell<Option<&'static str>>,
        is_transient: Cell<bool>,
        panics: Cell<bool>,
    }

    impl Source for &File {
        type Value = &'static str;
        type Stamp = u32;
        type Error = &'static str;

        fn stamp(&self) -> u32 {
            self.stamp.get()
        }

        fn make(&self, _: &u32, _: Option<&&'static str>) -> Result<&'static str, &'static str> {
            assert!(!self.panics.get(), "made up");
            self.content.get().ok_or("bad")
        }

        fn is_transient(&self, _: &&'static str) -> bool {
            self.is_transient.get()
        }
    }

    fn result(reload: Reload<&'static str, &'static str>) -> String {
        match reload {
            Reload::Unchanged => "unchanged".to_owned(),
            Reload::Made(value) => value.to_owned(),
            Reload::Failed { error, again } => format!("{error}{}", if again { " again" } else { "" }),
        }
    }

    #[test]
    fn what_changes_is_made_again_and_the_last_good_value_stays() {
        let file = File::default();
        assert!(Reloading::start(&file, Duration::ZERO).is_err());
        file.content.set(Some("one"));
        let reloading = Reloading::start(&file, Duration::ZERO).unwrap();
        for (stamp, content, is_transient, expected, value) in [
            (0, None, false, "unchanged", "one"),
            (1, Some("two"), false, "two", "two"),
            (2, None, false, "bad", "two"),
            (2, Some("three"), false, "unchanged", "two"),
            (3, None, true, "bad", "two"),
            (3, None, true, "bad again", "two"),
            (4, None, true, "bad", "two"),
            (4, Some("four"), false, "four", "four"),
            (4, Some("five"), false, "unchanged", "four"),
        ] {
            file.stamp.set(stamp);
            file.content.set(content);
            file.is_transient.set(is_transient);
            assert_eq!((result(reloading.check()).as_str(), reloading.value()), (expected, value), "{stamp}");
        }
    }

    #[test]
    fn one_looks_when_it_is_due_and_a_panic_ends_it() {
        let file = File::default();
        file.content.set(Some("one"));
        let reloading = Reloading::start(&file, Duration::ZERO).unwrap();
        let check = reloading.begin().unwrap();
        assert!(reloading.begin().is_none(), "a check is under way");
        drop(check);
        file.stamp.set(1);
        file.panics.set(true);
        assert!(catch_unwind(AssertUnwindSafe(|| reloading.check())).is_err());
        file.panics.set(false);
        file.content.set(Some("two"));
        assert_eq!(result(reloading.check()), "two", "never looked over again");
        assert!(Reloading::start(&file, Duration::from_secs(60)).unwrap().begin().is_none());
    }
}
