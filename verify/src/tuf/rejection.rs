//! Why trust data says no, in words that an operator can act on.

use std::fmt;

use jiff::Timestamp;

use super::anchor::AnchorKind;
use super::key::KeyId;
use crate::image::Sha256;
use crate::json::JsonError;
use crate::text::printable;

/// Why the trust data says no. Roles are named as in trust data: `root`, `timestamp`, `snapshot`, `targets`,
/// `targets/<name>`. Text that came from a server is safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The server has no trust data for the repository at all: nothing in it was ever signed.
    NoTrustData {
        /// The repository.
        gun: String,
    },
    /// The server had trust data for the repository, and has none any more.
    Deleted {
        /// The repository.
        gun: String,
    },
    /// Metadata lists a file that the server does not have.
    Missing {
        /// The role.
        role: String,
    },
    /// A file is larger than anything honest.
    TooLarge {
        /// The role.
        role: String,
        /// The most bytes it may have.
        cap: u64,
    },
    /// The bytes are not the JSON that trust data is made of.
    Json {
        /// The role.
        role: String,
        /// What is wrong, and where.
        error: JsonError,
    },
    /// The JSON is not what the role's metadata looks like.
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
        /// Where the keys are listed, if not in the role that always lists them: `root version 3`.
        keys_of: Option<String>,
        /// How many keys must have signed.
        threshold: u64,
        /// How many have.
        valid: u64,
    },
    /// The metadata has ended.
    Expired {
        /// The role.
        role: String,
        /// When it ended.
        expired: Timestamp,
    },
    /// The metadata is older than what was seen before.
    Rollback {
        /// The role.
        role: String,
        /// The version seen before.
        seen: u64,
        /// The version offered.
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
        /// The version at which following stopped.
        version: u64,
        /// How many steps are taken.
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
    /// Nothing says that this root is the right one.
    RootNotTrusted {
        /// The repository.
        gun: String,
        /// Why.
        why: RootDistrust,
        /// The IDs of the keys that signed the root.
        keys: Vec<KeyId>,
    },
    /// The stored root, which shows what was trusted before, cannot be believed.
    StoredRootDamaged {
        /// The repository.
        gun: String,
        /// What is wrong with it.
        why: String,
    },
    /// A role that was published before is gone.
    Vanished {
        /// The role.
        role: String,
    },
    /// Newer trust data was verified than this, though not all of it.
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
        /// Where it was looked for.
        roles: Vec<&'static str>,
    },
    /// No released tag has the digest.
    NoSuchDigest {
        /// The repository.
        gun: String,
        /// The digest.
        digest: Sha256,
        /// Where it was looked for.
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
    /// Neither a tag nor a digest was asked for.
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
    /// Too few keys have a certificate fit for this repository's root.
    Certificate,
    /// Too few keys have a certificate that names this repository; the others' would do for another one.
    OtherRepository {
        /// What one of those certificates names.
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

/// What an operator does who knows why the trust data had to go back.
const RESET: &str = "reset what is stored with: portreeve check --reset";

impl Rejection {
    /// A short and stable name, for metrics and audit annotations.
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

/// Where trust data is kept, for the words of a rejection: what is to be done differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A trust server, which renews timestamps by itself.
    Server,
    /// A directory (`file://`), into which exported data is carried.
    Directory,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "the trust server",
            Self::Directory => "the directory",
        })
    }
}

/// What brings new data into a directory.
const CARRY: &str = "export it anew from its trust server and carry it in";

/// As from a trust server. Of other data, [`Rejection::told_of`] speaks.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(SourceKind::Server, f)
    }
}

/// A rejection in the words that fit the place where the data is kept.
struct Told<'a>(&'a Rejection, SourceKind);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tell(self.1, f)
    }
}

impl Rejection {
    /// In words that fit the place where the data is kept.
    pub fn describe(&self, source_kind: SourceKind) -> impl fmt::Display {
        Told(self, source_kind)
    }

