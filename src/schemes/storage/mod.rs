//! What all schemes store under `trust.cache`, and how: plain files that are replaced by one rename, on threads that no request
//! waits for longer than it can, within one quota for the whole directory.
//!
//! It never decides what is stored, and judges nothing that is read.

pub(crate) mod atomic_files;
pub(crate) mod disk_quota;
pub(crate) mod error;
pub(crate) mod evidence_files;
pub(crate) mod plain_file;
pub(crate) mod readers;
pub(crate) mod warnings;
pub(crate) mod writer;

pub(crate) use error::StorageError;
