//! The `policy` of a repository: what it requires of an image.
//!
//! A field that asks for a check which would not be made is refused: `simple` with requirements other than `reject`,
//! vulnerability checks. The fields of a scheme are read in a file of their own, [`super::notary`].

use super::fields::Problems;
use super::problem::Fault;
use super::{Mode, Requirement, Signed, notary};
use crate::schemes::Check;
use crate::yaml::tree::{Node, Value};

const POLICY: &[&str] = &["trust", "mutateImage", "mode", "deny", "simple", "vulnerability", "va"];

/// The most characters of a denial's message.
pub const MAX_DENIAL: usize = 500;

/// Reads a `policy`. `None` if it cannot be used; the reason is in `problems`.
pub(crate) fn read_requirement(policy: &Node, problems: &mut Problems) -> Option<Requirement> {
    problems.mapping(policy, "policy", POLICY)?;
    if let Some(deny) = policy.entry("deny") {
        return read_denial(policy, deny, problems);
    }
    let rejects = refuse_unsupported(policy, problems);
    let mode =
        problems.choice(policy, "mode", &[("enforce", Mode::Enforce), ("warn", Mode::Warn)], "\"enforce\" or \"warn\"");
    let mutate_image = problems.boolean(policy, "mutateImage").unwrap_or(true);
    if rejects {
        if let Some(at) = policy.get("mode").filter(|_| mode == Some(Mode::Warn)).map(|mode| mode.at) {
            problems.report(at, Fault::BesideDenial { field: "mode" });
        }
        // The rest is read to report its problems: a field could be misplaced.
        let _ = policy.entry("trust").map(|trust| notary::read(trust, problems));
        let why = "this policy has the requirement \"reject\", under which no image may run; use an image that another \
                   pattern allows";
        return Some(Requirement::Denied(why.to_owned()));
    }
    if let Some(trust) = policy.entry("trust") {
        let rule = notary::read(trust, problems)?;
        return Some(rule.map_or(Requirement::Nothing, |rule| {
            let any_of = vec![vec![Check::NotaryV1(rule)]];
            Requirement::Signed(Signed { mode: mode.unwrap_or_default(), mutate_image, any_of })
        }));
    }
    if let Some(at) = policy.get("mode").filter(|_| mode == Some(Mode::Enforce)).map(|mode| mode.at) {
        problems.report(at, Fault::NotEnabled { field: "mode" }); // its author expects a check
    }
    Some(Requirement::Nothing)
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
    Some(Requirement::Denied(message.trim().to_owned()))
}

/// Refuses the other checks of Portieris, except where they require nothing or deny. Returns whether they deny.
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
