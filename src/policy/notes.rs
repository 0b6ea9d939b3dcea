//! Notes on policies: settings that are valid and probably not intended. A set with notes is used.

use std::fmt;

use super::owner::{CONFIG_MAP, NAMESPACE};
use super::pattern::Pattern;
use super::selection::{Found, Ranked, Rules, Strictness};
use super::{Place, Requirement, Rule, Scope};
use crate::schemes::notary::trust_server::DOCKER_HUB_ENDS;
use crate::schemes::{Check, notary};
use portreeve_verify::image::DOCKER_HUB;
use portreeve_verify::text::printable;

/// The most notes on one set.
pub(super) const MAX_NOTES: usize = 200;
/// The most comparisons of patterns for the notes on one set. Thousands of rules for one name would take minutes otherwise.
const MAX_COMPARED: usize = 2_000_000;
/// Tags that represent all other tags.
const OTHER_TAGS: [&str; 3] = ["other", "unsigned", "0"];

/// A note and its place. Displayed as `file:line:column: note`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyNote {
    /// Where.
    pub place: Place,
    /// The namespace, if it is on a namespace's own ConfigMap.
    pub own: Option<String>,
    /// What.
    pub note: Note,
}

impl PolicyNote {
    pub(super) fn of(rule: &Rule, note: Note) -> Self {
        let own = match &rule.scope {
            Scope::Namespace(namespace) if rule.is_delegated => Some(namespace.clone()),
            _ => None,
        };
        Self { place: rule.place.clone(), own, note }
    }
}

/// A setting that was probably not intended. Patterns are as written. `Display` is safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The pattern looks like a registry, and names a repository of Docker Hub.
    HubRepository {
        /// The pattern.
        pattern: String,
        /// What it names.
        named: String,
        /// The pattern that was probably intended.
        meant: String,
    },
    /// Another pattern is more specific for every image that this one matches.
    NeverDecides {
        /// The pattern.
        pattern: String,
        /// The pattern that decides instead.
        by: String,
        /// The place of that pattern.
        place: Place,
    },
    /// This pattern checks some tags of an image, and a less strict rule lets the other tags in.
    OtherTags {
        /// The pattern.
        pattern: String,
        /// An image that it does not match.
        image: String,
        /// The pattern that decides on that image.
        by: String,
        /// The place of that pattern.
        place: Place,
        /// Does that rule warn?
        warned: bool,
    },
    /// Every image that no other pattern matches is let in unchecked.
    EverythingUnchecked {
        /// The policy.
        policy: String,
        /// The number of other policies of the same scope. The policy may be left from the installation.
        beside: usize,
    },
    /// The same pattern, with the same requirement, stands elsewhere in the same scope: this entry does nothing.
    Repeated {
        /// The pattern.
        pattern: String,
        /// The policy that has it.
        by: String,
        /// The place of that entry.
        place: Place,
    },
    /// The policy stands elsewhere with the same rules: this copy does nothing.
    PolicyRepeated {
        /// The policy.
        policy: String,
        /// The place of the other copy.
        place: Place,
    },
    /// The policy has no rules, and stands beside policies of the same scope that have some: it does nothing.
    NoRules {
        /// The policy.
        policy: String,
    },
    /// The policy has no rules, and nor has any other of its scope.
    DeniesAll,
    /// The name of a ConfigMap of policies, or its namespace, is not that of the site's.
    OtherConfigMap {
        /// Its namespace and its name.
        found: String,
    },
    /// The policy is for the namespace of Portreeve, whose workloads are never sent to it.
    ExemptNamespace {
        /// The policy.
        policy: String,
    },
    /// The rule of a wide pattern has settings for a check, and requires no check.
    IdleSettings {
        /// The pattern.
        pattern: String,
    },
    /// No image that the pattern matches is under the prefix of its `remap`.
    IdleRemap {
        /// The pattern.
        pattern: String,
        /// The prefix.
        prefix: String,
    },
    /// The rule needs trust data and names no server, and Docker Hub's server ends.
    HubServerEnds,
    /// `sameRepository` asks for something that only signatures of cosign's old format have.
    SameRepository,
    /// `certificateTransparency` is `ignored`: a certificate counts that no log of certificates has.
    NoCertificateTransparency,
    /// `trustedIdentities` is `*`: whoever has a certificate of the trust stores' CAs counts as a signer.
    AnyIdentity,
    /// The trust server's address is probably wrong.
    Server {
        /// The address.
        server: String,
        /// What is wrong with it.
        slip: &'static str,
    },
}

