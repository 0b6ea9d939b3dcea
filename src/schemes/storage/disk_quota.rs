//! The quota of the cache directory, for all repositories and all evidence together, counted in blocks as a disk does. Each
//! client that can have a workload reviewed can have a repository stored; without a quota it could fill the volume.
//!
//! Whole publications may use three quarters of the quota. The last quarter is for records: the versions of a repository,
//! and its root or the root's hash. Repositories that never verified an image may use a quarter in all, so that ever new
//! names cannot use up the place of others. Past the quota no further repository is stored. A stored one is always brought
//! up to date; it grows only where there is quota.
//!
//! Evidence may use a quarter in all, most of it for images and a part for tags. It gives way to itself alone: its owner removes
//! the oldest. Notary's data may use what evidence leaves.
//!
//! Several processes may exceed the quota by what they write between two counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the directory is counted again, because other processes write there too.
const COUNT_EVERY: Duration = Duration::from_secs(600);

/// The size of a file or directory on the disk is rounded up to this.
pub(crate) const BLOCK: u64 = 4 << 10;
/// Evidence may use one part in this many.
const EVIDENCE_SHARE: u64 = 4;
/// Tags may use one part in this many of what evidence may use.
const TAGS_SHARE: u64 = 4;

/// The quota.
#[derive(Debug)]
pub(crate) struct DiskQuota {
    bytes: u64,
    /// What was counted, plus what was written since, and when it was counted.
    used: Mutex<Option<(Used, Instant)>>,
}

/// The used part of the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// By all repositories.
    pub(crate) all: u64,
    /// By those that never verified an image.
    pub(crate) unproven: u64,
    /// By evidence of images.
    pub(crate) images: u64,
    /// By the digests of tags.
    pub(crate) tags: u64,
}

/// The kinds of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvidenceKind {
    /// Evidence of an image.
    Image,
    /// The digest of a tag.
    Tag,
}

/// The part that one repository uses, or would use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) bytes: u64,
    /// Has it ever verified an image?
    pub(crate) admitted: bool,
    /// Is it a whole publication?
    pub(crate) is_whole: bool,
}

/// The room that a file of so many bytes takes on the disk.
pub(crate) fn rounded(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
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

    /// Changes the share of a file of evidence, which counts twice: for its kind, and for all.
    pub(crate) fn change_evidence(&mut self, kind: EvidenceKind, before: u64, after: u64) {
        let of_kind = match kind {
            EvidenceKind::Image => &mut self.images,
            EvidenceKind::Tag => &mut self.tags,
        };
        for bytes in [of_kind, &mut self.all] {
            *bytes = bytes.saturating_sub(before).saturating_add(after);
        }
    }
}

