//! Portreeve: a Kubernetes admission webhook that lets a workload in only when every image in it is signed as
//! policy asks, and pins each image to the digest that was signed.
//!
//! The modules stand in the order in which a request flows through them.

pub mod commands;
pub mod config;

pub mod server;

pub mod admission;

pub mod image;
pub mod policy;

pub mod credentials;

pub mod trust;

pub mod deadline;
mod density;
pub mod logging;
pub mod metrics;
mod object_name;
mod random;
mod recheck;
pub mod text;
pub mod waiting;
pub mod yaml;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
