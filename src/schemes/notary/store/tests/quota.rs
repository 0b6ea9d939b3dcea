//! Too much data for the disk: what is stored of a repository, and of which.

use super::*;

#[test]
fn past_the_bound_the_root_and_the_versions_are_stored_alone() {
    let mut bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let disk = Disk::new(bench.cache());
    let size = disk.usage().all;
    // There is room for this one as it is, and for what is small of another.
    let metrics = Arc::new(Metrics::new());
    let cache = bench.cache();
    let bounded = |quota: u64| Store::new(Some(cache.clone()), MAX_BYTES, Arc::clone(&metrics)).with_quota(quota);
    let full = bounded(size * 2);
    let renewed = repo.update(|signer| signer.touch("timestamp"));
    bench.refresh(&full, &renewed).unwrap();
    assert_eq!(bench.stored(), Some((2, true)));
    assert!(metrics.render().contains("portreeve_trust_store_failures_total 0"));
    let wider = bounded(8 * size);

    bench.gun = Gun::new("registry.local:9001/plant/hmi").unwrap();
    let other = Signer::new_at(bench.gun.as_str(), now()).signer("alice").release("v1", [1; 32], 1, &["alice"]);
    let other = other.publish();
    let new = other.update(|signer| signer.touch("snapshot"));
    for (round, served) in [&other, &new, &new].into_iter().enumerate() {
        let mut source = Counting(served, 0);
        let known = full.get(&bench.server, &bench.gun, soon());
        let found = match &known {
            Some(known) => known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now()).unwrap(),
            None => Repository::refresh(&mut source, &bench.gun, &first_use(), None, &alice(), now()).unwrap(),
        };
        // What is in memory is not fetched again for want of room on the disk.
        assert_eq!(source.1, [6, 2, 1][round]);
        let found = Arc::new(found);
        full.insert(&bench.server, &bench.gun, &first_use(), &found, Some(confirmed(now())), 0);
        full.admitted(&bench.server, &bench.gun);
        full.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
        assert_eq!(signed_digest(&found, served, now()).unwrap(), "01".repeat(32));
        let known = full.get(&bench.server, &bench.gun, soon()).unwrap();
        assert!(known.has_data());
    }
    assert_eq!(bench.stored(), Some((2, false)));
    assert!(full.warned_full.was_due());
    assert!(!metrics.render().contains("portreeve_trust_store_failures_total 0"));
    // A restart knows the root and the versions, and nothing is damaged.
    let summary = bench.start().summary(&bench.server, &bench.gun).unwrap();
    assert_eq!((summary.damage, summary.confirmed), (None, None));
    assert_eq!(code(bench.refresh(&bounded(0), &other)), "rollback");
    assert!(bench.stale(now()).unwrap().is_none());
    // Where there is room again, the data is fetched once and stored.
    bench.refresh(&wider, &new).unwrap();
    assert_eq!(bench.stored(), Some((2, true)));
    // And goes where there is none any more: what would be read back is older than what was seen.
    let grown = new.update(|signer| {
        (0..99).fold(signer, |signer, number| signer.release(&format!("v2.{number}"), [2; 32], 1, &["alice"]))
    });
    let store = bounded(0);
    bench.refresh(&store, &grown).unwrap();
    assert_eq!(bench.stored(), Some((3, false)));
    assert_eq!(files_in(&bench.directory()).len(), 1 + 3);
    // The same process, where there is room again and nothing new.
    let store = store.with_quota(u64::MAX);
    for _ in 0..2 {
        bench.refresh(&store, &grown).unwrap();
    }
    assert_eq!(bench.stored(), Some((3, true)));
    // What one process writes counts at once.
    let mut bench = Bench::new();
    let store = bench.start().with_quota(size * 2);
    bench.refresh(&store, &repo).unwrap();
    assert_eq!(bench.stored(), Some((1, true)));
    bench.gun = Gun::new("registry.local:9001/plant/hmi").unwrap();
    bench.refresh(&store, &other).unwrap();
    assert_eq!(bench.stored(), Some((1, false)));
}

/// A server that counts what it is asked.
struct Counting<'a>(&'a Repo, usize);

impl MetadataSource for Counting<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        self.1 += 1;
        Files(self.0).fetch(name, cap)
    }
}

