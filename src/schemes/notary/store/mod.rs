//! The verified trust data of every repository on every server, keyed by server and GUN, whatever the anchor: the newest
//! publication and the minimum versions that later data must have. It is kept in memory, and on disk where a directory is
//! configured.
//!
//! Data that is read from the disk is verified again. Nothing is served from here before the anchor and the expiry were
//! checked. A disk that fails costs the memory of the next start. It never costs a verdict.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::cached::CachedRepository;
use crate::base::context::Deadline;
use crate::http::url::PlainHttp;
use crate::metrics::Metrics;
use crate::schemes::memory_budget::MemoryBudget;
use crate::schemes::notary::store::disk::{Disk, Place};
use crate::schemes::notary::store::read_back::{ReadBackError, read, read_back};
use crate::schemes::notary::store::records::{Entry, Key, Records};
use crate::schemes::notary::store::repository_record::{Confirmation, RepositoryRecord};
use crate::schemes::notary::store::unwritten::Unwritten;
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::storage::disk_quota::{DiskQuota, Used};
use crate::schemes::storage::readers::Readers;
use crate::schemes::storage::warnings::HourlyWarning;
use portreeve_verify::tuf::{Anchor, Gun, Repository, TrustedState};

pub(crate) mod disk;
pub(crate) mod disk_error;
pub(crate) mod generation;
pub(crate) mod indexes;
pub(crate) mod persist;
pub(crate) mod read_back;
pub(crate) mod records;
pub(crate) mod repository_record;
pub(crate) mod reset;
pub(crate) mod state;
pub(crate) mod stored_files;
pub(crate) mod summary;
pub(crate) mod unwritten;

pub use crate::schemes::notary::store::disk_error::DiskError;
pub use crate::schemes::notary::store::indexes::{StoredIndexes, stored_indexes};
pub use crate::schemes::notary::store::reset::reset;
pub use crate::schemes::notary::store::state::StateError;
pub use crate::schemes::notary::store::summary::{StoredRole, StoredSummary};

/// How often it is noted that the data of a repository stood in for its server.
const NOTE_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// The store. Shared by all workers.
pub(crate) struct Store {
    disk: Option<Arc<Disk>>,
    pub(crate) readers: Readers,
    pub(crate) quota: Arc<DiskQuota>,
    budget: Arc<MemoryBudget>,
    metrics: Arc<Metrics>,
    records: Mutex<Records>,
    unwritten: Unwritten,
    warned_unwritable: AtomicBool,
    warned_unreadable: AtomicBool,
    /// There is no room for whole publications.
    warned_full: HourlyWarning,
    /// There is no room for records either.
    warned_closed: HourlyWarning,
}

impl Store {
    /// A store in memory, and in `directory` if there is one. A directory that cannot be written is a warning. At most
    /// `max_bytes` are kept in memory: past them data is evicted, which the disk or the server has, before versions are.
    pub(crate) fn new(directory: Option<PathBuf>, max_bytes: u64, metrics: Arc<Metrics>) -> Self {
        let store = Self {
            disk: directory.map(|directory| Arc::new(Disk::new(directory))),
            readers: Readers::default(),
            quota: Arc::new(DiskQuota::new(u64::MAX)),
            budget: Arc::new(MemoryBudget::new(u64::MAX, Arc::clone(&metrics))),
            metrics,
            records: Mutex::new(Records { max_bytes, ..Records::default() }),
            unwritten: Unwritten::default(),
            warned_unwritable: AtomicBool::new(false),
            warned_unreadable: AtomicBool::new(false),
            warned_full: HourlyWarning::default(),
            warned_closed: HourlyWarning::default(),
        };
        if let Some(disk) = &store.disk {
            store.report(disk.probe());
        }
        store
    }

    /// Sets the most bytes that may be stored on the disk.
    pub(crate) fn with_quota(self, bytes: u64) -> Self {
        Self { quota: Arc::new(DiskQuota::new(bytes)), ..self }
    }

