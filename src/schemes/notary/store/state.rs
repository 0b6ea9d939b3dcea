//! The index of one stored repository: the files of the newest generation, by hash, and the minimum version of each role. It is
//! read and replaced as a whole. It is not trusted: the files are verified again.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::storage::disk_quota::{BLOCK, rounded};
use portreeve_verify::heap_size::{allocation, map_entry};
use portreeve_verify::image::Sha256;
use portreeve_verify::ordered;
use portreeve_verify::ordered::Map;
use portreeve_verify::tuf::{Gun, Header, MinimumVersions, PublicationVersion, stored_time};

/// The format that is written. In the first one minimum versions were not bound to keys, and files had no version.
const FORMAT: u32 = 2;
const FORMATS: std::ops::RangeInclusive<u32> = 1..=FORMAT;
/// Most roles an index may list.
const MAX_ROLES: usize = 4096;
/// Most bytes of an index.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Most bytes of an index without data: enough for the roles and keys of honest repositories. Longer ones are shortened
/// ([`State::shorten`]).
const MAX_RECORD: usize = 16 << 10;
/// A root up to this size is stored with such an index. Of a larger root the hash is stored, and the root is fetched again.
const SMALL_ROOT: usize = 8 << 10;
/// How many keys of one role keep versions of their own in a shortened index; tried in this order.
const FEWER_KEYS: [usize; 3] = [8, 2, 0];

/// The index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The number of the last reset by hand; 0 for none. A record of another epoch is void.
    pub(crate) epoch: u64,
    /// When the server last confirmed the timestamp, by the wall clock.
    pub(crate) confirmed: Option<Timestamp>,
    /// The files, by role.
    pub(crate) files: Map<String, StoredFile>,
    pub(crate) minimum_versions: MinimumVersions,
    /// Has it ever verified an image?
    pub(crate) admitted: bool,
}

/// A file of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredFile {
    pub(crate) sha256: Sha256,
    pub(crate) length: usize,
    /// The version of its role.
    pub(crate) version: u64,
    /// Are its bytes stored, or only hash and version?
    pub(crate) kept: bool,
}

impl State {
    /// An index without any file or version.
    pub(crate) fn empty(epoch: u64) -> Self {
        Self {
            epoch,
            confirmed: None,
            files: Map::new(),
            minimum_versions: MinimumVersions::default(),
            admitted: false,
        }
    }

    /// Are the two equal, except for the time of confirmation?
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.epoch, self.admitted, &self.files, &self.minimum_versions)
            == (other.epoch, other.admitted, &other.files, &other.minimum_versions)
    }

    /// How new the files are: any data under a newer root is newer than all data under an older one.
    pub(crate) fn publication_version(&self) -> PublicationVersion {
        let version = |role: &str| self.files.get(role).map_or(0, |file| file.version);
        (version("root"), version("timestamp"))
    }

    /// Leaves out all files but the root, or its hash, and the version of the timestamp.
    pub(crate) fn leave_out_data(&mut self) {
        self.files.retain(|role, _| is_kept(role));
        for (role, file) in self.files.iter_mut() {
            file.kept = role == "root" && file.length <= SMALL_ROOT;
        }
        self.confirmed = None;
    }

    /// Is there no file but those that [`State::leave_out_data`] leaves?
    pub(crate) fn is_without_data(&self) -> bool {
        self.files.keys().all(|role| is_kept(role))
    }

    /// Keeps versions of fewer keys where the index has no data and is too long. The versions then bind more keys than those
    /// that signed them, which may deny an image but never admit one.
    pub(crate) fn shorten(&mut self, server: &TrustServer, gun: &Gun) {
        for keys in FEWER_KEYS {
            if !self.is_without_data() || self.to_json(server, gun).len() <= MAX_RECORD {
                return;
            }
            self.minimum_versions.limit_keys(keys);
        }
    }

    /// The files whose bytes are stored.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &StoredFile> {
        self.files.values().filter(|file| file.kept)
    }

    /// The room that the directory takes on the disk. The index counts with the size that it may grow to.
    pub(crate) fn cost(&self, index: &[u8]) -> u64 {
        let files: u64 = self.kept().map(|file| rounded(file.length as u64)).sum();
        2 * BLOCK + rounded(index.len().max(MAX_RECORD) as u64) + files
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn heap_size(&self) -> u64 {
        let files: u64 = self.files.keys().map(|role| map_entry::<String, StoredFile>() + allocation(role.len())).sum();
        files + self.minimum_versions.heap_size()
    }

    /// Can it be read back?
    pub(crate) fn fits(&self, json: &[u8]) -> bool {
        let most = if self.is_without_data() { MAX_RECORD } else { MAX_BYTES };
        json.len() <= most && self.files.len() <= MAX_ROLES && self.minimum_versions.roles().count() <= MAX_ROLES
    }

    /// The content of the index file.
    pub(crate) fn to_json(&self, server: &TrustServer, gun: &Gun) -> Vec<u8> {
        let mut wire = Wire {
            format: FORMAT,
            server: server.as_str().to_owned(),
            gun: gun.as_str().to_owned(),
            reset: self.epoch,
            confirmed: self.confirmed.map(|time| time.to_string()),
            admitted: Some(self.admitted),
            files: ordered::map(self.files.iter().map(|(role, file)| (role.clone(), WireEntry::of_file(*file)))),
            seen: Map::new(),
            seen_under: Map::new(),
        };
        for (role, key, header) in self.minimum_versions.entries() {
            let (role, header) = (role.to_owned(), WireEntry::of_header(header));
            match key {
                None => drop(wire.seen.insert(role, header)),
                Some(key) => drop(wire.seen_under.get_or_default(role).insert(key.hex(), header)),
            }
        }
        // Strings, numbers and maps of them cannot fail to serialise.
        let mut text = serde_json::to_vec_pretty(&wire).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Reads an index file, which must be about this repository.
    pub(crate) fn from_json(bytes: &[u8], server: &TrustServer, gun: &Gun) -> Result<Self, StateError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(StateError::Json)?;
        if !FORMATS.contains(&wire.format) {
            return Err(StateError::Format { found: wire.format });
        }
        if wire.server != server.as_str() || wire.gun != gun.as_str() {
            return Err(StateError::OtherRepository);
        }
        if [wire.files.len(), wire.seen.len(), wire.seen_under.len()].into_iter().any(|roles| roles > MAX_ROLES) {
            return Err(StateError::Field { field: "files" });
        }
        let confirmed = match wire.confirmed {
            Some(text) => Some(stored_time(&text).ok_or(StateError::Field { field: "confirmed" })?),
            None => None,
        };
        let mut files = Map::new();
        for (role, file) in wire.files {
            let sha256 =
                file.sha256.as_deref().and_then(Sha256::from_hex).ok_or(StateError::Field { field: "sha256" })?;
            let length = file.length.ok_or(StateError::Field { field: "length" })?;
            let version = file.version.or_else(|| wire.seen.get(&role)?.version).unwrap_or(0);
            files.insert(role, StoredFile { sha256, length, version, kept: file.kept.unwrap_or(true) });
        }
        let mut versions = Vec::new();
        for (role, entry) in wire.seen {
            versions.push((role, None, entry.header()?));
        }
        for (role, by_key) in wire.seen_under {
            for (key, entry) in by_key {
                let key = Sha256::from_hex(&key).ok_or(StateError::Field { field: "seenUnder" })?;
                versions.push((role.clone(), Some(key), entry.header()?));
            }
        }
        // Older indexes do not say whether the repository has verified an image. Their place is kept.
        let admitted = wire.admitted.unwrap_or(true);
        let minimum_versions = MinimumVersions::from_entries(versions);
        Ok(Self { epoch: wire.reset, confirmed, files, minimum_versions, admitted })
    }
}