impl DiskQuota {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { bytes, used: Mutex::new(None) }
    }

    /// Changes the share of a repository from `before` to `wanted`, if there is room.
    pub(crate) fn take(&self, before: Share, wanted: Share, count: impl FnOnce() -> Used) -> bool {
        self.count(count);
        let mut held = self.used();
        let Some((used, _)) = held.as_mut() else { return false };
        let mut after = *used;
        after.remove(before);
        after.add(wanted);
        let quarter = self.bytes / 4;
        let most = if wanted.is_whole { self.bytes - quarter } else { self.bytes };
        let fits = after.all <= most && (wanted.admitted || after.unproven <= quarter);
        // A share that does not grow is allowed, however full the directory is.
        let does_not_grow = wanted.bytes <= before.bytes && (wanted.admitted || !before.admitted);
        if fits || does_not_grow {
            *used = after;
        }
        fits || does_not_grow
    }

    fn count(&self, count: impl FnOnce() -> Used) {
        let fresh = |(_, when): &(Used, Instant)| when.elapsed() < COUNT_EVERY;
        if self.used().filter(fresh).is_none() {
            let counted = count(); // no lock is held meanwhile
            *self.used() = Some((counted, Instant::now()));
        }
    }

    /// Changes the share of a file of evidence, if there is room.
    pub(crate) fn take_evidence(
        &self,
        kind: EvidenceKind,
        before: u64,
        wanted: u64,
        count: impl FnOnce() -> Used,
    ) -> bool {
        self.count(count);
        let mut held = self.used();
        let Some((used, _)) = held.as_mut() else { return false };
        let mut after = *used;
        after.change_evidence(kind, before, wanted);
        let of_tags = self.bytes / EVIDENCE_SHARE / TAGS_SHARE;
        let of_images = self.bytes / EVIDENCE_SHARE - of_tags;
        let fits = after.images <= of_images && after.tags <= of_tags && after.all <= self.bytes;
        if fits || wanted <= before {
            *used = after;
        }
        fits || wanted <= before
    }

    /// A file of evidence has another size than was taken for it.
    pub(crate) fn evidence_changed(&self, kind: EvidenceKind, taken: u64, found: u64) {
        if let Some((used, _)) = self.used().as_mut() {
            used.change_evidence(kind, taken, found);
        }
    }

    /// Replaces a share that was taken by the one that was written.
    pub(crate) fn changed(&self, taken: Share, found: Share) {
        if let Some((used, _)) = self.used().as_mut() {
            used.remove(taken);
            used.add(found);
        }
    }

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
        Used { all, unproven, ..Used::default() }
    }

    #[test]
    fn whole_publications_leave_a_quarter_for_what_is_small() {
        let quota = DiskQuota::new(100);
        assert!(quota.take(NOTHING, whole(15), || used(60, 0)));
        let counted = || panic!("it was counted a moment ago");
        assert!(!quota.take(NOTHING, whole(1), counted));
        assert!(quota.take(whole(15), whole(15), || used(0, 0)) && !quota.take(whole(15), whole(16), || used(0, 0)));
        assert!(quota.take(NOTHING, record(25), || used(0, 0)));
        assert!(!quota.take(NOTHING, record(1), || used(0, 0)));
        // A share that does not grow is allowed, however full the directory is.
        assert!(quota.take(record(25), record(25), || used(0, 0)));
        quota.changed(record(25), record(40));
        assert!(
            quota.take(record(40), record(40), || used(0, 0)) && !quota.take(record(40), record(41), || used(0, 0))
        );
        quota.changed(whole(75), NOTHING);
        assert!(quota.take(NOTHING, whole(35), || used(0, 0)) && !quota.take(NOTHING, whole(1), || used(0, 0)));
        // After `COUNT_EVERY` it is counted again.
        let before = Instant::now().checked_sub(COUNT_EVERY).expect("a machine that has run for that long");
        *quota.used() = Some((used(100, 0), before));
        assert!(quota.take(NOTHING, record(100), || used(0, 0)));
    }

    #[test]
    fn names_that_let_nothing_in_take_nobodys_place() {
        let quota = DiskQuota::new(100);
        assert!(quota.take(NOTHING, unproven(25), || used(0, 0)));
        assert!(!quota.take(NOTHING, unproven(1), || used(0, 0)));
        // Once a repository has verified an image, it is like the others.
        assert!(quota.take(unproven(10), whole(50), || used(0, 0)));
        assert!(quota.take(NOTHING, unproven(10), || used(0, 0)) && !quota.take(NOTHING, unproven(1), || used(0, 0)));
        assert!(quota.take(NOTHING, record(25), || used(0, 0)));
        assert!(!quota.take(record(25), unproven(25), || used(0, 0)), "their share is not given again");
    }

    #[test]
    fn evidence_takes_a_quarter_and_trust_data_what_it_leaves() {
        let quota = DiskQuota::new(160);
        let empty = Used::default;
        assert!(quota.take_evidence(EvidenceKind::Image, 0, 30, empty));
        assert!(!quota.take_evidence(EvidenceKind::Image, 0, 1, empty), "three quarters of its quarter are for images");
        assert!(quota.take_evidence(EvidenceKind::Tag, 0, 10, empty));
        assert!(!quota.take_evidence(EvidenceKind::Tag, 0, 1, empty));
        assert!(quota.take(NOTHING, record(120), empty) && !quota.take(NOTHING, record(1), empty));
        quota.evidence_changed(EvidenceKind::Image, 20, 0);
        assert!(quota.take(NOTHING, record(20), empty) && !quota.take(NOTHING, record(1), empty));
        assert!(!quota.take_evidence(EvidenceKind::Image, 0, 1, empty), "trust data gives way to nothing");
        assert!(quota.take_evidence(EvidenceKind::Image, 10, 10, empty), "what does not grow is kept");
        assert_eq!(quota.used_now(), Used { all: 160, unproven: 0, images: 10, tags: 10 });
    }
}