impl Rules {
    /// Adds the notes on these rules. Returns the number of comparisons of patterns.
    pub(super) fn notes(&self, notes: &mut Vec<PolicyNote>) -> usize {
        let mut compared = 0;
        notes.extend(self.idle().iter().take(MAX_NOTES.saturating_sub(notes.len())).cloned());
        // A namespace's people may write rules that are costly to compare, and change them often.
        let is_delegated = self.ranked().iter().any(|ranked| ranked.rule.is_delegated);
        let most_compared = if is_delegated { MAX_COMPARED / 20 } else { MAX_COMPARED };
        for ranked in self.ranked() {
            if notes.len() >= MAX_NOTES {
                break;
            }
            let Ranked { pattern, rule, .. } = ranked;
            let among_tags = (compared < most_compared).then(|| self.among_tags(ranked, &mut compared)).flatten();
            let of_trust = idle_remap(pattern, rule).or_else(|| server(pattern, rule));
            let (of_signatures, of_certificates) = (of_signatures(rule), of_certificates(rule));
            let hub = hub_repository(pattern, rule);
            let all = [hub, among_tags, self.unchecked(ranked), of_trust, of_signatures, of_certificates];
            notes.extend(all.into_iter().flatten().map(|note| PolicyNote::of(rule, note)));
        }
        compared
    }

    fn among_tags(&self, ranked: &Ranked, compared: &mut usize) -> Option<Note> {
        self.never_decides(ranked, compared).or_else(|| self.other_tags(ranked, compared))
    }

    /// A pattern without a star precedes every pattern with one: with `plc`, the pattern `plc:v*` never decides.
    fn never_decides(&self, ranked: &Ranked, compared: &mut usize) -> Option<Note> {
        let of_name = self.of_same_name(&ranked.pattern).inspect(|_| *compared += 1);
        let first = of_name
            .take_while(|other| other.class < ranked.class)
            .find(|other| other.pattern.covers(&ranked.pattern))?;
        Some(Note::NeverDecides {
            pattern: ranked.rule.pattern.clone(),
            by: first.rule.pattern.clone(),
            place: first.rule.place.clone(),
        })
    }

    /// The rule that lets every image in unchecked, if there is one, and policies beside the one that has it. It may be left
    /// from the installation.
    pub(super) fn lets_everything_in_beside_others(&self) -> bool {
        self.policies() > 1 && self.ranked().iter().any(is_everything_unchecked)
    }

    fn unchecked(&self, ranked: &Ranked) -> Option<Note> {
        let Ranked { pattern, rule, .. } = ranked;
        if rule.has_idle_settings && pattern.is_wide() && matches!(rule.requirement, Requirement::Nothing) {
            return Some(Note::IdleSettings { pattern: rule.pattern.clone() });
        }
        is_everything_unchecked(ranked).then(|| Note::EverythingUnchecked {
            policy: rule.policy_name(),
            beside: self.policies().saturating_sub(1),
        })
    }

    /// A check of some tags, and a less strict rule for the others.
    fn other_tags(&self, ranked: &Ranked, compared: &mut usize) -> Option<Note> {
        let strictness = ranked.rule.requirement.strictness();
        if !matches!(strictness, Strictness::Warned | Strictness::Enforced) {
            return None;
        }
        let image = OTHER_TAGS.iter().find_map(|tag| ranked.pattern.sibling(tag))?;
        let Found::Rules(lists) = self.find_counting(&image, compared) else { return None };
        let rules = &lists.first()?.rules;
        let found = rules.iter().map(|rule| rule.requirement.strictness()).max()?;
        let by = rules.first().filter(|_| found < strictness)?;
        Some(Note::OtherTags {
            pattern: ranked.rule.pattern.clone(),
            image: image.to_string(),
            by: by.pattern.clone(),
            place: by.place.clone(),
            warned: found == Strictness::Warned,
        })
    }
}

