//! What is known of one repository, whoever asks and by whatever anchor: how it is made, joined, read back and stored.
//! It never serves anything by itself: the anchor and the expiry are asked first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::disk::{Disk, Place};
use super::state::{State, Stored};
use crate::base::context::Deadline;
use crate::base::files::Stamp;
use crate::schemes::notary::memory_budget::Budget;
use crate::schemes::notary::recorder::{Record, Recorder};
use portreeve_verify::heap_size::inline_size;
use portreeve_verify::image::Sha256;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::anchor::Anchor;
use portreeve_verify::tuf::anchor::AnchorKind;
use portreeve_verify::tuf::gun::{Gun, RoleName};
use portreeve_verify::tuf::metadata::Header;
use portreeve_verify::tuf::refresh::RefreshError;
use portreeve_verify::tuf::rejection::Rejection;
use portreeve_verify::tuf::repository::{Delegation, FailedRefresh, Repository};
use portreeve_verify::tuf::rollback::MinimumVersions;
use portreeve_verify::tuf::root::Root;
use portreeve_verify::tuf::source::{FetchError, MetadataName, MetadataSource};
use portreeve_verify::tuf::trusted_state::{PublicationVersion, TrustedState};
use portreeve_verify::unavailable::{Unavailable, UnavailableCause};

/// What is known of one repository.
#[derive(Clone)]
pub(crate) struct Known {
    /// The newest data. `None`: it cannot be read back whole, or there is none yet.
    pub(crate) repository: Option<Arc<Repository>>,
    /// The newest root that was trusted, and the floor: never below what the data has seen. Without a root nothing was
    /// ever trusted, or it was reset, unless there is a damage.
    pub(crate) seen: TrustedState,
    /// Why the stored root cannot be believed: row 47. Of no account where a root is known.
    pub(crate) damage: Option<String>,
    /// The newest root, where its bytes were too many to be stored: it is fetched again, and must be this one.
    pub(crate) root_was: Option<Stored>,
    /// Has it ever verified an image?
    pub(crate) admitted: bool,
    /// Why the disk could not be read. Never kept in memory: the next question reads again.
    pub(crate) unreadable: Option<String>,
    /// When the server last confirmed the data, by the wall clock.
    pub(crate) confirmed: Option<Timestamp>,
    pub(crate) epoch: u64,
    /// What is on the disk, as far as we know.
    pub(crate) on_disk: Option<State>,
    pub(crate) stamp: Option<Stamp>,
    /// Is something of the data not on the disk, because its bytes were not at hand when it was written?
    pub(crate) incomplete: bool,
}

/// What kept a generation from being read back whole.
pub(crate) enum Trouble {
    /// It is damaged.
    Damage(String),
    /// There was no time, or no memory: nothing is wrong with it, as far as was seen.
    NotNow,
}

