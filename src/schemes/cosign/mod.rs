//! cosign signatures with keys and with identities. They are read from the image's registry by [`super::image_signatures`]; here is what a policy may
//! ask of them, and the site's trusted roots.

mod keys;
pub(in crate::schemes) mod required;
pub mod rule;
pub mod scheme;
mod trusted_roots;

pub(in crate::schemes) use required::Required;
pub use rule::Rule;
pub use scheme::{Cosign, Settings};
pub use trusted_roots::{Roots, TrustedRoots, is_trusted_root};

#[cfg(test)]
mod tests;
