//! What is known of each repository on each server, whoever asks and by whatever anchor: the newest verified data, and
//! the floor that nothing may go below. Kept in memory, and on disk where a directory is configured.
//!
//! Read back, everything is verified again by the verifier itself. Nothing here is served before the anchor and the
//! expiry were asked. A disk that fails costs the memory of the next start, never an answer.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::memory_budget::Budget;
use super::recorder::Record;
use crate::base::context::Deadline;
use crate::base::files::Stamp;
use crate::metrics::{Metrics, What};
use crate::schemes::notary::store::disk::{Disk, Place, Written};
use crate::schemes::notary::store::disk_quota::{Room, Share};
pub(crate) use crate::schemes::notary::store::known::Known;
use crate::schemes::notary::store::known::{Trouble, read_back};
use crate::schemes::notary::store::readers::Readers;
use crate::schemes::notary::store::records::{Key, Records, Remembered};
use crate::schemes::notary::store::state::State;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::gun::Gun;
use portreeve_verify::tuf::repository::Repository;
use portreeve_verify::tuf::trusted_state::TrustedState;

pub(crate) mod disk;
pub(crate) mod disk_quota;
pub(crate) mod known;
pub(crate) mod readers;
pub(crate) mod records;
pub(crate) mod state;
pub(crate) mod summary;

pub use crate::schemes::notary::store::disk::DiskError;
pub use crate::schemes::notary::store::state::StateError;
pub use crate::schemes::notary::store::summary::{StoredRole, StoredSummary};

/// How often the time of the last confirmation alone is written: a warm refresh costs no write.
const CONFIRM_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// How often a generation is read anew because another process replaced it in the meantime.
const READ_ATTEMPTS: usize = 4;

/// The store. Shared by all workers.
pub(crate) struct Store {
    disk: Option<Arc<Disk>>,
    readers: Readers,
    room: Room,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    known: Mutex<Records>,
    /// Was it said that nothing can be written? Once is enough.
    said: AtomicBool,
    /// When it was said that there is no room.
    said_full: Hourly,
    /// When it was said that there is no room for the least either.
    said_closed: Hourly,
    /// Was it said that it cannot be read?
    said_unreadable: AtomicBool,
}

impl Store {
    /// A store, in memory alone where there is no directory. A directory that cannot be written is a warning. No more
    /// bytes than `max_weight` are remembered: what the disk has is read again, of the rest the root and the versions stay.
    pub(crate) fn new(directory: Option<PathBuf>, max_weight: u64, metrics: Arc<Metrics>) -> Self {
        let known = Mutex::new(Records { max_weight, ..Records::default() });
        let store = Self {
            disk: directory.map(|directory| Arc::new(Disk::new(directory))),
            readers: Readers::default(),
            room: Room::new(u64::MAX),
            budget: Arc::new(Budget::new(u64::MAX, Arc::clone(&metrics))),
            metrics,
            known,
            said: AtomicBool::new(false),
            said_full: Hourly::default(),
            said_closed: Hourly::default(),
            said_unreadable: AtomicBool::new(false),
        };
        if let Some(disk) = &store.disk {
            store.heard(disk.probe());
        }
        store
    }

    /// The same, where the disk's data may take no more than this.
    pub(crate) fn with_room(self, bytes: u64) -> Self {
        Self { room: Room::new(bytes), ..self }
    }

    /// The same, where reading back takes no more memory than this.
    pub(crate) fn with_budget(self, budget: Arc<Budget>) -> Self {
        Self { budget, ..self }
    }

    pub(crate) fn keeps_bytes(&self) -> bool {
        self.disk.is_some()
    }

    /// What is known. Looks at the disk whenever another process has written there, for no longer than half of what is left
    /// of the time: a volume may not answer at all. Data that cannot be verified again in that time, or for want of memory,
    /// is left alone until the next question; root and floor hold all the same.
    pub(crate) fn recall(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) -> Option<Arc<Known>> {
        let key = (server.clone(), gun.clone());
        let memory = self.records().get(&key);
        let Some(disk) = &self.disk else { return memory };
        let before = memory.as_ref().map(|known| known.stamp);
        let patience = deadline.remaining().unwrap_or_default() / 2;
        let by = deadline.at_most(patience / 8 * 7); // what is late by itself is not taken for a disk that hangs
        let (looking, metrics, place) = (Arc::clone(disk), Arc::clone(&self.metrics), key.clone());
        let budget = Arc::clone(&self.budget);
        let look = move || {
            let place = Place { server: &place.0, gun: &place.1 };
            // The stamp first: a change between the two is seen next time.
            let stamp = looking.stamp(place);
            (before != Some(stamp)).then(|| read(&looking, &metrics, &budget, place, stamp, by))
        };
        match self.readers.run(patience, look) {
            Some(None) => memory,
            Some(Some(read)) => self.take_in(key, read),
            // What this process has verified itself is enough to go on.
            None => memory.or_else(|| self.take_in(key, Some(Known::unreadable(&"it does not answer")))),
        }
    }

