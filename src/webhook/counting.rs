//! What a decision adds to the metrics: the verdict on each image, and where the time went.

use std::collections::BTreeSet;

use crate::admission::decide::{Basis, Decision};
use crate::admission::evaluate::Spent;
use crate::metrics::{Metrics, Phase, Scope, Verdict};

/// Counts a decision.
pub(super) fn count(metrics: &Metrics, decision: &Decision) {
    match &decision.basis {
        basis @ (Basis::Exempt(_) | Basis::NothingNew(_)) => {
            metrics.image(Verdict::Exempt, basis.code(), Scope::Nobody);
        }
        basis @ (Basis::TooMany { .. } | Basis::NotOurs(_)) => {
            metrics.image(Verdict::Rejected, basis.code(), Scope::Nobody);
        }
        Basis::Images(findings) => {
            let mut timed = BTreeSet::new();
            for finding in findings {
                let (verdict, reason) = finding.assessment.verdict.code();
                metrics.image(verdict, reason, finding.assessment.scope);
                // An image that is used in several places was evaluated once.
                if timed.insert(finding.image.as_str()) {
                    count_phases(metrics, &finding.assessment.spent);
                }
            }
        }
    }
}

fn count_phases(metrics: &Metrics, spent: &Spent) {
    metrics.phase(Phase::Policy, spent.policy);
    if let Some(trust) = spent.trust {
        metrics.phase(Phase::Credentials, spent.credentials);
        metrics.phase(Phase::Trust, trust);
    }
}
