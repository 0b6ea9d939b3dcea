//! Stored data: when it is used while the server is away or after a restart, and when it never is.

use super::*;

#[test]
fn stored_data_stands_in_only_as_far_as_the_question_allows() {
    let mut bench = Bench::new(Duration::from_secs(30));
    let ask = |when_unavailable| Ask { signers: &["alice"], when_unavailable, ..Ask::default() };
    bench.ask(&ask(WhenUnavailable::Deny)).unwrap();
    bench.age_by(Duration::from_secs(60));
    bench.server.stop();
    unavailable(bench.ask(&ask(WhenUnavailable::Deny)));
    assert!(unavailable(bench.ask(&ask(stale(10)))).contains("maxStale"));
    let Freshness::Stale { age } = freshness(&bench.ask(&ask(stale(3600)))) else { panic!("it was not stored data") };
    assert!(age >= Duration::from_secs(60) && age < Duration::from_secs(120), "{age:?}");
    // Expired metadata never counts, however fresh the confirmation.
    let late = Timestamp::now() + Duration::from_secs(20 * 86_400);
    assert!(matches!(rejection(bench.ask(&Ask { now: late, ..ask(stale(u64::MAX)) })), Rejection::Expired { .. }));
    // Data that does not hold the role that is asked for is no answer.
    let other = Ask { signers: &["alice", "bob"], ..ask(stale(3600)) };
    assert!(unavailable(bench.ask(&other)).contains("nothing is stored"));
}

#[test]
fn a_server_that_hangs_leaves_stored_data_its_time() {
    let bench = Bench::new(Duration::ZERO);
    bench.ask(&Ask::default()).unwrap();
    bench.server.misbehave("timestamp", Fault::Stall);
    let started = Instant::now();
    let ask = Ask { when_unavailable: stale(3600), wait: Duration::from_secs(2), ..Ask::default() };
    assert!(matches!(freshness(&bench.ask(&ask)), Freshness::Stale { .. }));
    assert!(started.elapsed() < Duration::from_millis(1800), "{:?}", started.elapsed());
}

#[test]
fn a_server_that_rejects_itself_is_not_stood_in_for() {
    let bench = Bench::new(Duration::ZERO);
    bench.ask(&Ask::default()).unwrap();
    bench.server.misbehave("timestamp", Fault::Body("{\"signed\":{},\"signatures\":[]}"));
    rejection(bench.ask(&Ask { when_unavailable: stale(3600), ..Ask::default() }));
}

#[test]
fn a_restart_while_the_server_is_away_still_admits() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    let ask = |when_unavailable| Ask { signers: &["alice"], when_unavailable, ..Ask::default() };
    bench.ask(&ask(WhenUnavailable::Deny)).unwrap();
    bench.server.misbehave("", Fault::Status(503));
    bench.restart(Some(&cache));
    unavailable(bench.ask(&ask(WhenUnavailable::Deny)));
    let found = bench.ask(&ask(stale(3600)));
    let Freshness::Stale { age } = freshness(&found) else { panic!("{found:?}") };
    assert!(age < Duration::from_secs(60), "{age:?}");
    // Too old, from the future, or expired.
    let at =
        |seconds: i64| Ask { now: Timestamp::now() + jiff::SignedDuration::from_secs(seconds), ..ask(stale(3600)) };
    assert!(unavailable(bench.ask(&at(3700))).contains("maxStale allows 60m"));
    assert!(unavailable(bench.ask(&at(-3600))).contains("nothing is stored"));
    let late = Ask { when_unavailable: stale(u64::MAX), ..at(20 * 86_400) };
    assert!(matches!(rejection(bench.ask(&late)), Rejection::Expired { .. }));
    // No stored data is used for a role that was not stored, or under pins that the stored root does not meet.
    unavailable(bench.ask(&Ask { signers: &["bob"], ..ask(stale(3600)) }));
    bench.anchor.pins = vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::new([7; 32]))].into();
    assert!(matches!(rejection(bench.ask(&ask(stale(3600)))), Rejection::RootNotTrusted { .. }));
    bench.anchor.pins =
        vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::from_hex(&bench.repo.root_key_id()).unwrap())].into();
    assert!(matches!(freshness(&bench.ask(&ask(stale(3600)))), Freshness::Stale { .. }));
    // Without the cache nothing is known.
    bench.restart(None);
    assert!(unavailable(bench.ask(&ask(stale(3600)))).contains("nothing is stored"));
}

