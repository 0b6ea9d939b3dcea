//! What was verified and is not on the disk yet, once for each repository: a later result replaces an earlier one that waits, and
//! takes over the files that both have. A record that is evicted from memory meanwhile is found here, so that its versions bind
//! all the same.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::generation::listed_files;
use super::records::Key;
use crate::schemes::notary::recorder::Record;
use crate::schemes::storage::writer::Room;
use portreeve_verify::tuf::{Repository, TrustedState};

/// What is to be written.
#[derive(Default)]
pub(crate) struct Unwritten(Mutex<HashMap<Key, Entry>>);

/// A repository. It has both parts if something was verified since a write began.
#[derive(Default)]
struct Entry {
    waiting: Option<Pending>,
    writing: Option<(TrustedState, u64)>,
}

/// What is to be written of one repository.
pub(crate) struct Pending {
    /// The root and the versions, for the case that the record is evicted; `None` where there is no room for them.
    pub(crate) state: Option<TrustedState>,
    /// The store's epoch of the state.
    pub(crate) epoch: u64,
    /// If a publication is to be written, its files that may not be on the disk yet.
    pub(crate) files: Option<Record>,
    /// Are versions to be written that a failed refresh has verified?
    pub(crate) versions: bool,
    /// The room of state and files.
    pub(crate) room: Option<Room>,
}

impl Unwritten {
    /// Adds a result. `newest` is the newest publication, whose files alone are kept. `room` is asked for room for all that waits
    /// of this repository; without it, the newest record in memory is written, as far as that goes without the files.
    pub(crate) fn add(
        &self,
        key: Key,
        mut pending: Pending,
        newest: Option<&Repository>,
        room: impl FnOnce(usize) -> Option<Room>,
    ) -> Added {
        let mut entries = self.lock();
        let entry = entries.entry(key).or_default();
        if entry.waiting.as_ref().is_some_and(|waiting| waiting.epoch > pending.epoch) {
            // The repository was reset during this refresh. What was verified since then waits.
            return Added { is_first: false, has_room: true };
        }
        let earlier = entry.waiting.take();
        let is_first = earlier.is_none();
        if let Some(earlier) = earlier.filter(|earlier| earlier.epoch == pending.epoch) {
            pending.take_over(earlier);
        }
        if let (Some(files), Some(newest)) = (&mut pending.files, newest) {
            let listed: Vec<_> = listed_files(newest).collect();
            files.retain(|file, _| listed.contains(file));
        }
        pending.room = room(pending.len());
        let has_room = pending.room.is_some();
        if !has_room {
            pending.state = None;
            pending.files.iter_mut().for_each(Record::clear);
        }
        entry.waiting = Some(pending);
        Added { is_first, has_room }
    }

    /// Begins to write what waits of a repository.
    pub(crate) fn begin(&self, key: &Key) -> Option<(Pending, Writing<'_>)> {
        let mut entries = self.lock();
        let entry = entries.get_mut(key)?;
        let pending = entry.waiting.take()?;
        entry.writing = pending.state.clone().map(|state| (state, pending.epoch));
        Some((pending, Writing { unwritten: self, key: key.clone() }))
    }

    /// Drops what waits of a repository and cannot be written.
    pub(crate) fn remove(&self, key: &Key) {
        self.end(key, |entry| entry.waiting = None);
    }

    /// The states of a repository that are not on the disk yet, with their epoch. What was verified before a reset does not count.
    pub(crate) fn states(&self, key: &Key) -> Vec<(TrustedState, u64)> {
        let entries = self.lock();
        let Some(Entry { waiting, writing }) = entries.get(key) else { return Vec::new() };
        let waiting = waiting.as_ref().and_then(|pending| Some((pending.state.clone()?, pending.epoch)));
        let mut states: Vec<_> = writing.iter().cloned().chain(waiting).collect();
        let latest = states.iter().map(|(_, epoch)| *epoch).max();
        states.retain(|(_, epoch)| Some(*epoch) == latest);
        states
    }

    fn end(&self, key: &Key, part: impl FnOnce(&mut Entry)) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(key) else { return };
        part(entry);
        if entry.waiting.is_none() && entry.writing.is_none() {
            entries.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl Pending {
    fn take_over(&mut self, earlier: Self) {
        match (&mut self.files, earlier.files) {
            (Some(files), Some(earlier)) => files.extend(earlier),
            (None, files) => self.files = files,
            (_, None) => {}
        }
        self.versions |= earlier.versions;
        if let Some(mut state) = earlier.state {
            self.state.iter().for_each(|later| state.merge_later(later));
            self.state = Some(state);
        }
    }

    fn len(&self) -> usize {
        let files = self.files.iter().flatten().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let state = self
            .state
            .as_ref()
            .map_or(0, |state| state.heap_size().saturating_add(state.root().map_or(0, |root| root.heap_size())));
        files.saturating_add(usize::try_from(state).unwrap_or(usize::MAX))
    }
}

/// What became of a result.
pub(crate) struct Added {
    /// Nothing else of this repository waits, so that a write must be started.
    pub(crate) is_first: bool,
    /// There was room for the files.
    pub(crate) has_room: bool,
}

/// A repository that is being written, until it is dropped.
pub(crate) struct Writing<'a> {
    unwritten: &'a Unwritten,
    key: Key,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.unwritten.end(&self.key, |entry| entry.writing = None);
    }
}
