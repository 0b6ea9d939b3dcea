//! Which rules of one scope decide on an image.
//!
//! Of all rules whose pattern matches, the most specific ones decide: exact patterns before patterns with a star, then those
//! with more literal characters. Equally specific rules decide together: each of them must hold. Names and the order of
//! files never matter.
//!
//! An image without a tag is evaluated by every rule that could decide on its name with some tag. The strictest of these
//! rules count, and one of them is enough. Therefore a digest does not avoid a strict rule. A release under a tag
//! counts only for the rules that decide on that tag, not for less specific rules.
//!
//! A lookup tries only patterns whose host and folder could match, so 10,000 rules for as many teams cost as little as ten.
//!
//! The people of a namespace choose images, and may write rules as well. A lookup therefore compares each rule with the image
//! once, and at most [`MAX_DELEGATED_CANDIDATES`] of a namespace's own rules with one another. The number of stars in a
//! pattern is limited where it is read.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::Document;
use super::fault::Fault;
use super::fields::MAX_PROBLEMS;
use super::notes::{MAX_NOTES, Note, PolicyNote};
use super::pattern::{self, Pattern};
use super::problem::PolicyProblem;
use super::set::describe_policy;
use super::{Mode, Requirement, Rule};
use portreeve_verify::image::{Glob, Reference};
use portreeve_verify::ordered;

/// The most rules that are compared with one another for one image.
const MAX_CANDIDATES: usize = 256;
/// The same where rules of a namespace's own ConfigMap are among them.
const MAX_DELEGATED_CANDIDATES: usize = 32;
/// The most checks that are made of one image. Each can cost requests to another server.
const MAX_ASKED: usize = 32;

/// The rules for one image.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// These rules decide. One of the alternatives is enough.
    Rules(Vec<Together<'a>>),
    /// More rules match than are evaluated.
    TooMany,
    /// No pattern matches.
    Nothing,
}

/// Rules that decide together: each must hold.
#[derive(Debug)]
pub struct Together<'a> {
    /// The rules; never empty.
    pub rules: Vec<&'a Arc<Rule>>,
    /// For an image without a tag: the tags on which more specific rules decide. A release under such a tag does not count
    /// here.
    pub except: Vec<&'a Glob>,
}

impl<'a> Together<'a> {
    fn of(rules: Vec<&'a Arc<Rule>>) -> Self {
        Self { rules, except: Vec::new() }
    }
}

/// The rules of one scope, the most specific first, with indexes for lookups.
#[derive(Debug, Default)]
pub(super) struct Rules {
    policies: usize,
    ranked: Vec<Ranked>,
    /// The ranks of patterns without a star in host and path, by `host/path`.
    by_name: HashMap<String, Vec<usize>>,
    /// The ranks of patterns with a star only in the path, by `host/folder`.
    by_folder: HashMap<String, Vec<usize>>,
    /// The ranks of patterns with a star in the host.
    any_host: Vec<usize>,
    /// Notes on what does nothing, and so is not among the rules.
    idle: Vec<PolicyNote>,
}

/// A rule among the others of its scope.
#[derive(Debug)]
pub(super) struct Ranked {
    /// Equal for equally specific rules; 0 for the most specific ones.
    pub(super) class: usize,
    pub(super) pattern: Pattern,
    pub(super) rule: Arc<Rule>,
}

