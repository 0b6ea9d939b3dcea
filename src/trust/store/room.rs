//! How much room stored trust data may take, all repositories together: whoever can have a workload reviewed can have a
//! repository stored, and a full volume would take the versions of all others along. Past the bound a repository's root
//! and versions alone are stored. A rule of thumb, not a quota: several processes may overshoot it by what they write in
//! the same minutes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often all is counted anew, for other processes write there too.
const COUNT_EVERY: Duration = Duration::from_secs(600);

/// The room that there is.
pub(super) struct Room {
    bytes: u64,
    /// What was counted, with what was written since, and when.
    used: Mutex<Option<(u64, Instant)>>,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, used: Mutex::new(None) }
    }

    /// May what takes `before` bytes take `wanted` from now on?
    pub(super) fn admits(&self, before: u64, wanted: u64, count: impl FnOnce() -> u64) -> bool {
        let fresh = |(_, when): &(u64, Instant)| when.elapsed() < COUNT_EVERY;
        let known = self.used().filter(fresh); // no lock is held while it is counted
        let used = known.map_or_else(count, |(used, _)| used);
        if known.is_none() {
            *self.used() = Some((used, Instant::now()));
        }
        wanted <= before || used.saturating_sub(before).saturating_add(wanted) <= self.bytes
    }

    /// What took `before` bytes now takes `after`.
    pub(super) fn changed(&self, before: u64, after: u64) {
        if let Some((used, _)) = self.used().as_mut() {
            *used = used.saturating_sub(before).saturating_add(after);
        }
    }

    fn used(&self) -> MutexGuard<'_, Option<(u64, Instant)>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_at_its_bound() {
        let room = Room::new(100);
        assert!(room.admits(0, 40, || 60));
        assert!(!room.admits(0, 41, || panic!("it was counted a moment ago")));
        assert!(room.admits(10, 50, || 0));
        room.changed(0, 40);
        assert!(!room.admits(0, 1, || 0));
        // What takes no more than before is no further burden, however full it is.
        room.changed(0, 50);
        assert!(room.admits(7, 7, || 0) && !room.admits(7, 8, || 0));
        room.changed(90, 0);
        assert!(room.admits(0, 40, || 0) && !room.admits(0, 41, || 0));
        // After a while it is counted again.
        *room.used() =
            Some((100, Instant::now().checked_sub(COUNT_EVERY).expect("a machine that has run for that long")));
        assert!(room.admits(0, 100, || 0));
    }
}
