//! Admission: from the bytes of an AdmissionReview to the bytes of its answer. Knows no sockets.
//!
//! density → review → workload → exempt → judge (policy, credentials, trust), combine → decide → patch → answer → decision_log

pub mod answer;
pub(crate) mod children;
pub mod combine;
pub mod decide;
mod decision_log;
mod engine;
mod exempt;
pub mod judge;
mod patch;
mod policy_review;
pub mod review;
pub(crate) mod workload;

pub use engine::{Engine, EngineError};
pub use exempt::{DEFAULT_TRUSTED_CONTROLLERS, Exemption};

pub use crate::server::Endpoint;

#[cfg(test)]
mod tests;
