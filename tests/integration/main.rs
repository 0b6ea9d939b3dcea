//! The product as its users meet it: the real executable, over real sockets, against a real Notary server that the
//! real Notary client has signed in. Nothing here links against the product.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end with a panic")]

// What tests are made of.
mod https;
mod notary;
mod pki;
mod process;
mod temp;
mod token;