/// Verifies a generation again. What is wrong with it, if anything, costs only what is wrong.
pub(crate) fn read_back(
    disk: &Disk,
    place: Place<'_>,
    state: &State,
    budget: &Budget,
    by: Deadline,
) -> (Known, Option<Trouble>) {
    let seen = TrustedState::new(None, state.floor.clone());
    let mut known = Known { epoch: state.epoch, seen, admitted: state.admitted, ..Known::nothing() };
    if state.files.is_empty() && state.floor == MinimumVersions::default() {
        known.on_disk = Some(state.clone());
        return (known, None); // it was reset
    }
    if let Some(root) = state.files.get("root").filter(|root| !root.kept) {
        (known.root_was, known.on_disk) = (Some(*root), Some(state.clone()));
        return (known, None);
    }
    let files = disk.files(place, state);
    let root = match files.root() {
        Some(Ok(bytes)) => Root::read(bytes, None, place.gun, &|| false).map_err(|rejection| rejection.to_string()),
        Some(Err(error)) if error.is_of_the_disk() => {
            return (Known::unreadable(&error), Some(Trouble::Damage(error.to_string())));
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Err("root is not stored".to_owned()),
    };
    let root = match root {
        Ok(root) => Arc::new(root),
        Err(why) => {
            known.damage = Some(why.clone());
            return (known, Some(Trouble::Damage(format!("its root: {why}"))));
        }
    };
    known.seen = TrustedState::new(Some(Arc::clone(&root)), state.floor.clone());
    if state.is_without_data() {
        known.on_disk = Some(state.clone());
        return (known, None);
    }
    let delegations: BTreeSet<RoleName> = state.files.keys().filter_map(|role| RoleName::parse(role)).collect();
    let mut files = Recorder::new(Box::new(files), false, budget, &place.server.to_string(), by);
    match Repository::restore(&mut files, place.gun, &root, &state.floor, &delegations) {
        Ok(repository) => {
            known.repository = Some(Arc::new(repository));
            known.confirmed = state.confirmed;
            known.incomplete = false;
            known.on_disk = Some(state.clone());
            (known, None)
        }
        // As it was stored: the next question looks at it again.
        Err(RefreshError::Unavailable(Unavailable {
            cause: UnavailableCause::OutOfTime | UnavailableCause::Memory,
            ..
        })) => {
            known.on_disk = Some(state.clone());
            (known, Some(Trouble::NotNow))
        }
        Err(error) => (known, Some(Trouble::Damage(error.to_string()))),
    }
}

impl Known {
    pub(crate) fn of(repository: Arc<Repository>, confirmed: Option<Timestamp>, epoch: u64) -> Self {
        let seen = repository.trusted_state().clone();
        Self { repository: Some(repository), seen, confirmed, epoch, incomplete: false, ..Self::nothing() }
    }

    pub(crate) fn nothing() -> Self {
        Self {
            repository: None,
            seen: TrustedState::default(),
            damage: None,
            root_was: None,
            admitted: false,
            unreadable: None,
            confirmed: None,
            epoch: 0,
            on_disk: None,
            stamp: None,
            incomplete: true,
        }
    }

    /// For a disk that could not be read. Versions that were seen may be on it, so that nothing may be verified.
    pub(crate) fn unreadable(why: &dyn fmt::Display) -> Self {
        let why = format!(
            "trust.cache cannot be read: {why}; nobody can say what was verified before: mend the disk, or the owner and \
             mode of the directory"
        );
        Self { unreadable: Some(why), ..Self::nothing() }
    }

    /// Why the disk could not be read, if so.
    pub(crate) fn why_unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Takes over what earlier knowledge has beyond this.
    pub(crate) fn follow(&mut self, earlier: &Self) {
        self.seen.merge(&earlier.seen);
        self.on_disk.clone_from(&earlier.on_disk);
        self.stamp = earlier.stamp;
        self.confirmed = self.confirmed.or(earlier.confirmed);
        self.admitted |= earlier.admitted;
    }

    /// The same, with what somebody else has seen.
    pub(crate) fn with_state(&self, seen: &TrustedState) -> Self {
        let mut known = self.clone();
        known.seen.merge(seen);
        known
    }

    /// Is nothing lost if this is given up, but for the time to read it back?
    pub(crate) fn is_on_disk(&self) -> bool {
        self.on_disk
            .as_ref()
            .is_some_and(|stored| stored.epoch == self.epoch && &stored.floor == self.seen.minimum_versions())
    }

    /// The root and the versions alone. What the disk has is looked at again.
    pub(crate) fn without_data(&self) -> Self {
        Self { repository: None, stamp: None, incomplete: true, ..self.clone() }
    }

    /// About what it takes in memory.
    pub(crate) fn weight(&self) -> u64 {
        let root = self.seen.root().map_or(0, |root| root.heap_size());
        let data = self.repository.as_ref().map_or(root, |repository| repository.heap_size());
        let stored = self.on_disk.as_ref().map_or(0, State::weight);
        inline_size::<Self>() + data + self.seen.heap_size() + stored
    }

    /// How new the data is; `None` where there is none.
    pub(crate) fn age(&self) -> Option<PublicationVersion> {
        self.repository.as_ref().map(|repository| repository.publication_version())
    }

    /// What this process remembers, and what was found on the disk.
    pub(crate) fn joined(&self, read: Self) -> Self {
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
            let (seen, admitted) = (read.seen.clone(), self.admitted || read.admitted);
            let root_was = read.root_was.or(self.root_was);
            joined.damage = joined.damage.or_else(|| read.damage.clone());
            if read.age() > self.age() {
                joined = read;
            }
            joined.seen.merge(&self.seen);
            joined.seen.merge(&seen);
            (joined.admitted, joined.root_was) = (admitted, root_was);
        }
        joined
    }

    /// Brings the repository up to date from its server.
    pub(crate) fn refresh(
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
    pub(crate) fn refresh_anew(
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
        if let Some(why) = &self.unreadable {
            let error = Unavailable::new(UnavailableCause::TrustState, why).into();
            return Err(Box::new(FailedRefresh { error, state: None }));
        }
        if let (None, Some(why)) = (self.seen.root(), &self.damage)
            && !matches!(anchor.kind(), AnchorKind::Key | AnchorKind::Ca)
        {
            return Err(Box::new(FailedRefresh { error: damaged_root(gun, why).into(), state: None })); // row 47
        }
        let mut seen = self.seen.clone();
        if let (None, Some(stored)) = (seen.root(), &self.root_was) {
            let root = Root::fetch_again(source, gun, stored.version, stored.sha256);
            seen.record_root(&Arc::new(root.map_err(|error| Box::new(FailedRefresh { error, state: None }))?));
        }
        Repository::refresh_from(source, gun, anchor, previous, seen, signers, now)
    }

    /// The data as it stands, for somebody who trusts by this anchor, with these signers' roles; `None` where that is
    /// not stored.
    pub(crate) fn stand_in(
        &self,
        anchor: &Anchor,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Option<(Repository, Duration)>, Rejection> {
        let Some(repository) = &self.repository else { return Ok(None) };
        // A time in the future is no time at all: the clock was set back, and nobody can say how old the data is.
        let age = self.confirmed.and_then(|confirmed| Duration::try_from(now.duration_since(confirmed)).ok());
        let Some(age) = age else { return Ok(None) };
        if self.is_superseded() {
            return Ok(None); // newer data was seen, perhaps by another process, and not read to its end
        }
        let repository = repository.under_anchor(anchor, now)?;
        match repository.with_signers(&mut Nowhere, signers, now) {
            Ok(repository) => Ok(Some((repository, age))),
            Err(RefreshError::Rejected(rejection)) => Err(rejection),
            Err(RefreshError::Unavailable(_)) => Ok(None),
        }
    }

    /// The delegations that were looked for: whoever refreshes keeps them up to date.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &RoleName> {
        self.repository.iter().flat_map(|repository| repository.delegations().keys())
    }

    /// When it was last reset: what was built on one epoch counts for nothing in another.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Was anything of this repository seen, by whatever anchor, that is newer than this data?
    pub(crate) fn is_beyond(&self, repository: &Repository) -> bool {
        self.unreadable.is_some() || self.seen.is_deleted() || repository.is_below(self.seen.minimum_versions())
    }

    /// Is there data, older than what was seen?
    pub(crate) fn is_superseded(&self) -> bool {
        self.repository.as_ref().is_some_and(|repository| repository.is_superseded() || self.is_beyond(repository))
    }

    /// Was the data deleted at its server?
    pub(crate) fn is_deleted(&self) -> bool {
        self.seen.is_deleted()
    }

    /// Is there any data that might stand in?
    pub(crate) fn has_data(&self) -> bool {
        self.repository.is_some()
    }

    /// The generation to store, with this data, or with the newest root alone; the bytes of it that are in memory are added
    /// to the record.
    pub(crate) fn to_state(&self, data: Option<&Repository>, record: &mut Record) -> State {
        let mut files = BTreeMap::new();
        let mut put = |role: &str, header: Header, bytes: &[u8]| {
            let sha256 = Sha256::of(bytes);
            let stored = Stored { sha256, length: bytes.len(), version: header.version, kept: true };
            files.insert(role.to_owned(), stored);
            record.insert(sha256, bytes.to_vec());
        };
        let root = data.map(|repository| repository.root()).or(self.seen.root());
        if let Some(root) = root {
            put("root", *root.header(), root.bytes());
        }
        if let Some((timestamp, snapshot)) = data.map(|data| (data.timestamp(), data.snapshot())) {
            put("timestamp", *timestamp.header(), timestamp.bytes());
            put("snapshot", *snapshot.header(), snapshot.bytes());
        }
        if let (None, Some(was)) = (root, self.root_was) {
            files.insert("root".to_owned(), was);
        }
        let confirmed = self.confirmed.filter(|_| data.is_some());
        let mut state = State {
            epoch: self.epoch,
            confirmed,
            files,
            floor: self.seen.minimum_versions().clone(),
            admitted: self.admitted,
        };
        let Some(repository) = data else { return state };
        let targets = ("targets".to_owned(), repository.targets());
        let held = repository.delegations().iter().filter_map(|(role, delegation)| match delegation {
            Delegation::Verified(held) => Some((role.to_string(), &**held)),
            Delegation::Absent | Delegation::Rejected(_) => None,
        });
        for (role, held) in std::iter::once(targets).chain(held) {
            let sha256 = held.file().sha256;
            let stored = self.on_disk.as_ref().and_then(|old| old.files.get(&role)).copied();
            let stored = stored.filter(|stored| stored.kept && stored.sha256 == sha256);
            let length = record.get(&sha256).map(Vec::len).or(stored.map(|stored| stored.length));
            if let Some(length) = length {
                state.files.insert(role, Stored { sha256, length, version: held.header().version, kept: true });
            }
        }
        state
    }

    /// The same generation with all of the data, wherever its bytes are: what it would take.
    pub(crate) fn completed(&self, state: &State) -> State {
        let mut state = state.clone();
        let delegations = self.repository.iter().flat_map(|repository| repository.delegations());
        let held = delegations.filter_map(|(role, found)| match found {
            Delegation::Verified(held) => Some((role.to_string(), &**held)),
            Delegation::Absent | Delegation::Rejected(_) => None,
        });
        let targets = self.repository.iter().map(|repository| ("targets".to_owned(), repository.targets()));
        for (role, held) in targets.chain(held) {
            let length = usize::try_from(held.file().length).unwrap_or(usize::MAX);
            let file = Stored { sha256: held.file().sha256, length, version: held.header().version, kept: true };
            state.files.entry(role).or_insert(file);
        }
        state
    }

    /// Is all of the data in this generation?
    pub(crate) fn is_whole_in(&self, state: &State) -> bool {
        self.repository.as_ref().is_none_or(|repository| {
            let held = repository.delegations().iter().filter(|(_, found)| matches!(found, Delegation::Verified(_)));
            state.files.contains_key("targets")
                && held.map(|(role, _)| role).all(|role| state.files.contains_key(role.as_str()))
        })
    }
}

fn damaged_root(gun: &Gun, why: &str) -> Rejection {
    Rejection::StoredRootDamaged { gun: gun.as_str().to_owned(), why: printable(why, 300) }
}

/// A source that has nothing, and does not say that there is nothing.
struct Nowhere;

impl MetadataSource for Nowhere {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        Err(Unavailable::other(format!("{name} is not stored")).into())
    }
}
