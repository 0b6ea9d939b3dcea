//! Admission: from an AdmissionReview to its response. Knows no server, no metrics and no configuration file.
//!
//! A request passes through the modules in this order: request → workload → exempt → children → images, evaluate, combine →
//! decide → patch → messages → response.

pub(crate) mod children;
pub mod combine;
pub mod custom;
pub mod decide;
pub mod decode_error;
pub mod evaluate;
pub(crate) mod exempt;
mod images;
pub mod messages;
pub(crate) mod patch;
pub mod request;
pub mod response;
mod verdict;
pub(crate) mod workload;

pub use exempt::{DEFAULT_TRUSTED_CONTROLLERS, Exemption};

#[cfg(test)]
mod tests;
