//! One refresh: from the root down to the delegations, by TUF 1.0 §5 as Notary has it (TRUST.md, "Reading a repository").
//!
//! A file that verified metadata lists is fetched by its hash, and accepted only with the listed bytes. A file that has not
//! changed, under the same keys, is carried over from the previous refresh, and its expiry is checked again. A first refresh
//! verifies root, timestamp, snapshot, targets and delegations in this order; a refresh without changes fetches the timestamp
//! alone. A refresh that fails has no result: it never falls back to older data.
//!
//! Files whose names do not depend on each other may be fetched at the same time ([`MetadataSource::prefetch`]): root and
//! timestamp at first contact, and targets and delegations, which the snapshot lists. The order in which they are verified is
//! always the same, and nothing is read of a file before what lists it, or the keys that sign it, are verified.

use std::sync::Arc;

use jiff::Timestamp;

use super::anchor::Anchor;
use super::error::RefreshError;
use super::gun::{Gun, RoleName};
use super::key::RoleKeys;
use super::metadata::{FileMeta, Header, SnapshotRole, TimestampRole};
use super::rejection::Rejection;
use super::repository::{Delegation, Repository};
use super::rollback::MinimumVersions;
use super::root::Root;
use super::source::{FetchError, MetadataName, MetadataSource};
use super::targets::TargetsRole;
use super::trusted_state::TrustedState;
use crate::ordered::{Map, Set};
use crate::unavailable::{Unavailable, UnavailableCause};

/// A refresh in progress.
struct Refresh<'a> {
    source: &'a mut dyn MetadataSource,
    gun: &'a Gun,
    previous: Option<&'a Repository>,
    /// What any anchor's refreshes have verified before, and what this one verifies. It is kept if the refresh fails.
    state: TrustedState,
    signers: &'a Set<RoleName>,
    /// `None`: expiry is not checked. Only for stored data, whose expiry is checked before it is used.
    now: Option<Timestamp>,
}

