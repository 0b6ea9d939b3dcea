//! Writes records to the disk: a whole publication, or the root and the minimum versions alone where there is no room or
//! some bytes are missing. A later generation is never replaced by an earlier one, and the minimum versions only rise.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;

use super::disk::{Disk, LOCK_PATIENCE, Place, Written};
use super::disk_error::DiskError;
use super::repository_record::RepositoryRecord;
use super::state::State;
use super::unwritten::{Added, Pending};
use super::{Key, Store};
use crate::base::context::Deadline;
use crate::schemes::notary::recorder::Record;
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::storage::disk_quota::Share;
use crate::schemes::storage::writer::Room;
use portreeve_verify::image::Sha256;
use portreeve_verify::tuf::{Gun, Repository, TrustedState};

/// How often a new time of confirmation alone is written: most refreshes that find nothing new cost no write.
const CONFIRM_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// One record on its way to the disk.
struct Writing<'a> {
    key: &'a Key,
    record: RepositoryRecord,
    state: State,
    /// The files that may not be on the disk yet, by hash.
    bytes: Record,
    deadline: Deadline,
}

impl Store {
    /// What the repository is called on the disk; `None` if nothing is kept there.
    pub(crate) fn name_on_disk(&self, server: &TrustServer, gun: &Gun) -> Option<Sha256> {
        self.disk.as_ref().map(|_| Place { server, gun }.name())
    }

    /// Holds what is to be written of a repository, until [`Store::write_behind`] has written it.
    pub(crate) fn hold(&self, key: Key, pending: Pending, room: impl FnOnce(usize) -> Option<Room>) -> Added {
        let newest = self.records().get(&key).and_then(|record| record.repository.clone());
        self.unwritten.add(key, pending, newest.as_deref(), room)
    }

    /// What was held cannot be written.
    pub(crate) fn drop_unwritten(&self, key: &Key) {
        self.unwritten.remove(key);
    }

    /// Writes what is held of a repository: the newest that memory has.
    pub(crate) fn write_behind(&self, key: &Key) {
        let Some((Pending { state, epoch, files, versions, room }, writing)) = self.unwritten.begin(key) else {
            return;
        };
        let ((server, gun), by) = (key, Deadline::after(LOCK_PATIENCE * 2));
        let kept = self.records().get(key);
        if let (None, Some(state)) = (&kept, &state) {
            self.record(server, gun, state, epoch); // it was evicted, and must bind after a restart
        }
        match (files, kept.and_then(|kept| Some((kept.epoch, kept.repository.clone()?)))) {
            (Some(files), Some((epoch, repository))) => self.persist(server, gun, &repository, epoch, files, by),
            (Some(_), None) => self.persist_versions(server, gun, by),
            (None, _) => {}
        }
        if versions {
            self.persist_versions(server, gun, by);
        }
        drop((room, writing));
    }

