//! Why a signature does not count, in words for operators: cosign's and Notation's in one type, because both have the same first
//! reasons, and a list of reasons takes both.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::image::Sha256;
use crate::json::JsonError;
use crate::sigstore::TrustedRoot;
use crate::text::printable;
use crate::timestamp::TimestampError;

/// The most characters of such a text in a message.
const MAX_QUOTED: usize = 120;

/// Why a signature does not count. `Display` is safe to print, and says what is wrong and, where there is something, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It was not verified, or not under all keys: as many signatures have been verified as may be for one request.
    NotVerified,
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
    /// It is about another image.
    OtherImage {
        /// What differs: the digest, the media type or the size.
        what: &'static str,
    },
    // Of cosign alone.
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
    // Of Notation alone.
    /// It has a header in another spelling of upper and lower case. Some readers take it for that header.
    OtherCase {
        /// The header of the specification.
        name: &'static str,
    },
    /// It marks a header as critical that is not known here.
    Critical {
        /// The header, printable.
        name: String,
    },
    /// A certificate of its chain breaks a rule.
    BadCertificate {
        /// Its subject, printable.
        subject: String,
        /// Its place in the chain, from 1; the signer's own certificate is the first.
        place: usize,
        /// The rule.
        what: &'static str,
    },
    /// The key of its first certificate has not made it.
    Signature,
    /// No certificate of its chain is in the policy's trust stores.
    Untrusted {
        /// The signer's subject, printable.
        signer: String,
        /// The type of the trust stores that it would have to be in.
        store: &'static str,
    },
    /// Its signer is none of the policy's identities.
    UntrustedIdentity {
        /// The signer's subject, printable.
        signer: String,
    },
    /// Its signer set an expiry, which has come.
    Expired {
        /// The expiry, in seconds since 1970.
        at: i64,
    },
    /// A certificate of its chain is not in date.
    Dates {
        /// Its subject, printable.
        subject: String,
        /// Its first second.
        not_before: i64,
        /// Its last second.
        not_after: i64,
        /// At which time it is not.
        time: SignedTime,
    },
    /// The policy has trust stores for time stamps, and the signature has no time stamp.
    NoTimestamp,
    /// Its time stamp does not count.
    Timestamp(TimestampError),
    /// A certificate of its chain is revoked.
    Revoked {
        /// Its subject, printable.
        subject: String,
    },
    /// A certificate of its chain may be revoked, and no revocation list says that it is not.
    RevocationUnknown {
        /// Its subject, printable.
        subject: String,
        /// Why.
        what: &'static str,
    },
    /// It lacks a field of metadata, or has another value for it.
    Metadata {
        /// The field.
        name: String,
        /// Its value in the policy.
        required: String,
        /// Its value in the signature, printable.
        found: Option<String>,
    },
}

/// The time at which certificates must be in date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedTime {
    /// Now: without a time stamp nothing else is proved.
    Now,
    /// The time of the time stamp.
    Timestamp,
    /// The time that the signing authority signed.
    SigningAuthority,
}

impl NotCounted {
    pub(crate) const ANNOTATIONS: Self = Self::Shape("its annotations are no object, or more than 256");

    pub(crate) fn value(what: &'static str, found: Option<&str>, expected: &'static str) -> Self {
        Self::Value { what, found: found.map(quoted), expected }
    }

    pub(crate) fn unknown_member(name: &str) -> Self {
        Self::UnknownMember { name: quoted(name) }
    }

    pub(crate) fn unknown_log(root: &TrustedRoot, kind: &'static str, id: &[u8]) -> Self {
        let id = id.get(..32).unwrap_or(id); // longer ones are no IDs
        Self::UnknownLog { date: root.date(), kind, id: STANDARD.encode(id) }
    }

    pub(crate) fn predicate(found: Option<&str>) -> Self {
        Self::Attestation { predicate: quoted(found.unwrap_or_default()) }
    }

    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotVerified => "not-verified",
            Self::TooLarge { .. } => "too-large",
            Self::Json { .. }
            | Self::Shape(_)
            | Self::Value { .. }
            | Self::UnknownMember { .. }
            | Self::OtherCase { .. }
            | Self::Critical { .. }
            | Self::Signature => "bad-signature",
            Self::OtherImage { .. } => "other-image",
            Self::Attestation { .. } => "attestation",
            Self::Certificate => "certificate",
            Self::OtherIdentity { .. } | Self::UntrustedIdentity { .. } => "other-identity",
            Self::UnknownLog { .. } => "unknown-log",
            Self::Unproven(_) => "unproven",
            Self::NoManifest => "no-manifest",
            Self::OtherKey { .. } | Self::Prehashed { .. } => "other-key",
            Self::Annotation { .. } => "annotation",
            Self::Repository { .. } => "repository",
            Self::BadCertificate { .. } => "bad-certificate",
            Self::Untrusted { .. } => "untrusted-certificate",
            Self::Expired { .. } => "expired",
            Self::Dates { .. } => "certificate-dates",
            Self::NoTimestamp | Self::Timestamp(_) => "timestamp",
            Self::Revoked { .. } => "revoked",
            Self::RevocationUnknown { .. } => "revocation-unknown",
            Self::Metadata { .. } => "metadata",
        }
    }
}

