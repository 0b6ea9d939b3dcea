//! What a policy can require of Notary v1 trust data: the fields of `policy.trust`.

use std::time::Duration;

use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::image::{Reference, ReferenceError};
use portreeve_verify::tuf::RequiredSigner;
use portreeve_verify::tuf::RootPin;

/// A rule with `trust.enabled: true`.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `trust.trustServer`, where given; else the configuration's server for the registry.
    pub server: Option<TrustServer>,
    /// Inline `signers`, each with its key; the same name may not stand twice with different keys.
    pub signers: Vec<RequiredSigner>,
    /// Names of secrets that hold further signers' keys.
    pub signer_secrets: Vec<String>,
    /// `roots`.
    pub roots: Vec<RootPin>,
    /// `remap`.
    pub remap: Option<Remap>,
    /// `whenUnavailable`, where given.
    pub when_unavailable: Option<UnavailableRule>,
    /// `maxStale`, where given.
    pub max_stale: Option<Duration>,
}

/// `whenUnavailable` as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnavailableRule {
    /// `deny`.
    #[default]
    Deny,
    /// `useCached`.
    UseCached,
}

/// `remap: { prefix, signedPrefix }`: an image under `prefix` was signed under `signedPrefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    /// What the normalised image name begins with; ends in `/`.
    pub prefix: String,
    /// What stands there in trust data; ends in `/`.
    pub signed_prefix: String,
}

impl Remap {
    /// The image under the name that was signed: its name with the prefix exchanged, normalised again. A name that is not
    /// under the prefix stays as it is.
    pub fn signed(&self, image: &Reference) -> Result<Reference, ReferenceError> {
        match image.repository().strip_prefix(&self.prefix) {
            Some(rest) => Reference::parse(&format!("{}{rest}", self.signed_prefix)),
            None => Ok(image.clone()),
        }
    }
}
