//! HTTP to registries, Notary servers, token services and the Kubernetes API. [`client`] counts requests and keeps them from
//! servers that are down ([`origin`]); [`exchange`] sends one request. Knows nothing about what a response means.

pub(crate) mod authorization;
pub mod client;
mod connect_deadline;
mod error;
pub mod error_body;
mod exchange;
pub mod origin;
mod peer_certificates;
pub mod proxy;
pub(crate) mod resolver;
pub mod roots;
pub(crate) mod server_verifier;
pub(crate) mod tls;
pub(crate) mod tunnel;
pub mod url;
