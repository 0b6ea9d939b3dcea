//! The registry is away, and a tag's digest is remembered.

use super::*;
use crate::schemes::UnavailableRule;

const MINUTE: Duration = Duration::from_secs(60);

fn use_cached(bench: &Bench, max_stale: Duration) -> Rule {
    let when_unavailable = Some(UnavailableRule::UseCached);
    Rule { when_unavailable, max_stale: Some(max_stale), ..bench.rule() }
}

fn later(minutes: u64) -> Timestamp {
    Timestamp::now() + Duration::from_secs(60 * minutes)
}

#[test]
fn scheme_row_028_a_digest_with_evidence_needs_no_registry() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    bench.verdict().unwrap();
    bench.registry.go_away();
    let rule = bench.rule();
    let by_digest = bench.by_digest();
    for image in [by_digest.clone(), format!(":v1{by_digest}")] {
        let verified = bench.ask(&Ask::of(&image, &rule)).unwrap();
        assert_eq!((verified.freshness, verified.signers), (Freshness::Cached, vec!["alice".to_owned()]));
    }
    // The tag alone is not signed.
    unavailable(bench.verdict());
}

#[test]
fn scheme_row_132_stored_evidence_verifies_a_digest_after_a_restart_without_use_cached() {
    let options = Options { cache: true, ..Options::default() };
    let mut bench = Bench::signed(&options);
    bench.verdict().unwrap();
    bench.cosign.images.evidence.settle();
    bench.registry.go_away();
    bench.restart(&options);
    let (rule, by_digest) = (bench.rule(), bench.by_digest());
    let mut trace = Trace::default();
    let verified = bench.trace(&Ask::of(&by_digest, &rule), &mut trace).unwrap();
    assert_eq!((verified.freshness, trace.findings.len()), (Freshness::Cached, 0));
    assert_eq!(verified.digest.sha256().to_string(), bench.image.digest());
}

#[test]
fn scheme_row_029_a_tag_stands_in_by_its_remembered_digest_if_the_policy_says_so() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    let rule = use_cached(&bench, 60 * MINUTE);
    bench.registry.go_away();
    let message = unavailable(bench.ask(&Ask::of(":v1", &rule)));
    assert!(message.contains("it is not known which digest the tag had"), "{message}");
    bench.registry.come_back();
    bench.ask(&Ask::of(":v1", &rule)).unwrap();
    bench.registry.go_away();
    let verified = bench.ask(&Ask { now: later(10), ..Ask::of(":v1", &rule) }).unwrap();
    let Freshness::Stale { age } = verified.freshness else { panic!("{verified:?}") };
    assert!(age >= 9 * MINUTE && age <= 11 * MINUTE, "{age:?}");
    assert_eq!(verified.digest.sha256().to_string(), bench.image.digest());
    let message = unavailable(bench.ask(&Ask { now: later(70), ..Ask::of(":v1", &rule) }));
    assert!(message.contains("70m ago, and maxStale allows 60m"), "{message}");
    // The clock went back: the age is not known.
    let before = Timestamp::now() - Duration::from_secs(3600);
    unavailable(bench.ask(&Ask { now: before, ..Ask::of(":v1", &rule) }));
    // Under another key the digest is not verified.
    let other = Rule { signers: rule_of(&[("bob", &bench.bob)]).signers, ..use_cached(&bench, 60 * MINUTE) };
    let message = unavailable(bench.ask(&Ask::of(":v1", &other)));
    assert!(message.contains(&bench.image.digest()), "{message}");
    unavailable(bench.verdict());
}

#[test]
fn scheme_row_030_a_tag_that_moved_to_an_unsigned_image_is_not_signed() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    let rule = use_cached(&bench, 60 * MINUTE);
    bench.ask(&Ask::of(":v1", &rule)).unwrap();
    let moved = bench.registry.push_image(NAME, "v1", "another");
    let message = rejected(bench.ask(&Ask::of(":v1", &rule)), "not-signed");
    assert!(message.contains(&moved.digest()), "{message}");
    // And one that is gone does not exist.
    bench.registry.untag(NAME, "v1");
    rejected(bench.ask(&Ask::of(":v1", &rule)), "not-found");
}

#[test]
fn scheme_row_030_the_old_digest_does_not_stand_in_once_the_registry_named_another() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    let rule = use_cached(&bench, 60 * MINUTE);
    bench.ask(&Ask::of(":v1", &rule)).unwrap();
    let moved = bench.registry.push_image(NAME, "v1", "another");
    bench.attach(&moved, &bench.alice);
    for part in ["/referrers/", "/blobs/"] {
        bench.registry.misbehave(part, Fault::Status(500));
        let message = unavailable(bench.ask(&Ask::of(":v1", &rule)));
        assert!(message.contains(&format!("says that it is {} now", moved.digest())), "{part}: {message}");
        bench.registry.behave();
    }
    bench.registry.go_away();
    let verified = bench.ask(&Ask::of(":v1", &rule)).unwrap();
    assert_eq!(verified.digest.sha256().to_string(), bench.image.digest(), "it named no other digest this time");
}

#[test]
fn scheme_row_135_after_a_restart_a_tag_stands_in_within_max_stale() {
    let options = Options { cache: true, ..Options::default() };
    let mut bench = Bench::signed(&options);
    bench.verdict().unwrap();
    bench.cosign.images.evidence.settle();
    bench.registry.go_away();
    for (max_stale, stands_in) in [(60 * MINUTE, true), (5 * MINUTE, false)] {
        bench.restart(&options);
        let rule = use_cached(&bench, max_stale);
        let result = bench.ask(&Ask { now: later(10), ..Ask::of(":v1", &rule) });
        match stands_in {
            true => assert!(matches!(result.unwrap().freshness, Freshness::Stale { .. })),
            false => assert!(unavailable(result).contains("10m ago, and maxStale allows 5m")),
        }
    }
}

#[test]
fn scheme_row_136_a_tag_that_moved_is_verified_before_it_counts() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    bench.verdict().unwrap();
    let moved = bench.registry.push_image(NAME, "v1", "another");
    bench.attach(&moved, &bench.alice);
    assert_eq!(bench.verdict().unwrap().digest.sha256().to_string(), moved.digest());
}

#[test]
fn half_of_the_time_is_left_for_what_is_stored() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    let rule = use_cached(&bench, 60 * MINUTE);
    bench.ask(&Ask::of(":v1", &rule)).unwrap();
    bench.registry.misbehave("", Fault::Stall);
    let began = Instant::now();
    let verified = bench.ask(&Ask { wait: Duration::from_secs(1), ..Ask::of(":v1", &rule) }).unwrap();
    assert!(matches!(verified.freshness, Freshness::Stale { .. }));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
