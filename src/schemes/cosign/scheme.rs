//! cosign behind the seam.

use std::sync::Arc;
use std::time::Duration;

use super::rule::Rule;
use crate::keychain::credentials::Credentials;
use crate::kube::signer_secrets::{ClusterSigners, SecretStore};
use crate::registry::oci::places::Registries;
use crate::schemes::evidence::EvidenceStore;
use crate::schemes::shared::Shared;
use crate::schemes::{Query, Refusal, Scheme, Trace, Verified, WhenUnavailable};

/// The scheme's settings.
pub struct Settings {
    /// Where images and their signatures are read.
    pub registries: Registries,
    /// How long a registry's word on a tag is good. After that the registry is asked again.
    pub refresh_after: Duration,
    /// May stored data be used while a registry is unavailable, if a policy does not say?
    pub when_unavailable: WhenUnavailable,
    /// Mounted signers' keys.
    pub secrets: SecretStore,
    /// Signers' keys from the Kubernetes API, if this is enabled.
    pub cluster_signers: Option<ClusterSigners>,
}

/// cosign, with the settings that apply where a policy has none. All workers share it.
#[expect(dead_code, reason = "the scheme comes")]
pub struct Cosign {
    shared: Shared,
    settings: Settings,
    evidence: Arc<EvidenceStore>,
}

impl Cosign {
    /// The scheme. `evidence` is what all schemes that read registries share.
    pub fn new(shared: Shared, evidence: Arc<EvidenceStore>, settings: Settings) -> Self {
        Self { shared, settings, evidence }
    }
}

impl Scheme for Cosign {
    type Rule = Rule;

    fn verify(&self, _rule: &Rule, _query: &Query<'_>, _trace: &mut Trace) -> Result<Verified, Refusal> {
        let _ = Credentials::new;
        unimplemented!()
    }
}

impl std::fmt::Debug for Cosign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cosign").finish_non_exhaustive()
    }
}
