//! Evidence on the disk: read and written on threads of their own, within the quota of `trust.cache`. Where there is no room, the
//! oldest files give way. A file that is damaged counts as absent.
//!
//! Several processes may share the directory. A file is replaced by one rename, and the last writer wins: evidence that is lost by
//! it is fetched again.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::base::context::Deadline;
use crate::metrics::Metrics;
use crate::schemes::evidence::sealed::Unusable;
use crate::schemes::memory_budget::{MemoryBudget, Part, Permit};
use crate::schemes::storage::StorageError;
use crate::schemes::storage::atomic_files::AtomicFiles;
use crate::schemes::storage::disk_quota::{DiskQuota, EvidenceKind, Used, rounded};
use crate::schemes::storage::evidence_files::EvidenceFiles;
use crate::schemes::storage::plain_file::{open_plain, read_plain};
use crate::schemes::storage::readers::Readers;
use crate::schemes::storage::warnings::HourlyWarning;
use crate::schemes::storage::writer::{Job, Kind, NotWritten, Writer};
use portreeve_verify::heap_size::as_u64;
use portreeve_verify::image::Sha256;
use portreeve_verify::text::printable;

/// Files up to this size are read without drawing memory for them.
const SMALL: u64 = 64 << 10;
/// How many times its size a file takes while it is read and parsed.
const READING: u64 = 3;
/// The time of the last use of a file is written once a day at most.
const TOUCH_EVERY: Duration = Duration::from_secs(86_400);

/// What the store shares with trust data, which is in the same directory.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) quota: Arc<DiskQuota>,
    /// Counts everything in the directory.
    pub(super) count: Arc<dyn Fn() -> Used + Send + Sync>,
    /// From which the memory for larger files is drawn.
    pub(super) budget: Option<Arc<MemoryBudget>>,
    pub(super) readers: Readers,
    pub(super) writer: Writer,
}

/// The files of evidence.
pub(super) struct Disk {
    files: EvidenceFiles,
    pub(super) atomic: AtomicFiles,
    common: Common,
    metrics: Arc<Metrics>,
    /// Held while a file is read and replaced, so that two writes of one file are not lost in each other. One of them by the key.
    locks: [Mutex<()>; 8],
    /// Files that give way next, the oldest last.
    oldest: Mutex<Vec<Oldest>>,
    warned_unreadable: HourlyWarning,
    warned_unwritable: HourlyWarning,
    warned_damaged: HourlyWarning,
}

/// A file that gives way if it has not changed since.
pub(super) struct Oldest {
    kind: EvidenceKind,
    path: PathBuf,
    modified: SystemTime,
}

/// A file that was read, and the memory that it takes.
pub(super) struct ReadFile {
    pub(super) bytes: Vec<u8>,
    _memory: Option<Permit>,
}

impl Disk {
    /// Files below this directory.
    pub(super) fn new(cache: &Path, common: Common, metrics: Arc<Metrics>) -> Self {
        Self {
            files: EvidenceFiles::below(cache),
            atomic: AtomicFiles::default(),
            common,
            metrics,
            locks: Default::default(),
            oldest: Mutex::default(),
            warned_unreadable: HourlyWarning::default(),
            warned_unwritable: HourlyWarning::default(),
            warned_damaged: HourlyWarning::default(),
        }
    }

    /// Where the evidence of an image, or the digest of the tag with this hash, is.
    pub(super) fn path(&self, kind: EvidenceKind, key: Sha256) -> PathBuf {
        self.files.directory(kind).join(key.hex())
    }

    /// The content of a file, if there is one and it can be read. It is waited for during a quarter of the time that is left.
    pub(super) fn read(
        disk: &Arc<Self>,
        kind: EvidenceKind,
        key: Sha256,
        cap: usize,
        deadline: Deadline,
    ) -> Option<ReadFile> {
        let patience = deadline.remaining().unwrap_or_default() / 4;
        let (ours, by) = (Arc::clone(disk), deadline.at_most(patience));
        match disk.common.readers.run(patience, move || ours.read_file(&ours.path(kind, key), cap, by)) {
            Some(Ok(file)) => Some(file),
            Some(Err(error)) if error.is_absent() => None,
            Some(Err(error)) => disk.not_read(&error),
            None => disk.not_read(&"it does not answer"),
        }
    }

    /// The content of a file that is to be replaced; `None` if it cannot be read.
    pub(super) fn read_now(&self, kind: EvidenceKind, key: Sha256, cap: usize) -> Option<Vec<u8>> {
        read_plain(&self.path(kind, key), cap).ok()
    }

    fn not_read(&self, why: &dyn fmt::Display) -> Option<ReadFile> {
        if self.warned_unreadable.is_due() {
            log::warn!("evidence under trust.cache cannot be read: {why}; registries are asked instead");
        }
        None
    }

    fn read_file(&self, path: &Path, cap: usize, by: Deadline) -> Result<ReadFile, StorageError> {
        let failed = |source| StorageError::io(path, source);
        self.atomic.may_read().map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let memory = match &self.common.budget {
            Some(budget) if metadata.len() > SMALL => {
                let bytes = metadata.len().saturating_mul(READING);
                let drawn = budget.draw(Part::Light, &Arc::from("evidence"), bytes, by, &|| {});
                Some(drawn.map_err(|_| StorageError::io(path, std::io::ErrorKind::OutOfMemory.into()))?)
            }
            _ => None,
        };
        let bytes = read_plain(path, cap)?;
        self.touch(path);
        Ok(ReadFile { bytes, _memory: memory })
    }

