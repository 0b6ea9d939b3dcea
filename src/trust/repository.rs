//! A verified repository, and the questions that may be asked of it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Anchor, Gun, KeyId, MetadataSource, RoleName, SignerKey};
use crate::image::Sha256;

/// A digest that trust data vouches for. Only [`Repository::judge`] makes one; the patch takes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerifiedDigest(Sha256);

impl VerifiedDigest {
    /// The digest.
    pub fn sha256(&self) -> Sha256 {
        self.0
    }
}

/// All that was verified of one repository in one refresh: immutable, shared between requests.
#[derive(Debug)]
pub struct Repository {}

/// What is asked of a repository: an image by tag, by digest, or by both.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
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
pub struct Judgement {
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
    /// Its expiry.
    pub expires: Timestamp,
}

impl Repository {
    /// Brings a repository up to date from `source` by the read path of TUF 1.0 §5 as Notary has it (TRUST.md,
    /// "Reading a repository"). `previous` is what was verified before, under the same anchor: nothing goes back
    /// behind it. `signers` are delegations wanted besides `targets/releases`.
    pub fn refresh(
        _source: &mut dyn MetadataSource,
        _gun: &Gun,
        _anchor: &Anchor,
        _previous: Option<&Repository>,
        _signers: &BTreeSet<RoleName>,
        _now: Timestamp,
    ) -> Result<Repository, RefreshError> {
        todo!()
    }

    /// Adds signers' delegations that the held snapshot lists and that were not fetched yet, asking for nothing else.
    pub fn with_signers(
        &self,
        _source: &mut dyn MetadataSource,
        _signers: &BTreeSet<RoleName>,
        _now: Timestamp,
    ) -> Result<Repository, RefreshError> {
        todo!()
    }

    /// Were all of these delegations fetched, or found not to be there, when this was verified?
    pub fn has_looked_for(&self, _signers: &BTreeSet<RoleName>) -> bool {
        todo!()
    }

    /// Is the image released and signed as required? Expired metadata never counts, so the time is asked for again.
    pub fn judge(
        &self,
        _wanted: Wanted<'_>,
        _signers: &[RequiredSigner],
        _now: Timestamp,
    ) -> Result<Judgement, Rejection> {
        todo!()
    }

    /// When each verified role's metadata ends, root first.
    pub fn expiries(&self) -> Vec<RoleExpiry> {
        todo!()
    }

    /// The IDs of the root role's keys: what an operator would pin.
    pub fn root_key_ids(&self) -> Vec<KeyId> {
        todo!()
    }
}

/// Why the trust data says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {}

/// Why a refresh gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshError {
    /// The data says no.
    Rejected(Rejection),
    /// Nobody could say; what was tried.
    Unavailable(String),
}