#[test]
fn a_part_of_a_publication_replaces_no_whole_one() {
    let bench = Bench::new();
    let repo = plant().publish();
    let (store, other) = (bench.start(), bench.start());
    bench.refresh(&other, &repo).unwrap();
    let before = bench.state();
    // This one has verified the same, and its bytes are not at hand.
    let found = Repository::refresh(&mut Files(&repo), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    let found = Arc::new(found);
    store.get(&bench.server, &bench.gun, soon()).unwrap();
    store.insert(&bench.server, &bench.gun, &first_use(), &found, Some(confirmed(now())), 0);
    store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    assert_eq!((bench.stored(), bench.state()), (Some((1, true)), before.clone()));
    // Nor what another process has written since we looked.
    let next = repo.update(|signer| signer.touch("targets"));
    bench.refresh(&other, &next).unwrap();
    let found = Repository::refresh(&mut Files(&next), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    let found = Arc::new(found);
    store.insert(&bench.server, &bench.gun, &first_use(), &found, Some(confirmed(now())), 0);
    store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((2, true)));
    // Where it has never looked, it is mended later.
    let store = bench.start();
    store.insert(&bench.server, &bench.gun, &first_use(), &found, Some(confirmed(now())), 0);
    store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    let renewed = next.update(|signer| signer.touch("timestamp"));
    bench.refresh(&store, &renewed).unwrap();
    bench.refresh(&store, &renewed).unwrap();
    assert_eq!(bench.stored(), Some((3, true)));
}

#[test]
fn a_disk_that_takes_nothing_makes_nobody_fetch_anything_twice() {
    let bench = Bench::new();
    let repo = plant().publish();
    let store = bench.start();
    bench.refresh(&store, &repo).unwrap();
    *store.disk.as_ref().unwrap().files.steps.lock().unwrap() = Some(0);
    let next = repo.update(|signer| signer.touch("targets"));
    for expected in [3, 1, 1] {
        let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
        let mut source = Counting(&next, 0);
        let found = known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now()).unwrap();
        assert_eq!(source.1, expected);
        let found = Arc::new(found);
        store.insert(&bench.server, &bench.gun, &first_use(), &found, Some(confirmed(now())), 0);
        store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    }
    // Once it does, the bytes are fetched again and stored.
    *store.disk.as_ref().unwrap().files.steps.lock().unwrap() = None;
    bench.refresh(&store, &next).unwrap();
    bench.refresh(&store, &next).unwrap();
    assert_eq!(bench.stored(), Some((2, true)));
}

/// Ever new names, each with a root of nearly a megabyte, and an index as long as keys and roles make it.
#[test]
fn ever_new_names_fill_no_disk() {
    const BOUND: u64 = 1 << 20;
    let mut bench = Bench::new();
    let metrics = Arc::new(Metrics::new());
    let store = Store::new(Some(bench.cache()), u64::MAX, Arc::clone(&metrics)).with_quota(BOUND);
    let named = |bench: &mut Bench, name: &str| {
        bench.gun = Gun::new(&format!("registry.local:9001/{name}")).unwrap();
        let signer = Signer::new_at(bench.gun.as_str(), now()).signer("alice");
        signer.release("v1", [1; 32], 1, &["alice"])
    };
    let heavy = |signer: Signer| {
        let keys: Vec<Key> = (0..60).map(|_| Key::ed25519()).collect();
        let signer = ["timestamp", "snapshot", "targets"]
            .into_iter()
            .fold(signer, |signer, role| signer.rotate(role, keys.clone()));
        signer.version("root", 1).edit("root", |signed| signed["x"] = "x".repeat(900_000).into())
    };
    let ask = |bench: &Bench, repo: &Repo, admitted: bool| {
        let known = store.get(&bench.server, &bench.gun, soon());
        let mut source = crate::schemes::notary::recorder::Recorder::new(
            Box::new(Files(repo)),
            true,
            &store.budget,
            "https://n",
            soon(),
        );
        let found = match known {
            Some(known) => known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now()).unwrap(),
            None => Repository::refresh(&mut source, &bench.gun, &first_use(), None, &alice(), now()).unwrap(),
        };
        let found = Arc::new(found);
        store.insert(&bench.server, &bench.gun, &first_use(), &found, Some(confirmed(now())), 0);
        if admitted {
            store.admitted(&bench.server, &bench.gun);
        }
        store.persist(&bench.server, &bench.gun, &found, 0, source.take_record(), soon());
    };
    let du = |bench: &Bench| {
        let du = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(bench.cache()).output().unwrap();
        String::from_utf8(du.stdout).unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let stored = |bench: &Bench| fs::read_dir(bench.cache()).unwrap().count() as u64;
    // One of the site's own, before.
    let honest = named(&mut bench, "line/before").publish();
    ask(&bench, &honest, true);
    let before = du(&bench);
    for number in 0..40 {
        let repo = heavy(named(&mut bench, &format!("made/up{number}"))).publish();
        ask(&bench, &repo, false);
    }
    assert!(du(&bench) - before <= BOUND / 4 + (64 << 10), "{}", du(&bench));
    assert!(stored(&bench) < 12);
    assert!(store.warned_closed.was_due());
    assert!(!metrics.render().contains("portreeve_trust_store_failures_total 0"));
    // And one of the site's own, after: it has its place, whole.
    let mut own = Vec::new();
    for name in ["line/after", "line/later"] {
        let repo = named(&mut bench, name).publish();
        ask(&bench, &repo, true);
        assert_eq!(bench.stored(), Some((1, true)), "{name}");
        own.push((bench.gun.clone(), repo));
    }
    // Those that let an image in come to their end as well, and everything that is stored can still be raised.
    for number in 0..60 {
        let repo = heavy(named(&mut bench, &format!("signed/up{number}"))).publish();
        ask(&bench, &repo, true);
    }
    assert!(du(&bench) <= BOUND + (64 << 10), "{}", du(&bench));
    assert_eq!(Disk::new(bench.cache()).usage(), store.quota.used_now(), "what is reckoned is what is there");
    for (gun, repo) in own {
        bench.gun = gun;
        let newer = repo.update(|signer| signer.touch("timestamp"));
        ask(&bench, &newer, true);
        assert_eq!(code(bench.refresh(&bench.start(), &repo)), "rollback");
    }
    assert!(du(&bench) <= BOUND + (64 << 10), "{}", du(&bench));
}

