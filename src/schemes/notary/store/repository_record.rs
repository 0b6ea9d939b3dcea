//! The record of one repository: its data and its trusted state, for all anchors. A record answers no query by itself: the
//! anchor and the expiry are checked first.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::state::{State, StoredFile};
use crate::base::files::Stamp;
use portreeve_verify::heap_size::inline_size;
use portreeve_verify::ordered::Set;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::{
    Anchor, AnchorKind, FailedRefresh, FetchError, Gun, MetadataName, MetadataSource, PublicationVersion, RefreshError,
    Rejection, Repository, RoleName, Root, TrustedState,
};
use portreeve_verify::{Unavailable, UnavailableCause};

/// When a server confirmed that data is the newest.
#[derive(Clone, Copy)]
pub(crate) struct Confirmation {
    pub(crate) time: Timestamp,
    pub(crate) asked: Instant,
}

/// The record of one repository.
#[derive(Clone)]
pub(crate) struct RepositoryRecord {
    /// The newest data. `None`: there is none yet, it was evicted, or it cannot be read back whole.
    pub(crate) repository: Option<Arc<Repository>>,
    /// The newest trusted root and the minimum versions, never below those of the data. Without a root, and without
    /// `damage`, nothing was ever trusted, or the repository was reset.
    pub(crate) trusted_state: TrustedState,
    /// Why the stored root cannot be used (TRUST.md, row 47). Ignored where a root is known.
    pub(crate) damage: Option<String>,
    /// The newest root, where it was too large to be stored. It is fetched again, and must have this hash.
    pub(crate) unstored_root: Option<StoredFile>,
    /// Has it ever verified an image?
    pub(crate) admitted: bool,
    /// Why the disk could not be read. Such a record is never kept in memory: the next query reads the disk again.
    pub(crate) unreadable: Option<String>,
    /// When the server last confirmed the data, by the wall clock.
    pub(crate) confirmed: Option<Timestamp>,
    /// When it last stood in for the server, which was away, nearly: to the hour.
    pub(crate) stood_in: Option<Timestamp>,
    /// When this process last asked the server to confirm it, by the monotonic clock: setting the time of day back makes no
    /// data younger. `None` for data that was only read back.
    pub(crate) asked: Option<Instant>,
    /// The number of the last reset by hand.
    pub(crate) epoch: u64,
    /// What the disk has, as far as this process knows.
    pub(crate) on_disk: Option<State>,
    pub(crate) stamp: Option<Stamp>,
    /// Is a part of the data not on the disk, because its bytes were not in memory when it was written?
    pub(crate) incomplete: bool,
}

impl RepositoryRecord {
    pub(crate) fn of(repository: Arc<Repository>, confirmation: Option<Confirmation>, epoch: u64) -> Self {
        let trusted_state = repository.trusted_state().clone();
        let (confirmed, asked) = confirmation.map(|Confirmation { time, asked }| (time, asked)).unzip();
        Self {
            repository: Some(repository),
            trusted_state,
            confirmed,
            asked,
            epoch,
            incomplete: false,
            ..Self::nothing()
        }
    }

    pub(crate) fn nothing() -> Self {
        Self {
            repository: None,
            trusted_state: TrustedState::default(),
            damage: None,
            unstored_root: None,
            admitted: false,
            unreadable: None,
            confirmed: None,
            stood_in: None,
            asked: None,
            epoch: 0,
            on_disk: None,
            stamp: None,
            incomplete: true,
        }
    }

    /// The record for a disk that could not be read. It may have versions that bind, so nothing may be verified.
    pub(crate) fn unreadable(why: &dyn fmt::Display) -> Self {
        let why = format!(
            "trust.cache cannot be read: {why}; it is unknown what was verified before: mend the disk, or the owner and \
             mode of the directory"
        );
        Self { unreadable: Some(why), ..Self::nothing() }
    }

    pub(crate) fn why_unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Takes over the parts of an earlier record that this one lacks.
    pub(crate) fn inherit(&mut self, earlier: &Self) {
        self.trusted_state.merge(&earlier.trusted_state);
        self.on_disk.clone_from(&earlier.on_disk);
        self.stamp = earlier.stamp;
        self.confirmed = self.confirmed.or(earlier.confirmed);
        if self.publication_version() == earlier.publication_version() {
            self.asked = self.asked.max(earlier.asked); // another refresh may have ended since
        }
        self.admitted |= earlier.admitted;
    }

    /// The same record, with versions that others have verified.
    pub(crate) fn with_state(&self, verified: &TrustedState) -> Self {
        let mut record = self.clone();
        record.trusted_state.merge(verified);
        record
    }

    /// Does an eviction cost only the time to read the record back?
    pub(crate) fn is_on_disk(&self) -> bool {
        let versions = self.trusted_state.minimum_versions();
        self.on_disk.as_ref().is_some_and(|stored| stored.epoch == self.epoch && &stored.minimum_versions == versions)
    }

