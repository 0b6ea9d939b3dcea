//! Notary v1: TUF metadata in Notary's dialect. TRUST.md is the contract.
//!
//! [`Repository::refresh`] fetches metadata through a [`MetadataSource`] and verifies it from the [`Anchor`] down.
//! [`Repository::find_target`] says which digest a tag is signed as, and by whom.

mod anchor;
mod error;
mod gun;
mod key;
mod messages;
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
pub(crate) mod time;
mod trusted_state;

pub use anchor::{Anchor, AnchorKind, FirstUse, PinError, RootPin};
pub use error::RefreshError;
pub use gun::{Gun, GunError, RoleName};
pub use key::{KeyId, RoleKeys, SignerKey, SignerKeyError};
pub use messages::SourceKind;
pub use metadata::{FileMeta, Header, SnapshotRole, TimestampRole};
pub use query::{RequiredSigner, SignedTarget, TagFilter, TargetQuery};
pub use refresh::FailedRefresh;
pub use rejection::{NotSigned, Rejection, RootDistrust};
pub use repository::{Delegation, Repository, RepositoryFiles, RoleExpiry};
pub use rollback::MinimumVersions;
pub use root::Root;
pub use source::{FetchError, MetadataName, MetadataSource, SMALL_FILE, reading_memory};
pub use targets::TargetsRole;
pub(crate) use time::rfc3339;
pub use time::stored_time;
pub use trusted_state::{PublicationVersion, TrustedState};

#[cfg(test)]
mod tests;