#[test]
fn a_server_that_hangs_leaves_stored_data_its_time_after_a_restart() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    bench.restart(Some(&cache));
    bench.server.misbehave("timestamp", Fault::Stall);
    let started = Instant::now();
    let ask = Ask { when_unavailable: stale(3600), wait: Duration::from_secs(2), ..Ask::default() };
    assert!(matches!(freshness(&bench.ask(&ask)), Freshness::Stale { .. }));
    assert!(started.elapsed() < Duration::from_millis(1800), "{:?}", started.elapsed());
}

#[test]
fn a_restart_costs_the_timestamp_alone() {
    let mut bench = Bench::new(LONG);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    let ask = Ask { signers: &["alice"], ..Ask::default() };
    bench.ask(&ask).unwrap();
    bench.restart(Some(&cache));
    bench.server.forget_requests();
    assert_eq!(freshness(&bench.ask(&ask)), Freshness::Fetched);
    assert_eq!(bench.server.round_trips(), ["GET timestamp"]);
    // A stored generation is no word of the server's: a bad server is not hidden by it.
    bench.restart(Some(&cache));
    bench.server.misbehave("timestamp", Fault::Body("{}"));
    rejection(bench.ask(&Ask { when_unavailable: stale(3600), ..ask }));
}

#[test]
fn what_was_superseded_neither_serves_nor_stands_in() {
    let bench = Bench::new(Duration::from_secs(600));
    bench.ask(&Ask::default()).unwrap();
    bench.age_by(RECHECK_AFTER + Duration::from_secs(1));
    let next = bench.repo.update(|signer| signer.remove_target("targets/releases", "v1").touch("targets"));
    bench.server.publish(&next);
    // Another query asks the server again, and sees that there is a newer publication, but not what is in it.
    bench.server.misbehave("/targets.", Fault::Status(500));
    let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
    assert!(bench.ask(&Ask { tag: "v9", when_unavailable: stale(3600), ..Ask::default() }).is_err());
    let said = unavailable(bench.ask(&stored));
    assert!(said.contains("newer trust data was seen"), "{said}");
    // Nor once nothing can be reached at all.
    bench.server.misbehave("", Fault::Status(500));
    let said = unavailable(bench.ask(&stored));
    assert!(said.contains("newer trust data was seen"), "{said}");
    bench.server.behave();
    assert!(matches!(rejection(bench.ask(&stored)), Rejection::NoSuchTag { .. }));
}

#[test]
fn what_was_superseded_stands_in_for_nothing_after_a_restart() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    let next = bench.repo.update(|signer| signer.remove_target("targets/releases", "v1").touch("targets"));
    bench.server.publish(&next);
    // That there is a newer publication is seen, but not what is in it.
    bench.server.misbehave("/targets.", Fault::Status(500));
    let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
    unavailable(bench.ask(&stored));
    bench.restart(Some(&cache));
    bench.server.misbehave("", Fault::Status(500));
    assert!(unavailable(bench.ask(&stored)).contains("newer trust data was seen"));
    // Nor can the server now show the old one again.
    bench.server.behave();
    bench.server.publish(&bench.repo);
    assert!(matches!(rejection(bench.ask(&stored)), Rejection::Rollback { .. }));
}

