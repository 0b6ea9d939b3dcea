//! Verified metadata on disk: one directory a repository and server, named by the hash of the two, so that no name can
//! lead anywhere else. Files are named by their hash and never changed; the index that names them is replaced by one
//! rename, after all it names is on the disk. Whatever instant the process dies at, the index is the old or the new one.
//! Readers take no lock; writers take one, and an older generation never replaces a later one.
//!
//! Refuses links, pipes and directories that everybody may write. Judges no metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

use super::disk_quota::{Share, Used};
use super::state::{MAX_BYTES, State, StateError, Stored, cost_of_directory};
use crate::base::files::{FileError, Stamp, read_open};
use crate::base::random;
use crate::schemes::notary::recorder::Record;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::image::Sha256;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::gun::Gun;
use portreeve_verify::tuf::source::{FetchError, MetadataName, MetadataSource};
use portreeve_verify::unavailable::Unavailable;

/// The index of a generation.
const INDEX: &str = "state.json";
/// Whose directory it is, for people, and for a reset where the index is damaged.
const NAME: &str = "name";
/// Whoever writes holds this file's lock.
const LOCK: &str = "lock";
/// Marks the directory of a repository that never verified an image, so that counting reads no index.
const UNPROVEN: &str = "unproven";
/// How files begin that were not finished.
const UNFINISHED: &str = ".new-";
const MAX_NAME: usize = 8 << 10;
/// How long another process may hold the lock before we give up writing, at most.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The cache directory.
#[derive(Debug)]
pub(crate) struct Disk {
    base: PathBuf,
    /// What is left of the file operations that a test lets happen.
    #[cfg(test)]
    pub(crate) steps: std::sync::Mutex<Option<usize>>,
    /// What a test lets happen before anything is read.
    #[cfg(test)]
    pub(crate) reading: std::sync::Mutex<Option<Reading>>,
}

/// What a test has happen before anything is read.
#[cfg(test)]
type Reading = fn() -> io::Result<()>;

/// Which repository on which server.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) server: &'a TrustServer,
    pub(crate) gun: &'a Gun,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The index is now this, with this stamp.
    Done(State, Option<Stamp>),
    /// Another process has stored a later generation, or the repository was reset; that one stays.
    Superseded,
}

impl Disk {
    pub(crate) fn new(base: PathBuf) -> Self {
        Self {
            base,
            #[cfg(test)]
            steps: std::sync::Mutex::new(None),
            #[cfg(test)]
            reading: std::sync::Mutex::new(None),
        }
    }

    /// The directory of a repository.
    pub(crate) fn directory(&self, place: Place<'_>) -> PathBuf {
        let name = format!("{}\0{}", place.server, place.gun); // neither can hold the separator
        self.base.join(Sha256::of(name.as_bytes()).hex())
    }

    /// What tells one index from the next without reading it; `None` where there is none.
    pub(crate) fn stamp(&self, place: Place<'_>) -> Option<Stamp> {
        Stamp::of(&self.directory(place).join(INDEX))
    }

