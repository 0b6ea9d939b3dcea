//! Why a refresh failed.

use std::fmt;

use super::rejection::Rejection;
use crate::unavailable::Unavailable;

/// Why a refresh failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshError {
    /// The data must be rejected.
    Rejected(Rejection),
    /// Not enough could be read to decide.
    Unavailable(Unavailable),
}

impl From<Rejection> for RefreshError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Unavailable> for RefreshError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for RefreshError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Rejected(rejection) = self { Some(rejection) } else { None }
    }
}
