//! What is known of each repository on each server, whoever asks and by whatever anchor: the newest verified data, and
//! the floor that nothing may go below. Kept in memory, and on disk where a directory is configured.
//!
//! Read back, everything is verified again by the verifier itself. Nothing here is served before the anchor and the
//! expiry were asked. A disk that fails costs the memory of the next start, never an answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::disk::{Disk, Place, Written};
use self::room::Room;
use self::state::{State, Stored};
use super::anchor::AnchorKind;
use super::floor::Floor;
use super::metadata::Header;
use super::recorder::Record;
use super::refresh::RefreshError;
use super::rejection::Rejection;
use super::repository::{Delegation, FailedRefresh, Repository};
use super::root::Root;
use super::seen::{Age, Seen};
use super::server_url::TrustServer;
use super::weight::place;
use super::{Anchor, FetchError, Gun, MetadataName, MetadataSource, RoleName};
use crate::credentials::files::Stamp;
use crate::deadline::Deadline;
use crate::image::Sha256;
use crate::metrics::{Metrics, What};
use crate::text::printable;

mod disk;
mod room;
mod state;

pub use self::disk::DiskError;
pub use self::state::StateError;

/// Most repositories that are remembered.
const MAX_REPOSITORIES: usize = 5_000;
/// How often the time of the last confirmation alone is written: a warm refresh costs no write.
const CONFIRM_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// How often a generation is read anew because another process replaced it in the meantime.
const READ_ATTEMPTS: usize = 4;

/// The store. Shared by all workers.
pub(super) struct Store {
    disk: Option<Disk>,
    room: Room,
    metrics: Arc<Metrics>,
    known: Mutex<Records>,
    /// Was it said that nothing can be written? Once is enough.
    said: AtomicBool,
    /// Was it said that there is no room?
    said_full: AtomicBool,
}

type Key = (TrustServer, Gun);

#[derive(Default)]
struct Records {
    by_key: HashMap<Key, (Arc<Known>, u64)>,
    /// What all of them weigh together, and may weigh.
    weight: u64,
    max_weight: u64,
    /// Counts up with every use; the smallest was used longest ago.
    clock: u64,
}

/// What is known of one repository.
#[derive(Clone)]
pub(super) struct Known {
    /// The newest data. `None`: it cannot be read back whole, or there is none yet.
    repository: Option<Arc<Repository>>,
    /// The newest root that was trusted, and the floor: never below what the data has seen. Without a root nothing was
    /// ever trusted, or it was reset, unless there is a damage.
    seen: Seen,
    /// Why the stored root cannot be believed: row 47. Of no account where a root is known.
    damage: Option<String>,
    /// When the server last confirmed the data, by the wall clock.
    confirmed: Option<Timestamp>,
    epoch: u64,
    /// What is on the disk, as far as we know.
    on_disk: Option<State>,
    stamp: Option<Stamp>,
    /// Is something of the data not on the disk, because its bytes were not at hand when it was written?
    incomplete: bool,
}

impl Store {
    /// A store, in memory alone where there is no directory. A directory that cannot be written is a warning. No more
    /// bytes than `max_weight` are remembered: what the disk has is read again, of the rest the root and the versions stay.
    pub(super) fn new(directory: Option<PathBuf>, max_weight: u64, metrics: Arc<Metrics>) -> Self {
        let known = Mutex::new(Records { max_weight, ..Records::default() });
        let store = Self {
            disk: directory.map(Disk::new),
            room: Room::new(u64::MAX),
            metrics,
            known,
            said: AtomicBool::new(false),
            said_full: AtomicBool::new(false),
        };
        if let Some(disk) = &store.disk {
            store.heard(disk.probe());
        }
        store
    }

    /// The same, where the disk's data may take no more than this.
    pub(super) fn with_room(self, bytes: u64) -> Self {
        Self { room: Room::new(bytes), ..self }
    }

    pub(super) fn keeps_bytes(&self) -> bool {
        self.disk.is_some()
    }

    /// What is known. Looks at the disk whenever another process has written there.
    pub(super) fn recall(&self, server: &TrustServer, gun: &Gun) -> Option<Arc<Known>> {
        let key = (server.clone(), gun.clone());
        let memory = self.records().get(&key);
        let Some(disk) = &self.disk else { return memory };
        let place = Place { server, gun };
        // The stamp first: a change between the two is seen next time.
        let stamp = disk.stamp(place);
        if let Some(known) = memory.as_ref().filter(|known| known.stamp == stamp) {
            return Some(Arc::clone(known));
        }
        let read = self.read(disk, place, stamp);
        self.take_in(key, read)
    }

