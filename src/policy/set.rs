//! The policies in force, and whose rules decide on an image.
//!
//! Built as a whole or not at all; then immutable. Which rules of a scope decide is said in `selection`.

use std::collections::{BTreeMap, HashMap};

use super::document::Document;
use super::fields::MAX_PROBLEMS;
use super::notes::PolicyNote;
use super::pattern::Pattern;
use super::problem::{Fault, PolicyProblem};
use super::selection::{Found, Rules, Together};
use super::{Rule, Scope};
use portreeve_verify::image::Reference;
use portreeve_verify::ordered;

/// All policies in force: immutable, shared, replaced as a whole.
#[derive(Debug, Default)]
pub struct PolicySet {
    namespaces: BTreeMap<String, Rules>,
    cluster: Option<Rules>,
    documents: usize,
}

/// What selection found for one image.
#[derive(Debug)]
pub enum Selection<'a> {
    /// These rules decide; one of the elements is enough.
    Rules(Vec<Together<'a>>),
    /// More rules match than are ever asked about one image.
    TooMany,
    /// There are policies for the namespace (or the cluster), but no pattern of theirs matches.
    NoMatch {
        /// Whose policies were looked at.
        scope: Scope,
        /// How many policies that were.
        policies: usize,
    },
    /// There is no policy at all that could apply.
    NoPolicy,
}

impl PolicySet {
    /// The rules for an image of a workload in `namespace` (empty for none): if any ImagePolicy exists for the
    /// namespace only those count, else the ClusterImagePolicies.
    pub fn select(&self, namespace: &str, image: &Reference) -> Selection<'_> {
        let own = self.namespaces.get(namespace);
        let Some(rules) = own.or(self.cluster.as_ref()) else {
            return Selection::NoPolicy;
        };
        match rules.find(image) {
            Found::Rules(alternatives) => Selection::Rules(alternatives),
            Found::TooMany => Selection::TooMany,
            Found::Nothing => {
                let scope = own.map_or(Scope::Cluster, |_| Scope::Namespace(namespace.to_owned()));
                Selection::NoMatch { scope, policies: rules.policies() }
            }
        }
    }

    /// How many policies (documents) are in force.
    pub fn len(&self) -> usize {
        self.documents
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rules, those that come first first, cluster last: for listing them, and to see which secrets they name.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.namespaces.values().chain(&self.cluster).flat_map(Rules::ranked).map(|ranked| &*ranked.rule)
    }

    /// What is legal in them and was probably not meant, in the order of files and lines.
    pub fn notes(&self) -> Vec<PolicyNote> {
        let mut notes = Vec::new();
        for rules in self.namespaces.values().chain(&self.cluster) {
            rules.notes(&mut notes);
        }
        ordered::sort_by(&mut notes, |a: &PolicyNote, b| {
            let place = |note: &PolicyNote| (note.place.line, note.place.column);
            a.place.file.cmp(&b.place.file).then(place(a).cmp(&place(b)))
        });
        notes
    }

    /// Puts policies together. Refuses one policy twice and one pattern twice in a scope, unless they say the same.
    pub(crate) fn build(documents: Vec<Document>) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let mut scopes: BTreeMap<Scope, Vec<Document>> = BTreeMap::new();
        let mut known: HashMap<(Scope, String), usize> = HashMap::new();
        let mut count = 0;
        for document in documents {
            let identity = (document.scope.clone(), document.name.clone());
            let siblings = scopes.entry(document.scope.clone()).or_default();
            if let Some(first) = known.get(&identity).and_then(|&index| siblings.get(index)) {
                if !first.says_the_same(&document) && problems.len() < MAX_PROBLEMS {
                    let policy = describe_policy(&document.scope, &document.name);
                    let fault = Fault::PolicyTwice { policy, first: first.place.clone() };
                    problems.push(PolicyProblem::new(document.place, fault));
                }
                continue;
            }
            known.insert(identity, siblings.len());
            siblings.push(document);
            count += 1;
        }
        let mut set = Self { documents: count, ..Self::default() };
        for (scope, documents) in scopes {
            let rules = Rules::build(documents, &mut problems);
            match scope {
                Scope::Cluster => set.cluster = Some(rules),
                Scope::Namespace(name) => {
                    set.namespaces.insert(name, rules);
                }
            }
        }
        if problems.is_empty() { Ok(set) } else { Err(problems) }
    }
}

impl Document {
    /// Does a copy of this policy ask for exactly the same, wherever it stands?
    fn says_the_same(&self, other: &Self) -> bool {
        let same = |((a, first), (b, second)): (&(Pattern, Rule), &(Pattern, Rule))| {
            a == b && first.requirement == second.requirement
        };
        self.rules.len() == other.rules.len() && self.rules.iter().zip(&other.rules).all(same)
    }
}

/// `ImagePolicy line-1/plant-floor`, `ClusterImagePolicy default`.
pub(crate) fn describe_policy(scope: &Scope, name: &str) -> String {
    match scope {
        Scope::Namespace(namespace) => format!("ImagePolicy {namespace}/{name}"),
        Scope::Cluster => format!("ClusterImagePolicy {name}"),
    }
}

#[cfg(test)]
mod tests;
