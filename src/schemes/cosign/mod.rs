//! cosign signatures with keys. They are read from the image's registry by [`super::image_signatures`]; here is what a policy may
//! ask of them.

mod keys;
pub(in crate::schemes) mod required;
pub mod rule;
pub mod scheme;

pub(in crate::schemes) use required::Required;
pub use rule::Rule;
pub use scheme::{Cosign, Settings};

#[cfg(test)]
mod tests;
