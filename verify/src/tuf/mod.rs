//! Notary v1: TUF metadata as Notary publishes it (TRUST.md is the contract).
//!
//! [`repository::Repository::refresh`] is the one workflow: it fetches metadata through a
//! [`source::MetadataSource`], verifies it from the anchor down, and answers which digest a tag is signed as.

pub mod anchor;
pub mod gun;
pub mod key;
pub mod metadata;
pub mod refresh;
pub mod rejection;
pub mod repository;
pub mod rollback;
pub mod root;
mod signature;
pub mod source;
mod targets;
pub mod trusted_state;

pub use anchor::{Anchor, FirstUse, PinError, RootPin};
pub use gun::{Gun, GunError, RoleName};
pub use key::{KeyId, SignerKey, SignerKeyError};
pub use refresh::RefreshError;
pub use rejection::{Rejection, SourceKind};
pub use repository::{Repository, VerifiedDigest};
pub use source::{FetchError, MetadataName, MetadataSource};

#[cfg(test)]
mod tests;
