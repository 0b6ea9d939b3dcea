//! The newest that was ever verified of a repository: the root, the publication, and the floor under every role. A
//! refresh that fails halfway has seen something all the same: a version that was verified is never forgotten for the sake
//! of a file that came after it, or whoever can make a refresh fail could turn the clock back, and a rotation that took a
//! key away could be shown once and then hidden.

use std::sync::Arc;

use super::key::RoleKeys;
use super::metadata::{FileMeta, Header, TimestampRole};
use super::rejection::Rejection;
use super::rollback::MinimumVersions;
use super::root::Root;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct TrustedState {
    root: Option<Arc<Root>>,
    publication: Option<Publication>,
    floor: MinimumVersions,
}

/// What the newest timestamp lists.
#[derive(Clone, Debug)]
struct Publication {
    age: PublicationVersion,
    lists: Lists,
}

#[derive(Clone, Debug)]
enum Lists {
    Snapshot(FileMeta),
    /// It was seen in an earlier process, which left no more of it than its versions.
    Unknown,
    /// Its server says that it was deleted.
    Gone,
}

/// The versions of a publication's root and timestamp: what orders two of them. Timestamps may begin again under a newer
/// root.
pub type PublicationVersion = (u64, u64);

impl TrustedState {
    /// What it takes in memory, but for the root.
    pub fn heap_size(&self) -> u64 {
        self.floor.heap_size()
    }

    /// A root that was trusted before, and a floor.
    pub fn new(root: Option<Arc<Root>>, floor: MinimumVersions) -> Self {
        Self { root, publication: None, floor }
    }

    /// The newest root.
    pub fn root(&self) -> Option<&Arc<Root>> {
        self.root.as_ref()
    }

    /// The newest header of every role.
    pub fn minimum_versions(&self) -> &MinimumVersions {
        &self.floor
    }

    /// A root that the chain led to (TUF 1.0 §5.3.8: each one is kept, however the rest goes).
    pub fn record_root(&mut self, root: &Arc<Root>) {
        self.floor.record_root(root.header);
        if self.root.as_ref().is_none_or(|seen| seen.header.version < root.header.version) {
            self.root = Some(Arc::clone(root));
        }
    }

    /// A timestamp that the keys of this root have signed: it must not go back behind what was seen.
    pub(crate) fn record_timestamp(&mut self, root: &Root, timestamp: &TimestampRole) -> Result<(), Rejection> {
        self.floor.note("timestamp", &root.timestamp, timestamp.header)?;
        let age = (root.header.version, timestamp.header.version);
        self.publication = Some(Publication { age, lists: Lists::Snapshot(timestamp.snapshot.clone()) });
        Ok(())
    }

    /// A floor above this data: an earlier process has seen a newer publication.
    pub(crate) fn record_newer(&mut self, root: &Root, floor: &MinimumVersions) {
        let age = (floor.root_version(), floor.version("timestamp", &root.timestamp));
        self.publication = Some(Publication { age, lists: Lists::Unknown });
    }

    /// The server has deleted what it had under this root. That holds until it has something again.
    pub(crate) fn record_deleted(&mut self, root: &Root) {
        let age = (self.floor.root_version(), self.floor.version("timestamp", &root.timestamp));
        self.publication = Some(Publication { age, lists: Lists::Gone });
    }

    /// Was the newest deleted at its server?
    pub fn is_deleted(&self) -> bool {
        self.publication.as_ref().is_some_and(|newest| matches!(newest.lists, Lists::Gone))
    }

    /// The same for any role below it, and the keys that it has.
    pub(crate) fn note(&mut self, role: &str, keys: &RoleKeys, header: Header) -> Result<(), Rejection> {
        self.floor.note(role, keys, header)
    }

    /// Takes over whatever is newer in another.
    pub fn merge(&mut self, other: &Self) {
        if let Some(root) = &other.root {
            self.record_root(root);
        }
        if other.age() > self.age() {
            self.publication.clone_from(&other.publication);
        }
        self.floor.merge(&other.floor);
    }

    /// The same, where the other has been seen later: what became of the same publication counts as well.
    pub fn merge_later(&mut self, later: &Self) {
        let is_as_new = later.age() >= self.age();
        self.merge(later);
        if is_as_new {
            self.publication.clone_from(&later.publication);
        }
    }

    fn age(&self) -> Option<PublicationVersion> {
        self.publication.as_ref().map(|publication| publication.age)
    }

    /// Was there a newer root, or another publication, than these?
    pub(crate) fn is_beyond(&self, root: &Root, timestamp: &TimestampRole) -> bool {
        self.root.as_ref().is_some_and(|seen| seen.header.version > root.header.version)
            || (self.publication.as_ref())
                .is_some_and(|newest| !matches!(&newest.lists, Lists::Snapshot(file) if *file == timestamp.snapshot))
    }
}