    /// Sets the budget from which reading back draws its memory.
    pub(crate) fn with_budget(self, budget: Arc<MemoryBudget>) -> Self {
        Self { budget, ..self }
    }

    pub(crate) fn keeps_bytes(&self) -> bool {
        self.disk.is_some()
    }

    /// The record of a repository. The disk is read if another process has written there, for at most half of the time that
    /// is left: a volume may not answer. Data that cannot be verified again in that time, or for want of memory, is left for
    /// the next query; its root and minimum versions still bind.
    pub(crate) fn get(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) -> Option<Arc<RepositoryRecord>> {
        let key = (server.clone(), gun.clone());
        let Some(disk) = &self.disk else { return self.records().get(&key) };
        let _reading = self.begin_reading(&key);
        let mut memory = self.records().get(&key);
        if memory.is_none() {
            // It may have been evicted before it was written.
            for (state, epoch) in self.unwritten.states(&key) {
                self.record(server, gun, &state, epoch);
                memory = self.records().get(&key);
            }
        }
        let before = memory.as_ref().map(|record| record.stamp);
        let patience = deadline.remaining().unwrap_or_default() / 2;
        let by = deadline.at_most(patience / 8 * 7); // verifying that takes too long must not look like a disk that hangs
        let (disk, metrics, place) = (Arc::clone(disk), Arc::clone(&self.metrics), key.clone());
        let budget = Arc::clone(&self.budget);
        let look = move || {
            let place = Place { server: &place.0, gun: &place.1 };
            // The stamp is read first: a write between the two is noticed by the next query.
            let stamp = disk.stamp(place);
            (before != Some(stamp)).then(|| read(&disk, &metrics, &budget, place, stamp, by))
        };
        match self.readers.run(patience, look) {
            Some(None) => memory,
            Some(Some(read)) => self.merge(key, read),
            // What this process has verified itself is enough to go on.
            None => memory.or_else(|| self.merge(key, Some(RepositoryRecord::unreadable(&"it does not answer")))),
        }
    }

