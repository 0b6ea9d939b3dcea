//! Signature schemes.

pub mod notary;
