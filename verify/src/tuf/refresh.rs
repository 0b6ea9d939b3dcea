//! One refresh: the read path of a repository, from the timestamp down to the delegations, under one root.
//!
//! What a verified file lists is asked for by its hash, and taken only whole. What has not changed since the last
//! refresh, under the same keys, is carried over; its expiry is asked anew.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::unavailable::Unavailable;

/// One refresh.
pub(crate) struct Refresh<'a> {
    pub(crate) source: &'a mut dyn MetadataSource,
    pub(crate) gun: &'a Gun,
    pub(crate) previous: Option<&'a Repository>,
    /// What was seen before, by whomever, and is being seen now: it stays, however this ends.
    pub(crate) seen: TrustedState,
    pub(crate) signers: &'a BTreeSet<RoleName>,
    /// `None`: expiry is not asked. Only for what is read back, of which nothing is served before it is asked.
    pub(crate) now: Option<Timestamp>,
}

impl Refresh<'_> {
    /// The whole refresh, from the newest root that was seen.
    pub(crate) fn run(&mut self, anchor: &Anchor, now: Timestamp) -> Result<Repository, RefreshError> {
        let root = match self.seen.root() {
            Some(root) => Arc::clone(root),
            None => Arc::new(Root::fetch_newest(self.source, self.gun)?),
        };
        // Whether there is a newer root is not asked each time. The snapshot lists the root's hash, so a rotation
        // shows there as a mismatch; whoever could forge that (with the timestamp and snapshot keys, as the server)
        // could as well answer 404 to the question. Only a root that will not do, or a failure, makes us ask.
        let failure = match self.under(&root, anchor, now) {
            Ok(repository) => return Ok(repository),
            Err(unavailable @ RefreshError::Unavailable(_)) => return Err(unavailable),
            Err(failure) => failure,
        };
        // TUF 1.0 §5.3 and TRUST.md, "Reading a repository", 6: refresh the root once, and try again.
        match Root::walk(Arc::clone(&root), self.source, self.gun, &mut self.seen) {
            Ok(newer) if newer.header.version > root.header.version => self.under(&newer, anchor, now),
            // Nothing new, or nobody could say: what was served is no better for it.
            Ok(_) | Err(RefreshError::Unavailable(_)) => Err(failure),
            Err(rejected) => Err(rejected),
        }
    }

    /// The whole read path under one root, which must be trusted.
    fn under(&mut self, root: &Arc<Root>, anchor: &Anchor, now: Timestamp) -> Result<Repository, RefreshError> {
        let certificates_end = root.trusted_until(anchor, self.gun, now)?;
        self.seen.minimum_versions().check_root(&root.header)?;
        self.seen.record_root(root);
        self.read(root, certificates_end)
    }

    /// The read path below the root.
    pub(crate) fn read(&mut self, root: &Arc<Root>, certificates_end: Timestamp) -> Result<Repository, RefreshError> {
        let timestamp = self.timestamp(root)?;
        let snapshot = self.snapshot(root, &timestamp.snapshot)?;
        // TUF has the snapshot list the root in Notary's dialect: this publication was made under this very root.
        snapshot.root.check("root", &root.bytes)?; // row 61
        self.announce(root, &snapshot)?;
        let targets = self.targets(root, &snapshot.targets)?;
        let mut repository = Repository {
            gun: self.gun.clone(),
            root: Arc::clone(root),
            certificates_end,
            timestamp,
            snapshot,
            targets,
            delegations: BTreeMap::new(),
            seen: self.seen.clone(),
        };
        let outcome = self.delegations(&mut repository);
        self.seen = repository.seen.clone();
        outcome.map(|()| repository)
    }

    /// Says how long the files are that are fetched now: all that this publication lists, but for what is carried over.
    fn announce(&mut self, root: &Root, snapshot: &SnapshotRole) -> Result<(), RefreshError> {
        let held = self.previous.map(|previous| &previous.targets);
        let is_held = held.is_some_and(|held| held.file == snapshot.targets && held.keys == root.targets);
        let releases = RoleName::releases();
        let roles = self.signers.iter().chain((!self.signers.contains(&releases)).then_some(&releases));
        let is_carried = |role: &RoleName, file: &FileMeta| {
            let carried = self.previous.filter(|_| is_held).and_then(|previous| previous.delegations.get(role));
            matches!(carried, Some(Delegation::Verified(held)) if held.file == *file)
        };
        let listed = roles.filter_map(|role| {
            let file = snapshot.delegations.get(role)?;
            (!is_carried(role, file)).then_some(file)
        });
        let files = (!is_held).then_some(&snapshot.targets).into_iter().chain(listed);
        let lengths: Vec<usize> = files.map(FileMeta::length_within_cap).collect();
        Ok(self.source.reserve(&lengths)?)
    }

    fn delegations(&mut self, repository: &mut Repository) -> Result<(), RefreshError> {
        let releases = RoleName::releases();
        let carried = |role: &RoleName| self.previous.and_then(|previous| previous.delegations.get(role));
        repository.fetch_delegation(self.source, &releases, carried(&releases))?;
        if repository.seen.minimum_versions().has(releases.as_str())
            && matches!(repository.delegations.get(&releases), Some(Delegation::Absent))
        {
            // Row 66: else an old entry of `targets` would be served in its place.
            return Err(Rejection::Vanished { role: releases.to_string() }.into());
        }
        if let Some(now) = self.now {
            repository.releasing(now)?; // row 70
        }
        for role in self.signers.iter().filter(|role| **role != releases) {
            repository.fetch_delegation(self.source, role, carried(role))?;
        }
        Ok(())
    }

    fn timestamp(&mut self, root: &Root) -> Result<Arc<TimestampRole>, RefreshError> {
        let (role, name) = ("timestamp", MetadataName::Timestamp);
        let too_large = |cap: usize| Rejection::TooLarge { role: role.to_owned(), cap: cap as u64 }; // row 54
        let bytes = match self.source.fetch(&name, name.cap()) {
            Ok(bytes) if bytes.len() > name.cap() => return Err(too_large(name.cap()).into()),
            Ok(bytes) => bytes,
            Err(FetchError::TooLarge { cap }) => return Err(too_large(cap).into()),
            Err(FetchError::NotFound) => return Err(self.without_timestamp(root)),
            Err(FetchError::Unavailable(why)) => return Err(why.into()),
        };
        let timestamp = TimestampRole::open(bytes, &root.timestamp, &|| self.source.is_late())?;
        self.seen.record_timestamp(root, &timestamp)?;
        self.check_expiry(role, &timestamp.header)?;
        Ok(Arc::new(timestamp))
    }

    /// The server has no timestamp for a repository whose root it had, a moment ago or in earlier days.
    fn without_timestamp(&mut self, root: &Root) -> RefreshError {
        let name = MetadataName::Root;
        match self.source.fetch(&name, name.cap()) {
            // Row 107: it says itself that there is nothing any more.
            Err(FetchError::NotFound) => {
                self.seen.record_deleted(root);
                Rejection::Deleted { gun: self.gun.as_str().to_owned() }.into()
            }
            Err(FetchError::Unavailable(why)) => why.into(),
            // Row 55: a server with a root and without a timestamp is a broken one; it has not said no.
            Ok(_) | Err(FetchError::TooLarge { .. }) => {
                Unavailable::other(format!("the trust server has no timestamp for {}", self.gun)).into()
            }
        }
    }

    fn snapshot(&mut self, root: &Root, file: &FileMeta) -> Result<Arc<SnapshotRole>, RefreshError> {
        let role = "snapshot";
        let previous = self.previous.map(|previous| (&previous.snapshot, &previous.timestamp.snapshot));
        let snapshot = match previous {
            Some((held, listed)) if listed == file && held.keys == root.snapshot => Arc::clone(held),
            _ => {
                let name = MetadataName::Snapshot(file.sha256);
                let bytes = fetch_listed(self.source, role, &name, file)?;
                Arc::new(SnapshotRole::open(bytes, &root.snapshot, &|| self.source.is_late())?)
            }
        };
        self.seen.note(role, &root.snapshot, snapshot.header)?;
        self.check_expiry(role, &snapshot.header)?;
        Ok(snapshot)
    }

    fn targets(&mut self, root: &Root, file: &FileMeta) -> Result<Arc<TargetsRole>, RefreshError> {
        let role = "targets";
        let targets = match self.previous.map(|previous| &previous.targets) {
            Some(held) if held.file == *file && held.keys == root.targets => Arc::clone(held),
            _ => Arc::new(open_listed(self.source, role, &MetadataName::Targets(file.sha256), file, &root.targets)?),
        };
        self.seen.note(role, &root.targets, targets.header)?;
        self.check_expiry(role, &targets.header)?;
        Ok(targets)
    }

    fn check_expiry(&self, role: &str, header: &Header) -> Result<(), Rejection> {
        self.now.map_or(Ok(()), |now| header.check_expiry(role, now))
    }
}

