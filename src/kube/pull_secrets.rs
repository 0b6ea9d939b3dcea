//! Secrets of the cluster, by way of the Kubernetes API (`credentials.kubernetes: true`): the pull secrets of a pod, or of
//! its ServiceAccount, and the keys of signers. A Secret is looked for in the namespace that the API server named and in no
//! other, and taken only if it is of a type for pull secrets. What could not be had is told in words without secrets, and
//! what could is tried all the same.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::api::{Api, ApiError, ApiSettings, ApiSetupError, SecretObject};
use super::cache::{Cache, KEEP, KEEP_FAILURE, Kept};
use super::names::{Kind, check};
use super::signer_secrets::{MAX_KEY, MAX_NAME, SignerSecret};
use crate::base::context::Deadline;
use crate::keychain::Credential;
use crate::keychain::candidates::best_first;
use crate::keychain::docker_config;
use crate::keychain::docker_config::{DockerConfig, DockerConfigError, Format};
use crate::metrics::Metrics;
use portreeve_verify::text::printable;

/// Most pull secrets of one pod that are looked at: each is a request to the API server, and a tenant names them.
const MAX_PULL_SECRETS: usize = 16;
/// Most credentials of a pod that are tried for one image: each is a request to a token service, and others may be waiting
/// for what it comes to.
const MAX_CANDIDATES: usize = 8;
/// Most faults of one docker config that are told, and of all pull secrets of a pod: every image's denial repeats them.
const MAX_TOLD: usize = 3;
const MAX_PROBLEMS: usize = 8;
const NO_TIME: &str = "could not be had: there was no time to ask the Kubernetes API server";
/// The ServiceAccount of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// Who pulls an image: a pod, by what its spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Puller<'a> {
    /// The namespace, as the API server named it.
    pub namespace: &'a str,
    /// The names in `imagePullSecrets`; where there are none, those of the ServiceAccount count.
    pub pull_secrets: Vec<&'a str>,
    /// `serviceAccountName`.
    pub service_account: Option<&'a str>,
}

impl<'a> Puller<'a> {
    /// A pod of this namespace whose spec says nothing.
    pub fn in_namespace(namespace: &'a str) -> Self {
        Self { namespace, pull_secrets: Vec::new(), service_account: None }
    }
}

/// The cluster's Secrets. Shared by all workers.
pub struct ClusterSecrets {
    api: Api,
    accounts: Cache<Vec<String>>,
    pull_secrets: Cache<DockerConfig>,
    signers: Cache<SignerSecret>,
}

/// A pod's pull secrets, as far as they could be had.
#[derive(Default)]
pub struct PullSecrets {
    /// By their names.
    configs: Vec<(String, Arc<DockerConfig>)>,
    /// What is wrong with them or could not be had, for denials; no secrets in it.
    pub problems: Vec<String>,
}

impl ClusterSecrets {
    /// The Secrets behind an API server. Asks nothing of it yet.
    pub fn new(settings: &ApiSettings, metrics: Arc<Metrics>) -> Result<Self, ApiSetupError> {
        Self::keeping(settings, metrics, KEEP, KEEP_FAILURE)
    }

    fn keeping(
        settings: &ApiSettings,
        metrics: Arc<Metrics>,
        keep: Duration,
        keep_failure: Duration,
    ) -> Result<Self, ApiSetupError> {
        let api = Api::new(settings, "api-credentials", metrics)?;
        match api.trouble_with_token() {
            None => log::info!("pull secrets are read from the Kubernetes API server {}", api.server()),
            Some(trouble) => log::warn!("pull secrets {trouble}"),
        }
        Ok(Self {
            api,
            accounts: Cache::keeping(keep, keep_failure, |names| names.iter().map(|name| weight(name)).sum()),
            pull_secrets: Cache::keeping(keep, keep_failure, weight_of_config),
            signers: Cache::keeping(keep, keep_failure, |signer| weight(&signer.name) + weight(&signer.public_key)),
        })
    }

