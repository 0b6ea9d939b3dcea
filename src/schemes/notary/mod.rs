//! Notary v1: asks a Notary server for a repository's trust data, verifies it, and keeps it in memory and on the disk.
//!
//! Within `refreshAfter` of the server's last confirmation, queries are answered from memory. After that, one query refreshes,
//! and the others at that time share its result. Only verified data is kept. A definite failure is kept for a moment, and only
//! for the queries for which it holds. Data never becomes older, whatever the anchor, and across restarts.

pub(crate) mod cached;
pub(crate) mod directory;
pub(crate) mod expiry;
pub mod export;
pub(crate) mod lookup;
pub(crate) mod negative_cache;
pub(crate) mod query;
pub(crate) mod recorder;
pub(crate) mod refresh;
pub(crate) mod remote;
pub mod rule;
pub mod scheme;
pub mod servers;
pub(crate) mod service;
pub(crate) mod stale;
pub mod store;
pub mod trust_server;
pub(crate) mod writer;

pub use crate::http::proxy::ProxyError;
pub use crate::http::roots::CaError;
pub use crate::http::url::PlainHttp;
pub use crate::schemes::notary::query::{Query, Verified};
pub use crate::schemes::notary::rule::{Remap, Rule};
pub use crate::schemes::notary::service::{Notary, NotaryError, Settings};
pub use crate::schemes::notary::trust_server::{TrustServer, TrustServerError};
pub use crate::schemes::{UnavailableRule, WhenUnavailable};

#[cfg(test)]
mod tests;
