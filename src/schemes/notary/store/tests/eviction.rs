//! Too much data for the memory: what is evicted first, and what stays on the disk.

use super::*;

#[test]
fn what_is_too_heavy_together_gives_up_data_but_no_version() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    let key = (bench.server.clone(), bench.gun.clone());
    let metrics = Arc::new(Metrics::new());
    for (store, kept) in [(Store::new(None, MAX_BYTES, metrics), false), (bench.start(), true)] {
        let repository = bench.refresh(&store, &new).unwrap();
        let other = (bench.server.clone(), Gun::new("another").unwrap());
        {
            let mut records = store.records();
            assert!(records.bytes > repository.heap_size());
            records.bytes += MAX_BYTES; // as if there were many more
            records.insert(other.clone(), Arc::new(RepositoryRecord::nothing()));
            // The heaviness is made up, so all that could be given up was.
            assert_eq!(records.by_key.keys().collect::<Vec<_>>(), [&other]);
            records.bytes = 0;
            records.insert(key.clone(), Arc::new(RepositoryRecord::of(Arc::clone(&repository), None, 0)));
            assert!(records.evict_one(Some(&other)));
            assert!(records.bytes > 0 && records.bytes < repository.heap_size(), "{}", records.bytes);
        }
        let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
        assert_eq!(known.has_data(), kept, "the disk has it");
        assert_eq!(code(bench.refresh(&store, &old)), "rollback");
        assert_eq!(code(bench.refresh(&store, &new)), "accepted");
    }
}

#[test]
fn what_only_memory_knows_is_given_up_last() {
    let bench = Bench::new();
    let mut records = Records { max_bytes: MAX_BYTES, ..Records::default() };
    let key = |name: &str| (bench.server.clone(), Gun::new(name).unwrap());
    let repository = bench.refresh(&bench.start(), &plant().publish()).unwrap();
    let stored = RepositoryRecord { on_disk: Some(State::empty(0)), ..RepositoryRecord::nothing() };
    records.insert(key("memory"), Arc::new(RepositoryRecord::nothing()));
    records.insert(key("disk"), Arc::new(stored));
    records.insert(key("data"), Arc::new(RepositoryRecord::of(repository, None, 0)));
    let names = |records: &Records| {
        let mut names: Vec<_> = records.by_key.keys().map(|(_, gun)| gun.as_str().to_owned()).collect();
        names.sort();
        names
    };
    assert!(records.evict_one(Some(&key("new"))));
    assert_eq!(names(&records), ["data", "disk", "memory"]);
    assert!(!records.by_key[&key("data")].record.has_data());
    assert!(records.evict_one(Some(&key("new"))));
    assert_eq!(names(&records), ["data", "memory"]);
    assert!(records.evict_one(Some(&key("new"))));
    assert_eq!(names(&records), ["data"], "the oldest, as both are known nowhere else");
    assert!(records.evict_one(Some(&key("new"))) && !records.evict_one(Some(&key("new"))));
    assert_eq!(records.bytes, 0);
}

#[test]
fn what_the_disk_has_an_older_floor_of_is_given_up_last_as_well() {
    let bench = Bench::new();
    let mut records = Records { max_bytes: MAX_BYTES, ..Records::default() };
    let key = |name: &str| (bench.server.clone(), Gun::new(name).unwrap());
    let repository = bench.refresh(&bench.start(), &plant().publish()).unwrap();
    // It could not be written, as on a disk that is full.
    let beyond =
        RepositoryRecord { on_disk: Some(State::empty(0)), ..RepositoryRecord::of(repository, None, 0).without_data() };
    records.insert(key("beyond"), Arc::new(beyond));
    let stored = RepositoryRecord { on_disk: Some(State::empty(0)), ..RepositoryRecord::nothing() };
    records.insert(key("stored"), Arc::new(stored.clone()));
    assert!(records.evict_one(Some(&key("new"))));
    assert_eq!(records.by_key.keys().collect::<Vec<_>>(), [&key("beyond")]);
    // Nor does it go for being one too many.
    for number in 0..MAX_REPOSITORIES {
        records.insert(key(&format!("made-up/{number}")), Arc::new(stored.clone()));
    }
    assert_eq!(records.by_key.len(), MAX_REPOSITORIES);
    assert!(records.by_key.contains_key(&key("beyond")) && !records.by_key.contains_key(&key("made-up/0")));
}

/// Other repositories are brought, and memory is short, between an answer and its writing.
#[test]
fn what_is_given_up_before_it_is_written_leaves_its_floor_on_the_disk() {
    for lost in ["data", "all"] {
        let bench = Bench::new();
        let old = plant().publish();
        let new = old.update(|signer| signer.touch("timestamp"));
        let store = bench.start();
        bench.refresh(&store, &old).unwrap();
        let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
        let found = known.refresh(&mut Files(&new), &bench.gun, &first_use(), &alice(), now()).unwrap();
        let found = Arc::new(found);
        store.insert(&bench.server, &bench.gun, &first_use(), &found, Some(confirmed(now())), 0);
        let other = (bench.server.clone(), Gun::new("another").unwrap());
        assert!(store.records().evict_one(Some(&other)));
        assert!(lost == "data" || store.records().evict_one(Some(&other)));
        store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
        assert_eq!(code(bench.refresh(&bench.start(), &old)), "rollback");
        assert_eq!(code(bench.refresh(&bench.start(), &new)), "accepted");
    }
}

#[test]
fn data_counts_once_however_many_anchors_ask_for_it() {
    let bench = Bench::new();
    let store = bench.start();
    let repo = plant().publish();
    let repository = bench.refresh(&store, &repo).unwrap();
    let before = store.records().bytes;
    assert!(before < 2 * repository.heap_size());
    let cached = |anchor: &Anchor| store.cached(&bench.server, &bench.gun, anchor, now()).is_some();
    assert!(cached(&pin(&repo)) && cached(&first_use()));
    assert!(store.records().bytes < before + repository.heap_size() / 4, "{before} {}", store.records().bytes);
    for number in 0..100 {
        let id = KeyId::from_hex(&format!("{number:064x}")).unwrap();
        assert!(!cached(&Anchor { pins: vec![RootPin::KeyId(id)].into(), first_use: FirstUse::Allowed }));
    }
    assert!(store.records().bytes < before + (16 << 10), "few of them are kept");
    assert!(cached(&first_use()));
    while store.records().evict_one(Some(&(bench.server.clone(), Gun::new("another").unwrap()))) {}
    assert_eq!(store.records().bytes, 0);
}

#[test]
fn what_evidence_takes_is_given_up_at_once() {
    let bench = Bench::new();
    let repo = plant().publish();
    let store = Store::new(None, MAX_BYTES, Arc::new(Metrics::new()));
    bench.refresh(&store, &repo).unwrap();
    let taken = store.records().bytes;
    store.leave(MAX_BYTES - taken);
    assert!(store.has_data(&bench.server, &bench.gun));
    store.leave(MAX_BYTES - taken + 1);
    assert!(!store.has_data(&bench.server, &bench.gun));
    assert!(store.get(&bench.server, &bench.gun, soon()).is_some(), "the versions still bind");
    store.leave(0);
    bench.refresh(&store, &repo).unwrap();
    assert!(store.has_data(&bench.server, &bench.gun));
}
