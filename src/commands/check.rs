//! `portreeve check`: evaluates images, and prints what the verdict rests on: the policy, the evidence of the signature scheme
//! with its signers and expiry dates, and the keys that a policy could pin.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::ExitStatus;
use super::arguments::Output;
use crate::admission::combine::RuleVerdict;
use crate::admission::evaluate::{Evaluation, Verdict};
use crate::base::context::Deadline;
use crate::kube::pull_secrets::PullContext;
use crate::schemes::notary::store::summary::{self, StoredSummary};
use crate::schemes::{Freshness, Mode, Pin, Subject};
use crate::webhook::handler::Engine;
use portreeve_verify::text::printable;

/// The width of the labels. `targets/<signer>` is the longest.
const LABEL: usize = 30;

/// Evaluates every image and prints a report on each.
pub(super) fn run(
    engine: &Engine,
    namespace: &str,
    images: &[String],
    output: Output,
    timeout: Duration,
) -> ExitStatus {
    let mut out = std::io::stdout().lock();
    let mut status = ExitStatus::Allowed;
    for image in images {
        let now = Timestamp::now();
        let deadline = Deadline::after(timeout);
        let evaluation = engine.evaluator().evaluate(&PullContext::in_namespace(namespace), image, deadline, now);
        let mode = evaluation.mode(engine.mode());
        status = status.worse(status_of(mode, &evaluation));
        let stored = evaluation.subject.as_ref().and_then(|subject| stored(engine, subject, now));
        let report = Report { stored, ..Report::of(image, namespace, mode, &evaluation) };
        let text = match output {
            Output::Text => report.to_text(now),
            // Serialising structs of strings and numbers cannot fail.
            Output::Json => serde_json::to_string(&report).unwrap_or_default() + "\n",
        };
        let _ = out.write_all(text.as_bytes()); // a closed pipe is no error
    }
    status
}

fn status_of(mode: Mode, evaluation: &Evaluation) -> ExitStatus {
    if mode == Mode::Warn {
        return ExitStatus::Allowed;
    }
    match evaluation.verdict {
        Verdict::Unchecked | Verdict::Verified(_) => ExitStatus::Allowed,
        Verdict::Rejected { .. } => ExitStatus::Denied,
        Verdict::Unavailable { .. } => ExitStatus::Undecided,
    }
}

/// The report on one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    image: String,
    namespace: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    normalised: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gun: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    released_by: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    expires: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    root_key_ids: Vec<String>,
    /// The entries for `trust.roots` of a policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roots_to_pin: Vec<Pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<Stored>,
    /// The verdicts of the other rules that were evaluated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Other>,
}

/// The verdict of another rule.
#[derive(Debug, Serialize)]
struct Other {
    policy: String,
    pattern: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Other {
    fn of(RuleVerdict { rule, verdict, .. }: &RuleVerdict) -> Self {
        Self {
            policy: rule.describe(),
            pattern: rule.pattern.clone(),
            verdict: verdict.word(),
            reason: verdict.reason().map(str::to_owned),
        }
    }
}

/// The stored data of the repository that was looked at.
fn stored(engine: &Engine, subject: &Subject, now: Timestamp) -> Option<Stored> {
    let Subject::NotaryV1 { gun, server } = subject else { return None };
    let service = &engine.evaluator().schemes.notary_v1.service;
    service.stored(server.as_ref()?, gun).map(|summary| Stored::of(summary, now))
}

/// The stored data of a repository.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    roles: Vec<StoredRole>,
}

