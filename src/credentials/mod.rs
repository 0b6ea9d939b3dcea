//! Credentials for registries and their token services, and the secrets that policies name: read from mounted
//! files, re-read when they change, and, if switched on, from the Kubernetes API; never logged.

mod dockerconfig;
pub(crate) mod files;
mod matching;
mod mounted;
mod secrets;

mod api;
mod cache;
mod cluster;
mod names;
mod owners;

mod candidates;

pub use api::{ApiSettings, ApiSetupError, ApiUrl};
pub use candidates::{Candidates, Fingerprint, one_after_another};
pub use cluster::{ClusterSecrets, NotHad, PullSecrets, Puller};
pub use dockerconfig::TOKEN_USER;
pub use files::FileError;
pub use mounted::MountedCredentials;
pub use names::{NotAName, Resource};
pub use owners::{OwnerName, Owners};
pub use secrets::{SecretError, SecretStore, SignerSecret};

use std::fmt;

/// A secret value. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

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
    use dockerconfig::{Format, parse};
    let format = if old_shape { Format::Cfg } else { Format::Json };
    let config = parse(bytes, format).map_err(|error| error.to_string())?;
    let matching = config.entries.iter().filter(|entry| entry.pattern.matches(image)).count();
    Ok((format!("{config:?}"), matching))
}
