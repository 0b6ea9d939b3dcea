//! Credentials for registries and their token services: from mounted files, and, if that is switched on, from pull secrets
//! in the Kubernetes API. Passwords are never logged.

mod candidates;
pub(crate) mod credentials;
pub(crate) mod docker_config;
pub(crate) mod matching;
pub(crate) mod mounted;
pub(crate) mod pod;
pub(crate) mod pulled;

pub use credentials::{Credentials, Fingerprint};
pub use docker_config::TOKEN_USER;
pub use mounted::MountedCredentials;
pub use pod::PodKeychain;
pub use pulled::{PodConfigs, PulledConfigs};

use crate::base::context::Deadline;
use crate::base::secret::Secret;

/// A place where credentials come from. Several threads may ask it at once, for the parts of one image.
pub trait Keychain: Sync {
    /// The credentials for these repositories, until the deadline: those for the first one, then those for the next ones.
    /// Names are normalised and without tag: `registry.local:9001/plant/plc`.
    fn credentials(&self, repositories: &[&str], deadline: Deadline) -> Found;

    /// The same, without credentials that are mounted for all namespaces: what the pod's own namespace has.
    fn of_namespace(&self, repositories: &[&str], deadline: Deadline) -> Found;
}

/// A keychain without the credentials that are mounted for all namespaces. It is for servers that a namespace's own people have
/// named: they choose who receives the credentials.
pub struct OfNamespace<'a>(pub &'a dyn Keychain);

impl Keychain for OfNamespace<'_> {
    fn credentials(&self, repositories: &[&str], deadline: Deadline) -> Found {
        self.0.of_namespace(repositories, deadline)
    }

    fn of_namespace(&self, repositories: &[&str], deadline: Deadline) -> Found {
        self.0.of_namespace(repositories, deadline)
    }
}

/// What a keychain has.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The credentials, in the order in which to try them. No user with the same password is in it twice.
    pub credentials: Vec<Credential>,
    /// Why there may be more of them. Safe to print.
    pub problems: Vec<String>,
}

/// A keychain for tests that has what the function says.
#[cfg(test)]
pub(crate) struct FnKeychain<F>(pub(crate) F);

#[cfg(test)]
impl<F: Fn(Deadline) -> Vec<Credential> + Sync> Keychain for FnKeychain<F> {
    fn credentials(&self, _: &[&str], deadline: Deadline) -> Found {
        Found { credentials: (self.0)(deadline), problems: Vec::new() }
    }

    fn of_namespace(&self, _: &[&str], _: Deadline) -> Found {
        Found::default()
    }
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credential {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// The place where it was read, for messages: `pull secret "harbor" (…/.dockerconfigjson)`.
    pub source: String,
}

/// For the fuzz target: parses a `.dockerconfigjson`, or the older `.dockercfg`.
#[cfg(feature = "fuzzing")]
pub fn fuzz_docker_config(bytes: &[u8], old_shape: bool, image: &str) -> Result<(String, usize), String> {
    use docker_config::{Format, parse};
    let format = if old_shape { Format::Cfg } else { Format::Json };
    let config = parse(bytes, format).map_err(|error| error.to_string())?;
    let matching = config.entries.iter().filter(|entry| entry.pattern.matches(image)).count();
    Ok((format!("{config:?}"), matching))
}
