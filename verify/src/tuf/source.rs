//! The source of metadata, as the verifier sees it: a name goes in, bytes come out. This crate opens no file and no socket.

use std::fmt;

use crate::image::Sha256;
use crate::tuf::gun::RoleName;
use crate::unavailable::Unavailable;

/// A metadata file of a repository, as Notary names it. All files but `root` and `timestamp` are named by their hash or version,
/// so a server cannot mix two publications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataName {
    /// The server's newest root.
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
    /// Its name below `…/_trust/tuf/`, without `.json`.
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

/// Files up to this length need so little memory that none is reserved for them. Most roots, timestamps and snapshots are
/// smaller.
pub const SMALL_FILE: usize = 16 << 10;

/// The most values and names in a role's file. Notary's roots, timestamps and snapshots have some dozens, and 75,000 targets have
/// about 600,000.
pub(crate) fn most_values(role: &str, bytes: usize) -> usize {
    match role {
        "timestamp" => 1 << 10,
        "root" => 1 << 14,
        "snapshot" => 1 << 16,
        _ => (1 << 20).max(bytes / 8),
    }
}

/// The most memory that reading a file of this many bytes may take, without the bytes themselves. Small files may have any
/// content. Large files must be like those of Notary's client, which take seven tenths of their bytes.
pub fn reading_memory(role: &str, bytes: usize) -> usize {
    // The values, and the text twice: without escapes and in canonical form.
    let of_role = most_values(role, bytes).saturating_mul(8).saturating_add(bytes.saturating_mul(2));
    bytes.max(bytes.saturating_mul(8).min(8 << 20)).min(of_role)
}

impl fmt::Display for MetadataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file_stem())
    }
}

/// Gives the metadata files of one repository on one server.
pub trait MetadataSource {
    /// The whole file, never more than `cap` bytes.
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError>;

    /// Reserves memory. Only targets roles of these lengths are fetched next. Fails if there is not enough memory.
    fn reserve(&mut self, _: &[usize]) -> Result<(), Unavailable> {
        Ok(())
    }

    /// These files are asked for next with these caps, unless one of them turns out not to be needed. A source may fetch them
    /// at the same time, and keep the results for [`MetadataSource::fetch`], which takes each result once. It drops what an
    /// earlier call has left. About so many files will be asked for together `later`, so that a source may prepare for that.
    fn prefetch(&mut self, _: &[(MetadataName, usize)], _later: usize) {}

    /// Takes the bytes of a verified targets role back, to use them for other requests.
    fn give_back(&mut self, _: Sha256, _: Vec<u8>) {}

    /// Has the deadline passed? This is called regularly while files are parsed and verified, for this crate reads no clock.
    fn is_late(&self) -> bool {
        false
    }
}

/// Why a file was not fetched.
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