impl Rules {
    /// Ranks the rules of one scope. A pattern may occur twice only with the same requirement, and is kept once.
    pub(super) fn build(documents: Vec<Document>, idle: Vec<PolicyNote>, problems: &mut Vec<PolicyProblem>) -> Self {
        let (policies, mut idle) = (documents.len(), idle);
        let has_rules = documents.iter().any(|document| !document.rules.is_empty());
        let empty = documents.iter().filter(|document| document.rules.is_empty()).take(MAX_NOTES);
        idle.extend(empty.map(|document| document.without_rules(has_rules)));
        let rules = documents.into_iter().flat_map(|document| document.rules);
        let mut sorted: Vec<(Pattern, Arc<Rule>)> = rules.collect();
        sort(&mut sorted);
        let mut each: Vec<(Pattern, Arc<Rule>)> = Vec::with_capacity(sorted.len());
        for (pattern, rule) in sorted {
            match each.last() {
                Some((known, first)) if *known == pattern => {
                    if first.requirement != rule.requirement && problems.len() < MAX_PROBLEMS {
                        let fault = Fault::PatternTwice {
                            pattern: rule.pattern.clone(),
                            policy: describe_policy(&first.scope, &first.policy),
                            first: first.place.clone(),
                        };
                        problems.push(PolicyProblem::new(rule.place.clone(), fault));
                    } else if idle.len() < MAX_NOTES {
                        let (by, place) = (first.policy_name(), first.place.clone());
                        idle.push(PolicyNote::of(&rule, Note::Repeated { pattern: rule.pattern.clone(), by, place }));
                    }
                }
                _ => each.push((pattern, rule)),
            }
        }
        Self { idle, ..Self::rank(policies, each) }
    }

    /// The rules of both, for one scope. A pattern that both have with different requirements is kept twice: as equally
    /// specific rules, both must hold.
    pub(super) fn with(&self, other: &Self) -> Self {
        let ranked = self.ranked.iter().chain(&other.ranked);
        let mut sorted: Vec<_> = ranked.map(|ranked| (ranked.pattern.clone(), Arc::clone(&ranked.rule))).collect();
        sort(&mut sorted);
        let mut idle = [self.idle.as_slice(), &other.idle].concat();
        idle.retain(|note| sorted.is_empty() || note.note != Note::DeniesAll);
        Self { idle, ..Self::rank(self.policies + other.policies, sorted) }
    }

    /// Ranks sorted rules. Of two equal ones the first is kept.
    fn rank(policies: usize, sorted: Vec<(Pattern, Arc<Rule>)>) -> Self {
        let mut rules = Self { policies, ..Self::default() };
        for (pattern, rule) in sorted {
            let class = match rules.ranked.last() {
                None => 0,
                Some(last) if last.pattern == pattern && last.rule.requirement == rule.requirement => continue,
                Some(last) => last.class + usize::from(!last.pattern.ties_with(&pattern)),
            };
            rules.ranked.push(Ranked { class, pattern, rule });
        }
        for (rank, Ranked { pattern, .. }) in rules.ranked.iter().enumerate() {
            match (pattern.exact_host(), pattern.exact_path()) {
                (Some(host), Some(path)) => rules.by_name.entry(format!("{host}/{path}")).or_default().push(rank),
                (Some(host), None) => {
                    rules.by_folder.entry(format!("{host}/{}", pattern.folder())).or_default().push(rank);
                }
                (None, _) => rules.any_host.push(rank),
            }
        }
        rules
    }

    /// The number of their policies.
    pub(super) fn policies(&self) -> usize {
        self.policies
    }

    /// Notes on what does nothing, and so is not among the rules.
    pub(super) fn idle(&self) -> &[PolicyNote] {
        &self.idle
    }

    /// All rules, the most specific first.
    pub(super) fn ranked(&self) -> &[Ranked] {
        &self.ranked
    }

    /// The rules whose patterns have the same host and path, without a star in them.
    pub(super) fn of_same_name(&self, pattern: &Pattern) -> impl Iterator<Item = &Ranked> {
        let name = pattern.exact_host().zip(pattern.exact_path()).map(|(host, path)| format!("{host}/{path}"));
        let ranks = name.and_then(|name| self.by_name.get(&name));
        ranks.into_iter().flatten().filter_map(|&rank| self.ranked.get(rank))
    }

    /// The number of rules of each folder.
    #[cfg(test)]
    pub(super) fn folders(&self) -> Vec<usize> {
        self.by_folder.values().map(Vec::len).collect()
    }