    /// Joins what was read from the disk to what is remembered now: while it was read, another question may have brought
    /// later data.
    fn take_in(&self, key: Key, read: Option<Known>) -> Option<Arc<Known>> {
        let why = read.as_ref().and_then(|read| read.unreadable.as_deref());
        if let Some(why) = why
            && !self.said_unreadable.swap(true, Ordering::Relaxed)
        {
            log::warn!("{why}; until then, repositories that this process has not verified itself are denied");
        }
        let mut records = self.records();
        let known = match (records.get(&key), read) {
            // A directory that was emptied by hand is not a reset: what was seen stays seen.
            (memory, None) => return memory,
            (Some(memory), Some(read)) if read.unreadable.is_some() => return Some(memory),
            (None, Some(read)) if read.unreadable.is_some() => return Some(Arc::new(read)),
            (None, Some(read)) => read,
            (Some(memory), Some(read)) => memory.joined(read),
        };
        let known = Arc::new(known);
        records.insert(key, Arc::clone(&known));
        drop(records);
        if self.said_unreadable.swap(false, Ordering::Relaxed) {
            log::info!("trust.cache can be read again");
        }
        Some(known)
    }

    /// Remembers what was verified: nothing goes behind it from now on. `confirmed` is when the server said that this is
    /// the newest, or `None` if it was not asked that; `epoch` is that of what it was built on. After a reset, nothing
    /// is remembered that was built on what was there before.
    pub(crate) fn remember(
        &self,
        server: &TrustServer,
        gun: &Gun,
        repository: &Arc<Repository>,
        confirmed: Option<Timestamp>,
        epoch: u64,
    ) {
        let key = (server.clone(), gun.clone());
        let mut known = Known::of(Arc::clone(repository), confirmed, epoch);
        let mut records = self.records();
        if let Some(memory) = records.get(&key) {
            if memory.epoch != epoch {
                return;
            }
            if memory.age() > known.age() {
                // Another question has brought later data in the meantime; what was seen counts none the less.
                let mut memory = Known::clone(&memory);
                memory.seen.merge(&known.seen);
                records.insert(key, Arc::new(memory));
                return;
            }
            known.follow(&memory);
        }
        records.insert(key, Arc::new(known));
    }

    /// Remembers what a refresh has seen that failed further on: it binds from now on, whatever data there is.
    pub(crate) fn note(&self, server: &TrustServer, gun: &Gun, seen: &TrustedState, epoch: u64) {
        let key = (server.clone(), gun.clone());
        let mut records = self.records();
        let mut known = match records.get(&key) {
            Some(memory) if memory.epoch != epoch => return,
            Some(memory) => Known::clone(&memory),
            None => Known { epoch, ..Known::nothing() },
        };
        known.seen.merge_later(seen);
        known.repository = known.repository.map(|repository| Arc::new(repository.with_state(seen)));
        records.insert(key, Arc::new(known));
    }

    /// Writes what was noted to the disk.
    pub(crate) fn persist_noted(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) {
        let known = self.records().get(&(server.clone(), gun.clone()));
        let (Some(known), Some(disk)) = (known, &self.disk) else { return };
        if known.seen.is_deleted() && known.on_disk.as_ref().is_some_and(|stored| stored.confirmed.is_some()) {
            let patience = deadline.remaining().unwrap_or_default() / 2;
            self.heard(disk.withdraw(Place { server, gun }, known.epoch, patience));
        }
        if known.on_disk.as_ref().is_some_and(|stored| known.seen.minimum_versions() == &stored.floor) {
            return; // a server that fails again and again costs no write
        }
        // The root and the floor alone: data that is on the disk stays there, unless it is of an older root.
        let mut record = Record::new();
        let mut state = known.to_state(None, &mut record);
        state.leave_out_data();
        self.persist_state(server, gun, Known::clone(&known), &mut state, &record, None, deadline);
    }

