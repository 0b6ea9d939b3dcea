//! The service behind all queries: its settings, and the parts that the queries share.

use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::cached::{CachedRepository, Failure, Key, RefreshScope};
use super::directory::Directory;
use super::lookup::{Lookup, RequiredRoles};
use super::negative_cache::NegativeCache;
use super::query::{Query, Verified, failure_at};
use super::remote::{self, Remote};
use super::store::Store;
use super::store::summary::StoredSummary;
use super::trust_server::TrustServer;
use super::writer::StoreWriter;
use crate::base::context::Deadline;
use crate::base::single_flight::SingleFlight;
use crate::base::waiting::Waiting;
use crate::http::client::HttpSetupError;
use crate::http::origin::Limits;
use crate::http::origin::permit::Permit;
use crate::http::proxy::ProxyError;
use crate::http::roots::CaError;
use crate::http::url::PlainHttp;
use crate::keychain::credentials::Credentials;
use crate::metrics::{Metrics, Source};
use crate::registry::client::Client;
use crate::registry::session::{Scope, Session};
use crate::registry::sign_in::SignIn;
use crate::schemes::memory_budget::MemoryBudget;
use crate::schemes::shared::Shared;
use portreeve_verify::tuf::{Gun, MetadataSource, RefreshError};

/// The service's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A PEM bundle to trust besides the built-in roots; it is read again when it changes. `None`, or an absent file: the
    /// built-in roots alone.
    pub ca: Option<PathBuf>,
    /// How long a confirmation of the server is good. After that the timestamp is asked for again.
    pub refresh_after: Duration,
    /// May realms and servers be plain HTTP?
    pub plain_http: PlainHttp,
    /// The directory that keeps verified trust data for the next start; `None`: memory alone.
    pub cache: Option<PathBuf>,
    /// How many requests are decided at the same time. Half as many may ask one trust server at once.
    pub workers: usize,
    /// Knows which requests wait for a trust server.
    pub waiting: Arc<Waiting>,
    /// The most bytes of trust data that are kept in memory.
    pub memory: usize,
    /// The most bytes of memory in which trust data is read and verified, for all requests together.
    pub verify_memory: usize,
    /// The most bytes that are kept in `cache`.
    pub cache_bytes: usize,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// The trust service. Shared by all workers.
pub struct Notary {
    pub(super) client: Arc<Client>,
    pub(in crate::schemes) store: Arc<Store>,
    pub(in crate::schemes) budget: Arc<MemoryBudget>,
    pub(in crate::schemes) writer: StoreWriter,
    pub(super) refresh_after: Duration,
    /// The refreshes under way. What they fetch is kept in the store.
    pub(super) refreshes: SingleFlight<Key, CachedRepository, RefreshScope, Failure>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) failures: NegativeCache,
    pub(super) metrics: Arc<Metrics>,
}

/// Past this many refreshes, those that no request waits for are removed.
const MAX_REFRESHES: usize = 5_000;
/// Before a rejection by cached data, the server is asked again if the data is older than this. So a new signature counts at
/// once, and a workload that is tried again and again costs at most one refresh in this time.
pub(super) const RECHECK_AFTER: Duration = Duration::from_secs(2);
/// Most signer roles that a refresh fetches for earlier queries.
pub(super) const MAX_ROLES: usize = 32;

impl Notary {
    /// A service with an empty cache in memory. An unreadable CA bundle is an error; an absent one is not.
    pub fn new(settings: Settings) -> Result<Self, NotaryError> {
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
            client: Arc::new(client),
            writer: StoreWriter::new(Arc::clone(&store)),
            store,
            budget,
            refresh_after: settings.refresh_after,
            refreshes: SingleFlight::new(MAX_REFRESHES, 0, |_| 0),
            waiting: settings.waiting,
            failures: NegativeCache::default(),
            metrics: settings.metrics,
        })
    }

    /// What this scheme shares with the others.
    pub fn shared(&self) -> Shared {
        Shared {
            client: Arc::clone(&self.client),
            budget: Arc::clone(&self.budget),
            waiting: Arc::clone(&self.waiting),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Looks up one query, until its deadline. `now` is the time for expiry.
    pub fn ask(&self, query: &Query<'_>, now: Timestamp) -> Result<Verified, RefreshError> {
        let lookup = Lookup {
            notary: self,
            query,
            roles: RequiredRoles { signers: query.signers, set: OnceCell::new() },
            key: OnceCell::new(),
            began: Instant::now(),
            now,
        };
        let error = match lookup.run() {
            Ok(verified) => return Ok(verified),
            Err(error) => failure_at(query.server, error),
        };
        if matches!(error, RefreshError::Unavailable(_)) {
            self.metrics.trust_lookup(Source::Nowhere);
        }
        Err(error)
    }

    /// Waits until all that was verified is on the disk, evidence of signatures included. Returns how many writes have not ended
    /// when the deadline has passed.
    pub(crate) fn finish_writes(&self, by: Deadline) -> usize {
        self.writer.writer.finish(by)
    }

    /// What the disk has of a repository, for people.
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