/// Text of a signature or a policy, for a message.
pub(crate) fn quoted(text: &str) -> String {
    printable(text, MAX_QUOTED)
}

/// A time for a message.
pub(crate) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVerified => f.write_str("it was not verified, because this request caused too many verifications"),
            Self::TooLarge { what, cap } => write!(f, "{what} is larger than its cap of {cap} bytes"),
            Self::Json { what, error } => write!(f, "{what} is not strict JSON: {error}"),
            Self::Shape(what) => f.write_str(what),
            Self::Value { what, found: Some(found), expected } => {
                write!(f, "{what} is \"{found}\", and {expected} counts")
            }
            Self::Value { what, found: None, expected } => write!(f, "{what} is not there, and {expected} counts"),
            Self::OtherImage { what } => write!(f, "it is about another image: {what} differs"),
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
                write!(f, "it was made by {subject} of {issuer}, and the policy does not name this identity")
            }
            Self::UnknownLog { date, kind, id } => write!(
                f,
                "the trusted root of {date} knows no {kind} {id}; if the log is newer than that, carry in a newer trusted_root.json; \
                 if not, the policy may name the wrong trusted root"
            ),
            Self::Unproven(why) => f.write_str(why),
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
            Self::OtherCase { name } => {
                write!(f, "it has the name \"{name}\" in another spelling of upper and lower case")
            }
            Self::Critical { name } => write!(
                f,
                "it demands that its verifier knows the header \"{name}\", which is not known here; sign without it"
            ),
            Self::BadCertificate { subject, place, what } => {
                write!(f, "certificate {place} of its chain ({subject}) {what}")
            }
            Self::Signature => f.write_str("the key of its own certificate has not made it: it was changed or damaged"),
            Self::Untrusted { signer, store } => write!(
                f,
                "it names {signer} as its signer, and no certificate of its chain is in the policy's trust stores of the type \
                 {store}; if the signer is trusted, add the CA's certificate to one of them"
            ),
            Self::UntrustedIdentity { signer } => write!(
                f,
                "it is signed by {signer}, which is none of the policy's trusted identities; if the signer is trusted, add \
                 its subject to them"
            ),
            Self::Expired { at } => {
                write!(f, "its signer let it expire at {}; sign the image again", time(*at))
            }
            Self::Dates { subject, not_before, not_after, time: when } => {
                let (not_before, not_after) = (time(*not_before), time(*not_after));
                write!(f, "the certificate of {subject} is valid from {not_before} to {not_after}, and not ")?;
                f.write_str(match when {
                    SignedTime::Now => {
                        "now; renew it and sign the image again, or use time stamps and a trust store of the type tsa"
                    }
                    SignedTime::Timestamp => "at the time of the signature's time stamp",
                    SignedTime::SigningAuthority => "at the time that the signing authority signed",
                })
            }
            Self::NoTimestamp => f.write_str(
                "it has no time stamp, and the policy has a trust store of the type tsa; sign with \"--timestamp-url\"",
            ),
            Self::Timestamp(error) => error.fmt(f),
            Self::Revoked { subject } => {
                write!(f, "the certificate of {subject} is revoked; sign the image with another certificate")
            }
            Self::RevocationUnknown { subject, what } => write!(
                f,
                "revocation unknown: the certificate of {subject} says where its revocation can be asked for, and {what}; \
                 carry in a current revocation list of its issuer, or set \"revocation: skip\""
            ),
            Self::Metadata { name, required, found: Some(found), .. } => {
                write!(f, "it is signed with the metadata {name}=\"{found}\", and the policy requires \"{required}\"")
            }
            Self::Metadata { name, required, found: None, .. } => write!(
                f,
                "it is signed without the metadata {name}, and the policy requires \"{required}\": \
                 \"notation sign --user-metadata {name}={required}\""
            ),
        }
    }
}
