//! The words of a rejection: what is wrong, and what an operator can do about it.

use std::fmt;

use super::rejection::{NotSigned, Rejection, RootDistrust};
use crate::text::printable;

/// What to do where the trust data has gone back for a known reason.
const RESET: &str = "reset what is stored with: portreeve check --reset";

/// The kind of source that trust data comes from. The advice in a message depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A trust server, which renews timestamps by itself.
    Server,
    /// A directory (`file://`), into which exported data is copied.
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

/// How new data comes into a directory.
const COPY: &str = "export it again from its trust server and copy it there";

/// The words for data of a trust server. For other sources use [`Rejection::describe`].
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(SourceKind::Server, "NAME", f)
    }
}

/// A rejection in the words for one kind of source and one repository.
struct Described<'a>(&'a Rejection, SourceKind, &'a str);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(self.1, self.2, f)
    }
}

impl Rejection {
    /// The rejection in the words for this kind of source, with commands for the repository of this name.
    pub fn describe<'a>(&'a self, source_kind: SourceKind, name: &'a str) -> impl fmt::Display + 'a {
        Described(self, source_kind, name)
    }

    fn write(&self, source_kind: SourceKind, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_server = source_kind == SourceKind::Server;
        match self {
            Self::NoTrustData { gun } if is_server => write!(
                f,
                "the trust server has no trust data for {gun}: nothing in it was ever signed; sign the image, or \
                 correct its name"
            ),
            Self::NoTrustData { gun } => {
                write!(f, "the directory has no trust data for {gun}; {COPY}, or correct the image's name")
            }
            Self::Deleted { gun } => write!(
                f,
                "{source_kind} no longer has trust data for {gun}: it was deleted there; if that was a mistake, restore it; \
                 if the repository is signed again, {RESET} {gun}"
            ),
            Self::Missing { role } => {
                let advice = if is_server { "publish the repository again" } else { COPY };
                write!(f, "{source_kind} lists {role} metadata that it does not have; {advice}")
            }
            Self::TooLarge { role, cap } => write!(f, "the {role} metadata is larger than its cap of {cap} bytes"),
            Self::Json { role, error } => write!(f, "the {role} metadata is not valid JSON: {error}"),
            Self::Structure { role, what } => write!(f, "the {role} metadata is malformed: {what}"),
            // No key of the trusted root has signed: an owner who signs with too few keys has signed with one.
            Self::Signatures { role, keys_of: None, valid: 0, .. }
                if matches!(role.as_str(), "timestamp" | "snapshot" | "targets") =>
            {
                write!(
                    f,
                    "the {role} metadata is signed by none of the keys that the trusted root lists for it: its keys were \
                     changed without a new root, the repository was made anew, or this is not its owner's data; "
                )?;
                made_anew(name, f)
            }
            Self::Signatures { role, keys_of, threshold, valid } => {
                write!(f, "the {role} metadata is validly signed by {valid} of its keys")?;
                if let Some(place) = keys_of {
                    write!(f, " (those of {place})")?;
                }
                write!(f, ", and {threshold} must have signed; ")?;
                match (role.as_str(), keys_of) {
                    ("root", Some(_)) => {
                        f.write_str("the keys that were trusted before have not signed the new root; ")?;
                        made_anew(name, f)
                    }
                    ("root", None) => write!(f, "its owner must sign the root with {threshold} of its keys"),
                    ("timestamp" | "snapshot" | "targets", _) => {
                        f.write_str("its owner must sign it with more of the keys that the trusted root lists")
                    }
                    (role, _) => write!(
                        f,
                        "if a key was replaced, a present signer of {role} must sign it again: notary witness -p {name} \
                         {role}"
                    ),
                }
            }
            Self::Expired { role, expired } => {
                write!(f, "the {role} metadata expired on {expired}")?;
                match role.as_str() {
                    "timestamp" if is_server => {
                        f.write_str("; the trust server renews it by itself: check the server and the clocks")
                    }
                    "timestamp" => write!(f, "; nothing renews data in a directory: {COPY}"),
                    _ if is_server => f.write_str("; its owner must sign it again"),
                    _ => write!(f, "; its owner must sign it again; then {COPY}"),
                }
            }
            Self::Rollback { role, seen, offered } => write!(
                f,
                "{source_kind} offers version {offered} of the {role} metadata, and version {seen} was seen \
                 before; if older data was deliberately restored, for example from a backup, {RESET} {name}"
            ),
            Self::Equivocation { role, version } => write!(
                f,
                "{source_kind} offers version {version} of the {role} metadata with other contents than it had \
                 before; if the repository was deliberately created again, {RESET} {name}"
            ),
            Self::RootVersion { expected, actual } => {
                write!(f, "the file of root version {expected} holds version {actual}")
            }
            Self::TooManyRoots { version, limit } => write!(
                f,
                "the root was rotated more than {limit} times since it was last verified; version {version} was the last \
                 to be read"
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
                    // TRUST.md, row 44: pins apply to a root that was stored before they were set as well.
                    RootDistrust::NotPinned | RootDistrust::NotUnderCa => {
                        write!(f, "; if the root that was trusted before must no longer count, {RESET} {gun}")
                    }
                    _ => Ok(()),
                }
            }
            Self::StoredRootDamaged { gun, why } => write!(
                f,
                "the stored root of {gun} is damaged, so it is unknown which root was trusted before: {why}; pin the \
                 root in the policy, or, if the damage is explained, {RESET} {gun}"
            ),
            Self::Superseded { gun } => {
                write!(f, "there is newer trust data for {gun}, which could not be verified completely")
            }
            Self::Vanished { role } => write!(
                f,
                "{role} was published before and is missing in the snapshot; if it was deliberately removed, {RESET} {name}"
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
            Self::NothingAsked => f.write_str("the image has neither a tag nor a sha256 digest"),
            Self::NotSignedBy { role, why } => {
                let name = role.strip_prefix("targets/").unwrap_or(role);
                write!(f, "not signed by {name}: {why}")
            }
        }
    }
}

/// The two ways out where other keys have signed than those that are trusted.
fn made_anew(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "ask its owner; if it was made anew on purpose, {RESET} {name}, and replace the policy's roots, if it pins any; if \
         not, restore its data on the trust server from a backup, or let its owner publish it with the trusted keys"
    )
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

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRole => f.write_str("there is no such signer in this repository's trust data"),
            Self::NotFetched => f.write_str("the signer's metadata was not fetched"),
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
