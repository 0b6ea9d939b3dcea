//! What the fuzz targets under `tests/fuzz` reach of the parsers that are private. Only with the feature `fuzzing`,
//! which no release has.

pub use crate::credentials::fuzz_docker_config as docker_config;
pub use crate::density::fuzz_parts as parts;
pub use crate::server::{fuzz_head as head, fuzz_requests as requests};
pub use crate::trust::fuzzing::{RootBundle, canonical_json, challenges, root_bundle};
