//! The report on one image as text.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::report::{CheckReport, Other, Report, StoredRole, StoredSignatures};
use crate::schemes::{Finding, Pin};
use portreeve_verify::tuf::stored_time;

/// The width of the labels. `targets/<signer>` is the longest.
const LABEL: usize = 30;

impl Report {
    pub(super) fn to_text(&self, now: Timestamp) -> String {
        let mut text = format!("{}: {}\n", self.image, self.verdict);
        let signers = (!self.signers.is_empty()).then(|| self.signers.join(", "));
        for (label, value) in [
            ("reason", &self.reason),
            ("image", &self.normalised),
            ("policy", &self.policy),
            ("pattern", &self.pattern),
            ("mode", &self.mode.map(str::to_owned)),
            ("scheme", &self.scheme.map(str::to_owned)),
            ("trust server", &self.trust_server),
            ("name in trust data", &self.gun),
            ("trust data", &self.trust_data),
            ("registry", &self.registry),
            ("repository", &self.repository),
            ("signatures", &self.signature_data),
            ("signed", &self.statement),
            ("tag", &self.tag),
            ("digest", &self.digest),
            ("pinned", &self.pinned),
            ("released by", &self.released_by),
            ("signed by", &signers),
        ] {
            if let Some(value) = value {
                line(&mut text, label, value);
            }
        }
        for signature in &self.signatures {
            finding(&mut text, signature);
        }
        for check in &self.checks {
            one_check(&mut text, check);
        }
        for Other { policy, pattern, verdict, reason } in &self.others {
            let reason = reason.as_ref().map(|reason| format!(": {}", reason.replace('\n', " "))).unwrap_or_default();
            let _ = writeln!(text, "  {:LABEL$}{verdict} by {policy}, pattern \"{pattern}\"{reason}", "also");
        }
        for (role, expires) in &self.expires {
            let days = stored_time(expires).map_or(0, |end| end.duration_since(now).as_hours() / 24);
            let _ = writeln!(text, "  {:LABEL$}{expires} (in {days} days)", format!("{role} ends"));
        }
        for id in &self.root_key_ids {
            line(&mut text, "root key to pin", id);
        }
        self.add_stored(&mut text);
        if let Some(StoredSignatures { digest, count, age_seconds }) = &self.stored_signatures {
            let age = age_seconds.map(|age| format!(", the digest that the registry gave {age} s ago"));
            line(&mut text, "stored signatures", &format!("{count} of {digest}{}", age.unwrap_or_default()));
        }
        if !self.roots_to_pin.is_empty() {
            text.push_str("  to pin the root, put this under the policy's trust:\n    roots:\n");
            for Pin { key_id } in &self.roots_to_pin {
                let _ = writeln!(text, "      - keyId: \"{key_id}\"");
            }
        }
        if let Some(snippet) = &self.policy_snippet {
            text.push_str("  a policy that requires this:\n");
            for line in snippet.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    fn add_stored(&self, text: &mut String) {
        let Some(stored) = &self.stored else { return };
        let age = match (stored.age_seconds, &stored.confirmed) {
            (Some(age @ 0..), Some(time)) => format!("confirmed {age} s ago ({time})"),
            (Some(_), Some(time)) => format!("confirmed at {time}, which is in the future, so its age is unknown"),
            _ => "not confirmed".to_owned(),
        };
        line(text, "stored", &format!("{}, {age}", stored.directory));
        if let Some(damage) = &stored.damage {
            line(text, "damaged", damage);
        }
        for StoredRole { role, version, expires, file } in &stored.roles {
            let file = file.as_deref().unwrap_or("not kept");
            line(text, &format!("stored {role}"), &format!("version {version}, ends {expires}, {file}"));
        }
    }
}

fn line(text: &mut String, label: &str, value: &str) {
    let indent = format!("\n  {:LABEL$}", "");
    let _ = writeln!(text, "  {label:LABEL$}{}", value.replace('\n', &indent));
}

fn finding(text: &mut String, Finding { signature, signers, passed_over }: &Finding) {
    let result = match passed_over {
        Some(why) => format!("passed over: {why}"),
        None => format!("signed by {}", signers.join(", ")),
    };
    line(text, "signature", &format!("{signature}: {result}"));
}

fn one_check(text: &mut String, check: &CheckReport) {
    let mut words = check.verdict.to_owned();
    if let Some(server) = &check.server {
        words.push_str(" at ");
        words.push_str(server);
    }
    for detail in [&check.reason, &check.digest, &check.statement].into_iter().flatten() {
        words.push_str(", ");
        words.push_str(detail);
    }
    if !check.signers.is_empty() {
        words.push_str(", signed by ");
        words.push_str(&check.signers.join(", "));
    }
    if !check.counts {
        words.push_str(" (another alternative decides)");
    }
    line(text, &format!("check {}", check.scheme), &words);
    for signature in &check.signatures {
        finding(text, signature);
    }
}
