//! What a policy can require of Notary v1 trust data: the fields of `policy.trust`.

use std::sync::Arc;
use std::time::Duration;

use crate::schemes::UnavailableRule;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::image::{Reference, ReferenceError};
use portreeve_verify::tuf::{RequiredSigner, RootPin};

/// A rule with `trust.enabled: true`.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `trustServer`. Without one, the configuration names the server of the registry.
    pub server: Option<TrustServer>,
    /// `signers`, each with its key. No signer is listed twice.
    pub signers: Vec<RequiredSigner>,
    /// `signerSecrets`: the names of secrets with further signers' keys.
    pub signer_secrets: Vec<String>,
    /// `roots`.
    pub roots: Arc<Vec<RootPin>>,
    /// `remap`.
    pub remap: Option<Remap>,
    /// `whenUnavailable`. Without it, the configuration decides.
    pub when_unavailable: Option<UnavailableRule>,
    /// `maxStale`. Without it, the limit of the configuration applies.
    pub max_stale: Option<Duration>,
}

/// `remap: { prefix, signedPrefix }`: images under `prefix` are signed under `signedPrefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    /// A prefix of normalised image names. It ends in `/`.
    pub prefix: String,
    /// The prefix that replaces it in trust data. It ends in `/`.
    pub signed_prefix: String,
}

impl Remap {
    /// The image under the name that was signed: its name with the prefix replaced, and normalised again. A name without the
    /// prefix does not change.
    pub fn signed(&self, image: &Reference) -> Result<Reference, ReferenceError> {
        match image.repository().strip_prefix(&self.prefix) {
            Some(rest) => Reference::parse(&format!("{}{rest}", self.signed_prefix)),
            None => Ok(image.clone()),
        }
    }
}