    /// Can anything be written here?
    pub(crate) fn probe(&self) -> Result<(), DiskError> {
        make_directory(&self.base)?;
        let path = unfinished(&self.base)?;
        let written = create(&path).and_then(|mut file| file.write_all(b"portreeve\n"));
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|source| DiskError::Io { path, source })
    }

    /// The index; `None` where nothing is stored.
    pub(crate) fn load(&self, place: Place<'_>) -> Result<Option<State>, DiskError> {
        let directory = self.directory(place);
        match self.may_read().and_then(|()| fs::symlink_metadata(&directory)) {
            Ok(metadata) => check_directory(&directory, &metadata)?,
            // There is nothing, or nothing can be: that is told where it is written.
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            // Anything else says nothing of what was stored.
            Err(source) => return Err(DiskError::Io { path: directory, source }),
        }
        let path = directory.join(INDEX);
        match read_plain(&path, MAX_BYTES) {
            Ok(bytes) => match State::from_json(&bytes, place.server, place.gun) {
                Ok(state) => Ok(Some(state)),
                Err(source) => Err(DiskError::Index { path, source }),
            },
            Err(DiskError::Io { source, .. }) if is_absent(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The files of a generation.
    pub(crate) fn files<'a>(&self, place: Place<'_>, state: &'a State) -> Files<'a> {
        Files { directory: self.directory(place), files: &state.files }
    }

    /// Stores a generation. `bytes` has the files that may not be there yet. `others` decides between this generation
    /// and one that is there already: it is given the latter, and gives what is to be there.
    pub(crate) fn write(
        &self,
        place: Place<'_>,
        bytes: &Record,
        patience: Duration,
        choose: impl FnOnce(Option<&State>) -> Option<State>,
    ) -> Result<Written, DiskError> {
        let directory = self.directory(place);
        make_directory(&self.base)?;
        make_directory(&directory)?;
        let metadata = fs::symlink_metadata(&directory);
        let metadata = metadata.map_err(|source| DiskError::Io { path: directory.clone(), source })?;
        check_directory(&directory, &metadata)?;
        let _lock = self.lock(&directory, patience.min(LOCK_PATIENCE))?;
        let current = self.load(place).unwrap_or_else(|error| {
            log::warn!("stored trust data of {}: {error}; it is replaced", place.gun);
            None
        });
        let Some(state) = choose(current.as_ref()) else { return Ok(Written::Superseded) };
        let result = self.replace(place, &directory, bytes, &state);
        if result.is_err() {
            // What is unfinished takes room on a disk that may be full. The old generation stays.
            let _ = self.sweep(&directory, current.as_ref());
        }
        result?;
        // The new generation is in force; what cannot be removed now is removed next time.
        let _ = self.sweep(&directory, Some(&state));
        let stamp = self.stamp(place);
        Ok(Written::Done(state, stamp))
    }

    /// Forgets everything about a repository, in a way that a process notices which remembers it.
    pub(crate) fn reset(&self, place: Place<'_>, epoch: u64) -> Result<(), DiskError> {
        // Above an earlier reset's, though the clock was set back since.
        let above = |current: Option<&State>| current.map_or(epoch, |old| epoch.max(old.epoch.saturating_add(1)));
        self.write(place, &Record::new(), LOCK_PATIENCE, |current| Some(State::empty(above(current)))).map(drop)
    }

    /// From here on the stored data of this epoch is confirmed by no server, so that it stands in for nothing.
    pub(crate) fn withdraw(&self, place: Place<'_>, epoch: u64, patience: Duration) -> Result<Written, DiskError> {
        self.write(place, &Record::new(), patience, |current| {
            let current = current.filter(|current| current.epoch == epoch && current.confirmed.is_some())?;
            Some(State { confirmed: None, ..current.clone() })
        })
    }

    /// What all that is stored takes.
    pub(crate) fn usage(&self) -> Used {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let mut used = Used::default();
        for directory in entries(&self.base) {
            let files: Vec<_> = entries(&directory.path()).collect();
            let admitted = !files.iter().any(|file| file.file_name() == UNPROVEN);
            let lengths =
                files.iter().filter_map(|file| Some((file.file_name() == INDEX, file.metadata().ok()?.len())));
            used.add(Share { bytes: cost_of_directory(lengths), admitted, is_whole: false });
        }
        used
    }

    /// Every repository of which anything is stored.
    pub(crate) fn repositories(&self) -> Result<Vec<(String, String)>, DiskError> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.base) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(found),
            Err(source) => return Err(DiskError::Io { path: self.base.clone(), source }),
        };
        for entry in entries.flatten() {
            let Ok(bytes) = read_plain(&entry.path().join(NAME), MAX_NAME) else { continue };
            let Ok(text) = String::from_utf8(bytes) else { continue };
            if let Some((server, gun)) = text.trim_end().split_once('\n') {
                found.push((server.to_owned(), gun.to_owned()));
            }
        }
        Ok(found)
    }

    fn replace(&self, place: Place<'_>, directory: &Path, bytes: &Record, state: &State) -> Result<(), DiskError> {
        let index = state.to_json(place.server, place.gun);
        if !state.fits(&index) {
            return Err(DiskError::TooMany { path: directory.to_owned() });
        }
        let name = directory.join(NAME);
        if !name.exists() {
            self.put(directory, &name, format!("{}\n{}\n", place.server, place.gun).as_bytes())?;
        }
        let unproven = directory.join(UNPROVEN);
        if !state.admitted && !unproven.exists() {
            self.put(directory, &unproven, b"")?;
        }
        let mut fresh = false;
        for file in state.kept() {
            let path = directory.join(file_name(file.sha256));
            if hash_of_plain(&path, file.length).is_some_and(|stored| stored == file.sha256) {
                continue;
            }
            let bytes = bytes.get(&file.sha256).filter(|bytes| Sha256::of(bytes) == file.sha256);
            let bytes = bytes.ok_or_else(|| DiskError::NoBytes { path: path.clone() })?;
            self.put(directory, &path, bytes)?;
            fresh = true;
        }
        if fresh {
            self.sync(directory)?; // the files are there before anything names them
        }
        self.put(directory, &directory.join(INDEX), &index)?;
        self.sync(directory)
    }

    /// A whole file under its name, or none.
    fn put(&self, directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let failed = |source| DiskError::Io { path: path.to_owned(), source };
        let unfinished = unfinished(directory)?;
        self.step().map_err(failed)?;
        let mut file = create(&unfinished).map_err(failed)?;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for part in [first, second] {
            self.step().and_then(|()| file.write_all(part)).map_err(failed)?;
        }
        self.step().and_then(|()| file.sync_all()).map_err(failed)?;
        self.step().and_then(|()| fs::rename(&unfinished, path)).map_err(failed)
    }

    fn sync(&self, directory: &Path) -> Result<(), DiskError> {
        let sync = || File::open(directory)?.sync_all();
        self.step().and_then(|()| sync()).map_err(|source| DiskError::Io { path: directory.to_owned(), source })
    }

    /// Removes what no generation needs. Only under the lock.
    fn sweep(&self, directory: &Path, state: Option<&State>) -> io::Result<()> {
        let keep: Vec<String> = state
            .into_iter()
            .flat_map(|state| {
                let mark = (!state.admitted).then(|| UNPROVEN.to_owned());
                state.kept().map(|file| file_name(file.sha256)).chain(mark)
            })
            .chain([INDEX, NAME, LOCK].map(str::to_owned))
            .collect();
        for entry in fs::read_dir(directory)?.flatten() {
            let name = entry.file_name();
            if !keep.iter().any(|kept| name == kept.as_str()) {
                self.step()?;
                let _ = fs::remove_file(entry.path()); // a directory stays; nothing of ours is one
            }
        }
        Ok(())
    }

    fn lock(&self, directory: &Path, patience: Duration) -> Result<File, DiskError> {
        let path = directory.join(LOCK);
        let failed = |source| DiskError::Io { path: path.clone(), source };
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                open_plain(&path, OpenOptions::new().write(true))?
            }
            created => created.map_err(failed)?,
        };
        let end = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => return Err(DiskError::Locked { path }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }

    /// Stands before each look at the disk; a test lets it fail, or take its time.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests let it fail"))]
    fn may_read(&self) -> io::Result<()> {
        #[cfg(test)]
        {
            let reading = self.reading.lock().map_or(None, |reading| *reading);
            if let Some(reading) = reading {
                return reading();
            }
        }
        Ok(())
    }

    /// Stands before each change to the disk; a test ends them after any number.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests count the steps"))]
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Ok(mut steps) = self.steps.lock()
            && let Some(left) = steps.as_mut()
        {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        }
        Ok(())
    }
}

