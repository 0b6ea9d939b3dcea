//! Time stamps (RFC 3161): a token is read and verified. Nothing is trusted because it is embedded in the token.

mod error;
mod token;

pub use error::TimestampError;
pub use token::{Authority, GenTime, MAX_TOKEN, Token};
