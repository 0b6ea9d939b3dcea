//! Files that are written whole or not at all: under another name first, then by one rename.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::StorageError;
use super::plain_file::{create, make_directory, unfinished};

/// Writes files. In tests it can fail.
#[derive(Debug, Default)]
pub(crate) struct AtomicFiles {
    /// How many more file operations a test allows.
    #[cfg(test)]
    pub(crate) steps: std::sync::Mutex<Option<usize>>,
    /// What a test does before each read.
    #[cfg(test)]
    pub(crate) reading: std::sync::Mutex<Option<Reading>>,
    /// What a test does before each change.
    #[cfg(test)]
    pub(crate) writing: std::sync::Mutex<Option<Reading>>,
}

/// What a test does before each read or change.
#[cfg(test)]
type Reading = fn() -> io::Result<()>;

impl AtomicFiles {
    /// Makes the directory, if its parent exists. Fails if nothing can be written in it.
    pub(crate) fn probe(directory: &Path) -> Result<(), StorageError> {
        make_directory(directory)?;
        let path = unfinished(directory)?;
        let written = create(&path).and_then(|mut file| file.write_all(b"portreeve\n"));
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|source| StorageError::Io { path, source })
    }

    /// Writes a whole file under its name, or none.
    pub(crate) fn put(&self, directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let unfinished = unfinished(directory)?;
        let write = || {
            self.step()?;
            let mut file = create(&unfinished)?;
            let (first, second) = bytes.split_at(bytes.len() / 2);
            for part in [first, second] {
                self.step().and_then(|()| file.write_all(part))?;
            }
            self.step().and_then(|()| file.sync_all())?;
            self.step().and_then(|()| fs::rename(&unfinished, path))
        };
        write().map_err(|source| {
            if self.step().is_ok() {
                let _ = fs::remove_file(&unfinished); // the disk may be full
            }
            StorageError::io(path, source)
        })
    }

    /// After this, renames in the directory are on the disk.
    pub(crate) fn sync(&self, directory: &Path) -> Result<(), StorageError> {
        let sync = || File::open(directory)?.sync_all();
        self.step().and_then(|()| sync()).map_err(|source| StorageError::io(directory, source))
    }

    /// Called before each read: a test lets it fail, or take its time.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests let it fail"))]
    pub(crate) fn may_read(&self) -> io::Result<()> {
        #[cfg(test)]
        {
            let reading = self.reading.lock().map_or(None, |reading| *reading);
            if let Some(reading) = reading {
                return reading();
            }
        }
        Ok(())
    }

    /// Called before each change: a test lets all fail after a number of them.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests count the steps"))]
    pub(crate) fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(writing) = self.writing.lock().map_or(None, |writing| *writing) {
            writing()?;
        }
        #[cfg(test)]
        if let Ok(mut steps) = self.steps.lock()
            && let Some(left) = steps.as_mut()
        {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        }
        Ok(())
    }
}