    /// The rules that decide on an image.
    pub(super) fn find(&self, image: &Reference) -> Found<'_> {
        self.find_counting(image, &mut 0)
    }

    /// The same. Adds the number of comparisons to `compared`: of patterns with the image, and of rules with one another.
    pub(super) fn find_counting(&self, image: &Reference, compared: &mut usize) -> Found<'_> {
        let candidates = self.candidates(image, compared);
        // What follows costs the square of their number, and its author may be a tenant.
        let is_delegated = candidates.iter().any(|candidate| candidate.rule.is_delegated);
        if candidates.len() > if is_delegated { MAX_DELEGATED_CANDIDATES } else { MAX_CANDIDATES } {
            return Found::TooMany;
        }
        let alternatives = match (candidates.as_slice(), image.tag()) {
            ([], _) => return Found::Nothing,
            ([only], _) => vec![Together::of(vec![&only.rule])],
            (all, Some(_)) => vec![Together::of(different(all, compared))],
            (all, None) => by_tags(all, compared),
        };
        if cost(&alternatives) > MAX_ASKED { Found::TooMany } else { Found::Rules(alternatives) }
    }

    /// The rules that could decide, by rank. Each bucket is sorted by rank, so a rule that matches every tag ends the search
    /// after its class.
    fn candidates(&self, image: &Reference, compared: &mut usize) -> Vec<&Ranked> {
        let name = image.repository();
        let (host, path) = pattern::compared(image);
        // The folders that the image lies in: `host/`, `host/a`, `host/a/b`.
        let top = name.get(..=host.len());
        let below = path.match_indices('/').filter_map(|(at, _)| name.get(..host.len() + 1 + at));
        let folders = top.into_iter().chain(below).filter_map(|folder| self.by_folder.get(folder));
        let buckets = self.by_name.get(name).into_iter().chain(folders).chain([&self.any_host]);
        let mut last = usize::MAX;
        let mut ranks = Vec::new();
        for bucket in buckets {
            for &rank in bucket {
                let Some(ranked) = self.ranked.get(rank).filter(|ranked| ranked.class <= last) else { break };
                *compared += 1;
                if ranked.pattern.matches(image) {
                    ranks.push(rank);
                    if image.tag().is_some() || ranked.pattern.matches_every_tag() {
                        last = ranked.class;
                    }
                }
            }
        }
        ordered::sort_by(&mut ranks, usize::cmp);
        ranks.iter().filter_map(|&rank| self.ranked.get(rank)).take_while(|ranked| ranked.class <= last).collect()
    }
}

/// The most checks that are made for one image.
fn cost(alternatives: &[Together<'_>]) -> usize {
    alternatives.iter().flat_map(|together| &together.rules).map(|rule| rule.cost()).sum()
}

/// A rule that could decide on an image without a tag.
struct Candidate<'a> {
    ranked: &'a Ranked,
    /// What the tags of another rule are compared with ([`Glob::probe`]); `None` if it matches every tag.
    probe: Option<String>,
    /// The same number for rules that give the same verdict.
    verdict: usize,
}

impl<'a> Candidate<'a> {
    fn new(ranked: &'a Ranked) -> Self {
        Self { ranked, probe: ranked.pattern.tags().map(Glob::probe), verdict: 0 }
    }

    /// Does it match every tag that the other matches?
    fn covers_tags_of(&self, other: &Self) -> bool {
        self.ranked.pattern.tags().is_none_or(|tags| other.probe.as_ref().is_some_and(|probe| tags.matches(probe)))
    }
}