#[derive(Debug, Serialize)]
struct StoredRole {
    role: String,
    version: u64,
    expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Stored {
    fn of(summary: StoredSummary, now: Timestamp) -> Self {
        let role = |role: summary::StoredRole| StoredRole {
            role: role.role,
            version: role.version,
            expires: role.expires.to_string(),
            file: role.file,
        };
        Self {
            directory: printable(&summary.directory.display().to_string(), 400),
            confirmed: summary.confirmed.map(|time| time.to_string()),
            age_seconds: summary.confirmed.map(|time| now.duration_since(time).as_secs()),
            damage: summary.damage.map(|damage| printable(&damage, 500)),
            roles: summary.roles.into_iter().map(role).collect(),
        }
    }
}

impl Report {
    fn of(image: &str, namespace: &str, mode: Mode, evaluation: &Evaluation) -> Self {
        let (rule, subject) = (evaluation.rule.as_ref(), evaluation.subject.as_ref());
        let mut report = Self {
            image: printable(image, 300),
            namespace: printable(namespace, 63),
            verdict: evaluation.verdict.word(),
            reason: evaluation.verdict.reason().map(str::to_owned),
            normalised: evaluation.reference.as_ref().map(ToString::to_string),
            policy: rule.map(|rule| rule.describe()),
            pattern: rule.map(|rule| rule.pattern.clone()),
            mode: match mode {
                Mode::Enforce => rule.map(|_| "enforce"),
                Mode::Warn => Some("warn"),
            },
            trust_server: subject.and_then(Subject::server).map(str::to_owned),
            gun: subject.map(|subject| subject.name().to_owned()),
            trust_data: None,
            tag: None,
            digest: None,
            pinned: None,
            released_by: None,
            signers: Vec::new(),
            expires: BTreeMap::new(),
            root_key_ids: Vec::new(),
            roots_to_pin: Vec::new(),
            stored: None,
            others: evaluation.others.iter().map(Other::of).collect(),
        };
        if let Verdict::Verified(verified) = &evaluation.verdict {
            let digest = verified.digest.sha256();
            let evidence = &verified.evidence;
            report.trust_data = Some(match verified.freshness {
                Freshness::Fetched => "fetched now".to_owned(),
                Freshness::Cached => "remembered".to_owned(),
                Freshness::Stale { age } => format!("stored, last confirmed {} s ago", age.as_secs()),
            });
            report.tag = evidence.tag().map(|tag| printable(tag, 128));
            report.digest = Some(digest.to_string());
            report.pinned = evaluation.reference.as_ref().map(|reference| reference.pinned_to(digest));
            report.released_by = evidence.released_by().map(str::to_owned);
            report.signers.clone_from(&verified.signers);
            let expires = evidence.expires().into_iter().map(|(role, expires)| (role, expires.to_string()));
            report.expires = portreeve_verify::ordered::map(expires);
            report.roots_to_pin = evidence.pins();
            report.root_key_ids = report.roots_to_pin.iter().map(|pin| pin.key_id.clone()).collect();
        }
        report
    }

    fn to_text(&self, now: Timestamp) -> String {
        use std::fmt::Write as _;
        let mut text = format!("{}: {}\n", self.image, self.verdict);
        let signers = (!self.signers.is_empty()).then(|| self.signers.join(", "));
        for (label, value) in [
            ("reason", &self.reason),
            ("image", &self.normalised),
            ("policy", &self.policy),
            ("pattern", &self.pattern),
            ("mode", &self.mode.map(str::to_owned)),
            ("trust server", &self.trust_server),
            ("name in trust data", &self.gun),
            ("trust data", &self.trust_data),
            ("tag", &self.tag),
            ("digest", &self.digest),
            ("pinned", &self.pinned),
            ("released by", &self.released_by),
            ("signed by", &signers),
        ] {
            if let Some(value) = value {
                let indent = format!("\n  {:LABEL$}", "");
                let _ = writeln!(text, "  {label:LABEL$}{}", value.replace('\n', &indent));
            }
        }
        for Other { policy, pattern, verdict, reason } in &self.others {
            let reason = reason.as_ref().map(|reason| format!(": {}", reason.replace('\n', " "))).unwrap_or_default();
            let _ = writeln!(text, "  {:LABEL$}{verdict} by {policy}, pattern \"{pattern}\"{reason}", "also");
        }
        for (role, expires) in &self.expires {
            let days = expires.parse::<Timestamp>().map_or(0, |end| end.duration_since(now).as_hours() / 24);
            let _ = writeln!(text, "  {:LABEL$}{expires} (in {days} days)", format!("{role} ends"));
        }
        for id in &self.root_key_ids {
            let _ = writeln!(text, "  {:LABEL$}{id}", "root key to pin");
        }
        if let Some(stored) = &self.stored {
            let age = match (stored.age_seconds, &stored.confirmed) {
                (Some(age @ 0..), Some(time)) => format!("confirmed {age} s ago ({time})"),
                (Some(_), Some(time)) => format!("confirmed at {time}, which is in the future, so its age is unknown"),
                _ => "not confirmed".to_owned(),
            };
            let _ = writeln!(text, "  {:LABEL$}{}, {age}", "stored", stored.directory);
            if let Some(damage) = &stored.damage {
                let _ = writeln!(text, "  {:LABEL$}{damage}", "damaged");
            }
            for StoredRole { role, version, expires, file } in &stored.roles {
                let file = file.as_deref().unwrap_or("not kept");
                let label = format!("stored {role}");
                let _ = writeln!(text, "  {label:LABEL$}version {version}, ends {expires}, {file}");
            }
        }
        if !self.roots_to_pin.is_empty() {
            text.push_str("  to pin the root, put this under the policy's trust:\n    roots:\n");
            for Pin { key_id } in &self.roots_to_pin {
                let _ = writeln!(text, "      - keyId: \"{key_id}\"");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warn_of_the_configuration_counts_as_in_the_webhook() {
        let rejected = Verdict::Rejected { code: "no-policy", reason: String::new() };
        let evaluation = Evaluation::of(rejected);
        for (configured, status, word) in
            [(Mode::Enforce, ExitStatus::Denied, None), (Mode::Warn, ExitStatus::Allowed, Some("warn"))]
        {
            let mode = evaluation.mode(configured);
            assert_eq!(status_of(mode, &evaluation), status);
            assert_eq!(Report::of("x", "n", mode, &evaluation).mode, word);
        }
    }
}
