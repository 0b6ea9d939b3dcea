//! What all checks of signatures in registries share, and the way from a scheme's requirement to a lookup.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collected::Collected;
use super::flight::{Failure, Key, Scope, Side, Sides};
use super::lookup::Lookup;
use super::negative::NegativeCache;
use super::requirement::Requirement;
use crate::base::single_flight::SingleFlight;
use crate::keychain::credentials::Credentials;
use crate::registry::oci::places::{Place, Registries};
use crate::schemes::evidence::EvidenceStore;
use crate::schemes::shared::Shared;
use crate::schemes::{Query, Refusal, Subject, Trace, UnavailableRule, Verified, WhenUnavailable};
use portreeve_verify::image::{Digest, Sha256};

/// Past this many fetches, those that no request waits for are removed.
const MAX_FETCHES: usize = 5_000;
/// The most bytes that were fetched a moment ago and are kept for further requests.
const MAX_FETCHED: u64 = 2 << 20;

/// The settings of all schemes that read registries.
pub struct Settings {
    /// Where images and their signatures are read.
    pub registries: Registries,
    /// How long a registry's word on a tag is good. After that the registry is asked again.
    pub refresh_after: Duration,
    /// May stored data be used while a registry is unavailable, if a policy does not say?
    pub when_unavailable: WhenUnavailable,
}

/// Signatures in registries. All workers and all schemes share it.
pub struct ImageSignatures {
    pub(in crate::schemes) shared: Shared,
    pub(super) settings: Settings,
    pub(in crate::schemes) evidence: Arc<EvidenceStore>,
    /// The fetches under way, and for a moment what they fetched.
    pub(super) flights: SingleFlight<Key, Arc<Collected>, Scope, Box<Failure>>,
    pub(super) refusals: NegativeCache,
}

/// A check that has begun: what is asked about, and where.
pub(in crate::schemes) struct Begun {
    began: Instant,
    image_place: Place,
    signature_place: Place,
    /// The digest of the reference.
    digest: Option<Sha256>,
}

/// What a rule says of stored data: `whenUnavailable` and `maxStale`.
pub(in crate::schemes) type WhenAway = (Option<UnavailableRule>, Option<Duration>);

impl ImageSignatures {
    /// Nothing is known yet. `evidence` is what all schemes that read registries share.
    pub fn new(shared: Shared, evidence: Arc<EvidenceStore>, settings: Settings) -> Self {
        let flights = SingleFlight::new(MAX_FETCHES, MAX_FETCHED, |collected: &Arc<Collected>| collected.heap_size());
        Self { shared, settings, evidence, flights, refusals: NegativeCache::default() }
    }

    /// Begins a check. `signer` is the program that signs, for messages.
    pub(in crate::schemes) fn begin(
        &self,
        query: &Query<'_>,
        signer: &str,
        trace: &mut Trace,
    ) -> Result<Begun, Refusal> {
        let began = Instant::now();
        let image = query.image;
        let registries = &self.settings.registries;
        let (image_place, signature_place) = (registries.image_place(image), registries.signature_place(image));
        let (repository, server) = (image.repository().to_owned(), signature_place.to_string());
        trace.subject = Some(Subject::Registry { repository, server });
        let digest = match image.digest() {
            None => None,
            Some(Digest::Sha256(digest)) => Some(digest),
            Some(other @ Digest::Sha512(_)) => {
                let message =
                    format!("{signer} signs sha256 digests, so {other} cannot be verified: name the image by sha256");
                return Err(Refusal::Rejected { code: "digest-not-signed", message });
            }
        };
        Ok(Begun { began, image_place, signature_place, digest })
    }

    /// Ends a check: is the image signed as required?
    pub(in crate::schemes) fn verify(
        &self,
        begun: &Begun,
        requirement: Requirement<'_>,
        (when_unavailable, max_stale): WhenAway,
        query: &Query<'_>,
        trace: &mut Trace,
    ) -> Result<Verified, Refusal> {
        let Begun { began, image_place, signature_place, digest } = begun;
        let collected = began.elapsed();
        trace.credentials = collected;
        let credentials =
            [image_place, signature_place].map(|place| Credentials::new(query.keychain, place.credentials(), None));
        let [for_image, for_signatures] = &credentials;
        let sides = Sides {
            image: Side { place: image_place, credentials: for_image },
            signatures: (image_place != signature_place)
                .then_some(Side { place: signature_place, credentials: for_signatures }),
        };
        let lookup = Lookup {
            service: self,
            query,
            requirement,
            sides,
            digest: *digest,
            when_unavailable: self.settings.when_unavailable.under(when_unavailable, max_stale),
            began: *began,
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

impl std::fmt::Debug for ImageSignatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageSignatures").finish_non_exhaustive()
    }
}