#[test]
fn a_root_that_is_known_by_its_hash_alone_is_fetched_again_and_binds() {
    let bench = Bench::new();
    let large = |signer: Signer| signer.edit("root", |signed| signed["x"] = "x".repeat(20_000).into());
    let repo = large(plant()).publish();
    let start = || bench.start().with_quota(40 << 10);
    bench.refresh(&start(), &repo).unwrap();
    assert!(!files_in(&bench.directory()).iter().any(|name| name.ends_with(".json") && name.len() > 20), "no files");
    let known = start().get(&bench.server, &bench.gun, soon()).unwrap();
    assert!(known.trusted_state.root().is_none() && known.unstored_root.is_some() && known.damage.is_none());
    assert_eq!(start().summary(&bench.server, &bench.gun).unwrap().damage, None);
    assert_eq!(code(bench.refresh(&start(), &repo)), "accepted");
    // A rotation from it is followed, and what does not follow from it is refused, pins or no pins.
    let rotated = repo.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    let stranger = large(plant()).publish();
    for (served, expected) in [(&stranger, "equivocation"), (&rotated, "accepted"), (&repo, "rollback")] {
        assert_eq!(code(bench.refresh(&start(), served)), expected);
    }
    let pinned = bench.refresh_at(&start(), &stranger, &pin(&stranger), now());
    assert_ne!(code(pinned), "accepted");
    // A server that keeps the newest alone, and one that has nothing.
    let mut newest = rotated.clone();
    newest.files_mut().retain(|name, _| !name.ends_with(".root"));
    assert_eq!(code(bench.refresh(&start(), &newest)), "accepted");
    newest.files_mut().clear();
    assert_eq!(code(bench.refresh(&start(), &newest)), "deleted");
    // Where nothing leads from the one that was trusted to the one that is served.
    let mut gap = rotated.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    gap.files_mut().retain(|name, _| !name.ends_with(".root"));
    assert_eq!(code(bench.refresh(&start(), &gap)), "root-version");
    // A process that has seen a reset, and then what another one stored after it.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let watching = start();
    assert!(watching.get(&bench.server, &bench.gun, soon()).unwrap().unstored_root.is_none());
    bench.refresh(&start(), &repo).unwrap();
    assert!(watching.get(&bench.server, &bench.gun, soon()).unwrap().unstored_root.is_some());
    assert_eq!(code(bench.refresh(&watching, &stranger)), "equivocation");
    assert_eq!(code(bench.refresh(&watching, &repo)), "accepted");
}

#[test]
fn an_index_of_many_keys_is_shortened_and_still_binds() {
    let bench = Bench::new();
    let keys: Vec<Key> = (0..64).map(|_| Key::ed25519()).collect();
    let many = |signer: Signer| {
        let roles = ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"];
        roles.into_iter().fold(signer, |signer, role| signer.rotate(role, keys.clone()))
    };
    let repo = many(plant()).version("root", 1).publish();
    let newer = repo.update(|signer| signer.touch("timestamp").touch("targets/alice"));
    let start = || bench.start().with_quota(40 << 10);
    bench.refresh(&start(), &newer).unwrap();
    assert!(bench.state().len() <= 16 << 10, "{}", bench.state().len());
    assert_eq!(code(bench.refresh(&start(), &repo)), "rollback");
    assert_eq!(code(bench.refresh(&start(), &newer)), "accepted");
    let before = fs::metadata(bench.directory().join("state.json")).unwrap().modified().unwrap();
    assert_eq!(code(bench.refresh(&start(), &newer)), "accepted");
    let after = fs::metadata(bench.directory().join("state.json")).unwrap().modified().unwrap();
    assert_eq!(before, after, "nothing new, nothing written");
}