/// The room that the directory of a repository takes: for each file, whether it is the index, and its length.
pub(crate) fn cost_of_directory(files: impl Iterator<Item = (bool, u64)>) -> u64 {
    let length =
        |(is_index, length): (bool, u64)| rounded(if is_index { length.max(MAX_RECORD as u64) } else { length });
    files.map(length).fold(BLOCK, u64::saturating_add)
}

fn is_kept(role: &str) -> bool {
    matches!(role, "root" | "timestamp")
}

#[derive(Deserialize, Serialize)]
struct Wire {
    format: u32,
    server: String,
    gun: String,
    reset: u64,
    confirmed: Option<String>,
    admitted: Option<bool>,
    files: Map<String, WireEntry>,
    /// The minimum versions that bind whatever the keys, by role.
    seen: Map<String, WireEntry>,
    /// The minimum versions that bind a role while it has a key, by role and the key's canonical ID.
    #[serde(default, rename = "seenUnder")]
    seen_under: Map<String, Map<String, WireEntry>>,
}

/// A file, or a minimum version. One type for both, because each type that serde reads is kilobytes of the executable.
#[derive(Default, Deserialize, Serialize)]
struct WireEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// The hash of the signed content in canonical form: one version has one content.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl WireEntry {
    fn of_file(file: StoredFile) -> Self {
        let kept = if file.kept { None } else { Some(false) };
        let (sha256, length, version) = (Some(file.sha256.hex()), Some(file.length), Some(file.version));
        Self { sha256, length, version, kept, ..Self::default() }
    }

    fn of_header(header: &Header) -> Self {
        let (expires, content) = (Some(header.expires.to_string()), Some(header.content.hex()));
        Self { version: Some(header.version), expires, content, ..Self::default() }
    }

    fn header(&self) -> Result<Header, StateError> {
        let version = self.version.ok_or(StateError::Field { field: "version" })?;
        let content = self.content.as_deref().and_then(Sha256::from_hex);
        let content = content.ok_or(StateError::Field { field: "content" })?;
        let expires = self.expires.as_deref().and_then(stored_time).ok_or(StateError::Field { field: "expires" })?;
        Ok(Header { version, expires, content })
    }
}

/// An index that cannot be used.
#[derive(Debug)]
pub enum StateError {
    /// It is not JSON of this form.
    Json(serde_json::Error),
    /// It was written by another version of Portreeve.
    Format {
        /// Its format.
        found: u32,
    },
    /// It is of another repository or server.
    OtherRepository,
    /// A field has a bad value.
    Field {
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "its index is not readable: {error}"),
            Self::Format { found } => {
                write!(f, "its index has format {found}, and only those up to {FORMAT} are known")
            }
            Self::OtherRepository => f.write_str("its index is that of another repository"),
            Self::Field { field } => write!(f, "its index has a bad \"{field}\""),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Json(error) = self { Some(error) } else { None }
    }
}
