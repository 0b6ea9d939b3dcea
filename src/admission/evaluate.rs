//! The evaluation of one image: finds the rules that apply, makes the checks that they require, and combines the verdicts. The
//! webhook and `portreeve check` both use it.
//!
//! It fails closed: an image without a rule is rejected, and an image whose checks cannot be made is unavailable.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::combine::{CheckVerdict, Combined, Level, Pin, RuleVerdict, any_of, deciding};
use super::verdict::TRUST_SERVER;
pub use super::verdict::Verdict;
use crate::base::context::Deadline;
use crate::keychain::{Keychain, MountedCredentials, PodConfigs, PodKeychain, PulledConfigs};
use crate::kube::pull_secrets::PullContext;
use crate::policy::{self, PolicySet, Rule, Selection, Together};
use crate::schemes::{Check, Finding, Mode, Query, Requirement, Schemes, Subject, Trace, WaitNotice};
use portreeve_verify::Effort;
use portreeve_verify::image::{Glob, Reference};
use portreeve_verify::text::printable;

/// The most other rules whose verdicts on one image of a workload are kept, beside that of the rule that decides.
const MAX_OTHERS: usize = 8;

/// The most checks that are made for all images of one workload. A tenant chooses the images, and may write the rules: each check
/// can be a request to another server.
const MAX_CHECKS: usize = 1024;
/// What the verification of signatures in registries may take for all images of one workload: about a second of processor time. A
/// tenant may have chosen the registry, and with it the number of signatures, and the keys.
const MAX_EFFORT: usize = 10_000;

/// What the images of one workload share.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    context: &'a PullContext<'a>,
    deadline: Deadline,
    now: Timestamp,
    pulled: OnceLock<PodConfigs>,
    /// The checks so far.
    checks: AtomicUsize,
    /// What is left for the verification of signatures.
    effort: AtomicUsize,
}

impl<'a> Workload<'a> {
    pub(super) fn new(context: &'a PullContext<'a>, deadline: Deadline, now: Timestamp) -> Self {
        let (checks, effort) = (AtomicUsize::new(0), AtomicUsize::new(MAX_EFFORT));
        Self { context, deadline, now, pulled: OnceLock::new(), checks, effort }
    }

    #[cfg(test)]
    pub(super) fn effort(&self) -> &AtomicUsize {
        &self.effort
    }
}

/// Evaluates images. All workers share it.
#[derive(Debug)]
pub struct Evaluator {
    /// The policies in force; none until the first valid set was loaded.
    pub policies: PoliciesInForce,
    /// The signature schemes.
    pub schemes: Schemes,
    /// Mounted docker configs.
    pub credentials: MountedCredentials,
    /// Pull secrets from the Kubernetes API, if that is switched on.
    pub pull_secrets: Option<PulledConfigs>,
    /// Portreeve's own namespace.
    pub own_namespace: String,
}

/// The policies in force. A new set replaces the old one as a whole.
#[derive(Debug, Default)]
pub struct PoliciesInForce(RwLock<Option<Arc<PolicySet>>>);

impl PoliciesInForce {
    /// The set in force; `None` if there was no valid set yet.
    pub fn get(&self) -> Option<Arc<PolicySet>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new set in force.
    pub fn replace(&self, policies: impl Into<Arc<PolicySet>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(policies.into());
    }
}

/// The result for one image.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The image, normalised; `None` if the text is no image name.
    pub reference: Option<Reference>,
    /// The rule that decided; `None` if no rule was found.
    pub rule: Option<Arc<Rule>>,
    /// The scheme of the deciding check; `None` if no check was made.
    pub scheme: Option<&'static str>,
    /// What the deciding check looked at; `None` if no check was made.
    pub subject: Option<Subject>,
    /// The signatures that it looked at, if it asked for them or refused the image.
    pub findings: Vec<Finding>,
    /// All checks of the rule that were made, if there were several.
    pub checks: Vec<CheckVerdict>,
    /// The verdicts of the other rules that were evaluated: those that are equally specific, and, for an image without a tag,
    /// those that would match it with some tag.
    pub others: Vec<RuleVerdict>,
    /// The number of rules whose verdicts are left out of `others`.
    pub others_left: usize,
    /// Whose policies decided.
    pub scope: PolicyScope,
    /// The verdict.
    pub verdict: Verdict,
    /// The digest to pin the image to; `None` if it is not verified, or no rule asks for it.
    pub pin: Option<Pin>,
    /// How long it took.
    pub times: PhaseTimes,
}

/// The scope of the policies that decided on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyScope {
    /// ImagePolicies of the workload's namespace.
    Namespace,
    /// ClusterImagePolicies.
    Cluster,
    /// No policy decided.
    NoPolicy,
}

