//! Why trust data is rejected.

use jiff::Timestamp;

use super::anchor::AnchorKind;
use super::key::KeyId;
use crate::image::Sha256;
use crate::json::JsonError;

/// Why trust data is rejected. Roles have the names of trust data: `root`, `timestamp`, `snapshot`, `targets`,
/// `targets/<name>`. The message is safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The server has no trust data for the repository: nothing in it was ever signed.
    NoTrustData {
        /// The repository.
        gun: String,
    },
    /// The server no longer has trust data for the repository.
    Deleted {
        /// The repository.
        gun: String,
    },
    /// Metadata lists a file that the server does not have.
    Missing {
        /// The role.
        role: String,
    },
    /// A file is larger than its cap.
    TooLarge {
        /// The role.
        role: String,
        /// The most bytes it may have.
        cap: u64,
    },
    /// The bytes are not the strict JSON of trust data.
    Json {
        /// The role.
        role: String,
        /// What is wrong, and where.
        error: JsonError,
    },
    /// The JSON does not have the structure of the role's metadata.
    Structure {
        /// The role.
        role: String,
        /// What is wrong.
        what: String,
    },
    /// Too few of the role's keys have signed.
    Signatures {
        /// The role.
        role: String,
        /// Where the keys are listed, for the keys of an earlier root: `root version 3`.
        keys_of: Option<String>,
        /// How many keys must have signed.
        threshold: u64,
        /// How many have.
        valid: u64,
    },
    /// The metadata has expired.
    Expired {
        /// The role.
        role: String,
        /// When it expired.
        expired: Timestamp,
    },
    /// The metadata is older than what was verified before.
    Rollback {
        /// The role.
        role: String,
        /// The version that was verified before.
        seen: u64,
        /// The version of the metadata.
        offered: u64,
    },
    /// One version with two contents.
    Equivocation {
        /// The role.
        role: String,
        /// The version.
        version: u64,
    },
    /// The next root does not have the next version.
    RootVersion {
        /// The version that was asked for.
        expected: u64,
        /// The version it has.
        actual: u64,
    },
    /// The root was rotated more often than is followed in one refresh.
    TooManyRoots {
        /// The last version that was read.
        version: u64,
        /// The most rotations of one refresh.
        limit: u64,
    },
    /// A file does not have the listed length.
    Length {
        /// The role.
        role: String,
        /// The listed length.
        expected: u64,
        /// The file's length; `None` if reading stopped at the listed one.
        actual: Option<u64>,
    },
    /// A file does not have a listed hash.
    Hash {
        /// The role.
        role: String,
        /// `sha256` or `sha512`.
        algorithm: &'static str,
    },
    /// The anchor does not accept the root.
    RootNotTrusted {
        /// The repository.
        gun: String,
        /// Why.
        why: RootDistrust,
        /// The IDs of the keys that signed the root.
        keys: Vec<KeyId>,
    },
    /// The stored root, which says what was trusted before, is damaged.
    StoredRootDamaged {
        /// The repository.
        gun: String,
        /// What is wrong with it.
        why: String,
    },
    /// A role that was published before is missing.
    Vanished {
        /// The role.
        role: String,
    },
    /// Newer trust data was verified in part.
    Superseded {
        /// The repository.
        gun: String,
    },
    /// The tag is not released.
    NoSuchTag {
        /// The repository.
        gun: String,
        /// The tag.
        tag: String,
        /// The roles that do not list it.
        roles: Vec<&'static str>,
    },
    /// No released tag has the digest.
    NoSuchDigest {
        /// The repository.
        gun: String,
        /// The digest.
        digest: Sha256,
        /// The roles that do not list it.
        roles: Vec<&'static str>,
    },
    /// The tag is released with another digest.
    DigestMismatch {
        /// The tag.
        tag: String,
        /// The digest that was asked for.
        wanted: Sha256,
        /// The digest that was released.
        released: Sha256,
    },
    /// The tag is released without a SHA-256 digest.
    UnusableTarget {
        /// The tag.
        tag: String,
        /// The role.
        role: String,
    },
    /// The query has neither a tag nor a digest.
    NothingAsked,
    /// A required signer has not signed this.
    NotSignedBy {
        /// The signer's role.
        role: String,
        /// Why not.
        why: NotSigned,
    },
}

/// Why a root is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootDistrust {
    /// There is no pin, and first use is forbidden.
    NoAnchor,
    /// Too few keys have a valid certificate for a root key.
    Certificate,
    /// Too few keys have a certificate that names this repository. Others name another repository.
    OtherRepository {
        /// The common name of one of these certificates.
        name: String,
    },
    /// Too few keys have a certificate that is in date.
    OutOfDate,
    /// Too few keys are pinned, or have a pinned certificate.
    NotPinned,
    /// Too few keys have a certificate under a pinned CA.
    NotUnderCa,
}

/// Why a signer has not signed an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSigned {
    /// The signer has never published anything here, or has no delegation.
    NoRole,
    /// The role was not fetched.
    NotFetched,
    /// None of the configured keys has signed the role's metadata.
    OtherKey,
    /// The role has no authority over the tag.
    NoAuthority {
        /// The tag.
        tag: String,
    },
    /// The role does not list the tag.
    NoTag {
        /// The tag.
        tag: String,
    },
    /// The role lists the tag with another digest.
    OtherDigest {
        /// The tag.
        tag: String,
        /// The digest that was released.
        released: Sha256,
        /// The digest that the signer signed, if it is a usable one.
        signed: Option<Sha256>,
    },
}

impl Rejection {
    /// A short and stable name for metrics and audit annotations.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTrustData { .. } => "no-trust-data",
            Self::Deleted { .. } => "deleted",
            Self::Missing { .. } => "missing",
            Self::TooLarge { .. } => "too-large",
            Self::Json { .. } => "json",
            Self::Structure { .. } => "structure",
            Self::Signatures { .. } => "signature",
            Self::Expired { .. } => "expired",
            Self::Rollback { .. } => "rollback",
            Self::Equivocation { .. } => "equivocation",
            Self::RootVersion { .. } => "root-version",
            Self::TooManyRoots { .. } => "too-many-roots",
            Self::Length { .. } => "length",
            Self::Hash { .. } => "hash",
            Self::RootNotTrusted { .. } => "root-not-trusted",
            Self::StoredRootDamaged { .. } => "stored-root-damaged",
            Self::Vanished { .. } => "vanished",
            Self::Superseded { .. } => "superseded",
            Self::NoSuchTag { .. } => "no-such-tag",
            Self::NoSuchDigest { .. } => "no-such-digest",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::UnusableTarget { .. } => "unusable-target",
            Self::NothingAsked => "nothing-asked",
            Self::NotSignedBy { .. } => "not-signed-by",
        }
    }

    /// [`Rejection::Structure`] of this role.
    pub(crate) fn structure(role: &str, what: impl Into<String>) -> Self {
        Self::Structure { role: role.to_owned(), what: what.into() }
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Json { error, .. } = self { Some(error) } else { None }
    }
}

impl RootDistrust {
    /// The reason for this kind of anchor.
    pub(crate) fn of(kind: AnchorKind) -> Self {
        match kind {
            AnchorKind::Key => Self::NotPinned,
            AnchorKind::Ca => Self::NotUnderCa,
            AnchorKind::FirstUse | AnchorKind::Nothing => Self::NoAnchor,
        }
    }
}
