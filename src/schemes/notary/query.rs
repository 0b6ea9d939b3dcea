//! What the service is asked, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use crate::base::context::Deadline;
use crate::keychain::credentials::Credentials;
use crate::schemes::Freshness;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::Unavailable;
use portreeve_verify::tuf::Anchor;
use portreeve_verify::tuf::Gun;
use portreeve_verify::tuf::RefreshError;
use portreeve_verify::tuf::{Rejection, Repository, RequiredSigner, SignedTarget, TagFilter, TargetQuery};

/// What stored trust data may do while the trust server cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// Nothing: the image is denied as unavailable.
    Deny,
    /// Stand in, while it is unexpired and was confirmed by the server no longer ago than this.
    UseCached {
        /// The age past which it may not.
        max_stale: Duration,
    },
}

/// One question to the service.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The repository, in trust data's own name (after `remap`).
    pub gun: &'a Gun,
    /// The server to ask.
    pub server: &'a TrustServer,
    /// The image.
    pub wanted: TargetQuery<'a>,
    /// For a digest alone: the tags that it may be released under.
    pub tags: TagFilter<'a>,
    /// Where trust in the root begins.
    pub anchor: &'a Anchor,
    /// Who must have signed; empty: any valid publication counts.
    pub signers: &'a [RequiredSigner],
    /// The credentials for the trust server. They are looked up only if it asks for them.
    pub credentials: &'a Credentials<'a>,
    /// May stored data stand in?
    pub when_unavailable: WhenUnavailable,
    /// When to have answered.
    pub deadline: Deadline,
}

/// The image is verified.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Digest, tag and signers.
    pub target: SignedTarget,
    /// How fresh the data is.
    pub freshness: Freshness,
    /// The data.
    pub repository: Arc<Repository>,
}

/// The image is not verified.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The trust data says no.
    Rejected(Rejection),
    /// The trust data could not be read.
    Unavailable(Unavailable),
}

impl From<RefreshError> for Refusal {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Rejected(rejection) => Self::Rejected(rejection),
            RefreshError::Unavailable(unavailable) => Self::Unavailable(unavailable),
        }
    }
}

impl Refusal {
    /// The refusal, as far as this server's address lets one believe it. Below a path that is Notary's own, a server speaks
    /// of other names than were meant: that it has none of these says nothing about the image.
    pub(crate) fn at(self, server: &TrustServer) -> Self {
        match self {
            Self::Rejected(Rejection::NoTrustData { .. }) if server.holds_notarys_path() => Self::Unavailable(
                Unavailable::other(format!("trust server {server} has no trust data below this path")),
            ),
            other => other,
        }
    }
}
