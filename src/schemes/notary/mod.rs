//! The trust service: asks a Notary server, verifies, remembers, and answers with one of three verdicts.
//!
//! Within `refresh_after` of the server's last word no request is made; after it, one question refreshes and all that
//! ask the same at that time share what it finds. Nothing that was not verified is ever kept; a failure only for a
//! moment, and only for those whose failure it is. What is remembered never goes back behind what was seen, by whatever
//! anchor, in whatever earlier process.

use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::schemes::notary::cached::{CachedRepository, Failure, Key, RefreshScope};
use crate::schemes::notary::expiry::Ends;
use crate::schemes::notary::lookup::Lookup;
use crate::schemes::notary::negative_cache::NegativeCache;

use super::notary::directory::Directory;
use super::notary::memory_budget::MemoryBudget;
use super::notary::store::Store;
use super::notary::store::summary::StoredSummary;
use crate::base::context::Deadline;
use crate::base::single_flight::SingleFlight;
use crate::base::waiting::Waiting;
use crate::http::client::HttpSetupError;
use crate::http::origin::Limits;
use crate::http::origin::permit::Permit;
pub use crate::http::proxy::ProxyError;
pub use crate::http::roots::CaError;
pub use crate::http::url::PlainHttp;
use crate::keychain::credentials::Credentials;
use crate::metrics::{Metrics, Source};
use crate::registry::client::Client;
use crate::registry::session::{Scope, Session};
use crate::registry::sign_in::SignIn;
pub use crate::schemes::notary::query::{Query, Refusal, Verified, WhenUnavailable};
use crate::schemes::notary::remote::Remote;
pub use crate::schemes::notary::rule::{Remap, Rule, UnavailableRule};
pub use crate::schemes::notary::trust_server::{TrustServer, TrustServerError};
use crate::schemes::notary::writer::Writer;
use portreeve_verify::ordered;
use portreeve_verify::tuf::Gun;
use portreeve_verify::tuf::MetadataSource;

pub(crate) mod cached;
pub(crate) mod directory;
pub(crate) mod expiry;
pub mod export;
pub(crate) mod lookup;
pub(crate) mod memory_budget;
pub(crate) mod negative_cache;
pub(crate) mod query;
pub(crate) mod recorder;
pub(crate) mod refresh;
pub(crate) mod remote;
pub mod rule;
pub mod scheme;
pub mod servers;
pub(crate) mod stale;
pub mod store;
pub mod trust_server;
pub(crate) mod writer;

/// The service's settings.
#[derive(Clone, Debug)]
pub struct NotarySettings {
    /// A PEM bundle added to the built-in roots; re-read when it changes. `None`, or a file that is absent: built-in
    /// roots alone.
    pub ca: Option<PathBuf>,
    /// How old a verified timestamp may be before it is asked for again.
    pub refresh_after: Duration,
    /// May realms and servers be plain HTTP?
    pub plain_http: PlainHttp,
    /// Where verified trust data is kept for the next start; `None`: in memory alone.
    pub cache: Option<PathBuf>,
    /// How many requests are decided at the same time: half as many may ask one trust server at once.
    pub workers: usize,
    /// Is told which requests wait for a trust server.
    pub waiting: Arc<Waiting>,
    /// The most bytes of trust data that are remembered in memory.
    pub memory: usize,
    /// The most bytes of memory in which trust data is read and verified, for all requests together.
    pub verify_memory: usize,
    /// The most bytes that are stored there.
    pub cache_bytes: usize,
    /// Where it is counted what became of that.
    pub metrics: Arc<Metrics>,
}

/// The trust service. Shared by all workers.
pub struct Notary {
    client: Client,
    store: Arc<Store>,
    budget: Arc<MemoryBudget>,
    scribe: Writer,
    refresh_after: Duration,
    /// The refreshes under way. What they fetch is kept in the store.
    refreshes: SingleFlight<Key, CachedRepository, RefreshScope, Failure>,
    waiting: Arc<Waiting>,
    failures: NegativeCache,
    ends: Ends,
    metrics: Arc<Metrics>,
}

