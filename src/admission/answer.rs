//! Words for a decision: the denial that an operator reads in `kubectl` output, warnings, audit annotations, the
//! log line.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decide::{Basis, Decision, ImageFinding};
use super::judge::Verdict;
use super::review::{Request, Response};
use super::{Endpoint, patch};
use crate::text::printable;
use crate::trust::notary::{Origin, Verified};

/// The most characters of a warning; the API server cuts longer ones itself, and less kindly.
const WARNING_CHARACTERS: usize = 1024;
/// A wait that is worth a word.
const LONG: Duration = Duration::from_millis(500);

/// Images whose reasons are told in one denial; the rest are counted. A request of a few kilobytes would else be
/// answered by a hundred.
const TOLD: usize = 50;

/// The response to a request, in the API version that it was asked in.
pub fn response(endpoint: Endpoint, api_version: &str, request: &Request, decision: &Decision) -> Response {
    Response {
        api_version: api_version.to_owned(),
        uid: request.uid.clone(),
        allowed: decision.allowed,
        message: if decision.allowed { String::new() } else { denial(request, decision) },
        patch: match endpoint {
            Endpoint::Admit => patch::to_json(&decision.operations),
            Endpoint::Validate | Endpoint::ValidatePolicy => None,
        },
        warnings: warnings(decision),
        audit_annotations: audit_annotations(decision),
    }
}

/// The denial: one line for each image that stops the workload, as far as anybody reads.
fn denial(request: &Request, decision: &Decision) -> String {
    let findings = match &decision.basis {
        Basis::Images(findings) => findings,
        basis => return format!("portreeve: {}", basis.in_words().unwrap_or_default()),
    };
    let bad: Vec<&ImageFinding> = findings.iter().filter(|finding| finding.denies).collect();
    let mut message = format!(
        "portreeve: {} of {} image{} in this {} may not run",
        bad.len(),
        findings.len(),
        if findings.len() == 1 { "" } else { "s" },
        request.kind
    );
    for finding in bad.iter().take(TOLD) {
        message.push_str("\n- ");
        message.push_str(&describe(finding));
    }
    if bad.len() > TOLD {
        message.push_str(&format!("\n- and {} more", bad.len() - TOLD));
    }
    message
}

/// One finding in a line: container, image, policy, reason, what to do.
pub fn describe(finding: &ImageFinding) -> String {
    let place = match finding.name.as_str() {
        "" => finding.list.to_string(),
        name => format!("{} \"{}\"", finding.list, printable(name, 63).replace('"', "\u{fffd}")),
    };
    format!("{place}, image {}: {}", image(finding), verdict(finding))
}

/// The image as written. What is no image name could hold words that pass for another finding's.
fn image(finding: &ImageFinding) -> String {
    let image = printable(&finding.image, 300);
    match &finding.assessment.reference {
        Some(_) => image,
        None => image.replace([' ', '"', '='], "\u{fffd}"),
    }
}

/// The verdict in words, with the rule it rests on.
pub fn verdict(finding: &ImageFinding) -> String {
    let by =
        finding.assessment.rule.as_ref().map(|rule| format!(" [{}, pattern \"{}\"]", rule.description, rule.pattern));
    let by = by.unwrap_or_default();
    match &finding.assessment.verdict {
        Verdict::Unchecked => format!("let in unchecked, as policy says{by}"),
        Verdict::Verified(verified) => format!("verified: {}{by}", vouched(verified)),
        Verdict::Rejected { reason, .. } => format!("rejected: {reason}{by}"),
        Verdict::Unavailable { reason } => format!("unavailable: {reason}{}{by}", waited(finding)),
    }
}

/// What took the time, where it took long enough to matter.
fn waited(finding: &ImageFinding) -> String {
    match finding.assessment.spent.trust {
        Some(time) if time >= LONG => format!(" (waited {:.1} s for it)", time.as_secs_f64()),
        _ => String::new(),
    }
}

fn vouched(verified: &Verified) -> String {
    let judgement = &verified.judgement;
    let mut words =
        format!("{} as tag {}, released by {}", judgement.digest.sha256(), judgement.tag, judgement.released_by);
    if !judgement.signers.is_empty() {
        words.push_str(", signed by ");
        words.push_str(&signers(verified));
    }
    if let Origin::StoodIn { age } = verified.origin {
        words.push_str(&format!(", by stored trust data, last confirmed {} s ago", age.as_secs()));
    }
    words
}

/// The signers' names, with commas.
pub fn signers(verified: &Verified) -> String {
    verified.judgement.signers.iter().map(|role| role.signer()).collect::<Vec<_>>().join(", ")
}

fn warnings(decision: &Decision) -> Vec<String> {
    let Basis::Images(findings) = &decision.basis else { return Vec::new() };
    let warning = |finding: &ImageFinding| match &finding.assessment.verdict {
        Verdict::Rejected { .. } | Verdict::Unavailable { .. } if !finding.denies => {
            Some(format!("portreeve lets this in only because it is set to warn: {}", describe(finding)))
        }
        Verdict::Verified(verified) => match verified.origin {
            Origin::StoodIn { age } => Some(format!(
                "portreeve: the trust server did not answer; {} was verified with stored trust data, last confirmed \
                 {} s ago",
                image(finding),
                age.as_secs()
            )),
            Origin::Fetched | Origin::Remembered => None,
        },
        _ => None,
    };
    let mut warnings: Vec<String> = findings
        .iter()
        .filter_map(warning)
        .map(|words| printable(&words.replace('\n', " "), WARNING_CHARACTERS))
        .collect();
    warnings.dedup();
    warnings
}

/// Decision, digests and signers for the audit log. Values stay short: the log keeps each of them for every request.
fn audit_annotations(decision: &Decision) -> BTreeMap<String, String> {
    let word = if decision.allowed { "allowed" } else { "denied" };
    let mut annotations = BTreeMap::from([("decision".to_owned(), word.to_owned())]);
    match &decision.basis {
        Basis::Exempt(_) | Basis::NothingNew(_) => {
            annotations.insert("exempt".to_owned(), decision.basis.in_words().unwrap_or_default());
        }
        Basis::NotOurs(_) | Basis::TooMany { .. } => {
            annotations.insert("reason".to_owned(), decision.basis.in_words().unwrap_or_default());
        }
        Basis::Images(findings) => {
            let mut digests = Vec::new();
            let mut names = Vec::new();
            for finding in findings {
                let image = image(finding);
                match &finding.assessment.verdict {
                    Verdict::Verified(verified) => {
                        digests.push(format!("{image}={}", verified.judgement.digest.sha256()));
                        if !verified.judgement.signers.is_empty() {
                            names.push(format!("{image}={}", signers(verified)));
                        }
                    }
                    Verdict::Unchecked => digests.push(format!("{image}=unchecked")),
                    Verdict::Rejected { code, .. } => digests.push(format!("{image}=rejected:{code}")),
                    Verdict::Unavailable { .. } => digests.push(format!("{image}=unavailable")),
                }
            }
            for (key, values) in [("images", digests), ("signers", names)] {
                if !values.is_empty() {
                    annotations.insert(key.to_owned(), values.join(" "));
                }
            }
        }
    }
    annotations
}