    /// The pull secrets of a pod, in the order in which it names them; by the deadline, and in half of the time until
    /// then, so that the rest is left to ask the trust server without them.
    pub fn pull_secrets(&self, puller: &Puller<'_>, deadline: Deadline) -> PullSecrets {
        let (namespace, deadline) = (puller.namespace, half_of(deadline));
        let mut found = PullSecrets::default();
        let of_account;
        let names = if puller.pull_secrets.is_empty() {
            let account = puller.service_account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT);
            let get = |deadline| Ok(self.api.pull_secrets_of(namespace, account, deadline)?);
            match have(&self.accounts, Kind::ServiceAccount, namespace, account, deadline, &get) {
                Ok(kept) => {
                    of_account = kept;
                    first_names(of_account.iter().map(String::as_str))
                }
                Err(why) => {
                    found.problems.push(format!("{} {why}", called("ServiceAccount", namespace, account)));
                    Names::default()
                }
            }
        } else {
            first_names(puller.pull_secrets.iter().copied())
        };
        if names.are_more {
            let most = format!("only the first {MAX_PULL_SECRETS} were looked at");
            found.problems.push(format!("more than {MAX_PULL_SECRETS} pull secrets are named, and {most}"));
        }
        for name in names.first {
            let get = |deadline| docker_config(&self.api.secret(namespace, name, deadline)?);
            let called = called("pull secret", namespace, name);
            match have(&self.pull_secrets, Kind::Secret, namespace, name, deadline, &get) {
                Err(why) => found.problems.push(format!("{called} {why}")),
                Ok(config) => {
                    let faults = config.problems.iter().take(MAX_TOLD);
                    found.problems.extend(faults.map(|fault| format!("{called} {fault}")));
                    found.configs.push((called, config));
                }
            }
        }
        if found.problems.len() > MAX_PROBLEMS {
            let more = found.problems.len() - MAX_PROBLEMS;
            found.problems.truncate(MAX_PROBLEMS);
            found.problems.push(format!("and {more} more problems with pull secrets"));
        }
        found
    }

    /// A signer's secret.
    pub fn signer(&self, namespace: &str, name: &str, deadline: Deadline) -> Result<SignerSecret, NotHad> {
        let get = |deadline| signer(&self.api.secret(namespace, name, deadline)?);
        let found = have(&self.signers, Kind::Secret, namespace, name, half_of(deadline), &get)?;
        Ok(SignerSecret::clone(&found))
    }
}

/// Names of pull secrets, as many as are looked at.
#[derive(Default)]
struct Names<'a> {
    first: Vec<&'a str>,
    are_more: bool,
}

/// The first different names. A request may name tens of thousands, and every one of its images is asked for: no more of
/// them are touched than are used, and none is copied.
fn first_names<'a>(names: impl Iterator<Item = &'a str>) -> Names<'a> {
    let mut found = Names::default();
    // As kubelet has it: a reference without a name is none.
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

/// An object, kept or fetched.
fn have<T>(
    cache: &Cache<T>,
    kind: Kind,
    namespace: &str,
    name: &str,
    deadline: Deadline,
    get: &dyn Fn(Deadline) -> Result<T, ClusterError>,
) -> Result<Arc<T>, NotHad> {
    // What no object can be called is kept nowhere: a tenant writes it, at any length.
    let names = check(Kind::Namespace, namespace).and_then(|()| check(kind, name));
    names.map_err(|error| NotHad::Bad(format!("cannot exist: {error}")))?;
    taken(cache.get(namespace, name, deadline, get))
}

/// What came out of the cache.
pub(crate) fn taken<T>(kept: Option<Arc<Kept<T>>>) -> Result<Arc<T>, NotHad> {
    match &kept.ok_or_else(|| NotHad::Unavailable(NO_TIME.to_owned()))?.found {
        Ok(found) => Ok(Arc::clone(found)),
        Err(error) if error.is_certain() => Err(NotHad::Bad(error.to_string())),
        Err(error) => Err(NotHad::Unavailable(error.to_string())),
    }
}

/// An object, for people.
pub(crate) fn called(what: &str, namespace: &str, name: &str) -> String {
    format!("{what} {}/{}", printable(namespace, 63), printable(name, 253))
}

impl fmt::Debug for ClusterSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSecrets").field("server", self.api.server()).finish_non_exhaustive()
    }
}

