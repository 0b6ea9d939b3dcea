//! The `policy` of a repository: what it requires of an image.
//!
//! A field that asks for a check which would not be made is refused: `simple` with requirements other than `reject`,
//! vulnerability checks. The fields of a scheme are read in files of their own, [`super::notary`], [`super::cosign`] and
//! [`super::notation`].
//!
//! Checks that stand side by side must all hold, and one element of `anyOf` must hold as well. Therefore the checks beside
//! `anyOf` become part of each alternative.

use std::sync::Arc;

use super::fault::Fault;
use super::fields::Problems;
use super::{Mode, Requirement, Signed, cosign, notary, notation};
use crate::schemes::{Check, Denial, MutateImage};
use crate::yaml::tree::{Node, Value};
use portreeve_verify::text::printable;

const POLICY: &[&str] =
    &["trust", "cosign", "anyOf", "mutateImage", "mode", "deny", "simple", "notation", "vulnerability", "va"];

/// The most elements of `anyOf`. All of their checks may be made for one image.
const MAX_ALTERNATIVES: usize = 8;

/// The most characters of a denial's message.
const MAX_DENIAL: usize = 500;

/// Reads a `policy`. `None` if it cannot be used; the reason is in `problems`.
pub(crate) fn read_requirement(policy: &Node, problems: &mut Problems) -> Option<Requirement> {
    problems.mapping(policy, "policy", POLICY)?;
    if let Some(deny) = policy.entry("deny") {
        return read_denial(policy, deny, problems);
    }
    let rejects = refuse_unsupported(policy, problems);
    let mode =
        problems.choice(policy, "mode", &[("enforce", Mode::Enforce), ("warn", Mode::Warn)], "\"enforce\" or \"warn\"");
    let mutate_image = read_mutate_image(policy, problems);
    // All are read before one of them decides: any field could be misplaced.
    let checks = read_checks(policy, problems);
    let any_of = policy.entry("anyOf").map(|any_of| read_any_of(any_of, problems));
    let at_of = |wanted| policy.get("mode").filter(|_| mode == Some(wanted)).map(|mode| mode.at);
    if rejects {
        if let Some(at) = at_of(Mode::Warn) {
            problems.report(at, Fault::BesideDenial { field: "mode" });
        }
        let why = "this policy has the requirement \"reject\", under which no image may run; use an image that another \
                   pattern allows";
        return Some(Requirement::Denied(denial(why)));
    }
    let checks = checks?;
    let any_of = match any_of {
        None if checks.is_empty() => {
            if let Some(at) = at_of(Mode::Enforce) {
                problems.report(at, Fault::NotEnabled { field: "mode" }); // its author expects a check
            }
            return Some(Requirement::Nothing);
        }
        None => vec![checks],
        Some(alternatives) => alternatives?.into_iter().map(|own| [checks.clone(), own].concat()).collect(),
    };
    Some(Requirement::Signed(Signed { mode: mode.unwrap_or_default(), mutate_image, any_of }))
}

/// Reads `mutateImage`: true, false or `pods`.
fn read_mutate_image(policy: &Node, problems: &mut Problems) -> MutateImage {
    let Some(value) = policy.get("mutateImage") else { return MutateImage::default() };
    match &value.value {
        Value::Bool(true) => MutateImage::Everywhere,
        Value::Bool(false) => MutateImage::Nowhere,
        Value::Text(text) if text == "pods" => MutateImage::Pods,
        Value::Text(text) => {
            let (field, expected) = ("mutateImage", "true, false or \"pods\"");
            problems.report(value.at, Fault::Value { field, found: text.clone(), expected });
            MutateImage::default()
        }
        _ => {
            problems.wrong_type("mutateImage", "true, false or \"pods\"", value);
            MutateImage::default()
        }
    }
}

/// Reads the checks that stand side by side in `policy`, or in an element of `anyOf`: none if trust is off and alone. `None` if
/// one of them cannot be used.
fn read_checks(node: &Node, problems: &mut Problems) -> Option<Vec<Check>> {
    let trust = node.entry("trust").map(|trust| notary::read(trust, problems));
    let cosign = node.entry("cosign").map(|cosign| cosign::read(cosign, problems));
    let notation = node.entry("notation").map(|notation| notation::read(notation, problems));
    let mut checks = Vec::new();
    if let Some(trust) = trust {
        checks.extend(trust?.map(|rule| Check::NotaryV1(Arc::new(rule))));
    }
    if let Some(cosign) = cosign {
        checks.push(Check::Cosign(Arc::new(cosign?)));
    }
    if let Some(notation) = notation {
        checks.push(Check::Notation(Arc::new(notation?)));
    }
    Some(checks)
}

