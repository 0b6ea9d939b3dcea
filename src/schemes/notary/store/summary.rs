//! A stored repository, described for people.

use std::path::PathBuf;

use jiff::Timestamp;

use super::state::State;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::Header;

/// A stored repository, for people.
#[derive(Clone, Debug)]
pub struct StoredSummary {
    /// Its directory.
    pub directory: PathBuf,
    /// When the server last confirmed it; `None` if it never did, or the repository was reset.
    pub confirmed: Option<Timestamp>,
    /// Every role that was verified.
    pub roles: Vec<StoredRole>,
    /// Why it cannot be used, if it is damaged.
    pub damage: Option<String>,
}

/// A role that was verified.
#[derive(Clone, Debug)]
pub struct StoredRole {
    /// Its name.
    pub role: String,
    /// The stored version; where none is stored, the newest that was verified.
    pub version: u64,
    /// When that version expires.
    pub expires: Timestamp,
    /// Its file, if it is stored.
    pub file: Option<String>,
}

impl StoredRole {
    pub(crate) fn of(role: &str, state: &State) -> Option<Self> {
        let file = state.files.get(role);
        let headers =
            state.minimum_versions.entries().filter(|(name, _, _)| *name == role).map(|(_, _, header)| header);
        let is_stored = |header: &Header| file.is_some_and(|file| file.version == header.version);
        let header = headers.max_by_key(|header| (is_stored(header), header.version))?;
        // Where newer data was seen and not stored, the stored file has an older version.
        let file = file
            .filter(|file| file.kept && file.version == header.version)
            .map(|file| format!("{}.json", file.sha256.hex()));
        Some(Self { role: printable(role, 140), version: header.version, expires: header.expires, file })
    }
}