impl PullSecrets {
    /// The candidates for an image, most specific first. `name` is normalised and without tag.
    pub fn candidates(&self, name: &str) -> Vec<Credential> {
        let entries =
            self.configs.iter().flat_map(|(called, config)| config.entries.iter().map(move |entry| (called, entry)));
        let mut candidates = best_first(name, entries);
        candidates.truncate(MAX_CANDIDATES);
        candidates
    }
}

impl fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.configs.iter().map(|(called, _)| called).collect();
        f.debug_struct("PullSecrets").field("names", &names).field("problems", &self.problems).finish()
    }
}

/// A docker config out of a Secret of one of the two types for it.
fn docker_config(secret: &SecretObject) -> Result<DockerConfig, ClusterError> {
    let (key, format) = match secret.kind_of_secret() {
        "kubernetes.io/dockerconfigjson" => (".dockerconfigjson", Format::Json),
        "kubernetes.io/dockercfg" => (".dockercfg", Format::Cfg),
        other => return Err(ClusterError::NoPullSecret { kind: printable(other, 100) }),
    };
    let bytes = secret.value(key).ok_or(ClusterError::NoKey { key })?;
    docker_config::parse(&bytes, format).map_err(ClusterError::DockerConfig)
}

/// A signer out of a Secret with the keys that Portieris has made known.
fn signer(secret: &SecretObject) -> Result<SignerSecret, ClusterError> {
    let text = |key, cap| {
        let bytes = secret.value(key).filter(|bytes| bytes.len() <= cap);
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.trim().is_empty());
        text.ok_or(ClusterError::NoKey { key })
    };
    Ok(SignerSecret { name: text("name", MAX_NAME)?.trim().to_owned(), public_key: text("publicKey", MAX_KEY)? })
}

/// What is left after this is for the trust server.
pub(crate) fn half_of(deadline: Deadline) -> Deadline {
    deadline.remaining().map_or(deadline, |left| deadline.at_most(left / 2))
}

pub(crate) fn weight(text: &str) -> u64 {
    64 + text.len() as u64
}

fn weight_of_config(config: &DockerConfig) -> u64 {
    // A pattern holds all of the registry's name, up to its cap.
    let of_entries: u64 = config
        .entries
        .iter()
        .map(|entry| 1024 + weight(&entry.registry) + weight(&entry.username) + weight(entry.password.reveal()))
        .sum();
    of_entries + config.problems.iter().map(|problem| weight(problem)).sum::<u64>()
}

/// A Secret or ServiceAccount that cannot be used. In words it follows what it is called.
#[derive(Debug)]
pub(crate) enum ClusterError {
    /// It was not had.
    Api(ApiError),
    /// It is of a type that is none for pull secrets.
    NoPullSecret {
        /// The type, safe to print.
        kind: String,
    },
    /// What is needed is not in it, or cannot be read.
    NoKey {
        /// The key that it should be under.
        key: &'static str,
    },
    /// Its docker config cannot be read.
    DockerConfig(DockerConfigError),
}

impl ClusterError {
    /// Does it say something about the Secret itself, rather than that nobody could tell?
    fn is_certain(&self) -> bool {
        match self {
            Self::Api(error) => error.is_absence(),
            Self::NoPullSecret { .. } | Self::NoKey { .. } | Self::DockerConfig(_) => true,
        }
    }

    /// Was it only that time was up?
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Api(error) if error.is_timeout())
    }
}

impl From<ApiError> for ClusterError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => error.fmt(f),
            Self::NoPullSecret { kind } => write!(
                f,
                "is of type {kind}; pull secrets are of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg"
            ),
            Self::NoKey { key } => write!(f, "has nothing under its key \"{key}\" that could be used"),
            Self::DockerConfig(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClusterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Api(error) => Some(error),
            Self::DockerConfig(error) => Some(error),
            Self::NoPullSecret { .. } | Self::NoKey { .. } => None,
        }
    }
}

/// An object that is not to be had from the cluster. The words follow what it is called.
#[derive(Debug)]
pub enum NotHad {
    /// There is none, or what is in it cannot be used.
    Bad(String),
    /// Nobody could say: the API server is away, slow, or does not let us.
    Unavailable(String),
}

impl fmt::Display for NotHad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why) | Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NotHad {}

#[cfg(test)]
mod tests;
