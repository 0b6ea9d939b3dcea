//! The pull secrets of a pod, read from the Kubernetes API (`credentials.kubernetes: true`): those that its spec names, or
//! else those of its ServiceAccount. A Secret is read in the namespace that the API server named, and in no other. A Secret
//! that cannot be read does not keep the others from being used. What is made of a Secret is for the caller to say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::api::Api;
use super::cache::{Cache, text_size};
use super::error::ObjectError;
use super::object_name::Kind;
use super::objects::SecretObject;
use crate::base::context::Deadline;
use portreeve_verify::text::printable;

/// Most pull secrets of one pod that are read: each is a request to the API server, and a tenant names them.
pub(crate) const MAX_PULL_SECRETS: usize = 16;
/// The ServiceAccount of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// What a pod says about how its images are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullContext<'a> {
    /// The namespace, as the API server named it.
    pub namespace: &'a str,
    /// The names in `imagePullSecrets`; if there are none, those of the ServiceAccount are used.
    pub pull_secrets: Vec<&'a str>,
    /// `serviceAccountName`.
    pub service_account: Option<&'a str>,
}

impl<'a> PullContext<'a> {
    /// A pod of this namespace whose spec says nothing.
    pub fn in_namespace(namespace: &'a str) -> Self {
        Self { namespace, pull_secrets: Vec::new(), service_account: None }
    }
}

/// Reads the pull secrets of pods; `T` is what is made of one Secret, once for each time that it is fetched. Shared by all
/// workers.
pub(crate) struct PullSecrets<T> {
    api: Arc<Api>,
    accounts: Cache<Vec<String>>,
    secrets: Cache<T>,
    read: ReadSecret<T>,
}

/// Makes a value of a Secret. The words of an error follow the Secret's description.
pub(crate) type ReadSecret<T> = fn(&SecretObject) -> Result<T, String>;

/// The pull secrets of one pod.
pub(crate) struct Pulled<T> {
    /// Each Secret by its description, in the order in which the pod names them.
    pub(crate) secrets: Vec<(String, Result<Arc<T>, ObjectError>)>,
    /// Why there may be more of them.
    pub(crate) problem: Option<String>,
}

impl<T: Send + Sync + 'static> PullSecrets<T> {
    /// The pull secrets behind an API server; `heap_size` is that of a cached value. Sends no request yet.
    pub(crate) fn new(
        api: Arc<Api>,
        read: ReadSecret<T>,
        heap_size: fn(&T) -> u64,
        keep: Duration,
        keep_failure: Duration,
    ) -> Self {
        let size_of_names = |names: &Vec<String>| names.iter().map(|name| text_size(name)).sum();
        let accounts = Cache::new(keep, keep_failure, size_of_names);
        Self { api, accounts, secrets: Cache::new(keep, keep_failure, heap_size), read }
    }

    /// The pull secrets of a pod. Takes at most half of the time that is left, so that the trust server can still be asked
    /// without them.
    pub(crate) fn get(&self, context: &PullContext<'_>, deadline: Deadline) -> Pulled<T> {
        let (namespace, deadline) = (context.namespace, deadline.half());
        let of_account;
        let names = if context.pull_secrets.is_empty() {
            let account = context.service_account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT);
            let get = |deadline| Ok(self.api.pull_secrets_of(namespace, account, deadline)?);
            match self.accounts.get_cached(Kind::ServiceAccount, namespace, account, deadline, &get) {
                Ok(names) => {
                    of_account = names;
                    first_names(of_account.iter().map(String::as_str))
                }
                Err(error) => {
                    let problem = Some(format!("{} {error}", describe("ServiceAccount", namespace, account)));
                    return Pulled { secrets: Vec::new(), problem };
                }
            }
        } else {
            first_names(context.pull_secrets.iter().copied())
        };
        let secret = |name| {
            let get =
                |deadline| (self.read)(&self.api.secret(namespace, name, deadline)?).map_err(ObjectError::Unusable);
            let secret = self.secrets.get_cached(Kind::Secret, namespace, name, deadline, &get);
            (describe("pull secret", namespace, name), secret)
        };
        let too_many = || {
            let most = format!("only the first {MAX_PULL_SECRETS} were looked at");
            format!("more than {MAX_PULL_SECRETS} pull secrets are named, and {most}")
        };
        Pulled { problem: names.are_more.then(too_many), secrets: names.first.into_iter().map(secret).collect() }
    }
}

/// Names of pull secrets, at most [`MAX_PULL_SECRETS`].
#[derive(Default)]
struct Names<'a> {
    first: Vec<&'a str>,
    are_more: bool,
}

/// The first different names. A pod may name tens of thousands, and this is called for each of its images: so no name
/// after the last one that is used is read, and none is copied.
fn first_names<'a>(names: impl Iterator<Item = &'a str>) -> Names<'a> {
    let mut found = Names::default();
    // As in kubelet, a reference without a name is ignored.
    for name in names.filter(|name| !name.is_empty()) {
        if found.first.contains(&name) {
            continue;
        }
        if found.first.len() == MAX_PULL_SECRETS {
            found.are_more = true;
            break;
        }
        found.first.push(name);
    }
    found
}

/// Names an object in messages.
pub(crate) fn describe(what: &str, namespace: &str, name: &str) -> String {
    format!("{what} {}/{}", printable(namespace, 63), printable(name, 253))
}

impl<T> fmt::Debug for PullSecrets<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullSecrets").field("server", self.api.server()).finish_non_exhaustive()
    }
}
