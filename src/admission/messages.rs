//! The messages about a decision: the denial in the output of `kubectl`, warnings, audit annotations, the text of the log.
//!
//! Every message is printable and of bounded length, whatever a tenant or a server wrote.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::combine::{RuleVerdict, deciding};
use super::decide::{Basis, Decision, ImageFinding};
use super::evaluate::{Evaluation, Verdict};
use super::patch;
use super::request::Request;
use super::response::Response;
use crate::policy::{Rule, Scope};
use crate::schemes::{Freshness, Verified};
use portreeve_verify::text::{printable, to_printable};

/// The most characters of a warning. The API server cuts longer ones.
const MAX_WARNING_CHARACTERS: usize = 1024;
/// A message says how long the checks took if it was at least this long.
const LONG_WAIT: Duration = Duration::from_millis(500);

/// The most images that one denial describes, and the most warnings. The rest are counted. Without this limit, a response
/// could be many times as long as its request.
const MAX_DESCRIBED: usize = 50;
/// The most characters for one image, and the most bytes for all images. Problems of a pod's pull secrets are repeated for
/// each image.
const MAX_CHARACTERS: usize = 4_000;
const MAX_DESCRIBED_BYTES: usize = 48 << 10;
/// The most bytes of one audit annotation. Kubernetes stores at most 256 KiB of all annotations together.
const MAX_ANNOTATION_BYTES: usize = 8 << 10;

/// The response to a request, in the API version of the request.
pub fn response(api_version: &str, request: &Request, decision: &Decision) -> Response {
    Response {
        api_version: api_version.to_owned(),
        uid: request.uid.clone(),
        allowed: decision.allowed,
        message: if decision.allowed { String::new() } else { denial(request, decision) },
        patch: patch::to_json(&decision.operations),
        warnings: warnings(decision),
        audit_annotations: audit_annotations(request, decision),
    }
}

/// The denial, with one line for each image that denies the workload, up to the limits above.
fn denial(request: &Request, decision: &Decision) -> String {
    let findings = match &decision.basis {
        Basis::Images(findings) => findings,
        basis => return format!("portreeve denied {}: {}", object(request), basis.describe().unwrap_or_default()),
    };
    let bad: Vec<&ImageFinding> = findings.iter().filter(|finding| finding.denies).collect();
    let mut message = format!(
        "portreeve denied {}: {} of {} image{} {} not trusted",
        object(request),
        bad.len(),
        findings.len(),
        if findings.len() == 1 { "" } else { "s" },
        if bad.len() == 1 { "is" } else { "are" },
    );
    if let Some(compared) = &decision.compared {
        message.push_str(&format!(" ({compared})"));
    }
    let (told, left) =
        limited(bad.iter().map(|finding| truncated(describe(finding))), MAX_DESCRIBED, MAX_DESCRIBED_BYTES);
    for line in told {
        message.push_str("\n- ");
        message.push_str(&line);
    }
    if left > 0 {
        message.push_str(&format!("\n- and {left} more"));
    }
    message
}

/// The object of a request: `Deployment line-1/plc`. The name is missing if the API server has yet to generate it.
fn object(request: &Request) -> String {
    let (kind, name) = (printable(&request.kind.kind, 63), printable(request.name.as_deref().unwrap_or_default(), 253));
    match (request.namespace.as_deref().map(|namespace| printable(namespace, 63)), name.as_str()) {
        (None, "") => kind,
        (None, name) => format!("{kind} {name}"),
        (Some(namespace), "") => format!("{kind} in namespace {namespace}"),
        (Some(namespace), name) => format!("{kind} {namespace}/{name}"),
    }
}

/// As many texts as the limits allow, and the number of the others, which are never made.
fn limited(texts: impl ExactSizeIterator<Item = String>, most: usize, mut bytes_left: usize) -> (Vec<String>, usize) {
    let all = texts.len();
    let mut taken = Vec::new();
    for text in texts.take(most) {
        let Some(rest) = bytes_left.checked_sub(text.len()) else { break };
        bytes_left = rest;
        taken.push(text);
    }
    let left = all - taken.len();
    (taken, left)
}

/// A text of at most [`MAX_CHARACTERS`]; it can have several lines.
fn truncated(mut words: String) -> String {
    if let Some((end, _)) = words.char_indices().nth(MAX_CHARACTERS) {
        words.truncate(end);
        words.push('…');
    }
    words
}

/// A finding as one text: container, image, verdict, reason, policy.
pub fn describe(finding: &ImageFinding) -> String {
    let place = match finding.name.as_str() {
        "" => finding.list.to_string(),
        name => format!("{} \"{}\"", finding.list, printable(name, 63).replace('"', "\u{fffd}")),
    };
    format!("{place}, image {}: {}", image(finding), verdict(finding))
}

