//! Makes what the webhook's TLS needs, without OpenSSL: a CA, and a serving certificate for the names under which
//! kube-apiserver calls a Service.
//!
//! It never overwrites a file unless told to, and private keys are never readable by others, not even while they are
//! being written.

pub mod files;
pub mod issue;
pub mod options;

pub use options::{Command, HELP, Options};
