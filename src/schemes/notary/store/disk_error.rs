//! Why stored data cannot be read or written.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::state::StateError;
use portreeve_verify::text::printable;

/// Stored data that cannot be read or written.
#[derive(Debug)]
pub enum DiskError {
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
    /// The index cannot be used.
    Index {
        /// Where.
        path: PathBuf,
        /// Why.
        source: StateError,
    },
    /// A file of the generation is neither on the disk nor in memory.
    NoBytes {
        /// Its path.
        path: PathBuf,
    },
    /// The repository has more roles than an index may list.
    TooMany {
        /// Its directory.
        path: PathBuf,
    },
    /// Another process holds the lock for too long.
    Locked {
        /// The lock.
        path: PathBuf,
    },
}

impl DiskError {
    /// Did the operating system fail to read? Then it is unknown what was stored. An absent file is no such failure.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if !is_absent(source))
    }

    fn printable(path: &Path) -> String {
        printable(&path.display().to_string(), 400)
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", Self::printable(path)),
            Self::NotOurs { path, what } => write!(f, "{} is {what}", Self::printable(path)),
            Self::Index { path, source } => write!(f, "{}: {source}", Self::printable(path)),
            Self::NoBytes { path } => write!(f, "{} is not at hand", Self::printable(path)),
            Self::TooMany { path } => {
                write!(f, "{}: the repository has too many roles to be stored", Self::printable(path))
            }
            Self::Locked { path } => write!(f, "{} is held by another process", Self::printable(path)),
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Index { source, .. } => Some(source),
            Self::NotOurs { .. } | Self::NoBytes { .. } | Self::TooMany { .. } | Self::Locked { .. } => None,
        }
    }
}

pub(crate) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
