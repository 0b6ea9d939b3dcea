//! What the server calls: the bytes of an AdmissionReview in, the bytes of the response out, one log line for each.

pub(crate) mod counting;
pub(crate) mod decision_log;
mod endpoint;
pub(crate) mod handler;
pub(crate) mod policy_review;
mod response;

pub use endpoint::Endpoint;
pub use handler::Engine;
