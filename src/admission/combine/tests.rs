//! Tables of verdicts, and what they come to.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use portreeve_test_support::signer::Signer;
use portreeve_verify::tuf::{Anchor, FetchError, FirstUse, Gun, MetadataName, MetadataSource, Repository, TargetQuery};

use super::*;
use crate::policy::{Place, Scope};
use crate::schemes::{Freshness, Requirement, Signed, notary};
use portreeve_verify::ordered::Set;

struct Files(BTreeMap<String, Vec<u8>>);

impl MetadataSource for Files {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        self.0.get(&name.file_stem()).cloned().ok_or(FetchError::NotFound)
    }
}

/// What a letter stands for: `A` and `B` verify different digests, `N` rejects, `U` is unavailable, `-` asks for nothing;
/// small letters only warn.
fn verdict(repository: &Arc<Repository>, scheme: &'static str, letter: char) -> RuleVerdict {
    let mode = if letter.is_lowercase() { Mode::Warn } else { Mode::Enforce };
    let requirement = match letter {
        '-' => Requirement::Nothing,
        _ => Requirement::Signed(Signed { mode, mutate_image: MutateImage::Everywhere, any_of: Vec::new() }),
    };
    let place = Place { file: Path::new("p.yaml").into(), line: 1, column: 1 };
    let (policy, pattern) = ("p".to_owned(), "*".to_owned());
    let rule = Rule {
        scope: Scope::Cluster,
        policy,
        place,
        pattern,
        tags: None,
        requirement,
        has_idle_settings: false,
        is_delegated: false,
    };
    let verified = |tag| {
        let target = repository.find_target(TargetQuery { tag: Some(tag), digest: None }, &[], now()).unwrap();
        let repository = Arc::clone(repository);
        let verified = notary::Verified { target, freshness: Freshness::Cached, repository };
        Verdict::Verified(Box::new(verified.signed_by(&[])))
    };
    let verdict = match letter.to_ascii_uppercase() {
        'A' => verified("a"),
        'B' => verified("b"),
        'N' => Verdict::Rejected { code: "no-such-tag", reason: "no".into() },
        'U' => Verdict::Unavailable { code: "trust-server", reason: "away".into() },
        _ => Verdict::Unchecked,
    };
    RuleVerdict {
        rule: Arc::new(rule),
        scheme: Some(scheme),
        subject: None,
        findings: Vec::new(),
        verdict,
        checks: Vec::new(),
    }
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

/// Alternatives, their combined verdict with the digest to pin, and how many verdicts were asked for.
const TABLE: &[(&str, &str, usize)] = &[
    ("A", "verified a", 1),
    ("N", "rejected", 1),
    ("U", "unavailable", 1),
    ("-", "unchecked", 1),
    // All of an alternative must hold; a rejection is worse than an unavailable server.
    ("AA", "verified a", 2),
    ("AN", "rejected a", 2),
    ("AU", "unavailable a", 2),
    ("UN", "rejected", 2),
    ("-A", "verified a", 2),
    ("-N", "rejected", 2),
    // All of them must name the same digest.
    ("AB", "rejected", 2),
    ("AAB", "rejected", 3),
    ("ANB", "rejected", 3),
    // One alternative is enough, and later ones are not asked for.
    ("A|N", "verified a", 1),
    ("N|A", "verified a", 2),
    ("U|B", "verified b", 2),
    ("AN|BB|A", "verified b", 4),
    ("AB|A", "verified a", 3),
    // Rejected only if every alternative is; unavailable if one could not say.
    ("N|N", "rejected", 2),
    ("N|U", "unavailable", 2),
    ("U|N", "unavailable", 2),
    ("UN|N", "rejected", 3),
    ("UN|AU|N", "unavailable a", 5),
    // What denies is worse than what warns, and its digest counts.
    ("n", "rejected", 1),
    ("aN", "rejected a", 2),
    ("An", "rejected a", 2),
    ("Ab", "rejected a", 2),
    ("ab", "rejected", 2),
    ("nU", "unavailable", 2),
    ("N|u", "unavailable", 2),
    ("n|U", "rejected", 2),
    // Nothing asked for is no verdict.
    ("", "none", 0),
    ("|", "none", 0),
    ("|A", "verified a", 1),
];

/// A repository with two tags, `a` and `b`, of different digests.
fn repository() -> Arc<Repository> {
    let signer = Signer::new_at("registry.local/plc", now());
    let repo = signer.release("a", [1; 32], 100, &[]).release("b", [2; 32], 100, &[]).publish();
    let anchor = Anchor { pins: Arc::default(), first_use: FirstUse::Allowed };
    let gun = Gun::new("registry.local/plc").unwrap();
    let mut server = Files(repo.files().clone());
    Arc::new(Repository::refresh(&mut server, &gun, &anchor, None, &Set::new(), now()).unwrap())
}

#[test]
fn alternatives_and_lists_come_to_one_verdict() {
    let repository = repository();
    for (alternatives, expected, expected_asked) in TABLE {
        for level in [Level::Checks, Level::Rules] {
            let asked = std::cell::Cell::new(0);
            let verdicts = |list: &'static str| {
                let count = |letter| {
                    asked.set(asked.get() + 1);
                    verdict(&repository, "trust", letter)
                };
                list.chars().map(count)
            };
            let combined = any_of(level, alternatives.split('|').map(verdicts));
            let word = combined.verdicts.first().map_or("none", |one| one.verdict.word());
            let pin = combined.pin.map(|pin| if *pin.digest.sha256().as_bytes() == [1; 32] { " a" } else { " b" });
            assert_eq!(format!("{word}{}", pin.unwrap_or_default()), *expected, "{alternatives}");
            assert_eq!(asked.get(), *expected_asked, "{alternatives}");
            let kept = combined.verdicts.len() + combined.tried.len();
            assert_eq!(kept, *expected_asked, "a verdict of {alternatives} was lost");
            let one = combined.into_one();
            assert_eq!(one.as_ref().map_or("none", |one| one.verdict.word()), word, "{alternatives}");
            let checks = one.map_or(0, |one| one.checks.len());
            assert_eq!(checks, if kept > 1 { kept } else { 0 }, "{alternatives}");
        }
    }
}

