//! Time stamps of a test authority, of openssl, and of those that signed the samples beside the checkout.

mod differential;
pub(crate) mod drafts;
mod openssl;
mod rows;
mod vectors;
