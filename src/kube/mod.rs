//! The Kubernetes API, and what Portreeve reads from it: one object by name at a time, cached for seconds; for
//! `review --cluster` also lists, and where a kind is served. It knows nothing of docker configs: a caller says what is made of a Secret.

pub(crate) mod api;
pub(crate) mod cache;
pub(crate) mod discovery;
pub(crate) mod error;
pub(crate) mod lists;
pub(crate) mod object_name;
pub(crate) mod objects;
pub(crate) mod owners;
pub(crate) mod pull_secrets;
pub(crate) mod signer_secrets;

pub use api::{Api, ApiSettings, ApiUrl, Purpose};
pub use error::{ApiSetupError, ObjectError};
pub use object_name::{InvalidName, Resource};
pub use owners::{OwnerName, Owners};
pub use pull_secrets::PullContext;
pub use signer_secrets::{ClusterSigners, SecretError, SecretStore, SignerSecret};
