//! Collects the signatures of one image from a registry or a layout, side by side where the requests do not depend on each other.
//!
//! What counts is decided later, under each request's policy: here all candidates are fetched, whoever made them, but never more
//! than [`MAX_CANDIDATES`]. A candidate that is gone or cannot be right is passed over. One that could not be fetched is told,
//! because it may be the one that counts.

use std::sync::Arc;

use super::collected::{Found, Part};
use super::kind::Kind;
use super::memory::{Account, Patience, Taken, as_u64, made, reading};
use crate::base::side_by_side::{Slot, side_by_side};
use crate::registry::oci::repository::{FetchError, FetchedSignatures, Repository, Wanted};
use crate::schemes::Finding;
use crate::schemes::evidence::{FoundSignature, Signature, SignatureForm};
use portreeve_verify::Unavailable;
use portreeve_verify::image::Sha256;
use portreeve_verify::notation::MAX_ENVELOPE;
use portreeve_verify::oci::candidates::{bundle_candidates, notation_candidates, payload_layers};
use portreeve_verify::oci::{
    Descriptor, MAX_CANDIDATES, MAX_REFERRERS, MAX_SIGNATURE_MANIFEST, OciError, signatures_tag,
};
use portreeve_verify::sigstore::{self, MAX_BUNDLE, MAX_PAYLOAD};

/// The most threads that fetch for one image.
const THREADS: usize = 4;
/// Their name.
const THREAD: &str = "signatures";

/// Collects the signatures of one image.
pub(super) struct Collector<'a> {
    /// Where they are.
    pub(super) repository: &'a dyn Repository,
    /// The image.
    pub(super) image: Sha256,
    /// Which signatures.
    pub(super) kind: Kind,
    /// The memory.
    pub(super) account: &'a Account,
    pub(super) patience: Patience<'a>,
}

/// A candidate that is to be fetched.
enum Candidate<'c> {
    /// A referrer, which may have a bundle or an envelope.
    Referrer(&'c Descriptor),
    /// A payload, and the numbers of the layers that have it.
    Payload { manifest: &'c FetchedSignatures, bytes: Arc<[u8]>, blob: &'c Descriptor, layers: Vec<usize> },
}

/// What became of a candidate.
#[derive(Default)]
struct Outcome {
    signatures: Vec<FoundSignature>,
    passed_over: Vec<Finding>,
    failed: Option<Unavailable>,
}