impl Refresh<'_> {
    /// The whole refresh, from the newest root that was verified before.
    fn run(&mut self, anchor: &Anchor, now: Timestamp) -> Result<Repository, RefreshError> {
        let root = match self.state.root() {
            Some(root) => Arc::clone(root),
            None => {
                // The timestamp's name does not depend on the root. Its bytes are not read before the root is trusted.
                let names = [MetadataName::Root, MetadataName::Timestamp];
                let files = names.map(|name| (name.clone(), name.cap()));
                // The lists: `targets`, `targets/releases` and those of the signers.
                self.source.prefetch(&files, self.signers.len().saturating_add(2));
                Arc::new(Root::fetch_newest(self.source, self.gun)?)
            }
        };
        // A refresh does not ask each time for a newer root. The snapshot lists the root's hash, so a rotation shows as a
        // mismatch. A server that hides it there, with the keys of timestamp and snapshot, could also answer 404.
        // A newer root is asked for only if this root is not accepted, or if a later file fails.
        let failure = match self.under(&root, anchor, now) {
            Ok(repository) => return Ok(repository),
            Err(unavailable @ RefreshError::Unavailable(_)) => return Err(unavailable),
            Err(failure) => failure,
        };
        // TUF 1.0 §5.3 and TRUST.md, "Reading a repository", 6: refresh the root once, and try again.
        match Root::follow_rotations(Arc::clone(&root), self.source, self.gun, &mut self.state) {
            Ok(newer) if newer.header.version > root.header.version => {
                // A timestamp that came before the newer root may be that of the older one.
                self.source.prefetch(&[], 0);
                self.under(&newer, anchor, now)
            }
            // Without a newer root the first failure stands.
            Ok(_) | Err(RefreshError::Unavailable(_)) => Err(failure),
            Err(rejected) => Err(rejected),
        }
    }

    /// Everything under one root, which must be trusted.
    fn under(&mut self, root: &Arc<Root>, anchor: &Anchor, now: Timestamp) -> Result<Repository, RefreshError> {
        let certificates_end = root.trusted_until(anchor, self.gun, now)?;
        self.state.minimum_versions().check_root(&root.header)?;
        self.state.record_root(root);
        self.read(root, certificates_end)
    }

    /// Everything below a root.
    fn read(&mut self, root: &Arc<Root>, certificates_end: Timestamp) -> Result<Repository, RefreshError> {
        let timestamp = self.timestamp(root)?;
        let snapshot = self.snapshot(root, &timestamp.snapshot)?;
        // In Notary's dialect of TUF the snapshot lists the root: this publication was made under this root.
        snapshot.root.check("root", &root.bytes)?; // TRUST.md, row 61
        self.announce(root, &snapshot)?;
        let targets = self.targets(root, &snapshot.targets)?;
        let mut repository = Repository {
            gun: self.gun.clone(),
            root: Arc::clone(root),
            certificates_end,
            timestamp,
            snapshot,
            targets,
            delegations: Map::new(),
            state: self.state.clone(),
        };
        let outcome = self.fetch_delegations(&mut repository);
        self.state = repository.state.clone();
        outcome.map(|()| repository)
    }

    /// Reserves memory for the targets roles that are not carried over, and lets the source fetch them together.
    fn announce(&mut self, root: &Root, snapshot: &SnapshotRole) -> Result<(), RefreshError> {
        let previous = self.previous.filter(|previous| {
            previous.targets.file == snapshot.targets && previous.targets.keys == root.targets // carried over
        });
        let releases = RoleName::releases();
        let roles = self.signers.iter().chain((!self.signers.contains(&releases)).then_some(&releases));
        let is_needed = |role: &RoleName, file: &FileMeta| match previous {
            None => true,
            Some(previous) => {
                let carried = previous.delegations.get(role);
                previous.targets.delegation(role).is_some()
                    && !matches!(carried, Some(Delegation::Verified(known)) if known.file == *file)
            }
        };
        let listed = roles.filter_map(|role| {
            let file = snapshot.delegations.get(role)?;
            is_needed(role, file).then(|| (MetadataName::Delegation(role.clone(), file.sha256), file))
        });
        let targets = || (MetadataName::Targets(snapshot.targets.sha256), &snapshot.targets);
        Ok(announce(self.source, previous.is_none().then(targets).into_iter().chain(listed))?)
    }

    fn fetch_delegations(&mut self, repository: &mut Repository) -> Result<(), RefreshError> {
        let releases = RoleName::releases();
        let carried = |role: &RoleName| self.previous.and_then(|previous| previous.delegations.get(role));
        repository.fetch_delegation(self.source, &releases, carried(&releases))?;
        if repository.state.minimum_versions().has(releases.as_str())
            && matches!(repository.delegations.get(&releases), Some(Delegation::Absent))
        {
            // TRUST.md, row 66: otherwise an old entry of `targets` would be used in its place.
            return Err(Rejection::Vanished { role: releases.to_string() }.into());
        }
        if let Some(now) = self.now {
            repository.releasing(now)?; // TRUST.md, row 70
        }
        for role in self.signers.iter().filter(|role| **role != releases) {
            repository.fetch_delegation(self.source, role, carried(role))?;
        }
        Ok(())
    }

    fn timestamp(&mut self, root: &Root) -> Result<Arc<TimestampRole>, RefreshError> {
        let (role, name) = ("timestamp", MetadataName::Timestamp);
        let too_large = |cap: usize| Rejection::TooLarge { role: role.to_owned(), cap: cap as u64 }; // TRUST.md, row 54
        let bytes = match self.source.fetch(&name, name.cap()) {
            Ok(bytes) if bytes.len() > name.cap() => return Err(too_large(name.cap()).into()),
            Ok(bytes) => bytes,
            Err(FetchError::TooLarge { cap }) => return Err(too_large(cap).into()),
            Err(FetchError::NotFound) => return Err(self.without_timestamp(root)),
            Err(FetchError::Unavailable(why)) => return Err(why.into()),
        };
        let timestamp = TimestampRole::open(bytes, &root.timestamp, &|| self.source.is_late())?;
        self.state.record_timestamp(root, &timestamp)?;
        self.check_expiry(role, &timestamp.header)?;
        Ok(Arc::new(timestamp))
    }

    /// The server has no timestamp for a repository whose root it has, or had before.
    fn without_timestamp(&mut self, root: &Root) -> RefreshError {
        let name = MetadataName::Root;
        match self.source.fetch(&name, name.cap()) {
            // TRUST.md, row 107: the server says itself that it has no trust data any more.
            Err(FetchError::NotFound) => {
                self.state.record_deleted(root);
                Rejection::Deleted { gun: self.gun.as_str().to_owned() }.into()
            }
            Err(FetchError::Unavailable(why)) => why.into(),
            // TRUST.md, row 55: a server with a root and without a timestamp is broken, and that is no rejection.
            Ok(_) | Err(FetchError::TooLarge { .. }) => {
                let message = format!(
                    "the root is there, and the timestamp is gone; restore the data from a backup, or let its owner publish \
                     the repository again: notary publish {}",
                    self.gun
                );
                Unavailable::new(UnavailableCause::Incomplete, message).into()
            }
        }
    }

    fn snapshot(&mut self, root: &Root, file: &FileMeta) -> Result<Arc<SnapshotRole>, RefreshError> {
        let role = "snapshot";
        let previous = self.previous.map(|previous| (&previous.snapshot, &previous.timestamp.snapshot));
        let snapshot = match previous {
            Some((known, listed)) if listed == file && known.keys == root.snapshot => Arc::clone(known),
            _ => {
                let name = MetadataName::Snapshot(file.sha256);
                let bytes = fetch_listed(self.source, role, &name, file)?;
                Arc::new(SnapshotRole::open(bytes, &root.snapshot, &|| self.source.is_late())?)
            }
        };
        self.state.record(role, &root.snapshot, snapshot.header)?;
        self.check_expiry(role, &snapshot.header)?;
        Ok(snapshot)
    }

    fn targets(&mut self, root: &Root, file: &FileMeta) -> Result<Arc<TargetsRole>, RefreshError> {
        let role = "targets";
        let targets = match self.previous.map(|previous| &previous.targets) {
            Some(known) if known.file == *file && known.keys == root.targets => Arc::clone(known),
            _ => Arc::new(open_listed(self.source, role, &MetadataName::Targets(file.sha256), file, &root.targets)?),
        };
        self.state.record(role, &root.targets, targets.header)?;
        self.check_expiry(role, &targets.header)?;
        Ok(targets)
    }

    fn check_expiry(&self, role: &str, header: &Header) -> Result<(), Rejection> {
        self.now.map_or(Ok(()), |now| header.check_expiry(role, now))
    }
}

