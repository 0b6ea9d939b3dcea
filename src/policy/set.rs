//! All policies together, and which scope decides on an image.
//!
//! A set is valid as a whole or refused as a whole, and never changes afterwards. `selection` says which rules of a scope
//! decide.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::document::{Document, Ruled};
use super::fault::Fault;
use super::fields::MAX_PROBLEMS;
use super::namespaces::Namespaces;
use super::notes::{MAX_NOTES, Note, PolicyNote};
use super::problem::PolicyProblem;
use super::selection::{Found, Rules, Together};
use super::{Rule, Scope};
use crate::schemes::{Check, MutateImage};
use portreeve_verify::image::Reference;
use portreeve_verify::ordered;
use portreeve_verify::ordered::Map;

/// All policies: immutable, shared, and replaced as a whole.
#[derive(Debug, Default)]
pub struct PolicySet {
    namespaces: Map<String, Arc<Rules>>,
    cluster: Option<Arc<Rules>>,
    documents: usize,
    /// Does a rule say `mutateImage: pods`?
    pins_pods: bool,
    /// The namespaces with a directory of their own.
    mounted: Namespaces,
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
    /// The namespace's own policies cannot be used, and there are no earlier ones. The text says what is wrong with them.
    Unusable(&'a str),
}

impl PolicySet {
    /// The rules for an image of a workload in `namespace` (empty for none). If the namespace has an ImagePolicy, only its
    /// ImagePolicies count; otherwise the ClusterImagePolicies.
    pub fn select(&self, namespace: &str, image: &Reference) -> Selection<'_> {
        if let Some(fault) = self.mounted.denied(namespace) {
            return Selection::Unusable(fault);
        }
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

    /// Does a rule for this image say `mutateImage: pods`, or can nobody say?
    pub fn pins_in_pods(&self, namespace: &str, image: &Reference) -> bool {
        match self.select(namespace, image) {
            Selection::Rules(alternatives) => {
                let mut rules = alternatives.iter().flat_map(|together| &together.rules);
                rules.any(|rule| rule.mutate_image() == MutateImage::Pods)
            }
            // Nobody can say: the image is verified, and denied.
            Selection::TooMany | Selection::Unusable(_) => true,
            Selection::NoMatch { .. } | Selection::NoPolicy => false,
        }
    }

    /// Does a rule for some image of this namespace say `mutateImage: pods`, or can nobody say?
    pub fn has_pinned_pods_in(&self, namespace: &str) -> bool {
        let rules = self.namespaces.get(namespace).or(self.cluster.as_ref());
        let mut ranked = rules.into_iter().flat_map(|rules| rules.ranked());
        self.mounted.denied(namespace).is_some() || ranked.any(|one| one.rule.mutate_image() == MutateImage::Pods)
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
        self.shared_rules().map(|rule| &**rule)
    }

    /// The same, to be shared with another set.
    pub(super) fn shared_rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.scopes().flat_map(|rules| rules.ranked()).map(|ranked| &ranked.rule)
    }

