//! Owners of objects (the ReplicaSet of a pod), read from the Kubernetes API by name: one GET, accepted only for the object
//! with the expected uid, and cached for seconds, so that a hundred pods of one owner cost one request. The caller says what
//! is made of an owner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::api::Api;
use super::cache::{Cache, KEEP_FAILURE};
use super::error::ObjectError;
use super::object_name::{Kind, Resource, check_names, is_dns_label};
use super::pull_secrets::describe;
use crate::base::context::Deadline;

/// How long an owner is used: its template may change.
const KEEP: Duration = Duration::from_secs(5);
/// The longest uid. Those of Kubernetes are UUIDs.
const MAX_UID: usize = 64;

/// A cache of owners. Shared by all workers.
pub struct Owners<T> {
    api: Arc<Api>,
    cache: Cache<T>,
}

/// The owner of an object.
#[derive(Clone, Copy, Debug)]
pub struct OwnerName<'a> {
    /// Its kind.
    pub resource: Resource,
    /// The version to read it in; empty if `resource` names one.
    pub version: &'a str,
    /// The namespace, as the API server named it.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid: an object that was created again under the same name is another object.
    pub uid: &'a str,
}

impl<T: Send + Sync + 'static> Owners<T> {
    /// The owners behind an API server; `heap_size` is that of a cached value.
    pub fn new(api: Arc<Api>, heap_size: fn(&T) -> u64) -> Self {
        Self { api, cache: Cache::new(KEEP, KEEP_FAILURE, heap_size) }
    }

    /// What `read` makes of an owner. Takes at most half of the time that is left.
    pub fn get(
        &self,
        owner: &OwnerName<'_>,
        deadline: Deadline,
        read: &dyn Fn(&[u8]) -> Option<T>,
    ) -> Result<Arc<T>, ObjectError> {
        let OwnerName { resource, version, namespace, name, uid } = *owner;
        check_names(Kind::Owner(resource), namespace, name)?;
        if !(1..=MAX_UID).contains(&uid.len()) {
            return Err(ObjectError::Unusable(
                "cannot be told from others of its name: its uid is missing or too long".to_owned(),
            ));
        }
        // The reference names it, and it becomes part of a URL.
        if !version.is_empty() && !is_dns_label(version) {
            return Err(ObjectError::Unusable("is named in a version that no API can have".to_owned()));
        }
        let get = |deadline| Ok(self.api.owner((resource, version), (namespace, name, uid), read, deadline)?);
        // Another version of a custom resource can have another layout.
        let key = [resource.api, version, resource.plural, name, uid].join("/");
        self.cache.get(namespace, &key, deadline.half(), &get)
    }
}

impl<T> fmt::Debug for Owners<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners").field("server", self.api.server()).finish_non_exhaustive()
    }
}

impl fmt::Display for OwnerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(self.resource.kind, self.namespace, self.name))
    }
}
