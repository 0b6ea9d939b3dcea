//! Why a file or a directory under `trust.cache` cannot be read or written.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use portreeve_verify::text::printable;

/// A file or directory that cannot be read or written.
#[derive(Debug)]
pub enum StorageError {
    /// The operating system refuses.
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something that Portreeve did not write.
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// Another process holds the lock for too long.
    Locked {
        /// The lock.
        path: PathBuf,
    },
}

impl StorageError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Is nothing there?
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_absent(source))
    }

    /// Did the operating system fail to read? Then it is unknown what was stored. An absent file is no such failure.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if !is_absent(source))
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", printable_path(path)),
            Self::NotOurs { path, what } => write!(f, "{} is {what}", printable_path(path)),
            Self::Locked { path } => write!(f, "{} is held by another process", printable_path(path)),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::NotOurs { .. } | Self::Locked { .. } => None,
        }
    }
}

pub(crate) fn printable_path(path: &Path) -> String {
    printable(&path.display().to_string(), 400)
}

pub(crate) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
