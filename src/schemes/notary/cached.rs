//! A repository in memory for queries under one anchor, and the result of a refresh.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::keychain::credentials::Fingerprint;
use crate::registry::sign_in::SignIn;
use crate::schemes::memory_budget::Permit;
use crate::schemes::notary::recorder::Record;
use crate::schemes::notary::store::repository_record::Confirmation;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::ordered::Set;
use portreeve_verify::tuf::{Anchor, Gun, RefreshError, Repository, RoleName, TrustedState};
use portreeve_verify::{Unavailable, UnavailableCause};

/// The key of a refresh. Anchors have refreshes of their own, because one may reject what another trusts; their data is kept
/// once for all of them ([`Store`](super::store::Store)). Credentials are no part of the key: trust data holds no secrets, and
/// a verdict does not depend on whose credentials fetched the data.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) server: TrustServer,
    pub(crate) gun: Gun,
    pub(crate) anchor: Anchor,
}

/// A repository that was verified under one anchor.
#[derive(Clone)]
pub(crate) struct CachedRepository {
    pub(crate) repository: Arc<Repository>,
    /// When the server was last asked whether this is the newest, by the monotonic clock.
    pub(crate) confirmed: Instant,
    /// The number of the last reset by hand.
    pub(crate) epoch: u64,
    /// Is it known to the store that it has verified an image?
    pub(crate) admitted: bool,
}

impl CachedRepository {
    pub(crate) fn age(&self) -> Duration {
        self.confirmed.elapsed()
    }
}

/// The result of a refresh, to be stored.
pub(crate) struct RefreshResult {
    pub(crate) repository: Arc<Repository>,
    pub(crate) record: Record,
    /// The memory of the record.
    pub(crate) memory: Option<Permit>,
    /// `None` if the server was not asked whether this is the newest.
    pub(crate) confirmation: Option<Confirmation>,
    pub(crate) epoch: u64,
}

/// Why a refresh failed, and what it had verified before, with the store's epoch of that.
pub(crate) type FailedResult = (Failure, Option<(TrustedState, u64)>);

/// For which signers a refresh is made, and how far it has come with signing in: whether others can use it.
#[derive(Clone)]
pub(crate) struct RefreshScope {
    pub(crate) roles: Set<RoleName>,
    pub(crate) sign_in: Arc<SignIn>,
}

/// Why a refresh failed, and for whose credentials.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) error: Box<RefreshError>,
    pub(crate) tried: Tried,
}

/// The credentials that were tried; `None` if it failed before any sign-in.
pub(crate) type Tried = Option<Fingerprint>;

/// A failure before any server was asked.
impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        Self { error: Box::new(unavailable.into()), tried: None }
    }
}

impl Failure {
    /// Would the same query fail a moment later, unless an operator changes something?
    pub(crate) fn is_definite(&self) -> bool {
        match &*self.error {
            RefreshError::Rejected(_) => true,
            RefreshError::Unavailable(unavailable) => unavailable.cause == UnavailableCause::SignIn,
        }
    }
}
