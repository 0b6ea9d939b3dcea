//! cosign behind the seam: from a policy's rule to a requirement with all its keys.

use std::path::PathBuf;
use std::sync::Arc;

use super::keys;
use super::rule::Rule;
use super::trusted_roots::TrustedRoots;
use crate::kube::signer_secrets::{ClusterSigners, SecretForm, SecretStore};
use crate::metrics::Metrics;
use crate::schemes::image_signatures::{ImageSignatures, Requirement};
use crate::schemes::{Query, Refusal, Scheme, Trace, Verified};
use portreeve_verify::sigstore::{self, TrustedRoot};

/// The scheme's settings.
pub struct Settings {
    /// Mounted signers' keys.
    pub secrets: SecretStore,
    /// Signers' keys from the Kubernetes API, if this is enabled.
    pub cluster_signers: Option<ClusterSigners>,
    /// The directory of the trusted roots (`sigstore.trustedRoots`).
    pub trusted_roots: PathBuf,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// cosign. All workers share it.
pub struct Cosign {
    pub(super) secrets: SecretStore,
    pub(super) cluster_signers: Option<ClusterSigners>,
    /// The site's trusted roots.
    pub trusted_roots: TrustedRoots,
    pub(super) images: Arc<ImageSignatures>,
}

impl Cosign {
    /// The scheme. `images` is what all schemes that read registries share.
    pub fn new(images: Arc<ImageSignatures>, settings: Settings) -> Self {
        Self {
            secrets: settings.secrets.of_form(SecretForm::Cosign),
            cluster_signers: settings.cluster_signers.map(|signers| signers.of_form(SecretForm::Cosign)),
            trusted_roots: TrustedRoots::new(settings.trusted_roots, settings.metrics),
            images,
        }
    }

    /// The trusted root that a rule names. A rule that names one is never judged without it.
    pub(crate) fn trusted_root(&self, rule: &Rule) -> Result<Option<Arc<TrustedRoot>>, Refusal> {
        let Some(name) = &rule.trusted_root else { return Ok(None) };
        let roots = self.trusted_roots.current();
        match roots.get(name) {
            Some(root) => Ok(Some(Arc::clone(root))),
            None => {
                let message = roots.missing(name, self.trusted_roots.directory());
                Err(Refusal::Rejected { code: "trusted-root", message })
            }
        }
    }
}

impl Scheme for Cosign {
    type Rule = Rule;

    fn verify(&self, rule: &Rule, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        let begun = self.images.begin(query, "cosign", trace)?;
        let signers = keys::signers(self, rule, query)?;
        let trusted_root = self.trusted_root(rule)?;
        let requirement = sigstore::Requirement {
            threshold: rule.threshold,
            repository: rule.same_repository.then(|| query.image.repository()),
            trusted_root: trusted_root.as_ref(),
            log_required: rule.log_required,
            sct_required: !rule.ignores_certificate_transparency,
            now: query.now.as_second(),
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
