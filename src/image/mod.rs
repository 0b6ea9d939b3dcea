//! Names of images: references as people write them, normalised the way Docker and containerd do, and digests.

mod digest;
mod reference;

pub use digest::{Digest, DigestError, Sha256};
pub use reference::{Reference, ReferenceError};
