//! How many signatures may be verified for one request. Whoever may push to a registry chooses the number of signatures, and a
//! tenant may choose the keys: each signature is verified under each key.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left of the verifications that one request may cause. A unit is about one verification with a key on P-256: a tenth of
/// a millisecond. What was verified before and is remembered costs nothing.
#[derive(Clone, Copy)]
pub struct Effort<'a>(Option<Limit<'a>>);

#[derive(Clone, Copy)]
struct Limit<'a> {
    left: &'a AtomicUsize,
    is_late: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Effort<'a> {
    /// For people, who ask about one image.
    pub const UNLIMITED: Effort<'static> = Effort(None);

    /// So many units, which all images of a request share, until the request is late.
    pub fn new(left: &'a AtomicUsize, is_late: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self(Some(Limit { left, is_late }))
    }

    /// Takes units before a verification. `false`: it must not be made.
    #[must_use]
    pub(crate) fn take(self, units: usize) -> bool {
        let Some(Limit { left, is_late }) = self.0 else { return true };
        let take = |left: usize| left.checked_sub(units);
        !is_late() && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// The checks of one proof, each of which takes effort. If one could not be made, no other is made, and nobody can say what the proof
/// is worth: its outcome must not be looked at.
pub(crate) struct Checks<'a> {
    effort: Effort<'a>,
    is_exhausted: Cell<bool>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(effort: Effort<'a>) -> Self {
        Self { effort, is_exhausted: Cell::new(false) }
    }

    /// Takes units before a check. `false`: it must not be made.
    #[must_use]
    pub(crate) fn take(&self, units: usize) -> bool {
        if self.is_exhausted() || !self.effort.take(units) {
            self.is_exhausted.set(true);
        }
        !self.is_exhausted()
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_exhausted.get()
    }
}

impl fmt::Debug for Effort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Effort(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let left = AtomicUsize::new(10);
        let effort = Effort::new(&left, &|| false);
        assert_eq!([4, 7, 6, 1].map(|units| effort.take(units)), [true, false, true, false]);
        left.store(10, Ordering::Relaxed);
        assert!(!Effort::new(&left, &|| true).take(1));
        assert!(Effort::UNLIMITED.take(usize::MAX));
    }

    #[test]
    fn after_a_check_that_was_not_made_no_other_is_made() {
        let left = AtomicUsize::new(10);
        let checks = Checks::new(Effort::new(&left, &|| false));
        assert!(checks.take(4) && !checks.is_exhausted());
        assert!(!checks.take(7) && !checks.take(1) && checks.is_exhausted());
        assert_eq!(left.into_inner(), 6);
    }
}
