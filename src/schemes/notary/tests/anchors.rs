//! Several anchors for one repository: its data is kept once, and every anchor is asked.

use super::*;

fn pinned(key_id: &str) -> Anchor {
    Anchor { pins: vec![RootPin::KeyId(KeyId::from_hex(key_id).unwrap())].into(), first_use: FirstUse::Forbidden }
}

#[test]
fn data_that_was_fetched_for_one_anchor_serves_the_others_that_trust_its_root() {
    let mut bench = Bench::new(LONG);
    bench.ask(&Ask::default()).unwrap();
    bench.server.forget_requests();
    let first_use = bench.anchor.clone();
    let good = pinned(&bench.repo.root_key_id());
    for anchor in [&good, &first_use, &good] {
        bench.anchor = anchor.clone();
        assert_eq!(freshness(&bench.ask(&Ask::default())), Freshness::Cached);
    }
    assert!(bench.server.requests().is_empty());
    let cached = [&good, &first_use]
        .map(|anchor| bench.notary.store.cached(&bench.url, &bench.gun, anchor, Timestamp::now()).unwrap().repository);
    assert!(Arc::ptr_eq(&cached[0], &cached[1]), "it is kept once");
}

#[test]
fn an_anchor_that_does_not_trust_the_root_is_served_nothing() {
    let mut bench = Bench::new(LONG);
    bench.ask(&Ask::default()).unwrap();
    let good = std::mem::replace(&mut bench.anchor, pinned(&"0".repeat(64)));
    let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
    for _ in 0..2 {
        assert_eq!(rejection(bench.ask(&Ask::default())).code(), "root-not-trusted");
    }
    bench.anchor.pins = Arc::default();
    assert_eq!(rejection(bench.ask(&Ask::default())).code(), "root-not-trusted");
    // Nor while the server is away.
    bench.server.stop();
    bench.anchor = pinned(&"1".repeat(64));
    assert_eq!(rejection(bench.ask(&stored)).code(), "root-not-trusted");
    bench.anchor = good;
    assert_eq!(freshness(&bench.ask(&Ask::default())), Freshness::Cached);
}

#[test]
fn a_new_root_is_held_against_every_anchor_again() {
    let mut bench = Bench::new(LONG);
    let pin = pinned(&bench.repo.root_key_id());
    let first_use = std::mem::replace(&mut bench.anchor, pin.clone());
    bench.ask(&Ask::default()).unwrap();
    let rotated = bench.repo.update(|signer| {
        signer.rotate("root", vec![portreeve_test_support::signer::Key::root(GUN)]).release(
            "v9",
            [9; 32],
            1,
            &["alice"],
        )
    });
    bench.server.publish(&rotated);
    bench.age_by(RECHECK_AFTER + Duration::from_secs(1));
    bench.anchor = first_use;
    bench.ask(&Ask { tag: "v9", ..Ask::default() }).unwrap();
    bench.anchor = pin;
    assert_eq!(rejection(bench.ask(&Ask::default())).code(), "root-not-trusted");
}