/// The files of one generation, as a source for the verifier. What is not stored is not said to be missing: nobody
/// could say.
pub(crate) struct Files<'a> {
    directory: PathBuf,
    files: &'a BTreeMap<String, Stored>,
}

impl Files<'_> {
    /// The root that is listed; `None` if there is none.
    pub(crate) fn root(&self) -> Option<Result<Vec<u8>, DiskError>> {
        let name = MetadataName::Root;
        self.files.get("root").filter(|stored| stored.kept).map(|stored| self.read(stored, name.cap()))
    }

    fn read(&self, stored: &Stored, cap: usize) -> Result<Vec<u8>, DiskError> {
        let path = self.directory.join(file_name(stored.sha256));
        let bytes = read_plain(&path, cap.min(stored.length))?;
        if Sha256::of(&bytes) != stored.sha256 {
            return Err(DiskError::NotOurs { path, what: "changed" });
        }
        Ok(bytes)
    }
}

impl MetadataSource for Files<'_> {
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

fn file_name(hash: Sha256) -> String {
    format!("{}.json", hash.hex())
}

/// Where a file is put together: a name of its own, whoever else writes in the same directory.
fn unfinished(directory: &Path) -> Result<PathBuf, DiskError> {
    let word = random::word().map_err(|source| DiskError::Io { path: directory.to_owned(), source })?;
    Ok(directory.join(format!("{UNFINISHED}{word}")))
}

