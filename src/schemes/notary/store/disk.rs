//! Verified metadata on the disk: one directory for each repository and server. Its name is the hash of the two, so that no
//! name can lead anywhere else. Files are named by their hash and never changed. The index that names them is replaced by
//! one rename, after all files that it names are on the disk: at whatever instant the process dies, the index is the old one
//! or the new one. Readers take no lock. Writers take one, and an older generation never replaces a later one.
//!
//! Refuses links, pipes and directories that everybody may write. Judges no metadata.

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::disk_error::DiskError;
use super::records::Key;
use super::state::{MAX_BYTES, State, cost_of_directory};
use super::stored_files::{StoredFiles, file_name};
use crate::base::files::Stamp;
use crate::schemes::notary::recorder::Record;
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::storage::StorageError;
use crate::schemes::storage::atomic_files::AtomicFiles;
use crate::schemes::storage::disk_quota::{Share, Used};
use crate::schemes::storage::error::is_absent;
use crate::schemes::storage::evidence_files::EvidenceFiles;
use crate::schemes::storage::plain_file::{check_directory, hash_of_plain, make_directory, open_plain, read_plain};
use portreeve_verify::image::Sha256;
use portreeve_verify::tuf::Gun;

/// The index of a generation.
const INDEX: &str = "state.json";
/// The file with server and GUN, for people, and for a reset where the index is damaged.
const NAME: &str = "name";
/// The file whose lock every writer holds.
const LOCK: &str = "lock";
/// Marks the directory of a repository that never verified an image, so that counting reads no index.
const UNPROVEN: &str = "unproven";
const MAX_NAME: usize = 8 << 10;
/// A write fails if another process holds the lock for longer than this: some writes on a slow disk.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The cache directory.
#[derive(Debug)]
pub(crate) struct Disk {
    base: PathBuf,
    pub(crate) files: AtomicFiles,
}

/// Which repository on which server.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) server: &'a TrustServer,
    pub(crate) gun: &'a Gun,
}

impl<'a> Place<'a> {
    pub(crate) fn of((server, gun): &'a Key) -> Self {
        Self { server, gun }
    }

    /// The name of the repository's directory.
    pub(crate) fn name(self) -> Sha256 {
        Sha256::of(format!("{}\0{}", self.server, self.gun).as_bytes()) // neither can hold the separator
    }
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The index is now this, with this stamp.
    Done(State, Option<Stamp>),
    /// Another process has stored a later generation, or the repository was reset: the disk stays as it is.
    Superseded,
}

impl Disk {
    pub(crate) fn new(base: PathBuf) -> Self {
        Self { base, files: AtomicFiles::default() }
    }

    /// The directory of a repository.
    pub(crate) fn directory(&self, place: Place<'_>) -> PathBuf {
        self.base.join(place.name().hex())
    }

    /// The stamp of the index: it changes with each generation. `None` where there is no index.
    pub(crate) fn stamp(&self, place: Place<'_>) -> Option<Stamp> {
        Stamp::of(&self.directory(place).join(INDEX))
    }

    /// Fails if nothing can be written.
    pub(crate) fn probe(&self) -> Result<(), DiskError> {
        Ok(AtomicFiles::probe(&self.base)?)
    }

