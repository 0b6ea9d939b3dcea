//! Fetches an image's manifest and the signatures by given keys, whole, for a site without a registry.

use std::sync::Arc;

use super::collect::Collector;
use super::collected::{Found, Part};
use super::memory::{Account, Patience};
use super::message;
use super::requirement::{Requirement, SignedImage};
use super::service::ImageSignatures;
use crate::base::context::Deadline;
use crate::keychain::Keychain;
use crate::keychain::credentials::Credentials;
use crate::registry::oci::places::Place;
use crate::registry::oci::repository::{self, FetchError, Wanted};
use crate::registry::sign_in::SignIn;
use crate::schemes::evidence::SignatureForm;
use crate::schemes::{Finding, Refusal};
use portreeve_verify::Unavailable;
use portreeve_verify::image::{Digest, Reference, Sha256};
use portreeve_verify::oci::{Image, MAX_MANIFEST, SignatureManifest, signatures_tag};

/// The largest configuration of a signature's manifest that is exported. Real ones have two bytes, or some hundred.
const MAX_CONFIG: usize = 64 << 10;

/// What to export.
#[derive(Clone, Copy)]
pub(crate) struct ExportRequest<'a> {
    /// The image.
    pub(crate) image: &'a Reference,
    /// What its signatures must meet: all of it.
    pub(crate) required: &'a [Requirement<'a>],
    /// The credentials.
    pub(crate) keychain: &'a dyn Keychain,
    /// The time by which it must end.
    pub(crate) deadline: Deadline,
}

/// An image with its signatures.
pub(crate) struct Export {
    /// The descriptor of its manifest or index.
    pub(crate) image: Image,
    /// The bytes of its manifest or index.
    pub(crate) manifest: Vec<u8>,
    /// The manifests with signatures that count.
    pub(crate) signatures: Vec<Signatures>,
    /// All signatures that were found.
    pub(crate) findings: Vec<Finding>,
}

/// A manifest with signatures.
pub(crate) struct Signatures {
    /// Its digest.
    pub(crate) digest: Sha256,
    /// Its bytes.
    pub(crate) manifest: Arc<[u8]>,
    /// Its `artifactType`.
    pub(crate) artifact_type: Option<String>,
    /// Its tag, in the old format.
    pub(crate) tag: Option<String>,
    /// Its configuration, payloads and bundles.
    pub(crate) blobs: Vec<Arc<[u8]>>,
}

impl ImageSignatures {
    /// Fetches an image with the signatures that count. An image that one of the requirements is not met for is refused.
    pub(crate) fn export(&self, request: &ExportRequest<'_>) -> Result<Export, Refusal> {
        let ExportRequest { image: reference, required, keychain, deadline } = *request;
        let places =
            [self.settings.registries.image_place(reference), self.settings.registries.signature_place(reference)];
        let credentials = places.each_ref().map(|place| Credentials::new(keychain, place.credentials(), None));
        let sign_in = SignIn::default();
        let [place, signature_place] = &places;
        let [for_image, for_signatures] = &credentials;
        let open =
            |place, credentials| repository::open(&self.shared.client, place, credentials, deadline, None, &sign_in);
        let (images, signatures) = (open(place, for_image), open(signature_place, for_signatures));
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(Digest::Sha256(digest)), _) => Wanted::Digest(digest),
            (Some(other), _) => {
                let message = format!("signatures are over sha256 digests, so {other} cannot be exported");
                return Err(Refusal::Rejected { code: "digest-not-signed", message });
            }
            (None, tag) => Wanted::Tag(tag.unwrap_or("latest")),
        };
        let not_fetched = |error| message::not_fetched(reference, error);
        let fetched = images.image(wanted, MAX_MANIFEST).map_err(not_fetched)?;
        let mut export =
            Export { image: fetched.image, manifest: fetched.bytes, signatures: Vec::new(), findings: Vec::new() };
        for required in required {
            let account = Account::new(&self.shared.budget, &signature_place.to_string());
            let collector = Collector {
                repository: &*signatures,
                image: export.image.digest,
                kind: required.kind(),
                account: &account,
                patience: Patience { deadline, tell: &|| {} },
            };
            add(&mut export, &collector, required, reference, signature_place)?;
        }
        Ok(export)
    }
}

/// Adds the signatures that count of one kind.
fn add(
    export: &mut Export,
    collector: &Collector<'_>,
    required: &Requirement<'_>,
    reference: &Reference,
    place: &Place,
) -> Result<(), Refusal> {
    let unavailable = |error: Unavailable| message::not_fetched(reference, FetchError::Unavailable(error));
    let referrers = collector.referrers().map_err(unavailable)?;
    let tags = collector.tags(&referrers);
    let parts = [referrers, tags];
    if let Some((code, message)) = parts.iter().find_map(|part| part.refused.clone()) {
        return Err(Refusal::Rejected { code, message: format!("the image {reference} is refused: {message}") });
    }
    // What could not be fetched would be missing at the site.
    if let Some(failed) = parts.iter().find_map(|part| part.failed.clone()) {
        return Err(unavailable(failed));
    }
    let image = SignedImage { image: &export.image, manifest: Some(&export.manifest) };
    let found: Vec<_> = parts.iter().flat_map(|part| &part.signatures).collect();
    let mut all = found.iter().map(|Found { found, .. }| &*found.signature);
    let mut findings: Vec<_> = all.clone().filter_map(|signature| required.finding(image, signature)).collect();
    findings.extend(parts.iter().flat_map(|part: &Part| part.passed_over.iter().cloned()));
    if let Err(rejection) = required.verify(image, &mut all) {
        let place = message::of_place(place);
        let mut message = format!("the image {reference} is not exported: {rejection} (asked {place})");
        for Finding { signature, passed_over, .. } in &findings {
            message.extend(passed_over.iter().flat_map(|why| ["; ", signature, ": ", why]));
        }
        return Err(Refusal::Rejected { code: "not-signed", message });
    }
    let counted = found.into_iter().map(|Found { found, .. }| found);
    for found in counted.filter(|found| required.counts(image, &found.signature)) {
        let digest = found.signature.manifest();
        if let Some(known) = export.signatures.iter_mut().find(|known| known.digest == digest) {
            known.blobs.push(Arc::clone(&found.blob.1));
            continue;
        }
        let manifest = SignatureManifest::read(&found.manifest, None, Some(digest)).map_err(|error| {
            Refusal::Rejected { code: error.code(), message: format!("signature manifest {digest}: {error}") }
        })?;
        let mut blobs = vec![Arc::clone(&found.blob.1)];
        match collector.repository.blob(&manifest.config, MAX_CONFIG) {
            Ok(config) => blobs.push(config.into()),
            // Portreeve does not read it. Other tools may miss it.
            Err(FetchError::NotFound { .. } | FetchError::TooLarge { .. } | FetchError::Rejected { .. }) => {}
            Err(error @ FetchError::Unavailable(_)) => return Err(message::not_fetched(reference, error)),
        }
        let form = found.signature.form();
        // Notation says in the config's media type what the manifest is.
        let by_config = (form == SignatureForm::Envelope).then_some(manifest.config.media_type);
        export.signatures.push(Signatures {
            digest,
            manifest: Arc::clone(&found.manifest),
            artifact_type: manifest.artifact_type.or(by_config),
            tag: (form == SignatureForm::Layer).then(|| signatures_tag(export.image.digest)),
            blobs,
        });
    }
    export.findings.extend(findings);
    Ok(())
}
