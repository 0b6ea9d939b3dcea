//! Combines several verdicts on one image. Pure: no clock, no network.
//!
//! The same rule applies on two levels, to the checks of a rule and to the rules for an image. There are alternatives, each a
//! list of verdicts. An alternative is good if all of its verdicts are good and name the same digest. One good alternative is
//! enough. The result is rejected only if every alternative is rejected, and unavailable if none is good and one is
//! unavailable.

use std::cmp::Reverse;
use std::sync::Arc;

use super::evaluate::Verdict;
use super::workload::WorkloadKind;
use crate::policy::Rule;
use crate::schemes::{Finding, Mode, MutateImage, Subject};
use portreeve_verify::VerifiedDigest;

/// The reasons of several checks become one text. None is added to a text of so many bytes, because no message shows more.
const MAX_REASON: usize = 16 << 10;

/// The verdict of a rule, or of one check of a rule.
#[derive(Clone, Debug)]
pub struct RuleVerdict {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The scheme of the check; `None` if no check was made. Of several checks, that of the check that decides.
    pub scheme: Option<&'static str>,
    /// What that check looked at; `None` if no check was made.
    pub subject: Option<Subject>,
    /// The signatures that it looked at ([`crate::schemes::Trace::findings`]).
    pub findings: Vec<Finding>,
    /// The verdict.
    pub verdict: Verdict,
    /// All checks that were made, if there were several.
    pub checks: Vec<CheckVerdict>,
}

/// The verdict of one of several checks.
#[derive(Clone, Debug)]
pub struct CheckVerdict {
    /// Its scheme.
    pub scheme: &'static str,
    /// What it looked at.
    pub subject: Option<Subject>,
    /// The signatures that it looked at.
    pub findings: Vec<Finding>,
    /// The verdict.
    pub verdict: Verdict,
    /// Does the rule's verdict rest on it? No, if another alternative decides.
    pub counts: bool,
}

/// The digest that an image is to be pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The digest.
    pub digest: VerifiedDigest,
    /// Where.
    pub mutate_image: MutateImage,
}

impl Pin {
    /// `None` if the image is pinned nowhere.
    fn new(digest: VerifiedDigest, mutate_image: MutateImage) -> Option<Self> {
        (mutate_image != MutateImage::Nowhere).then_some(Self { digest, mutate_image })
    }

    /// Is the image pinned in objects of this kind?
    pub(super) fn applies_to(&self, kind: WorkloadKind) -> bool {
        self.mutate_image == MutateImage::Everywhere || kind == WorkloadKind::Pod
    }
}

/// The level of the verdicts, for the message when they disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// The checks of one rule.
    Checks,
    /// Rules that decide together.
    Rules,
}

/// The combination of several verdicts.
#[derive(Debug, Default)]
pub(super) struct Combined {
    /// The verdict that decides comes first. Empty if there was none.
    pub(super) verdicts: Vec<RuleVerdict>,
    /// The verdicts that the result does not rest on: those of alternatives for which another one stands in.
    tried: Vec<RuleVerdict>,
    /// The digest to pin the image to.
    pub(super) pin: Option<Pin>,
}

/// How bad a verdict is. A verdict that denies is worse than one that warns, and a rejection is worse than `unavailable`.
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
        match (&self.verdict, self.rule.mode()) {
            (Verdict::Unchecked, _) => Severity::Unchecked,
            (Verdict::Verified(_), _) => Severity::Verified,
            (Verdict::Unavailable { .. }, Mode::Warn) => Severity::UnavailableWarns,
            (Verdict::Rejected { .. }, Mode::Warn) => Severity::RejectedWarns,
            (Verdict::Unavailable { .. }, Mode::Enforce) => Severity::UnavailableDenies,
            (Verdict::Rejected { .. }, Mode::Enforce) => Severity::RejectedDenies,
        }
    }

    fn as_check(&self, counts: bool) -> Option<CheckVerdict> {
        let (subject, findings) = (self.subject.clone(), self.findings.clone());
        Some(CheckVerdict { scheme: self.scheme?, subject, findings, verdict: self.verdict.clone(), counts })
    }

    fn digest(&self) -> Option<VerifiedDigest> {
        match &self.verdict {
            Verdict::Verified(verified) => Some(verified.digest),
            _ => None,
        }
    }
}

/// Combines alternatives. After the first good one, no further alternative is evaluated.
pub(super) fn any_of<V>(level: Level, alternatives: impl Iterator<Item = V>) -> Combined
where
    V: Iterator<Item = RuleVerdict>,
{
    let mut combined = Combined::default();
    for verdicts in alternatives {
        combined = combined.or(Combined::all_of(level, verdicts.collect()));
        if combined.is_good() {
            break;
        }
    }
    combined
}

impl Combined {
    /// The only verdict: nothing is left to combine.
    pub(super) fn of_one(verdict: RuleVerdict) -> Self {
        let pin = verdict.digest().and_then(|digest| Pin::new(digest, verdict.rule.mutate_image()));
        Self { verdicts: vec![verdict], tried: Vec::new(), pin }
    }

