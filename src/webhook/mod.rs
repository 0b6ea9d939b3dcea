//! What the server calls: an AdmissionReview's bytes in, the answer's bytes out, one line of log for each.

pub(crate) mod decision_log;
pub(crate) mod handler;
pub(crate) mod policy_review;

pub use handler::{Engine, EngineError};
