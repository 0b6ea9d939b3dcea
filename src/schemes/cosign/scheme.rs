//! cosign behind the seam: from a policy's rule to a requirement with all its keys.

use std::sync::Arc;

use super::keys;
use super::rule::Rule;
use crate::kube::signer_secrets::{ClusterSigners, SecretForm, SecretStore};
use crate::schemes::image_signatures::{ImageSignatures, Requirement};
use crate::schemes::{Query, Refusal, Scheme, Trace, Verified};
use portreeve_verify::sigstore;

/// The scheme's settings.
pub struct Settings {
    /// Mounted signers' keys.
    pub secrets: SecretStore,
    /// Signers' keys from the Kubernetes API, if this is enabled.
    pub cluster_signers: Option<ClusterSigners>,
}

/// cosign. All workers share it.
pub struct Cosign {
    settings: Settings,
    pub(super) images: Arc<ImageSignatures>,
}

impl Cosign {
    /// The scheme. `images` is what all schemes that read registries share.
    pub fn new(images: Arc<ImageSignatures>, settings: Settings) -> Self {
        let settings = Settings {
            secrets: settings.secrets.of_form(SecretForm::Cosign),
            cluster_signers: settings.cluster_signers.map(|signers| signers.of_form(SecretForm::Cosign)),
        };
        Self { settings, images }
    }
}

impl Scheme for Cosign {
    type Rule = Rule;

    fn verify(&self, rule: &Rule, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        let begun = self.images.begin(query, "cosign", trace)?;
        let signers = keys::signers(&self.settings, rule, query)?;
        let requirement = sigstore::Requirement {
            threshold: rule.threshold,
            repository: rule.same_repository.then(|| query.image.repository()),
            effort: query.effort,
            ..sigstore::Requirement::new(&signers, &rule.annotations)
        };
        let when_away = (rule.when_unavailable, rule.max_stale);
        self.images.verify(&begun, Requirement::Cosign(requirement), when_away, query, trace)
    }
}

impl std::fmt::Debug for Cosign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cosign").finish_non_exhaustive()
    }
}