/// A new file of ours; never one that is there already, nor what a link points to.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the directory, but not those above it: where a volume is not mounted, nothing is to be put in its place.
fn make_directory(path: &Path) -> Result<(), DiskError> {
    let failed = |source| DiskError::Io { path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

fn check_directory(path: &Path, metadata: &fs::Metadata) -> Result<(), DiskError> {
    let refuse = |what| Err(DiskError::NotOurs { path: path.to_owned(), what });
    if !metadata.is_dir() {
        return refuse("not a directory");
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        return refuse("writable by everybody");
    }
    Ok(())
}

/// The whole of a regular file; no link is followed, nothing else is opened.
fn read_plain(path: &Path, cap: usize) -> Result<Vec<u8>, DiskError> {
    let file = open_plain(path, OpenOptions::new().read(true))?;
    read_open(file, cap).map_err(|error| match error {
        FileError::Io(source) => DiskError::Io { path: path.to_owned(), source },
        _ => DiskError::NotOurs { path: path.to_owned(), what: "larger than it was" },
    })
}

/// The hash of a regular file of this length, without having all of it in memory.
fn hash_of_plain(path: &Path, length: usize) -> Option<Sha256> {
    let mut file = open_plain(path, OpenOptions::new().read(true)).ok()?;
    let mut hash = Context::new(&SHA256);
    let mut block = vec![0; 64 << 10];
    let mut left = length;
    loop {
        match file.read(&mut block).ok()? {
            0 => break,
            read => {
                left = left.checked_sub(read)?;
                hash.update(block.get(..read)?);
            }
        }
    }
    hash.finish().as_ref().try_into().ok().map(Sha256::new)
}

fn open_plain(path: &Path, how: &OpenOptions) -> Result<File, DiskError> {
    let failed = |source| DiskError::Io { path: path.to_owned(), source };
    // Looked at before it is opened, for opening a pipe waits, and compared afterwards.
    let expected = fs::symlink_metadata(path).map_err(failed)?;
    if !expected.is_file() {
        return Err(DiskError::NotOurs { path: path.to_owned(), what: "not a regular file" });
    }
    let file = how.open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if (found.dev(), found.ino()) != (expected.dev(), expected.ino()) {
        return Err(DiskError::NotOurs { path: path.to_owned(), what: "exchanged while it was opened" });
    }
    Ok(file)
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Stored data that cannot be read or written.
#[derive(Debug)]
pub enum DiskError {
    /// The system says no.
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something stands there that was not put there by Portreeve.
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The index cannot be used.
    Index {
        /// Where.
        path: PathBuf,
        /// Why.
        source: StateError,
    },
    /// A file that is to be stored is neither there nor at hand.
    NoBytes {
        /// Where it would be.
        path: PathBuf,
    },
    /// There are more roles than an index may list.
    TooMany {
        /// The repository's directory.
        path: PathBuf,
    },
    /// Another process holds the lock for too long.
    Locked {
        /// The lock.
        path: PathBuf,
    },
}

impl DiskError {
    /// Did the system fail to read? Then it is unknown what was stored. An absent file is no such failure.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if !is_absent(source))
    }

    /// For people, with the path made safe to print.
    fn place(path: &Path) -> String {
        printable(&path.display().to_string(), 400)
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", Self::place(path)),
            Self::NotOurs { path, what } => write!(f, "{} is {what}", Self::place(path)),
            Self::Index { path, source } => write!(f, "{}: {source}", Self::place(path)),
            Self::NoBytes { path } => write!(f, "{} is not at hand", Self::place(path)),
            Self::TooMany { path } => {
                write!(f, "{}: the repository has too many roles to be stored", Self::place(path))
            }
            Self::Locked { path } => write!(f, "{} is held by another process", Self::place(path)),
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
