//! What Portreeve's tests and its quickstart share: an in-process TUF signer, a trust server that can be made to
//! misbehave, as much of a Kubernetes API server as is asked for Secrets, and certificates made on the spot. It knows nothing of the product's own types, so that a mistake
//! in the product cannot hide itself here.

#[cfg(feature = "servers")]
pub mod api_server;
pub mod certificates;
pub mod signer;
#[cfg(feature = "servers")]
pub mod trust_server;
