//! The policies in force, and which rule of theirs decides on an image.
//!
//! Built as a whole or not at all; then immutable. A look-up tries only patterns whose host and folder could match, so
//! that 10,000 rules for as many teams cost no more than ten.

use std::collections::{BTreeMap, HashMap};

use super::document::Document;
use super::pattern::{self, Pattern};
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
        let own = self.namespaces.get(namespace);
        let Some(rules) = own.or(self.cluster.as_ref()) else {
            return Selection::NoPolicy;
        };
        match rules.find(image) {
            Some(rule) => Selection::Rule(rule),
            None => {
                let scope = own.map_or(Scope::Cluster, |_| Scope::Namespace(namespace.to_owned()));
                Selection::NoMatch { scope, policies: rules.policies }
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

/// The rules of one scope, the most specific first, and where to look for those that could match.
#[derive(Debug, Default)]
struct Rules {
    policies: usize,
    ranked: Vec<(Pattern, Rule)>,
    /// Ranks by `host/path`, for patterns with a star in neither.
    by_name: HashMap<String, Vec<usize>>,
    /// Ranks by `host/folder`, for patterns with a star in the path alone.
    by_folder: HashMap<String, Vec<usize>>,
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
                (Some(host), None) => {
                    rules.by_folder.entry(format!("{host}/{}", pattern.folder())).or_default().push(rank);
                }
                (None, _) => rules.any_host.push(rank),
            }
        }
        rules.ranked = ranked;
        rules
    }

    /// The first by rank that matches. Each bucket is in the order of ranks, so its first match is its best.
    fn find(&self, image: &Reference) -> Option<&Rule> {
        let (host, path) = pattern::compared(image);
        let name = format!("{host}/{path}");
        // The folders that the image lies in: `host/`, `host/a`, `host/a/b`.
        let top = name.get(..=host.len());
        let below = path.match_indices('/').filter_map(|(at, _)| name.get(..host.len() + 1 + at));
        let folders = top.into_iter().chain(below).filter_map(|folder| self.by_folder.get(folder));
        let buckets = self.by_name.get(&name).into_iter().chain(folders).chain([&self.any_host]);
        let matches = |rank: &&usize| self.ranked.get(**rank).is_some_and(|(pattern, _)| pattern.matches(image));
        let best = buckets.filter_map(|ranks| ranks.iter().find(matches)).min()?;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::document::read_text;
    use crate::policy::load::finish;

    /// Documents of `kind namespace/name: pattern=+ pattern=-`, `+` asking for trust; one file a document.
    fn build(policies: &[&str]) -> Result<PolicySet, Vec<String>> {
        let mut documents = Vec::new();
        let mut problems = Vec::new();
        for (index, policy) in policies.iter().enumerate() {
            let (identity, patterns) = policy.split_once(": ").unwrap();
            let (kind, metadata) = match identity.split_once('/') {
                Some((namespace, name)) => ("ImagePolicy", format!("{{name: {name}, namespace: {namespace}}}")),
                None => ("ClusterImagePolicy", format!("{{name: {identity}}}")),
            };
            let mut text = format!("apiVersion: portreeve/v1\nkind: {kind}\nmetadata: {metadata}\nspec:\n");
            text.push_str(if patterns == "-" { "  repositories: []\n" } else { "  repositories:\n" });
            for pattern in patterns.split(' ').filter(|pattern| *pattern != "-") {
                let (pattern, asks) = pattern.split_once('=').unwrap();
                text.push_str(&format!(
                    "  - {{name: \"{pattern}\", policy: {{trust: {{enabled: {}}}}}}}\n",
                    asks == "+"
                ));
            }
            let (read, found) = read_text(&text, Path::new(&format!("f{index}")));
            documents.extend(read);
            problems.extend(found.into_list());
        }
        finish(documents, problems).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn select<'a>(set: &'a PolicySet, namespace: &str, image: &str) -> Selection<'a> {
        set.select(namespace, &Reference::parse(image).unwrap())
    }

    fn chosen(set: &PolicySet, namespace: &str, image: &str) -> String {
        match select(set, namespace, image) {
            Selection::Rule(rule) => rule.pattern.clone(),
            Selection::NoMatch { scope, policies } => format!("{scope:?} {policies}"),
            Selection::NoPolicy => "no policy".into(),
        }
    }

    #[test]
    fn the_namespace_hides_the_cluster() {
        let set = build(&["cluster: *=+", "line-1/a: reg.io/a=+", "line-1/b: reg.io/b=-", "empty/x: -"]).unwrap();
        assert_eq!(set.len(), 4);
        assert_eq!(set.rules().count(), 3);
        assert_eq!(chosen(&set, "line-1", "reg.io/a"), "reg.io/a");
        assert_eq!(chosen(&set, "line-1", "reg.io/b"), "reg.io/b");
        assert_eq!(chosen(&set, "line-1", "reg.io/c"), "Namespace(\"line-1\") 2", "though the cluster's would match");
        assert_eq!(chosen(&set, "empty", "reg.io/a"), "Namespace(\"empty\") 1");
        assert_eq!(chosen(&set, "line-2", "reg.io/a"), "*");
        assert_eq!(chosen(&set, "", "reg.io/a"), "*");
    }

    #[test]
    fn no_policy_is_told_from_no_match() {
        assert_eq!(chosen(&PolicySet::default(), "a", "nginx"), "no policy");
        assert!(PolicySet::default().is_empty());
        let set = build(&["other/a: *=-"]).unwrap();
        assert_eq!(chosen(&set, "a", "nginx"), "no policy");
        assert_eq!(chosen(&build(&["c: -"]).unwrap(), "a", "nginx"), "Cluster 1");
    }

    #[test]
    fn the_most_specific_rule_decides_whatever_the_order() {
        let policies = [
            "a: *=- reg.io/*=- reg.io/team/*=+",
            "b: reg.io/team/app=- reg.io/team/app:v1=+ *.io/team/special*=-",
            "c: *.io/*=- docker.io/*=+",
        ];
        let expected = [
            ("reg.io/team/app:v1", "reg.io/team/app:v1"),
            ("reg.io/team/app:v2", "reg.io/team/app"),
            ("reg.io/team/x", "reg.io/team/*"),
            ("reg.io/x", "reg.io/*"),
            ("nginx", "docker.io/*"),
            ("quay.com/x", "*"),
            ("quay.io/x", "*.io/*"),
            ("quay.io/team/specialist", "*.io/team/special*"),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let set = build(&order.map(|index| policies[index])).unwrap();
            for (image, pattern) in expected {
                assert_eq!(chosen(&set, "n", image), pattern, "{image}");
            }
        }
    }

    #[test]
    fn of_two_equally_specific_the_stricter_decides() {
        for policies in [["a: reg.io/*b=+", "b: reg.io/b*=-"], ["a: reg.io/*b=-", "b: reg.io/b*=+"]] {
            let set = build(&policies).unwrap();
            let Selection::Rule(rule) = select(&set, "n", "reg.io/bob") else { panic!() };
            assert!(!rule.requirement.is_nothing());
        }
    }

    #[test]
    fn contradictions_name_both_places() {
        let problems = build(&["a: reg.io/x=+", "b: other.io/y=- REG.io/x:*=-"]).unwrap_err();
        assert_eq!(
            problems,
            ["f1:7:5: pattern \"REG.io/x:*\" asks for something else than the same pattern in ClusterImagePolicy a, \
              f0:6:5; keep one of them"]
        );
        let problems = build(&["n/a: x=+", "n/a: x=-"]).unwrap_err();
        assert_eq!(
            problems,
            ["f1:1:1: ImagePolicy n/a stands twice, first in f0:1:1; give each policy a name of its own"]
        );
        assert_eq!(build(&["n/a: x=+ docker.io/x=-"]).unwrap_err().len(), 1);
    }

    /// `reg.io:443` is the same registry, so that the port must not lead past its rule to a laxer one.
    #[test]
    fn the_default_port_escapes_no_rule() {
        let set = build(&["c: reg.io/*=+ reg.io/app=+ hub.io:443/*=+ docker.io/library/*=+ *=-"]).unwrap();
        for (image, pattern) in [
            ("reg.io:443/x", "reg.io/*"),
            ("REG.io:443/app:v1", "reg.io/app"),
            ("hub.io/x", "hub.io:443/*"),
            ("index.docker.io:443/library/nginx", "docker.io/library/*"),
            ("reg.io:5000/x", "*"),
        ] {
            assert_eq!(chosen(&set, "n", image), pattern, "{image}");
        }
        assert_eq!(build(&["a: reg.io/x=+ reg.io:443/x=-"]).unwrap_err().len(), 1, "one pattern, two demands");
    }

    #[test]
    fn what_says_the_same_may_stand_twice() {
        let set = build(&["n/a: x=+", "n/a: x=+", "n/b: docker.io/library/x=+", "m/a: x=-", "a: x=-"]).unwrap();
        assert_eq!(set.len(), 4);
        assert_eq!(chosen(&set, "n", "x"), "x");
    }

    /// The buckets find what trying every rule in turn finds.
    #[test]
    fn the_index_agrees_with_trying_every_rule() {
        let patterns = "* a.io/* a.io/x a.io/x:1 a.io/x* *.io/x *.io/*:1 x docker.io/* b.io/x/* a.io/t* a.io/t/* \
                        a.io/t/u* a.io/t/u/* a.io/*/v a.io/t/*/w:1 t/* li* *.io/t/u/*";
        let text: Vec<String> =
            patterns.split(' ').enumerate().map(|(n, p)| format!("{p}={}", ["+", "-"][n % 2])).collect();
        let set = build(&[&format!("c: {}", text.join(" "))]).unwrap();
        let ranked = &set.cluster.as_ref().unwrap().ranked;
        let images = "a.io/x a.io/x:1 a.io/xy:1 b.io/x b.io/x/y:1 x y c.com/x a.io/y:1 a.io/t a.io/tt/v a.io/t/v \
                      a.io/t/uu a.io/t/u/v a.io:443/t/u/w:1 a.io/t/w:1 t/u b.io/t/u/v";
        for image in images.split(' ') {
            let reference = Reference::parse(image).unwrap();
            let first = ranked.iter().find(|(pattern, _)| pattern.matches(&reference)).map(|(_, rule)| rule);
            let Selection::Rule(found) = set.select("n", &reference) else { panic!("{image}") };
            assert_eq!(Some(found), first, "{image}");
        }
    }

    /// Of many teams' rules, those of other folders are not even tried.
    #[test]
    fn a_folder_has_only_its_own_rules() {
        let teams: Vec<String> = (0..300).map(|team| format!("a.io/team-{team}/app*=+")).collect();
        let set = build(&[&format!("c: {} a.io/t*=-", teams.join(" "))]).unwrap();
        let rules = set.cluster.as_ref().unwrap();
        assert_eq!(rules.by_folder.len(), 301);
        assert!(rules.by_folder.values().all(|ranks| ranks.len() == 1));
        assert_eq!(chosen(&set, "n", "a.io/team-7/app-1"), "a.io/team-7/app*");
        assert_eq!(chosen(&set, "n", "a.io/team-7/other"), "a.io/t*");
    }
}
