//! Notes on policies: settings that are valid and probably not intended. A set with notes is used.

use std::fmt;

use super::pattern::Pattern;
use super::selection::{Found, Ranked, Rules, Strictness};
use super::{Place, Requirement, Rule};
use crate::schemes::notary::trust_server::DOCKER_HUB as DOCKER_HUB_SERVER;
use crate::schemes::{Check, notary};
use portreeve_verify::image::DOCKER_HUB;
use portreeve_verify::text::printable;

/// The most notes on one set.
const MAX_NOTES: usize = 200;
/// The most comparisons of patterns for the notes on one set. Thousands of rules for one name would take minutes otherwise.
const MAX_COMPARED: usize = 2_000_000;
/// Tags that represent all other tags.
const OTHER_TAGS: [&str; 3] = ["other", "unsigned", "0"];

/// A note and its place. Displayed as `file:line:column: note`.
#[derive(Debug, PartialEq, Eq)]
pub struct PolicyNote {
    /// Where.
    pub place: Place,
    /// What.
    pub note: Note,
}

/// A setting that was probably not intended. Patterns are as written. `Display` is safe to print.
#[derive(Debug, PartialEq, Eq)]
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
    EverythingUnchecked,
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
    /// The rule names no server, and Docker Hub's server ends soon.
    HubServerEnds,
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
        for ranked in self.ranked() {
            if notes.len() >= MAX_NOTES {
                break;
            }
            let Ranked { pattern, rule, .. } = ranked;
            let among_tags = (compared < MAX_COMPARED).then(|| self.among_tags(ranked, &mut compared)).flatten();
            let of_trust = idle_remap(pattern, rule).or_else(|| server(pattern, rule));
            let all = [hub_repository(pattern, rule), among_tags, unchecked(pattern, rule), of_trust];
            notes.extend(all.into_iter().flatten().map(|note| PolicyNote { place: rule.place.clone(), note }));
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

fn unchecked(pattern: &Pattern, rule: &Rule) -> Option<Note> {
    if !matches!(rule.requirement, Requirement::Nothing) || !pattern.is_wide() {
        return None;
    }
    if rule.has_idle_settings {
        return Some(Note::IdleSettings { pattern: rule.pattern.clone() });
    }
    pattern.is_everything().then_some(Note::EverythingUnchecked)
}

fn idle_remap(pattern: &Pattern, rule: &Rule) -> Option<Note> {
    let mut remaps = notary_rules(rule).filter_map(|check| check.remap.as_ref());
    let remap = remaps.find(|remap| !pattern.reaches(&remap.prefix))?;
    Some(Note::IdleRemap { pattern: rule.pattern.clone(), prefix: remap.prefix.clone() })
}

fn server(pattern: &Pattern, rule: &Rule) -> Option<Note> {
    notary_rules(rule).find_map(|check| match (&check.server, &check.remap) {
        (Some(server), _) => server.slip().map(|slip| Note::Server { server: server.to_string(), slip }),
        (None, Some(remap)) => {
            remap.signed_prefix.starts_with(&format!("{DOCKER_HUB}/")).then_some(Note::HubServerEnds)
        }
        (None, None) => (pattern.exact_host() == Some(DOCKER_HUB)).then_some(Note::HubServerEnds),
    })
}

/// The checks of Notary v1 trust data.
fn notary_rules(rule: &Rule) -> impl Iterator<Item = &notary::Rule> {
    rule.signed().into_iter().flat_map(|signed| signed.any_of.iter().flatten()).filter_map(|check| match check {
        Check::NotaryV1(rule) => Some(rule),
        Check::Cosign(_) => None,
    })
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
            Self::EverythingUnchecked => {
                f.write_str("every image that no other pattern matches is let in unchecked, from any registry")
            }
            Self::IdleSettings { pattern } => write!(
                f,
                "the policy of pattern {} has settings and asks for no check: these images are let in unchecked; write \
                 \"trust: {{ enabled: true }}\" to have them checked",
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
                "this rule names no trust server: unless trust.servers of the configuration names one for docker.io, it \
                 asks {DOCKER_HUB_SERVER}, which ends on 8 December 2026; then these images are denied: sign them on a trust \
                 server of your own"
            ),
            Self::Server { server, slip } => write!(f, "{}: {slip}", printable(server, 200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::check_data;

    /// The notes on rules `pattern policy`, without their places.
    fn notes(rules: &[(&str, &str)]) -> Vec<String> {
        let mut text =
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: c}\nspec:\n  repositories:\n"
                .to_owned();
        for (pattern, policy) in rules {
            text.push_str(&format!("  - {{name: \"{pattern}\", policy: {{{policy}}}}}\n"));
        }
        let set = check_data(&BTreeMap::from([("p.yaml".to_owned(), text)])).unwrap();
        set.notes().iter().map(ToString::to_string).collect()
    }

    const TRUST: &str = "trust: {enabled: true, trustServer: \"https://n.local\"}";
    const WARN: &str = "mode: warn, trust: {enabled: true, trustServer: \"https://n.local\"}";
    const NOTHING: &str = "trust: {enabled: false}";

    #[test]
    fn a_pattern_that_looks_like_a_registry_is_told_from_one() {
        for (pattern, named, meant) in [
            ("icr.io*", "docker.io/library/icr.io*", "icr.io/*"),
            ("icr.io", "docker.io/library/icr.io", "icr.io/*"),
            ("*.icr.io", "docker.io/library/*.icr.io", "*.icr.io/*"),
            ("registry.local:9001", "docker.io/library/registry.local:9001", "registry.local:9001/*"),
            ("registry.local:9001*", "docker.io/library/registry.local:9001*", "registry.local:9001/*"),
            ("registry.local:*", "docker.io/library/registry.local", "registry.local/*"),
            ("registry:5000", "docker.io/library/registry:5000", "registry:5000/*"),
            ("localhost", "docker.io/library/localhost", "localhost/*"),
            ("registry.local:v1", "docker.io/library/registry.local:v1", "registry.local/*:v1"),
            ("quay.io*:v*", "docker.io/library/quay.io*:v*", "quay.io/*:v*"),
        ] {
            let expected = format!(
                "p.yaml:6:5: pattern \"{pattern}\" names a repository of Docker Hub, {named}; if a registry is meant, write \
                 \"{meant}\""
            );
            assert_eq!(notes(&[(pattern, TRUST)])[0], expected);
        }
        for pattern in ["nginx", "nginx:1.25", "nginx*", "*nginx", "ubuntu:22", "icr.io/*", "plant/plc", "*"] {
            let found = notes(&[(pattern, TRUST)]);
            assert!(!found.iter().any(|note| note.contains("names a repository")), "{pattern}: {found:?}");
        }
    }

    #[test]
    fn other_tags_of_what_is_checked_are_told() {
        assert_eq!(
            notes(&[("r.io/plc:v*", TRUST), ("r.io/*", NOTHING)]),
            [
                "p.yaml:6:5: pattern \"r.io/plc:v*\" asks for a check of some tags; \"r.io/*\" (p.yaml:7:5) lets r.io/plc:other \
              in unchecked"
            ]
        );
        assert!(notes(&[("r.io/plc:o*", TRUST), ("r.io/*", NOTHING)])[0].contains("r.io/plc:unsigned in unchecked"));
        assert!(notes(&[("r.io/plc:v*", TRUST), ("r.io/*", WARN)])[0].ends_with("in with a warning at most"));
        assert!(
            notes(&[("r.io/plc/*:v*", WARN), ("r.io/plc*", NOTHING)])[0].contains("lets r.io/plc/x:other in unchecked")
        );
        for rules in [
            &[("r.io/plc:v*", TRUST)][..],
            &[("r.io/plc:v*", TRUST), ("r.io/*", TRUST)],
            &[("r.io/plc:v*", WARN), ("r.io/*", TRUST)],
            &[("r.io/plc*", TRUST), ("r.io/*", NOTHING)],
            &[("r.io/plc:v*", NOTHING), ("r.io/*", NOTHING)],
            &[("r.io/plc:v*", "deny: {message: old}"), ("r.io/*", NOTHING)],
            &[("r.io/plc:v*", TRUST), ("r.io/*", "deny: {message: old}")],
        ] {
            assert_eq!(notes(rules), Vec::<String>::new());
        }
    }

    #[test]
    fn a_rule_that_never_decides_is_told() {
        let expected = "p.yaml:6:5: pattern \"r.io/plc:v*\" never decides: \"r.io/plc\" (p.yaml:7:5) has no star, matches the \
                        same images and comes first";
        assert_eq!(notes(&[("r.io/plc:v*", TRUST), ("r.io/plc", NOTHING)]), [expected]);
        assert_eq!(notes(&[("r.io/plc:v1", TRUST), ("r.io/plc", TRUST), ("r.io/*", TRUST)]), Vec::<String>::new());
        // One digest is not all of them.
        let digest = format!("r.io/plc@sha256:{}", "0".repeat(64));
        assert_eq!(notes(&[("r.io/plc:v*", TRUST), (&digest, TRUST)]), Vec::<String>::new());
    }

    #[test]
    fn what_lets_much_in_unchecked_is_told() {
        for policy in ["mutateImage: true", "mode: warn", "mutateImage: false, trust: {enabled: false}"] {
            for pattern in ["*", "r.io/*", "*.io/plant/*"] {
                assert!(notes(&[(pattern, policy)])[0].contains("asks for no check"), "{pattern} {policy}");
            }
            assert_eq!(notes(&[("r.io/plant/*", policy)]), Vec::<String>::new());
        }
        assert!(notes(&[("*", NOTHING)])[0].ends_with("is let in unchecked, from any registry"));
        assert_eq!(notes(&[("r.io/*", NOTHING), ("*", TRUST), ("*/*", TRUST)]), Vec::<String>::new());
    }

    #[test]
    fn trust_servers_that_end_or_look_odd_are_told() {
        let trust = |more: &str| format!("trust: {{enabled: true, {more}}}");
        let hub = "8 December 2026";
        let remap = "remap: {prefix: \"r.io/hub/\", signedPrefix: \"docker.io/\"}";
        for (pattern, policy, expected) in [
            (
                "docker.io/*",
                trust("roots: [{keyId: a111111111111111111111111111111111111111111111111111111111111111}]"),
                hub,
            ),
            ("nginx", trust("trustServer: \"\""), hub),
            ("r.io/*", trust("trustServer: \"https://notary.docker.io\""), hub),
            ("r.io/hub/*", trust(remap), hub),
            ("r.io/*", trust("trustServer: \"https://n.io/v2/\""), "ends before /v2"),
        ] {
            let found = notes(&[(pattern, &policy)]);
            assert!(found.len() == 1 && found[0].contains(expected), "{pattern} {policy}: {found:?}");
        }
        let idle =
            ["p.yaml:6:5: remap changes no image of pattern \"r.io/plant/*\": none is under its prefix \"r.io/hub/\""];
        assert_eq!(notes(&[("r.io/plant/*", &trust(remap))]), idle);
        for pattern in ["other.io/hub/*", "r.io:5000/hub/*", "r.io/hub", "r.io/hubs*", "*.r.io/*"] {
            assert!(notes(&[(pattern, &trust(remap))])[0].contains("remap changes no image"), "{pattern}");
        }
        for pattern in ["r.io/*", "r.io:443/hub/nginx:v*", "*/hub/*", "r.io/h*", "r.io/*/nginx", "r.io/hub/a/b", "*"] {
            assert!(notes(&[(pattern, &trust(remap))])[0].contains(hub), "{pattern}");
        }
        assert_eq!(notes(&[("docker.io/*", TRUST), ("r.io/*", &trust("trustServer: \"\""))]), Vec::<String>::new());
    }

    #[test]
    fn a_flood_of_notes_is_cut() {
        let patterns: Vec<String> = (0..1_000).map(|n| format!("r{n}.io")).collect();
        let rules: Vec<(&str, &str)> = patterns.iter().map(|pattern| (pattern.as_str(), TRUST)).collect();
        assert!((200..205).contains(&notes(&rules).len()));
    }
    /// One ConfigMap has room for thousands of rules for one name, and each would be compared with all others.
    #[test]
    fn a_crowd_of_rules_for_one_name_takes_no_minutes() {
        const RULES: usize = 4_000;
        let mut text =
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: c}\nspec:\n  repositories:\n"
                .to_owned();
        (0..RULES).for_each(|n| text.push_str(&format!("  - {{name: \"r.io/a:v{n:05}*\", policy: {{{TRUST}}}}}\n")));
        let (documents, _) = crate::policy::document::read_text(&text, std::path::Path::new("f"));
        let rules = Rules::build(documents, &mut Vec::new());
        assert_eq!(rules.ranked().len(), RULES);
        let compared = rules.notes(&mut Vec::new());
        assert!((MAX_COMPARED..MAX_COMPARED + 2 * RULES).contains(&compared), "{compared}");
    }
}
