//! A verified repository, and the questions that may be asked of it.
//!
//! A refresh asks for as little as is safe. With nothing known before: `root`, `timestamp`, snapshot, targets and the
//! delegations, one after the other. With an unchanged repository: the timestamp alone. No refresh falls back to older
//! data by itself; when one fails, there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::anchor::Anchor;
use super::gun::{Gun, RoleName};
use super::key::KeyId;
use super::metadata::{Header, SnapshotRole, TimestampRole};
use super::rejection::Rejection;
use super::rollback::MinimumVersions;
use super::root::Root;
use super::targets::TargetsRole;
use super::trusted_state::{PublicationVersion, TrustedState};
use crate::heap_size::{as_u64, inline_size, map_entry};

/// All that was verified of one repository in one refresh: immutable, shared between requests.
#[derive(Clone)]
pub struct Repository {
    pub(crate) gun: Gun,
    pub(crate) root: Arc<Root>,
    /// When so many of the root's certificates have ended that it is no longer signed by enough of them.
    pub(crate) certificates_end: Timestamp,
    pub(crate) timestamp: Arc<TimestampRole>,
    pub(crate) snapshot: Arc<SnapshotRole>,
    pub(crate) targets: Arc<TargetsRole>,
    /// The delegations that were looked for, `targets/releases` always.
    pub(crate) delegations: BTreeMap<RoleName, Delegation>,
    /// The newest that was verified, this or what came after it: nothing goes back behind it.
    pub(crate) seen: TrustedState,
}

/// What was found of a delegation. What is wrong with one signer's role must not deny those who do not ask for it.
#[derive(Clone, Debug)]
pub enum Delegation {
    /// Not delegated, or never published.
    Absent,
    /// Verified; it may have expired.
    Verified(Arc<TargetsRole>),
    /// Published, and not to be relied on.
    Rejected(Rejection),
}

/// When a role's metadata ends.
#[derive(Clone, Debug)]
pub struct RoleExpiry {
    /// `root`, `timestamp`, `snapshot`, `targets` or a delegation.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// Its expiry; for the root that of its certificates, if they end earlier.
    pub expires: Timestamp,
}

impl Repository {
    /// The root.
    pub fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The timestamp.
    pub fn timestamp(&self) -> &TimestampRole {
        &self.timestamp
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &SnapshotRole {
        &self.snapshot
    }

    /// The top-level targets.
    pub fn targets(&self) -> &TargetsRole {
        &self.targets
    }

    /// The delegations that were looked for, `targets/releases` always.
    pub fn delegations(&self) -> &BTreeMap<RoleName, Delegation> {
        &self.delegations
    }

    /// The newest that was verified: this data, or what came after it.
    pub fn trusted_state(&self) -> &TrustedState {
        &self.seen
    }

    /// Was something newer verified than this, in a refresh that failed further on? Then this stands in for nothing.
    pub fn is_superseded(&self) -> bool {
        self.seen.is_beyond(&self.root, &self.timestamp)
    }

    /// The same data, with what was seen of newer data.
    pub fn with_state(&self, seen: &TrustedState) -> Self {
        let mut repository = self.clone();
        repository.seen.merge_later(seen);
        repository
    }

    /// Is this floor above what was seen here, under the keys that the roles have here? Roles that were never asked for
    /// do not count.
    pub fn is_below(&self, floor: &MinimumVersions) -> bool {
        let seen = self.seen.minimum_versions();
        let is_above = |role: &str| {
            let keys = match role {
                "timestamp" => Some(&self.root.timestamp),
                "snapshot" => Some(&self.root.snapshot),
                "targets" => Some(&self.root.targets),
                name => RoleName::parse(name).and_then(|role| self.targets.delegation(&role)).map(|role| &role.keys),
            };
            keys.is_some_and(|keys| floor.version(role, keys) > seen.version(role, keys))
        };
        // Row 66: a role that releases, and was seen, is part of all newer data.
        let releases = RoleName::releases();
        let lacks_releases = floor.has(releases.as_str()) && !seen.has(releases.as_str());
        floor.root_version() > seen.root_version() || lacks_releases || seen.roles().any(is_above)
    }

    /// What orders this among other publications of the repository.
    pub fn publication_version(&self) -> PublicationVersion {
        (self.root.header.version, self.timestamp.header.version)
    }

    /// The same data for those who trust by this anchor (row 44: pins apply to a stored root too).
    pub fn under_anchor(&self, anchor: &Anchor, now: Timestamp) -> Result<Self, Rejection> {
        let certificates_end = self.root.trusted_until(anchor, &self.gun, now)?;
        Ok(Self { certificates_end, ..self.clone() })
    }

    /// Were all of these delegations fetched, or found not to be there, when this was verified?
    pub fn knows_delegations(&self, signers: &BTreeSet<RoleName>) -> bool {
        signers.iter().all(|role| self.delegations.contains_key(role))
    }

    /// When each verified role's metadata ends, root first.
    pub fn expiries(&self) -> Vec<RoleExpiry> {
        let expiry = |role: &str, header: &Header| RoleExpiry {
            role: role.to_owned(),
            version: header.version,
            expires: header.expires,
        };
        let mut root = expiry("root", &self.root.header);
        root.expires = root.expires.min(self.certificates_end);
        let mut all = vec![
            root,
            expiry("timestamp", &self.timestamp.header),
            expiry("snapshot", &self.snapshot.header),
            expiry("targets", &self.targets.header),
        ];
        all.extend(self.delegations.iter().filter_map(|(role, delegation)| match delegation {
            Delegation::Verified(held) => Some(expiry(role.as_str(), &held.header)),
            Delegation::Absent | Delegation::Rejected(_) => None,
        }));
        all
    }

    /// The IDs of the root role's keys: what an operator would pin.
    pub fn root_key_ids(&self) -> Vec<KeyId> {
        self.root.key_ids()
    }

    /// The verified files that a later start can build on, as they were served.
    pub fn files(&self) -> RepositoryFiles<'_> {
        RepositoryFiles { root: &self.root.bytes, timestamp: &self.timestamp.bytes, snapshot: &self.snapshot.bytes }
    }

    /// About what it takes in memory, in bytes.
    pub fn heap_size(&self) -> u64 {
        let held = self.delegations.values().filter_map(|delegation| match delegation {
            Delegation::Verified(held) => Some(held.heap_size()),
            Delegation::Absent | Delegation::Rejected(_) => None,
        });
        // Twice: where a newer root was seen, there are two.
        let kept = 2 * self.root.heap_size()
            + self.timestamp.heap_size()
            + self.snapshot.heap_size()
            + self.targets.heap_size();
        let roles = as_u64(self.delegations.len()) * map_entry::<RoleName, (Delegation, [usize; 4])>();
        inline_size::<Self>()
            .saturating_add(kept)
            .saturating_add(roles)
            .saturating_add(self.seen.heap_size())
            .saturating_add(held.sum())
    }
}

/// Names and versions: the whole would fill a log with megabytes.
impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Repository");
        out.field("gun", &self.gun.as_str());
        for role in self.expiries() {
            out.field(&role.role, &role.version);
        }
        out.finish_non_exhaustive()
    }
}

/// The verified files of a repository.
#[derive(Clone, Copy, Debug)]
pub struct RepositoryFiles<'a> {
    /// The root.
    pub root: &'a [u8],
    /// The timestamp.
    pub timestamp: &'a [u8],
    /// The snapshot.
    pub snapshot: &'a [u8],
}