    /// Writes what was remembered to the disk, in which epoch it was. `record` has what the server gave for it.
    pub(crate) fn persist(
        &self,
        server: &TrustServer,
        gun: &Gun,
        repository: &Arc<Repository>,
        epoch: u64,
        mut record: Record,
        deadline: Deadline,
    ) {
        let ours = |known: &Arc<Known>| known.repository.as_ref().is_some_and(|held| Arc::ptr_eq(held, repository));
        let Some(disk) = &self.disk else { return };
        let remembered = self.records().get(&(server.clone(), gun.clone()));
        let is_gone = remembered.is_none();
        let Some(known) = remembered.filter(ours) else {
            // It was given up for want of room, or overtaken; what it has seen is to be there after a restart all the same.
            if is_gone {
                self.note(server, gun, repository.trusted_state(), epoch);
            }
            return self.persist_noted(server, gun, deadline);
        };
        let mut state = known.to_state(Some(repository), &mut record);
        let is_whole = known.is_whole_in(&state);
        let taken = self.take(disk, Place { server, gun }, &known, &known.completed(&state));
        // What was not written for want of its bytes is fetched anew; for want of room, it stays where it is.
        let mut known = Known::clone(&known);
        known.incomplete = taken.is_some() && !is_whole;
        if taken.is_none() || !is_whole {
            state.leave_out_data(); // all of a publication, or none
        }
        self.persist_state(server, gun, known, &mut state, &record, taken, deadline);
    }

    /// This repository has verified an image: its place on the disk is not taken from the quota of those that never did.
    pub(crate) fn admitted(&self, server: &TrustServer, gun: &Gun) {
        let key = (server.clone(), gun.clone());
        let mut records = self.records();
        if let Some(known) = records.get(&key).filter(|known| !known.admitted) {
            records.insert(key, Arc::new(Known { admitted: true, ..Known::clone(&known) }));
        }
    }

    /// The data by which images were let in, and which a server has confirmed since then.
    pub(crate) fn in_use(&self, since: Timestamp) -> Vec<(TrustServer, Gun, Arc<Repository>)> {
        let records = self.records();
        let of = |((server, gun), it): (&Key, &Remembered)| {
            let known = &it.known;
            let recent = known.admitted && known.confirmed.is_some_and(|confirmed| confirmed >= since);
            let data = known.repository.as_ref().filter(|_| recent && !known.is_superseded())?;
            Some((server.clone(), gun.clone(), Arc::clone(data)))
        };
        records.by_key.iter().filter_map(of).collect()
    }

    /// Takes room for a generation, if there is some.
    fn take(&self, disk: &Disk, place: Place<'_>, known: &Known, state: &State) -> Option<Share> {
        let before = known.on_disk.as_ref().map(|state| share(place, state)).unwrap_or_default();
        let wanted = share(place, state);
        let has_room = self.room.take(before, wanted, || disk.usage());
        if has_room {
            return Some(wanted);
        }
        self.metrics.trust_store_failure();
        if wanted.is_whole {
            if self.said_full.is_due() {
                log::warn!(
                    "trust.cache is full (limits.trustCache): of further repositories only the root and the versions are \
                     kept there, so that a restart fetches their data anew"
                );
            }
        } else if self.said_closed.is_due() {
            let whose = if wanted.admitted { "" } else { ", a quarter for repositories that never let an image in" };
            log::warn!(
                "trust.cache is full (limits.trustCache{whose}): nothing is kept there of repositories that are not in it \
                 yet; protection from rollback, and for those without pins the first root, last for them as long as this \
                 process"
            );
        }
        None
    }