/// Past this many refreshes, those that no request waits for are forgotten.
const MAX_REFRESHES: usize = 5_000;
/// A rejection that is remembered is checked with the server again if what it rests on is older than this: a new signature
/// shows at once, and a workload that is tried again and again costs no more than one refresh in this time.
const RECHECK_AFTER: Duration = Duration::from_secs(2);
/// Most signer roles that a refresh fetches for earlier queries.
const MAX_ROLES: usize = 32;

impl Notary {
    /// A service with nothing remembered. An unreadable CA bundle is an error; an absent one is not.
    pub fn new(settings: NotarySettings) -> Result<Self, NotaryError> {
        let limits = Limits::new(settings.workers, settings.waiting.capacity());
        let client = Client::new(settings.ca, settings.plain_http, limits, Arc::clone(&settings.metrics));
        let client = client.map_err(|error| match error {
            HttpSetupError::Ca(error) => NotaryError::Ca(error),
            HttpSetupError::Proxy(error) => NotaryError::Proxy(error),
        })?;
        let quota = u64::try_from(settings.cache_bytes).unwrap_or(u64::MAX);
        let memory = u64::try_from(settings.memory).unwrap_or(u64::MAX);
        let store = Store::new(settings.cache, memory, Arc::clone(&settings.metrics)).with_quota(quota);
        let verify_memory = u64::try_from(settings.verify_memory).unwrap_or(u64::MAX);
        let budget = Arc::new(MemoryBudget::new(verify_memory, Arc::clone(&settings.metrics)));
        let store = store.with_budget(Arc::clone(&budget));
        let store = Arc::new(store);
        Ok(Self {
            client,
            scribe: Writer::new(Arc::clone(&store)),
            store,
            budget,
            refresh_after: settings.refresh_after,
            refreshes: SingleFlight::new(MAX_REFRESHES, 0, |_| 0),
            waiting: settings.waiting,
            failures: NegativeCache::default(),
            ends: Ends::default(),
            metrics: settings.metrics,
        })
    }

    /// Looks up one query, until its deadline. `now` is the time for expiry.
    pub fn ask(&self, query: &Query<'_>, now: Timestamp) -> Result<Verified, Refusal> {
        let lookup = Lookup {
            notary: self,
            query,
            roles: ordered::set(query.signers.iter().map(|signer| signer.role.clone())),
            key: OnceCell::new(),
            began: Instant::now(),
            now,
        };
        let result = lookup.run().map_err(|refusal| refusal.at(query.server));
        if matches!(result, Err(Refusal::Unavailable(_))) {
            self.metrics.trust_lookup(Source::Nowhere);
        }
        result
    }

    /// What is stored of a repository, for people.
    pub fn stored(&self, server: &TrustServer, gun: &Gun) -> Option<StoredSummary> {
        self.store.summary(server, gun)
    }

    /// A repository's metadata, wherever the server keeps it. Other requests may wait for what this one fetches: they read
    /// `sign_in`, and a server is asked under the permit.
    pub(crate) fn source<'a>(
        &'a self,
        server: &'a TrustServer,
        gun: &'a Gun,
        credentials: &'a Credentials<'a>,
        deadline: Deadline,
        permit: Option<&'a Permit<'a>>,
        sign_in: &'a SignIn,
    ) -> Box<dyn MetadataSource + 'a> {
        match server {
            TrustServer::Directory(directory) => Box::new(Directory::new(directory.path(), gun)),
            TrustServer::Remote(url) => {
                let (server, scope) = (remote::server(url), Scope::pull(gun.as_str()));
                let session = Session::new(&self.client, server, scope, credentials, deadline);
                Box::new(Remote::new(url, gun, session.watched(permit, sign_in)))
            }
        }
    }

    pub(crate) fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notary").field("refresh_after", &self.refresh_after).finish_non_exhaustive()
    }
}

/// The service cannot be set up.
#[derive(Debug)]
pub enum NotaryError {
    /// The CA bundle cannot be used.
    Ca(CaError),
    /// The environment's proxy cannot be used.
    Proxy(ProxyError),
}

impl fmt::Display for NotaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ca(error) => error.fmt(f),
            Self::Proxy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotaryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ca(error) => Some(error),
            Self::Proxy(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests;