/// The verdict of a rule whose checks come to these verdicts, for example `cosign N | trust A`.
fn rule_verdict(checks: &str) -> RuleVerdict {
    let repository = repository();
    let check = |check: &str| {
        let (scheme, letter) = check.trim().split_once(' ').unwrap();
        let scheme = ["trust", "cosign"].into_iter().find(|known| *known == scheme).unwrap();
        let mut one = verdict(&repository, scheme, letter.chars().next().unwrap());
        if let Verdict::Verified(verified) = &mut one.verdict {
            verified.signers = vec![format!("{scheme}'s signer"), "both".to_owned()];
        }
        one
    };
    any_of(Level::Checks, checks.split('|').map(|list| list.split('+').map(check))).into_one().unwrap()
}

/// The checks in words: `trust verified`, in parentheses if the verdict does not rest on it.
fn checks(one: &RuleVerdict) -> Vec<String> {
    let words = |check: &CheckVerdict| {
        let words = format!("{} {}", check.scheme, check.verdict.word());
        if check.counts { words } else { format!("({words})") }
    };
    one.checks.iter().map(words).collect()
}

#[test]
fn scheme_row_129_any_of_is_satisfied_by_trust_when_cosign_says_no() {
    let one = rule_verdict("cosign N | trust A");
    assert_eq!((one.verdict.word(), one.scheme), ("verified", Some("trust")));
    assert_eq!(checks(&one), ["trust verified", "(cosign rejected)"]);
    assert_eq!(one.checks[1].verdict.reason(), Some("no"), "what was tried is kept");
    let deciding: Vec<_> = deciding(one.scheme, &one.verdict, &one.checks).map(|(scheme, _)| scheme).collect();
    assert_eq!(deciding, ["trust"]);
    // An alternative that holds only in part does not count either, and no signer of it is named.
    let one = rule_verdict("cosign A + cosign N | trust A");
    assert_eq!(checks(&one), ["trust verified", "(cosign rejected)", "(cosign verified)"]);
    let Verdict::Verified(verified) = &one.verdict else { panic!("{one:?}") };
    assert_eq!(verified.signers, ["trust's signer", "both"]);
}

#[test]
fn scheme_row_130_any_of_with_a_no_and_one_that_cannot_say_is_unavailable() {
    for (alternatives, expected) in
        [("cosign N | trust U", "trust: away; cosign: no"), ("trust U | cosign N", "trust: away; cosign: no")]
    {
        let one = rule_verdict(alternatives);
        assert_eq!((one.verdict.word(), one.scheme), ("unavailable", Some("trust")), "{alternatives}");
        assert_eq!(one.verdict.reason(), Some(expected), "{alternatives}");
        assert_eq!(checks(&one), ["trust unavailable", "cosign rejected"], "{alternatives}");
    }
    // A check beside `anyOf` stands in each alternative, and its reason is told once.
    let one = rule_verdict("trust U + cosign N | trust U + cosign U");
    assert_eq!(one.verdict.reason(), Some("trust: away; cosign: away; cosign: no"), "{:?}", one.verdict);
    let one = rule_verdict("cosign N | trust N");
    assert_eq!((one.verdict.word(), one.verdict.reason()), ("rejected", Some("cosign: no; trust: no")));
}

#[test]
fn scheme_row_131_schemes_side_by_side_must_verify_one_digest() {
    let one = rule_verdict("cosign A + trust A");
    let Verdict::Verified(verified) = &one.verdict else { panic!("{one:?}") };
    assert_eq!(verified.signers, ["cosign's signer", "both", "trust's signer"]);
    assert_eq!(checks(&one), ["cosign verified", "trust verified"]);
    let one = rule_verdict("cosign A + trust B");
    assert_eq!((one.verdict.word(), one.verdict.code()), ("rejected", "digests-disagree"));
    let reason = one.verdict.reason().unwrap();
    for digest in [[1; 32], [2; 32]] {
        let digest = portreeve_verify::image::Sha256::new(digest).to_string();
        assert!(reason.contains(&digest), "{reason}");
    }
    assert!(reason.starts_with("cosign: the checks of one rule") && reason.contains("; trust: "), "{reason}");
    let one = rule_verdict("cosign A + trust N");
    assert_eq!((one.verdict.word(), one.verdict.reason()), ("rejected", Some("trust: no")));
    let one = rule_verdict("cosign A + trust U");
    assert_eq!((one.verdict.word(), one.verdict.reason()), ("unavailable", Some("trust: away")));
}

/// Most rules have one check, and its verdict is the rule's.
#[test]
fn one_check_is_told_without_its_scheme() {
    for (check, reason) in [("cosign N", Some("no")), ("trust U", Some("away")), ("trust A", None)] {
        let one = rule_verdict(check);
        assert_eq!(one.verdict.reason(), reason, "{check}");
        assert_eq!(one.checks.capacity(), 0, "{check}");
        let deciding: Vec<_> = deciding(one.scheme, &one.verdict, &one.checks).map(|(scheme, _)| scheme).collect();
        assert_eq!(deciding, [check.split(' ').next().unwrap()]);
    }
}