    #[expect(clippy::too_many_arguments, reason = "what is to be written, and where")]
    fn persist_state(
        &self,
        server: &TrustServer,
        gun: &Gun,
        mut known: Known,
        state: &mut State,
        record: &Record,
        taken: Option<Share>,
        deadline: Deadline,
    ) {
        let Some(disk) = &self.disk else { return };
        let place = Place { server, gun };
        state.shorten(server, gun);
        let Some(taken) = taken.or_else(|| self.take(disk, place, &known, state)) else { return };
        let data = known.repository.as_ref().map(Arc::as_ptr);
        // Whoever asked has an answer already and waits for this no longer than for half of what is left.
        let patience = deadline.remaining().unwrap_or_default() / 2;
        self.write(disk, place, &mut known, state, record, patience);
        let found = known.on_disk.as_ref().map(|state| share(place, state)).unwrap_or_default();
        self.room.changed(taken, found);
        let mut records = self.records();
        let key = (server.clone(), gun.clone());
        if let Some(memory) = records.get(&key).filter(|memory| memory.repository.as_ref().map(Arc::as_ptr) == data) {
            known.seen.merge(&memory.seen); // others may have raised it while we wrote
            records.insert(key, Arc::new(known));
        }
    }

    /// What is stored, for people.
    pub(crate) fn summary(&self, server: &TrustServer, gun: &Gun) -> Option<StoredSummary> {
        let disk = self.disk.as_ref()?;
        let place = Place { server, gun };
        let mut summary =
            StoredSummary { directory: disk.directory(place), confirmed: None, roles: Vec::new(), damage: None };
        match disk.load(place) {
            Ok(None) => return None,
            Ok(Some(state)) => {
                summary.confirmed = state.confirmed;
                summary.roles = state.floor.roles().filter_map(|role| StoredRole::of(role, &state)).collect();
                let by = Deadline::after(Duration::MAX);
                if let (_, Some(Trouble::Damage(damage))) = read_back(disk, place, &state, &self.budget, by) {
                    summary.damage = Some(damage);
                }
            }
            Err(error) => summary.damage = Some(error.to_string()),
        }
        Some(summary)
    }

    fn write(
        &self,
        disk: &Disk,
        place: Place<'_>,
        known: &mut Known,
        state: &State,
        record: &Record,
        patience: Duration,
    ) {
        // Bytes that are lacking are fetched anew only for a disk that takes them.
        let lacking = std::mem::take(&mut known.incomplete);
        if let Some(old) = &known.on_disk
            && old.is_same(state)
            && disk.stamp(place) == known.stamp
        {
            let recent = match (old.confirmed, state.confirmed) {
                (Some(old), Some(new)) => old <= new && new.duration_since(old) < CONFIRM_EVERY,
                (_, None) => true,
                (None, Some(_)) => false,
            };
            if recent {
                known.incomplete = lacking;
                return;
            }
        }
        let intact = known.on_disk.is_some();
        let written = disk.write(place, record, patience, |current| choose(place, current, state, intact));
        let written = match written {
            // Somebody has removed a file that we carried over: all is fetched anew.
            Err(DiskError::NoBytes { .. }) => {
                known.incomplete = true;
                Ok(Written::Superseded)
            }
            written => written,
        };
        match self.heard(written) {
            Some(Written::Done(written, stamp)) => {
                known.incomplete = lacking;
                known.seen.merge(&TrustedState::new(None, written.floor.clone())); // with what other processes have seen
                // Where theirs is the later data, it is read before the next refresh.
                let is_known = |files| files == &written.files;
                let known_before = known.on_disk.as_ref().is_some_and(|old| is_known(&old.files));
                known.stamp = stamp.filter(|_| known_before || is_known(&state.files));
                known.on_disk = Some(written);
            }
            // What is there is looked at before the next refresh.
            Some(Written::Superseded) | None => known.stamp = None,
        }
    }

