//! A signed-in conversation with a registry or a Notary server.

pub(crate) mod challenge;
pub(crate) mod realm;
pub(crate) mod session;
pub(crate) mod token;
