//! The lookup for one query: by evidence, or by what a registry says ([`super::fetch`]), or, where the registry is unavailable,
//! by the digest that the tag had ([`super::stale`]).
//!
//! Every verdict is made here, under the rule of the query.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use super::collected::{Collected, Tried};
use super::fetch::Met;
use super::flight::{Failure, Sides};
use super::message;
use super::requirement::{Accepted, Rejection, Requirement, SignedImage};
use super::service::ImageSignatures;
use super::signed::Signed;
use super::stored::tag_name;
use crate::metrics::Source;
use crate::schemes::evidence::{FoundSignature, Record, Signature, Tagged};
use crate::schemes::{Data, Evidence, Finding, Freshness, Query, Refusal, Trace, Verified, WhenUnavailable};
use portreeve_verify::image::Sha256;

/// The lookup for one query.
pub(super) struct Lookup<'a> {
    pub(super) service: &'a ImageSignatures,
    pub(super) query: &'a Query<'a>,
    pub(super) requirement: Requirement<'a>,
    pub(super) sides: Sides<'a>,
    /// The digest of the reference.
    pub(super) digest: Option<Sha256>,
    pub(super) when_unavailable: WhenUnavailable,
    pub(super) began: Instant,
    /// The digest whose evidence was read last, and what there was: the disk is waited for once.
    pub(super) read: RefCell<Option<(Sha256, Option<Arc<Record>>)>>,
    /// The digest that the registry gave for the image.
    pub(super) resolved: Cell<Option<Sha256>>,
}

