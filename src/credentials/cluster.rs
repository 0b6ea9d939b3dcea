//! Secrets of the cluster, by way of the Kubernetes API (`credentials.kubernetes: true`): the pull secrets of a pod, or of
//! its ServiceAccount, and the keys of signers. A Secret is looked for in the namespace that the API server named and in no
//! other, and taken only if it is of a type for pull secrets. What could not be had is told in words without secrets, and
//! what could is tried all the same.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Credential;
use super::api::{Api, ApiError, ApiSettings, ApiSetupError, SecretObject};
use super::cache::{Cache, KEEP, KEEP_FAILURE, Kept};
use super::candidates::best_first;
use super::dockerconfig::{self, DockerConfig, DockerConfigError, Format};
use super::secrets::{MAX_KEY, MAX_NAME, SignerSecret};
use crate::deadline::Deadline;
use crate::text::printable;

/// Most pull secrets of one pod that are looked at: each is a request to the API server, and a tenant names them.
const MAX_PULL_SECRETS: usize = 16;
/// Most faults of one docker config that are told.
const MAX_TOLD: usize = 3;
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
    configs: Vec<(String, Arc<Kept<DockerConfig>>)>,
    /// What is wrong with them or could not be had, for denials; no secrets in it.
    pub problems: Vec<String>,
}

impl ClusterSecrets {
    /// The Secrets behind an API server. Asks nothing of it yet.
    pub fn new(settings: &ApiSettings) -> Result<Self, ApiSetupError> {
        Self::keeping(settings, KEEP, KEEP_FAILURE)
    }

    fn keeping(settings: &ApiSettings, keep: Duration, keep_failure: Duration) -> Result<Self, ApiSetupError> {
        let api = Api::new(settings)?;
        log::info!("pull secrets and signers' secrets are read from the Kubernetes API server {}", api.server());
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
        let deadline = half_of(deadline);
        let mut found = PullSecrets::default();
        let mut names: Vec<String> = puller.pull_secrets.iter().map(|&name| name.to_owned()).collect();
        if names.is_empty() {
            let account = puller.service_account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT);
            let get = |deadline| Ok(self.api.pull_secrets_of(puller.namespace, account, deadline)?);
            match self.accounts.get(puller.namespace, account, deadline, &get).as_deref() {
                Some(Kept { found: Ok(of_account), .. }) => names.clone_from(of_account),
                Some(Kept { found: Err(error), .. }) => found.problems.push(error.to_string()),
                None => found.problems.push(out_of_time("ServiceAccount", puller.namespace, account)),
            }
        }
        // As kubelet has it: a reference without a name is none.
        names.retain(|name| !name.is_empty());
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        if names.len() > MAX_PULL_SECRETS {
            found.problems.push(format!(
                "{} pull secrets are named, and only the first {MAX_PULL_SECRETS} were looked at",
                names.len()
            ));
            names.truncate(MAX_PULL_SECRETS);
        }
        for name in names {
            self.add_pull_secret(puller.namespace, name, deadline, &mut found);
        }
        found
    }

    fn add_pull_secret(&self, namespace: &str, name: String, deadline: Deadline, found: &mut PullSecrets) {
        let get = |deadline| docker_config(&self.api.secret(namespace, &name, deadline)?);
        let called = format!("pull secret {namespace}/{}", printable(&name, 253));
        let Some(kept) = self.pull_secrets.get(namespace, &name, deadline, &get) else {
            return found.problems.push(out_of_time("pull secret", namespace, &name));
        };
        match &kept.found {
            Err(error) => found.problems.push(format!("{called}: {error}")),
            Ok(config) => {
                found
                    .problems
                    .extend(config.problems.iter().take(MAX_TOLD).map(|problem| format!("{called} {problem}")));
                found.configs.push((called, kept));
            }
        }
    }

    /// A signer's secret.
    pub fn signer(&self, namespace: &str, name: &str, deadline: Deadline) -> Result<SignerSecret, SignerError> {
        let deadline = half_of(deadline);
        let get = |deadline| signer(&self.api.secret(namespace, name, deadline)?);
        match self.signers.get(namespace, name, deadline, &get).as_deref() {
            Some(Kept { found: Ok(signer), .. }) => Ok(signer.clone()),
            Some(Kept { found: Err(error), .. }) if error.is_certain() => Err(SignerError::Bad(error.to_string())),
            Some(Kept { found: Err(error), .. }) => Err(SignerError::Unavailable(error.to_string())),
            None => Err(SignerError::Unavailable(out_of_time("Secret", namespace, name))),
        }
    }
}

impl fmt::Debug for ClusterSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSecrets").field("server", self.api.server()).finish_non_exhaustive()
    }
}

impl PullSecrets {
    /// The candidates for an image, most specific first. `name` is normalised and without tag.
    pub fn candidates(&self, name: &str) -> Vec<Credential> {
        best_first(
            name,
            self.configs.iter().flat_map(|(called, kept)| {
                kept.found.iter().flat_map(|config| &config.entries).map(move |entry| (called, entry))
            }),
        )
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
    dockerconfig::parse(&bytes, format).map_err(ClusterError::DockerConfig)
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
fn half_of(deadline: Deadline) -> Deadline {
    deadline.remaining().map_or(deadline, |left| deadline.at_most(left / 2))
}

fn out_of_time(what: &str, namespace: &str, name: &str) -> String {
    format!("{what} {namespace}/{}: there was no time to ask the Kubernetes API server for it", printable(name, 253))
}

fn weight(text: &str) -> u64 {
    64 + text.len() as u64
}

fn weight_of_config(config: &DockerConfig) -> u64 {
    // A pattern holds the registry's name once more, in pieces.
    let of_entries: u64 = config
        .entries
        .iter()
        .map(|entry| 512 + 4 * weight(&entry.registry) + weight(&entry.username) + weight(entry.password.reveal()))
        .sum();
    of_entries + config.problems.iter().map(|problem| weight(problem)).sum::<u64>()
}

/// A Secret or ServiceAccount that cannot be used.
#[derive(Debug)]
pub(super) enum ClusterError {
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
    pub(super) fn is_timeout(&self) -> bool {
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

/// A signer's secret that is not to be had from the cluster.
#[derive(Debug)]
pub enum SignerError {
    /// There is none, or what is in it cannot be used.
    Bad(String),
    /// Nobody could say: the API server is away, slow, or does not let us.
    Unavailable(String),
}
