//! The newest that was ever verified of a repository. A refresh that fails halfway has seen something all the same: a
//! version that was verified is never forgotten for the sake of a file that came after it, or whoever can make a refresh
//! fail could turn the clock back, and a rotation that took a key away could be shown once and then hidden.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RoleName;
use super::metadata::{FileMeta, Header, SnapshotRole, TimestampRole};
use super::rejection::Rejection;
use super::root::Root;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    root: Option<Arc<Root>>,
    /// The timestamp, and the snapshot that it lists.
    timestamp: Option<(Header, FileMeta)>,
    snapshot: Option<Header>,
    targets: Option<Header>,
    /// None of them goes back (row 59), even if it went away for a while.
    delegations: BTreeMap<RoleName, Header>,
}

impl Seen {
    /// A root that was trusted before, and nothing else.
    pub(super) fn starting_at(root: &Arc<Root>) -> Self {
        Self { root: Some(Arc::clone(root)), ..Self::default() }
    }

    /// The newest header of every role, by the role's name.
    pub(super) fn headers(&self) -> impl Iterator<Item = (String, Header)> {
        let root = self.root.as_ref().map(|root| root.header);
        let timestamp = self.timestamp.as_ref().map(|(header, _)| *header);
        let base = [("root", root), ("timestamp", timestamp), ("snapshot", self.snapshot), ("targets", self.targets)];
        let base = base.into_iter().filter_map(|(role, header)| Some((role.to_owned(), header?)));
        base.chain(self.delegations.iter().map(|(role, header)| (role.to_string(), *header)))
    }

    /// A delegation that was seen at another time.
    pub(super) fn raise_delegation(&mut self, role: RoleName, header: Header) {
        let known = self.delegations.entry(role).or_insert(header);
        if known.version < header.version {
            *known = header;
        }
    }

    /// The newest root.
    pub(super) fn root(&self) -> Option<&Arc<Root>> {
        self.root.as_ref()
    }

    /// A root that the chain led to (TUF 1.0 §5.3.8: each one is kept, however the rest goes).
    pub(super) fn note_root(&mut self, root: &Arc<Root>) {
        if self.root.as_ref().is_none_or(|seen| seen.header.version < root.header.version) {
            self.root = Some(Arc::clone(root));
        }
    }

    /// A timestamp that its keys have signed: it must not go back behind what was seen.
    pub(super) fn note_timestamp(&mut self, timestamp: &TimestampRole) -> Result<(), Rejection> {
        timestamp.header.check_progress("timestamp", self.timestamp.as_ref().map(|(header, _)| header))?;
        self.timestamp = Some((timestamp.header, timestamp.snapshot.clone()));
        Ok(())
    }

    /// The same for a snapshot.
    pub(super) fn note_snapshot(&mut self, snapshot: &SnapshotRole) -> Result<(), Rejection> {
        note(&mut self.snapshot, "snapshot", snapshot.header)
    }

    /// The same for the top-level targets.
    pub(super) fn note_targets(&mut self, header: Header) -> Result<(), Rejection> {
        note(&mut self.targets, "targets", header)
    }

    /// The same for a delegation.
    pub(super) fn note_delegation(&mut self, role: &RoleName, header: Header) -> Result<(), Rejection> {
        header.check_progress(role.as_str(), self.delegations.get(role))?;
        self.delegations.insert(role.clone(), header);
        Ok(())
    }

    /// Was this delegation ever there?
    pub(super) fn has_delegation(&self, role: &RoleName) -> bool {
        self.delegations.contains_key(role)
    }

    /// Was there a newer root, or another publication, than these?
    pub(super) fn is_beyond(&self, root: &Root, timestamp: &TimestampRole) -> bool {
        self.root.as_ref().is_some_and(|seen| seen.header.version > root.header.version)
            || self.timestamp.as_ref().is_some_and(|(_, snapshot)| *snapshot != timestamp.snapshot)
    }
}

fn note(seen: &mut Option<Header>, role: &str, header: Header) -> Result<(), Rejection> {
    header.check_progress(role, seen.as_ref())?;
    *seen = Some(header);
    Ok(())
}
