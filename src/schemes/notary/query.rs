//! A query to the service, and its result.

use std::sync::Arc;

use crate::base::context::Deadline;
use crate::keychain::credentials::Credentials;
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::{Freshness, WaitNotice, WhenUnavailable};
use portreeve_verify::Unavailable;
use portreeve_verify::tuf::{
    Anchor, Gun, RefreshError, Rejection, Repository, RequiredSigner, SignedTarget, TagFilter, TargetQuery,
};

/// A query to the service.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The repository's name in trust data, after `remap`.
    pub gun: &'a Gun,
    /// The server to ask.
    pub server: &'a TrustServer,
    /// The image.
    pub wanted: TargetQuery<'a>,
    /// For an image without a tag: the tags that its digest may be released under.
    pub tags: TagFilter<'a>,
    /// By what the root is trusted.
    pub anchor: &'a Anchor,
    /// The signers that must all have signed. If there are none, any valid publication counts.
    pub signers: &'a [RequiredSigner],
    /// The credentials for the trust server. They are looked up only if it asks for them.
    pub credentials: &'a Credentials<'a>,
    /// Whether stored data is used.
    pub when_unavailable: WhenUnavailable,
    /// When the lookup must have ended.
    pub deadline: Deadline,
    /// Is told before the lookup waits.
    pub notice: WaitNotice<'a>,
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

/// A failed lookup at this server. "No trust data" is no rejection if the server's address ends in Notary's own path: then the
/// server was asked for other names than the image's.
pub(crate) fn failure_at(server: &TrustServer, error: RefreshError) -> RefreshError {
    match error {
        RefreshError::Rejected(Rejection::NoTrustData { .. }) if server.holds_notarys_path() => {
            Unavailable::other(format!("trust server {server} has no trust data below this path")).into()
        }
        other => other,
    }
}
