//! What is written behind the requests: the newest result of a repository, with all of its files, and nothing that was evicted
//! before it was written.

use super::*;
use crate::schemes::notary::store::unwritten::Pending;
use crate::schemes::storage::writer::Writer;

/// Keeps a repository as a refresh does, and writes nothing.
fn keep(bench: &Bench, store: &Store, repo: &Repo) -> (Arc<Repository>, Record, u64) {
    let known = store.get(&bench.server, &bench.gun, soon());
    let epoch = known.as_ref().map_or(0, |known| known.epoch());
    let mut source = crate::schemes::notary::recorder::Recorder::new(
        Box::new(Files(repo)),
        true,
        &store.budget,
        "https://n",
        unhurried(),
    );
    let refreshed = match known {
        Some(known) => known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now()),
        None => Repository::refresh_with_state(&mut source, &bench.gun, &first_use(), None, &alice(), now()),
    };
    let repository = Arc::new(refreshed.unwrap());
    store.insert(&bench.server, &bench.gun, &first_use(), &repository, Some(confirmed(now())), epoch);
    (repository, source.take_record(), epoch)
}

/// Keeps a repository, and leaves it to be written.
fn hold(bench: &Bench, store: &Store, repo: &Repo, writer: &Writer) -> (bool, bool) {
    let (repository, files, epoch) = keep(bench, store, repo);
    let state = Some(repository.trusted_state().clone());
    let pending = Pending { state, epoch, files: Some(files), versions: false, room: None };
    let added = store.hold(key(bench), pending, |bytes| writer.room(bytes));
    (added.is_first, added.has_room)
}

fn key(bench: &Bench) -> crate::schemes::notary::store::records::Key {
    (bench.server.clone(), bench.gun.clone())
}

#[test]
fn the_newest_is_written_with_the_files_of_all() {
    let (bench, writer) = (Bench::new(), Writer::default());
    let store = bench.start();
    let mut repo = plant().publish();
    assert_eq!(hold(&bench, &store, &repo, &writer), (true, true));
    for _ in 0..3 {
        repo = repo.update(|signer| signer.touch("timestamp"));
        assert_eq!(hold(&bench, &store, &repo, &writer), (false, true), "one write for all of them");
    }
    assert_eq!(bench.stored(), None);
    store.write_behind(&key(&bench));
    assert_eq!(bench.stored(), Some((4, true)), "the lists of targets are those of the first");
    assert!(store.unwritten.states(&key(&bench)).is_empty());
    store.write_behind(&key(&bench));
    assert_eq!(bench.stored(), Some((4, true)));
}

#[test]
fn files_that_are_not_listed_any_more_do_not_stay() {
    let (bench, writer) = (Bench::new(), Writer::default());
    let store = bench.start();
    let mut repo = plant().publish();
    hold(&bench, &store, &repo, &writer);
    let files = || {
        let (pending, _) = store.unwritten.begin(&key(&bench)).unwrap();
        pending.files.as_ref().unwrap().len()
    };
    let first = files();
    for number in 0..5 {
        hold(&bench, &store, &repo, &writer);
        repo = repo.update(|signer| signer.release("v1", [number; 32], 1, &["alice"]));
        hold(&bench, &store, &repo, &writer);
    }
    assert!(files() <= first, "those of the newest publication alone");
}

#[test]
fn what_is_evicted_before_it_is_written_binds() {
    let (bench, writer) = (Bench::new(), Writer::default());
    let store = bench.start();
    let old = plant().publish();
    bench.refresh(&store, &old).unwrap();
    let new = old.update(|signer| signer.touch("timestamp"));
    hold(&bench, &store, &new, &writer);
    while store.records().evict_one(None) {}
    assert!(store.records().get(&key(&bench)).is_none());
    assert_eq!(bench.stored(), Some((1, true)));
    assert_eq!(code(bench.refresh(&store, &old)), "rollback");
    // While it is being written as well.
    while store.records().evict_one(None) {}
    let (_, writing) = store.unwritten.begin(&key(&bench)).unwrap();
    assert_eq!(code(bench.refresh(&store, &old)), "rollback");
    drop(writing);
    // It is written although memory has forgotten it.
    hold(&bench, &store, &new, &writer);
    while store.records().evict_one(None) {}
    store.write_behind(&key(&bench));
    assert_eq!(code(bench.refresh(&bench.start(), &old)), "rollback");
}

#[test]
fn what_was_verified_before_a_reset_replaces_nothing_later() {
    let (bench, writer) = (Bench::new(), Writer::default());
    let store = bench.start();
    let (repository, files, _) = keep(&bench, &store, &plant().publish());
    let hold = |epoch| {
        let state = Some(repository.trusted_state().clone());
        let pending = Pending { state, epoch, files: Some(files.clone()), versions: false, room: None };
        store.hold(key(&bench), pending, |bytes| writer.room(bytes)).is_first
    };
    let epochs = || store.unwritten.states(&key(&bench)).iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>();
    // A refresh that began before the reset ends after one that began later.
    assert!(hold(2));
    assert!(!hold(1));
    assert_eq!(epochs(), [2]);
    // The earlier one is being written while the later one waits.
    let (pending, writing) = store.unwritten.begin(&key(&bench)).unwrap();
    assert_eq!((pending.epoch, pending.files.as_ref()), (2, Some(&files)));
    assert!(hold(3));
    assert_eq!(epochs(), [3]);
    drop(writing);
    assert_eq!(epochs(), [3]);
}

#[test]
fn without_room_the_versions_are_written() {
    let (bench, writer) = (Bench::new(), Writer::default());
    let store = bench.start();
    let full = writer.room(usize::MAX / 2);
    let repo = plant().publish();
    assert_eq!(hold(&bench, &store, &repo, &writer), (true, false));
    store.write_behind(&key(&bench));
    assert_eq!(bench.stored(), Some((1, false)));
    drop(full);
    // All is fetched again by the next refresh, and then stored.
    assert_eq!(hold(&bench, &store, &repo, &writer), (true, true));
    store.write_behind(&key(&bench));
    assert_eq!(bench.stored(), Some((1, true)));
}

#[test]
fn what_comes_during_a_write_finds_the_files_of_that_write() {
    let (bench, writer) = (Bench::new(), Writer::default());
    let store = bench.start();
    let old = plant().publish();
    let (first, files, _) = keep(&bench, &store, &old);
    let new = old.update(|signer| signer.touch("timestamp"));
    // The write of the first ends after the second was verified.
    *store.disk.as_ref().unwrap().files.writing.lock().unwrap() = Some(|| {
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    });
    thread::scope(|scope| {
        let written = scope.spawn(|| store.persist(&bench.server, &bench.gun, &first, 0, files, soon()));
        thread::sleep(Duration::from_millis(20));
        hold(&bench, &store, &new, &writer);
        written.join().unwrap();
    });
    store.write_behind(&key(&bench));
    assert_eq!(bench.stored(), Some((2, true)));
}
