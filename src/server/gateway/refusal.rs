//! Why a request is refused before anybody sees it, and what the client is told.

use std::fmt;

use super::body_budget::BudgetExhausted;
use super::head::HeadError;
use super::request_reader::ReadError;
use crate::metrics::Limit;

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It cannot be read.
    Read(ReadError),
    /// Its body may have this number of bytes.
    BodyTooLarge(usize),
    /// It did not arrive within this limit.
    TooSlow(Limit),
    /// The most requests are in progress already.
    Busy,
    /// There was no response.
    NoResponse,
    /// There was no response in time.
    NoResponseInTime,
}

impl Refusal {
    /// The status of the response.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Read(ReadError::Head(error)) => error.status(),
            Self::Read(ReadError::HeadTooLarge(_)) => 431,
            Self::Read(ReadError::BudgetExhausted) | Self::NoResponseInTime | Self::Busy => 503,
            Self::BodyTooLarge(_) => 413,
            Self::TooSlow(_) => 408,
            Self::Read(ReadError::Io(_)) | Self::NoResponse => 500,
        }
    }

    /// The limit that was exceeded.
    pub(super) fn limit(&self) -> Option<Limit> {
        match self {
            Self::Read(
                ReadError::Head(HeadError::TooManyHeaders | HeadError::TargetTooLong) | ReadError::HeadTooLarge(_),
            ) => Some(Limit::HeadBytes),
            Self::Read(ReadError::BudgetExhausted) => Some(Limit::BodyMemory),
            Self::BodyTooLarge(_) => Some(Limit::RequestBytes),
            Self::TooSlow(limit) => Some(*limit),
            Self::Busy => Some(Limit::Connections),
            Self::NoResponseInTime => Some(Limit::RelayTime),
            Self::Read(ReadError::Head(_) | ReadError::Io(_)) | Self::NoResponse => None,
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<BudgetExhausted> for Refusal {
    fn from(error: BudgetExhausted) -> Self {
        Self::Read(error.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::BodyTooLarge(most) => {
                write!(f, "the body is larger than {most} bytes; shrink the object, or raise limits.requestBytes")
            }
            Self::TooSlow(_) => write!(f, "the request did not arrive in time; send it faster"),
            Self::Busy => {
                write!(f, "too many requests are in progress on this port; try again, or raise limits.connections")
            }
            Self::NoResponse => write!(f, "an internal error prevented the response; see Portreeve's log"),
            Self::NoResponseInTime => write!(f, "there was no decision in time; see Portreeve's log"),
        }
    }
}
