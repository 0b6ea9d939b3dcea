//! Files that operators name: never more than a cap is read, and of a mounted directory only regular files. A stamp shows
//! whether a file has changed, without reading it.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The state of a file. Links are followed, so that the stamp changes when kubelet swaps the link `..data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file; `None` if there is no file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of_metadata)
    }

    /// The stamp in these metadata.
    pub(crate) fn of_metadata(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Stamp {
    /// The stamp in bytes, to be hashed.
    pub(crate) fn to_bytes(self) -> [u8; 56] {
        let Self { device, inode, size, modified, changed } = self;
        let mut bytes = [0; 56];
        let numbers = [device, inode, size].map(u64::to_le_bytes);
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::to_le_bytes);
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers.iter().chain(&times)) {
            place.copy_from_slice(number);
        }
        bytes
    }
}

/// The content of a regular file, if it has no more than `cap` bytes.
pub(crate) fn read_capped(path: &Path, cap: usize) -> Result<Vec<u8>, FileError> {
    // Opening a named pipe would wait for a writer, so its kind is checked first.
    if !fs::metadata(path).map_err(FileError::Io)?.is_file() {
        return Err(FileError::NotAFile);
    }
    read_open(File::open(path).map_err(FileError::Io)?, cap)
}

/// As [`read_capped`], for a file that may be a pipe, because it was named on the command line.
pub(crate) fn read_any(path: &Path, cap: usize) -> Result<Vec<u8>, FileError> {
    read_open(File::open(path).map_err(FileError::Io)?, cap)
}

/// The content of an open file, if it has no more than `cap` bytes.
pub(crate) fn read_open(file: File, cap: usize) -> Result<Vec<u8>, FileError> {
    let length = file.metadata().ok().and_then(|found| usize::try_from(found.len()).ok()).unwrap_or_default();
    // One allocation: a buffer that grows leaves holes in the heap.
    read_to_end(file, Vec::with_capacity(length.min(cap) + 1), cap)
}

/// Reads into `bytes` to the end, if there are no more than `cap` bytes.
pub(crate) fn read_to_end(input: impl Read, mut bytes: Vec<u8>, cap: usize) -> Result<Vec<u8>, FileError> {
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    input.take(limit).read_to_end(&mut bytes).map_err(FileError::Io)?;
    if bytes.len() > cap {
        return Err(FileError::TooLarge { cap });
    }
    Ok(bytes)
}

/// As [`read_capped`], for text.
pub(crate) fn read_text_capped(path: &Path, cap: usize) -> Result<String, FileError> {
    into_text(read_capped(path, cap)?)
}

/// Bytes of a file as text.
pub(crate) fn into_text(bytes: Vec<u8>) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|_| FileError::NotText)
}

/// A file that could not be read.
#[derive(Debug)]
pub enum FileError {
    /// The operating system reports an error.
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
    /// Whether the file does not exist.
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
    pub(crate) use portreeve_test_support::temp::TempDir as Scratch;
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
