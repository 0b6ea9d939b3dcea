//! Shared by Portreeve's tests, benchmarks and quickstart: an in-process TUF signer and cosign, a trust server and an image
//! registry with faults on demand, the part of a Kubernetes API server that serves Secrets, generated certificates,
//! temporary directories. It uses none of the product's types, so a mistake in the product cannot hide itself here.

#[cfg(feature = "servers")]
pub mod api_server;
pub mod certificates;
pub mod cosign;
pub mod notation;
#[cfg(feature = "servers")]
pub mod registry;
#[cfg(feature = "servers")]
mod server;
pub mod signer;
pub mod temp;
#[cfg(feature = "servers")]
pub mod trust_server;
