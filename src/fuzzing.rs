//! The private parsers that the fuzz targets under `tests/fuzz` reach. Only with the feature `fuzzing`,
//! which no release has.

pub use crate::base::json_limits::fuzz_values as json_values;
pub use crate::keychain::fuzz_docker_config as docker_config;
pub use crate::server::{fuzz_head as head, fuzz_requests as requests};
pub use portreeve_verify::fuzzing::{Given, RootBundle, canonical_json, canonical_signed, given_targets, root_bundle};

use crate::registry::Challenge;

/// The challenges of one response: (scheme, realm, service).
pub fn challenges<'a>(
    fields: impl IntoIterator<Item = &'a str>,
) -> Option<Vec<(String, Option<String>, Option<String>)>> {
    let challenges = Challenge::parse_all(fields).ok()?;
    let parts = |challenge| match challenge {
        Challenge::Bearer { realm, service } => ("bearer".to_owned(), Some(realm), service),
        Challenge::Basic { realm } => ("basic".to_owned(), realm, None),
        Challenge::Other { scheme } => (scheme, None, None),
    };
    Some(challenges.into_iter().map(parts).collect())
}
