//! Notation's signatures (Notary Project). They are read from the image's registry by [`super::image_signatures`]; here is what a
//! policy may ask of them, and the site's trust stores.
//!
//! Which signatures count depends on the time: certificates and signatures expire. Every request is judged at its own time.

mod directory;
pub(crate) mod required;
pub mod rule;
pub mod scheme;
pub(crate) mod stores;

pub(crate) use required::Required;
pub use rule::{Rule, StoreKind, StoreName};
pub use scheme::{Notation, Settings};
pub use stores::{SiteStores, Stores};

#[cfg(test)]
mod tests;
