//! What is stored of a repository, for people.

use std::path::PathBuf;

use jiff::Timestamp;

use super::state::State;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::metadata::Header;

/// What is stored of a repository, for people.
#[derive(Clone, Debug)]
pub struct StoredSummary {
    /// Where.
    pub directory: PathBuf,
    /// When the server last confirmed it; `None` where it was not, or it was reset.
    pub confirmed: Option<Timestamp>,
    /// Every role that was seen.
    pub roles: Vec<StoredRole>,
    /// What is wrong with it, if anything.
    pub damage: Option<String>,
}

/// A role that was seen.
#[derive(Clone, Debug)]
pub struct StoredRole {
    /// The role.
    pub role: String,
    /// The stored version; the newest that was seen where none is stored.
    pub version: u64,
    /// When that ends.
    pub expires: Timestamp,
    /// Its file, if it is stored.
    pub file: Option<String>,
}

impl StoredRole {
    pub(crate) fn of(role: &str, state: &State) -> Option<Self> {
        let file = state.files.get(role);
        let headers = state.floor.entries().filter(|(name, _, _)| *name == role).map(|(_, _, header)| header);
        let is_stored = |header: &Header| file.is_some_and(|file| file.version == header.version);
        let header = headers.max_by_key(|header| (is_stored(header), header.version))?;
        // Where newer data was seen and not stored, the older file is none of this version.
        let file = file
            .filter(|file| file.kept && file.version == header.version)
            .map(|file| format!("{}.json", file.sha256.hex()));
        Some(Self { role: printable(role, 140), version: header.version, expires: header.expires, file })
    }
}
