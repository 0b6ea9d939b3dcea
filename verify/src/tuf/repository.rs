//! A verified repository: the data of one refresh. `query` finds targets in it; `refresh` makes it.

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
use crate::ordered::{Map, Set};

/// What one refresh has verified of a repository: immutable, shared between requests.
#[derive(Clone)]
pub struct Repository {
    pub(crate) gun: Gun,
    pub(crate) root: Arc<Root>,
    /// When so many certificates of root keys have expired that the root's threshold is no longer met.
    pub(crate) certificates_end: Timestamp,
    pub(crate) timestamp: Arc<TimestampRole>,
    pub(crate) snapshot: Arc<SnapshotRole>,
    pub(crate) targets: Arc<TargetsRole>,
    /// The delegations that were asked for. `targets/releases` always is.
    pub(crate) delegations: Map<RoleName, Delegation>,
    /// The newest data that was verified: this data, or newer data of a refresh that failed.
    pub(crate) state: TrustedState,
}

/// The result of asking for a delegation. A fault in one signer's role must not deny images that do not need this signer.
#[derive(Clone, Debug)]
pub enum Delegation {
    /// Not delegated, or never published.
    Absent,
    /// Verified. It may have expired since.
    Verified(Arc<TargetsRole>),
    /// Published, and rejected.
    Rejected(Rejection),
}

/// When a role's metadata expires.
#[derive(Clone, Debug)]
pub struct RoleExpiry {
    /// `root`, `timestamp`, `snapshot`, `targets` or a delegation.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// Its expiry. For the root, that of its certificates if they expire earlier.
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

    /// The delegations that were asked for. `targets/releases` always is.
    pub fn delegations(&self) -> &Map<RoleName, Delegation> {
        &self.delegations
    }

    /// The newest data that was verified: this data, or newer data of a refresh that failed.
    pub fn trusted_state(&self) -> &TrustedState {
        &self.state
    }

    /// Was newer data verified in a refresh that then failed? Such a repository may not be used, not even while the server is
    /// unreachable.
    pub fn is_superseded(&self) -> bool {
        self.state.is_beyond(&self.root, &self.timestamp)
    }

    /// The same data, with what is known of newer data.
    pub fn with_state(&self, state: &TrustedState) -> Self {
        let mut repository = self.clone();
        repository.state.merge_later(state);
        repository
    }

    /// Is any of these versions newer than the verified one, for the keys that the role has here? Roles that were never asked
    /// for do not count.
    pub fn is_below(&self, minimum: &MinimumVersions) -> bool {
        let verified = self.state.minimum_versions();
        let is_above = |role: &str| {
            let keys = match role {
                "timestamp" => Some(&self.root.timestamp),
                "snapshot" => Some(&self.root.snapshot),
                "targets" => Some(&self.root.targets),
                name => RoleName::parse(name).and_then(|role| self.targets.delegation(&role)).map(|role| &role.keys),
            };
            keys.is_some_and(|keys| minimum.version(role, keys) > verified.version(role, keys))
        };
        // TRUST.md, row 66: once `targets/releases` was verified, all newer data has it.
        let releases = RoleName::releases();
        let lacks_releases = minimum.has(releases.as_str()) && !verified.has(releases.as_str());
        minimum.root_version() > verified.root_version() || lacks_releases || verified.roles().any(is_above)
    }

    /// The version that orders the publications of a repository.
    pub fn publication_version(&self) -> PublicationVersion {
        (self.root.header.version, self.timestamp.header.version)
    }

    /// The same data under this anchor (TRUST.md, row 44: pins apply to a stored root too). Two anchors share one repository
    /// if the certificates by which they trust its root end at the same time.
    pub fn under_anchor(self: &Arc<Self>, anchor: &Anchor, now: Timestamp) -> Result<Arc<Self>, Rejection> {
        let certificates_end = self.root.trusted_until(anchor, &self.gun, now)?;
        if certificates_end == self.certificates_end {
            return Ok(Arc::clone(self));
        }
        Ok(Arc::new(Self { certificates_end, ..Self::clone(self) }))
    }

    /// Were all of these delegations asked for?
    pub fn knows_delegations(&self, signers: &Set<RoleName>) -> bool {
        signers.iter().all(|role| self.delegations.contains_key(role))
    }

    /// When the metadata of each verified role expires, the root first.
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
            Delegation::Verified(targets) => Some(expiry(role.as_str(), &targets.header)),
            Delegation::Absent | Delegation::Rejected(_) => None,
        }));
        all
    }

    /// The IDs of the root role's keys, which an operator can pin.
    pub fn root_key_ids(&self) -> Vec<KeyId> {
        self.root.key_ids()
    }

    /// The verified files from which a later process can continue, as they were served.
    pub fn files(&self) -> RepositoryFiles<'_> {
        RepositoryFiles { root: &self.root.bytes, timestamp: &self.timestamp.bytes, snapshot: &self.snapshot.bytes }
    }

    /// What it takes in memory, nearly.
    pub fn heap_size(&self) -> u64 {
        let delegated = self.delegations.values().filter_map(|delegation| match delegation {
            Delegation::Verified(targets) => Some(targets.heap_size()),
            Delegation::Absent | Delegation::Rejected(_) => None,
        });
        // Twice the root: the trusted state may hold a newer one.
        let kept = 2 * self.root.heap_size()
            + self.timestamp.heap_size()
            + self.snapshot.heap_size()
            + self.targets.heap_size();
        self.unshared_heap_size().saturating_add(kept).saturating_add(delegated.sum())
    }

    /// The same for a clone, which shares all metadata with its original.
    pub fn unshared_heap_size(&self) -> u64 {
        let roles = as_u64(self.delegations.len()) * map_entry::<RoleName, (Delegation, [usize; 4])>();
        inline_size::<Self>().saturating_add(roles).saturating_add(self.state.heap_size())
    }
}

/// Names and versions only: all the data would fill a log with megabytes.
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
