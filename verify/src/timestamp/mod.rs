//! Time stamps (RFC 3161): a token is read and verified under the certificates that the caller trusts.
//!
//! A certificate that is embedded in a token is never trusted for that. A token is refused if it has what other readers
//! allow: indefinite lengths, SHA-1 as the hash of the message, several signers, CRLs, certificates of other kinds than
//! X.509, or a critical extension. How long an authority counts as trusted beside the dates of its certificates
//! (`validFor`) is for the caller to check.

mod attributes;
mod chain;
mod error;
mod signed_data;
mod token;
pub(crate) mod tst_info;

pub use error::TimestampError;
pub use token::{Authority, GenTime, MAX_TOKEN, Token};

#[cfg(test)]
pub(crate) mod tests;
