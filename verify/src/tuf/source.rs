//! Where metadata comes from, as the verifier sees it: a name goes in, bytes come out. The verifier itself opens
//! no file and no socket.

use std::fmt;

use crate::image::Sha256;
use crate::tuf::gun::RoleName;
use crate::unavailable::Unavailable;

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

/// A file of so many bytes costs so little that it is read without asking for memory. Hardly a root, a timestamp or a
/// snapshot is larger.
pub const SMALL_FILE: usize = 16 << 10;

/// The most values and names in a role's file. Notary's roots, timestamps and snapshots have some dozens; 75,000 targets
/// have about 600,000.
pub fn most_values(role: &str, bytes: usize) -> usize {
    match role {
        "timestamp" => 1 << 10,
        "root" => 1 << 14,
        "snapshot" => 1 << 16,
        _ => (1 << 20).max(bytes / 8),
    }
}

/// The most memory that reading so many bytes may take, beside the bytes themselves. Small files may be of any shape;
/// large ones must be near what Notary's client writes, which takes seven tenths of its bytes.
pub fn reading_memory(role: &str, bytes: usize) -> usize {
    // The values, and the text once without escapes and once in canonical form.
    let of_role = most_values(role, bytes).saturating_mul(8).saturating_add(bytes.saturating_mul(2));
    bytes.max(bytes.saturating_mul(8).min(8 << 20)).min(of_role)
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

    /// What is fetched next are targets roles of these lengths, and nothing else. Says whether there is memory for that.
    fn reserve(&mut self, _: &[usize]) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Takes the bytes of a targets role back, now that they were verified: they may be of use to somebody.
    fn give_back(&mut self, _: Sha256, _: Vec<u8>) {}

    /// Is the time up? Looked at all along while files are read and verified; the verifier itself knows no clock.
    fn is_late(&self) -> bool {
        false
    }
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
    /// The source could not say: the server is down, slow, refuses our credentials or fails.
    Unavailable(Unavailable),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found"),
            Self::TooLarge { cap } => write!(f, "larger than its cap of {cap} bytes"),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for FetchError {}

impl From<Unavailable> for FetchError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}
