//! When the trust data in use ends.

use super::*;
use crate::base::ending::{Ending, EndingKind};

#[test]
fn the_soonest_end_of_what_lets_images_in_is_told() {
    let metrics = |bench: &Bench| bench.notary.metrics.render();
    let look_at_ends = |bench: &Bench, now| bench.notary.metrics.ends(&bench.notary.endings(now));
    let series = |role: &str, ends: Timestamp| {
        format!("portreeve_trust_data_ends_timestamp_seconds{{role=\"{role}\"}} {}\n", ends.as_second())
    };
    let now = Timestamp::now();
    let soon = now + jiff::SignedDuration::from_hours(100);
    let mut bench = Bench::new(Duration::ZERO);
    bench.repo = bench.repo.update(|signer| signer.expires("targets/releases", soon));
    bench.server.publish(&bench.repo);
    // Data that admits no image is not counted.
    rejection(bench.ask(&Ask { tag: "no", ..Ask::default() }));
    look_at_ends(&bench, now);
    assert!(!metrics(&bench).contains("portreeve_trust_data_ends_timestamp_seconds{"));
    bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    for look in [false, true] {
        if look {
            look_at_ends(&bench, now);
        }
        let told = metrics(&bench);
        assert!(told.contains(&series("releases", soon)), "{told}");
        for role in ["root", "targets", "delegation"] {
            assert!(
                told.contains(&format!("portreeve_trust_data_ends_timestamp_seconds{{role=\"{role}\"}} ")),
                "{told}"
            );
        }
        // A healthy server's may end any moment.
        for role in ["timestamp", "snapshot"] {
            assert!(!told.contains(&format!("ends_timestamp_seconds{{role=\"{role}\"}}")), "{told}");
        }
    }
    // Signed again, it ends later.
    let later = now + jiff::SignedDuration::from_hours(1_000);
    bench.server.publish(&bench.repo.update(|signer| signer.expires("targets/releases", later)));
    bench.ask(&Ask::default()).unwrap();
    look_at_ends(&bench, now);
    assert!(metrics(&bench).contains(&series("releases", later)));
    // There was no query for a day.
    look_at_ends(&bench, now + jiff::SignedDuration::from_hours(25));
    assert!(!metrics(&bench).contains("portreeve_trust_data_ends_timestamp_seconds{"));
    // In a directory, timestamps end too.
    let directory = bench.scratch.path().join("carried");
    for (name, bytes) in bench.repo.files() {
        bench.scratch.write(&format!("carried/{GUN}/{name}.json"), bytes);
    }
    bench.url = TrustServer::parse(&format!("file://{}", directory.display()), PlainHttp::Refused).unwrap();
    bench.ask(&Ask::default()).unwrap();
    let told = metrics(&bench);
    assert!(told.contains("portreeve_trust_data_ends_timestamp_seconds{role=\"timestamp\"} "), "{told}");
}

/// When a role ends, as it is told.
fn end_of(endings: &[Ending], kind: EndingKind) -> Option<Timestamp> {
    let of_kind = endings.iter().filter(|ending| ending.kind == kind);
    of_kind.inspect(|ending| assert!(ending.what.starts_with(GUN), "{ending:?}")).map(|ending| ending.at).min()
}

#[test]
fn what_was_used_before_the_start_is_read_from_the_disk() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    let mut bench = Bench::new(Duration::ZERO);
    bench.restart(Some(&cache));
    let now = Timestamp::now();
    let soon = Timestamp::from_second(now.as_second() + 100 * 3_600).unwrap();
    bench.repo = bench.repo.update(|signer| signer.expires("targets/releases", soon));
    bench.server.publish(&bench.repo);
    // What has let no image in is not in use.
    rejection(bench.ask(&Ask { tag: "no", ..Ask::default() }));
    assert_eq!(bench.notary.stored_endings(now), []);
    bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    bench.restart(Some(&cache));
    assert_eq!(bench.notary.endings(now), []);
    let stored = bench.notary.stored_endings(now);
    assert_eq!(end_of(&stored, EndingKind::Releases), Some(soon), "{stored:?}");
    for kind in [EndingKind::Root, EndingKind::Targets, EndingKind::Delegation] {
        assert!(end_of(&stored, kind).is_some_and(|at| at > soon), "{kind:?} {stored:?}");
    }
    for kind in [EndingKind::Timestamp, EndingKind::Snapshot] {
        assert_eq!(end_of(&stored, kind), None, "a server renews it");
    }
    // It may have been renewed since.
    assert_eq!(bench.notary.stored_endings(now + jiff::SignedDuration::from_hours(25)), []);
}

#[test]
fn data_that_stands_in_for_its_server_is_in_use() {
    let mut bench = Bench::new(Duration::ZERO);
    let now = Timestamp::now();
    bench.ask(&Ask::default()).unwrap();
    bench.server.stop();
    let later = now + jiff::SignedDuration::from_hours(30);
    assert_eq!(bench.notary.endings(later), []);
    bench.ask(&Ask { when_unavailable: stale(u64::MAX), now: later, ..Ask::default() }).unwrap();
    assert!(end_of(&bench.notary.endings(later), EndingKind::Root).is_some());
    assert!(end_of(&bench.notary.endings(later + jiff::SignedDuration::from_hours(20)), EndingKind::Root).is_some());
    assert_eq!(bench.notary.endings(later + jiff::SignedDuration::from_hours(30)), []);
}
