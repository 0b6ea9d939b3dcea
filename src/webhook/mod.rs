//! The program behind the server. It takes the bytes of an AdmissionReview, returns the bytes of the response, and logs one
//! line.

pub(crate) mod counting;
pub(crate) mod decision_log;
mod endpoint;
pub(crate) mod handler;
pub(crate) mod policy_review;
mod response;

pub use endpoint::Endpoint;
pub use handler::Engine;
