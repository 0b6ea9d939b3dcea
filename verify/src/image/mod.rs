//! Names of images: references as people write them, normalised the way Docker and containerd do, and digests.

mod digest;
mod glob;
mod host;
mod reference;

pub use digest::{Digest, DigestError, Sha256};
pub use glob::Glob;
pub use host::{DOCKER_HUB, is_host, normal_host, one_spelling, split_port};
pub use reference::{MAX_NAME, MAX_TAG, Reference, ReferenceError, check_path, check_tag, normal_path, split_tag};
