//! `policy.cosign`: the fields of cosign signatures with keys and with identities.
//!
//! A rule without a signer, or with a signer that cannot be used, is an error: it is never a rule that any signature meets. Fields
//! that would have no effect are refused, because their author expects one. The trusted roots are the site's, also for a policy of
//! a namespace: a name is checked here, and whether the file is there when an image is judged, because it is mounted and may change.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::fields::Problems;
use super::{signers, unavailable};
use crate::schemes::cosign::{Rule, is_trusted_root};
use crate::yaml::tree::{Node, Value};
use portreeve_verify::sigstore::{Identity, SignedBy, Signer, SigstoreKey};

const INSIDE: &str = "policy.cosign";
const SIGNER: &str = "an entry of policy.cosign.signers";
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

const REQUIRED_OR_IGNORED: &str = "\"required\" or \"ignored\"";

/// The most `annotations`. Each is looked up in each signature.
const MAX_ANNOTATIONS: usize = 100;
/// The longest name of a signer. It is printed in messages and logs.
const MAX_SIGNER: usize = 128;
const SIGNER_RULE: &str = "a signer's name has at most 128 letters, digits and characters of \"-_.@+:/\"";

/// Reads `cosign`. `None` if it cannot be used; the reason is in `problems`.
pub(super) fn read(cosign: &Node, problems: &mut Problems) -> Option<Rule> {
    problems.mapping(cosign, INSIDE, COSIGN)?;
    problems.refuse_empty(cosign, &["signers", "signerSecrets", "annotations"]);
    refuse_null(cosign, "threshold", problems);
    refuse_null(cosign, "sameRepository", problems);
    let entries = signers::entries(cosign, SIGNER, &["name", "publicKey", "issuer", "subject"], problems);
    let signer_secrets = signers::read_secrets(cosign, "an entry of policy.cosign.signerSecrets", problems);
    if cosign.entry("signers").is_none() && cosign.entry("signerSecrets").is_none_or(Node::is_empty) {
        problems.report(cosign.at, Fault::Missing { field: "signers", inside: INSIDE });
    }
    let has_identity = entries.iter().any(|entry| is_identity(entry.node));
    // An entry that cannot be read may be meant as an identity.
    let are_keys =
        entries.iter().all(|entry| entry.key.is_some()) && !(entries.is_empty() && signer_secrets.is_empty());
    let log = read_log(cosign, has_identity, problems);
    let log_required = log.unwrap_or(false);
    let is_needless = are_keys && log == Some(false);
    Some(Rule {
        trusted_root: read_trusted_root(cosign, has_identity || log_required, is_needless, problems),
        log_required,
        ignores_certificate_transparency: read_certificate_transparency(cosign, are_keys, problems),
        threshold: read_threshold(cosign, entries.len() + signer_secrets.len(), problems),
        signers: read_signers(&entries, problems),
        signer_secrets,
        annotations: read_annotations(cosign, problems),
        same_repository: problems.boolean(cosign, "sameRepository").unwrap_or(false),
        when_unavailable: unavailable::read_rule(cosign, problems),
        max_stale: unavailable::read_max_stale(cosign, problems),
    })
}

/// Is the entry of `signers` an identity? Half a one is as well, and is refused.
fn is_identity(entry: &Node) -> bool {
    ["issuer", "subject"].iter().any(|field| entry.entry(field).is_some())
}

/// Reads `transparencyLog`: must a log have the signatures of keys? Those of identities it must always have: without a log nobody
/// knows when a certificate, which is valid for minutes, was used. `None` if it cannot be used.
fn read_log(cosign: &Node, has_identity: bool, problems: &mut Problems) -> Option<bool> {
    const FIELD: &str = "transparencyLog";
    let expected = if has_identity {
        "\"required\" where a signer has an issuer and a subject: without a log nobody knows when the certificate was used"
    } else {
        REQUIRED_OR_IGNORED
    };
    refuse_null(cosign, FIELD, problems);
    let choices = [("required", true), ("ignored", false)];
    let allowed = choices.get(..if has_identity { 1 } else { 2 }).unwrap_or_default();
    if cosign.entry(FIELD).is_none() { Some(false) } else { problems.choice(cosign, FIELD, allowed, expected) }
}