/// The image as written. A text that is no image name could imitate the message about another image.
fn image(finding: &ImageFinding) -> Cow<'_, str> {
    let image = to_printable(&finding.image, 300);
    match &finding.evaluation.reference {
        Some(_) => image,
        None => Cow::Owned(image.replace([' ', '"', '='], "\u{fffd}")),
    }
}

/// The verdict in words, with the rule that decided, and the verdicts of other rules that agree with it.
fn verdict(finding: &ImageFinding) -> String {
    let Evaluation { rule, scheme, verdict, checks, others, others_left, .. } = &*finding.evaluation;
    let mut words = by_rule(rule.as_deref(), verdict, deciding(*scheme, verdict, checks), &waited(finding));
    for RuleVerdict { rule, scheme, verdict: other, checks, .. } in others {
        if other.is_bad() == verdict.is_bad() && !matches!(other, Verdict::Unchecked) {
            words.push_str("; ");
            words.push_str(&by_rule(Some(rule), other, deciding(*scheme, other, checks), ""));
        }
    }
    if *others_left > 0 {
        words.push_str(&format!("; and {others_left} more rules"));
    }
    words
}

/// The verdict of one rule in words, with the checks that it rests on.
fn by_rule<'a>(
    rule: Option<&Rule>,
    verdict: &Verdict,
    checks: impl Iterator<Item = (&'static str, &'a Verdict)>,
    waited: &str,
) -> String {
    let by = rule.map(|rule| format!(" [{}, pattern \"{}\"]", rule.describe(), rule.pattern)).unwrap_or_default();
    match verdict {
        Verdict::Unchecked => format!("not checked: the policy requires no signature{by}"),
        Verdict::Verified(verified) => {
            let digest = verified.digest.sha256();
            let checks = checks.filter_map(|(scheme, verdict)| match verdict {
                Verdict::Verified(verified) => Some((scheme, verified)),
                _ => None,
            });
            // A reader must see which of several checks let the image in.
            if rule.is_some_and(has_several_checks) {
                let signed = checks.map(|(scheme, verified)| format!("{scheme}: {}", signature(scheme, verified)));
                format!("verified: {digest} ({}){by}", signed.collect::<Vec<_>>().join("; "))
            } else {
                let signed = checks.map(|(scheme, verified)| signature(scheme, verified));
                format!("verified: {digest} as {}{by}", signed.collect::<String>())
            }
        }
        Verdict::Rejected { reason, .. } => format!("rejected: {reason}{by}"),
        Verdict::Unavailable { reason, .. } => format!("unavailable: {reason}{waited}{by}"),
    }
}

fn has_several_checks(rule: &Rule) -> bool {
    rule.signed().is_some_and(|signed| signed.any_of.iter().flatten().nth(1).is_some())
}

/// How long the checks took, if that was long.
fn waited(finding: &ImageFinding) -> String {
    match finding.evaluation.times.trust {
        Some(time) if time >= LONG_WAIT => format!(" (waited {:.1} s for it)", time.as_secs_f64()),
        _ => String::new(),
    }
}

/// What one check verified, without the digest.
fn signature(scheme: &str, verified: &Verified) -> String {
    let mut words = verified.evidence.statement();
    if !verified.signers.is_empty() {
        words.push_str(", signed by ");
        words.push_str(&verified.signers.join(", "));
    }
    if let Freshness::Stale { age } = verified.freshness {
        let (_, stored) = stale(scheme);
        words.push_str(&format!(", by {stored} {} s ago", age.as_secs()));
    }
    words
}

/// For a check that used stored data: what did not answer, and what was used, up to its age.
fn stale(scheme: &str) -> (&'static str, &'static str) {
    match scheme {
        "trust" => ("trust server", "stored trust data, last confirmed"),
        _ => ("registry", "stored signatures; the registry last confirmed the digest of the tag"),
    }
}

