//! Objects that made others (a ReplicaSet its pods), read from the Kubernetes API by name: one GET, believed only for the
//! object of that uid, and kept for seconds, so that a hundred pods of one owner cost one question. What is made of such an
//! object is the business of whoever asks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::api::{Api, ApiSettings, ApiSetupError};
use super::cache::{Cache, KEEP_FAILURE};
use super::names::{Kind, Resource, check};
use super::pull_secrets::{ClusterError, NotHad, called, half_of, taken};
use crate::base::context::Deadline;
use crate::metrics::Metrics;

/// How long an owner is used: its template may change.
const KEEP: Duration = Duration::from_secs(5);
/// The longest uid. Kubernetes' are UUIDs.
const MAX_UID: usize = 64;

/// What is known of owners. Shared by all workers.
pub struct Owners<T> {
    api: Api,
    kept: Cache<T>,
}

/// Which object made another one.
#[derive(Clone, Copy, Debug)]
pub struct OwnerName<'a> {
    /// Its kind.
    pub resource: Resource,
    /// The namespace, as the API server named it.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid: an object that was made anew under the same name is another one.
    pub uid: &'a str,
}

impl<T> Owners<T> {
    /// The owners behind an API server; `weigh` says what is kept of one. Asks nothing of it yet.
    pub fn new(settings: &ApiSettings, metrics: Arc<Metrics>, weigh: fn(&T) -> u64) -> Result<Self, ApiSetupError> {
        let api = Api::new(settings, "compare-children", metrics)?;
        match api.trouble_with_token() {
            None => log::info!("owners are read from the Kubernetes API server {}", api.server()),
            Some(trouble) => log::warn!("owners {trouble}"),
        }
        Ok(Self { api, kept: Cache::keeping(KEEP, KEEP_FAILURE, weigh) })
    }

    /// What `read` makes of an owner, by the deadline, and in half of the time until then.
    pub fn get(
        &self,
        owner: &OwnerName<'_>,
        deadline: Deadline,
        read: &dyn Fn(&[u8]) -> Option<T>,
    ) -> Result<Arc<T>, NotHad> {
        let OwnerName { resource, namespace, name, uid } = *owner;
        let names = check(Kind::Namespace, namespace).and_then(|()| check(Kind::Owner(resource), name));
        names.map_err(|error| NotHad::Bad(format!("cannot exist: {error}")))?;
        if !(1..=MAX_UID).contains(&uid.len()) {
            return Err(NotHad::Bad(
                "cannot be told from others of its name: its uid is missing or too long".to_owned(),
            ));
        }
        let get = |deadline| Ok::<_, ClusterError>(self.api.owner(resource, (namespace, name, uid), read, deadline)?);
        taken(self.kept.get(namespace, &format!("{}/{name}/{uid}", resource.plural), half_of(deadline), &get))
    }
}

impl<T> fmt::Debug for Owners<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners").field("server", self.api.server()).finish_non_exhaustive()
    }
}

impl fmt::Display for OwnerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&called(self.resource.kind, self.namespace, self.name))
    }
}
