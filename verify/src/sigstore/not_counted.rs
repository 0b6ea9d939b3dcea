//! Why a signature does not count, in words for operators.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::trusted_root::TrustedRoot;
use crate::image::Sha256;
use crate::json::JsonError;
use crate::text::printable;

/// The most characters of such a text in a message.
const MAX_QUOTED: usize = 120;

/// Why a signature does not count. `Display` is safe to print, and says what is wrong and, where there is something, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It is larger than its cap.
    TooLarge {
        /// Which part.
        what: &'static str,
        /// The most bytes that it may have.
        cap: usize,
    },
    /// It is not strict JSON.
    Json {
        /// Which part.
        what: &'static str,
        /// What is wrong.
        error: JsonError,
    },
    /// It has the wrong shape.
    Shape(&'static str),
    /// A field of it has a value that does not count.
    Value {
        /// The field.
        what: &'static str,
        /// Its value, printable; `None` if it is no text or not there.
        found: Option<String>,
        /// What would count.
        expected: &'static str,
    },
    /// The payload has a member that cosign does not write.
    UnknownMember {
        /// Its name, printable.
        name: String,
    },
    /// It is an attestation, and no signature of an image.
    Attestation {
        /// Its predicate type, printable.
        predicate: String,
    },
    /// It is by a certificate (keyless), and the policy names keys.
    Certificate,
    /// It is by a certificate with another identity than those of the policy.
    OtherIdentity {
        /// The subject of the certificate, printable.
        subject: String,
        /// The issuer of its identity, printable.
        issuer: String,
    },
    /// All its entries, or all promises in its certificate, are of logs that the trusted root does not have.
    UnknownLog {
        /// The day of the trusted root's newest part.
        date: String,
        /// What kind of log.
        kind: &'static str,
        /// The ID of the first of these logs, in base64.
        id: String,
    },
    /// The policy requires a log or a certificate, and this is why it does not count.
    Unproven(&'static str),
    /// It was not verified under all keys: as many signatures have been verified as may be for one request.
    NotVerified,
    /// It is about another image.
    OtherImage,
    /// It is over the bytes of the image's manifest, which are not at hand.
    NoManifest,
    /// No key of the policy has made it.
    OtherKey {
        /// The key that the bundle says has made it. This is not signed.
        hint: Option<Sha256>,
    },
    /// The bundle says that an Ed25519 key of the policy has made it, and it does not verify without prehashing.
    Prehashed {
        /// The key's name in the policy.
        signer: String,
    },
    /// It lacks an annotation, or has another value for it.
    Annotation {
        /// Who made it: names of the policy's signers.
        by: String,
        /// The annotation.
        name: String,
        /// Its value in the policy.
        required: String,
        /// Its value in the signature, printable.
        found: Option<String>,
    },
    /// It was made for another repository, or does not say for which.
    Repository {
        /// Who made it: names of the policy's signers.
        by: String,
        /// The image's repository.
        required: String,
        /// The repository that is signed.
        found: Option<String>,
        /// Is it a bundle? Bundles never say for which repository they are.
        is_bundle: bool,
    },
}

impl NotCounted {
    pub(super) const ANNOTATIONS: Self = Self::Shape("its annotations are no object, or more than 256");

    pub(super) fn value(what: &'static str, found: Option<&str>, expected: &'static str) -> Self {
        Self::Value { what, found: found.map(quoted), expected }
    }

    pub(super) fn unknown_member(name: &str) -> Self {
        Self::UnknownMember { name: quoted(name) }
    }

    pub(super) fn unknown_log(root: &TrustedRoot, kind: &'static str, id: &[u8]) -> Self {
        let id = id.get(..32).unwrap_or(id); // longer ones are no IDs
        Self::UnknownLog { date: root.date(), kind, id: STANDARD.encode(id) }
    }

    pub(super) fn predicate(found: Option<&str>) -> Self {
        Self::Attestation { predicate: quoted(found.unwrap_or_default()) }
    }

    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Json { .. } | Self::Shape(_) | Self::Value { .. } | Self::UnknownMember { .. } => "bad-signature",
            Self::Attestation { .. } => "attestation",
            Self::Certificate => "certificate",
            Self::OtherIdentity { .. } => "other-identity",
            Self::UnknownLog { .. } => "unknown-log",
            Self::Unproven(_) => "unproven",
            Self::NotVerified => "not-verified",
            Self::OtherImage => "other-image",
            Self::NoManifest => "no-manifest",
            Self::OtherKey { .. } | Self::Prehashed { .. } => "other-key",
            Self::Annotation { .. } => "annotation",
            Self::Repository { .. } => "repository",
        }
    }
}