impl Repository {
    /// Fetches and verifies a repository. `previous` was verified before under the same anchor, and nothing goes back behind
    /// it. `signers` are the delegations that are needed, in addition to `targets/releases`.
    pub fn refresh(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        previous: Option<&Repository>,
        signers: &Set<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, RefreshError> {
        Self::refresh_with_state(source, gun, anchor, previous, signers, now).map_err(|failed| failed.error)
    }

    /// Like [`Repository::refresh`]. A failure comes with the state to keep: it holds what was verified before the refresh
    /// failed, and may supersede `previous` ([`Repository::is_superseded`]).
    pub fn refresh_with_state(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        previous: Option<&Repository>,
        signers: &Set<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        let state = previous.map(|previous| previous.state.clone()).unwrap_or_default();
        Self::refresh_from(source, gun, anchor, previous, state, signers, now)
    }

    /// Like [`Repository::refresh_with_state`], from the state that any anchor's refreshes have left. Unchanged files are carried
    /// over from `previous`.
    pub fn refresh_from(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        previous: Option<&Repository>,
        state: TrustedState,
        signers: &Set<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        let was_trusted = state.root().is_some();
        let mut refresh = Refresh { source, gun, previous, state, signers, now: Some(now) };
        let result = refresh.run(anchor, now);
        result.map_err(|error| Box::new(FailedRefresh { error, state: was_trusted.then_some(refresh.state) }))
    }

    /// Reads stored data under this root, with these delegations. All of it is verified again, but its expiry and the anchor are
    /// not checked: no target can be found in it before [`Repository::under_anchor`]. Where `minimum` is newer than the data, it
    /// is superseded ([`Repository::is_superseded`]): a later refresh has verified newer data and then failed.
    pub fn restore(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        root: &Arc<Root>,
        minimum: &MinimumVersions,
        delegations: &Set<RoleName>,
    ) -> Result<Self, RefreshError> {
        let mut state = TrustedState::default();
        state.record_root(root);
        let mut refresh = Refresh { source, gun, previous: None, state, signers: delegations, now: None };
        let mut repository = refresh.read(root, Timestamp::MIN)?;
        let rejected = repository.delegations.values().find_map(|delegation| match delegation {
            Delegation::Rejected(rejection) => Some(rejection.clone()),
            Delegation::Verified(_) | Delegation::Absent => None,
        });
        if let Some(rejection) = rejected {
            return Err(rejection.into());
        }
        if let Some(role) = repository.state.minimum_versions().contradicts(minimum) {
            return Err(Unavailable::other(format!("its {role} is not the one that was verified")).into());
        }
        if repository.is_below(minimum) {
            repository.state.record_newer(root, minimum);
        }
        Ok(repository)
    }

    /// Adds the delegations of more signers, as the snapshot lists them. Fetches nothing else.
    pub fn with_signers(
        &self,
        source: &mut dyn MetadataSource,
        signers: &Set<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, RefreshError> {
        self.check_expiries(now)?;
        let mut more = self.clone();
        let lacks = |role: &&RoleName| matches!(self.delegations.get(*role), None | Some(Delegation::Rejected(_)));
        let listed = signers.iter().filter(lacks).filter_map(|role| {
            self.targets.delegation(role)?;
            let file = self.snapshot.delegations.get(role)?;
            Some((MetadataName::Delegation(role.clone(), file.sha256), file))
        });
        announce(source, listed)?;
        for role in signers {
            if lacks(&role) {
                more.fetch_delegation(source, role, None)?;
            }
        }
        Ok(more)
    }

    /// Fetches and verifies a delegation, unless `carried` is the same. It may be absent.
    fn fetch_delegation(
        &mut self,
        source: &mut dyn MetadataSource,
        role: &RoleName,
        carried: Option<&Delegation>,
    ) -> Result<(), RefreshError> {
        let found = match (self.targets.delegation(role), self.snapshot.delegations.get(role)) {
            (Some(delegation), Some(file)) => {
                let verified = match carried {
                    Some(Delegation::Verified(known)) if known.file == *file && known.keys == delegation.keys => {
                        Ok(Arc::clone(known))
                    }
                    _ => {
                        let name = MetadataName::Delegation(role.clone(), file.sha256);
                        open_listed(source, role.as_str(), &name, file, &delegation.keys).map(Arc::new)
                    }
                };
                let recorded = verified.and_then(|targets| {
                    self.state.record(role.as_str(), &delegation.keys, targets.header)?; // TRUST.md, row 59
                    Ok(targets)
                });
                match recorded {
                    Ok(targets) => Delegation::Verified(targets),
                    Err(RefreshError::Rejected(rejection)) => Delegation::Rejected(rejection),
                    Err(unavailable) => return Err(unavailable),
                }
            }
            _ => Delegation::Absent,
        };
        self.delegations.insert(role.clone(), found);
        Ok(())
    }
}

/// Reserves memory for these targets roles, and lets the source fetch them together.
fn announce<'f>(
    source: &mut dyn MetadataSource,
    files: impl Iterator<Item = (MetadataName, &'f FileMeta)>,
) -> Result<(), Unavailable> {
    let (mut lengths, mut fetched) = (Vec::new(), Vec::new());
    for (name, file) in files {
        lengths.push(file.length_within_cap());
        // A file that is listed as too large is rejected, and never fetched.
        if let Ok(cap) = file.cap("", &name) {
            fetched.push((name, cap));
        }
    }
    source.reserve(&lengths)?;
    source.prefetch(&fetched, 0);
    Ok(())
}

/// A targets role that verified metadata lists.
fn open_listed(
    source: &mut dyn MetadataSource,
    role: &str,
    name: &MetadataName,
    file: &FileMeta,
    keys: &RoleKeys,
) -> Result<TargetsRole, RefreshError> {
    let bytes = fetch_listed(source, role, name, file)?;
    let targets = TargetsRole::open(role, &bytes, file, keys, &|| source.is_late())?;
    source.give_back(file.sha256, bytes);
    Ok(targets)
}

/// The bytes of a file that verified metadata lists. Other bytes are rejected.
fn fetch_listed(
    source: &mut dyn MetadataSource,
    role: &str,
    name: &MetadataName,
    file: &FileMeta,
) -> Result<Vec<u8>, RefreshError> {
    let cap = file.cap(role, name)?;
    match source.fetch(name, cap) {
        Ok(bytes) => {
            file.check(role, &bytes)?;
            Ok(bytes)
        }
        Err(FetchError::NotFound) => Err(Rejection::Missing { role: role.to_owned() }.into()),
        Err(FetchError::TooLarge { .. }) => {
            Err(Rejection::Length { role: role.to_owned(), expected: file.length, actual: None }.into())
        }
        Err(FetchError::Unavailable(why)) => Err(why.into()),
    }
}

/// A refresh that failed, and the state to keep.
#[derive(Debug)]
pub struct FailedRefresh {
    /// Why.
    pub error: RefreshError,
    /// The parts that verified before the failure, and what was known before. `None` on first contact: a root under which
    /// nothing else verified is not trusted later.
    pub state: Option<TrustedState>,
}
