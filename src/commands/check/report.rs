//! The report on one image, as `--output json` prints it. docs/commands.md lists its keys.

use jiff::Timestamp;
use serde::Serialize;

use crate::admission::combine::{CheckVerdict, RuleVerdict};
use crate::admission::evaluate::{Evaluation, Verdict};
use crate::base::context::Deadline;
use crate::schemes::notary::store::summary::{self, StoredSummary};
use crate::schemes::{Finding, Freshness, Mode, Pin, Subject, Verified};
use crate::webhook::handler::Engine;
use portreeve_verify::ordered::{self, Map};
use portreeve_verify::text::printable;

/// The report on one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) image: String,
    pub(super) namespace: String,
    pub(super) verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) normalised: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scheme: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trust_server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gun: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trust_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature_data: Option<String>,
    /// What was signed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pinned: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) released_by: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) signers: Vec<String>,
    /// The signatures that the check looked at. Of several checks, each has its own in `checks`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) signatures: Vec<Finding>,
    /// The checks that were made, if there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) checks: Vec<CheckReport>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) expires: Map<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) root_key_ids: Vec<String>,
    /// The entries for `trust.roots` of a policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) roots_to_pin: Vec<Pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stored: Option<Stored>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stored_signatures: Option<StoredSignatures>,
    /// A policy in YAML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy_snippet: Option<String>,
    /// The verdicts of the other rules that were evaluated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) others: Vec<Other>,
}

/// The verdict of one of several checks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckReport {
    pub(super) scheme: &'static str,
    pub(super) verdict: &'static str,
    /// Does the verdict on the image rest on it?
    pub(super) counts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) statement: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) signers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) signatures: Vec<Finding>,
}

impl CheckReport {
    fn of(check: &CheckVerdict) -> Self {
        let verified = verified(&check.verdict);
        Self {
            scheme: check.scheme,
            verdict: check.verdict.word(),
            counts: check.counts,
            reason: check.verdict.reason().map(str::to_owned),
            server: check.subject.as_ref().and_then(Subject::server).map(str::to_owned),
            digest: verified.map(|verified| verified.digest.sha256().to_string()),
            statement: verified.map(|verified| verified.evidence.statement()),
            signers: verified.map(|verified| verified.signers.clone()).unwrap_or_default(),
            signatures: signatures(&check.findings, &check.verdict),
        }
    }
}

/// The verdict of another rule.
#[derive(Debug, Serialize)]
pub(super) struct Other {
    pub(super) policy: String,
    pub(super) pattern: String,
    pub(super) verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
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

/// The stored data of a repository.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    pub(super) directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confirmed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) age_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) damage: Option<String>,
    pub(super) roles: Vec<StoredRole>,
}

/// The stored signatures of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredSignatures {
    pub(super) digest: String,
    pub(super) count: usize,
    /// The time since the registry gave this digest for the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) age_seconds: Option<u64>,
}

impl StoredSignatures {
    /// What is stored of the image, if a registry was to be asked.
    pub(super) fn of(engine: &Engine, evaluation: &Evaluation, deadline: Deadline, now: Timestamp) -> Option<Self> {
        let (Some(Subject::Registry { .. }), Some(image)) = (&evaluation.subject, &evaluation.reference) else {
            return None;
        };
        let stored = engine.evaluator().schemes.image_signatures.stored(image, deadline, now)?;
        let age_seconds = stored.age.map(|age| age.as_secs());
        Some(Self { digest: stored.digest.to_string(), count: stored.signatures, age_seconds })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct StoredRole {
    pub(super) role: String,
    pub(super) version: u64,
    pub(super) expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
}

impl Stored {
    /// The stored data of the repository that was looked at.
    pub(super) fn of_subject(engine: &Engine, subject: &Subject, now: Timestamp) -> Option<Self> {
        let Subject::NotaryV1 { gun, server } = subject else { return None };
        let service = &engine.evaluator().schemes.notary_v1.service;
        service.stored(server.as_ref()?, gun).map(|summary| Self::of(summary, now))
    }

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
    /// The report, without what is stored and without a snippet.
    pub(super) fn of(image: &str, namespace: &str, mode: Mode, evaluation: &Evaluation) -> Self {
        let rule = evaluation.rule.as_ref();
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
            scheme: evaluation.scheme,
            trust_server: None,
            gun: None,
            trust_data: None,
            registry: None,
            repository: None,
            signature_data: None,
            statement: None,
            tag: None,
            digest: None,
            pinned: None,
            released_by: None,
            signers: Vec::new(),
            signatures: Vec::new(),
            checks: evaluation.checks.iter().map(CheckReport::of).collect(),
            expires: Map::new(),
            root_key_ids: Vec::new(),
            roots_to_pin: Vec::new(),
            stored: None,
            stored_signatures: None,
            policy_snippet: None,
            others: evaluation.others.iter().map(Other::of).collect(),
        };
        if report.checks.is_empty() {
            report.signatures = signatures(&evaluation.findings, &evaluation.verdict);
        }
        if let Some(subject) = &evaluation.subject {
            let (server, name) = (subject.server().map(str::to_owned), subject.name().to_owned());
            match subject {
                Subject::NotaryV1 { .. } => (report.trust_server, report.gun) = (server, Some(name)),
                Subject::Registry { .. } => (report.registry, report.repository) = (server, Some(name)),
            }
        }
        if let Some(verified) = verified(&evaluation.verdict) {
            report.add(evaluation, verified);
        }
        report
    }

    /// Adds what was verified.
    fn add(&mut self, evaluation: &Evaluation, verified: &Verified) {
        let digest = verified.digest.sha256();
        let evidence = &verified.evidence;
        let is_registry = matches!(evaluation.subject, Some(Subject::Registry { .. }));
        let (data, stored) = if is_registry {
            self.statement = Some(evidence.statement());
            (&mut self.signature_data, "the registry last confirmed the digest of the tag")
        } else {
            (&mut self.trust_data, "last confirmed")
        };
        *data = Some(match verified.freshness {
            Freshness::Fetched => "fetched now".to_owned(),
            Freshness::Cached => "remembered".to_owned(),
            Freshness::Stale { age } => format!("stored, {stored} {} s ago", age.as_secs()),
        });
        self.tag = evidence.tag().map(|tag| printable(tag, 128));
        self.digest = Some(digest.to_string());
        self.pinned = evaluation.reference.as_ref().map(|reference| reference.pinned_to(digest));
        self.released_by = evidence.released_by().map(str::to_owned);
        self.signers.clone_from(&verified.signers);
        let expires = evidence.expires().into_iter().map(|(role, expires)| (role, expires.to_string()));
        self.expires = ordered::map(expires);
        self.roots_to_pin = evidence.pins();
        self.root_key_ids = self.roots_to_pin.iter().map(|pin| pin.key_id.clone()).collect();
    }
}

fn verified(verdict: &Verdict) -> Option<&Verified> {
    match verdict {
        Verdict::Verified(verified) => Some(verified),
        _ => None,
    }
}

/// The signatures that a check looked at. An image that stored evidence verifies has them there.
fn signatures(findings: &[Finding], verdict: &Verdict) -> Vec<Finding> {
    match verified(verdict) {
        Some(verified) if findings.is_empty() => verified.evidence.findings(),
        _ => findings.to_vec(),
    }
}
