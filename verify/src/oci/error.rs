//! Why a manifest or a list cannot be used.

use std::fmt;

/// A manifest or a list that cannot be used. `Display` is safe to print, and says what is wrong without naming the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OciError {
    /// It is not strict JSON, or has the wrong shape.
    Shape(&'static str),
}

impl OciError {
    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        "bad-manifest"
    }
}

impl fmt::Display for OciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for OciError {}
