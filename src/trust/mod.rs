//! Trust data: who signed what, by Notary v1's metadata (TUF as Notary speaks it).
//!
//! The *verifier* (everything but `notary`, `client`, `challenge` and `token`) is pure: bytes, keys and the time come
//! in as arguments, a verified [`Repository`] or a reason comes out. The *service* around it fetches, caches and
//! shares.

pub mod anchor;
pub mod export;
pub mod gun;
pub mod key;
pub mod repository;
pub mod source;

mod canonical;
mod certificate;
mod floor;
mod json;
mod metadata;
mod refresh;
mod rejection;
mod root;
mod seen;
mod signature;
mod targets;

pub(crate) mod directory;
pub mod notary;
pub mod server_url;
pub mod servers;

mod budget;
mod ca;
mod challenge;
mod client;
mod crowd;
pub(crate) mod http;
mod names;
mod outage;
mod proxy;
mod recorder;
mod server_certificate;
pub(crate) mod shelf;
mod store;
mod tls;
mod token;
mod tunnel;
mod weight;
mod wire;

pub use anchor::{Anchor, FirstUse, PinError, RootPin};
pub use gun::{Gun, GunError, RoleName};
pub use json::JsonError;
pub use key::{KeyId, SignerKey, SignerKeyError};
pub use rejection::Keeper;
pub use repository::{RefreshError, Rejection, Repository, VerifiedDigest};
pub use source::{FetchError, MetadataName, MetadataSource};
pub use store::{DiskError, StateError, StoredRole, StoredSummary, reset};

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests;