    /// One alternative: all of its verdicts must be good.
    fn all_of(level: Level, mut verdicts: Vec<RuleVerdict>) -> Self {
        let agreed = agreed_digest(&verdicts);
        for one in &mut verdicts {
            let Some(digest) = one.digest().filter(|digest| Some(*digest) != agreed) else { continue };
            let (all, this) = match level {
                Level::Checks => ("the checks of one rule", "check"),
                Level::Rules => ("equally specific rules", "rule"),
            };
            let reason = format!(
                "{all} verify different digests of this image, this {this} {}; name the image by the digest that is meant, or \
                 correct the policies",
                digest.sha256()
            );
            one.verdict = Verdict::Rejected { code: "digests-disagree", reason: reason.into() };
        }
        // The rule that pins in more places counts: each rule is met then.
        let verified = verdicts.iter().filter(|one| one.digest().is_some());
        let pin = verified.map(|one| one.rule.mutate_image()).max().zip(agreed);
        // The first of the worst, so that the same rules always give the same message.
        let worst = verdicts.iter().enumerate().max_by_key(|(index, one)| (one.severity(), Reverse(*index)));
        if let Some(worst) = worst.map(|(index, _)| index) {
            verdicts.swap(0, worst);
        }
        Self { verdicts, tried: Vec::new(), pin: pin.and_then(|(places, digest)| Pin::new(digest, places)) }
    }

    /// The better of two alternatives. If neither is good, the reasons of both count.
    fn or(self, other: Self) -> Self {
        if self.verdicts.is_empty() {
            return other;
        }
        let (mut better, worse) = if other.severity() < self.severity() { (other, self) } else { (self, other) };
        let is_good = better.is_good();
        for one in worse.verdicts {
            let counts = !is_good && one.severity() > Severity::Verified;
            if counts { &mut better.verdicts } else { &mut better.tried }.push(one);
        }
        better.tried.extend(worse.tried);
        better
    }

    /// Is there a verdict, and is every verdict good?
    fn is_good(&self) -> bool {
        self.severity().is_some_and(|severity| severity <= Severity::Verified)
    }

    fn severity(&self) -> Option<Severity> {
        self.verdicts.first().map(RuleVerdict::severity)
    }

    /// The verdict of a rule from the verdicts of its checks, with all signers and all reasons; `None` if there was no check.
    pub(super) fn into_one(self) -> Option<RuleVerdict> {
        let Self { verdicts, tried, .. } = self;
        let several = verdicts.len() + tried.len() > 1;
        let mut checks = Vec::new();
        if several {
            let check = |counts| move |one: &RuleVerdict| one.as_check(counts);
            checks.extend(verdicts.iter().filter_map(check(true)));
            checks.extend(tried.iter().filter_map(check(false)));
        }
        let mut verdicts = verdicts.into_iter();
        let mut one = verdicts.next()?;
        let mut words = one.verdict.reason().filter(|_| several).map(|reason| match one.scheme {
            Some(scheme) => [scheme, ": ", reason].concat(),
            None => reason.to_owned(),
        });
        for other in verdicts {
            match (&mut one.verdict, other.verdict) {
                (Verdict::Verified(one), Verdict::Verified(other)) => {
                    one.freshness = one.freshness.max(other.freshness);
                    let more: Vec<_> =
                        other.signers.into_iter().filter(|signer| !one.signers.contains(signer)).collect();
                    one.signers.extend(more);
                }
                (_, other_verdict) => {
                    let words = words.as_mut().filter(|words| words.len() < MAX_REASON);
                    if let (Some(words), Some(more)) = (words, other_verdict.reason()) {
                        let more = [other.scheme.unwrap_or_default(), ": ", more].concat();
                        // A check beside `anyOf` is one of each alternative.
                        if !words.contains(&more) {
                            words.push_str("; ");
                            words.push_str(&more);
                        }
                    }
                }
            }
        }
        if let (Some(words), Some(reason)) = (words, one.verdict.reason_mut()) {
            *reason = words.into();
        }
        one.checks = checks;
        Some(one)
    }
}

/// The checks that a verdict rests on: the only one, or those of `checks` that count.
pub fn deciding<'a>(
    scheme: Option<&'static str>,
    verdict: &'a Verdict,
    checks: &'a [CheckVerdict],
) -> impl Iterator<Item = (&'static str, &'a Verdict)> {
    let only = scheme.filter(|_| checks.is_empty()).map(|scheme| (scheme, verdict));
    let counting = checks.iter().filter(|check| check.counts).map(|check| (check.scheme, &check.verdict));
    only.into_iter().chain(counting)
}

/// The digest that all verdicts in mode `enforce` agree on. If none of them is verified, that of the verdicts in mode `warn`.
fn agreed_digest(verdicts: &[RuleVerdict]) -> Option<VerifiedDigest> {
    let in_mode = |mode| verdicts.iter().filter(move |one| one.rule.mode() == mode).filter_map(RuleVerdict::digest);
    let mode = if in_mode(Mode::Enforce).next().is_some() { Mode::Enforce } else { Mode::Warn };
    let first = in_mode(mode).next()?;
    in_mode(mode).all(|digest| digest == first).then_some(first)
}

#[cfg(test)]
mod tests;
