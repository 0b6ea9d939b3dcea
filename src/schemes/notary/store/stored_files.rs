//! The files of one generation, as a source for the verifier.

use std::path::PathBuf;

use super::disk_error::DiskError;
use super::state::StoredFile;
use crate::schemes::storage::StorageError;
use crate::schemes::storage::plain_file::read_plain;
use portreeve_verify::Unavailable;
use portreeve_verify::image::Sha256;
use portreeve_verify::ordered::Map;
use portreeve_verify::tuf::{FetchError, MetadataName, MetadataSource};

/// The files of one generation. A file that is not stored is unavailable, not absent: the server may have it.
pub(crate) struct StoredFiles<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) files: &'a Map<String, StoredFile>,
}

impl StoredFiles<'_> {
    /// The root; `None` if the generation has none.
    pub(crate) fn root(&self) -> Option<Result<Vec<u8>, DiskError>> {
        let name = MetadataName::Root;
        self.files.get("root").filter(|stored| stored.kept).map(|stored| self.read(stored, name.cap()))
    }

    fn read(&self, stored: &StoredFile, cap: usize) -> Result<Vec<u8>, DiskError> {
        let path = self.directory.join(file_name(stored.sha256));
        let bytes = read_plain(&path, cap.min(stored.length))?;
        if Sha256::of(&bytes) != stored.sha256 {
            return Err(StorageError::NotOurs { path, what: "changed" }.into());
        }
        Ok(bytes)
    }
}

impl MetadataSource for StoredFiles<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let (role, listed) = match name {
            MetadataName::Root | MetadataName::RootVersion(_) => ("root", None),
            MetadataName::Timestamp => ("timestamp", None),
            MetadataName::Snapshot(hash) => ("snapshot", Some(*hash)),
            MetadataName::Targets(hash) => ("targets", Some(*hash)),
            MetadataName::Delegation(role, hash) => (role.as_str(), Some(*hash)),
        };
        let stored = self.files.get(role).filter(|file| file.kept && listed.is_none_or(|hash| hash == file.sha256));
        let stored = stored.ok_or_else(|| Unavailable::other(format!("{role} is not stored")))?;
        if stored.length > cap {
            return Err(FetchError::TooLarge { cap });
        }
        self.read(stored, cap).map_err(|error| Unavailable::other(error.to_string()).into())
    }
}

pub(crate) fn file_name(hash: Sha256) -> String {
    format!("{}.json", hash.hex())
}
