//! Commands.

pub mod lint;
