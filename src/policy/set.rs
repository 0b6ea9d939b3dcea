//! The policies in force, and which rule of theirs decides on an image.
//!
//! Built as a whole or not at all; then immutable. A look-up tries only patterns whose host could match.

use std::collections::{BTreeMap, HashMap};

use super::document::Document;
use super::pattern::Pattern;
use super::problem::{Fault, PolicyProblem};
use super::{Requirement, Rule, Scope};
use crate::image::Reference;

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
    /// This rule decides.
    Rule(&'a Rule),
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
    /// The rule for an image of a workload in `namespace` (empty for none): if any ImagePolicy exists for the
    /// namespace only those count, else the ClusterImagePolicies.
    pub fn select(&self, namespace: &str, image: &Reference) -> Selection<'_> {
        let (rules, scope) = match (self.namespaces.get(namespace), &self.cluster) {
            (Some(rules), _) => (rules, Scope::Namespace(namespace.to_owned())),
            (None, Some(rules)) => (rules, Scope::Cluster),
            (None, None) => return Selection::NoPolicy,
        };
        match rules.find(image) {
            Some(rule) => Selection::Rule(rule),
            None => Selection::NoMatch { scope, policies: rules.policies },
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
        self.namespaces.values().chain(&self.cluster).flat_map(|rules| rules.ranked.iter().map(|(_, rule)| rule))
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
                if !first.says_the_same(&document) {
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

/// The rules of one scope, the most specific first, and which of them could match a host.
#[derive(Debug, Default)]
struct Rules {
    policies: usize,
    ranked: Vec<(Pattern, Rule)>,
    /// Ranks by `host/path`, for patterns with a star in neither.
    by_name: HashMap<String, Vec<usize>>,
    /// Ranks by host, for patterns with a star in the path alone.
    by_host: HashMap<String, Vec<usize>>,
    /// Ranks of patterns with a star in the host.
    any_host: Vec<usize>,
}

impl Rules {
    fn build(documents: Vec<Document>, problems: &mut Vec<PolicyProblem>) -> Self {
        let policies = documents.len();
        let mut ranked: Vec<(Pattern, Rule)> = documents.into_iter().flat_map(|document| document.rules).collect();
        ranked.sort_by(|(a, first), (b, second)| {
            // Between two that are equally specific, the one that asks for a check decides, not the alphabet.
            let ties = || first.requirement.is_nothing().cmp(&second.requirement.is_nothing());
            if a.ties_with(b) { ties().then_with(|| a.precedence(b)) } else { a.precedence(b) }
        });
        let mut first_of: HashMap<&Pattern, &Rule> = HashMap::new();
        for (pattern, rule) in &ranked {
            let first = *first_of.entry(pattern).or_insert(rule);
            if first.requirement != rule.requirement {
                // The later place is told as the fault, the earlier as what it contradicts.
                let (early, late) = if order(first) <= order(rule) { (first, rule) } else { (rule, first) };
                let fault = Fault::PatternTwice {
                    pattern: late.pattern.clone(),
                    policy: describe_policy(&early.scope, &early.policy),
                    first: early.place.clone(),
                };
                problems.push(PolicyProblem::new(late.place.clone(), fault));
            }
        }
        let mut rules = Self { policies, ..Self::default() };
        for (rank, (pattern, _)) in ranked.iter().enumerate() {
            match (pattern.exact_host(), pattern.exact_path()) {
                (Some(host), Some(path)) => rules.by_name.entry(format!("{host}/{path}")).or_default().push(rank),
                (Some(host), None) => rules.by_host.entry(host.to_owned()).or_default().push(rank),
                (None, _) => rules.any_host.push(rank),
            }
        }
        rules.ranked = ranked;
        rules
    }

    /// The first by rank that matches. Each bucket is in the order of ranks, so its first match is its best.
    fn find(&self, image: &Reference) -> Option<&Rule> {
        let buckets = [
            self.by_name.get(image.name()).map_or(&[][..], Vec::as_slice),
            self.by_host.get(image.host()).map_or(&[][..], Vec::as_slice),
            self.any_host.as_slice(),
        ];
        let matches = |rank: &&usize| self.ranked.get(**rank).is_some_and(|(pattern, _)| pattern.matches(image));
        let best = buckets.iter().filter_map(|ranks| ranks.iter().find(matches)).min()?;
        self.ranked.get(*best).map(|(_, rule)| rule)
    }
}

impl Requirement {
    /// Does it ask for nothing?
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

fn order(rule: &Rule) -> (&std::path::Path, usize, usize) {
    (&rule.place.file, rule.place.line, rule.place.column)
}

/// `ImagePolicy line-1/plant-floor`, `ClusterImagePolicy default`.
pub(crate) fn describe_policy(scope: &Scope, name: &str) -> String {
    match scope {
        Scope::Namespace(namespace) => format!("ImagePolicy {namespace}/{name}"),
        Scope::Cluster => format!("ClusterImagePolicy {name}"),
    }
}