impl Lookup<'_> {
    /// The result of the lookup.
    pub(super) fn run(&self, trace: &mut Trace) -> Result<Verified, Refusal> {
        let remembered = self.remembered();
        if let Some(verified) = self.by_memory(remembered) {
            return Ok(verified);
        }
        match self.fetch(remembered.is_some()) {
            Ok(Met::Fetched(collected, accepted, freshness)) => {
                trace.findings = self.findings(&collected);
                let counted = self.counted(&collected);
                // Where those that are kept are enough, none is fetched.
                let kept = if counted.signatures.is_empty() { self.kept(collected.image.digest) } else { None };
                Ok(self.verified(accepted, kept.unwrap_or_else(|| Arc::new(counted)), freshness))
            }
            Ok(Met::Kept(verified)) => Ok(*verified),
            Err(failure) => {
                trace.findings = failure.findings;
                self.stale(remembered, failure.refusal, failure.resolved)
            }
        }
    }

    /// The verdict without a fetch, if the digest is known or the tag was resolved a moment ago.
    fn by_memory(&self, remembered: Option<Tagged>) -> Option<Verified> {
        let refresh_after = self.service.settings.refresh_after;
        let is_fresh = |tagged: &Tagged| tagged.asked.is_some_and(|asked| asked <= refresh_after);
        let known = self.digest.or_else(|| remembered.filter(is_fresh).map(|tagged| tagged.digest));
        let verified = self.by_evidence(known?, Freshness::Cached)?;
        self.service.shared.metrics.signature_lookup(Source::Remembered);
        Some(verified)
    }

    /// The verdict by what another fetch has kept since this query looked.
    pub(super) fn kept_meanwhile(&self) -> Option<Verified> {
        let name = self.tag_name().filter(|_| self.digest.is_none());
        let is_known = self.service.evidence.is_in_memory(self.digest, name.as_deref());
        is_known.then(|| self.by_memory(self.remembered())).flatten()
    }

    /// The digest that the tag had.
    fn remembered(&self) -> Option<Tagged> {
        if self.digest.is_some() {
            return None;
        }
        let Query { now, deadline, notice, .. } = *self.query;
        self.service.evidence.find_tag(&self.tag_name()?, now, deadline, notice)
    }

    /// `registry.local:9001/plant/plc:v1`.
    fn tag_name(&self) -> Option<String> {
        tag_name(self.query.image)
    }

    /// The verdict by stored evidence, if that is enough.
    pub(super) fn by_evidence(&self, digest: Sha256, freshness: Freshness) -> Option<Verified> {
        let record = self.kept(digest)?;
        let Record { image, manifest, signatures, .. } = &*record;
        let image = SignedImage { image, manifest: manifest.as_deref() };
        let accepted = self.requirement.verify(image, &mut signatures.iter().map(Arc::as_ref)).ok()?;
        Some(self.verified(accepted, record, freshness))
    }

    /// The evidence of this digest: from memory, else as this lookup has read it, else from the disk.
    fn kept(&self, digest: Sha256) -> Option<Arc<Record>> {
        let mut read = self.read.borrow_mut();
        match &*read {
            Some((known, record)) if *known == digest => {
                self.service.evidence.in_memory(digest).or_else(|| record.clone())
            }
            _ => {
                let record = self.service.evidence.find(digest, self.query.deadline, self.query.notice);
                *read = Some((digest, record.clone()));
                record
            }
        }
    }

    /// Do the signatures that were fetched meet the rule, together with those that are kept?
    pub(super) fn judge(&self, collected: &Collected) -> Result<Accepted, Rejection> {
        let image = image_of(collected);
        let kept = self.kept(image.image.digest);
        let kept = kept.iter().flat_map(|record| &record.signatures).map(Arc::as_ref);
        let mut signatures: Vec<&Signature> = collected.signatures().map(|found| &*found.found.signature).collect();
        let fetched = signatures.len();
        for kept in kept {
            let is_known = |known: &&Signature| known.manifest() == kept.manifest();
            if !signatures.iter().take(fetched).any(is_known) {
                signatures.push(kept);
            }
        }
        self.requirement.verify(image, &mut signatures.into_iter())
    }

    /// The refusal of an image whose signatures have all been fetched.
    pub(super) fn refuse(&self, collected: &Collected, rejection: &Rejection) -> Box<Failure> {
        let findings = self.findings(collected);
        let place = self.sides.get(self.sides.of_signatures()).place;
        let (image, requirement) = (self.query.image, &self.requirement);
        let refusal = message::not_verified(image, place, requirement, collected, rejection, findings.is_empty());
        Box::new(Failure { refusal, tried: collected.tried, resolved: Some(collected.image.digest), findings })
    }

    /// Keeps the signatures that verified, and the digest of the tag.
    pub(super) fn keep(&self, collected: &Collected) {
        let image = image_of(collected);
        let counted: Vec<FoundSignature> = collected
            .signatures()
            .filter(|found| self.requirement.counts(image, &found.found.signature) && found.keep())
            .map(|found| found.found.clone())
            .collect();
        if !counted.is_empty() {
            self.service.evidence.put(&collected.image, Some(&collected.manifest), &counted);
        }
        if self.digest.is_none()
            && collected.keep_tag()
            && let Some(name) = self.tag_name()
        {
            self.service.evidence.put_tag(&name, collected.image.digest, collected.asked);
        }
    }

    /// The fetched signatures that count under the rule.
    fn counted(&self, collected: &Collected) -> Record {
        let image = image_of(collected);
        let found = collected.signatures().map(|found| &found.found);
        let counted = found.filter(|found| self.requirement.counts(image, &found.signature));
        let signatures = counted.map(|found| (found.id(), Arc::clone(&found.signature)));
        Record::new(collected.image.clone(), Some(Arc::clone(&collected.manifest)), signatures)
    }

    /// What was fetched, one by one.
    fn findings(&self, collected: &Collected) -> Vec<Finding> {
        let image = image_of(collected);
        let read = collected.signatures().filter_map(|found| self.requirement.finding(image, &found.found.signature));
        let passed_over = collected.parts().flat_map(|part| part.passed_over.iter().cloned());
        read.chain(passed_over).collect()
    }

    fn verified(&self, accepted: Accepted, record: Arc<Record>, freshness: Freshness) -> Verified {
        let Accepted { digest, signers } = accepted;
        let signed = Signed {
            record,
            tag: self.query.image.tag().filter(|_| self.digest.is_none()).map(str::to_owned),
            place: self.sides.image.place.to_string(),
            required: self.requirement.to_required(),
        };
        Verified { digest, signers, freshness, evidence: Evidence(Data::ImageSignatures(signed)) }
    }

    /// Are these the query's credentials as well? What depends on no credentials holds for all.
    pub(super) fn would_try(&self, tried: &Tried) -> bool {
        let own = |name| self.sides.get(name).credentials.get_fingerprint(self.query.deadline);
        self.sides.names().zip(tried).all(|(name, tried)| tried.is_none_or(|tried| tried == own(name)))
    }

    /// The query's credentials, all of them looked up.
    pub(super) fn fingerprints(&self) -> Tried {
        let mut all = Tried::default();
        for (name, own) in self.sides.names().zip(&mut all) {
            *own = Some(self.sides.get(name).credentials.get_fingerprint(self.query.deadline));
        }
        all
    }
}

fn image_of(collected: &Collected) -> SignedImage<'_> {
    SignedImage { image: &collected.image, manifest: Some(&collected.manifest) }
}
