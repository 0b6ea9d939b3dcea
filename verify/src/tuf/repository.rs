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
use super::key::{KeyId, SignerKey};
use super::metadata::{FileMeta, Header, SnapshotRole, TimestampRole};
pub use super::refresh::RefreshError;
use super::refresh::{Refresh, open_listed};
pub use super::rejection::{NotSigned, Rejection, RootDistrust};
use super::rollback::MinimumVersions;
use super::root::Root;
use super::source::{MetadataName, MetadataSource};
use super::targets::TargetsRole;
use super::trusted_state::{PublicationVersion, TrustedState};
use crate::heap_size::{as_u64, inline_size, map_entry};
use crate::image::{Glob, Sha256};
use crate::unavailable::Unavailable;

/// A digest that trust data vouches for. Only [`Repository::find_target`] makes one; the patch takes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerifiedDigest(Sha256);

impl VerifiedDigest {
    /// The digest.
    pub fn sha256(&self) -> Sha256 {
        self.0
    }
}

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

/// A refresh that gave nothing, and what is to be remembered of it.
#[derive(Debug)]
pub struct FailedRefresh {
    /// Why.
    pub error: RefreshError,
    /// What was verified all the same, beside what was seen before. `None` on first contact: a root that nothing was ever
    /// verified under is not held to for having been served once.
    pub state: Option<TrustedState>,
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

/// The tags under which a digest alone may be released; by default all.
#[derive(Clone, Copy, Debug, Default)]
pub struct TagFilter<'a> {
    /// These; `None` for all.
    pub among: Option<&'a Glob>,
    /// But not these.
    pub except: &'a [&'a Glob],
}

impl TagFilter<'_> {
    fn count(&self, tag: &str) -> bool {
        self.among.is_none_or(|among| among.matches(tag)) && !self.except.iter().any(|except| except.matches(tag))
    }
}

/// What is asked of a repository: an image by tag, by digest, or by both.
#[derive(Clone, Copy, Debug)]
pub struct TargetQuery<'a> {
    /// The tag. With a digest as well, the tag's target must have that digest.
    pub tag: Option<&'a str>,
    /// The digest. Without a tag, some released target must have it.
    pub digest: Option<Sha256>,
}

/// A signer that policy requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredSigner {
    /// The role, `targets/<name>`.
    pub role: RoleName,
    /// The configured keys: one of them must have signed the role's metadata. Never empty.
    pub keys: Vec<SignerKey>,
}

/// A repository's answer.
#[derive(Clone, Debug)]
pub struct SignedTarget {
    /// What to pin the image to.
    pub digest: VerifiedDigest,
    /// The tag whose target it is.
    pub tag: String,
    /// The role it was released in: `targets/releases` or `targets`.
    pub released_by: String,
    /// The roles that signed it, of those that were asked for.
    pub signers: Vec<RoleName>,
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

