//! A time stamp token.

use super::error::TimestampError;
use crate::heap_size::{allocation, inline_size};

/// Most bytes of a token.
pub const MAX_TOKEN: usize = 64 << 10;

/// A time stamp token that can be read. Nothing in it is verified yet.
#[derive(Clone, Debug)]
pub struct Token {
    der: Vec<u8>,
}

/// Who may make time stamps.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// The certificates in DER that are trusted. A chain ends at one of them.
    pub anchors: &'a [Vec<u8>],
    /// Certificates in DER that are not trusted, and that may be part of a chain: the signer's as well.
    pub intermediates: &'a [Vec<u8>],
}

/// When a verified time stamp was made, in seconds since 1970, rounded outwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenTime {
    /// Not before this second.
    pub earliest: i64,
    /// Not after this second.
    pub latest: i64,
}

impl Token {
    /// From DER: a `TimeStampResp`, or the token in it alone.
    pub fn read(der: &[u8]) -> Result<Self, TimestampError> {
        if der.len() > MAX_TOKEN {
            return Err(TimestampError::TooLarge);
        }
        Err(TimestampError::Shape("time stamps are not read yet"))
    }

    /// Verifies that this token is a time stamp of the bytes `signed` by this authority.
    pub fn verify(&self, _signed: &[u8], _authority: &Authority<'_>) -> Result<GenTime, TimestampError> {
        Err(TimestampError::Shape("time stamps are not read yet"))
    }

    /// What it takes in memory, nearly.
    pub fn heap_size(&self) -> u64 {
        inline_size::<Self>() + allocation(self.der.len())
    }
}