fn warnings(decision: &Decision) -> Vec<String> {
    let Basis::Images(findings) = &decision.basis else { return Vec::new() };
    let mut warnings: Vec<String> = Vec::new();
    // Cut at once, because a description can be many times as long.
    let mut warn = |warning: &str| {
        let warning = printable(warning, MAX_WARNING_CHARACTERS);
        if warnings.last() != Some(&warning) {
            warnings.push(warning);
        }
    };
    for finding in findings {
        match &finding.evaluation.verdict {
            Verdict::Rejected { .. } | Verdict::Unavailable { .. } if !finding.denies => {
                // Another image may deny the workload.
                let lets = if decision.allowed { "lets this in" } else { "does not deny this image" };
                warn(&format!(
                    "portreeve {lets} only because it is set to warn: {}",
                    describe(finding).replace('\n', " ")
                ));
            }
            Verdict::Verified(_) => {
                for (scheme, verdict) in finding.evaluation.deciding() {
                    let Verdict::Verified(verified) = verdict else { continue };
                    let Freshness::Stale { age } = verified.freshness else { continue };
                    let (server, stored) = stale(scheme);
                    warn(&format!(
                        "portreeve: the {server} did not answer; {} was verified with {stored} {} s ago",
                        image(finding),
                        age.as_secs()
                    ));
                }
            }
            _ => {}
        }
    }
    let (mut warnings, left) = limited(warnings.into_iter(), MAX_DESCRIBED, MAX_DESCRIBED_BYTES);
    if left > 0 {
        warnings.push(format!("portreeve: and {left} more images to warn of"));
    }
    warnings
}

/// Digests, policies and signers for the audit log, and the uid, by which the log line of the request is found: the audit event
/// has an ID of its own. The values stay short, because the log stores them for every request. The keys are in alphabetical
/// order.
fn audit_annotations(request: &Request, decision: &Decision) -> Vec<(&'static str, String)> {
    let mut annotations = Vec::with_capacity(5);
    if let Some(compared) = &decision.compared {
        annotations.push(("compared", compared.to_string()));
    }
    match &decision.basis {
        Basis::Exempt(_) | Basis::NothingNew(_) => {
            annotations.push(("exempt", decision.basis.describe().unwrap_or_default()));
        }
        Basis::NotOurs(_) | Basis::TooMany { .. } => {
            annotations.push(("reason", decision.basis.describe().unwrap_or_default()));
        }
        Basis::Images(findings) => {
            let (mut digests, mut schemes, mut signers) =
                (Annotation::default(), Annotation::default(), Annotation::default());
            let mut policies = Annotation::default();
            for finding in findings {
                let image = image(finding);
                let Evaluation { rule, others, others_left, .. } = &*finding.evaluation;
                let rules = rule.iter().chain(others.iter().map(|other| &other.rule));
                for (index, rule) in rules.clone().enumerate() {
                    let is_same = |other: &&Arc<Rule>| other.scope == rule.scope && other.policy == rule.policy;
                    match index {
                        0 => policies.begin(&image),
                        _ if rules.clone().take(index).any(|other| is_same(&other)) => continue,
                        _ => policies.add(","),
                    }
                    policies.add_policy(rule);
                }
                if *others_left > 0 {
                    policies.add(&format!(",+{others_left}"));
                }
                for (index, (scheme, _)) in finding.evaluation.deciding().enumerate() {
                    match index {
                        0 => schemes.begin(&image),
                        _ => schemes.add(","),
                    }
                    schemes.add(scheme);
                }
                digests.begin(&image);
                match &finding.evaluation.verdict {
                    Verdict::Verified(verified) => {
                        digests.add(&verified.digest.sha256().text());
                        for (index, signer) in verified.signers.iter().enumerate() {
                            match index {
                                0 => signers.begin(&image),
                                _ => signers.add(", "),
                            }
                            signers.add(signer);
                        }
                    }
                    Verdict::Unchecked => digests.add("unchecked"),
                    Verdict::Rejected { code, .. } => {
                        digests.add("rejected:");
                        digests.add(code);
                    }
                    Verdict::Unavailable { .. } => digests.add("unavailable"),
                }
            }
            for (key, annotation) in
                [("images", digests), ("policies", policies), ("schemes", schemes), ("signers", signers)]
            {
                annotations.extend(annotation.into_value().map(|value| (key, value)));
            }
        }
    }
    annotations.push(("uid", printable(&request.uid, 64)));
    annotations
}

/// An annotation that says something about several images: `image=word image=word`.
#[derive(Default)]
struct Annotation {
    text: String,
    /// Where the entry of each image ends.
    ends: Vec<usize>,
}

impl Annotation {
    /// Begins the entry of an image.
    fn begin(&mut self, image: &str) {
        if !self.ends.is_empty() {
            self.text.push(' ');
        }
        self.ends.push(self.text.len());
        self.text.reserve(image.len() + 80);
        self.add(image);
        self.add("=");
    }

    /// Adds to the last entry. Once the text is longer than the annotation may be, its last entry is left out in any case.
    fn add(&mut self, text: &str) {
        if self.text.len() <= MAX_ANNOTATION_BYTES {
            self.text.push_str(text);
        }
        if let Some(end) = self.ends.last_mut() {
            *end = self.text.len();
        }
    }

