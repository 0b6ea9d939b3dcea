//! Why stored data cannot be read or written.

use std::fmt;
use std::path::PathBuf;

use super::state::StateError;
use crate::schemes::storage::StorageError;
use crate::schemes::storage::error::printable_path;

/// Stored data that cannot be read or written.
#[derive(Debug)]
pub enum DiskError {
    /// A file or directory cannot be read or written.
    Storage(StorageError),
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
}

impl DiskError {
    /// Did the operating system fail to read? Then it is unknown what was stored. An absent file is no such failure.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_of_the_disk())
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Index { path, source } => write!(f, "{}: {source}", printable_path(path)),
            Self::NoBytes { path } => write!(f, "{} is not at hand", printable_path(path)),
            Self::TooMany { path } => {
                write!(f, "{}: the repository has too many roles to be stored", printable_path(path))
            }
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => error.source(),
            Self::Index { source, .. } => Some(source),
            Self::NoBytes { .. } | Self::TooMany { .. } => None,
        }
    }
}

impl From<StorageError> for DiskError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
