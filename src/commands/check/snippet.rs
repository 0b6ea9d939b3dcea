//! A policy for an image, ready to be pasted: what the image was verified by, or, for an image whose signatures nobody asked for
//! yet, a template that names a Secret for the key.
//!
//! It never asks for less than the rule that it was made from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use portreeve_verify::notation::Identity;
use portreeve_verify::sigstore::SignedBy;

use super::{Against, certificates};
use crate::admission::combine::deciding;
use crate::admission::evaluate::{Evaluation, Verdict};
use crate::policy::Scope;
use crate::schemes::{Check, cosign, notation};

/// The Secret that a template names.
const SECRET: &str = "cosign-pub";

/// Why a policy that was made from options ignores certificate transparency.
const NO_CERTIFICATE_LOG: &str = "          # It is ignored because the trusted root has no certificate log.\n";

/// The policy; `None` if no signature of cosign's or Notation's was found, or none that counts.
pub(super) fn of(evaluation: &Evaluation, against: &Against, own_namespace: &str) -> Option<String> {
    let reference = evaluation.reference.as_ref()?;
    let scope = evaluation.rule.as_ref().map(|rule| &rule.scope);
    let mut text = head(reference.repository(), scope);
    let check = match against {
        Against::Policies => verified_check(evaluation)?,
        Against::Check(check) => check,
    };
    match (check, &evaluation.verdict) {
        (Check::Cosign(rule), Verdict::Verified(verified)) if certificates::is_for_anybody(rule) => {
            cosign(&mut text, &certificates::narrowed(rule, &verified.evidence.identities())?);
        }
        (Check::Cosign(rule), Verdict::Verified(_)) => cosign(&mut text, rule),
        (Check::Notation(rule), Verdict::Verified(verified)) => notation(&mut text, rule, &verified.signers),
        // For a certificate no policy names a key.
        (Check::Cosign(rule), Verdict::Unchecked)
            if rule.signers.is_empty() && !certificates::are_all_by_certificates(&evaluation.findings) =>
        {
            return Some(template(text, own_namespace));
        }
        _ => return None,
    }
    if let Against::Check(Check::Cosign(rule)) = against
        && rule.ignores_certificate_transparency
    {
        text.push_str(NO_CERTIFICATE_LOG);
    }
    Some(text)
}

/// The check that alone let the image in; `None` if there were several.
fn verified_check(evaluation: &Evaluation) -> Option<&Check> {
    let mut checks = deciding(evaluation.scheme, &evaluation.verdict, &evaluation.checks);
    let (Some((scheme, Verdict::Verified(_))), None) = (checks.next(), checks.next()) else { return None };
    let mut alone = evaluation.rule.as_ref()?.signed()?.any_of.iter().filter_map(|checks| match checks.as_slice() {
        [check] if check.scheme() == scheme => Some(check),
        _ => None,
    });
    let check = alone.next()?;
    alone.next().is_none().then_some(check)
}

/// A policy up to `policy:`. It is of the kind and the namespace of the rule that decided: its Secrets are then the same.
pub(super) fn head(repository: &str, scope: Option<&Scope>) -> String {
    let mut text = begin(repository.rsplit('/').next().unwrap_or_default(), scope);
    entry(&mut text, repository);
    text
}

/// A policy up to `repositories:`. Its name is made from this one.
pub(in crate::commands) fn begin(name: &str, scope: Option<&Scope>) -> String {
    let in_name = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().take(63).map(in_name).collect();
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
    text.push_str("spec:\n  repositories:\n");
    text
}

/// An entry of `repositories` up to `policy:`.
pub(in crate::commands) fn entry(text: &mut String, pattern: &str) {
    text.extend(["    - name: ", &quoted(pattern), "\n      policy:\n"]);
}

/// What a rule asks for, all of it but what may stand in while the registry is away.
pub(super) fn cosign(text: &mut String, rule: &cosign::Rule) {
    text.push_str("        cosign:\n");
    if !rule.signers.is_empty() {
        text.push_str("          signers:\n");
    }
    for signer in &rule.signers {
        let _ = writeln!(text, "            - name: {}", quoted(&certificates::policy_name(signer)));
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
    if let Some(root) = &rule.trusted_root {
        let _ = writeln!(text, "          trustedRoot: {}", quoted(root));
    }
    if rule.log_required {
        text.push_str("          transparencyLog: required\n");
    }
    if rule.ignores_certificate_transparency {
        text.push_str("          certificateTransparency: ignored\n");
    }
    if let Some(threshold) = rule.threshold {
        let _ = writeln!(text, "          threshold: {threshold}");
    }
    signed_texts(text, "annotations", &rule.annotations);
    if rule.same_repository {
        text.push_str("          sameRepository: true\n");
    }
}

/// What a rule of Notation's asks for, all of it but what may stand in while the registry is away. A rule that trusts every signer
/// of its stores is narrowed to these subjects, if there is one, and if each can be written as an identity.
pub(in crate::commands) fn notation(text: &mut String, rule: &notation::Rule, signers: &[String]) {
    text.push_str("        notation:\n");
    list(text, "trustStores", rule.stores.iter().map(ToString::to_string));
    let subjects: Vec<String> = signers.iter().map(|signer| ["x509.subject: ", signer].concat()).collect();
    let is_named = !signers.is_empty() && subjects.iter().all(|subject| Identity::parse(subject).is_ok());
    let is_narrowed = is_named && rule.identities.iter().any(Identity::is_anybody);
    list(text, "trustedIdentities", if is_narrowed { subjects } else { rule.identity_texts.clone() }.into_iter());
    // Without a store of time stamps it has no effect, and is an error.
    if rule.after_cert_expiry_only && rule.stores.iter().any(|store| store.kind == notation::StoreKind::Tsa) {
        text.push_str("          verifyTimestamp: afterCertExpiry\n");
    }
    if rule.skips_revocation {
        text.push_str("          revocation: skip\n");
    }
    signed_texts(text, "metadata", &rule.metadata);
}

fn list(text: &mut String, field: &str, entries: impl Iterator<Item = String>) {
    text.extend(["          ", field, ":\n"]);
    entries.for_each(|entry| text.extend(["            - ", &quoted(&entry), "\n"]));
}

/// What must be signed besides the image.
fn signed_texts(text: &mut String, field: &str, texts: &BTreeMap<String, String>) {
    if !texts.is_empty() {
        text.extend(["          ", field, ":\n"]);
    }
    for (name, value) in texts {
        text.extend(["            ", &quoted(name), ": ", &quoted(value), "\n"]);
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
