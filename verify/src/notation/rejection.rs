//! Why no Notation signature of an image meets a requirement.

use std::fmt;

use crate::reasons::Reasons;

/// The image is not signed as required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// Why each signature did not count.
    pub reasons: Reasons,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it has no Notation signature that counts{}", self.reasons)
    }
}

impl std::error::Error for Rejection {}
