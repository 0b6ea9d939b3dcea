//! Several processes, and several requests, over one directory: the latest generation wins, and resets hold.

use super::*;

#[test]
fn several_at_once_leave_the_latest() {
    let bench = Bench::new();
    let mut repos = vec![plant().publish()];
    for _ in 0..7 {
        let next = repos.last().unwrap().update(|signer| signer.touch("snapshot"));
        repos.push(next);
    }
    thread::scope(|scope| {
        for first in 0..4 {
            let (bench, repos) = (&bench, &repos);
            scope.spawn(move || {
                for repo in repos.iter().skip(first) {
                    // Data that is older than the stored data is refused. Everything else is accepted.
                    let found = code(bench.refresh(&bench.start(), repo));
                    assert!(matches!(found, "accepted" | "rollback"), "{found}");
                    assert!(bench.stored().is_some_and(|(_, whole)| whole));
                }
            });
        }
    });
    assert_eq!(bench.stored(), Some((8, true)));
}

#[test]
fn an_older_generation_never_replaces_a_later_one() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    let (slow, fast) = (bench.start(), bench.start());
    bench.refresh(&slow, &old).unwrap();
    bench.refresh(&fast, &new).unwrap();
    // The slow one had fetched its data before, and writes it only now.
    let known = slow.records().get(&(bench.server.clone(), bench.gun.clone())).unwrap();
    assert_eq!(timestamp_of(&known), 1);
    let repository = known.repository.clone().unwrap();
    slow.persist(&bench.server, &bench.gun, &repository, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((2, true)));
    // And from then on knows what the other one has seen.
    assert_eq!(code(bench.refresh(&slow, &old)), "rollback");
}

#[test]
fn a_reset_is_noticed_by_who_remembers() {
    let bench = Bench::new();
    let running = bench.start();
    let new = plant().touch("timestamp").publish();
    bench.refresh(&running, &new).unwrap();
    let anew = plant().publish();
    assert_ne!(code(bench.refresh(&running, &anew)), "accepted");
    let other = Gun::new("registry.local:9001/plant/hmi").unwrap();
    assert!(reset(bench.cache(), &other, &[]).unwrap().is_empty());
    assert_ne!(code(bench.refresh(&running, &anew)), "accepted");
    assert_eq!(reset(bench.cache(), &bench.gun, &[]).unwrap(), ["https://notary.local"]);
    assert_eq!(code(bench.refresh(&running, &anew)), "accepted");
    assert!(bench.stale(now()).unwrap().is_some());
    assert_eq!(code(bench.refresh(&bench.start(), &new)), "signature");
}

#[test]
fn who_had_fetched_before_a_reset_does_not_undo_it() {
    let bench = Bench::new();
    let running = bench.start();
    let repo = plant().publish();
    let repository = bench.refresh(&running, &repo).unwrap();
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let bytes = ["targets", "targets/alice", "targets/releases"].map(|role| repo.bytes(role));
    let record: Record = bytes.map(|bytes| (Sha256::of(&bytes), bytes)).into();
    running.persist(&bench.server, &bench.gun, &repository, 0, record, soon());
    assert_eq!(bench.stored(), Some((0, false)));
    assert_eq!(code(bench.refresh(&running, &plant().publish())), "accepted");
}

#[test]
fn what_could_not_be_written_is_remembered_beside_what_others_wrote() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("targets/alice"));
    let other = old.update(|signer| signer.touch("timestamp")).update(|signer| signer.touch("timestamp"));
    let running = bench.start();
    *running.disk.as_ref().unwrap().files.steps.lock().unwrap() = Some(0);
    bench.refresh(&running, &new).unwrap();
    bench.refresh(&bench.start(), &other).unwrap();
    assert_eq!(bench.stored(), Some((3, true)));
    // The other process has the newer timestamp, and has never seen the newer snapshot.
    assert_eq!(code(bench.refresh(&running, &other)), "rollback");
}

#[test]
fn what_is_read_slowly_does_not_undo_what_came_meanwhile() {
    let bench = Bench::new();
    let old = plant().publish();
    let store = bench.start();
    bench.refresh(&store, &old).unwrap();
    let place = Place { server: &bench.server, gun: &bench.gun };
    let disk = store.disk.as_ref().unwrap();
    let read = read(disk, &store.metrics, &store.budget, place, disk.stamp(place), unhurried());
    bench.refresh(&store, &old.update(|signer| signer.touch("timestamp"))).unwrap();
    let known = store.merge((bench.server.clone(), bench.gun.clone()), read).unwrap();
    assert_eq!(timestamp_of(&known), 2);
    assert_eq!(code(bench.refresh(&store, &old)), "rollback");
}

