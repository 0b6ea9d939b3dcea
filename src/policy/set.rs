//! All policies together, and which scope decides on an image.
//!
//! A set is valid as a whole or refused as a whole, and never changes afterwards. `selection` says which rules of a scope
//! decide.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::document::Document;
use super::fault::Fault;
use super::fields::MAX_PROBLEMS;
use super::notes::PolicyNote;
use super::pattern::Pattern;
use super::problem::PolicyProblem;
use super::selection::{Found, Rules, Together};
use super::{Rule, Scope};
use crate::schemes::{Check, MutateImage};
use portreeve_verify::image::Reference;
use portreeve_verify::ordered;

/// All policies: immutable, shared, and replaced as a whole.
#[derive(Debug, Default)]
pub struct PolicySet {
    namespaces: BTreeMap<String, Rules>,
    cluster: Option<Rules>,
    documents: usize,
    /// Does a rule say `mutateImage: pods`?
    pins_pods: bool,
}

/// The rules that were selected for one image.
#[derive(Debug)]
pub enum Selection<'a> {
    /// These rules decide. One of the alternatives is enough.
    Rules(Vec<Together<'a>>),
    /// More rules match than are evaluated for one image.
    TooMany,
    /// There are policies for the namespace (or the cluster), but none of their patterns matches.
    NoMatch {
        /// The scope of these policies.
        scope: Scope,
        /// The number of these policies.
        policies: usize,
    },
    /// There is no policy that could apply.
    NoPolicy,
}

impl PolicySet {
    /// The rules for an image of a workload in `namespace` (empty for none). If the namespace has an ImagePolicy, only its
    /// ImagePolicies count; otherwise the ClusterImagePolicies.
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

    /// Does a rule for this image say `mutateImage: pods`?
    pub fn pins_in_pods(&self, namespace: &str, image: &Reference) -> bool {
        let Selection::Rules(alternatives) = self.select(namespace, image) else { return false };
        let mut rules = alternatives.iter().flat_map(|together| &together.rules);
        rules.any(|rule| rule.mutate_image() == MutateImage::Pods)
    }

    /// Does any rule say `mutateImage: pods`?
    pub fn has_pinned_pods(&self) -> bool {
        self.pins_pods
    }

    /// The number of policies (documents).
    pub fn len(&self) -> usize {
        self.documents
    }

    /// Is there no policy?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rules: those of namespaces first, then those of the cluster, the most specific first.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.namespaces.values().chain(&self.cluster).flat_map(Rules::ranked).map(|ranked| &*ranked.rule)
    }

    /// The directories with trust data that they name.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let checks = self.rules().filter_map(Rule::signed).flat_map(|signed| signed.any_of.iter().flatten());
        checks.filter_map(|check| match check {
            Check::NotaryV1(rule) => rule.server.as_ref()?.directory(),
            Check::Cosign(_) => None,
        })
    }

    /// The notes on them, in the order of files and lines.
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

    /// Builds a set. Refuses a policy or a pattern of one scope that occurs twice with different requirements.
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
        let pins_pods = set.rules().any(|rule| rule.mutate_image() == MutateImage::Pods);
        set.pins_pods = pins_pods;
        if problems.is_empty() { Ok(set) } else { Err(problems) }
    }
}

impl Document {
    /// Does the other policy have the same rules?
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
        Scope::Namespace(namespace) => ["ImagePolicy ", namespace, "/", name].concat(),
        Scope::Cluster => ["ClusterImagePolicy ", name].concat(),
    }
}

#[cfg(test)]
mod tests;