    /// Marks a file as used, so that it does not give way before others.
    pub(super) fn touch(&self, path: &Path) {
        let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|when| when.elapsed().is_ok_and(|age| age < TOUCH_EVERY)) {
            return;
        }
        if let Ok(file) = open_plain(path, OpenOptions::new().write(true)) {
            let _ = file.set_modified(SystemTime::now()); // it costs its place in the order alone
        }
    }

    /// Says that a file cannot be used, and removes one that is damaged. It counts as absent.
    pub(super) fn unusable(&self, kind: EvidenceKind, key: Sha256, why: Unusable) {
        let Unusable::Damaged(why) = why else { return };
        let path = self.path(kind, key);
        let size = fs::symlink_metadata(&path).map_or(0, |metadata| rounded(metadata.len()));
        let is_removed = fs::remove_file(&path).is_ok();
        if is_removed {
            self.common.quota.evidence_changed(kind, size, 0);
        }
        if is_removed || self.warned_damaged.is_due() {
            log::warn!(
                "{} is damaged: {why}; it counts as absent, and the registry is asked again",
                printable(&path.display().to_string(), 400)
            );
        }
    }

    /// Starts a write that keeps so many bytes in memory. No request waits for it.
    pub(super) fn start(&self, key: Sha256, bytes: usize, write: impl FnOnce() + Send + 'static) {
        let writer = &self.common.writer;
        let started = match writer.room(bytes) {
            None => Err(NotWritten::TooSlow),
            Some(room) => {
                let write = Box::new(move || {
                    write();
                    drop(room);
                });
                writer.start(Job { key, kind: Kind::Evidence, write })
            }
        };
        if let Err(why) = started {
            self.not_written(&why);
        }
    }

    /// Held by whoever reads a file to replace it.
    pub(super) fn lock(&self, key: Sha256) -> Option<MutexGuard<'_, ()>> {
        let [first, ..] = key.as_bytes();
        let lock = self.locks.get(usize::from(*first) % self.locks.len())?;
        Some(lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a file within the quota.
    pub(super) fn write(&self, kind: EvidenceKind, key: Sha256, bytes: &[u8]) {
        match self.try_write(kind, key, bytes) {
            Ok(true) => {}
            Ok(false) => self.not_written(&"it is full (limits.trustCache), and nothing in it may give way"),
            Err(error) => self.not_written(&error),
        }
    }

    fn try_write(&self, kind: EvidenceKind, key: Sha256, bytes: &[u8]) -> Result<bool, StorageError> {
        self.files.make(kind)?;
        let (directory, path) = (self.files.directory(kind), self.path(kind, key));
        let before = fs::symlink_metadata(&path).map_or(0, |metadata| rounded(metadata.len()));
        let wanted = rounded(as_u64(bytes.len()));
        let Common { quota, count, .. } = &self.common;
        while !quota.take_evidence(kind, before, wanted, || count()) {
            if !self.evict(kind, &path) {
                return Ok(false);
            }
        }
        let written = self.atomic.put(&directory, &path, bytes).and_then(|()| self.atomic.sync(&directory));
        if written.is_err() {
            let found = fs::symlink_metadata(&path).map_or(0, |metadata| rounded(metadata.len()));
            quota.evidence_changed(kind, wanted, found);
        }
        written.map(|()| true)
    }

    /// Removes the oldest file of a kind, but this one.
    fn evict(&self, kind: EvidenceKind, but: &Path) -> bool {
        let mut oldest = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        for is_fresh in [false, true] {
            if is_fresh {
                oldest.retain(|file| file.kind != kind);
                let found = self.files.oldest(kind).into_iter().rev();
                oldest.extend(found.map(|(modified, path)| Oldest { kind, path, modified }));
            }
            while let Some(place) = oldest.iter().rposition(|file| file.kind == kind) {
                let file = oldest.remove(place);
                let Ok(metadata) = fs::symlink_metadata(&file.path) else { continue };
                let is_same = metadata.modified().is_ok_and(|modified| modified == file.modified);
                if is_same && file.path != but && fs::remove_file(&file.path).is_ok() {
                    self.common.quota.evidence_changed(kind, rounded(metadata.len()), 0);
                    return true;
                }
            }
        }
        false
    }

    #[cfg(test)]
    pub(super) fn budget(&self) -> Option<Arc<MemoryBudget>> {
        self.common.budget.clone()
    }

    #[cfg(test)]
    pub(super) fn settle(&self) {
        self.common.writer.settle();
    }

    /// Counts that something was not written, and warns once an hour.
    pub(super) fn not_written(&self, why: &dyn fmt::Display) {
        self.metrics.trust_store_failure();
        if self.warned_unwritable.is_due() {
            log::warn!(
                "evidence cannot be written under trust.cache: {why}; it is kept in memory alone, and registries are asked \
                 again after a restart"
            );
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disk").field(&self.files).finish()
    }
}
