//! Where metadata comes from, as the verifier sees it: a name goes in, bytes come out. The verifier itself opens
//! no file and no socket.

use std::fmt;

use crate::image::Sha256;
use crate::trust::RoleName;

/// One metadata file of a repository, as Notary names it. Everything but `root` and `timestamp` is asked for by
/// content, so that no mix of two publications can be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataName {
    /// The newest root the server has.
    Root,
    /// One version of the root.
    RootVersion(u64),
    /// The timestamp: the only file without a hash or a version in its name.
    Timestamp,
    /// The snapshot with this hash.
    Snapshot(Sha256),
    /// The top-level targets with this hash.
    Targets(Sha256),
    /// A delegation (`targets/<name>`) with this hash.
    Delegation(RoleName, Sha256),
}

impl MetadataName {
    /// The file's name below `…/_trust/tuf/`, without `.json`.
    pub fn file_stem(&self) -> String {
        match self {
            Self::Root => "root".to_owned(),
            Self::RootVersion(version) => format!("{version}.root"),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Snapshot(hash) => format!("snapshot.{}", hash.hex()),
            Self::Targets(hash) => format!("targets.{}", hash.hex()),
            Self::Delegation(role, hash) => format!("{role}.{}", hash.hex()),
        }
    }

    /// The most bytes such a file may have.
    pub fn cap(&self) -> usize {
        match self {
            Self::Timestamp => 64 << 10,
            Self::Root | Self::RootVersion(_) => 1 << 20,
            Self::Snapshot(_) | Self::Targets(_) | Self::Delegation(..) => 16 << 20,
        }
    }
}

impl fmt::Display for MetadataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file_stem())
    }
}

/// Gives the bytes of metadata files of one repository on one server.
pub trait MetadataSource {
    /// The file's bytes: all of them, and never more than `cap`.
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError>;
}

/// Why a file could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The server says that there is no such file.
    NotFound,
    /// The file is larger than its cap.
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// Nobody could say: the server is away, slow, refuses our credentials or fails. The text says what was tried
    /// and is safe to print.
    Unavailable(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found"),
            Self::TooLarge { cap } => write!(f, "larger than its cap of {cap} bytes"),
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for FetchError {}