    /// Keeps the versions of a repository in memory while the disk is read. Otherwise they could be evicted because the disk has
    /// them, while this request has read the disk before they were written.
    fn begin_reading(&self, key: &Key) -> Reading<'_> {
        *self.records().reading.entry(key.clone()).or_default() += 1;
        Reading { store: self, key: key.clone() }
    }

    /// Merges what was read from the disk into the record in memory. Another query may have brought later data while
    /// the disk was read.
    fn merge(&self, key: Key, read: Option<RepositoryRecord>) -> Option<Arc<RepositoryRecord>> {
        let why = read.as_ref().and_then(|read| read.unreadable.as_deref());
        if let Some(why) = why
            && !self.warned_unreadable.swap(true, Ordering::Relaxed)
        {
            log::warn!("{why}; until then, repositories that this process has not verified itself are denied");
        }
        let mut records = self.records();
        let merged = match (records.get(&key), read) {
            // A directory that was emptied by hand is not a reset: the versions in memory still bind.
            (memory, None) => return memory,
            (Some(memory), Some(read)) if read.unreadable.is_some() => return Some(memory),
            (None, Some(read)) if read.unreadable.is_some() => return Some(Arc::new(read)),
            (None, Some(read)) => read,
            (Some(memory), Some(read)) => memory.merged_with(read),
        };
        let merged = Arc::new(merged);
        records.insert(key, Arc::clone(&merged));
        drop(records);
        if self.warned_unreadable.swap(false, Ordering::Relaxed) {
            log::info!("trust.cache can be read again");
        }
        Some(merged)
    }

    /// The data that a server has confirmed to this process, under this anchor; `None` where there is none, the anchor does not
    /// trust its root, or newer data was seen, by whatever anchor.
    pub(crate) fn cached(
        &self,
        server: &TrustServer,
        gun: &Gun,
        anchor: &Anchor,
        now: Timestamp,
    ) -> Option<CachedRepository> {
        let key = (server.clone(), gun.clone());
        let (record, checked) = self.records().get_under(&key, anchor)?;
        let confirmed = record.asked?;
        let anchored = match checked {
            Some(anchored) => anchored,
            None => {
                let data = record.repository.as_ref()?;
                // No lock is held: a chain of certificates has signatures to verify.
                let anchored = data.under_anchor(anchor, now).ok();
                self.records().insert_anchored(&key, data, anchor, &anchored);
                anchored
            }
        };
        let (epoch, admitted) = (record.epoch, record.admitted);
        anchored.map(|repository| CachedRepository { repository, confirmed, epoch, admitted })
    }

    /// Is there any data in memory?
    pub(crate) fn has_data(&self, server: &TrustServer, gun: &Gun) -> bool {
        self.records().get(&(server.clone(), gun.clone())).is_some_and(|record| record.has_data())
    }

    /// Keeps a repository that was verified under this anchor: no later data may be older. `confirmation` is `None` if the
    /// server was not asked whether this is the newest. `epoch` is that of the record on which the refresh was built. After a
    /// reset, nothing is kept that was built on what was reset.
    pub(crate) fn insert(
        &self,
        server: &TrustServer,
        gun: &Gun,
        anchor: &Anchor,
        repository: &Arc<Repository>,
        confirmation: Option<Confirmation>,
        epoch: u64,
    ) {
        let key = (server.clone(), gun.clone());
        let mut record = RepositoryRecord::of(Arc::clone(repository), confirmation, epoch);
        let mut records = self.records();
        if let Some(memory) = records.get(&key) {
            if memory.epoch != epoch {
                return;
            }
            if memory.publication_version() > record.publication_version() {
                // Another query has brought later data meanwhile; these versions count none the less.
                let mut memory = RepositoryRecord::clone(&memory);
                memory.trusted_state.merge(&record.trusted_state);
                records.insert(key, Arc::new(memory));
                return;
            }
            record.inherit(&memory);
        }
        records.insert(key.clone(), Arc::new(record));
        records.insert_anchored(&key, repository, anchor, &Some(Arc::clone(repository)));
    }

    /// Keeps the root and the versions that a failed refresh verified. They bind from now on, whatever data there is.
    pub(crate) fn record(&self, server: &TrustServer, gun: &Gun, verified: &TrustedState, epoch: u64) {
        let key = (server.clone(), gun.clone());
        let mut records = self.records();
        let mut record = match records.get(&key) {
            Some(memory) if memory.epoch != epoch => return,
            Some(memory) => RepositoryRecord::clone(&memory),
            None => RepositoryRecord { epoch, ..RepositoryRecord::nothing() },
        };
        record.trusted_state.merge_later(verified);
        record.repository = record.repository.map(|repository| Arc::new(repository.with_state(verified)));
        records.insert(key, Arc::new(record));
    }

    /// Marks a repository that has verified an image: its place on the disk is not taken from the quota of those that never
    /// did.
    pub(crate) fn admitted(&self, server: &TrustServer, gun: &Gun) {
        let key = (server.clone(), gun.clone());
        let mut records = self.records();
        if let Some(record) = records.get(&key).filter(|record| !record.admitted) {
            records.insert(key, Arc::new(RepositoryRecord { admitted: true, ..RepositoryRecord::clone(&record) }));
        }
    }

    /// Leaves so many bytes of memory to evidence, and evicts what has no room any more.
    pub(crate) fn leave(&self, bytes: u64) {
        let mut records = self.records();
        records.evidence = bytes;
        records.fit(None);
    }

    /// The room that everything under `trust.cache` takes.
    pub(crate) fn usage(&self) -> Used {
        self.disk.as_ref().map(|disk| disk.usage()).unwrap_or_default()
    }

    /// Notes that the data of a repository stood in for its server, which is away.
    pub(crate) fn stood_in(&self, server: &TrustServer, gun: &Gun, now: Timestamp) {
        let key = (server.clone(), gun.clone());
        let mut records = self.records();
        let is_old = |known: Timestamp| now.duration_since(known).abs() >= NOTE_EVERY;
        if let Some(record) = records.get(&key).filter(|record| record.stood_in.is_none_or(is_old)) {
            records.insert(key, Arc::new(RepositoryRecord { stood_in: Some(now), ..RepositoryRecord::clone(&record) }));
        }
    }

    /// The repositories that have verified images, and that a server has confirmed since then, or whose data has stood in for it.
    pub(crate) fn in_use(&self, since: Timestamp) -> Vec<(TrustServer, Gun, Arc<Repository>)> {
        let records = self.records();
        let of = |((server, gun), Entry { record, .. }): (&Key, &Entry)| {
            let last = record.confirmed.max(record.stood_in);
            let recent = record.admitted && last.is_some_and(|last| last >= since);
            let data = record.repository.as_ref().filter(|_| recent && !record.is_superseded())?;
            Some((server.clone(), gun.clone(), Arc::clone(data)))
        };
        records.by_key.iter().filter_map(of).collect()
    }

    /// Calls `tell` with each role that the disk has of such repositories, and when it expires, as the indexes say.
    pub(crate) fn stored_in_use(&self, since: Timestamp, mut tell: impl FnMut(&TrustServer, &Gun, &str, Timestamp)) {
        let Some(disk) = &self.disk else { return };
        for (server, gun) in disk.repositories().unwrap_or_default() {
            let server = TrustServer::parse(&server, PlainHttp::DangerouslyAllowed);
            let (Ok(server), Ok(gun)) = (server, Gun::new(&gun)) else { continue };
            let Ok(Some(state)) = disk.load(Place { server: &server, gun: &gun }) else { continue };
            if !state.admitted || state.confirmed.is_none_or(|confirmed| confirmed < since) {
                continue;
            }
            for role in state.files.keys().filter_map(|role| StoredRole::of(role, &state)) {
                tell(&server, &gun, &role.role, role.expires);
            }
        }
    }

    /// What the disk has of a repository, for people.
    pub(crate) fn summary(&self, server: &TrustServer, gun: &Gun) -> Option<StoredSummary> {
        let disk = self.disk.as_ref()?;
        let place = Place { server, gun };
        let mut summary =
            StoredSummary { directory: disk.directory(place), confirmed: None, roles: Vec::new(), damage: None };
        match disk.load(place) {
            Ok(None) => return None,
            Ok(Some(state)) => {
                summary.confirmed = state.confirmed;
                let roles = state.minimum_versions.roles();
                summary.roles = roles.filter_map(|role| StoredRole::of(role, &state)).collect();
                let by = Deadline::after(Duration::MAX);
                if let (_, Some(ReadBackError::Damaged(damage))) = read_back(disk, place, &state, &self.budget, by) {
                    summary.damage = Some(damage);
                }
            }
            Err(error) => summary.damage = Some(error.to_string()),
        }
        Some(summary)
    }

    #[cfg(test)]
    pub(crate) fn left_to_evidence(&self) -> u64 {
        self.records().evidence
    }

    /// Evicts all data, as if there were no room for any.
    #[cfg(test)]
    pub(crate) fn evict_data(&self) {
        let mut records = self.records();
        let keys: Vec<_> = records.by_key.keys().cloned().collect();
        for key in keys {
            let record = records.get(&key).map(|record| Arc::new(record.without_data()));
            records.insert(key, record.unwrap());
        }
    }

    /// Makes the server's last confirmation look this much older.
    #[cfg(test)]
    pub(crate) fn age_by(&self, server: &TrustServer, gun: &Gun, age: Duration) {
        let key = (server.clone(), gun.clone());
        let mut records = self.records();
        let mut record = RepositoryRecord::clone(&records.get(&key).expect("a record"));
        record.asked =
            Some(record.asked.expect("confirmed").checked_sub(age).expect("a machine that has run for that long"));
        records.insert(key, Arc::new(record));
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner) // no code under it can panic half-way
    }
}

/// A request that reads a repository from the disk, until it is dropped.
struct Reading<'a> {
    store: &'a Store,
    key: Key,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let reading = &mut self.store.records().reading;
        if let Some(count) = reading.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                reading.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
