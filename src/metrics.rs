//! Metrics (owned by the server work): see the contract.

/// All metrics.
#[derive(Debug, Default)]
pub struct Metrics {}
