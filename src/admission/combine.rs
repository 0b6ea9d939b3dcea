//! What several rules say of one image, put together. Pure.
//!
//! Rules that are equally specific must all hold, each in its own mode, and must name the same digest. Of several such
//! lists one is enough.

use std::cmp::Reverse;

use super::evaluate::{RuleSummary, Verdict};
use crate::policy::Mode;
use portreeve_verify::tuf::repository::VerifiedDigest;

/// What one rule says of an image.
#[derive(Clone, Debug)]
pub struct RuleVerdict {
    /// The rule.
    pub rule: RuleSummary,
    /// Its verdict.
    pub verdict: Verdict,
}

/// What several rules say of an image together.
#[derive(Debug, Default)]
pub(super) struct Combined {
    /// The one that decides is the first. Empty where no rule was asked.
    pub(super) verdicts: Vec<RuleVerdict>,
    /// The digest to pin the image to.
    pub(super) pin: Option<VerifiedDigest>,
}

/// How bad a verdict is: what denies is worse than what warns, and a no is worse than no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Unchecked,
    Verified,
    UnavailableWarns,
    RejectedWarns,
    UnavailableDenies,
    RejectedDenies,
}

impl RuleVerdict {
    fn severity(&self) -> Severity {
        match (&self.verdict, self.rule.mode) {
            (Verdict::Unchecked, _) => Severity::Unchecked,
            (Verdict::Verified(_), _) => Severity::Verified,
            (Verdict::Unavailable { .. }, Mode::Warn) => Severity::UnavailableWarns,
            (Verdict::Rejected { .. }, Mode::Warn) => Severity::RejectedWarns,
            (Verdict::Unavailable { .. }, Mode::Enforce) => Severity::UnavailableDenies,
            (Verdict::Rejected { .. }, Mode::Enforce) => Severity::RejectedDenies,
        }
    }

    fn digest(&self) -> Option<VerifiedDigest> {
        match &self.verdict {
            Verdict::Verified(verified) => Some(verified.judgement.digest),
            _ => None,
        }
    }
}

impl Combined {
    /// All of these must hold.
    pub(super) fn all_of(mut verdicts: Vec<RuleVerdict>) -> Self {
        let agreed = agreed_digest(&verdicts);
        for one in &mut verdicts {
            let Some(digest) = one.digest().filter(|digest| Some(*digest) != agreed) else { continue };
            let reason = format!(
                "equally specific rules verify different digests of this image, this rule {}; name the image by the digest \
                 that is meant, or correct the policies",
                digest.sha256()
            );
            one.verdict = Verdict::Rejected { code: "digests-disagree", reason };
        }
        let pins = verdicts.iter().any(|one| one.rule.mutate_image && one.digest().is_some());
        // The first of the worst, so that the same rules always come to the same words.
        let worst = verdicts.iter().enumerate().max_by_key(|(index, one)| (one.severity(), Reverse(*index)));
        if let Some(worst) = worst.map(|(index, _)| index) {
            verdicts.swap(0, worst);
        }
        Self { verdicts, pin: agreed.filter(|_| pins) }
    }

    /// This or the other is enough. Where neither is good, the reasons of both are kept.
    pub(super) fn or(self, other: Self) -> Self {
        if self.verdicts.is_empty() {
            return other;
        }
        let (mut better, worse) = if other.severity() < self.severity() { (other, self) } else { (self, other) };
        if !better.is_good() {
            better.verdicts.extend(worse.verdicts.into_iter().filter(|one| one.severity() > Severity::Verified));
        }
        better
    }

    /// Does every rule that was asked say yes?
    pub(super) fn is_good(&self) -> bool {
        self.severity().is_some_and(|severity| severity <= Severity::Verified)
    }

    fn severity(&self) -> Option<Severity> {
        self.verdicts.first().map(RuleVerdict::severity)
    }
}

/// The digest that the rules which deny agree on; where none of them has verified one, the rules which warn.
fn agreed_digest(verdicts: &[RuleVerdict]) -> Option<VerifiedDigest> {
    let in_mode = |mode| verdicts.iter().filter(move |one| one.rule.mode == mode).filter_map(RuleVerdict::digest);
    let mode = if in_mode(Mode::Enforce).next().is_some() { Mode::Enforce } else { Mode::Warn };
    let first = in_mode(mode).next()?;
    in_mode(mode).all(|digest| digest == first).then_some(first)
}
