//! Refreshes that fail further on: what they have verified binds.

use super::*;

/// The owner removes a stolen key. The thief makes the refresh that shows this fail, and hides the new root again.
#[test]
fn a_root_that_was_seen_once_is_not_forgotten_whatever_else_is_lost() {
    let base = plant().publish();
    let stolen = base.keys("targets");
    let rotated = base.update(|signer| signer.rotate("targets", vec![Key::p256()]));
    let forged = base.update(|signer| {
        signer.sign_with("targets", stolen.clone()).release("v1", [9; 32], 5, &["alice"]).touch("targets")
    });
    let key = |bench: &Bench| (bench.server.clone(), bench.gun.clone());
    let change = |bench: &Bench, store: &Store, change: &dyn Fn(&RepositoryRecord) -> RepositoryRecord| {
        let mut records = store.records();
        let known = records.get(&key(bench)).unwrap();
        records.insert(key(bench), Arc::new(change(&known)));
    };
    for lost in ["nothing", "bytes that were to be written", "the data in memory", "a file on the disk"] {
        for directory in [true, false] {
            let bench = Bench::new();
            let mut store = Store::new(directory.then(|| bench.cache()), MAX_BYTES, Arc::new(Metrics::new()));
            bench.refresh(&store, &base).unwrap();
            match lost {
                "bytes that were to be written" => {
                    change(&bench, &store, &|known| RepositoryRecord { incomplete: true, ..known.clone() });
                }
                "the data in memory" => {
                    change(&bench, &store, &|known| RepositoryRecord { stamp: known.stamp, ..known.without_data() });
                }
                "a file on the disk" if directory => {
                    let name = format!("{}.json", Sha256::of(&base.bytes("snapshot")).hex());
                    fs::remove_file(bench.directory().join(name)).unwrap();
                    store = bench.start();
                }
                _ => {}
            }
            assert_eq!(fail(&bench, &store, &rotated, "targets."), "unavailable", "{lost}");
            let stores = if directory { vec![store, bench.start()] } else { vec![store] };
            for store in &stores {
                // Nothing that the old keys signed counts, neither new nor old data.
                assert_ne!(code(bench.refresh(store, &forged)), "accepted", "{lost}");
                assert_ne!(code(bench.refresh(store, &base)), "accepted", "{lost}");
                let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
                let stood_in = known.stale(&first_use(), &alice(), now());
                assert!(
                    !matches!(stood_in.map(|found| found.map(|(data, _)| data.is_superseded())), Ok(Some(false))),
                    "{lost}"
                );
            }
            for store in &stores {
                assert_eq!(code(bench.refresh(store, &rotated)), "accepted", "{lost}");
            }
            // The same, if bytes were to be fetched again.
            bench.refresh(&stores[0], &rotated).unwrap();
            assert!(!directory || bench.stored().unwrap().1, "{lost}");
        }
    }
}

#[test]
fn a_first_contact_that_fails_binds_nobody() {
    let bench = Bench::new();
    let store = bench.start();
    let stranger = plant().version("timestamp", 9).expires("timestamp", now()).publish();
    assert_eq!(code(bench.refresh(&store, &stranger)), "expired");
    assert_eq!(code(bench.refresh(&store, &plant().publish())), "accepted");
    // Nor does the first one after a reset.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    let failed = *known.refresh(&mut Files(&stranger), &bench.gun, &first_use(), &alice(), now()).unwrap_err();
    assert!(failed.state.is_none());
}

#[test]
fn a_server_that_fails_again_and_again_costs_no_write() {
    let bench = Bench::new();
    let store = bench.start();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("snapshot"));
    bench.refresh(&store, &old).unwrap();
    let before = bench.state();
    assert_eq!(fail(&bench, &store, &new, "snapshot"), "unavailable");
    let after = bench.state();
    assert_ne!(before, after);
    *store.disk.as_ref().unwrap().files.steps.lock().unwrap() = Some(0);
    assert_eq!(fail(&bench, &store, &new, "snapshot"), "unavailable");
    assert_eq!(bench.state(), after);
    assert!(!store.warned_unwritable.load(Ordering::Relaxed), "it was not even tried");
    // The data is still stored for a later refresh, and no image is admitted by it.
    let known = bench.start().get(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(timestamp_of(&known), 2);
    assert!(known.stale(&first_use(), &alice(), now()).unwrap().is_none());
}

