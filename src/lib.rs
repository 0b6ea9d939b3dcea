//! Portreeve: a Kubernetes admission webhook that lets a workload in only when every image in it is signed as
//! policy asks, and pins each image to the digest that was signed.
//!
//! The modules are in the order in which a request flows through them.

pub mod commands;
pub mod webhook;

pub mod config;

pub mod admission;
pub mod policy;
pub mod schemes;

pub mod registry;

pub mod keychain;
pub mod kube;

pub mod http;
pub mod server;

pub mod metrics;

pub mod logging;
pub mod yaml;

pub mod base;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
