//! What a decision adds to the metrics: the verdict on each image, and where the time went.

use crate::admission::decide::{Basis, Decision};
use crate::admission::evaluate::{self, Evaluation, PhaseTimes, PolicyScope};
use crate::metrics::{Endpoint, Metrics, Phase, Scope, Verdict};
use portreeve_verify::ordered::Set;

/// Counts a decision for this endpoint.
pub(super) fn count(metrics: &Metrics, endpoint: Endpoint, decision: &Decision) {
    match &decision.basis {
        basis @ (Basis::Exempt(_) | Basis::NothingNew(_)) => {
            metrics.image(endpoint, Verdict::Exempt, basis.code(), Scope::NoPolicy);
        }
        basis @ (Basis::TooMany { .. } | Basis::NotOurs(_)) => {
            metrics.image(endpoint, Verdict::Rejected, basis.code(), Scope::NoPolicy);
        }
        Basis::Images(findings) => {
            let mut timed = Set::new();
            for finding in findings {
                let evaluation = &finding.evaluation;
                metrics.image(
                    endpoint,
                    Verdict::from(&evaluation.verdict),
                    evaluation.verdict.code(),
                    evaluation.scope.into(),
                );
                // An image that is used in several places was evaluated once.
                if timed.insert(finding.image.as_str()) {
                    count_checks(metrics, endpoint, evaluation);
                    count_phases(metrics, &evaluation.times);
                }
            }
        }
    }
}

/// Counts the checks of the rule that decided, whichever of them its verdict rests on.
fn count_checks(metrics: &Metrics, endpoint: Endpoint, evaluation: &Evaluation) {
    let Evaluation { scheme, verdict, checks, .. } = evaluation;
    let only = scheme.filter(|_| checks.is_empty()).map(|scheme| (scheme, verdict));
    for (scheme, verdict) in only.into_iter().chain(checks.iter().map(|check| (check.scheme, &check.verdict))) {
        metrics.check(endpoint, scheme, Verdict::from(verdict), verdict.code());
    }
}

fn count_phases(metrics: &Metrics, times: &PhaseTimes) {
    metrics.phase(Phase::Policy, times.policy);
    if let Some(trust) = times.trust {
        metrics.phase(Phase::Credentials, times.credentials);
        metrics.phase(Phase::Trust, trust);
    }
}

impl From<&evaluate::Verdict> for Verdict {
    fn from(verdict: &evaluate::Verdict) -> Self {
        match verdict {
            evaluate::Verdict::Unchecked => Self::Unchecked,
            evaluate::Verdict::Verified(_) => Self::Verified,
            evaluate::Verdict::Rejected { .. } => Self::Rejected,
            evaluate::Verdict::Unavailable { .. } => Self::Unavailable,
        }
    }
}

impl From<PolicyScope> for Scope {
    fn from(scope: PolicyScope) -> Self {
        match scope {
            PolicyScope::Namespace => Self::Namespace,
            PolicyScope::Cluster => Self::Cluster,
            PolicyScope::NoPolicy => Self::NoPolicy,
        }
    }
}
