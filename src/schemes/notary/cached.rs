//! What the service remembers of one repository for one anchor, and how a refresh of it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::keychain::credentials::Fingerprint;
use crate::registry::sign_in::SignIn;
use crate::schemes::notary::memory_budget::Permit;
use crate::schemes::notary::recorder::Record;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::Anchor;
use portreeve_verify::tuf::RefreshError;
use portreeve_verify::tuf::Repository;
use portreeve_verify::tuf::TrustedState;
use portreeve_verify::tuf::{Gun, RoleName};
use portreeve_verify::{Unavailable, UnavailableCause};

/// Credentials are no part of it: trust data holds no secrets, and a verdict does not depend on who fetched the data.
/// What was verified with one tenant's credentials may therefore answer another tenant's question.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) server: TrustServer,
    pub(crate) gun: Gun,
    pub(crate) anchor: Anchor,
}

/// A key with a pin or two, a slot and a few names.
const BESIDE: u64 = 2 << 10;

/// A verified repository.
pub(crate) struct Held {
    pub(crate) repository: Arc<Repository>,
    /// When the server was last asked whether this is the newest. By the monotonic clock: setting the time of day back
    /// makes nothing younger.
    pub(crate) confirmed: Instant,
    /// The signers that were looked for.
    pub(crate) roles: BTreeSet<RoleName>,
    /// The store's epoch that it is of: a reset by hand begins another.
    pub(crate) epoch: u64,
}

impl Held {
    /// What it takes in memory, with what is kept beside it.
    pub(crate) fn weight(&self) -> u64 {
        self.repository.heap_size().saturating_add(BESIDE)
    }

    pub(crate) fn age(&self) -> Duration {
        self.confirmed.elapsed()
    }
}

/// What a refresh brought, to be stored.
pub(crate) struct Brought {
    pub(crate) repository: Arc<Repository>,
    pub(crate) record: Record,
    /// What the record is in.
    pub(crate) memory: Option<Permit>,
    /// When the server was asked whether this is the newest, by the wall clock.
    pub(crate) confirmed: Option<Timestamp>,
    pub(crate) epoch: u64,
}

/// Why a refresh gave nothing, and what it has seen all the same, in which of the store's epochs.
pub(crate) type Failed = (Failure, Option<(TrustedState, u64)>);

/// On what terms a refresh is made.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) roles: BTreeSet<RoleName>,
    pub(crate) sign_in: Arc<SignIn>,
}

/// Why a refresh gave nothing, and whose failure it is.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) error: Box<RefreshError>,
    pub(crate) tried: Tried,
}

/// Which credentials were tried. `None` where it never came to signing in.
pub(crate) type Tried = Option<Fingerprint>;

/// A failure before any server was asked.
impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        Self { error: Box::new(unavailable.into()), tried: None }
    }
}

impl Failure {
    /// Would the same question have the same answer a moment later, unless something is done about it?
    pub(crate) fn is_definite(&self) -> bool {
        match &*self.error {
            RefreshError::Rejected(_) => true,
            RefreshError::Unavailable(unavailable) => unavailable.cause == UnavailableCause::SignIn,
        }
    }
}