impl From<&policy::Scope> for PolicyScope {
    fn from(scope: &policy::Scope) -> Self {
        match scope {
            policy::Scope::Namespace(_) => Self::Namespace,
            policy::Scope::Cluster => Self::Cluster,
        }
    }
}

/// How long each phase of an evaluation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    /// Finding the rules.
    pub policy: Duration,
    /// Collecting signers' keys and credentials.
    pub credentials: Duration,
    /// The checks, including all waiting; `None` if no check was made.
    pub trust: Option<Duration>,
}

impl PhaseTimes {
    /// The sum of all phases.
    pub fn total(&self) -> Duration {
        self.policy + self.credentials + self.trust.unwrap_or_default()
    }

    fn with(self, trace: &Trace) -> Self {
        let trust = match (self.trust, trace.trust) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        Self { credentials: self.credentials + trace.credentials, trust, ..self }
    }
}

/// What the checks of an image have taken, and those of all images of its workload.
struct Spent<'a> {
    times: &'a Cell<PhaseTimes>,
    checks: &'a AtomicUsize,
}

impl Evaluator {
    /// Evaluates one image of a workload, until the deadline. The namespace of the pod that pulls can be empty: then there is
    /// none.
    pub fn evaluate(&self, context: &PullContext<'_>, image: &str, deadline: Deadline, now: Timestamp) -> Evaluation {
        self.evaluate_in_turn(&Workload::new(context, deadline, now), image, WaitNotice::NONE)
    }

    /// The same for one image of several, with a notice for the others.
    pub(super) fn evaluate_in_turn(&self, workload: &Workload<'_>, image: &str, notice: WaitNotice<'_>) -> Evaluation {
        let Workload { context, deadline, now, pulled, checks, effort } = workload;
        let (deadline, now, namespace) = (*deadline, *now, context.namespace);
        let reference = match parse(image) {
            Ok(reference) => reference,
            Err(evaluation) => return *evaluation,
        };
        let Some(policies) = self.policies.get() else {
            let reason = "no policies are loaded; the log says what is wrong with them".into();
            let verdict = Verdict::Unavailable { code: TRUST_SERVER, reason };
            return Evaluation { reference: Some(reference), ..Evaluation::of(verdict) };
        };
        let began = Instant::now();
        let selection = policies.select(namespace, &reference);
        let times = Cell::new(PhaseTimes { policy: began.elapsed(), ..PhaseTimes::default() });
        let alternatives = match selection {
            Selection::Rules(alternatives) => alternatives,
            none => return Evaluation { times: times.get(), ..without_rules(&none, reference, namespace) },
        };
        let (pull_secrets, mounted) = (self.pull_secrets.as_ref(), &self.credentials);
        let keychain: &dyn Keychain = &PodKeychain { pull_secrets, mounted, context, pulled };
        let is_late = || deadline.remaining().is_none();
        let (image, effort) = (&reference, Effort::new(effort, &is_late));
        let by_rule = |rule: &Arc<Rule>, except: &[&Glob]| {
            let key_namespace = match &rule.scope {
                policy::Scope::Namespace(name) => name,
                policy::Scope::Cluster => &self.own_namespace,
            };
            let tags = rule.tags.as_ref();
            let is_delegated = rule.is_delegated;
            let query =
                Query { image, tags, except, key_namespace, keychain, is_delegated, deadline, now, effort, notice };
            self.by_rule(rule, &query, &Spent { times: &times, checks })
        };
        let combined = match only(&alternatives) {
            Some((rule, except)) => Combined::of_one(by_rule(rule, except)),
            None => any_of(
                Level::Rules,
                alternatives.iter().map(|Together { rules, except }| rules.iter().map(|rule| by_rule(rule, except))),
            ),
        };
        let Combined { verdicts, pin, .. } = combined;
        let mut verdicts = verdicts.into_iter();
        let Some(RuleVerdict { rule, scheme, subject, findings, verdict, checks }) = verdicts.next() else {
            return Evaluation::lost();
        };
        Evaluation {
            reference: Some(reference),
            scope: PolicyScope::from(&rule.scope),
            rule: Some(rule),
            scheme,
            subject,
            findings,
            checks,
            others: verdicts.collect(),
            others_left: 0,
            verdict,
            pin,
            times: times.get(),
        }
    }

    /// Does a rule for the images of this namespace pin them when a Pod is made, or can nobody say?
    pub(super) fn pins_pods(&self, namespace: &str) -> bool {
        let policies = self.policies.get().filter(|policies| policies.has_pinned_pods());
        policies.is_some_and(|policies| policies.has_pinned_pods_in(namespace))
    }