    /// Joins what was read from the disk to what is remembered now: while it was read, another question may have brought
    /// later data.
    fn take_in(&self, key: Key, read: Option<Known>) -> Option<Arc<Known>> {
        let mut records = self.records();
        let known = match (records.get(&key), read) {
            // A directory that was emptied by hand is not a reset: what was seen stays seen.
            (memory, None) => return memory,
            (None, Some(read)) => read,
            (Some(memory), Some(read)) => memory.joined(read),
        };
        let known = Arc::new(known);
        records.insert(key, Arc::clone(&known));
        Some(known)
    }

    /// Remembers what was verified: nothing goes behind it from now on. `confirmed` is when the server said that this is
    /// the newest, or `None` if it was not asked that; `epoch` is that of what it was built on. After a reset, nothing
    /// is remembered that was built on what was there before.
    pub(super) fn remember(
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
                memory.seen.join(&known.seen);
                records.insert(key, Arc::new(memory));
                return;
            }
            known.follow(&memory);
        }
        records.insert(key, Arc::new(known));
    }

    /// Remembers what a refresh has seen that failed further on: it binds from now on, whatever data there is.
    pub(super) fn note(&self, server: &TrustServer, gun: &Gun, seen: &Seen, epoch: u64) {
        let key = (server.clone(), gun.clone());
        let mut records = self.records();
        let mut known = match records.get(&key) {
            Some(memory) if memory.epoch != epoch => return,
            Some(memory) => Known::clone(&memory),
            None => Known { epoch, ..Known::nothing() },
        };
        known.seen.join(seen);
        known.repository = known.repository.map(|repository| Arc::new(repository.with_seen(seen)));
        records.insert(key, Arc::new(known));
    }

    /// Writes what was noted to the disk.
    pub(super) fn persist_noted(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) {
        let known = self.records().get(&(server.clone(), gun.clone()));
        let Some(known) = known.filter(|_| self.disk.is_some()) else { return };
        if known.on_disk.as_ref().is_some_and(|stored| known.seen.floor() == &stored.floor) {
            return; // a server that fails again and again costs no write
        }
        // The root and the floor alone: data that is on the disk stays there, unless it is of an older root.
        let mut record = Record::new();
        let state = known.to_state(None, &mut record);
        self.persist_state(server, gun, Known::clone(&known), &state, &record, deadline);
    }

    /// Writes what was remembered to the disk. `record` has what the server gave for it.
    pub(super) fn persist(
        &self,
        server: &TrustServer,
        gun: &Gun,
        repository: &Arc<Repository>,
        mut record: Record,
        deadline: Deadline,
    ) {
        let ours = |known: &Arc<Known>| known.repository.as_ref().is_some_and(|held| Arc::ptr_eq(held, repository));
        let Some(disk) = &self.disk else { return };
        let Some(known) = self.records().get(&(server.clone(), gun.clone())).filter(ours) else {
            // It was given up for want of room, or overtaken; what it has seen is to be there after a restart all the same.
            return self.persist_noted(server, gun, deadline);
        };
        let mut state = known.to_state(Some(repository), &mut record);
        let before = known.on_disk.as_ref().map_or(0, State::bytes);
        let is_whole = known.is_whole_in(&state);
        let has_room = self.has_room(disk, before, length_of(repository));
        if !has_room || !is_whole {
            state.leave_out_data(); // all of a publication, or none
        }
        // What was not written for want of its bytes is fetched anew; for want of room, it stays where it is.
        let mut known = Known::clone(&known);
        known.incomplete = has_room && !is_whole;
        self.persist_state(server, gun, known, &state, &record, deadline);
    }

    /// Says once that there is no room left, and once that there is again.
    fn has_room(&self, disk: &Disk, before: u64, wanted: u64) -> bool {
        let has_room = self.room.admits(before, wanted, || disk.usage());
        if !has_room {
            self.metrics.trust_store_failure();
        }
        match (has_room, self.said_full.swap(!has_room, Ordering::Relaxed)) {
            (false, false) => log::warn!(
                "trust.cache is full (limits.trustCache): of further repositories only the root and the versions are kept \
                 there, so that a restart fetches their data anew"
            ),
            (true, true) => log::info!("trust.cache has room again"),
            _ => {}
        }
        has_room
    }

    fn persist_state(
        &self,
        server: &TrustServer,
        gun: &Gun,
        mut known: Known,
        state: &State,
        record: &Record,
        deadline: Deadline,
    ) {
        let Some(disk) = &self.disk else { return };
        let data = known.repository.as_ref().map(Arc::as_ptr);
        // Whoever asked has an answer already and waits for this no longer than for half of what is left.
        let patience = deadline.remaining().unwrap_or_default() / 2;
        self.write(disk, Place { server, gun }, &mut known, state, record, patience);
        let mut records = self.records();
        let key = (server.clone(), gun.clone());
        if let Some(memory) = records.get(&key).filter(|memory| memory.repository.as_ref().map(Arc::as_ptr) == data) {
            known.seen.join(&memory.seen); // others may have raised it while we wrote
            records.insert(key, Arc::new(known));
        }
    }

    /// What is stored, for people.
    pub(super) fn summary(&self, server: &TrustServer, gun: &Gun) -> Option<StoredSummary> {
        let disk = self.disk.as_ref()?;
        let place = Place { server, gun };
        let mut summary =
            StoredSummary { directory: disk.directory(place), confirmed: None, roles: Vec::new(), damage: None };
        match disk.load(place) {
            Ok(None) => return None,
            Ok(Some(state)) => {
                summary.confirmed = state.confirmed;
                summary.roles = state.floor.roles().filter_map(|role| StoredRole::of(role, &state)).collect();
                if let (_, Some(damage)) = read_back(disk, place, &state) {
                    summary.damage = Some(damage);
                }
            }
            Err(error) => summary.damage = Some(error.to_string()),
        }
        Some(summary)
    }

    fn read(&self, disk: &Disk, place: Place<'_>, stamp: Option<Stamp>) -> Option<Known> {
        let mut known = None;
        for _ in 0..READ_ATTEMPTS {
            let loaded = disk.load(place);
            let (found, damage) = match loaded {
                Ok(None) => return None,
                Ok(Some(state)) => read_back(disk, place, &state),
                Err(error) => {
                    let damage = Some(error.to_string());
                    (Known { damage: damage.clone(), ..Known::nothing() }, damage)
                }
            };
            let Some(damage) = damage else {
                self.metrics.reload(What::StoredTrust, true);
                return Some(Known { stamp, ..found });
            };
            let settled = disk.stamp(place) == stamp;
            known = Some((Known { stamp, ..found }, damage));
            if settled {
                break;
            }
            // Another process replaced it while it was read: the next attempt sees the new one whole.
        }
        let (known, damage) = known?;
        self.metrics.reload(What::StoredTrust, false);
        log::warn!(
            gun = place.gun.as_str(), server = place.server.as_str();
            "the stored trust data cannot be used: {damage}"
        );
        Some(known)
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
        let written = disk.write(place, record, patience, |current| choose(current, state, intact));
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
                self.room.changed(known.on_disk.as_ref().map_or(0, State::bytes), written.bytes());
                known.seen.join(&Seen::of(None, written.floor.clone())); // with what other processes have seen
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
                self.metrics.trust_store_failure();
                if !self.said.swap(true, Ordering::Relaxed) {
                    log::warn!(
                        "trust.cache cannot be written: {error}; verified trust data, and with it the protection from \
                         rollback, lasts only as long as this process"
                    );
                }
                None
            }
        }
    }

    /// As if everything had been given up for want of room.
    #[cfg(test)]
    pub(super) fn forget_all(&self) {
        *self.records() = Records { max_weight: u64::MAX, ..Records::default() };
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

/// Forgets what is stored of a repository, on whatever server, so that a running Portreeve forgets it too: the
/// servers that it was stored of, for people. `known` are servers that it may have been stored of.
pub fn reset(directory: PathBuf, gun: &Gun, known: &[TrustServer]) -> Result<Vec<String>, DiskError> {
    let disk = Disk::new(directory);
    let mut servers: BTreeSet<TrustServer> = known.iter().cloned().collect();
    for (server, name) in disk.repositories()? {
        if name == gun.as_str()
            && let Ok(server) = TrustServer::parse(&server, super::server_url::PlainHttp::DangerouslyAllowed)
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

/// Which of two generations is to be on the disk; `None` where it is there already, and intact as far as we know. The
/// later files, or, of one publication, the more of them; and under them the floor of both.
fn choose(current: Option<&State>, ours: &State, intact: bool) -> Option<State> {
    let Some(current) = current else { return Some(ours.clone()) };
    if current.epoch > ours.epoch {
        return None; // it was reset since we looked
    }
    if current.epoch < ours.epoch {
        return Some(ours.clone());
    }
    let theirs_are_more = intact && current.age() == ours.age() && current.files.len() > ours.files.len();
    let mut chosen = if current.age() > ours.age() || theirs_are_more { current.clone() } else { ours.clone() };
    chosen.floor.raise(&current.floor);
    chosen.floor.raise(&ours.floor);
    if current.age() == ours.age() {
        chosen.confirmed = ours.confirmed.or(current.confirmed);
    }
    if intact && current.is_same(&chosen) && chosen.confirmed == current.confirmed {
        return None;
    }
    Some(chosen)
}

/// Verifies a generation again. What is wrong with it, if anything, costs only what is wrong.
fn read_back(disk: &Disk, place: Place<'_>, state: &State) -> (Known, Option<String>) {
    let seen = Seen::of(None, state.floor.clone());
    let mut known = Known { epoch: state.epoch, seen, ..Known::nothing() };
    if state.files.is_empty() && state.floor == Floor::default() {
        known.on_disk = Some(state.clone());
        return (known, None); // it was reset
    }
    let mut files = disk.files(place, state);
    let name = MetadataName::Root;
    let root = match files.fetch(&name, name.cap()) {
        Ok(bytes) => Root::read(bytes, None, place.gun).map_err(|rejection| rejection.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let root = match root {
        Ok(root) => Arc::new(root),
        Err(why) => {
            known.damage = Some(why.clone());
            return (known, Some(format!("its root: {why}")));
        }
    };
    known.seen = Seen::of(Some(Arc::clone(&root)), state.floor.clone());
    if state.is_without_data() {
        known.on_disk = Some(state.clone());
        return (known, None);
    }
    let delegations: BTreeSet<RoleName> = state.files.keys().filter_map(|role| RoleName::parse(role)).collect();
    match Repository::read_back(&mut files, place.gun, &root, &state.floor, &delegations) {
        Ok(repository) => {
            known.repository = Some(Arc::new(repository));
            known.confirmed = state.confirmed;
            known.incomplete = false;
            known.on_disk = Some(state.clone());
            (known, None)
        }
        Err(error) => (known, Some(error.to_string())),
    }
}

impl Known {
    fn of(repository: Arc<Repository>, confirmed: Option<Timestamp>, epoch: u64) -> Self {
        let seen = repository.seen.clone();
        Self { repository: Some(repository), seen, confirmed, epoch, incomplete: false, ..Self::nothing() }
    }

    fn nothing() -> Self {
        Self {
            repository: None,
            seen: Seen::default(),
            damage: None,
            confirmed: None,
            epoch: 0,
            on_disk: None,
            stamp: None,
            incomplete: true,
        }
    }

    /// Takes over what earlier knowledge has beyond this.
    fn follow(&mut self, earlier: &Self) {
        self.seen.join(&earlier.seen);
        self.on_disk.clone_from(&earlier.on_disk);
        self.stamp = earlier.stamp;
        self.confirmed = self.confirmed.or(earlier.confirmed);
    }

    /// The same, with what somebody else has seen.
    pub(super) fn with_seen(&self, seen: &Seen) -> Self {
        let mut known = self.clone();
        known.seen.join(seen);
        known
    }

    /// Is nothing lost if this is given up, but for the time to read it back?
    fn is_on_disk(&self) -> bool {
        self.on_disk.as_ref().is_some_and(|stored| stored.epoch == self.epoch && &stored.floor == self.seen.floor())
    }

    /// The root and the versions alone. What the disk has is looked at again.
    fn without_data(&self) -> Self {
        Self { repository: None, stamp: None, incomplete: true, ..self.clone() }
    }

    /// About what it takes in memory.
    fn weight(&self) -> u64 {
        let root = self.seen.root().map_or(0, |root| root.weight());
        let data = self.repository.as_ref().map_or(root, |repository| repository.weight());
        let stored = self.on_disk.as_ref().map_or(0, State::weight);
        place::<Self>() + data + self.seen.weight() + stored
    }

    /// How new the data is; `None` where there is none.
    fn age(&self) -> Option<Age> {
        self.repository.as_ref().map(|repository| repository.age())
    }

    /// What this process remembers, and what was found on the disk.
    fn joined(&self, read: Self) -> Self {
        if read.epoch > self.epoch {
            return read; // it was reset: what we remember is what was to be forgotten
        }
        let mut joined = Self {
            incomplete: self.incomplete || read.on_disk.is_none(),
            on_disk: read.on_disk.clone(),
            stamp: read.stamp,
            ..self.clone()
        };
        // An index from before a reset is somebody's old copy: it binds nobody.
        if read.epoch == self.epoch {
            let seen = read.seen.clone();
            joined.damage = joined.damage.or_else(|| read.damage.clone());
            if read.age() > self.age() {
                joined = read;
            }
            joined.seen.join(&self.seen);
            joined.seen.join(&seen);
        }
        joined
    }

    /// Brings the repository up to date from its server.
    pub(super) fn refresh(
        &self,
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        // What was not written for want of its bytes is fetched anew, once, rather than carried over for ever.
        let previous = self.repository.as_deref().filter(|_| !self.incomplete);
        self.refresh_over(source, gun, anchor, previous, signers, now)
    }

    /// The same, with every file fetched.
    pub(super) fn refresh_anew(
        &self,
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        self.refresh_over(source, gun, anchor, None, signers, now)
    }

    fn refresh_over(
        &self,
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        previous: Option<&Repository>,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        if let (None, Some(why)) = (self.seen.root(), &self.damage)
            && !matches!(anchor.kind(), AnchorKind::Key | AnchorKind::Ca)
        {
            return Err(Box::new(FailedRefresh { error: damaged_root(gun, why).into(), noted: None })); // row 47
        }
        Repository::refresh_from(source, gun, anchor, previous, self.seen.clone(), signers, now)
    }

    /// The data as it stands, for somebody who trusts by this anchor, with these signers' roles; `None` where that is
    /// not stored.
    pub(super) fn stand_in(
        &self,
        anchor: &Anchor,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Option<(Repository, Duration)>, Rejection> {
        let Some(repository) = &self.repository else { return Ok(None) };
        // A time in the future is no time at all: the clock was set back, and nobody can say how old the data is.
        let age = self.confirmed.and_then(|confirmed| Duration::try_from(now.duration_since(confirmed)).ok());
        let Some(age) = age else { return Ok(None) };
        if self.is_beyond(repository) {
            return Ok(None); // another process has seen newer data, and we have not
        }
        let repository = repository.under_anchor(anchor, now)?;
        match repository.with_signers(&mut Nowhere, signers, now) {
            Ok(repository) => Ok(Some((repository, age))),
            Err(RefreshError::Rejected(rejection)) => Err(rejection),
            Err(RefreshError::Unavailable(_)) => Ok(None),
        }
    }

    /// The delegations that were looked for: whoever refreshes keeps them up to date.
    pub(super) fn roles(&self) -> impl Iterator<Item = &RoleName> {
        self.repository.iter().flat_map(|repository| repository.delegations.keys())
    }

    /// When it was last reset: what was built on one epoch counts for nothing in another.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Was anything of this repository seen, by whatever anchor, that is newer than this data?
    pub(super) fn is_beyond(&self, repository: &Repository) -> bool {
        repository.is_below(self.seen.floor())
    }

    /// Is there any data that might stand in?
    pub(super) fn has_data(&self) -> bool {
        self.repository.is_some()
    }

    /// The generation to store, with this data, or with the newest root alone; the bytes of it that are in memory are added
    /// to the record.
    fn to_state(&self, data: Option<&Repository>, record: &mut Record) -> State {
        let mut files = BTreeMap::new();
        let mut put = |role: &str, header: Header, bytes: &[u8]| {
            let sha256 = Sha256::of(bytes);
            files.insert(role.to_owned(), Stored { sha256, length: bytes.len(), version: header.version });
            record.insert(sha256, bytes.to_vec());
        };
        if let Some(root) = data.map(|repository| &repository.root).or(self.seen.root()) {
            put("root", root.header, &root.bytes);
        }
        if let Some(Repository { timestamp, snapshot, .. }) = data {
            put("timestamp", timestamp.header, &timestamp.bytes);
            put("snapshot", snapshot.header, &snapshot.bytes);
        }
        let confirmed = self.confirmed.filter(|_| data.is_some());
        let mut state = State { epoch: self.epoch, confirmed, files, floor: self.seen.floor().clone() };
        let Some(repository) = data else { return state };
        let targets = ("targets".to_owned(), &repository.targets);
        let held = repository.delegations.iter().filter_map(|(role, delegation)| match delegation {
            Delegation::Held(held) => Some((role.to_string(), held)),
            Delegation::Absent | Delegation::Damaged(_) => None,
        });
        for (role, held) in std::iter::once(targets).chain(held) {
            let sha256 = held.file.sha256;
            let stored = self.on_disk.as_ref().and_then(|old| old.files.get(&role)).copied();
            let stored = stored.filter(|stored| stored.sha256 == sha256);
            let length = record.get(&sha256).map(Vec::len).or(stored.map(|stored| stored.length));
            if let Some(length) = length {
                state.files.insert(role, Stored { sha256, length, version: held.header.version });
            }
        }
        state
    }

    /// Is all of the data in this generation?
    fn is_whole_in(&self, state: &State) -> bool {
        self.repository.as_ref().is_none_or(|repository| {
            let held = repository.delegations.iter().filter(|(_, found)| matches!(found, Delegation::Held(_)));
            state.files.contains_key("targets")
                && held.map(|(role, _)| role).all(|role| state.files.contains_key(role.as_str()))
        })
    }
}

/// The bytes of all its files.
fn length_of(repository: &Repository) -> u64 {
    let files = repository.files();
    let kept = [files.root, files.timestamp, files.snapshot].into_iter().map(|bytes| bytes.len() as u64);
    let held = repository.delegations.values().filter_map(|delegation| match delegation {
        Delegation::Held(held) => Some(held.file.length),
        Delegation::Absent | Delegation::Damaged(_) => None,
    });
    kept.chain(held).fold(repository.targets.file.length, u64::saturating_add)
}

fn damaged_root(gun: &Gun, why: &str) -> Rejection {
    Rejection::StoredRootDamaged { gun: gun.as_str().to_owned(), why: printable(why, 300) }
}

/// A source that has nothing, and does not say that there is nothing.
struct Nowhere;

impl MetadataSource for Nowhere {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::Unavailable(format!("{name} is not stored")))
    }
}

impl Records {
    fn get(&mut self, key: &Key) -> Option<Arc<Known>> {
        self.clock += 1;
        let clock = self.clock;
        let (known, used) = self.by_key.get_mut(key)?;
        *used = clock;
        Some(Arc::clone(known))
    }

    fn insert(&mut self, key: Key, known: Arc<Known>) {
        self.clock += 1;
        if self.by_key.len() >= MAX_REPOSITORIES && !self.by_key.contains_key(&key) {
            // First of those that the disk knows, for it is read back; only then what nobody else remembers.
            let oldest = self.by_key.iter().min_by_key(|(_, (known, used))| (!known.is_on_disk(), *used));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.remove(&oldest);
            }
        }
        self.remove(&key);
        self.weight = self.weight.saturating_add(known.weight());
        self.by_key.insert(key.clone(), (known, self.clock));
        while self.weight > self.max_weight && self.lighten(&key) {}
    }

    fn remove(&mut self, key: &Key) {
        if let Some((known, _)) = self.by_key.remove(key) {
            self.weight = self.weight.saturating_sub(known.weight());
        }
    }

    /// Gives up the data that was used longest ago, but for this one's. Where no data is left, what else is known of a
    /// repository goes, in the same order.
    fn lighten(&mut self, but: &Key) -> bool {
        let others = self.by_key.iter().filter(|(key, _)| *key != but);
        let oldest = others
            .min_by_key(|(_, (known, used))| (!known.has_data(), !known.has_data() && !known.is_on_disk(), *used));
        let Some((key, (known, used))) = oldest.map(|(key, entry)| (key.clone(), entry.clone())) else { return false };
        self.remove(&key);
        if known.has_data() {
            let light = known.without_data();
            self.weight = self.weight.saturating_add(light.weight());
            self.by_key.insert(key, (Arc::new(light), used));
        }
        true
    }
}

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
    fn of(role: &str, state: &State) -> Option<Self> {
        let file = state.files.get(role);
        let headers = state.floor.entries().filter(|(name, _, _)| *name == role).map(|(_, _, header)| header);
        let is_stored = |header: &Header| file.is_some_and(|file| file.version == header.version);
        let header = headers.max_by_key(|header| (is_stored(header), header.version))?;
        let file = file.map(|file| format!("{}.json", file.sha256.hex()));
        Some(Self { role: printable(role, 140), version: header.version, expires: header.expires, file })
    }
}

#[cfg(test)]
mod tests;
