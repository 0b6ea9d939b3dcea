//! Which digest a tag is signed as, and by whom.

use jiff::Timestamp;

use super::gun::RoleName;
use super::key::SignerKey;
use super::rejection::{NotSigned, Rejection, RootDistrust};
use super::repository::{Delegation, Repository};
use super::targets::{DelegatedRole, TargetsRole};
use crate::image::{Glob, Sha256};
use crate::verified::VerifiedDigest;

/// The tags under which a digest alone may be released. The default is all tags.
#[derive(Clone, Copy, Debug, Default)]
pub struct TagFilter<'a> {
    /// Only tags that match this. `None`: all tags.
    pub among: Option<&'a Glob>,
    /// No tags that match one of these.
    pub except: &'a [&'a Glob],
}

impl TagFilter<'_> {
    fn allows(&self, tag: &str) -> bool {
        self.among.is_none_or(|among| among.matches(tag)) && !self.except.iter().any(|except| except.matches(tag))
    }
}

/// An image to look up: by tag, by digest, or by both.
#[derive(Clone, Copy, Debug)]
pub struct TargetQuery<'a> {
    /// The tag. With a digest as well, the tag's target must have this digest.
    pub tag: Option<&'a str>,
    /// The digest. Without a tag, some released target must have it.
    pub digest: Option<Sha256>,
}

/// A signer that policy requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredSigner {
    /// The role, `targets/<name>`.
    pub role: RoleName,
    /// The configured keys, of which one must have signed the role's metadata. Never empty.
    pub keys: Vec<SignerKey>,
}

/// A target that is released, and signed as required.
#[derive(Clone, Debug)]
pub struct SignedTarget {
    /// The digest to pin the image to.
    pub digest: VerifiedDigest,
    /// The tag whose target it is.
    pub tag: String,
    /// The role that released it: `targets/releases` or `targets`. All required signers have signed it as well.
    pub released_by: &'static str,
}

impl Repository {
    /// Is the image released, and signed as required? Every expiry is checked again, because data may expire while it is cached.
    pub fn find_target(
        &self,
        query: TargetQuery<'_>,
        signers: &[RequiredSigner],
        now: Timestamp,
    ) -> Result<SignedTarget, Rejection> {
        self.find_target_among(query, TagFilter::default(), signers, now)
    }

    /// Like [`Repository::find_target`]. A digest alone must be released under one of these tags.
    pub fn find_target_among(
        &self,
        query: TargetQuery<'_>,
        tags: TagFilter<'_>,
        signers: &[RequiredSigner],
        now: Timestamp,
    ) -> Result<SignedTarget, Rejection> {
        self.check_expiries(now)?;
        let releasing = self.releasing(now)?;
        let gun = || self.gun.as_str().to_owned();
        let roles = || releasing.iter().flatten().map(|role| role.name).collect();
        match query {
            TargetQuery { tag: Some(tag), digest } => {
                // Docker's order (TRUST.md, row 101): for each tag, the first role that lists it decides.
                let found = releasing.iter().flatten().find_map(|role| Some((role, role.get(tag)?)));
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
                // Any role that lists the digest releases it (TRUST.md, row 102): images that were pinned while `targets`
                // released them go on running.
                for role in releasing.iter().flatten() {
                    let counts = |tag: &&str| tags.allows(tag);
                    for tag in role.tags_with(digest).filter(counts) {
                        match self.signed(role, tag, digest, signers, now) {
                            Ok(target) => return Ok(target),
                            Err(rejection) => refusal = refusal.or(Some(rejection)),
                        }
                    }
                }
                Err(refusal.unwrap_or_else(|| Rejection::NoSuchDigest { gun: gun(), digest, roles: roles() }))
            }
            TargetQuery { tag: None, digest: None } => Err(Rejection::NothingAsked),
        }
    }

    /// Checks the roles that every target depends on.
    pub(super) fn check_expiries(&self, now: Timestamp) -> Result<(), Rejection> {
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

    /// The roles that release, in the order in which they decide: `targets/releases`, if there is one, and `targets`. If
    /// `targets/releases` is rejected, `targets` is not used instead (TRUST.md, row 70).
    pub(crate) fn releasing(&self, now: Timestamp) -> Result<[Option<ReleasingRole<'_>>; 2], Rejection> {
        let name = RoleName::RELEASES;
        let targets = ReleasingRole { name: "targets", targets: &self.targets, covers: None };
        match self.delegations.get_key_value(name) {
            Some((role, Delegation::Verified(releases))) => {
                releases.check_expiry(name, now)?;
                let covers = self.targets.delegation(role);
                let covers = covers.ok_or_else(|| Rejection::Vanished { role: name.to_owned() })?;
                Ok([Some(ReleasingRole { name, targets: releases, covers: Some(covers) }), Some(targets)])
            }
            Some((_, Delegation::Rejected(rejection))) => Err(rejection.clone()),
            Some((_, Delegation::Absent)) => Ok([Some(targets), None]),
            None => Err(Rejection::Missing { role: name.to_owned() }), // every refresh asks for it
        }
    }

    /// Have all required signers signed this digest under this tag?
    fn signed(
        &self,
        role: &ReleasingRole<'_>,
        tag: &str,
        digest: Sha256,
        signers: &[RequiredSigner],
        now: Timestamp,
    ) -> Result<SignedTarget, Rejection> {
        for signer in signers {
            self.signed_by(signer, tag, digest, now)?;
        }
        Ok(SignedTarget { digest: VerifiedDigest::new(digest), tag: tag.to_owned(), released_by: role.name })
    }

    /// TRUST.md, "Reading a repository", 8.
    fn signed_by(&self, signer: &RequiredSigner, tag: &str, digest: Sha256, now: Timestamp) -> Result<(), Rejection> {
        let role = &signer.role;
        let not = |why: NotSigned| Rejection::NotSignedBy { role: role.to_string(), why };
        let tag_name = || tag.to_owned();
        let signed_role = match self.delegations.get(role) {
            Some(Delegation::Verified(targets)) => targets,
            Some(Delegation::Rejected(rejection)) => return Err(rejection.clone()),
            Some(Delegation::Absent) => return Err(not(NotSigned::NoRole)),
            None => return Err(not(NotSigned::NotFetched)),
        };
        signed_role.check_expiry(role.as_str(), now)?;
        // A listed key proves nothing. Only keys whose signature was verified are in this list.
        if !signer.keys.iter().any(|key| signed_role.is_signed_by(key.canonical_id())) {
            return Err(not(NotSigned::OtherKey));
        }
        let delegation = self.targets.delegation(role).ok_or_else(|| not(NotSigned::NoRole))?;
        if !delegation.covers(tag) {
            return Err(not(NotSigned::NoAuthority { tag: tag_name() }));
        }
        match signed_role.tags().get(tag) {
            Some(Some(signed)) if signed == digest => Ok(()),
            Some(signed) => Err(not(NotSigned::OtherDigest { tag: tag_name(), released: digest, signed })),
            None => Err(not(NotSigned::NoTag { tag: tag_name() })),
        }
    }
}

/// A role that releases tags.
pub(crate) struct ReleasingRole<'a> {
    name: &'static str,
    targets: &'a TargetsRole,
    /// The delegation that limits it. `targets` itself has authority over all tags.
    covers: Option<&'a DelegatedRole>,
}

impl<'a> ReleasingRole<'a> {
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