    /// Is an image pinned when a Pod is made (`mutateImage: pods`)? Not if it names a digest.
    pub(super) fn is_pinned_in_pods(&self, namespace: &str, image: &str) -> bool {
        let Some(policies) = self.policies.get().filter(|policies| policies.has_pinned_pods()) else { return false };
        let reference = Reference::parse(image).ok().filter(|reference| reference.digest().is_none());
        reference.is_some_and(|reference| policies.pins_in_pods(namespace, &reference))
    }

    /// Makes one check of an image, whatever the policies say. For people who look at an image before they write a policy.
    pub fn check(
        &self,
        context: &PullContext<'_>,
        image: &str,
        check: &Check,
        deadline: Deadline,
        now: Timestamp,
    ) -> Evaluation {
        let reference = match parse(image) {
            Ok(reference) => reference,
            Err(evaluation) => return *evaluation,
        };
        let (pull_secrets, mounted, pulled) = (self.pull_secrets.as_ref(), &self.credentials, &OnceLock::new());
        let keychain = PodKeychain { pull_secrets, mounted, context, pulled };
        let key_namespace = context.namespace;
        let (image, keychain, notice) = (&reference, &keychain, WaitNotice::NONE);
        let (tags, except, is_delegated) = (None, &[][..], false);
        let effort = Effort::UNLIMITED;
        let query = Query { image, tags, except, key_namespace, keychain, is_delegated, deadline, now, effort, notice };
        let mut trace = Trace::default();
        let verdict = Verdict::of(check, self.schemes.verify(check, &query, &mut trace));
        let times = PhaseTimes::default().with(&trace);
        let Trace { subject, findings, .. } = trace;
        let (reference, scheme) = (Some(reference), Some(check.scheme()));
        Evaluation { reference, scheme, subject, findings, times, ..Evaluation::of(verdict) }
    }

    /// The verdict of one rule.
    fn by_rule<'r>(&self, rule: &'r Arc<Rule>, query: &Query<'_>, spent: &Spent<'_>) -> RuleVerdict {
        let verdict = match &rule.requirement {
            Requirement::Nothing => Verdict::Unchecked,
            Requirement::Denied(denial) => {
                let is_of_tags = query.tags.is_some() && query.image.tag().is_none();
                let reason = if is_of_tags { &denial.untagged } else { &denial.text };
                Verdict::Rejected { code: "denied-by-policy", reason: Arc::clone(reason) }
            }
            Requirement::Signed(signed) => {
                if let [checks] = signed.any_of.as_slice()
                    && let [check] = checks.as_slice()
                {
                    return self.by_check(rule, check, query, spent);
                }
                let last = signed.any_of.len().saturating_sub(1);
                let checks = |(index, checks): (usize, &'r Vec<Check>)| {
                    // A server that is silent leaves time for the alternatives that do not need it.
                    let deadline = if index < last { query.deadline.half() } else { query.deadline };
                    let query = Query { deadline, ..*query };
                    checks.iter().map(move |check| self.by_check(rule, check, &query, spent))
                };
                let combined = any_of(Level::Checks, signed.any_of.iter().enumerate().map(checks));
                if let Some(verdict) = combined.into_one() {
                    return verdict;
                }
                let reason = "the policy requires a signature and names no check".into();
                Verdict::Rejected { code: "no-check", reason }
            }
        };
        let (rule, findings, checks) = (Arc::clone(rule), Vec::new(), Vec::new());
        RuleVerdict { rule, scheme: None, subject: None, findings, verdict, checks }
    }

    fn by_check(&self, rule: &Arc<Rule>, check: &Check, query: &Query<'_>, spent: &Spent<'_>) -> RuleVerdict {
        let mut trace = Trace::default();
        let verdict = if spent.checks.fetch_add(1, Ordering::Relaxed) < MAX_CHECKS {
            Verdict::of(check, self.schemes.verify(check, query, &mut trace))
        } else {
            let reason = "the images of this workload need more checks than are made for one request; write fewer rules for each \
                          of them, or fewer images into one workload";
            Verdict::Rejected { code: "too-many-rules", reason: reason.into() }
        };
        spent.times.set(spent.times.get().with(&trace));
        let Trace { subject, findings, .. } = trace;
        let (rule, scheme, checks) = (Arc::clone(rule), Some(check.scheme()), Vec::new());
        RuleVerdict { rule, scheme, subject, findings, verdict, checks }
    }
}

