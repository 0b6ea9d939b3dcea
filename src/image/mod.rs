//! Names of images: references as people write them, normalised the way Docker and containerd do, and digests.

mod digest;
mod reference;

pub use digest::{Digest, DigestError, Sha256};
pub(crate) use reference::{
    DOCKER_HUB, MAX_NAME, MAX_TAG, check_path, check_tag, is_host, normal_host, normal_path, split_tag,
    without_default_port,
};
pub use reference::{Reference, ReferenceError};