/// Text of a signature or a policy, for a message.
pub(super) fn quoted(text: &str) -> String {
    printable(text, MAX_QUOTED)
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { what, cap } => write!(f, "{what} is larger than its cap of {cap} bytes"),
            Self::Json { what, error } => write!(f, "{what} is not strict JSON: {error}"),
            Self::Shape(what) => f.write_str(what),
            Self::Value { what, found: Some(found), expected } => {
                write!(f, "{what} is \"{found}\", and {expected} counts")
            }
            Self::Value { what, found: None, expected } => write!(f, "{what} is not there, and {expected} counts"),
            Self::UnknownMember { name } => {
                write!(f, "the payload has a member \"{name}\", which cosign does not write")
            }
            Self::Attestation { predicate } => write!(
                f,
                "it is an attestation of type \"{predicate}\" and no signature of the image; sign the image itself with \
                 \"cosign sign\""
            ),
            Self::Certificate => f.write_str(
                "it was made with a certificate (keyless), and the policy names keys; sign the image with a key: \
                 \"cosign sign --key\"",
            ),
            Self::OtherIdentity { subject, issuer } => {
                write!(f, "{subject} of {issuer} has made it, whom the policy does not name")
            }
            Self::UnknownLog { date, kind, id } => write!(
                f,
                "the trusted root of {date} knows no {kind} {id}; if the log is newer than that, carry in a newer trusted_root.json"
            ),
            Self::Unproven(why) => f.write_str(why),
            Self::NotVerified => f.write_str("it was not verified, because this request caused too many verifications"),
            Self::OtherImage => f.write_str("it is about another image"),
            Self::NoManifest => f.write_str("it is over the bytes of the image's manifest, which are not at hand"),
            Self::OtherKey { hint: None } => f.write_str("another key has made it"),
            Self::OtherKey { hint: Some(hint) } => {
                write!(f, "another key has made it; it names the key {hint}")
            }
            Self::Prehashed { signer } => write!(
                f,
                "it names the Ed25519 key of {signer} and does not verify; cosign 3 signs with such a key by Ed25519ph, \
                 which is not supported: sign with a P-256 key"
            ),
            Self::Annotation { by, name, required, found: Some(found) } => write!(
                f,
                "it is signed by {by} with the annotation {name}=\"{found}\", and the policy requires \"{required}\""
            ),
            Self::Annotation { by, name, required, found: None } => write!(
                f,
                "it is signed by {by} without the annotation {name}, and the policy requires \"{required}\": \
                 \"cosign sign -a {name}={required}\""
            ),
            Self::Repository { by, is_bundle: true, .. } => write!(
                f,
                "it is signed by {by} in a bundle, which does not say for which repository, and the policy requires \
                 sameRepository; sign with \"--new-bundle-format=false\", or remove sameRepository"
            ),
            Self::Repository { by, required, found: Some(found), .. } => {
                write!(f, "it is signed by {by} for {found}, and sameRepository requires {required}")
            }
            Self::Repository { by, required, found: None, .. } => {
                write!(f, "it is signed by {by} for no valid image name, and sameRepository requires {required}")
            }
        }
    }
}