/// For an image without a tag: an alternative for each set of tags that the rules distinguish, if one of its rules is as
/// strict as any. A rule never decides if more specific rules match every tag that it matches. The list is cut once it has
/// more checks than are made.
fn by_tags<'a>(ranked: &[&'a Ranked], compared: &mut usize) -> Vec<Together<'a>> {
    let candidates: Vec<Candidate<'_>> = ranked.iter().map(|ranked| Candidate::new(ranked)).collect();
    let class = |one: &Candidate<'_>| one.ranked.class;
    let decides = |one: &Candidate<'_>| {
        // They are sorted by class.
        let before = candidates.iter().take_while(|other| class(other) < class(one));
        !before.inspect(|_| *compared += 1).any(|other| other.covers_tags_of(one))
    };
    let decides: Vec<bool> = candidates.iter().map(decides).collect();
    let deciding = candidates.into_iter().zip(decides).filter_map(|(one, decides)| decides.then_some(one));
    let mut deciding: Vec<Candidate<'_>> = deciding.collect();
    number_verdicts(&mut deciding, compared);
    let most = deciding.iter().map(|one| one.ranked.rule.requirement.strictness()).max();
    let is_strict = |rule: &Rule| Some(rule.requirement.strictness()) == most;
    let mut lists: Vec<(Vec<usize>, Together<'_>)> = Vec::new();
    let mut asked = 0;
    for one in &deciding {
        let (mut verdicts, mut rules) = (Vec::new(), Vec::new());
        let of_class = deciding.iter().filter(|other| class(other) == class(one)).inspect(|_| *compared += 1);
        for other in of_class.filter(|other| other.covers_tags_of(one)) {
            if !verdicts.contains(&other.verdict) {
                verdicts.push(other.verdict);
                rules.push(&other.ranked.rule);
            }
        }
        if rules.iter().any(|rule| is_strict(rule)) && !lists.iter().any(|(known, _)| *known == verdicts) {
            let before = deciding.iter().filter(|other| class(other) < class(one) && is_strict(&other.ranked.rule));
            let except = before.filter_map(|other| other.ranked.pattern.tags()).collect();
            asked += rules.iter().map(|rule| rule.cost()).sum::<usize>();
            lists.push((verdicts, Together { rules, except }));
            if asked > MAX_ASKED {
                break;
            }
        }
    }
    lists.into_iter().map(|(_, together)| together).collect()
}

/// Numbers the candidates by what they say of a digest. The requirements can be long, so each is compared once with each.
fn number_verdicts(candidates: &mut [Candidate<'_>], compared: &mut usize) {
    let mut known: Vec<&Rule> = Vec::new();
    for candidate in candidates {
        let rule = &*candidate.ranked.rule;
        let same = known.iter().inspect(|_| *compared += 1).position(|known| is_same(known, rule));
        candidate.verdict = same.unwrap_or(known.len());
        if same.is_none() {
            known.push(rule);
        }
    }
}

/// The rules with different requirements. The list is cut once it has more rules than are asked.
fn different<'a>(candidates: &[&'a Ranked], compared: &mut usize) -> Vec<&'a Arc<Rule>> {
    let mut rules: Vec<&Arc<Rule>> = Vec::new();
    for Ranked { rule, .. } in candidates {
        if !rules.iter().inspect(|_| *compared += 1).any(|known| known.requirement == rule.requirement) {
            rules.push(rule);
        }
        if rules.len() > MAX_ASKED {
            break;
        }
    }
    rules
}

/// Do both give the same verdict on a digest? A check of a digest also depends on the tags of the rule.
fn is_same(one: &Rule, other: &Rule) -> bool {
    let looks_at_tags = one.signed().is_some();
    one.requirement == other.requirement && (one.tags == other.tags || !looks_at_tags)
}

/// How strict a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strictness {
    /// Nothing.
    Unchecked,
    /// A check that warns.
    Warned,
    /// A check that denies.
    Enforced,
    /// A denial.
    Denied,
}

impl Requirement {
    pub(super) fn strictness(&self) -> Strictness {
        match self {
            Self::Nothing => Strictness::Unchecked,
            Self::Denied(_) => Strictness::Denied,
            Self::Signed(signed) if signed.mode == Mode::Warn => Strictness::Warned,
            Self::Signed(_) => Strictness::Enforced,
        }
    }
}

/// The most specific first, equal ones in the order of files and lines.
fn sort(rules: &mut Vec<(Pattern, Arc<Rule>)>) {
    ordered::sort_by(rules, |(a, first), (b, second)| a.precedence(b).then_with(|| order(first).cmp(&order(second))));
}

fn order(rule: &Rule) -> (bool, &std::path::Path, usize, usize) {
    (rule.is_delegated, &rule.place.file, rule.place.line, rule.place.column)
}

#[cfg(test)]
mod tests;
