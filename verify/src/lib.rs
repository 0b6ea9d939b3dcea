//! Verifies signatures of container images. Bytes, keys and the time are arguments. The result is a verified digest, a
//! rejection with its reason, or the cause for which neither could be decided.
//!
//! This crate opens no file and no socket and reads no clock: `clippy.toml` forbids the functions that would. The caller
//! fetches the bytes and passes them through [`tuf::MetadataSource`].

// The examples are run as tests as well, and name the crate as others do.
#[cfg(test)]
extern crate self as portreeve_verify;

mod crypto;
mod effort;
pub mod heap_size;
pub mod image;
mod json;
mod not_counted;
pub mod notation;
pub mod oci;
pub mod ordered;
mod reasons;
pub mod sigstore;
pub mod text;
pub mod timestamp;
pub mod tuf;
mod unavailable;
mod verified;

pub use crypto::certificate::{Validity, common_name};
pub use effort::Effort;
pub use json::JsonError;
pub use reasons::Reasons;
pub use unavailable::{Unavailable, UnavailableCause};
pub use verified::VerifiedDigest;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