impl Collector<'_> {
    /// The signatures that the referrers API names. A registry without it names none. If it does not answer, nobody can say
    /// that the image is not signed.
    pub(super) fn referrers(&self) -> Result<Part, Unavailable> {
        let read = |cap| self.repository.referrers(self.image, cap);
        let (referrers, taken) = match self.account.read(MAX_REFERRERS, self.patience, read) {
            Ok((referrers, taken)) => (referrers.unwrap_or_default(), Some(taken)),
            Err(FetchError::NotFound { .. }) => (Vec::new(), None),
            Err(FetchError::Unavailable(unavailable)) => return Err(unavailable),
            Err(FetchError::Rejected { code, message }) => {
                return Ok(Part { refused: Some((code, message)), ..Part::default() });
            }
            Err(FetchError::TooLarge { message }) => {
                return Ok(Part { refused: Some(("bad-manifest", message)), ..Part::default() });
            }
        };
        let mut part = Part::default();
        let bundles = self.bundles(&mut part, &referrers);
        drop((referrers, taken));
        part.seen = bundles.iter().map(|bundle| bundle.digest).collect();
        self.fetch(&mut part, bundles.iter().map(Candidate::Referrer).collect(), 0);
        Ok(part)
    }

    /// The signatures that are found by tags: `sha256-<hex>`, which lists referrers, and `sha256-<hex>.sig`, which has those of
    /// cosign's old format. `before` has what was found already.
    pub(super) fn tags(&self, before: &Part) -> Part {
        let mut part = Part::default();
        let (list, manifest) = (Slot::new(), Slot::new());
        let tag = signatures_tag(self.image);
        // Notation has no tags of its own.
        let count = if self.kind == Kind::Cosign { 2 } else { 1 };
        side_by_side(count, THREADS, THREAD, &|number| match number {
            0 => {
                let read = |cap| self.repository.tagged_referrers(self.image, cap);
                list.put(self.account.read(MAX_REFERRERS, self.patience, read));
            }
            _ => {
                let read = |cap| self.repository.signatures(Wanted::Tag(&tag), cap);
                manifest.put(self.account.read(MAX_SIGNATURE_MANIFEST, self.patience, read));
            }
        });
        let (mut list, list_taken) = match self.settle(&mut part, list.take(), "the list of referrers") {
            Some((list, taken)) => (list, Some(taken)),
            None => (Vec::new(), None),
        };
        list.retain(|referrer| !before.seen.contains(&referrer.digest));
        let manifest = match self.kind {
            Kind::Cosign => self.settle(&mut part, manifest.take(), &tag),
            Kind::Notation => None,
        };
        let bundles = self.bundles(&mut part, &list);
        drop((list, list_taken));
        let mut candidates: Vec<_> = bundles.iter().map(Candidate::Referrer).collect();
        if let Some((manifest, _)) = &manifest {
            match payload_layers(&manifest.manifest) {
                Ok(layers) => candidates.extend(payloads(manifest, &layers)),
                Err(error) => part.refused = Some(self.refused(&error)),
            }
        }
        self.fetch(&mut part, candidates, before.candidates);
        if let Some((manifest, taken)) = manifest {
            taken.keep(manifest.bytes.len()); // its signatures have them
        }
        part
    }

    /// The referrers of a list that may be bundles, without what the list says of them besides. A hostile list takes several
    /// times its bytes, so it is not kept while they are fetched.
    fn bundles(&self, part: &mut Part, list: &[Descriptor]) -> Vec<Descriptor> {
        let candidates = match self.kind {
            Kind::Cosign => bundle_candidates(list),
            Kind::Notation => notation_candidates(list),
        };
        let candidates = candidates.unwrap_or_else(|error| {
            part.refused = Some(self.refused(&error));
            Vec::new()
        });
        part.others = list.len().saturating_sub(candidates.len());
        let bare = |&Descriptor { digest, size, .. }: &Descriptor| Descriptor {
            media_type: String::new(),
            digest,
            size,
            artifact_type: None,
            annotations: Default::default(),
        };
        candidates.into_iter().map(bare).collect()
    }

    /// A list or a manifest under a tag; `None` if there is none that can be used.
    fn settle<T>(&self, part: &mut Part, read: Option<Result<T, FetchError>>, what: &str) -> Option<T> {
        match read {
            Some(Ok(read)) => return Some(read),
            // A tag that is not there says nothing.
            Some(Err(FetchError::NotFound { .. })) => {}
            Some(Err(FetchError::Rejected { message, .. } | FetchError::TooLarge { message })) => {
                part.passed_over.push(passed_over(what.to_owned(), message));
            }
            Some(Err(FetchError::Unavailable(unavailable))) => part.failed = part.failed.take().or(Some(unavailable)),
            None => {
                part.failed = Some(Unavailable::other(format!("{what} of {} was not fetched", self.image)));
            }
        }
        None
    }

    /// Fetches candidates, and adds what became of them. `before` is the number of those that were fetched already.
    fn fetch(&self, part: &mut Part, candidates: Vec<Candidate<'_>>, before: usize) {
        let layers = |candidate: &Candidate<'_>| match candidate {
            Candidate::Referrer(_) => 1,
            Candidate::Payload { layers, .. } => layers.len(),
        };
        part.candidates = candidates.iter().map(layers).sum::<usize>() + before;
        if part.candidates > MAX_CANDIDATES {
            part.refused.get_or_insert_with(|| self.refused(&OciError::TooMany { limit: MAX_CANDIDATES }));
        }
        if part.refused.is_some() {
            return;
        }
        let outcomes: Vec<_> = candidates.iter().map(|_| Slot::new()).collect();
        side_by_side(candidates.len(), THREADS, THREAD, &|number| {
            if let Some((candidate, outcome)) = candidates.get(number).zip(outcomes.get(number)) {
                outcome.put(self.candidate(candidate));
            }
        });
        for outcome in outcomes {
            let Some(outcome) = outcome.take() else { continue };
            part.signatures.extend(outcome.signatures.into_iter().map(Found::new));
            part.passed_over.extend(outcome.passed_over);
            part.failed = part.failed.take().or(outcome.failed);
        }
    }

    fn candidate(&self, candidate: &Candidate<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let (name, fetched) = match candidate {
            Candidate::Referrer(referrer) => (
                format!("{} in {}", self.kind.artifact(), referrer.digest),
                self.bundle(referrer).map(|found| outcome.signatures.push(found)),
            ),
            Candidate::Payload { manifest, bytes, blob, layers } => (
                format!("signature in {}", manifest.manifest.digest),
                self.payload(manifest, bytes, blob, layers, &mut outcome),
            ),
        };
        match fetched {
            Ok(()) => {}
            Err(FetchError::Unavailable(unavailable)) => outcome.failed = Some(unavailable),
            Err(
                FetchError::NotFound { message }
                | FetchError::TooLarge { message }
                | FetchError::Rejected { message, .. },
            ) => outcome.passed_over.push(passed_over(name, message)),
        }
        outcome
    }

    /// The bundle or envelope of a referrer.
    fn bundle(&self, referrer: &Descriptor) -> Result<FoundSignature, FetchError> {
        let size = usize::try_from(referrer.size).unwrap_or(usize::MAX).min(MAX_SIGNATURE_MANIFEST);
        let mut manifest_taken = self.take(reading(size))?;
        let FetchedSignatures { manifest, bytes } =
            self.repository.signatures(Wanted::Digest(referrer.digest), size)?;
        let unfit = |code: &'static str, message: String| FetchError::Rejected { code, message };
        referrer.check(&bytes).map_err(|error| unfit(error.code(), error.to_string()))?;
        let (form, cap) = match self.kind {
            Kind::Cosign => (SignatureForm::Bundle, MAX_BUNDLE),
            Kind::Notation => (SignatureForm::Envelope, MAX_ENVELOPE),
        };
        let layer = form.layer_of(&manifest, self.image);
        let layer = layer.map_err(|error| unfit(error.code(), error.to_string()))?;
        manifest_taken.shrink(made(size));
        let (blob, taken) = self.blob(layer, cap)?;
        let kept: Arc<[u8]> = Arc::from(blob.as_slice());
        let signature = form.read(&manifest, layer, blob).map_err(|error| unfit(error.code(), error.to_string()))?;
        taken.keep(kept.len() + heap_size(&signature));
        manifest_taken.keep(bytes.len());
        Ok(FoundSignature {
            signature: Arc::new(signature),
            manifest: bytes.into(),
            layer: 0,
            blob: (layer.digest, kept),
        })
    }

    /// The signatures of layers that have one payload.
    fn payload(
        &self,
        manifest: &FetchedSignatures,
        bytes: &Arc<[u8]>,
        blob: &Descriptor,
        layers: &[usize],
        outcome: &mut Outcome,
    ) -> Result<(), FetchError> {
        let (payload, taken) = self.blob(blob, MAX_PAYLOAD)?;
        let kept: Arc<[u8]> = payload.into();
        for number in layers {
            let Some(layer) = manifest.manifest.layers.get(*number) else { continue };
            match sigstore::Signature::from_layer(&manifest.manifest, layer, Arc::clone(&kept)).map(Signature::Sigstore)
            {
                Ok(signature) => {
                    // Each layer has claims of its own.
                    let memory = heap_size(&signature);
                    self.take(as_u64(memory))?.keep(memory);
                    outcome.signatures.push(FoundSignature {
                        signature: Arc::new(signature),
                        manifest: Arc::clone(bytes),
                        layer: *number,
                        blob: (blob.digest, Arc::clone(&kept)),
                    });
                }
                Err(error) => {
                    let name = format!("signature {} in {}", number + 1, manifest.manifest.digest);
                    outcome.passed_over.push(passed_over(name, error.to_string()));
                }
            }
        }
        taken.keep(kept.len());
        Ok(())
    }

    /// A blob, and the memory that was taken for it and for its signature.
    fn blob(&self, descriptor: &Descriptor, cap: usize) -> Result<(Vec<u8>, Taken<'_>), FetchError> {
        let unfit = |error: OciError| FetchError::Rejected { code: error.code(), message: error.to_string() };
        descriptor.check_limit(cap).map_err(unfit)?;
        let taken = self.take(reading(usize::try_from(descriptor.size).unwrap_or(cap)))?;
        Ok((self.repository.blob(descriptor, cap)?, taken))
    }

    fn take(&self, bytes: u64) -> Result<Taken<'_>, FetchError> {
        self.account.take(bytes, self.patience).map_err(FetchError::Unavailable)
    }

    fn refused(&self, error: &OciError) -> (&'static str, String) {
        (error.code(), format!("the signatures of {} cannot be used: {error}", self.image))
    }
}

/// The layers of a manifest by their payload, which is fetched once.
fn payloads<'m>(manifest: &'m FetchedSignatures, layers: &[&'m Descriptor]) -> Vec<Candidate<'m>> {
    let shared: Arc<[u8]> = Arc::from(manifest.bytes.as_slice());
    let mut found: Vec<Candidate<'m>> = Vec::new();
    for (number, layer) in manifest.manifest.layers.iter().enumerate() {
        if !layers.iter().any(|known| std::ptr::eq(*known, layer)) {
            continue;
        }
        let known = found.iter_mut().find_map(|candidate| match candidate {
            Candidate::Payload { blob, layers, .. } if blob.digest == layer.digest && blob.size == layer.size => {
                Some(layers)
            }
            _ => None,
        });
        match known {
            Some(layers) => layers.push(number),
            None => found.push(Candidate::Payload {
                manifest,
                bytes: Arc::clone(&shared),
                blob: layer,
                layers: vec![number],
            }),
        }
    }
    found
}

fn passed_over(signature: String, why: String) -> Finding {
    Finding { signature, signers: Vec::new(), passed_over: Some(why) }
}

fn heap_size(signature: &Signature) -> usize {
    usize::try_from(signature.heap_size()).unwrap_or(usize::MAX)
}
