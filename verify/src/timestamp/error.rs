//! Why a time stamp does not count.

use std::fmt;

/// Why a time stamp does not count. `Display` is safe to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampError {
    /// It has more bytes than [`MAX_TOKEN`](super::MAX_TOKEN).
    TooLarge,
    /// It is a response without a time stamp: the authority refused the request.
    NotGranted,
    /// It cannot be read. What is wrong.
    Shape(&'static str),
    /// It is of other bytes than those that it should be of.
    OtherMessage,
    /// It is not signed as a time stamp must be. What is wrong.
    Signature(&'static str),
    /// Its signer is no time stamp authority that is trusted. What is wrong.
    Authority(&'static str),
}

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, reason) = match self {
            Self::TooLarge => ("the time stamp has more than 65536 bytes", ""),
            Self::NotGranted => ("the time stamp authority refused the request for this time stamp", ""),
            Self::OtherMessage => ("the time stamp is of other bytes than this signature", ""),
            Self::Shape(reason) => ("the time stamp cannot be read: ", *reason),
            Self::Signature(reason) => ("the time stamp's own signature does not count: ", *reason),
            Self::Authority(reason) => ("the time stamp's signer is not trusted: ", *reason),
        };
        f.write_str(what)?;
        f.write_str(reason)
    }
}

impl std::error::Error for TimestampError {}
