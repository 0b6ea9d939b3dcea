//! `policy.cosign`: the fields of cosign signatures with keys.
//!
//! A rule without a key, or with a key that cannot be used, is an error: it is never a rule that any signature meets. Fields that
//! ask for an identity, a certificate or a transparency log are refused by name, because this version checks none of them.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::fields::Problems;
use super::{signers, unavailable};
use crate::schemes::cosign::Rule;
use crate::yaml::tree::{Node, Value};
use portreeve_verify::sigstore::{Signer, SigstoreKey};

const INSIDE: &str = "policy.cosign";
const COSIGN: &[&str] = &[
    "signers",
    "signerSecrets",
    "threshold",
    "annotations",
    "sameRepository",
    "transparencyLog",
    "trustedRoot",
    "certificateTransparency",
    "whenUnavailable",
    "maxStale",
];

/// The most `annotations`. Each is looked up in each signature.
const MAX_ANNOTATIONS: usize = 100;
/// The longest name of a signer. It is printed in messages and logs.
const MAX_SIGNER: usize = 128;
const SIGNER_RULE: &str = "a signer's name has at most 128 letters, digits and characters of \"-_.@+:/\"";

/// Reads `cosign`. `None` if it cannot be used; the reason is in `problems`.
pub(super) fn read(cosign: &Node, problems: &mut Problems) -> Option<Rule> {
    problems.mapping(cosign, INSIDE, COSIGN)?;
    problems.refuse_empty(cosign, &["signers", "annotations"]);
    refuse_unsupported(cosign, problems);
    let entries = signers::entries(
        cosign,
        "an entry of policy.cosign.signers",
        &["name", "publicKey", "issuer", "subject"],
        problems,
    );
    let signer_secrets = signers::read_secrets(cosign, "an entry of policy.cosign.signerSecrets", problems);
    if cosign.entry("signers").is_none() && cosign.entry("signerSecrets").is_none_or(Node::is_empty) {
        problems.report(cosign.at, Fault::Missing { field: "signers", inside: INSIDE });
    }
    Some(Rule {
        threshold: read_threshold(cosign, entries.len() + signer_secrets.len(), problems),
        signers: read_signers(&entries, problems),
        signer_secrets,
        annotations: read_annotations(cosign, problems),
        same_repository: problems.boolean(cosign, "sameRepository").unwrap_or(false),
        when_unavailable: unavailable::read_rule(cosign, problems),
        max_stale: unavailable::read_max_stale(cosign, problems),
    })
}

/// Refuses fields that ask for more than keys.
fn refuse_unsupported(cosign: &Node, problems: &mut Problems) {
    for field in ["trustedRoot", "certificateTransparency"] {
        if let Some(node) = cosign.entry(field) {
            problems.report(node.at, Fault::KeysAlone { field });
        }
    }
    match problems.text(cosign, "transparencyLog") {
        None | Some((_, "ignored")) => {}
        Some((at, "required")) => problems.report(at, Fault::KeysAlone { field: "transparencyLog: required" }),
        Some((at, found)) => {
            let (field, found) = ("transparencyLog", found.to_owned());
            problems.report(at, Fault::Value { field, found, expected: "\"ignored\"" });
        }
    }
}

/// Reads `signers`. One key is one signer: otherwise a single key would reach a threshold of two (SCHEMES.md, row 48).
fn read_signers(entries: &[signers::Entry<'_>], problems: &mut Problems) -> Vec<Signer> {
    let mut known: Vec<(usize, Signer)> = Vec::new();
    for entry in entries {
        if let Some(field) = ["issuer", "subject"].into_iter().find(|field| entry.node.entry(field).is_some()) {
            problems.report(entry.at, Fault::KeysAlone { field });
        }
        let name = entry.name.filter(|&(at, name)| {
            let fits = is_signer(name);
            if !fits {
                problems.report(at, Fault::SignerName { found: name.to_owned(), rule: SIGNER_RULE });
            }
            fits
        });
        let key = entry.key.and_then(|(at, pem)| {
            SigstoreKey::from_pem(pem).map_err(|error| problems.report(at, Fault::SigstoreKey(error))).ok()
        });
        let (Some((_, name)), Some(key)) = (name, key) else { continue };
        let name = name.to_owned();
        match known.iter().find(|(_, signer)| signer.name == name || signer.by.id() == key.id()) {
            None => known.push((entry.at.line, Signer::with_key(name, key))),
            Some(&(first, ref signer)) if signer.name == name => {
                problems.report(entry.at, Fault::SignerTwice { name, first });
            }
            Some(&(first, ref signer)) => {
                problems.report(entry.at, Fault::KeyTwice { name, other: signer.name.clone(), first });
            }
        }
    }
    known.into_iter().map(|(_, signer)| signer).collect()
}

fn is_signer(name: &str) -> bool {
    name.len() <= MAX_SIGNER && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@+:/".contains(&b))
}

/// Reads `threshold`. A threshold above the number of signers could never be met.
fn read_threshold(cosign: &Node, signers: usize, problems: &mut Problems) -> Option<usize> {
    let node = cosign.get("threshold")?;
    let Value::Number(number) = &node.value else {
        problems.wrong_type("threshold", "a number", node);
        return None;
    };
    let whole = number.as_ref().and_then(serde_json::Number::as_u64).and_then(|whole| usize::try_from(whole).ok());
    let threshold = whole.filter(|whole| (1..=signers.max(1)).contains(whole));
    if threshold.is_none() {
        let found = number.as_ref().map(ToString::to_string).unwrap_or_default();
        problems.report(node.at, Fault::Threshold { found, signers });
    }
    threshold
}

/// Reads `annotations`. Only strings are signed: a number would never be equal to one (SCHEMES.md, row 45).
fn read_annotations(cosign: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let Some(node) = cosign.get("annotations") else { return annotations };
    let Value::Map(entries) = &node.value else {
        problems.wrong_type("annotations", "a mapping", node);
        return annotations;
    };
    if entries.len() > MAX_ANNOTATIONS {
        problems.report(node.at, Fault::TooManyEntries { field: "annotations", limit: MAX_ANNOTATIONS });
        return annotations;
    }
    for (key, value) in entries {
        let name = key.text.clone();
        match value.text() {
            // A field of `cosign` that is indented too far.
            _ if COSIGN.contains(&name.as_str()) => {
                let (inside, belongs) = ("policy.cosign.annotations", INSIDE);
                problems.report(key.at, Fault::Misplaced { field: name, inside, belongs });
            }
            Some(text) => drop(annotations.insert(name, text.to_owned())),
            None => problems.wrong_type(&name, "a string", value),
        }
    }
    annotations
}

#[cfg(test)]
mod tests;