/// Refuses a field without a value: its author expects a check, or none, and the default may be the other one.
fn refuse_null(cosign: &Node, field: &'static str, problems: &mut Problems) {
    if let Some(node) = cosign.entry(field).filter(|node| node.is_null()) {
        problems.report(node.at, Fault::Missing { field, inside: INSIDE });
    }
}

/// Reads `certificateTransparency`: is it ignored? It is about certificates, which only identities have.
fn read_certificate_transparency(cosign: &Node, are_keys: bool, problems: &mut Problems) -> bool {
    const FIELD: &str = "certificateTransparency";
    if let Some(node) = cosign.entry(FIELD).filter(|_| are_keys) {
        problems.report(node.at, Fault::NoIdentity { field: FIELD });
    }
    refuse_null(cosign, FIELD, problems);
    let choices = [("required", false), ("ignored", true)];
    problems.choice(cosign, FIELD, &choices, REQUIRED_OR_IGNORED).unwrap_or(false)
}

/// Reads `trustedRoot`, the name of a file. Identities and logs need it, and keys alone do not. It may be neither needed nor
/// needless, if another field cannot be used: then that one is reported alone.
fn read_trusted_root(cosign: &Node, is_needed: bool, is_needless: bool, problems: &mut Problems) -> Option<String> {
    const FIELD: &str = "trustedRoot";
    if cosign.entry(FIELD).is_none() {
        if is_needed {
            problems.report(cosign.at, Fault::Missing { field: FIELD, inside: INSIDE });
        }
        return None;
    }
    let (at, name) = problems.required(cosign, FIELD, INSIDE)?;
    if !is_trusted_root(name) {
        let expected = "the name of a file in the directory sigstore.trustedRoots, without \".json\": letters, digits and \
                        characters of \"_.-\"";
        problems.report(at, Fault::Value { field: FIELD, found: name.to_owned(), expected });
    } else if is_needless {
        problems.report(at, Fault::NoIdentity { field: FIELD });
    }
    Some(name.to_owned())
}

/// Reads `signers`. One key or one identity is one signer: otherwise a single key would reach a threshold of two (SCHEMES.md, row
/// 48).
fn read_signers(entries: &[signers::Entry<'_>], problems: &mut Problems) -> Vec<Signer> {
    let mut known: Vec<(usize, Signer)> = Vec::new();
    for entry in entries {
        let name = entry.name.filter(|&(at, name)| {
            let fits = is_signer(name);
            if !fits {
                problems.report(at, Fault::SignerName { found: name.to_owned(), rule: SIGNER_RULE });
            }
            fits
        });
        let by = if is_identity(entry.node) { read_identity(entry, problems) } else { read_key(entry, problems) };
        let (Some((_, name)), Some(by)) = (name, by) else { continue };
        let name = name.to_owned();
        match known.iter().find(|(_, signer)| signer.name == name || signer.by.id() == by.id()) {
            None => known.push((entry.at.line, Signer { name, by })),
            Some(&(first, ref signer)) if signer.name == name => {
                problems.report(entry.at, Fault::SignerTwice { name, first });
            }
            Some(&(first, ref signer)) => {
                let what = if by.key().is_some() { "key" } else { "identity" };
                problems.report(entry.at, Fault::KeyTwice { what, name, other: signer.name.clone(), first });
            }
        }
    }
    known.into_iter().map(|(_, signer)| signer).collect()
}

fn read_key(entry: &signers::Entry<'_>, problems: &mut Problems) -> Option<SignedBy> {
    let (at, pem) = entry.key?;
    let key = SigstoreKey::from_pem(pem).map_err(|error| problems.report(at, Fault::SigstoreKey(error)));
    key.ok().map(SignedBy::Key)
}

/// Reads `issuer` and `subject`. One without the other would be everybody's (SCHEMES.md, row 74).
fn read_identity(entry: &signers::Entry<'_>, problems: &mut Problems) -> Option<SignedBy> {
    if let Some(key) = entry.node.entry("publicKey") {
        problems.report(key.at, Fault::KeyAndIdentity);
    }
    let issuer = problems.required(entry.node, "issuer", SIGNER);
    let (at, subject) = problems.required(entry.node, "subject", SIGNER)?;
    let identity = Identity::new(issuer?.1, subject);
    identity.map_err(|error| problems.report(at, Fault::SignerIdentity(error))).ok().map(SignedBy::Identity)
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