#[test]
fn a_cache_that_cannot_be_read_is_nobodys_first_use() {
    let mut bench = Bench::new(Duration::ZERO);
    let circle = bench.scratch.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    bench.restart(Some(&circle));
    let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
    for ask in [&Ask::default(), &stored, &stored] {
        let refusal = bench.ask(ask).unwrap_err();
        let RefreshError::Unavailable(Unavailable { cause, message: why }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(cause, UnavailableCause::TrustState);
        assert!(why.contains("trust.cache cannot be read") && why.contains("circle"), "{why}");
    }
    // With the server away, both are told.
    bench.server.misbehave("", Fault::Status(500));
    assert!(matches!(bench.ask(&stored), Err(RefreshError::Unavailable(_))));
    bench.server.behave();
    // It counts as soon as it can be read.
    std::fs::remove_file(&circle).unwrap();
    bench.ask(&Ask::default()).unwrap();
}

#[test]
fn a_reset_is_noticed_before_anything_is_denied_by_what_was_forgotten() {
    let mut bench = Bench::new(LONG);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    bench.age_by(Duration::from_secs(3));
    bench.server.publish(&Signer::new(GUN).release("v3", [3; 32], 1, &[]).publish());
    crate::schemes::notary::store::reset(cache, &bench.gun, &[]).unwrap();
    // Within `refresh_after` it goes on to admit by what it remembers.
    assert_eq!(freshness(&bench.ask(&Ask::default())), Freshness::Cached);
    assert_eq!(freshness(&bench.ask(&Ask { tag: "v3", ..Ask::default() })), Freshness::Fetched);
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::NoSuchTag { .. }));
}

/// The owner's new root is seen once, in a refresh that fails, by a process that knows root and versions alone.
#[test]
fn what_a_failed_refresh_has_seen_outlives_the_process_that_had_no_data() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    let timestamp = format!("{}.json", portreeve_verify::image::Sha256::of(&bench.repo.bytes("timestamp")).hex());
    let directory = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(directory.join(timestamp)).unwrap();
    let rotated = bench.repo.update(|s| s.rotate("targets", vec![portreeve_test_support::signer::Key::p256()]));
    bench.server.publish(&rotated);
    bench.server.misbehave(&rotated.file_of("targets"), Fault::Status(503));
    bench.restart(Some(&cache));
    unavailable(bench.ask(&Ask::default()));
    bench.server.behave();
    bench.server.publish(&bench.repo);
    for _ in 0..2 {
        assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
        bench.restart(Some(&cache));
    }
    bench.server.publish(&rotated);
    bench.ask(&Ask::default()).unwrap();
}

#[test]
fn what_another_anchor_has_brought_stands_in_rather_than_what_is_older() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.ask(&Ask::default()).unwrap();
    let next = bench.repo.update(|signer| signer.remove_target("targets/releases", "v1").touch("targets"));
    bench.server.publish(&next);
    let id = KeyId::from_hex(&bench.repo.root_key_id()).unwrap();
    let pinned = Anchor { pins: vec![RootPin::KeyId(id)].into(), first_use: FirstUse::Forbidden };
    let first_use = std::mem::replace(&mut bench.anchor, pinned);
    bench.ask(&Ask { tag: "v2", ..Ask::default() }).unwrap();
    bench.anchor = first_use;
    bench.server.stop();
    let stored = || Ask { when_unavailable: stale(3600), ..Ask::default() };
    // Without the time to ask, and after a request that failed.
    for wait in [Duration::ZERO, LONG] {
        let gone = bench.ask(&Ask { wait, ..stored() });
        assert!(matches!(rejection(gone), Rejection::NoSuchTag { .. }), "{wait:?}");
        let there = bench.ask(&Ask { tag: "v2", wait, ..stored() });
        assert!(matches!(freshness(&there), Freshness::Stale { .. }), "{wait:?}");
    }
}

#[test]
fn what_was_deleted_stands_in_for_nothing_once_the_server_is_away_either() {
    for cached in [false, true] {
        let mut bench = Bench::new(Duration::ZERO);
        let cache = cached.then(|| bench.cache());
        bench.restart(cache.as_deref());
        let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
        bench.ask(&stored).unwrap();
        bench.server.remove(GUN);
        assert_eq!(rejection(bench.ask(&stored)).code(), "deleted");
        bench.server.misbehave("", Fault::Status(503));
        unavailable(bench.ask(&stored));
        if cached {
            bench.restart(cache.as_deref());
            unavailable(bench.ask(&stored));
        }
        // The same data again is no way back; but it was no rollback either.
        bench.server.behave();
        assert_eq!(rejection(bench.ask(&stored)).code(), "deleted");
        bench.server.publish(&bench.repo);
        bench.ask(&stored).unwrap();
        bench.server.misbehave("", Fault::Status(503));
        bench.ask(&stored).unwrap();
    }
}
