//! The quota of the cache directory, for all repositories together, counted in blocks as a disk does. Each client that can
//! have a workload reviewed can have a repository stored; without a quota it could fill the volume.
//!
//! Whole publications may use three quarters of the quota. The last quarter is for records: the versions of a repository,
//! and its root or the root's hash. Repositories that never verified an image may use a quarter in all, so that ever new
//! names cannot use up the place of others. Past the quota no further repository is stored. A stored one is always brought
//! up to date; it grows only where there is room.
//!
//! Several processes may exceed the quota by what they write between two counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often all is counted anew, for other processes write there too.
const COUNT_EVERY: Duration = Duration::from_secs(600);

/// The room that there is.
pub(crate) struct DiskQuota {
    bytes: u64,
    /// What was counted, with what was written since, and when.
    used: Mutex<Option<(Used, Instant)>>,
}

/// What is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// By all repositories.
    pub(crate) all: u64,
    /// By those that never verified an image.
    pub(crate) unproven: u64,
}

/// What one repository takes, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) bytes: u64,
    /// Has it ever verified an image?
    pub(crate) admitted: bool,
    /// Is it a whole publication?
    pub(crate) is_whole: bool,
}

impl Used {
    pub(crate) fn add(&mut self, share: Share) {
        self.all = self.all.saturating_add(share.bytes);
        if !share.admitted {
            self.unproven = self.unproven.saturating_add(share.bytes);
        }
    }

    fn remove(&mut self, share: Share) {
        self.all = self.all.saturating_sub(share.bytes);
        if !share.admitted {
            self.unproven = self.unproven.saturating_sub(share.bytes);
        }
    }
}

impl DiskQuota {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { bytes, used: Mutex::new(None) }
    }

    /// May what takes `before` take `wanted` from now on? If so, it is taken.
    pub(crate) fn take(&self, before: Share, wanted: Share, count: impl FnOnce() -> Used) -> bool {
        let fresh = |(_, when): &(Used, Instant)| when.elapsed() < COUNT_EVERY;
        if self.used().filter(fresh).is_none() {
            let counted = count(); // no lock is held while it is counted
            *self.used() = Some((counted, Instant::now()));
        }
        let mut held = self.used();
        let Some((used, _)) = held.as_mut() else { return false };
        let mut after = *used;
        after.remove(before);
        after.add(wanted);
        let quarter = self.bytes / 4;
        let most = if wanted.is_whole { self.bytes - quarter } else { self.bytes };
        let fits = after.all <= most && (wanted.admitted || after.unproven <= quarter);
        // What takes no more than before is no further burden, however full it is.
        let is_no_burden = wanted.bytes <= before.bytes && (wanted.admitted || !before.admitted);
        if fits || is_no_burden {
            *used = after;
        }
        fits || is_no_burden
    }

    /// What was taken for one share is taken by another.
    pub(crate) fn changed(&self, taken: Share, found: Share) {
        if let Some((used, _)) = self.used().as_mut() {
            used.remove(taken);
            used.add(found);
        }
    }

    /// What is reckoned to be taken.
    #[cfg(test)]
    pub(crate) fn used_now(&self) -> Used {
        self.used().map_or_else(Used::default, |(used, _)| used)
    }

    fn used(&self) -> MutexGuard<'_, Option<(Used, Instant)>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Share = Share { bytes: 0, admitted: true, is_whole: false };

    fn whole(bytes: u64) -> Share {
        Share { bytes, admitted: true, is_whole: true }
    }

    fn record(bytes: u64) -> Share {
        Share { bytes, admitted: true, is_whole: false }
    }

    fn unproven(bytes: u64) -> Share {
        Share { bytes, admitted: false, is_whole: false }
    }

    fn used(all: u64, unproven: u64) -> Used {
        Used { all, unproven }
    }

    #[test]
    fn whole_publications_leave_a_quarter_for_what_is_small() {
        let room = DiskQuota::new(100);
        assert!(room.take(NOTHING, whole(15), || used(60, 0)));
        let counted = || panic!("it was counted a moment ago");
        assert!(!room.take(NOTHING, whole(1), counted));
        assert!(room.take(whole(15), whole(15), || used(0, 0)) && !room.take(whole(15), whole(16), || used(0, 0)));
        assert!(room.take(NOTHING, record(25), || used(0, 0)));
        assert!(!room.take(NOTHING, record(1), || used(0, 0)));
        // What takes no more than before is no further burden, however full it is.
        assert!(room.take(record(25), record(25), || used(0, 0)));
        room.changed(record(25), record(40));
        assert!(room.take(record(40), record(40), || used(0, 0)) && !room.take(record(40), record(41), || used(0, 0)));
        room.changed(whole(75), NOTHING);
        assert!(room.take(NOTHING, whole(35), || used(0, 0)) && !room.take(NOTHING, whole(1), || used(0, 0)));
        // After a while it is counted again.
        let before = Instant::now().checked_sub(COUNT_EVERY).expect("a machine that has run for that long");
        *room.used() = Some((used(100, 0), before));
        assert!(room.take(NOTHING, record(100), || used(0, 0)));
    }

    #[test]
    fn names_that_let_nothing_in_take_nobodys_place() {
        let room = DiskQuota::new(100);
        assert!(room.take(NOTHING, unproven(25), || used(0, 0)));
        assert!(!room.take(NOTHING, unproven(1), || used(0, 0)));
        // Once an image is let in by one, it is like the others.
        assert!(room.take(unproven(10), whole(50), || used(0, 0)));
        assert!(room.take(NOTHING, unproven(10), || used(0, 0)) && !room.take(NOTHING, unproven(1), || used(0, 0)));
        assert!(room.take(NOTHING, record(25), || used(0, 0)));
        assert!(!room.take(record(25), unproven(25), || used(0, 0)), "nobody goes back to them");
    }
}
