//! Strict reading of mappings: every key must be known, and every value must have the right type. All problems are
//! collected.

use std::path::Path;
use std::sync::Arc;

use super::Place;
use super::fault::Fault;
use super::owner::{Budget, Owner};
use super::problem::PolicyProblem;
use crate::base::text::nearest;
use crate::yaml::tree::{At, Node, Value};
use portreeve_verify::ordered;

/// The most problems that are reported.
pub(super) const MAX_PROBLEMS: usize = 500;
/// The longest unknown field that is compared with known ones.
const MAX_COMPARED: usize = 40;

/// The parents of fields that several schemes have.
const EITHER: &str = "policy.trust or policy.cosign";
const CHECKS: &str = "policy.trust, policy.cosign or policy.notation";

/// The mapping that each field belongs in, for messages about misplaced fields (PORTIERIS.md, fault 21: a `trust:` with the
/// wrong indentation).
const FIELD_PARENTS: &[(&str, &str)] = &[
    ("trust", "policy"),
    ("cosign", "policy"),
    ("anyOf", "policy"),
    ("notation", "policy"),
    ("mutateImage", "policy"),
    ("mode", "policy"),
    ("simple", "policy"),
    ("deny", "policy"),
    ("message", "policy.deny"),
    ("vulnerability", "policy"),
    ("va", "policy"),
    ("enabled", "policy.trust"),
    ("trustServer", "policy.trust"),
    ("signers", EITHER),
    ("signerSecrets", EITHER),
    ("roots", "policy.trust"),
    ("remap", "policy.trust"),
    ("whenUnavailable", CHECKS),
    ("maxStale", CHECKS),
    ("trustStores", "policy.notation"),
    ("trustedIdentities", "policy.notation"),
    ("verifyTimestamp", "policy.notation"),
    ("revocation", "policy.notation"),
    ("threshold", "policy.cosign"),
    ("annotations", "metadata or policy.cosign"),
    ("sameRepository", "policy.cosign"),
    ("transparencyLog", "policy.cosign"),
    ("certificateTransparency", "policy.cosign"),
    ("trustedRoot", "policy.cosign"),
    ("publicKey", "an entry of signers"),
    ("issuer", "an entry of policy.cosign.signers"),
    ("subject", "an entry of policy.cosign.signers"),
    ("certificate", "an entry of policy.trust.roots"),
    ("keyId", "an entry of policy.trust.roots"),
    ("ca", "an entry of policy.trust.roots"),
    ("prefix", "policy.trust.remap"),
    ("signedPrefix", "policy.trust.remap"),
    ("policy", "an entry of spec.repositories"),
    ("repositories", "spec"),
    ("namespace", "metadata"),
    ("name", "metadata, or an entry of a list"),
    ("apiVersion", "the document itself"),
    ("kind", "the document itself"),
    ("metadata", "the document itself"),
    ("spec", "the document itself"),
];

/// The problems in one file.
#[derive(Debug)]
pub(crate) struct Problems {
    file: Arc<Path>,
    list: Vec<PolicyProblem>,
    budget: Budget,
}

impl Problems {
    /// Of a file of the site's.
    pub(crate) fn new(file: &Path) -> Self {
        Self::within(file, Budget::of(&Owner::Site))
    }

    /// Of a file that may take what the budget has left.
    pub(crate) fn within(file: &Path, budget: Budget) -> Self {
        Self { file: file.into(), list: Vec::new(), budget }
    }

    /// What the file left.
    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// Counts signers' keys that are about to be read. Returns whether that is too many, which is reported once.
    pub(crate) fn has_too_many_keys(&mut self, more: usize, at: At) -> bool {
        let fault = self.budget.take_keys(more);
        self.report_first(fault, at)
    }

    /// The same of rules.
    pub(crate) fn has_too_many_rules(&mut self, more: usize, at: At) -> bool {
        let fault = self.budget.take_rules(more);
        self.report_first(fault, at)
    }

    fn report_first(&mut self, taken: Result<(), Option<Fault>>, at: At) -> bool {
        let Err(fault) = taken else { return false };
        if let Some(fault) = fault {
            self.report(at, fault);
        }
        true
    }