    /// The root and the versions alone. The next query reads the disk again.
    pub(crate) fn without_data(&self) -> Self {
        Self { repository: None, asked: None, stamp: None, incomplete: true, ..self.clone() }
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn heap_size(&self) -> u64 {
        let root = self.trusted_state.root().map_or(0, |root| root.heap_size());
        let data = self.repository.as_ref().map_or(root, |repository| repository.heap_size());
        let stored = self.on_disk.as_ref().map_or(0, State::heap_size);
        inline_size::<Self>() + data + self.trusted_state.heap_size() + stored
    }

    /// How new the data is; `None` where there is none.
    pub(crate) fn publication_version(&self) -> Option<PublicationVersion> {
        self.repository.as_ref().map(|repository| repository.publication_version())
    }

    /// This record of the process, with the one that was read from the disk.
    pub(crate) fn merged_with(&self, read: Self) -> Self {
        if read.epoch > self.epoch {
            return read; // the repository was reset: the record in memory is void
        }
        let mut merged = Self {
            incomplete: self.incomplete || read.on_disk.is_none(),
            on_disk: read.on_disk.clone(),
            stamp: read.stamp,
            ..self.clone()
        };
        // An index from before a reset is an old copy, and does not bind.
        if read.epoch == self.epoch {
            let (stored, admitted) = (read.trusted_state.clone(), self.admitted || read.admitted);
            let unstored_root = read.unstored_root.or(self.unstored_root);
            merged.damage = merged.damage.or_else(|| read.damage.clone());
            if read.publication_version() > self.publication_version() {
                merged = read;
            }
            merged.trusted_state.merge(&self.trusted_state);
            merged.trusted_state.merge(&stored);
            (merged.admitted, merged.unstored_root) = (admitted, unstored_root);
        }
        merged
    }

    /// Brings the repository up to date from its server.
    pub(crate) fn refresh(
        &self,
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        signers: &Set<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        // Data that could not be written because its bytes were missing is fetched again once, and not carried over for ever.
        let previous = self.repository.as_deref().filter(|_| !self.incomplete);
        self.refresh_over(source, gun, anchor, previous, signers, now)
    }

    /// As [`Self::refresh`], with every file fetched.
    pub(crate) fn refresh_anew(
        &self,
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        signers: &Set<RoleName>,
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
        signers: &Set<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        if let Some(why) = &self.unreadable {
            let error = Unavailable::new(UnavailableCause::TrustState, why).into();
            return Err(Box::new(FailedRefresh { error, state: None }));
        }
        if let (None, Some(why)) = (self.trusted_state.root(), &self.damage)
            && !matches!(anchor.kind(), AnchorKind::Key | AnchorKind::Ca)
        {
            return Err(Box::new(FailedRefresh { error: damaged_root(gun, why).into(), state: None })); // row 47
        }
        let mut state = self.trusted_state.clone();
        if let (None, Some(unstored)) = (state.root(), &self.unstored_root) {
            let root = Root::fetch_again(source, gun, unstored.version, unstored.sha256);
            state.record_root(&Arc::new(root.map_err(|error| Box::new(FailedRefresh { error, state: None }))?));
        }
        Repository::refresh_from(source, gun, anchor, previous, state, signers, now)
    }

    /// The data without asking the server, under this anchor and with these signers' roles, and how long ago the server
    /// confirmed it; `None` where that is not stored.
    pub(crate) fn stale(
        &self,
        anchor: &Anchor,
        signers: &Set<RoleName>,
        now: Timestamp,
    ) -> Result<Option<(Arc<Repository>, Duration)>, Rejection> {
        let Some(repository) = &self.repository else { return Ok(None) };
        // A time in the future means that the clock was set back: the age of the data is unknown.
        let age = self.confirmed.and_then(|confirmed| Duration::try_from(now.duration_since(confirmed)).ok());
        let Some(age) = age else { return Ok(None) };
        if self.is_superseded() {
            return Ok(None); // newer data was seen, perhaps by another process, and could not be read whole
        }
        let repository = repository.under_anchor(anchor, now)?;
        match repository.with_signers(&mut NoFiles, signers, now) {
            Ok(repository) => Ok(Some((Arc::new(repository), age))),
            Err(RefreshError::Rejected(rejection)) => Err(rejection),
            Err(RefreshError::Unavailable(_)) => Ok(None),
        }
    }

    /// The delegations that were looked for. Each refresh keeps them up to date.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &RoleName> {
        self.repository.iter().flat_map(|repository| repository.delegations().keys())
    }

    /// The number of the last reset. Data of one epoch does not count in another.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Was anything newer than this data seen, by whatever anchor?
    pub(crate) fn is_beyond(&self, repository: &Repository) -> bool {
        let state = &self.trusted_state;
        self.unreadable.is_some() || state.is_deleted() || repository.is_below(state.minimum_versions())
    }

    /// Is there data, and was newer data seen?
    pub(crate) fn is_superseded(&self) -> bool {
        self.repository.as_ref().is_some_and(|repository| repository.is_superseded() || self.is_beyond(repository))
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.trusted_state.is_deleted()
    }

    pub(crate) fn has_data(&self) -> bool {
        self.repository.is_some()
    }
}

fn damaged_root(gun: &Gun, why: &str) -> Rejection {
    Rejection::StoredRootDamaged { gun: gun.as_str().to_owned(), why: printable(why, 300) }
}

/// A source that has no file. A missing file is unavailable, not absent.
struct NoFiles;

impl MetadataSource for NoFiles {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        Err(Unavailable::other(format!("{name} is not stored")).into())
    }
}
