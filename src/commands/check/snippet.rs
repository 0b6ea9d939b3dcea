//! A policy for an image, ready to be pasted: what the image was verified by, or, for an image whose signatures nobody asked for
//! yet, a template that names a Secret for the key.
//!
//! It never asks for less than the rule that it was made from.

use std::fmt::Write as _;

use portreeve_verify::sigstore::SignedBy;

use super::Against;
use crate::admission::combine::deciding;
use crate::admission::evaluate::{Evaluation, Verdict};
use crate::policy::Scope;
use crate::schemes::{Check, cosign};

/// The Secret that a template names.
const SECRET: &str = "cosign-pub";

/// The policy; `None` if no cosign signature was found, or none that counts.
pub(super) fn of(evaluation: &Evaluation, against: &Against, own_namespace: &str) -> Option<String> {
    let reference = evaluation.reference.as_ref()?;
    let scope = evaluation.rule.as_ref().map(|rule| &rule.scope);
    let mut text = head(reference.repository(), scope);
    let rule = match against {
        Against::Policies => verified_rule(evaluation)?,
        Against::Check(Check::Cosign(rule)) => match evaluation.verdict {
            Verdict::Verified(_) => rule,
            Verdict::Unchecked if rule.signers.is_empty() => {
                return Some(template(text, own_namespace));
            }
            _ => return None,
        },
        Against::Check(_) => return None,
    };
    cosign(&mut text, rule);
    Some(text)
}

/// The cosign rule that alone let the image in; `None` if it was another scheme, or several checks.
fn verified_rule(evaluation: &Evaluation) -> Option<&cosign::Rule> {
    let mut checks = deciding(evaluation.scheme, &evaluation.verdict, &evaluation.checks);
    let (Some(("cosign", Verdict::Verified(_))), None) = (checks.next(), checks.next()) else { return None };
    let mut alone = evaluation.rule.as_ref()?.signed()?.any_of.iter().filter_map(|checks| match checks.as_slice() {
        [Check::Cosign(rule)] => Some(rule),
        _ => None,
    });
    let rule = alone.next()?;
    alone.next().is_none().then_some(rule)
}

/// A policy up to `policy:`. It is of the kind and the namespace of the rule that decided: its Secrets are then the same.
pub(super) fn head(repository: &str, scope: Option<&Scope>) -> String {
    let last = repository.rsplit('/').next().unwrap_or_default();
    let name: String = last.chars().take(63).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let mut text = "apiVersion: portreeve/v1\n".to_owned();
    let (kind, namespace) = match scope {
        Some(Scope::Namespace(namespace)) => ("ImagePolicy", Some(namespace)),
        Some(Scope::Cluster) | None => ("ClusterImagePolicy", None),
    };
    let name = match name.trim_matches('-') {
        "" => "image",
        name => name,
    };
    let _ = writeln!(text, "kind: {kind}\nmetadata:\n  name: {}", quoted(name));
    if let Some(namespace) = namespace {
        let _ = writeln!(text, "  namespace: {}", quoted(namespace));
    }
    let _ = writeln!(text, "spec:\n  repositories:\n    - name: {}\n      policy:", quoted(repository));
    text
}

/// What a rule asks for, all of it but what may stand in while the registry is away.
pub(super) fn cosign(text: &mut String, rule: &cosign::Rule) {
    text.push_str("        cosign:\n");
    if !rule.signers.is_empty() {
        text.push_str("          signers:\n");
    }
    for signer in &rule.signers {
        let _ = writeln!(text, "            - name: {}", quoted(&signer.name));
        match &signer.by {
            SignedBy::Key(key) => {
                text.push_str("              publicKey: |\n");
                for line in key.to_pem().lines() {
                    let _ = writeln!(text, "                {line}");
                }
            }
            SignedBy::Identity(identity) => {
                let (issuer, subject) = (quoted(&identity.issuer()), quoted(&identity.subject()));
                let _ = writeln!(text, "              issuer: {issuer}\n              subject: {subject}");
            }
        }
    }
    secrets(text, rule.signer_secrets.iter().map(String::as_str));
    if let Some(threshold) = rule.threshold {
        let _ = writeln!(text, "          threshold: {threshold}");
    }
    if !rule.annotations.is_empty() {
        text.push_str("          annotations:\n");
    }
    for (name, value) in &rule.annotations {
        let _ = writeln!(text, "            {}: {}", quoted(name), quoted(value));
    }
    if rule.same_repository {
        text.push_str("          sameRepository: true\n");
    }
}

fn secrets<'a>(text: &mut String, names: impl Iterator<Item = &'a str>) {
    for (index, name) in names.enumerate() {
        if index == 0 {
            text.push_str("          signerSecrets:\n");
        }
        let _ = writeln!(text, "            - name: {}", quoted(name));
    }
}

/// A policy whose key is in a Secret that is yet to be made.
pub(super) fn template(mut text: String, own_namespace: &str) -> String {
    text.push_str("        cosign:\n");
    let _ = writeln!(
        text,
        "          # The signer's public key: kubectl -n {own_namespace} create secret generic {SECRET} --from-file=cosign.pub"
    );
    secrets(&mut text, std::iter::once(SECRET));
    text
}

/// As a double-quoted scalar of YAML, which every JSON string is.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
