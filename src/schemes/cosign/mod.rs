//! cosign signatures with keys, read from the image's registry.
//!
//! A signature is over a digest. A tag is resolved at the registry first, and the digest that it has there is verified. A digest
//! with stored evidence needs no network. Evidence is verified anew under the policy of each request.

mod collect;
mod collected;
pub(crate) mod export;
mod fetch;
mod flight;
mod keys;
mod lookup;
mod memory;
mod message;
mod negative;
pub mod rule;
pub mod scheme;
mod signed;
mod stale;
mod stored;

pub use rule::Rule;
pub use scheme::{Cosign, Settings};
pub use signed::Signed;
pub use stored::Stored;

#[cfg(test)]
mod tests;