    /// The index; `None` where nothing is stored.
    pub(crate) fn load(&self, place: Place<'_>) -> Result<Option<State>, DiskError> {
        let directory = self.directory(place);
        match self.files.may_read().and_then(|()| fs::symlink_metadata(&directory)) {
            Ok(metadata) => check_directory(&directory, &metadata)?,
            // Nothing is stored. Where nothing can be stored, the next write says so.
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            // After any other error it is unknown what was stored.
            Err(source) => return Err(StorageError::Io { path: directory, source }.into()),
        }
        let path = directory.join(INDEX);
        match read_plain(&path, MAX_BYTES) {
            Ok(bytes) => match State::from_json(&bytes, place.server, place.gun) {
                Ok(state) => Ok(Some(state)),
                Err(source) => Err(DiskError::Index { path, source }),
            },
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The files of a generation.
    pub(crate) fn files<'a>(&self, place: Place<'_>, state: &'a State) -> StoredFiles<'a> {
        StoredFiles { directory: self.directory(place), files: &state.files }
    }

    /// Stores a generation. `bytes` has the files that may not be on the disk yet. `choose` is given the generation that is on
    /// the disk, and returns the one that is to be there.
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
        let metadata = metadata.map_err(|source| StorageError::io(&directory, source))?;
        check_directory(&directory, &metadata)?;
        let _lock = Self::lock(&directory, patience.min(LOCK_PATIENCE))?;
        let current = self.load(place).unwrap_or_else(|error| {
            log::warn!("stored trust data of {}: {error}; it is replaced", place.gun);
            None
        });
        let Some(state) = choose(current.as_ref()) else { return Ok(Written::Superseded) };
        let result = self.replace(place, &directory, bytes, &state);
        if result.is_err() {
            // Unfinished files take room on a disk that may be full. The old generation stays.
            let _ = self.sweep(&directory, current.as_ref());
        }
        result?;
        // The new generation is in force. Files that cannot be removed now are removed after the next write.
        let _ = self.sweep(&directory, Some(&state));
        let stamp = self.stamp(place);
        Ok(Written::Done(state, stamp))
    }

    /// Removes everything about a repository. A process that has a record of it notices the new epoch.
    pub(crate) fn reset(&self, place: Place<'_>, epoch: u64) -> Result<(), DiskError> {
        // Above that of an earlier reset, even if the clock was set back since.
        let above = |current: Option<&State>| current.map_or(epoch, |old| epoch.max(old.epoch.saturating_add(1)));
        self.write(place, &Record::new(), LOCK_PATIENCE, |current| Some(State::empty(above(current)))).map(drop)
    }

    /// Marks the stored data of this epoch as confirmed by no server, so that it is never served stale.
    pub(crate) fn withdraw(&self, place: Place<'_>, epoch: u64, patience: Duration) -> Result<Written, DiskError> {
        self.write(place, &Record::new(), patience, |current| {
            let current = current.filter(|current| current.epoch == epoch && current.confirmed.is_some())?;
            Some(State { confirmed: None, ..current.clone() })
        })
    }

    /// The room that everything below the directory takes: all stored repositories, and evidence.
    pub(crate) fn usage(&self) -> Used {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let mut used = Used::default();
        EvidenceFiles::below(&self.base).count(&mut used);
        let is_repository =
            |entry: &DirEntry| entry.file_name().to_str().is_some_and(|name| Sha256::from_hex(name).is_some());
        for directory in entries(&self.base).filter(is_repository) {
            let files: Vec<_> = entries(&directory.path()).collect();
            let admitted = !files.iter().any(|file| file.file_name() == UNPROVEN);
            let lengths =
                files.iter().filter_map(|file| Some((file.file_name() == INDEX, file.metadata().ok()?.len())));
            used.add(Share { bytes: cost_of_directory(lengths), admitted, is_whole: false });
        }
        used
    }

    /// The server and the GUN of every stored repository.
    pub(crate) fn repositories(&self) -> Result<Vec<(String, String)>, DiskError> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.base) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(found),
            Err(source) => return Err(StorageError::io(&self.base, source).into()),
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
            self.files.put(directory, &name, format!("{}\n{}\n", place.server, place.gun).as_bytes())?;
        }
        let unproven = directory.join(UNPROVEN);
        if !state.admitted && !unproven.exists() {
            self.files.put(directory, &unproven, b"")?;
        }
        let mut fresh = false;
        for file in state.kept() {
            let path = directory.join(file_name(file.sha256));
            if hash_of_plain(&path, file.length).is_some_and(|stored| stored == file.sha256) {
                continue;
            }
            let bytes = bytes.get(&file.sha256).filter(|bytes| Sha256::of(bytes) == file.sha256);
            let bytes = bytes.ok_or_else(|| DiskError::NoBytes { path: path.clone() })?;
            self.files.put(directory, &path, bytes)?;
            fresh = true;
        }
        if fresh {
            self.files.sync(directory)?; // the files are on the disk before the index names them
        }
        self.files.put(directory, &directory.join(INDEX), &index)?;
        Ok(self.files.sync(directory)?)
    }

    /// Removes the files that the generation does not need. The caller holds the lock.
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
                self.files.step()?;
                let _ = fs::remove_file(entry.path()); // directories stay: none is ours
            }
        }
        Ok(())
    }

    fn lock(directory: &Path, patience: Duration) -> Result<File, StorageError> {
        let path = directory.join(LOCK);
        let failed = |source| StorageError::io(&path, source);
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
                Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { path }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}
