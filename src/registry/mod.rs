//! Signed-in conversations with registries and Notary servers: GET requests that sign in where the server asks for it. What
//! a response means is for the caller to say.

mod challenge;
pub(crate) mod client;
pub mod oci;
mod realm;
pub(crate) mod session;
pub(crate) mod sign_in;
mod token;

#[cfg(feature = "fuzzing")]
pub(crate) use challenge::Challenge;

#[cfg(test)]
mod tests;
