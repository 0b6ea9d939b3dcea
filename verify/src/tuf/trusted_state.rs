//! The newest data of a repository that was ever verified: its root, its publication, and the minimum version of every role.
//!
//! A version that was verified is recorded even if the refresh fails at a later file. Otherwise an attacker who can make a
//! refresh fail could offer older data again, or show a rotation that removed a key once and then hide it.

use std::sync::Arc;

use super::key::RoleKeys;
use super::metadata::{FileMeta, Header, TimestampRole};
use super::rejection::Rejection;
use super::rollback::MinimumVersions;
use super::root::Root;

/// The newest root, publication and versions.
#[derive(Clone, Debug, Default)]
pub struct TrustedState {
    root: Option<Arc<Root>>,
    publication: Option<Publication>,
    minimum: MinimumVersions,
}

/// The newest publication.
#[derive(Clone, Debug)]
struct Publication {
    version: PublicationVersion,
    content: Published,
}

#[derive(Clone, Debug)]
enum Published {
    /// Its timestamp lists this snapshot.
    Snapshot(FileMeta),
    /// An earlier process has verified it and stored nothing but its versions.
    Unknown,
    /// The server has deleted it.
    Deleted,
}

/// The versions of a publication's root and of its timestamp, which order publications. Timestamps may begin again at 1 under
/// a newer root.
pub type PublicationVersion = (u64, u64);

impl TrustedState {
    /// What it takes in memory, without the root.
    pub fn heap_size(&self) -> u64 {
        self.minimum.heap_size()
    }

    /// From a root that was trusted before and from minimum versions.
    pub fn new(root: Option<Arc<Root>>, minimum: MinimumVersions) -> Self {
        Self { root, publication: None, minimum }
    }

    /// The newest root.
    pub fn root(&self) -> Option<&Arc<Root>> {
        self.root.as_ref()
    }

    /// The minimum version of every role.
    pub fn minimum_versions(&self) -> &MinimumVersions {
        &self.minimum
    }

    /// Records a root that the chain of rotations led to (TUF 1.0 §5.3.8: also if a later step fails).
    pub fn record_root(&mut self, root: &Arc<Root>) {
        self.minimum.record_root(root.header);
        if self.root.as_ref().is_none_or(|known| known.header.version < root.header.version) {
            self.root = Some(Arc::clone(root));
        }
    }

    /// Records a timestamp that the keys of this root have signed. It must not be older than the recorded one.
    pub(crate) fn record_timestamp(&mut self, root: &Root, timestamp: &TimestampRole) -> Result<(), Rejection> {
        self.minimum.record("timestamp", &root.timestamp, timestamp.header)?;
        let version = (root.header.version, timestamp.header.version);
        self.publication = Some(Publication { version, content: Published::Snapshot(timestamp.snapshot.clone()) });
        Ok(())
    }

    /// Records that an earlier process has verified a newer publication, of which only these versions are known.
    pub(crate) fn record_newer(&mut self, root: &Root, newer: &MinimumVersions) {
        let version = (newer.root_version(), newer.version("timestamp", &root.timestamp));
        self.publication = Some(Publication { version, content: Published::Unknown });
    }

    /// Records that the server has deleted the repository. A timestamp that is verified later ends this.
    pub(crate) fn record_deleted(&mut self, root: &Root) {
        let version = (self.minimum.root_version(), self.minimum.version("timestamp", &root.timestamp));
        self.publication = Some(Publication { version, content: Published::Deleted });
    }

    /// Has the server deleted the newest publication?
    pub fn is_deleted(&self) -> bool {
        self.publication.as_ref().is_some_and(|newest| matches!(newest.content, Published::Deleted))
    }

    /// Records the header of a role, with the keys that the role has. It must not be older than the recorded one.
    pub(crate) fn record(&mut self, role: &str, keys: &RoleKeys, header: Header) -> Result<(), Rejection> {
        self.minimum.record(role, keys, header)
    }

    /// Takes over what is newer in another state.
    pub fn merge(&mut self, other: &Self) {
        if let Some(root) = &other.root {
            self.record_root(root);
        }
        if other.version() > self.version() {
            self.publication.clone_from(&other.publication);
        }
        self.minimum.merge(&other.minimum);
    }

    /// The same for a state that was recorded later: it also replaces what is known of the same publication.
    pub fn merge_later(&mut self, later: &Self) {
        let is_as_new = later.version() >= self.version();
        self.merge(later);
        if is_as_new {
            self.publication.clone_from(&later.publication);
        }
    }

    fn version(&self) -> Option<PublicationVersion> {
        self.publication.as_ref().map(|publication| publication.version)
    }

    /// Is there a newer root than this one, or another publication than that of this timestamp?
    pub(crate) fn is_beyond(&self, root: &Root, timestamp: &TimestampRole) -> bool {
        self.root.as_ref().is_some_and(|known| known.header.version > root.header.version)
            || (self.publication.as_ref()).is_some_and(
                |newest| !matches!(&newest.content, Published::Snapshot(file) if *file == timestamp.snapshot),
            )
    }
}
