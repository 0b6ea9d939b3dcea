//! Why a question has no answer: neither a verified digest nor a rejection. The code that fails names the cause. Nothing
//! above it guesses the cause from the text or from the clock.

use std::fmt;

/// A question that could not be answered. Asking again may give an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// For the code that decides what to do about it.
    pub cause: UnavailableCause,
    /// For people: what was tried and what failed. Safe to print.
    pub message: String,
}

/// Why a question could not be answered, as far as some decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnavailableCause {
    /// The deadline of the request passed. A request with a later deadline may succeed.
    OutOfTime,
    /// Too many requests wait for the server, and this request had to give up its place.
    Busy,
    /// The server or its token service saw every credential and refused each of them.
    SignIn,
    /// The stored state of earlier verifications cannot be read, so a rollback could not be detected.
    TrustState,
    /// Verification needs more memory than may be used for it.
    Memory,
    /// The server answered, and a part of the data is gone there.
    Incomplete,
    /// Anything else: the server is down, its response is unusable, a file cannot be read.
    Other,
}

impl Unavailable {
    /// A failure with its cause.
    pub fn new(cause: UnavailableCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    /// A failure of whose cause nothing depends.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(UnavailableCause::Other, message)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Unavailable {}