/// The versions were written and evicted since this request read the disk.
#[test]
fn what_was_read_before_a_write_does_not_replace_what_was_evicted_after_it() {
    let bench = Bench::new();
    let old = plant().publish();
    let store = bench.start();
    bench.refresh(&store, &old).unwrap();
    let place = Place { server: &bench.server, gun: &bench.gun };
    let key = (bench.server.clone(), bench.gun.clone());
    let reading = store.begin_reading(&key);
    let disk = store.disk.as_ref().unwrap();
    let read = read(disk, &store.metrics, &store.budget, place, disk.stamp(place), unhurried());
    bench.refresh(&store, &old.update(|signer| signer.touch("timestamp"))).unwrap();
    assert!(store.records().get(&key).unwrap().is_on_disk());
    while store.records().evict_one(None) {}
    let known = store.merge(key.clone(), read).unwrap();
    assert_eq!(timestamp_of(&known), 2);
    drop(reading);
    assert!(store.records().reading.is_empty());
    assert_eq!(code(bench.refresh(&store, &old)), "rollback");
    // Without a request that reads the disk it goes as any other.
    while store.records().evict_one(None) {}
    assert!(store.records().get(&key).is_none());
    assert_eq!(timestamp_of(&store.get(&bench.server, &bench.gun, soon()).unwrap()), 2);
}

#[test]
fn what_others_have_seen_of_other_roles_counts_here_too() {
    let bench = Bench::new();
    let first = plant().publish();
    let second = first.update(|signer| signer.touch("targets/alice"));
    let third = second.update(|signer| signer.touch("timestamp"));
    let (store, other) = (bench.start(), bench.start());
    bench.refresh(&other, &second).unwrap();
    // This one never asked for alice, and does not look before it writes.
    let mut source = crate::schemes::notary::recorder::Recorder::new(
        Box::new(Files(&third)),
        true,
        &store.budget,
        "https://n",
        unhurried(),
    );
    let none = Set::new();
    let ours = Repository::refresh(&mut source, &bench.gun, &first_use(), None, &none, now()).unwrap();
    let ours = Arc::new(ours);
    store.insert(&bench.server, &bench.gun, &first_use(), &ours, Some(confirmed(now())), 0);
    store.persist(&bench.server, &bench.gun, &ours, 0, source.take_record(), soon());
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!((timestamp_of(&known), version_of(&known, "targets/alice", &third.keys("targets/alice"))), (3, 2));
}

#[test]
fn what_failed_halfway_replaces_nothing_that_is_whole() {
    let bench = Bench::new();
    let old = plant().publish();
    // All files but two are the same, and so at hand for a write of the older data.
    let new = old.update(|signer| signer.touch("snapshot"));
    let (store, other) = (bench.start(), bench.start());
    let before = bench.refresh(&store, &old).unwrap();
    let after = bench.refresh(&other, &new).unwrap();
    let is_superseded = |store: &Store| {
        store.get(&bench.server, &bench.gun, soon()).unwrap().repository.as_ref().unwrap().is_superseded()
    };
    // Another process has it whole.
    store.record(&bench.server, &bench.gun, after.trusted_state(), 0);
    store.persist_versions(&bench.server, &bench.gun, soon());
    assert_eq!(bench.stored(), Some((2, true)));
    assert!(!is_superseded(&store));
    // Nor does the data that it was noted beside, written late.
    let halfway = Arc::new(before.with_state(after.trusted_state()));
    store.insert(&bench.server, &bench.gun, &first_use(), &halfway, None, 0);
    store.persist(&bench.server, &bench.gun, &halfway, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((2, true)));
    assert!(!is_superseded(&store));
    // Another question of this process has it whole.
    other.insert(&bench.server, &bench.gun, &first_use(), &halfway, None, 0);
    other.record(&bench.server, &bench.gun, halfway.trusted_state(), 0);
    assert!(!is_superseded(&other));
}

#[test]
fn who_builds_on_what_was_reset_does_not_bring_it_back() {
    let bench = Bench::new();
    let repo = plant().publish();
    let store = bench.start();
    let before = bench.refresh(&store, &repo).unwrap();
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    // Another process has noticed already.
    let epoch = store.get(&bench.server, &bench.gun, soon()).unwrap().epoch();
    assert!(epoch > 0);
    store.insert(&bench.server, &bench.gun, &first_use(), &before, None, 0);
    assert!(!store.get(&bench.server, &bench.gun, soon()).unwrap().has_data());
    // A repository that was deleted and made again is accepted.
    bench.refresh(&store, &plant().publish()).unwrap();
    // A reset counts, even if the clock puts it before the last one.
    let disk = Disk::new(bench.cache());
    disk.reset(Place { server: &bench.server, gun: &bench.gun }, 1).unwrap();
    assert!(store.get(&bench.server, &bench.gun, soon()).unwrap().epoch() > epoch);
}

