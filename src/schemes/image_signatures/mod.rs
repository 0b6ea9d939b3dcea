//! Signatures that a registry keeps beside an image, whatever their scheme: how they are found, fetched, shared between requests
//! and kept as evidence. What counts is decided by the requirement of a scheme ([`requirement`]).
//!
//! A signature is over a digest. A tag is resolved at the registry first, and the digest that it has there is verified. A digest
//! with stored evidence needs no network. Evidence is verified anew under the policy of each request.

mod collect;
mod collected;
pub(crate) mod export;
mod fetch;
mod flight;
mod kind;
mod lookup;
mod memory;
mod message;
mod negative;
pub(in crate::schemes) mod requirement;
pub(crate) mod service;
mod signed;
mod stale;
mod stored;

pub(crate) use requirement::Requirement;
pub use service::{ImageSignatures, Settings};
pub use signed::Signed;
pub use stored::Stored;