    /// Adds the name of a rule's policy: `ImagePolicy/line-1/plant-floor`, `ClusterImagePolicy/site`.
    fn add_policy(&mut self, rule: &Rule) {
        match &rule.scope {
            Scope::Namespace(namespace) => {
                self.add("ImagePolicy/");
                self.add(namespace);
                self.add("/");
            }
            Scope::Cluster => self.add("ClusterImagePolicy/"),
        }
        self.add(&rule.policy);
    }

    /// The first entries, up to [`MAX_ANNOTATION_BYTES`], and the number of the others. `None` if there is no entry.
    fn into_value(self) -> Option<String> {
        let Self { mut text, ends } = self;
        let all = ends.len();
        // The spaces between all entries are set aside.
        let room = MAX_ANNOTATION_BYTES.saturating_sub(all);
        let told = ends.iter().enumerate().take_while(|(before, end)| **end - before <= room).count();
        if told < all {
            text.truncate(told.checked_sub(1).and_then(|last| ends.get(last).copied()).unwrap_or_default());
            let space = if told > 0 { " " } else { "" };
            text.push_str(&format!("{space}and {} more", all - told));
        }
        (all > 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::ImageFinding;
    use super::super::workload::List;
    use super::*;

    const KIND: &str = r#"{"uid":"u","kind":{"kind":"Pod"},"operation":"CREATE"}"#;

    fn decision(count: usize, image: &str, reason: &str, denies: bool) -> Decision {
        let finding = |number: usize| ImageFinding {
            list: List::Containers,
            name: format!("c{number}"),
            image: format!("{number}/{image}"),
            evaluation: Box::new(Evaluation::of(Verdict::Rejected { code: "no-such-tag", reason: reason.into() })),
            denies,
        };
        Decision {
            allowed: !denies,
            basis: Basis::Images((0..count).map(finding).collect()),
            operations: Vec::new(),
            compared: None,
        }
    }

    fn answer(decision: &Decision) -> Response {
        response("admission.k8s.io/v1", &serde_json::from_str(KIND).unwrap(), decision)
    }

    /// Kubernetes keeps at most 256 KiB of an object's annotations, and the audit log every byte of an answer's.
    #[test]
    fn an_answer_stays_short_however_many_images_there_are() {
        for (image, reason) in [("x", "no"), (&*"\u{10ffff}".repeat(400), &*"\u{10ffff}".repeat(20_000))] {
            for denies in [true, false] {
                let answer = answer(&decision(256, image, reason, denies));
                let audit: usize = answer.audit_annotations.iter().map(|(_, value)| value.len()).sum();
                assert!(audit <= 20 << 10, "{audit}");
                let length = answer.to_json().len();
                assert!(length < 150 << 10, "{length} bytes");
                let told = answer.message.lines().count() + answer.warnings.len();
                assert!((4..=MAX_DESCRIBED + 2).contains(&told), "{told}");
                let last =
                    if denies { answer.message.lines().last() } else { answer.warnings.last().map(|last| &**last) };
                assert!(last.is_some_and(|last| last.contains(" more")), "what is left out is counted: {last:?}");
            }
        }
    }

    /// A hundred signers with long names, for each of hundreds of images.
    #[test]
    fn an_annotation_takes_no_more_memory_than_it_shows() {
        let mut annotation = Annotation::default();
        for image in 0..256 {
            annotation.begin(&format!("image-{image}"));
            (0..100).for_each(|_| annotation.add(&"s".repeat(400)));
        }
        assert!(annotation.text.len() <= MAX_ANNOTATION_BYTES + 400 + 256, "{}", annotation.text.len());
        assert_eq!(annotation.into_value().unwrap(), "and 256 more");
        let mut annotation = Annotation::default();
        annotation.begin("small");
        annotation.add("signer");
        annotation.begin("large");
        (0..100).for_each(|_| annotation.add(&"s".repeat(400)));
        assert_eq!(annotation.into_value().unwrap(), "small=signer and 1 more");
    }

    #[test]
    fn few_images_are_told_in_full() {
        let few = answer(&decision(3, "x", "no", true));
        assert_eq!(few.message.lines().count(), 4, "{few:?}");
        let images = "0/x=rejected:no-such-tag 1/x=rejected:no-such-tag 2/x=rejected:no-such-tag";
        assert_eq!(few.audit_annotations, [("images", images.to_owned()), ("uid", "u".to_owned())]);
        assert_eq!(answer(&decision(3, "x", "no", false)).warnings.len(), 3);
    }
}