/// Another process has seen the owner take a key away, and could read no more than the root.
#[test]
fn what_another_process_has_seen_lets_nothing_older_stand_in() {
    // In the second case nothing but the root is newer under the keys that are known here.
    for (role, away) in [("targets", "targets."), ("timestamp", "snapshot.")] {
        let bench = Bench::new();
        let base = plant().publish();
        let rotated = base.update(|signer| signer.rotate(role, vec![Key::p256()]));
        let (store, other) = (bench.start(), bench.start());
        let held = bench.refresh(&store, &base).unwrap();
        bench.refresh(&other, &base).unwrap();
        let stands_in = || {
            let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
            (known.stale(&first_use(), &alice(), now()).unwrap().is_some(), !known.is_beyond(&held))
        };
        assert_eq!(stands_in(), (true, true));
        assert_eq!(fail(&bench, &other, &rotated, away), "unavailable");
        assert_eq!(stands_in(), (false, false), "{role}");
    }
}

/// Two processes of several threads each, in which refreshes succeed, fail halfway and are given up at any moment.
#[test]
fn nothing_that_happens_at_once_loses_a_version() {
    let bench = Bench::new();
    let mut history = vec![plant().publish()];
    for number in 0..12 {
        let role = if number % 2 == 0 { "timestamp" } else { "targets" };
        history.push(history[number].update(|signer| signer.touch(role)));
    }
    let newest = history.last().unwrap();
    let (one, other) = (bench.start(), bench.start());
    bench.refresh(&one, &history[0]).unwrap();
    let behave = |store: &Store, repo: &Repo, how: usize| {
        let known = store.get(&bench.server, &bench.gun, soon());
        let before = known.as_ref().map_or(0, |known| timestamp_of(known));
        let result = match (how % 3, known) {
            (0, Some(known)) => {
                let mut source = Without(repo, "snapshot");
                let failed = known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now());
                if let Some(seen) = failed.err().and_then(|failed| failed.state) {
                    store.record(&bench.server, &bench.gun, &seen, known.epoch());
                    store.persist_versions(&bench.server, &bench.gun, soon());
                }
                "failed"
            }
            (1, _) => {
                let other = (bench.server.clone(), Gun::new("another").unwrap());
                let mut records = store.records();
                let key = (bench.server.clone(), bench.gun.clone());
                // As far as it goes without a disk that fails: what is nowhere else goes last.
                while records.get(&key).is_some_and(|known| known.has_data() || known.is_on_disk())
                    && records.evict_one(Some(&other))
                {}
                "forgotten"
            }
            _ => code(bench.refresh(store, repo)),
        };
        let after = store.get(&bench.server, &bench.gun, soon()).map_or(0, |known| timestamp_of(&known));
        assert!(after >= before, "{before} to {after}: {result}");
    };
    thread::scope(|scope| {
        for number in 0..6 {
            let (store, history, behave) = (if number % 2 == 0 { &one } else { &other }, &history, &behave);
            scope.spawn(move || {
                for (step, repo) in history.iter().enumerate() {
                    behave(store, repo, number + step);
                }
            });
        }
    });
    for store in [&one, &other, &bench.start()] {
        let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
        assert!(timestamp_of(&known) >= 11, "{}", timestamp_of(&known));
        assert_eq!(code(bench.refresh(store, newest)), "accepted");
        assert_eq!(code(bench.refresh(store, &history[0])), "rollback");
    }
    assert_eq!(bench.stored(), Some((13, true)));
}

#[test]
fn a_directory_that_was_emptied_is_filled_again() {
    let bench = Bench::new();
    let mut repo = plant().publish();
    let store = bench.start();
    bench.refresh(&store, &repo).unwrap();
    for entirely in [true, false] {
        if entirely {
            fs::remove_dir_all(bench.directory()).unwrap();
        } else {
            for file in files_in(&bench.directory()) {
                fs::remove_file(bench.directory().join(file)).unwrap();
            }
        }
        for _ in 0..2 {
            repo = repo.update(|signer| signer.touch("timestamp"));
            bench.refresh(&store, &repo).unwrap();
        }
        assert!(bench.stored().is_some_and(|(_, whole)| whole), "{:?}", bench.stored());
        assert_eq!(bench.stored().unwrap().0, if entirely { 3 } else { 5 });
    }
}

#[test]
fn who_remembers_needs_no_index() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    let store = bench.start();
    bench.refresh(&store, &new).unwrap();
    let before = bench.state();
    fs::write(bench.directory().join("state.json"), b"junk").unwrap();
    assert_eq!(code(bench.refresh(&store, &old)), "rollback");
    assert_eq!(code(bench.refresh(&store, &new)), "accepted");
    // A copy of the index from before a reset does not bind a process that has seen the reset.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let anew = plant().publish();
    bench.refresh(&store, &anew).unwrap();
    fs::write(bench.directory().join("state.json"), before).unwrap();
    assert_eq!(code(bench.refresh(&store, &anew)), "accepted");
    let renewed = anew.update(|signer| signer.touch("timestamp"));
    assert_eq!(code(bench.refresh(&store, &renewed)), "accepted");
}