    /// Was something newer verified than this, in a refresh that failed further on? Then this stands in for nothing.
    pub fn is_superseded(&self) -> bool {
        self.seen.is_beyond(&self.root, &self.timestamp)
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

    /// Were all of these delegations fetched, or found not to be there, when this was verified?
    pub fn knows_delegations(&self, signers: &BTreeSet<RoleName>) -> bool {
        signers.iter().all(|role| self.delegations.contains_key(role))
    }

    /// Is the image released and signed as required? Expired metadata never counts, so the time is asked for again.
    pub fn find_target(
        &self,
        wanted: TargetQuery<'_>,
        signers: &[RequiredSigner],
        now: Timestamp,
    ) -> Result<SignedTarget, Rejection> {
        self.find_target_among(wanted, TagFilter::default(), signers, now)
    }

    /// The same, where a digest alone counts only if it is released under one of these tags.
    pub fn find_target_among(
        &self,
        wanted: TargetQuery<'_>,
        tags: TagFilter<'_>,
        signers: &[RequiredSigner],
        now: Timestamp,
    ) -> Result<SignedTarget, Rejection> {
        self.check_expiries(now)?;
        let releasing = self.releasing(now)?;
        let gun = || self.gun.as_str().to_owned();
        let roles = || releasing.iter().map(|role| role.name).collect();
        match wanted {
            TargetQuery { tag: Some(tag), digest } => {
                // Docker's order, tag by tag (row 101): the first role that lists the tag decides.
                let found = releasing.iter().find_map(|role| Some((role, role.get(tag)?)));
                let (role, found) =
                    found.ok_or_else(|| Rejection::NoSuchTag { gun: gun(), tag: tag.to_owned(), roles: roles() })?;
                let found = found
                    .ok_or_else(|| Rejection::UnusableTarget { tag: tag.to_owned(), role: role.name.to_owned() })?;
                if let Some(wanted) = digest.filter(|wanted| *wanted != found) {
                    return Err(Rejection::DigestMismatch { tag: tag.to_owned(), wanted, released: found });
                }
                self.signed(role, tag, found, signers, now)
            }
            TargetQuery { tag: None, digest: Some(digest) } => {
                let mut refusal = None;
                // Whichever of them lists it (row 102): what was pinned while `targets` released it goes on running.
                for role in &releasing {
                    let counts = |tag: &&str| tags.count(tag);
                    for tag in role.tags_with(digest).filter(counts) {
                        match self.signed(role, tag, digest, signers, now) {
                            Ok(judgement) => return Ok(judgement),
                            Err(rejection) => refusal = refusal.or(Some(rejection)),
                        }
                    }
                }
                Err(refusal.unwrap_or_else(|| Rejection::NoSuchDigest { gun: gun(), digest, roles: roles() }))
            }
            TargetQuery { tag: None, digest: None } => Err(Rejection::NothingAsked),
        }
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

    /// The root's version.
    pub fn root_version(&self) -> u64 {
        self.root.header.version
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

    /// The roles that every answer relies on.
    fn check_expiries(&self, now: Timestamp) -> Result<(), Rejection> {
        if self.is_superseded() {
            return Err(Rejection::Superseded { gun: self.gun.as_str().to_owned() });
        }
        self.root.header.check_expiry("root", now)?;
        if now > self.certificates_end {
            return Err(Rejection::RootNotTrusted {
                gun: self.gun.as_str().to_owned(),
                why: RootDistrust::OutOfDate,
                keys: self.root.key_ids(),
            });
        }
        self.timestamp.header.check_expiry("timestamp", now)?;
        self.snapshot.header.check_expiry("snapshot", now)?;
        self.targets.header.check_expiry("targets", now)
    }

    /// The roles that release, in the order in which they are asked: `targets/releases`, if there is one, and `targets`.
    /// A `targets/releases` that cannot be relied on is a rejection, and no reason to ask `targets` (row 70).
    pub fn releasing(&self, now: Timestamp) -> Result<Vec<Releasing<'_>>, Rejection> {
        let role = RoleName::releases();
        let targets = Releasing { name: "targets", targets: &self.targets, covers: None };
        match self.delegations.get(&role) {
            Some(Delegation::Verified(held)) => {
                held.check_expiry(role.as_str(), now)?;
                let covers = self.targets.delegation(&role);
                let covers = covers.ok_or_else(|| Rejection::Vanished { role: role.to_string() })?;
                Ok(vec![Releasing { name: "targets/releases", targets: held, covers: Some(covers) }, targets])
            }
            Some(Delegation::Rejected(rejection)) => Err(rejection.clone()),
            Some(Delegation::Absent) => Ok(vec![targets]),
            None => Err(Rejection::Missing { role: role.to_string() }), // every refresh looks for it
        }
    }

    /// Have all required signers signed this digest under this tag?
    fn signed(
        &self,
        role: &Releasing<'_>,
        tag: &str,
        digest: Sha256,
        signers: &[RequiredSigner],
        now: Timestamp,
    ) -> Result<SignedTarget, Rejection> {
        for signer in signers {
            self.signed_by(signer, tag, digest, now)?;
        }
        Ok(SignedTarget {
            digest: VerifiedDigest(digest),
            tag: tag.to_owned(),
            released_by: role.name.to_owned(),
            signers: signers.iter().map(|signer| signer.role.clone()).collect(),
        })
    }

    /// TRUST.md, "Reading a repository", 8.
    fn signed_by(&self, signer: &RequiredSigner, tag: &str, digest: Sha256, now: Timestamp) -> Result<(), Rejection> {
        let role = &signer.role;
        let not = |why: NotSigned| Rejection::NotSignedBy { role: role.to_string(), why };
        let tag_name = || tag.to_owned();
        let held = match self.delegations.get(role) {
            Some(Delegation::Verified(held)) => held,
            Some(Delegation::Rejected(rejection)) => return Err(rejection.clone()),
            Some(Delegation::Absent) => return Err(not(NotSigned::NoRole)),
            None => return Err(not(NotSigned::NotFetched)),
        };
        held.check_expiry(role.as_str(), now)?;
        // That the key is listed proves nothing; its signature was verified, or it is not here.
        if !signer.keys.iter().any(|key| held.is_signed_by(key.canonical_id())) {
            return Err(not(NotSigned::OtherKey));
        }
        let delegation = self.targets.delegation(role).ok_or_else(|| not(NotSigned::NoRole))?;
        if !delegation.covers(tag) {
            return Err(not(NotSigned::NoAuthority { tag: tag_name() }));
        }
        match held.tags().get(tag) {
            Some(Some(signed)) if signed == digest => Ok(()),
            Some(signed) => Err(not(NotSigned::OtherDigest { tag: tag_name(), released: digest, signed })),
            None => Err(not(NotSigned::NoTag { tag: tag_name() })),
        }
    }

    /// Fetches and verifies a delegation, or finds that it is not there. `carried` is what was verified before.
    pub fn fetch_delegation(
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

/// A role that releases tags.
pub struct Releasing<'a> {
    name: &'static str,
    targets: &'a TargetsRole,
    /// The delegation that limits it; `targets` itself has authority over everything.
    covers: Option<&'a super::targets::DelegatedRole>,
}

impl<'a> Releasing<'a> {
    fn get(&self, tag: &str) -> Option<Option<Sha256>> {
        self.targets.tags().get(tag).filter(|_| self.has_authority(tag))
    }

    fn tags_with(&self, digest: Sha256) -> impl Iterator<Item = &'a str> {
        self.targets.tags().with_digest(digest).filter(|tag| self.has_authority(tag))
    }

    fn has_authority(&self, tag: &str) -> bool {
        self.covers.is_none_or(|delegation| delegation.covers(tag))
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
