//! The files of evidence below `trust.cache`: where each is, how much room they take, and which are the oldest.
//!
//! ```text
//! evidence/                     0700
//!   images/<sha256 of the image>    its signatures
//!   tags/<sha256 of the name>       the digest that the name had
//! ```
//!
//! Files with other names are left alone, and count for nothing, but for unfinished ones that a process has left behind.

use std::fs::{self, DirEntry, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::StorageError;
use super::disk_quota::{EvidenceKind, Used, rounded};
use super::plain_file::{UNFINISHED, check_directory, make_directory};
use portreeve_verify::image::Sha256;

/// The directory below `trust.cache`.
const EVIDENCE: &str = "evidence";
/// An unfinished file of this age belongs to a process that has died.
const LEFT_BEHIND: Duration = Duration::from_secs(3_600);
/// How many of the oldest files one pass over a directory finds. A full directory is passed over once in so many writes.
const BATCH: usize = 64;

/// The files of evidence.
#[derive(Debug)]
pub(crate) struct EvidenceFiles {
    base: PathBuf,
}

impl EvidenceFiles {
    /// Those below this directory.
    pub(crate) fn below(cache: &Path) -> Self {
        Self { base: cache.join(EVIDENCE) }
    }

    /// The directory of a kind.
    pub(crate) fn directory(&self, kind: EvidenceKind) -> PathBuf {
        self.base.join(match kind {
            EvidenceKind::Image => "images",
            EvidenceKind::Tag => "tags",
        })
    }

    /// Makes the directories.
    pub(crate) fn make(&self, kind: EvidenceKind) -> Result<(), StorageError> {
        if let Some(cache) = self.base.parent() {
            make_directory(cache)?;
        }
        for directory in [&self.base, &self.directory(kind)] {
            make_directory(directory)?;
            let metadata = fs::symlink_metadata(directory).map_err(|source| StorageError::io(directory, source))?;
            check_directory(directory, &metadata)?;
        }
        Ok(())
    }

    /// The room that all of them take. Removes unfinished files that a process has left behind.
    pub(crate) fn count(&self, used: &mut Used) {
        for kind in [EvidenceKind::Image, EvidenceKind::Tag] {
            self.each(kind, |entry, metadata| {
                if is_ours(entry) {
                    used.change_evidence(kind, 0, rounded(metadata.len()));
                } else if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
                    && metadata.modified().is_ok_and(|when| when.elapsed().is_ok_and(|age| age > LEFT_BEHIND))
                {
                    let _ = fs::remove_file(entry.path()); // the next count tries again
                }
            });
        }
    }

    /// Some of the oldest files of a kind, the oldest first, and when each was written or used.
    pub(crate) fn oldest(&self, kind: EvidenceKind) -> Vec<(SystemTime, PathBuf)> {
        let mut oldest: Vec<(SystemTime, PathBuf)> = Vec::new();
        self.each(kind, |entry, metadata| {
            let Some(when) = metadata.modified().ok().filter(|_| is_ours(entry)) else { return };
            let place = oldest.partition_point(|(other, _)| *other <= when);
            if place < BATCH {
                oldest.truncate(BATCH - 1);
                oldest.insert(place, (when, entry.path()));
            }
        });
        oldest
    }

    /// Calls for each regular file of a kind.
    fn each(&self, kind: EvidenceKind, mut call: impl FnMut(&DirEntry, &Metadata)) {
        for entry in fs::read_dir(self.directory(kind)).into_iter().flatten().flatten() {
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                call(&entry, &metadata);
            }
        }
    }
}

/// Is it named like a file of evidence?
fn is_ours(entry: &DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(|name| Sha256::from_hex(name).is_some())
}
