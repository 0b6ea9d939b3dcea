//! cosign behind the seam: makes a lookup from a policy's rule.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collected::Collected;
use super::flight::{Failure, Key, Scope, Side, Sides};
use super::keys;
use super::lookup::Lookup;
use super::negative::NegativeCache;
use super::rule::Rule;
use crate::base::single_flight::SingleFlight;
use crate::keychain::credentials::Credentials;
use crate::kube::signer_secrets::{ClusterSigners, SecretForm, SecretStore};
use crate::registry::oci::places::Registries;
use crate::schemes::evidence::EvidenceStore;
use crate::schemes::shared::Shared;
use crate::schemes::{Query, Refusal, Scheme, Subject, Trace, Verified, WhenUnavailable};
use portreeve_verify::image::Digest;
use portreeve_verify::sigstore::Requirement;

/// Past this many fetches, those that no request waits for are removed.
const MAX_FETCHES: usize = 5_000;
/// The most bytes that were fetched a moment ago and are kept for further requests.
const MAX_FETCHED: u64 = 2 << 20;

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
pub struct Cosign {
    pub(super) shared: Shared,
    pub(super) settings: Settings,
    pub(super) evidence: Arc<EvidenceStore>,
    /// The fetches under way, and for a moment what they fetched.
    pub(super) flights: SingleFlight<Key, Arc<Collected>, Scope, Box<Failure>>,
    pub(super) refusals: NegativeCache,
}

impl Cosign {
    /// The scheme. `evidence` is what all schemes that read registries share.
    pub fn new(shared: Shared, evidence: Arc<EvidenceStore>, settings: Settings) -> Self {
        let settings = Settings {
            secrets: settings.secrets.of_form(SecretForm::Cosign),
            cluster_signers: settings.cluster_signers.map(|signers| signers.of_form(SecretForm::Cosign)),
            ..settings
        };
        let flights = SingleFlight::new(MAX_FETCHES, MAX_FETCHED, |collected: &Arc<Collected>| collected.heap_size());
        Self { shared, settings, evidence, flights, refusals: NegativeCache::default() }
    }
}

impl Scheme for Cosign {
    type Rule = Rule;

    fn verify(&self, rule: &Rule, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        let began = Instant::now();
        let Query { image, keychain, .. } = *query;
        let registries = &self.settings.registries;
        let (image_place, signature_place) = (registries.image_place(image), registries.signature_place(image));
        let (repository, server) = (image.repository().to_owned(), signature_place.to_string());
        trace.subject = Some(Subject::Registry { repository, server });
        let digest = match image.digest() {
            None => None,
            Some(Digest::Sha256(digest)) => Some(digest),
            Some(other @ Digest::Sha512(_)) => {
                let message =
                    format!("cosign signs sha256 digests, so {other} cannot be verified: name the image by sha256");
                return Err(Refusal::Rejected { code: "digest-not-signed", message });
            }
        };
        let signers = keys::signers(&self.settings, rule, query)?;
        let collected = began.elapsed();
        trace.credentials = collected;
        let credentials =
            [&image_place, &signature_place].map(|place| Credentials::new(keychain, place.credentials(), None));
        let [for_image, for_signatures] = &credentials;
        let sides = Sides {
            image: Side { place: &image_place, credentials: for_image },
            signatures: (image_place != signature_place)
                .then_some(Side { place: &signature_place, credentials: for_signatures }),
        };
        let lookup = Lookup {
            cosign: self,
            query,
            rule,
            requirement: Requirement {
                signers: &signers,
                threshold: rule.threshold,
                annotations: &rule.annotations,
                repository: rule.same_repository.then(|| image.repository()),
            },
            sides,
            digest,
            when_unavailable: self.settings.when_unavailable.under(rule.when_unavailable, rule.max_stale),
            began,
            read: RefCell::default(),
            resolved: Cell::default(),
        };
        let mut result = lookup.run(trace);
        trace.trust = Some(began.elapsed().saturating_sub(collected));
        if let Err(Refusal::Unavailable(unavailable)) = &mut result {
            // A credential that could not be read could be the one that was needed.
            for problem in credentials.iter().filter_map(Credentials::found).flat_map(|found| &found.problems) {
                unavailable.message.extend(["; ", problem]);
            }
        }
        result
    }
}

impl std::fmt::Debug for Cosign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cosign").finish_non_exhaustive()
    }
}