#[test]
fn what_is_noted_late_brings_nothing_back() {
    let bench = Bench::new();
    let store = bench.start();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("snapshot"));
    let seen = bench.refresh(&store, &new).unwrap().trusted_state().clone();
    let older = Repository::refresh(&mut Files(&old), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    // The failure of another request, recorded after the newer data came.
    store.record(&bench.server, &bench.gun, older.trusted_state(), 0);
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    assert!(known.stale(&first_use(), &alice(), now()).unwrap().is_some());
    assert_eq!(timestamp_of(&known), 2);
    // An older root takes no newer one's place.
    let rotated = new.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    bench.refresh(&store, &rotated).unwrap();
    store.record(&bench.server, &bench.gun, &seen, 0);
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(known.trusted_state.root().unwrap().header().version, 2);
    assert!(!known.repository.as_ref().unwrap().is_superseded());
    // Nor older data a newer one's, and what was seen beside it counts.
    let further = rotated.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    let further = Repository::refresh(&mut Files(&further), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    let beside = Arc::new(older.with_state(further.trusted_state()));
    store.insert(&bench.server, &bench.gun, &first_use(), &beside, Some(confirmed(now())), 0);
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!((known.publication_version(), known.trusted_state.root().unwrap().header().version), (Some((2, 3)), 3));
    assert!(known.stale(&first_use(), &alice(), now()).unwrap().is_none());
    // What was seen before a reset.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    assert!(store.get(&bench.server, &bench.gun, soon()).unwrap().epoch() > 0);
    store.record(&bench.server, &bench.gun, &seen, 0);
    store.persist_versions(&bench.server, &bench.gun, soon());
    assert_eq!(code(bench.refresh(&store, &plant().publish())), "accepted");
    // What is remembered again takes nothing back that was noted meanwhile.
    let memory = Store::new(None, MAX_BYTES, Arc::new(Metrics::new()));
    let older = Arc::new(older);
    for noted in [false, true] {
        if noted {
            memory.record(&bench.server, &bench.gun, &seen, 0);
        }
        memory.insert(&bench.server, &bench.gun, &first_use(), &older, Some(confirmed(now())), 0);
    }
    assert_eq!(code(bench.refresh(&memory, &old)), "rollback");
    // What was pushed out of memory in the meantime is remembered none the less.
    let light = Store::new(None, MAX_BYTES, Arc::new(Metrics::new()));
    light.record(&bench.server, &bench.gun, &seen, 0);
    assert_eq!(code(bench.refresh(&light, &old)), "rollback");
    assert_eq!(code(bench.refresh(&light, &new)), "accepted");
}

#[test]
fn a_publication_that_was_confirmed_in_a_refresh_that_failed_still_stands_in() {
    let bench = Bench::new();
    let repo = plant().signer("bob").release("v2", [2; 32], 1, &["bob"]).publish();
    let store = bench.start();
    bench.refresh(&store, &repo).unwrap();
    let renewed = repo.update(|signer| signer.touch("timestamp"));
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    let both: Set<RoleName> = ["alice", "bob"].into_iter().map(|name| RoleName::of_signer(name).unwrap()).collect();
    let mut source = Without(&renewed, "targets/bob");
    let failed = *known.refresh(&mut source, &bench.gun, &first_use(), &both, now()).unwrap_err();
    assert_eq!(code::<()>(Err(failed.error)), "unavailable");
    store.record(&bench.server, &bench.gun, &failed.state.unwrap(), known.epoch());
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(timestamp_of(&known), 2);
    assert!(known.stale(&first_use(), &alice(), now()).unwrap().is_some());
}

#[test]
fn older_data_whose_refresh_ends_late_is_not_served() {
    let bench = Bench::new();
    let store = Store::new(None, MAX_BYTES, Arc::new(Metrics::new()));
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("snapshot"));
    bench.refresh(&store, &old).unwrap();
    // A refresh for one anchor, which has begun before another anchor's has seen newer data and failed.
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    let late = Arc::new(known.refresh(&mut Files(&old), &bench.gun, &pin(&old), &alice(), now()).unwrap());
    let cached = |anchor: &Anchor| store.cached(&bench.server, &bench.gun, anchor, now());
    assert!(cached(&first_use()).is_some());
    assert_eq!(fail(&bench, &store, &new, "snapshot"), "unavailable");
    store.insert(&bench.server, &bench.gun, &pin(&old), &late, Some(confirmed(now())), known.epoch());
    for anchor in [first_use(), pin(&old)] {
        assert!(cached(&anchor).is_none());
    }
    bench.refresh(&store, &new).unwrap();
    assert!(cached(&pin(&old)).is_some());
}
