//! The namespaces' own policies. Below one directory, each namespace has a directory, in which its ConfigMap is mounted.
//!
//! Namespaces are isolated from one another and from the site. If a namespace's policies cannot be used, its last good ones
//! stay in force. If there are none, every image of that namespace is denied: its ClusterImagePolicies could ask for less. A
//! ConfigMap that is absent or empty holds no policies, so that the ClusterImagePolicies count.

use std::mem;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::{fs, io};

use super::fault::Fault;
use super::load::{Entries, entry_names, problem};
use super::owner::Owner;
use super::problem::PolicyProblem;
use super::selection::Rules;
use super::set::PolicySet;
use super::source::{Files, Reader};
use crate::kube::object_name::is_dns_label;
use portreeve_verify::text::printable;

/// The most namespaces with a directory.
const MAX_NAMESPACES: usize = 1_000;
/// The most characters of a fault in the denial of an image.
const FAULT_CHARACTERS: usize = 600;

/// The namespaces that have a directory of their own, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(Vec<(String, Own)>);

/// The policies of one namespace.
#[derive(Clone, Debug, Default)]
struct Own {
    reader: Reader,
    /// The policies in force.
    rules: Option<Arc<Rules>>,
    state: NamespaceState,
    /// What is wrong with its files; empty if nothing is.
    fault: String,
}

/// The state of a namespace's own policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespaceState {
    /// There are none.
    #[default]
    Absent,
    /// They are in force.
    InForce,
    /// They cannot be used. What was in force before stays in force.
    LastGood,
    /// They cannot be used, and there are no earlier ones. Every image of the namespace is denied.
    Denied,
}

/// A change of a namespace's own policies.
#[derive(Debug)]
pub struct NamespaceChange {
    /// The namespace.
    pub namespace: String,
    /// The number of its policies, or why they cannot be used.
    pub result: Result<usize, Vec<PolicyProblem>>,
    /// The state since the change.
    pub state: NamespaceState,
}

impl Namespaces {
    /// The state of each namespace.
    pub fn states(&self) -> impl Iterator<Item = (&str, NamespaceState)> {
        self.0.iter().map(|(namespace, own)| (namespace.as_str(), own.state))
    }

    /// Has the namespace a directory of its own?
    pub fn has(&self, namespace: &str) -> bool {
        self.get(namespace).is_some()
    }

    fn get(&self, namespace: &str) -> Option<&Own> {
        let at = self.0.binary_search_by(|(name, _)| name.as_str().cmp(namespace)).ok()?;
        self.0.get(at).map(|(_, own)| own)
    }

    /// Why every image of the namespace is denied, if it is.
    pub(super) fn denied(&self, namespace: &str) -> Option<&str> {
        let own = self.get(namespace)?;
        (own.state == NamespaceState::Denied).then_some(&*own.fault)
    }

    /// Is there a namespace of which every image is denied?
    pub(super) fn any_denied(&self) -> bool {
        self.0.iter().any(|(_, own)| own.state == NamespaceState::Denied)
    }

    /// The rules in force, by namespace.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&str, &Arc<Rules>)> {
        self.0.iter().filter_map(|(namespace, own)| Some((namespace.as_str(), own.rules.as_ref()?)))
    }

    /// The namespaces of a set in which every policy is a namespace's own.
    pub(super) fn of(set: PolicySet) -> Self {
        let own = |rules| Own {
            reader: Reader::default(),
            rules: Some(rules),
            state: NamespaceState::InForce,
            fault: String::new(),
        };
        Self(set.into_namespaces().into_iter().map(|(namespace, rules)| (namespace, own(rules))).collect())
    }

    /// Reads the policies of each namespace whose files changed. Returns what changed.
    pub(super) fn check(&mut self, root: Option<&Path>) -> Vec<NamespaceChange> {
        let mut changes = Vec::new();
        let Some(root) = root else { return changes };
        // The site's problems say why it cannot be read. Until it can be, everything stays as it is.
        let Some(names) = find(root).0 else { return changes };
        let gone = |namespace| NamespaceChange { namespace, result: Ok(0), state: NamespaceState::Absent };
        // Both are in the order of the names.
        let mut old = mem::take(&mut self.0).into_iter().peekable();
        for namespace in names {
            while let Some((name, _)) = old.next_if(|(name, _)| *name < namespace) {
                changes.push(gone(name));
            }
            let known = old.next_if(|(name, _)| *name == namespace).map(|(_, own)| own);
            let (own, change) = Own::check(&namespace, &root.join(&namespace), known);
            changes.extend(change);
            self.0.push((namespace, own));
        }
        old.for_each(|(name, _)| changes.push(gone(name)));
        changes
    }
}

impl Own {
    fn check(namespace: &str, directory: &Path, known: Option<Self>) -> (Self, Option<NamespaceChange>) {
        let owner = Owner::Namespace(namespace.to_owned());
        let directory = directory.to_owned();
        let files = Files { owner: &owner, directories: slice::from_ref(&directory), namespaces: None };
        let is_first = known.is_none();
        let mut known = known.unwrap_or_default();
        let was_retried = known.reader.is_retrying();
        let Some(result) = known.reader.check(&files, None) else { return (known, None) };
        let mut own = Self { reader: known.reader.clone(), ..Self::default() };
        let result = match result {
            Ok(set) => {
                let policies = set.len();
                own.rules = set.into_namespaces().remove(namespace);
                if own.rules.is_some() {
                    own.state = NamespaceState::InForce;
                }
                Ok(policies)
            }
            Err(mut problems) => {
                problems.truncate(super::fields::MAX_PROBLEMS);
                own.fault =
                    problems.first().map(|first| printable(&first.to_string(), FAULT_CHARACTERS)).unwrap_or_default();
                // To have had no policies is not a good state to go back to, unless only the reading failed.
                let is_last = !is_first && (known.rules.is_some() || own.reader.is_retrying());
                let last = is_last.then_some(&known);
                own.state = match last {
                    Some(last) if last.state != NamespaceState::Denied => NamespaceState::LastGood,
                    _ => NamespaceState::Denied,
                };
                own.rules = last.and_then(|last| last.rules.clone());
                Err(problems)
            }
        };
        let is_same = was_retried && known.fault == own.fault && known.state == own.state;
        let is_told = is_same || (is_first && own.state == NamespaceState::Absent);
        let state = own.state;
        (own, (!is_told).then(|| NamespaceChange { namespace: namespace.to_owned(), result, state }))
    }
}

/// The namespaces with a directory below this one, in their order, and the problems of what else is there. `None`: the
/// directory cannot be read, and the problem says why.
pub(super) fn find(root: &Path) -> (Option<Vec<String>>, Vec<PolicyProblem>) {
    let entries = match entry_names(root, MAX_NAMESPACES) {
        Ok(entries) => entries,
        Err(Entries::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(Entries::Unreadable(error)) => return (None, vec![problem(root, Fault::Io(error))]),
        Err(Entries::TooMany) => {
            let fault = Fault::TooManyEntries { field: "namespacePolicies", limit: MAX_NAMESPACES };
            return (None, vec![problem(root, fault)]);
        }
    };
    let (mut names, mut problems) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = root.join(&entry);
        // What cannot be looked at may be a directory.
        let is_other = fs::metadata(&path).is_ok_and(|found| !found.is_dir());
        match entry.to_str() {
            Some(name) if is_dns_label(name) && !is_other => names.push(name.to_owned()),
            _ => problems.push(problem(&path, Fault::NotANamespace)),
        }
    }
    (Some(names), problems)
}

#[cfg(test)]
mod tests;