/// Reads `anyOf`: each element has one or more checks. An element without a check is refused, because it would let every image
/// in.
fn read_any_of(any_of: &Node, problems: &mut Problems) -> Option<Vec<Vec<Check>>> {
    const INSIDE: &str = "an element of policy.anyOf";
    let items = match &any_of.value {
        Value::List(items) if items.len() > MAX_ALTERNATIVES => {
            problems.report(any_of.at, Fault::TooManyEntries { field: "anyOf", limit: MAX_ALTERNATIVES });
            return None;
        }
        Value::List(items) if !items.is_empty() => items,
        Value::List(_) | Value::Null => {
            problems.report(any_of.at, Fault::EmptyList { field: "anyOf" });
            return None;
        }
        _ => {
            problems.wrong_type("anyOf", "a list", any_of);
            return None;
        }
    };
    let mut alternatives = Vec::new();
    for item in items {
        if problems.mapping(item, INSIDE, &["trust", "cosign", "simple", "notation"]).is_none() {
            continue;
        }
        let mut is_refused = false;
        if let Some(check) = item.entry("simple") {
            problems.report(check.at, Fault::Unsupported { field: "simple".to_owned() });
            is_refused = true;
        }
        let checks = read_checks(item, problems);
        if !is_refused && checks.as_ref().is_some_and(Vec::is_empty) {
            problems.report(item.at, Fault::NoCheck);
        }
        alternatives.extend(checks);
    }
    (alternatives.len() == items.len()).then_some(alternatives)
}

/// Reads `deny`. No other field may be beside it: no check could let an image in, and a denial cannot warn.
fn read_denial(policy: &Node, deny: &Node, problems: &mut Problems) -> Option<Requirement> {
    const INSIDE: &str = "policy.deny";
    for &field in POLICY.iter().filter(|field| **field != "deny") {
        if let Some(node) = policy.get(field) {
            problems.report(node.at, Fault::BesideDenial { field });
        }
    }
    let (at, message) =
        problems.mapping(deny, INSIDE, &["message"]).and_then(|deny| problems.required(deny, "message", INSIDE))?;
    if message.trim().is_empty() {
        problems.report(at, Fault::Missing { field: "message", inside: INSIDE });
        return None;
    }
    if message.chars().count() > MAX_DENIAL {
        problems.report(at, Fault::LongMessage { limit: MAX_DENIAL });
        return None;
    }
    Some(Requirement::Denied(denial(message.trim())))
}

/// The denial with this message.
fn denial(why: &str) -> Denial {
    let text = ["denied by policy: ", &printable(why, MAX_DENIAL)].concat();
    let hint = " (the image names no tag, so the strictest rule for its name counts; name its tag as well)";
    Denial { untagged: Arc::from([&*text, hint].concat()), text: Arc::from(text) }
}

/// Refuses the checks that are not made here, except where they require nothing or deny. Returns whether they deny.
fn refuse_unsupported(policy: &Node, problems: &mut Problems) -> bool {
    let mut rejects = false;
    if let Some(simple) = policy.get("simple")
        && problems.mapping(simple, "policy.simple", &["requirements", "storeURL", "storeSecret"]).is_some()
    {
        for requirement in problems.list(simple, "requirements") {
            problems.misplaced(requirement, "an entry of policy.simple.requirements", &[]);
            let kind = requirement.get("type").and_then(Node::text).unwrap_or_default();
            if kind == "reject" {
                rejects = true;
            } else if kind != "insecureAcceptAnything" {
                let field = if kind.is_empty() { "simple".to_owned() } else { format!("simple: {kind}") };
                problems.report(requirement.at, Fault::Unsupported { field });
            }
        }
    }
    if let Some(va) = policy.get("va") {
        refuse_enabled(va, "va", problems);
    }
    if let Some(vulnerability) = policy.get("vulnerability") {
        let Value::Map(checkers) = &vulnerability.value else {
            problems.wrong_type("vulnerability", "a mapping", vulnerability);
            return rejects;
        };
        problems.misplaced(vulnerability, "policy.vulnerability", &[]);
        for (_, checker) in checkers {
            refuse_enabled(checker, "vulnerability", problems);
        }
    }
    rejects
}

/// Refuses a checker that is not empty and does not say `enabled: false`.
fn refuse_enabled(checker: &Node, field: &'static str, problems: &mut Problems) {
    problems.misplaced(checker, field, &["enabled"]);
    let off = match &checker.value {
        Value::Null | Value::Bool(false) => true,
        Value::Map(entries) => {
            entries.is_empty() || checker.get("enabled").is_some_and(|on| matches!(on.value, Value::Bool(false)))
        }
        _ => false,
    };
    if !off {
        problems.report(checker.at, Fault::Unsupported { field: field.to_owned() });
    }
}

#[cfg(test)]
mod tests;
