//! The Kubernetes API, and what is read from it: one object by name at a time, kept for seconds.

pub(crate) mod api;
pub(crate) mod cache;
pub(crate) mod names;
pub(crate) mod object_name;
pub(crate) mod owners;
pub(crate) mod pull_secrets;
pub(crate) mod signer_secrets;

pub use api::{ApiSettings, ApiSetupError, ApiUrl};
pub use names::{NotAName, Resource};
pub use owners::{OwnerName, Owners};
pub use pull_secrets::{ClusterSecrets, NotHad, PullSecrets, Puller};
pub use signer_secrets::{SecretError, SecretStore, SignerSecret};
