//! Credentials for registries and their token services: read from mounted files, re-read when they change, and, if
//! switched on, from the Kubernetes API. Never logged.

pub mod candidates;
pub(crate) mod docker_config;
pub(crate) mod matching;
pub(crate) mod mounted;
pub(crate) mod pulled;

pub use candidates::{Candidates, Fingerprint, one_after_another};
pub use docker_config::TOKEN_USER;
pub use mounted::MountedCredentials;
pub use pulled::{PodConfigs, PulledConfigs};

use crate::base::secret::Secret;

/// One candidate for signing in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credential {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// Where it stands, for denials: `pull secret "harbor" (…/.dockerconfigjson)`.
    pub source: String,
}

/// The fuzz target's door: what is made of a `.dockerconfigjson`, or of the older `.dockercfg`.
#[cfg(feature = "fuzzing")]
pub fn fuzz_docker_config(bytes: &[u8], old_shape: bool, image: &str) -> Result<(String, usize), String> {
    use docker_config::{Format, parse};
    let format = if old_shape { Format::Cfg } else { Format::Json };
    let config = parse(bytes, format).map_err(|error| error.to_string())?;
    let matching = config.entries.iter().filter(|entry| entry.pattern.matches(image)).count();
    Ok((format!("{config:?}"), matching))
}
