//! One server, as all requests see it: whether it is down, and how many requests wait for it.

pub(crate) mod bulkhead;
pub(crate) mod circuit_breaker;
