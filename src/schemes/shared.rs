//! What all schemes share: connections, the memory in which data is read, the places of requests that wait.

use std::sync::Arc;

use super::memory_budget::MemoryBudget;
use crate::base::waiting::Waiting;
use crate::metrics::Metrics;
use crate::registry::client::Client;

/// The parts of the program that all schemes use. Clones are the same parts.
#[derive(Clone)]
pub struct Shared {
    pub(crate) client: Arc<Client>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) metrics: Arc<Metrics>,
}
