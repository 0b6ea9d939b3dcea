//! `portreeve review`: decides on files with the engine of the webhook.

use std::io::Write;
use std::time::Duration;

use super::arguments::{Input, Output};
use super::manifest::{self, Item};
use super::{ExitStatus, complain, finish_writes};
use crate::admission::decide::{Basis, Decision, ImageFinding};
use crate::admission::evaluate::Verdict;
use crate::admission::messages;
use crate::base::context::Deadline;
use crate::base::files::{read_any, read_to_end};
use crate::webhook::{Endpoint, Engine};

/// The most bytes of one input.
const INPUT_CAP: usize = 256 << 20;

/// Reviews every input and prints the results to standard output, problems to standard error.
pub(super) fn run(engine: &Engine, namespace: &str, inputs: &[Input], output: Output, timeout: Duration) -> ExitStatus {
    let mut out = std::io::stdout().lock();
    let status = inputs
        .iter()
        .map(|input| review_input(engine, namespace, input, output, timeout, &mut out))
        .fold(ExitStatus::Allowed, ExitStatus::worse);
    if finish_writes(engine, Deadline::after(timeout)) > 0 {
        log::warn!("trust.cache is slow: not all that was verified is stored");
    }
    status
}

fn review_input(
    engine: &Engine,
    namespace: &str,
    input: &Input,
    output: Output,
    timeout: Duration,
    out: &mut impl Write,
) -> ExitStatus {
    let (name, bytes) = match input {
        Input::File(path) => (path.display().to_string(), read_any(path, INPUT_CAP)),
        Input::StandardInput => {
            ("standard input".to_owned(), read_to_end(std::io::stdin().lock(), Vec::new(), INPUT_CAP))
        }
    };
    let items = match bytes {
        Ok(bytes) => manifest::read(&bytes, namespace, engine.custom_kinds()),
        Err(error) => return complain(&format!("{name}: {error}")),
    };
    let items = match items {
        Ok(items) => items,
        Err(error) => return complain(&format!("{name}: {error}")),
    };
    let mut status = ExitStatus::Allowed;
    let mut decided = 0;
    for item in &items {
        match item {
            Item::Review { label, body } => {
                decided += 1;
                status = status.worse(review_item(engine, &name, label, body, output, timeout, out));
            }
            Item::NotAWorkload { label } if output == Output::Text => {
                // A closed pipe is no error.
                let _ = writeln!(out, "skipped  {label}: not a kind that the webhook decides on");
            }
            Item::NotAWorkload { .. } => {}
        }
    }
    if decided == 0 {
        return status.worse(complain(&format!("{name}: holds no workload and no AdmissionReview to decide on")));
    }
    status
}

fn review_item(
    engine: &Engine,
    name: &str,
    label: &str,
    body: &[u8],
    output: Output,
    timeout: Duration,
    out: &mut impl Write,
) -> ExitStatus {
    let (answer, decided) = engine.review(Endpoint::Admit, body, Deadline::after(timeout));
    if output == Output::Json && answer.status == 200 {
        let _ = out.write_all(&answer.body);
    }
    let decision = match decided {
        Ok((_, decision)) => decision,
        Err(error) if answer.status != 200 => return complain(&format!("{name}: {error}")),
        Err(error) => {
            if output == Output::Text {
                let _ = writeln!(out, "denied   {label}: {error}");
            }
            return ExitStatus::Denied;
        }
    };
    if output == Output::Text {
        let _ = out.write_all(text(label, &decision).as_bytes());
    }
    status_of(&decision)
}

/// A line for each image, or one line if the decision did not depend on images.
fn text(label: &str, decision: &Decision) -> String {
    let findings = match &decision.basis {
        Basis::Images(findings) if findings.is_empty() => return format!("allowed  {label}: names no image\n"),
        Basis::Images(findings) => findings,
        basis => {
            let (word, not_checked) = if decision.allowed { ("allowed", "not checked: ") } else { ("denied", "") };
            return format!("{word:8} {label}: {not_checked}{}\n", basis.describe().unwrap_or_default());
        }
    };
    let line = |finding: &ImageFinding| {
        let word = match finding {
            finding if !finding.is_bad() => "allowed",
            finding if finding.denies => "denied",
            _ => "warned",
        };
        let schemes: Vec<&str> = finding.evaluation.deciding().map(|(scheme, _)| scheme).collect();
        let schemes = if schemes.is_empty() { String::new() } else { format!(" ({})", schemes.join(", ")) };
        format!("{word:8} {label}: {}{schemes}\n", messages::describe(finding))
    };
    findings.iter().map(line).collect()
}

/// 1 if an image is rejected; 3 if all bad verdicts are `unavailable`.
fn status_of(decision: &Decision) -> ExitStatus {
    if decision.allowed {
        return ExitStatus::Allowed;
    }
    let Basis::Images(findings) = &decision.basis else { return ExitStatus::Denied };
    let mut denying = findings.iter().filter(|finding| finding.denies);
    if denying.all(|finding| matches!(finding.evaluation.verdict, Verdict::Unavailable { .. })) {
        ExitStatus::Undecided
    } else {
        ExitStatus::Denied
    }
}
