//! The floor under a repository: the newest version of every role that was ever verified. Nothing that is taken from a
//! server may lie below it, whatever anchor it is trusted by and however often the process was started anew.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::RoleName;
use super::metadata::Header;
use super::rejection::Rejection;
use super::repository::{Delegation, Repository};
use super::weight::{allocation, map_entry};

/// The newest header of every role, by the role's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Floor(BTreeMap<String, Header>);

impl Floor {
    /// What a repository was seen to have.
    pub(super) fn of(repository: &Repository) -> Self {
        // The repository's own versions, and whatever a refresh has seen that failed further on.
        Self(repository.seen.headers().collect())
    }

    pub(super) fn from_entries(entries: impl Iterator<Item = (String, Header)>) -> Self {
        Self(entries.collect())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Header)> {
        self.0.iter().map(|(role, header)| (role.as_str(), header))
    }

    /// The version seen of a role; 0 for one that never was.
    pub(super) fn version(&self, role: &str) -> u64 {
        self.0.get(role).map_or(0, |header| header.version)
    }

    /// Is this above what a repository has or was seen to have? Roles that it was never asked for do not count.
    pub(super) fn is_beyond(&self, repository: &Repository) -> bool {
        repository.seen.headers().any(|(role, header)| self.version(&role) > header.version)
    }

    /// What it takes in memory.
    pub(super) fn weight(&self) -> u64 {
        self.0.keys().map(|role| map_entry::<String, Header>() + allocation(role.len())).sum()
    }

    /// Raises this floor to whatever is higher in another.
    pub(super) fn raise(&mut self, other: &Self) {
        for (role, header) in &other.0 {
            match self.0.entry(role.clone()) {
                Entry::Occupied(mut known) if known.get().version < header.version => {
                    known.insert(*header);
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(entry) => {
                    entry.insert(*header);
                }
            }
        }
    }

    /// Does a repository stand on this floor? A required role below it is a rejection; of another signer's role it
    /// denies those who ask for it. What was seen is remembered in the repository.
    pub(super) fn hold(&self, repository: &mut Repository) -> Result<(), Rejection> {
        for (role, header) in [
            ("root", repository.root.header),
            ("timestamp", repository.timestamp.header),
            ("snapshot", repository.snapshot.header),
            ("targets", repository.targets.header),
        ] {
            header.check_progress(role, self.0.get(role))?; // rows 40, 41, 51, 52 and 58
        }
        for (name, seen) in &self.0 {
            let Some(role) = RoleName::parse(name) else { continue };
            let releases = role == RoleName::releases();
            match repository.delegations.get(&role) {
                Some(Delegation::Held(held)) => {
                    if let Err(rejection) = held.header.check_progress(name, Some(seen)) {
                        if releases {
                            return Err(rejection); // row 59
                        }
                        repository.delegations.insert(role.clone(), Delegation::Damaged(rejection));
                    }
                }
                Some(Delegation::Absent) if releases => return Err(Rejection::Vanished { role: name.clone() }), // row 66
                Some(Delegation::Absent | Delegation::Damaged(_)) | None => {}
            }
            repository.seen.raise_delegation(role, *seen);
        }
        Ok(())
    }
}