    /// Writes a repository that was kept with [`Store::insert`] in this epoch. `bytes` has what the server sent for it.
    pub(crate) fn persist(
        &self,
        server: &TrustServer,
        gun: &Gun,
        repository: &Arc<Repository>,
        epoch: u64,
        mut bytes: Record,
        deadline: Deadline,
    ) {
        let Some(disk) = &self.disk else { return };
        let key = (server.clone(), gun.clone());
        let kept = self.records().get(&key);
        let is_evicted = kept.is_none();
        let is_ours =
            |kept: &Arc<RepositoryRecord>| kept.repository.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, repository));
        let Some(kept) = kept.filter(is_ours) else {
            // It was evicted, or later data came. Its versions must still bind after a restart.
            if is_evicted {
                self.record(server, gun, repository.trusted_state(), epoch);
            }
            return self.persist_versions(server, gun, deadline);
        };
        let mut record = RepositoryRecord::clone(&kept);
        let mut state = record.to_state(Some(repository), &mut bytes);
        let is_whole = record.is_whole_in(&state);
        let taken = self.take(disk, Place::of(&key), &record, &record.completed(&state));
        // Where bytes were missing, all is fetched again by the next refresh. Where room was missing, the data stays in memory.
        record.incomplete = taken.is_some() && !is_whole;
        if taken.is_none() || !is_whole {
            state.leave_out_data(); // all of a publication, or none
        }
        self.persist_state(disk, Writing { key: &key, record, state, bytes, deadline }, taken);
    }

    /// Writes what was kept with [`Store::record`].
    pub(crate) fn persist_versions(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) {
        let key = (server.clone(), gun.clone());
        let kept = self.records().get(&key);
        let (Some(record), Some(disk)) = (kept, &self.disk) else { return };
        let on_disk = record.on_disk.as_ref();
        if record.trusted_state.is_deleted() && on_disk.is_some_and(|stored| stored.confirmed.is_some()) {
            let patience = deadline.remaining().unwrap_or_default() / 2;
            self.report(disk.withdraw(Place::of(&key), record.epoch, patience));
        }
        if on_disk.is_some_and(|stored| record.trusted_state.minimum_versions() == &stored.minimum_versions) {
            return; // a server that fails again and again costs no write
        }
        // The root and the versions alone: data stays on the disk, unless it is of an older root.
        let mut bytes = Record::new();
        let mut state = record.to_state(None, &mut bytes);
        state.leave_out_data();
        let record = RepositoryRecord::clone(&record);
        self.persist_state(disk, Writing { key: &key, record, state, bytes, deadline }, None);
    }

    /// Takes room on the disk for a generation, if there is some.
    fn take(&self, disk: &Disk, place: Place<'_>, record: &RepositoryRecord, state: &State) -> Option<Share> {
        let before = share_on_disk(place, record);
        let wanted = share(place, state);
        if self.quota.take(before, wanted, || disk.usage()) {
            return Some(wanted);
        }
        self.metrics.trust_store_failure();
        if wanted.is_whole {
            if self.warned_full.is_due() {
                log::warn!(
                    "trust.cache is full (limits.trustCache): of further repositories only the root and the versions are \
                     kept there, so that a restart fetches their data again"
                );
            }
        } else if self.warned_closed.is_due() {
            let whose = if wanted.admitted { "" } else { ", a quarter for repositories that never let an image in" };
            log::warn!(
                "trust.cache is full (limits.trustCache{whose}): nothing is kept there of repositories that are not in it \
                 yet; protection from rollback, and for those without pins the first root, last for them as long as this \
                 process"
            );
        }
        None
    }

    fn persist_state(&self, disk: &Disk, mut writing: Writing<'_>, taken: Option<Share>) {
        let place = Place::of(writing.key);
        writing.state.shorten(place.server, place.gun);
        let taken = taken.or_else(|| self.take(disk, place, &writing.record, &writing.state));
        let Some(taken) = taken else { return };
        let data = |record: &RepositoryRecord| record.repository.as_ref().map(Arc::as_ptr);
        let is_written = self.write(disk, place, &mut writing);
        let Writing { key, mut record, .. } = writing;
        self.quota.changed(taken, share_on_disk(place, &record));
        let mut records = self.records();
        let Some(memory) = records.get(key).filter(|memory| memory.epoch == record.epoch) else { return };
        if data(&memory) == data(&record) {
            record.trusted_state.merge(&memory.trusted_state); // others may have raised it during the write
            records.insert(key.clone(), Arc::new(record));
            return;
        }
        if !is_written {
            return;
        }
        // Later data came during the write, or the data was evicted. What is on the disk is known all the same, so that later data
        // finds the files there that it shares.
        let mut memory = RepositoryRecord::clone(&memory);
        if memory.publication_version() >= record.publication_version() {
            memory.stamp = record.stamp;
        }
        memory.trusted_state.merge(&record.trusted_state);
        memory.on_disk = record.on_disk;
        records.insert(key.clone(), Arc::new(memory));
    }

    /// Writes a record; false if the disk stays as it is.
    fn write(&self, disk: &Disk, place: Place<'_>, writing: &mut Writing<'_>) -> bool {
        let Writing { record, state, bytes, deadline, .. } = writing;
        // Missing bytes are fetched again only for a disk that can be written.
        let is_incomplete = std::mem::take(&mut record.incomplete);
        if let Some(old) = &record.on_disk
            && old.is_same(state)
            && disk.stamp(place) == record.stamp
        {
            let is_recent = match (old.confirmed, state.confirmed) {
                (Some(old), Some(new)) => old <= new && new.duration_since(old) < CONFIRM_EVERY,
                (_, None) => true,
                (None, Some(_)) => false,
            };
            if is_recent {
                record.incomplete = is_incomplete;
                return false;
            }
        }
        let is_intact = record.on_disk.is_some();
        let patience: Duration = deadline.remaining().unwrap_or_default() / 2;
        let written = disk.write(place, bytes, patience, |current| choose(place, current, state, is_intact));
        let written = match written {
            // A file that we carried over was removed: all is fetched again.
            Err(DiskError::NoBytes { .. }) => {
                record.incomplete = true;
                Ok(Written::Superseded)
            }
            written => written,
        };
        match self.report(written) {
            Some(Written::Done(written, stamp)) => {
                record.incomplete = is_incomplete;
                // With the versions that other processes have seen.
                record.trusted_state.merge(&TrustedState::new(None, written.minimum_versions.clone()));
                // Where another process's data is the later, it is read before the next refresh.
                let is_known = |files| files == &written.files;
                let was_known = record.on_disk.as_ref().is_some_and(|old| is_known(&old.files));
                record.stamp = stamp.filter(|_| was_known || is_known(&state.files));
                record.on_disk = Some(written);
                true
            }
            // The disk is read before the next refresh.
            Some(Written::Superseded) | None => {
                record.stamp = None;
                false
            }
        }
    }

    /// Warns once that nothing can be written, and says once that it can again.
    pub(crate) fn report<T>(&self, result: Result<T, DiskError>) -> Option<T> {
        match result {
            Ok(value) => {
                if self.warned_unwritable.swap(false, Ordering::Relaxed) {
                    log::info!("trust.cache can be written again");
                }
                Some(value)
            }
            Err(error) => {
                self.not_written(&error);
                None
            }
        }
    }

    /// Counts that something was not written, and warns once.
    pub(crate) fn not_written(&self, why: &dyn fmt::Display) {
        self.metrics.trust_store_failure();
        if !self.warned_unwritable.swap(true, Ordering::Relaxed) {
            log::warn!(
                "trust.cache cannot be written: {why}; verified trust data, and with it the protection from rollback, \
                 lasts only as long as this process"
            );
        }
    }
}