    /// The directories with trust data that they name.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let checks = self.rules().filter_map(Rule::signed).flat_map(|signed| signed.any_of.iter().flatten());
        checks.filter_map(|check| match check {
            Check::NotaryV1(rule) => rule.server.as_ref()?.directory(),
            Check::Cosign(_) | Check::Notation(_) => None,
        })
    }

    /// The notes on them: those on the site's policies first, in the order of files and lines.
    pub fn notes(&self) -> Vec<PolicyNote> {
        let mut notes = Vec::new();
        for rules in self.scopes() {
            rules.notes(&mut notes);
        }
        ordered::sort_by(&mut notes, |a: &PolicyNote, b| {
            let place = |note: &PolicyNote| (note.place.line, note.place.column);
            let whose = a.own.cmp(&b.own);
            whose.then_with(|| a.place.file.cmp(&b.place.file)).then(place(a).cmp(&place(b)))
        });
        notes
    }

    /// The note on the policies of Portreeve's own namespace, which do nothing.
    pub fn exempt(&self, own_namespace: &str) -> Option<PolicyNote> {
        let rule = &self.namespaces.get(own_namespace)?.ranked().first()?.rule;
        Some(PolicyNote::of(rule, Note::ExemptNamespace { policy: rule.policy_name() }))
    }

    /// Does a ClusterImagePolicy let every image in unchecked, beside others that ask for more? It may be left from the
    /// installation. And in how many namespaces is it so with an ImagePolicy?
    pub fn everything_unchecked_beside_others(&self) -> (bool, usize) {
        let is_so = |rules: &Arc<Rules>| rules.lets_everything_in_beside_others();
        (self.cluster.as_ref().is_some_and(is_so), self.namespaces.values().filter(|rules| is_so(rules)).count())
    }

    /// The rules of each scope: the namespaces first, then the cluster.
    fn scopes(&self) -> impl Iterator<Item = &Rules> {
        self.namespaces.values().chain(&self.cluster).map(|rules| &**rules)
    }

    /// The namespaces that have a directory of their own for their policies, with the state of each.
    pub fn mounted(&self) -> &Namespaces {
        &self.mounted
    }

    /// Is one of the site's policies in a file of this name?
    pub(crate) fn has_file(&self, name: &str) -> bool {
        let is_named = |rule: &Rule| rule.place.file.file_name().is_some_and(|file| file == name);
        self.rules().any(|rule| !rule.is_delegated && is_named(rule))
    }

    /// This set, in which every policy is the site's, together with the namespaces' own policies.
    pub(super) fn with(&self, mounted: Namespaces) -> Self {
        let (mut namespaces, mut documents) = (self.namespaces.clone(), self.documents);
        for (namespace, own) in mounted.rules() {
            documents += own.policies();
            match namespaces.get_mut(namespace) {
                Some(rules) => *rules = Arc::new(rules.with(own)),
                None => drop(namespaces.insert(namespace.to_owned(), Arc::clone(own))),
            }
        }
        Self { namespaces, cluster: self.cluster.clone(), documents, pins_pods: false, mounted }.noting_pins()
    }

    /// The rules of each namespace.
    pub(super) fn into_namespaces(self) -> Map<String, Arc<Rules>> {
        self.namespaces
    }

    /// Builds a set. Refuses a policy or a pattern of one scope that occurs twice with different requirements.
    pub(crate) fn build(documents: Vec<Document>) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let mut scopes: Map<Scope, (Vec<Document>, Vec<PolicyNote>)> = Map::new();
        let mut known: HashMap<(Scope, String), usize> = HashMap::new();
        let mut count = 0;
        for document in documents {
            let identity = (document.scope.clone(), document.name.clone());
            let (siblings, idle) = scopes.get_or_default(document.scope.clone());
            if let Some(first) = known.get(&identity).and_then(|&index| siblings.get(index)) {
                let (policy, place) = (document.described(), first.place.clone());
                if first.says_the_same(&document) {
                    if idle.len() < MAX_NOTES {
                        idle.push(document.noted(Note::PolicyRepeated { policy, place }));
                    }
                } else if problems.len() < MAX_PROBLEMS {
                    let fault = Fault::PolicyTwice { policy, first: place };
                    problems.push(PolicyProblem::new(document.place, fault));
                }
                continue;
            }
            known.insert(identity, siblings.len());
            siblings.push(document);
            count += 1;
        }
        let mut set = Self { documents: count, ..Self::default() };
        for (scope, (documents, idle)) in scopes {
            let rules = Arc::new(Rules::build(documents, idle, &mut problems));
            match scope {
                Scope::Cluster => set.cluster = Some(rules),
                Scope::Namespace(name) => {
                    set.namespaces.insert(name, rules);
                }
            }
        }
        if problems.is_empty() { Ok(set.noting_pins()) } else { Err(problems) }
    }

    fn noting_pins(mut self) -> Self {
        // Policies that cannot be used may say so as well.
        self.pins_pods = self.mounted.any_denied() || self.rules().any(|rule| rule.mutate_image() == MutateImage::Pods);
        self
    }
}

impl Document {
    /// The policy, for messages.
    fn described(&self) -> String {
        describe_policy(&self.scope, &self.name)
    }

    fn noted(&self, note: Note) -> PolicyNote {
        let own = match &self.scope {
            Scope::Namespace(namespace) if self.is_delegated => Some(namespace.clone()),
            _ => None,
        };
        PolicyNote { place: self.place.clone(), own, note }
    }

    /// The note on a policy without rules, beside policies of its scope that have some, or alone.
    pub(super) fn without_rules(&self, others_have: bool) -> PolicyNote {
        self.noted(if others_have { Note::NoRules { policy: self.described() } } else { Note::DeniesAll })
    }

    /// Does the other policy have the same rules?
    fn says_the_same(&self, other: &Self) -> bool {
        let same = |((a, first), (b, second)): (&Ruled, &Ruled)| a == b && first.requirement == second.requirement;
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
