//! Changes inputs of verifiers at random, and compares the verdicts of two verifiers.

pub mod bytes;
pub mod cbor;
pub mod certificates;
pub mod der;
pub mod json;
pub mod random;
pub mod timestamp;
pub mod verdicts;