fn is_everything_unchecked(ranked: &Ranked) -> bool {
    matches!(ranked.rule.requirement, Requirement::Nothing) && ranked.pattern.is_everything()
}

/// `icr.io*`, `registry.local:9001`, `localhost`: a pattern without a slash names a repository of Docker Hub.
fn hub_repository(pattern: &Pattern, rule: &Rule) -> Option<Note> {
    let typed = rule.pattern.as_str();
    if typed.contains('/') || typed.contains('@') {
        return None;
    }
    let (name, tag) = typed.rsplit_once(':').unwrap_or((typed, ""));
    let digits = tag.trim_end_matches('*');
    let is_port = (4..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !(name.contains('.') || name == "localhost" || is_port) {
        return None;
    }
    let bare = |text: &str| text.trim_end_matches(['*', ':']).trim_end_matches('.').to_owned();
    let is_tag = !digits.is_empty() && !is_port;
    let meant = if is_tag { format!("{}/*:{tag}", bare(name)) } else { format!("{}/*", bare(typed)) };
    Some(Note::HubRepository { pattern: typed.to_owned(), named: pattern.to_string(), meant })
}

fn idle_remap(pattern: &Pattern, rule: &Rule) -> Option<Note> {
    let mut remaps = notary_rules(rule).filter_map(|check| check.remap.as_ref());
    let remap = remaps.find(|remap| !pattern.reaches(&remap.prefix))?;
    Some(Note::IdleRemap { pattern: rule.pattern.clone(), prefix: remap.prefix.clone() })
}

fn server(pattern: &Pattern, rule: &Rule) -> Option<Note> {
    let slip = notary_rules(rule).filter_map(|check| check.server.as_ref()).find_map(|server| {
        let slip = server.slip()?;
        Some(Note::Server { server: server.to_string(), slip })
    });
    slip.or_else(|| needs_hub_server(pattern, rule).then_some(Note::HubServerEnds))
}

/// Does every alternative ask for trust data of Docker Hub, from the server that is the default?
fn needs_hub_server(pattern: &Pattern, rule: &Rule) -> bool {
    let is_of_hub = |check: &notary::Rule| match &check.remap {
        Some(remap) => remap.signed_prefix.split('/').next() == Some(DOCKER_HUB),
        None => pattern.exact_host() == Some(DOCKER_HUB),
    };
    rule.signed().is_some_and(|signed| {
        signed
            .any_of
            .iter()
            .all(|checks| checks.iter().filter_map(notary_rule).any(|check| check.server.is_none() && is_of_hub(check)))
    })
}

fn of_signatures(rule: &Rule) -> Option<Note> {
    rule.signed()?.any_of.iter().flatten().find_map(|check| match check {
        Check::Cosign(rule) if rule.same_repository => Some(Note::SameRepository),
        Check::Notation(rule) if rule.identity_texts.iter().any(|text| text == "*") => Some(Note::AnyIdentity),
        _ => None,
    })
}

fn of_certificates(rule: &Rule) -> Option<Note> {
    let mut checks = rule.signed()?.any_of.iter().flatten();
    let is_ignored = checks.any(|check| matches!(check, Check::Cosign(rule) if rule.ignores_certificate_transparency));
    is_ignored.then_some(Note::NoCertificateTransparency)
}

/// The checks of Notary v1 trust data.
fn notary_rules(rule: &Rule) -> impl Iterator<Item = &notary::Rule> {
    rule.signed().into_iter().flat_map(|signed| signed.any_of.iter().flatten()).filter_map(notary_rule)
}

fn notary_rule(check: &Check) -> Option<&notary::Rule> {
    match check {
        Check::NotaryV1(rule) => Some(rule),
        Check::Cosign(_) | Check::Notation(_) => None,
    }
}

impl fmt::Display for PolicyNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.note)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| format!("\"{}\"", printable(text, 120));
        match self {
            Self::HubRepository { pattern, named, meant } => write!(
                f,
                "pattern {} names a repository of Docker Hub, {named}; if a registry is meant, write {}",
                quoted(pattern),
                quoted(meant)
            ),
            Self::NeverDecides { pattern, by, place } => write!(
                f,
                "pattern {} never decides: {} ({place}) has no star, matches the same images and comes first",
                quoted(pattern),
                quoted(by)
            ),
            Self::OtherTags { pattern, image, by, place, warned } => write!(
                f,
                "pattern {} asks for a check of some tags; {} ({place}) lets {image} in {}",
                quoted(pattern),
                quoted(by),
                if *warned { "with a warning at most" } else { "unchecked" }
            ),
            Self::EverythingUnchecked { beside: 0, .. } => {
                f.write_str("every image that no other pattern matches is let in unchecked, from any registry")
            }
            Self::EverythingUnchecked { policy, beside } => write!(
                f,
                "{policy} stands beside {beside} other {}, and lets in unchecked every image that they do not name; if it is \
                 left from the installation, remove it",
                if *beside == 1 { "policy" } else { "policies" }
            ),
            Self::Repeated { pattern, by, place } => write!(
                f,
                "pattern {} does nothing here: {by} ({place}) has it with the same policy; remove one of the two",
                quoted(pattern)
            ),
            Self::PolicyRepeated { policy, place } => {
                write!(f, "{policy} does nothing here: {place} has the same; remove one of the two")
            }
            Self::NoRules { policy } => write!(
                f,
                "{policy} does nothing: its list of repositories is empty, and the policies beside it decide; alone, it would \
                 deny every image"
            ),
            Self::DeniesAll => f.write_str("this policy has no repositories: every image is denied"),
            Self::OtherConfigMap { found } => write!(
                f,
                "ConfigMap {} is not read: the site's policies are in ConfigMap {CONFIG_MAP} of namespace {NAMESPACE}, if that is \
                 Portreeve's",
                printable(found, 320)
            ),
            Self::ExemptNamespace { policy } => write!(
                f,
                "{policy} does nothing: it is for Portreeve's own namespace, whose workloads are never checked"
            ),
            Self::IdleSettings { pattern } => write!(
                f,
                "the policy of pattern {} has settings and asks for no check: these images are let in unchecked; write \
                 \"trust: {{ enabled: true }}\", \"cosign\" or \"notation\" to have them checked",
                quoted(pattern)
            ),
            Self::IdleRemap { pattern, prefix } => write!(
                f,
                "remap changes no image of pattern {}: none is under its prefix {}",
                quoted(pattern),
                quoted(prefix)
            ),
            Self::HubServerEnds => write!(
                f,
                "this rule names no trust server and needs Docker's, unless trust.servers of the configuration names another \
                 one for docker.io. {DOCKER_HUB_ENDS}"
            ),
            Self::SameRepository => f.write_str(
                "with \"sameRepository\", only signatures of cosign's old format count: bundles, which cosign 3 makes if it is \
                 called without --new-bundle-format=false, do not name a repository",
            ),
            Self::NoCertificateTransparency => f.write_str(
                "with \"certificateTransparency: ignored\", a certificate counts that no log of certificates has: nobody notices one \
                 that the certificate authority should not have issued; write it only for an authority without such a log",
            ),
            Self::AnyIdentity => f.write_str(
                "with the identity \"*\", every signer counts that has a certificate under the trust stores; to name the signers, \
                 write their subjects: \"x509.subject: C=US, ST=WA, O=Plant\"",
            ),
            Self::Server { server, slip } => write!(f, "{}: {slip}", printable(server, 200)),
        }
    }
}

#[cfg(test)]
mod tests;