    fn tell(&self, source_kind: SourceKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_server = source_kind == SourceKind::Server;
        match self {
            Self::NoTrustData { gun } if is_server => write!(
                f,
                "the trust server has no trust data for {gun}: nothing in it was ever signed; sign the image, or \
                 correct its name"
            ),
            Self::NoTrustData { gun } => {
                write!(f, "the directory has no trust data for {gun}; {CARRY}, or correct the image's name")
            }
            Self::Deleted { gun } => write!(
                f,
                "{source_kind} has no trust data for {gun} any more, which it had before: it was deleted there; if that was \
                 a mistake, restore it; if the repository is signed anew, {RESET} {gun}"
            ),
            Self::Missing { role } => {
                let advice = if is_server { "publish the repository anew" } else { CARRY };
                write!(f, "{source_kind} lists {role} metadata that it does not have; {advice}")
            }
            Self::TooLarge { role, cap } => write!(f, "the {role} metadata is larger than its cap of {cap} bytes"),
            Self::Json { role, error } => write!(f, "the {role} metadata is not valid JSON: {error}"),
            Self::Structure { role, what } => write!(f, "the {role} metadata is malformed: {what}"),
            Self::Signatures { role, keys_of, threshold, valid } => {
                write!(f, "the {role} metadata is validly signed by {valid} of its keys")?;
                if let Some(place) = keys_of {
                    write!(f, " (those of {place})")?;
                }
                write!(f, ", and {threshold} must have signed; ")?;
                match (role.as_str(), keys_of) {
                    ("root", Some(_)) => write!(
                        f,
                        "keys that were trusted before have not signed the new root; if the repository was deliberately \
                         made anew, {RESET} NAME"
                    ),
                    ("root", None) => f.write_str("its owner must sign the root with all the keys that it wants"),
                    ("timestamp" | "snapshot" | "targets", _) => write!(
                        f,
                        "the root that is trusted lists other keys for it; if keys were changed, publish the repository \
                         with the new ones; if the repository was deliberately made anew, {RESET} NAME"
                    ),
                    (role, _) => write!(
                        f,
                        "where a key was replaced, a signer that {role} has now must sign it anew: notary witness -p \
                         NAME {role}"
                    ),
                }
            }
            Self::Expired { role, expired } => {
                write!(f, "the {role} metadata expired on {expired}")?;
                match role.as_str() {
                    "timestamp" if is_server => {
                        f.write_str("; the trust server renews it by itself: check the server and the clocks")
                    }
                    "timestamp" => write!(f, "; data in a directory is not renewed by itself: {CARRY}"),
                    _ if is_server => f.write_str("; its owner must sign it anew"),
                    _ => write!(f, "; its owner must sign it anew; then {CARRY}"),
                }
            }
            Self::Rollback { role, seen, offered } => write!(
                f,
                "{source_kind} offers version {offered} of the {role} metadata, and version {seen} was seen \
                 before; if older data was deliberately restored, from a backup or so, {RESET} NAME"
            ),
            Self::Equivocation { role, version } => write!(
                f,
                "{source_kind} offers version {version} of the {role} metadata with other contents than it had \
                 before; if the repository was deliberately made anew, {RESET} NAME"
            ),
            Self::RootVersion { expected, actual } => {
                write!(f, "the file of root version {expected} holds version {actual}")
            }
            Self::TooManyRoots { version, limit } => write!(
                f,
                "the root was rotated more than {limit} times since it was last seen; following stopped at version \
                 {version}"
            ),
            Self::Length { role, expected, actual: Some(actual) } => {
                write!(f, "the {role} metadata has {actual} bytes where {expected} are listed")
            }
            Self::Length { role, expected, actual: None } => {
                write!(f, "the {role} metadata has more than the {expected} bytes that are listed")
            }
            Self::Hash { role, algorithm } => {
                write!(f, "the {role} metadata does not have the {algorithm} hash that is listed for it")
            }
            Self::RootNotTrusted { gun, why, keys } => {
                write!(f, "the root of {gun} is not trusted: {why}; it is signed by ")?;
                for (index, key) in keys.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}key {}", key.hex())?;
                }
                if keys.is_empty() {
                    f.write_str("no key that counts")?;
                }
                match why {
                    // Row 44: what was stored before the pins were set is held against them too.
                    RootDistrust::NotPinned | RootDistrust::NotUnderCa => {
                        write!(f, "; if a root that was trusted before is not to count any more, {RESET} {gun}")
                    }
                    _ => Ok(()),
                }
            }
            Self::StoredRootDamaged { gun, why } => write!(
                f,
                "the stored root of {gun} is damaged, so that nobody can say which root was trusted before: {why}; pin \
                 the root in the policy, or, if the damage is explained, {RESET} {gun}"
            ),
            Self::Superseded { gun } => {
                write!(f, "newer trust data for {gun} was seen than this, and it could not be verified to its end")
            }
            Self::Vanished { role } => write!(
                f,
                "{role} was published before and is gone from the snapshot; if it was deliberately removed, {RESET} NAME"
            ),
            Self::NoSuchTag { gun, tag, roles } => {
                let tag = printable(tag, 128);
                write!(f, "the tag \"{tag}\" of {gun} is not signed: it is not listed in {}", roles.join(" or in "))
            }
            Self::NoSuchDigest { gun, digest, roles } => {
                write!(f, "{digest} of {gun} is not signed: no tag in {} has this digest", roles.join(" or in "))
            }
            Self::DigestMismatch { tag, wanted, released } => write!(
                f,
                "the tag \"{}\" is signed with {released}, and the image asks for {wanted}",
                printable(tag, 128)
            ),
            Self::UnusableTarget { tag, role } => {
                write!(f, "{role} lists the tag \"{}\" without a sha256 digest", printable(tag, 128))
            }
            Self::NothingAsked => f.write_str("the image has neither a tag nor a sha256 digest to look for"),
            Self::NotSignedBy { role, why } => {
                let name = role.strip_prefix("targets/").unwrap_or(role);
                write!(f, "not signed by {name}: {why}")
            }
        }
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Json { error, .. } = self { Some(error) } else { None }
    }
}