/// What a generation takes on the disk.
fn share(place: Place<'_>, state: &State) -> Share {
    let bytes = state.cost(&state.to_json(place.server, place.gun));
    Share { bytes, admitted: state.admitted, is_whole: !state.is_without_data() }
}

fn share_on_disk(place: Place<'_>, record: &RepositoryRecord) -> Share {
    record.on_disk.as_ref().map(|state| share(place, state)).unwrap_or_default()
}

/// Which of two generations the disk is to have: the later one, or, of one publication, the one with more files. Its minimum
/// versions are those of both. `None` where that one is on the disk already, and `is_intact`.
fn choose(place: Place<'_>, current: Option<&State>, ours: &State, is_intact: bool) -> Option<State> {
    let Some(current) = current else { return Some(ours.clone()) };
    if current.epoch > ours.epoch {
        return None; // the repository was reset meanwhile
    }
    if current.epoch < ours.epoch {
        return Some(ours.clone());
    }
    let (theirs, our) = (current.publication_version(), ours.publication_version());
    let theirs_is_larger = is_intact && theirs == our && current.files.len() > ours.files.len();
    let mut chosen = if theirs > our || theirs_is_larger { current.clone() } else { ours.clone() };
    chosen.minimum_versions.merge(&current.minimum_versions);
    chosen.minimum_versions.merge(&ours.minimum_versions);
    chosen.admitted = current.admitted || ours.admitted;
    chosen.shorten(place.server, place.gun);
    if theirs == our {
        chosen.confirmed = ours.confirmed.or(current.confirmed);
    }
    if is_intact && current.is_same(&chosen) && chosen.confirmed == current.confirmed {
        return None;
    }
    Some(chosen)
}
