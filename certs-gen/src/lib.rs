//! Makes what the webhook's TLS needs, without OpenSSL and without a cluster: a CA, a serving certificate for the names
//! under which kube-apiserver calls a Service, and the manifests that bring both into the cluster.
//!
//! It never overwrites a file unless told to, and private keys are never readable by others, not even while they are
//! being written.
//!
//! options → authority (new, or the one that is there) → issue → manifest → files

pub mod authority;
pub mod files;
pub mod issue;
pub mod manifest;
pub mod options;

pub use options::{Command, HELP, OptionError, Options, Task};
