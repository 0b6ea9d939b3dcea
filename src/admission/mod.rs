//! Admission: from the bytes of an AdmissionReview to the bytes of its answer. Knows no sockets.
//!
//! density → review → workload → exempt → judge (policy, credentials, trust), combine → decide → patch → answer → decision_log

pub(crate) mod children;
pub mod combine;
pub mod decide;
pub mod evaluate;
pub(crate) mod exempt;
pub mod messages;
pub(crate) mod patch;
pub mod request;
pub mod response;
pub(crate) mod workload;

pub use exempt::{DEFAULT_TRUSTED_CONTROLLERS, Exemption};

#[cfg(test)]
mod tests;
