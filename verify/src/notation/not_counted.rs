//! Why a Notation signature does not count, in words for operators.

use std::fmt;

use jiff::Timestamp;

use crate::json::JsonError;
use crate::text::printable;
use crate::timestamp::TimestampError;

/// The most characters of such a text in a message.
const MAX_QUOTED: usize = 120;

/// Why a signature does not count. `Display` is safe to print, and says what is wrong and, where there is something, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It was not verified: as many signatures have been verified as may be for one request.
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
    Certificate {
        /// Its subject, printable.
        subject: String,
        /// Its place in the chain, from 1; the signer's own certificate is the first.
        place: usize,
        /// The rule.
        what: &'static str,
    },
    /// The key of its first certificate has not made it.
    Signature,
    /// It is about another image.
    OtherImage {
        /// What differs: the digest, the media type or the size.
        what: &'static str,
    },
    /// No certificate of its chain is in the policy's trust stores.
    Untrusted {
        /// The signer's subject, printable.
        signer: String,
        /// The type of the trust stores that it would have to be in.
        store: &'static str,
    },
    /// Its signer is none of the policy's identities.
    OtherIdentity {
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
    pub(super) fn value(what: &'static str, found: Option<&str>, expected: &'static str) -> Self {
        Self::Value { what, found: found.map(quoted), expected }
    }

    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Json { .. }
            | Self::Shape(_)
            | Self::Value { .. }
            | Self::OtherCase { .. }
            | Self::Critical { .. }
            | Self::Signature => "bad-signature",
            Self::NotVerified => "not-verified",
            Self::Certificate { .. } => "bad-certificate",
            Self::OtherImage { .. } => "other-image",
            Self::Untrusted { .. } => "untrusted-certificate",
            Self::OtherIdentity { .. } => "other-identity",
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
pub(super) fn quoted(text: &str) -> String {
    printable(text, MAX_QUOTED)
}

/// A time for a message.
pub(super) fn time(seconds: i64) -> Timestamp {
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
            Self::OtherCase { name } => {
                write!(f, "it has the name \"{name}\" in another spelling of upper and lower case")
            }
            Self::Critical { name } => write!(
                f,
                "it demands that its verifier knows the header \"{name}\", which is not known here; sign without it"
            ),
            Self::Certificate { subject, place, what } => {
                write!(f, "certificate {place} of its chain ({subject}) {what}")
            }
            Self::Signature => f.write_str("the key of its own certificate has not made it: it was changed or damaged"),
            Self::OtherImage { what } => write!(f, "it is about another image: {what} differs"),
            Self::Untrusted { signer, store } => write!(
                f,
                "it is signed by {signer}, and no certificate of its chain is in the policy's trust stores of the type \
                 {store}; if the signer is trusted, add the CA's certificate to one of them"
            ),
            Self::OtherIdentity { signer } => write!(
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