    /// Says once that nothing can be written, and once that it can again.
    fn heard<T>(&self, result: Result<T, DiskError>) -> Option<T> {
        match result {
            Ok(value) => {
                if self.said.swap(false, Ordering::Relaxed) {
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

    /// Counts that something was not written, and says so once.
    pub(crate) fn not_written(&self, why: &dyn fmt::Display) {
        self.metrics.trust_store_failure();
        if !self.said.swap(true, Ordering::Relaxed) {
            log::warn!(
                "trust.cache cannot be written: {why}; verified trust data, and with it the protection from rollback, \
                 lasts only as long as this process"
            );
        }
    }

    /// As if everything had been given up for want of room.
    #[cfg(test)]
    pub(crate) fn forget_all(&self) {
        *self.records() = Records { max_weight: u64::MAX, ..Records::default() };
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

/// What the disk has; `None` where that is nothing.
fn read(
    disk: &Disk,
    metrics: &Metrics,
    budget: &Budget,
    place: Place<'_>,
    stamp: Option<Stamp>,
    by: Deadline,
) -> Option<Known> {
    let mut known = None;
    for _ in 0..READ_ATTEMPTS {
        let loaded = disk.load(place);
        let (found, damage) = match loaded {
            Ok(None) => return None,
            Ok(Some(state)) => read_back(disk, place, &state, budget, by),
            Err(error) if error.is_of_the_disk() => {
                (Known::unreadable(&error), Some(Trouble::Damage(error.to_string())))
            }
            Err(error) => {
                let damage = error.to_string();
                (Known { damage: Some(damage.clone()), ..Known::nothing() }, Some(Trouble::Damage(damage)))
            }
        };
        let damage = match damage {
            Some(Trouble::Damage(damage)) => damage,
            Some(Trouble::NotNow) => return Some(Known { stamp: None, ..found }),
            None => {
                metrics.reload(What::StoredTrust, true);
                return Some(Known { stamp, ..found });
            }
        };
        let settled = disk.stamp(place) == stamp;
        known = Some((Known { stamp, ..found }, damage));
        if settled {
            break;
        }
        // Another process replaced it while it was read: the next attempt sees the new one whole.
    }
    let (known, damage) = known?;
    metrics.reload(What::StoredTrust, false);
    if known.unreadable.is_none() {
        log::warn!(
            gun = place.gun.as_str(), server = place.server.as_str();
            "the stored trust data cannot be used: {damage}"
        );
    }
    Some(known)
}

/// Forgets what is stored of a repository, on whatever server, so that a running Portreeve forgets it too: the
/// servers that it was stored of, for people. `known` are servers that it may have been stored of.
pub fn reset(directory: PathBuf, gun: &Gun, known: &[TrustServer]) -> Result<Vec<String>, DiskError> {
    let disk = Disk::new(directory);
    let mut servers: BTreeSet<TrustServer> = known.iter().cloned().collect();
    for (server, name) in disk.repositories()? {
        if name == gun.as_str()
            && let Ok(server) = TrustServer::parse(&server, crate::http::url::PlainHttp::DangerouslyAllowed)
        {
            servers.insert(server); // its directory is found by the hash of the two, whatever the file says
        }
    }
    let epoch = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(1).max(1);
    let mut done = Vec::new();
    for server in &servers {
        let place = Place { server, gun };
        if disk.directory(place).symlink_metadata().is_ok() {
            disk.reset(place, epoch)?;
            done.push(server.to_string());
        }
    }
    Ok(done)
}

/// When a warning was last logged, for warnings that tenants can cause as often as they like: once an hour at most.
#[derive(Default)]
struct Hourly(Mutex<Option<Instant>>);

impl Hourly {
    const HOUR: Duration = Duration::from_secs(3_600);

    fn is_due(&self) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner); // nothing under it can panic
        let is_due = said.is_none_or(|said| said.elapsed() >= Self::HOUR);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }

    #[cfg(test)]
    fn was_due(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}

/// What a generation takes.
fn share(place: Place<'_>, state: &State) -> Share {
    let bytes = state.cost(&state.to_json(place.server, place.gun));
    Share { bytes, admitted: state.admitted, is_whole: !state.is_without_data() }
}

/// Which of two generations is to be on the disk; `None` where it is there already, and intact as far as we know. The
/// later files, or, of one publication, the more of them; and under them the floor of both.
fn choose(place: Place<'_>, current: Option<&State>, ours: &State, intact: bool) -> Option<State> {
    let Some(current) = current else { return Some(ours.clone()) };
    if current.epoch > ours.epoch {
        return None; // it was reset since we looked
    }
    if current.epoch < ours.epoch {
        return Some(ours.clone());
    }
    let theirs_are_more = intact && current.age() == ours.age() && current.files.len() > ours.files.len();
    let mut chosen = if current.age() > ours.age() || theirs_are_more { current.clone() } else { ours.clone() };
    chosen.floor.merge(&current.floor);
    chosen.floor.merge(&ours.floor);
    chosen.admitted = current.admitted || ours.admitted;
    chosen.shorten(place.server, place.gun);
    if current.age() == ours.age() {
        chosen.confirmed = ours.confirmed.or(current.confirmed);
    }
    if intact && current.is_same(&chosen) && chosen.confirmed == current.confirmed {
        return None;
    }
    Some(chosen)
}

#[cfg(test)]
mod tests;