/// The rule that decides alone, as most rules do.
fn only<'s, 'p>(alternatives: &'s [Together<'p>]) -> Option<(&'p Arc<Rule>, &'s [&'p Glob])> {
    let [Together { rules, except }] = alternatives else { return None };
    let [rule] = rules.as_slice() else { return None };
    Some((rule, except))
}

/// The image's reference, or the rejection of a text that is none.
fn parse(image: &str) -> Result<Reference, Box<Evaluation>> {
    Reference::parse(image).map_err(|error| {
        let reason = format!("invalid image name \"{}\": {error}", printable(image, 300));
        Box::new(Evaluation::rejected(None, "invalid-image-name", reason))
    })
}

/// The rejection of an image for which no rule was found.
fn without_rules(selection: &Selection<'_>, reference: Reference, namespace: &str) -> Evaluation {
    let (code, scope, reason) = match selection {
        Selection::TooMany => {
            let reason = format!(
                "more rules match {} than are ever asked about one image; name it with its tag, or write fewer rules",
                reference.name()
            );
            ("too-many-rules", PolicyScope::NoPolicy, reason)
        }
        Selection::NoMatch { scope, policies } => {
            let whose = match scope {
                policy::Scope::Namespace(name) => format!("the {policies} ImagePolicy object(s) of namespace {name}"),
                policy::Scope::Cluster => format!("the {policies} ClusterImagePolicy object(s)"),
            };
            let reason = format!(
                "no repository pattern in {whose} matches {reference}; add one, or use an image that is allowed"
            );
            ("no-matching-policy", PolicyScope::from(scope), reason)
        }
        Selection::Unusable(fault) => {
            let reason = format!(
                "the ImagePolicies of namespace {namespace} cannot be used, so that none of its images may run; correct the \
                 ConfigMap {}-{namespace}: {fault}",
                policy::CONFIG_MAP
            );
            let verdict = Verdict::Unavailable { code: "namespace-policies", reason: reason.into() };
            let scope = PolicyScope::Namespace;
            return Evaluation { reference: Some(reference), scope, ..Evaluation::of(verdict) };
        }
        Selection::NoPolicy | Selection::Rules(_) => {
            let reason = format!(
                "there is no ImagePolicy for namespace \"{}\" and no ClusterImagePolicy; add one that names {}",
                printable(namespace, 63),
                reference.name()
            );
            ("no-policy", PolicyScope::NoPolicy, reason)
        }
    };
    Evaluation { scope, ..Evaluation::rejected(Some(reference), code, reason) }
}

impl Evaluation {
    /// Drops what the answer does not show: the signatures that were looked at, and the verdicts of many other rules. A workload
    /// can have hundreds of images, and dozens of rules may decide on each.
    pub(super) fn shorten(&mut self) {
        let forget = |checks: &mut Vec<CheckVerdict>| checks.iter_mut().for_each(|check| check.findings = Vec::new());
        self.findings = Vec::new();
        forget(&mut self.checks);
        let all = self.others.len();
        if all > MAX_OTHERS {
            // The message names those that agree with the verdict.
            let is_bad = self.verdict.is_bad();
            self.others.retain(|other| other.verdict.is_bad() == is_bad);
            self.others.truncate(MAX_OTHERS);
            self.others_left = all - self.others.len();
        }
        for other in &mut self.others {
            other.findings = Vec::new();
            forget(&mut other.checks);
        }
    }

    /// The evaluation of an image that was not looked at, because the time for the answer is up.
    pub(super) fn late() -> Self {
        let reason = "the time for this request was up before this image was looked at; try again, or write fewer images into \
                      one workload";
        Self::of(Verdict::Unavailable { code: "deadline", reason: reason.into() })
    }

    /// The evaluation of an image whose thread panicked.
    pub(crate) fn lost() -> Self {
        let reason = "an internal error ended its verification; the log has more".into();
        Self::of(Verdict::Unavailable { code: TRUST_SERVER, reason })
    }

    fn rejected(reference: Option<Reference>, code: &'static str, reason: String) -> Self {
        Self { reference, ..Self::of(Verdict::Rejected { code, reason: reason.into() }) }
    }

    /// An evaluation without a rule.
    pub(crate) fn of(verdict: Verdict) -> Self {
        Self {
            reference: None,
            rule: None,
            scheme: None,
            subject: None,
            findings: Vec::new(),
            checks: Vec::new(),
            others: Vec::new(),
            others_left: 0,
            scope: PolicyScope::NoPolicy,
            verdict,
            pin: None,
            times: PhaseTimes::default(),
        }
    }

    /// The checks that the verdict rests on, by their schemes.
    pub fn deciding(&self) -> impl Iterator<Item = (&'static str, &Verdict)> {
        deciding(self.scheme, &self.verdict, &self.checks)
    }

    /// The mode that applies: `warn` if the rule or the configuration says so.
    pub(crate) fn mode(&self, configured: Mode) -> Mode {
        match &self.rule {
            Some(rule) if rule.mode() == Mode::Warn => Mode::Warn,
            _ => configured,
        }
    }
}