impl Repository {
    /// Brings a repository up to date from `source` by the read path of TUF 1.0 §5 as Notary has it (TRUST.md,
    /// "Reading a repository"). `previous` is what was verified before, under the same anchor: nothing goes back
    /// behind it. `signers` are delegations wanted besides `targets/releases`.
    pub fn refresh(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        previous: Option<&Repository>,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, RefreshError> {
        Self::refresh_with_state(source, gun, anchor, previous, signers, now).map_err(|failed| failed.error)
    }

    /// As [`Repository::refresh`]. A failure comes with what is to be remembered: what was verified before the refresh
    /// failed counts from now on, and may mean that `previous` itself no longer does ([`Repository::is_superseded`]).
    pub fn refresh_with_state(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        previous: Option<&Repository>,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        let seen = previous.map(|previous| previous.seen.clone()).unwrap_or_default();
        Self::refresh_from(source, gun, anchor, previous, seen, signers, now)
    }

    /// The same, from what was `seen` by whomever. `previous` is the data to carry over from, if there is any.
    pub fn refresh_from(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        anchor: &Anchor,
        previous: Option<&Repository>,
        seen: TrustedState,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, Box<FailedRefresh>> {
        let was_trusted = seen.root().is_some();
        let mut refresh = Refresh { source, gun, previous, seen, signers, now: Some(now) };
        let result = refresh.run(anchor, now);
        result.map_err(|error| Box::new(FailedRefresh { error, state: was_trusted.then_some(refresh.seen) }))
    }

    /// Reads back what was verified and stored under this root, with these delegations: all of it is verified again, except
    /// that neither its expiry nor the anchor is asked. Nothing can be judged by it before [`Repository::under_anchor`],
    /// and, where the floor lies above it, not even then ([`Repository::is_superseded`]): a refresh that failed further on has
    /// seen newer data, and has left this as it was.
    pub fn restore(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        root: &Arc<Root>,
        floor: &MinimumVersions,
        delegations: &BTreeSet<RoleName>,
    ) -> Result<Self, RefreshError> {
        let mut seen = TrustedState::default();
        seen.record_root(root);
        let mut refresh = Refresh { source, gun, previous: None, seen, signers: delegations, now: None };
        let mut repository = refresh.read(root, Timestamp::MIN)?;
        let damaged = repository.delegations.values().find_map(|delegation| match delegation {
            Delegation::Rejected(rejection) => Some(rejection.clone()),
            Delegation::Verified(_) | Delegation::Absent => None,
        });
        if let Some(rejection) = damaged {
            return Err(rejection.into());
        }
        if let Some(role) = repository.seen.minimum_versions().contradicts(floor) {
            return Err(Unavailable::other(format!("its {role} is not the one that was verified")).into());
        }
        if repository.is_below(floor) {
            repository.seen.record_newer(root, floor);
        }
        Ok(repository)
    }

    /// Adds signers' delegations that the held snapshot lists and that were not fetched yet, asking for nothing else.
    pub fn with_signers(
        &self,
        source: &mut dyn MetadataSource,
        signers: &BTreeSet<RoleName>,
        now: Timestamp,
    ) -> Result<Repository, RefreshError> {
        self.check_expiries(now)?;
        let mut more = self.clone();
        let lacks = |role: &&RoleName| matches!(self.delegations.get(*role), None | Some(Delegation::Rejected(_)));
        let files = signers.iter().filter(lacks).filter_map(|role| self.snapshot.delegations.get(role));
        let lengths: Vec<usize> = files.map(FileMeta::length_within_cap).collect();
        source.reserve(&lengths)?;
        for role in signers {
            let held = self.delegations.get(role);
            if matches!(held, None | Some(Delegation::Rejected(_))) {
                more.fetch_delegation(source, role, None)?;
            }
        }
        Ok(more)
    }

    /// Fetches and verifies a delegation, or finds that it is not there. `carried` is what was verified before.
    pub(crate) fn fetch_delegation(
        &mut self,
        source: &mut dyn MetadataSource,
        role: &RoleName,
        carried: Option<&Delegation>,
    ) -> Result<(), RefreshError> {
        let found = match (self.targets.delegation(role), self.snapshot.delegations.get(role)) {
            (Some(delegation), Some(file)) => {
                let verified = match carried {
                    Some(Delegation::Verified(held)) if held.file == *file && held.keys == delegation.keys => {
                        Ok(Arc::clone(held))
                    }
                    _ => {
                        let name = MetadataName::Delegation(role.clone(), file.sha256);
                        open_listed(source, role.as_str(), &name, file, &delegation.keys).map(Arc::new)
                    }
                };
                let noted = verified.and_then(|targets| {
                    self.seen.note(role.as_str(), &delegation.keys, targets.header)?; // row 59
                    Ok(targets)
                });
                match noted {
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

/// A targets role that verified metadata lists.
pub(crate) fn open_listed(
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

/// A file that verified metadata lists: the listed bytes, or none.
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

/// A refresh that gave nothing, and what is to be remembered of it.
#[derive(Debug)]
pub struct FailedRefresh {
    /// Why.
    pub error: RefreshError,
    /// What was verified all the same, beside what was seen before. `None` on first contact: a root that nothing was ever
    /// verified under is not held to for having been served once.
    pub state: Option<TrustedState>,
}
