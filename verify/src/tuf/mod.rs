//! Notary v1: TUF metadata as Notary publishes it (TRUST.md is the contract).
//!
//! [`repository::Repository::refresh`] is the one workflow: it fetches metadata through a
//! [`source::MetadataSource`], verifies it from the anchor down, and answers which digest a tag is signed as.

mod anchor;
mod error;
mod gun;
mod key;
mod metadata;
mod query;
mod refresh;
mod rejection;
mod repository;
mod rollback;
mod root;
pub(crate) mod root_certificate;
mod rotation;
mod signature;
mod source;
mod targets;
mod trusted_state;

pub use anchor::{Anchor, AnchorKind, FirstUse, PinError, RootPin};
pub use error::RefreshError;
pub use gun::{Gun, GunError, RoleName};
pub use key::{KeyId, RoleKeys, SignerKey, SignerKeyError};
pub use metadata::{FileMeta, Header, SnapshotRole, TimestampRole};
pub use query::{RequiredSigner, SignedTarget, TagFilter, TargetQuery};
pub use refresh::FailedRefresh;
pub use rejection::{NotSigned, Rejection, RootDistrust, SourceKind};
pub use repository::{Delegation, Repository, RepositoryFiles, RoleExpiry};
pub use rollback::MinimumVersions;
pub use root::Root;
pub use source::{FetchError, MetadataName, MetadataSource, SMALL_FILE, most_values, reading_memory};
pub use targets::TargetsRole;
pub use trusted_state::{PublicationVersion, TrustedState};

#[cfg(test)]
mod tests;