impl fmt::Display for RootDistrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAnchor => "no root is pinned for it, and trust on first use is forbidden; pin one in the policy",
            Self::Certificate => {
                "its keys lack a sound certificate with the repository's name as common name (one leaf, no CA, no \
                 SHA-1, RSA of 2048 bits or more)"
            }
            Self::OtherRepository { name } => {
                return write!(
                    f,
                    "its certificate is for another repository, \"{}\"; sign the image under its own name, or give the \
                     policy a remap if it is a mirror's",
                    printable(name, 256)
                );
            }
            Self::OutOfDate => "the certificates of its keys are out of date; its owner must rotate the root",
            Self::NotPinned => "its keys are not those that the policy pins",
            Self::NotUnderCa => "its certificates do not chain to the CA that the policy pins",
        })
    }
}

impl RootDistrust {
    /// The words for this kind of anchor.
    pub(crate) fn of(kind: AnchorKind) -> Self {
        match kind {
            AnchorKind::Key => Self::NotPinned,
            AnchorKind::Ca => Self::NotUnderCa,
            AnchorKind::FirstUse | AnchorKind::Nothing => Self::NoAnchor,
        }
    }
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRole => f.write_str("there is no such signer in this repository's trust data"),
            Self::NotFetched => f.write_str("the signer's metadata was not asked for"),
            Self::OtherKey => f.write_str("the signer's metadata is signed by other keys than the policy's"),
            Self::NoAuthority { tag } => {
                write!(f, "the signer has no authority over the tag \"{}\"", printable(tag, 128))
            }
            Self::NoTag { tag } => write!(f, "the signer has not signed the tag \"{}\"", printable(tag, 128)),
            Self::OtherDigest { tag, released, signed } => {
                write!(f, "the tag \"{}\" is released with {released}, and the signer signed ", printable(tag, 128))?;
                match signed {
                    Some(digest) => write!(f, "{digest}"),
                    None => f.write_str("it without a sha256 digest"),
                }
            }
        }
    }
}
