//! `portreeve check`: evaluates images, and prints what the verdict rests on: the policy, the evidence of the signature scheme
//! with its signers and expiry dates, what was passed over and why, and what a policy could pin or require.
//!
//! With `--key`, `--signatures`, `--trusted-root` or `--trust-store` no policy is read: the image's cosign or Notation signatures are
//! looked at, for people who are about to write a policy.

pub(super) mod certificates;
mod report;
pub(super) mod snippet;
mod text;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::Output;
use super::{ExitStatus, complain, finish_writes};
use crate::admission::evaluate::{Evaluation, Verdict};
use crate::base::clock;
use crate::base::context::Deadline;
use crate::base::files::read_text_capped;
use crate::kube::pull_secrets::PullContext;
use crate::schemes::{Check, Mode, cosign, notation};
use crate::webhook::handler::Engine;
use certificates::Certificates;
use portreeve_verify::sigstore::{Signer, SigstoreKey, described};
use portreeve_verify::text::printable;
use report::{Report, Stored, StoredSignatures};

/// The most bytes of a key file.
const MAX_KEY: usize = 64 << 10;

/// What images are checked against.
pub(super) enum Against {
    /// The policies in force.
    Policies,
    /// A check of its own, whatever the policies say.
    Check(Check),
}

impl Against {
    /// The cosign signatures under one key, those by certificates under a trusted root, or all that the image has.
    pub(super) fn cosign(key: Option<&Path>, certificates: Option<&Certificates>) -> Result<Self, String> {
        let signers = key.map(signer).transpose()?.into_iter().collect();
        let rule = match certificates {
            Some(certificates) => certificates.rule(signers)?.0,
            None => cosign::Rule::signed_by(signers),
        };
        Ok(Self::Check(Check::Cosign(Arc::new(rule))))
    }

    /// The Notation signatures under these trust stores by one of these identities, or by anybody.
    pub(super) fn notation(stores: &[String], identities: &[String]) -> Result<Self, String> {
        Ok(Self::Check(Check::Notation(Arc::new(notation::Rule::under(stores, identities, false)?))))
    }

    fn names_no_signer(&self) -> bool {
        matches!(self, Self::Check(Check::Cosign(rule)) if rule.signers.is_empty())
    }
}

/// The code of the rejection of an image that has signatures, none of which counts.
const SIGNATURES_FOUND: &str = "signature";

/// A signer that is named after the file that has its public key.
pub(super) fn signer(file: &Path) -> Result<Signer, String> {
    let shown = printable(&file.display().to_string(), 400);
    let pem = read_text_capped(file, MAX_KEY).map_err(|error| format!("{shown}: {error}"))?;
    let key = SigstoreKey::from_pem(&pem).map_err(|error| format!("{shown}: {error}"))?;
    let stem = file.file_stem().and_then(|name| name.to_str()).unwrap_or("signer");
    Ok(Signer::with_key(signer_name(stem), key))
}

/// The most characters of a signer's name in a policy.
const MAX_NAME: usize = 128;

/// A signer's name as a policy takes it.
fn signer_name(text: &str) -> String {
    let in_name = |c: char| if c.is_ascii_alphanumeric() || "-_.@+".contains(c) { c } else { '-' };
    text.chars().take(MAX_NAME).map(in_name).collect()
}

/// Evaluates every image and prints a report on each; without an `output`, only what is to be committed in its place.
pub(super) fn run(
    engine: &Engine,
    against: &Against,
    namespace: &str,
    images: &[String],
    output: Option<Output>,
    timeout: Duration,
) -> ExitStatus {
    let mut out = std::io::stdout().lock();
    let mut status = ExitStatus::Allowed;
    for image in images {
        let now = clock::now();
        let deadline = Deadline::after(timeout);
        let context = PullContext::in_namespace(namespace);
        let mut evaluation = match against {
            Against::Policies => engine.evaluator().evaluate(&context, image, deadline, now),
            Against::Check(check) => engine.evaluator().check(&context, image, check, deadline, now),
        };
        let mode = match against {
            Against::Policies => evaluation.mode(engine.mode()),
            Against::Check(_) => Mode::Enforce,
        };
        if against.names_no_signer() && evaluation.verdict.code() == SIGNATURES_FOUND {
            // No key was given, so no signature can count.
            evaluation.verdict = Verdict::Unchecked;
        }
        if let (Against::Check(Check::Cosign(rule)), Verdict::Verified(verified)) = (against, &mut evaluation.verdict)
            && certificates::is_for_anybody(rule)
        {
            let identities = verified.evidence.identities();
            verified.signers = identities.iter().map(|(issuer, subject)| described(issuer, subject)).collect();
        }
        status = status.worse(status_of(mode, &evaluation));
        // The report says what is stored, and the process ends after it.
        if finish_writes(engine, Deadline::after(timeout)) > 0 {
            log::warn!("trust.cache is slow: what was verified is not stored yet");
        }
        let stored = evaluation.subject.as_ref().and_then(|subject| Stored::of_subject(engine, subject, now));
        let snippet = snippet::of(&evaluation, against, &engine.evaluator().own_namespace);
        let report = Report {
            stored,
            stored_signatures: StoredSignatures::of(engine, &evaluation, Deadline::after(timeout), now),
            policy_snippet: snippet,
            ..Report::of(image, namespace, mode, &evaluation)
        };
        let text = match output {
            Some(Output::Text) => report.to_text(now),
            // Serialising structs of strings and numbers cannot fail.
            Some(Output::Json) => serde_json::to_string(&report).unwrap_or_default() + "\n",
            None => to_commit(image, &report, status_of(mode, &evaluation)),
        };
        let _ = out.write_all(text.as_bytes()); // a closed pipe is no error
    }
    status
}

/// The image as the webhook would leave it in a manifest, with the digest also where the policy says `mutateImage: false`. Nothing
/// for an image that would be denied: a script must not commit it.
fn to_commit(image: &str, report: &Report, status: ExitStatus) -> String {
    if let Some(reason) = &report.reason {
        complain(&format!("{}: {}: {}", report.image, report.verdict, reason));
    }
    match (&report.pinned, status) {
        (_, ExitStatus::Denied | ExitStatus::Undecided | ExitStatus::BadInput) => String::new(),
        (Some(pinned), ExitStatus::Allowed) => [pinned, "\n"].concat(),
        (None, ExitStatus::Allowed) => [image, "\n"].concat(),
    }
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

#[cfg(test)]
mod tests;
