//! Mounted files, read the careful way: regular files only, never more than a cap, and a stamp that tells whether
//! one has changed without reading it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another. Links are followed, so that kubelet's swap of `..data` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file; `None` where there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The whole file, if it has no more than `cap` bytes.
pub(crate) fn read_capped(path: &Path, cap: usize) -> Result<Vec<u8>, FileError> {
    // Opening a named pipe would wait for a writer; so look before opening.
    if !fs::metadata(path).map_err(FileError::Io)?.is_file() {
        return Err(FileError::NotAFile);
    }
    let file = File::open(path).map_err(FileError::Io)?;
    let length = file.metadata().ok().and_then(|found| usize::try_from(found.len()).ok()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(length.min(cap) + 1);
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(FileError::Io)?;
    if bytes.len() > cap {
        return Err(FileError::TooLarge { cap });
    }
    Ok(bytes)
}

/// As [`read_capped`], for text.
pub(crate) fn read_text_capped(path: &Path, cap: usize) -> Result<String, FileError> {
    String::from_utf8(read_capped(path, cap)?).map_err(|_| FileError::NotText)
}

/// A file that could not be read.
#[derive(Debug)]
pub enum FileError {
    /// The system says no.
    Io(io::Error),
    /// It is a directory, a pipe or a device.
    NotAFile,
    /// It is larger than its cap.
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// It is not UTF-8.
    NotText,
}

impl FileError {
    /// Is it simply not there?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NotAFile => f.write_str("is not a regular file"),
            Self::TooLarge { cap } => write!(f, "is larger than its cap of {cap} bytes"),
            Self::NotText => f.write_str("is not UTF-8 text"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod scratch {
    //! A directory of its own for one test, gone afterwards.

    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let name = format!("portreeve-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::scratch::Scratch;
    use super::*;

    #[test]
    fn reads_regular_files_up_to_the_cap() {
        let scratch = Scratch::new();
        let path = scratch.write("f", b"12345");
        assert_eq!(read_capped(&path, 5).unwrap(), b"12345");
        assert!(matches!(read_capped(&path, 4), Err(FileError::TooLarge { cap: 4 })));
        assert!(matches!(read_capped(scratch.path(), 4), Err(FileError::NotAFile)));
        assert!(read_capped(&scratch.path().join("absent"), 4).unwrap_err().is_not_found());
        let path = scratch.write("g", b"\xff");
        assert!(matches!(read_text_capped(&path, 4), Err(FileError::NotText)));
    }

    #[test]
    fn a_stamp_sees_a_swapped_link() {
        let scratch = Scratch::new();
        scratch.write("a/f", b"1");
        scratch.write("b/f", b"2");
        let link = scratch.path().join("data");
        std::os::unix::fs::symlink(scratch.path().join("a"), &link).unwrap();
        let before = Stamp::of(&link.join("f")).unwrap();
        assert_eq!(Stamp::of(&link.join("f")), Some(before));
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(scratch.path().join("b"), &link).unwrap();
        assert_ne!(Stamp::of(&link.join("f")), Some(before));
        assert_eq!(Stamp::of(&scratch.path().join("absent")), None);
    }
}