    pub(crate) fn report(&mut self, at: At, fault: Fault) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(PolicyProblem::new(self.place(at), fault));
        }
    }

    pub(crate) fn place(&self, at: At) -> Place {
        Place { file: Arc::clone(&self.file), line: at.line, column: at.column }
    }

    /// All problems, in the order of their lines.
    pub(crate) fn into_list(mut self) -> Vec<PolicyProblem> {
        let place = |problem: &PolicyProblem| (problem.place.line, problem.place.column);
        ordered::sort_by(&mut self.list, |a, b| place(a).cmp(&place(b)));
        self.list
    }

    /// The value, if it is a mapping. Unknown fields are reported, and the rest can still be read.
    pub(crate) fn mapping<'n>(
        &mut self,
        node: &'n Node,
        inside: &'static str,
        known: &[&'static str],
    ) -> Option<&'n Node> {
        let Value::Map(entries) = &node.value else {
            self.wrong_type(inside, "a mapping", node);
            return None;
        };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            if self.list.len() >= MAX_PROBLEMS {
                break;
            }
            let parent = FIELD_PARENTS.iter().find(|(field, _)| *field == key.text);
            let field = key.text.clone();
            let fault = match parent {
                Some(&(_, belongs)) => Fault::Misplaced { field, inside, belongs },
                None => {
                    let everywhere = FIELD_PARENTS.iter().map(|&(field, _)| field);
                    // A comparison costs length times length.
                    let near = field.len() <= MAX_COMPARED;
                    let suggestion = near
                        .then(|| nearest(&field, known.iter().copied()).or_else(|| nearest(&field, everywhere)))
                        .flatten();
                    Fault::Unknown { field, inside, suggestion }
                }
            };
            self.report(key.at, fault);
        }
        Some(node)
    }

    /// Reports known fields in a mapping with other, unknown fields (PORTIERIS.md, fault 21: a `trust:` that is indented too
    /// far).
    pub(crate) fn misplaced(&mut self, node: &Node, inside: &'static str, theirs: &[&str]) {
        let Value::Map(entries) = &node.value else { return };
        for (key, _) in entries.iter().filter(|(key, _)| !theirs.contains(&key.text.as_str())) {
            if let Some(&(_, belongs)) = FIELD_PARENTS.iter().find(|(field, _)| *field == key.text) {
                self.report(key.at, Fault::Misplaced { field: key.text.clone(), inside, belongs });
            }
        }
    }

    /// The entries of an optional list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, field: &'static str) -> &'n [Node] {
        match node.get(field).map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Value::List(items))) => items,
            Some((node, _)) => {
                self.wrong_type(field, "a list", node);
                &[]
            }
        }
    }

    /// The entries of an optional list of at most `limit` entries. None of a longer list is read.
    pub(crate) fn list_within<'n>(&mut self, node: &'n Node, field: &'static str, limit: usize) -> &'n [Node] {
        let items = self.list(node, field);
        if items.len() > limit {
            self.report(node.get(field).map_or(node.at, |list| list.at), Fault::TooManyEntries { field, limit });
            return &[];
        }
        items
    }

    /// Refuses those of `fields` that are written and empty: their author wants some entries, and expects a check of them.
    pub(crate) fn refuse_empty(&mut self, node: &Node, fields: &[&'static str]) {
        for &field in fields {
            if let Some(found) = node.entry(field).filter(|found| found.is_empty()) {
                self.report(found.at, Fault::EmptyList { field });
            }
        }
    }

    /// An optional string.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, field: &'static str) -> Option<(At, &'n str)> {
        let value = node.get(field)?;
        let text = value.text();
        if text.is_none() {
            self.wrong_type(field, "a string", value);
        }
        text.map(|text| (value.at, text))
    }

    /// A required string that is not empty.
    pub(crate) fn required<'n>(
        &mut self,
        node: &'n Node,
        field: &'static str,
        inside: &'static str,
    ) -> Option<(At, &'n str)> {
        let at = node.get(field).map_or(node.at, |value| value.at);
        if node.get(field).is_none_or(|value| value.text() == Some("")) {
            self.report(at, Fault::Missing { field, inside });
            return None;
        }
        self.text(node, field)
    }

    /// An optional boolean.
    pub(crate) fn boolean(&mut self, node: &Node, field: &'static str) -> Option<bool> {
        let value = node.get(field)?;
        if let Value::Bool(value) = value.value {
            return Some(value);
        }
        self.wrong_type(field, "true or false", value);
        None
    }

    /// An optional string that names one of several choices.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        field: &'static str,
        choices: &[(&str, T)],
        expected: &'static str,
    ) -> Option<T> {
        let value = node.get(field)?;
        let Some(text) = value.text() else {
            // Quotes alone would not make it one of the choices.
            self.wrong_type(field, expected, value);
            return None;
        };
        let found = choices.iter().find(|(name, _)| *name == text).map(|&(_, value)| value);
        if found.is_none() {
            self.report(value.at, Fault::Value { field, found: text.to_owned(), expected });
        }
        found
    }

    pub(crate) fn wrong_type(&mut self, field: &str, expected: &'static str, node: &Node) {
        self.report(node.at, Fault::Type { field: field.to_owned(), expected, actual: node.kind() });
    }
}
