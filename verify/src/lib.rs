//! Verifies signatures of container images. Bytes, keys and the time are arguments; the result is a verified digest or
//! the reason for a rejection.
//!
//! This crate opens no file and no socket and reads no clock: `clippy.toml` forbids the functions that would. The caller
//! fetches the bytes and passes them through [`tuf::source::MetadataSource`].

pub mod crypto;
pub mod heap_size;
pub mod image;
pub mod json;
pub mod text;
pub mod tuf;
pub mod unavailable;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
