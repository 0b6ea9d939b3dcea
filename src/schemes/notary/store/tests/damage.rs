//! Damaged, unreadable and foreign files: they cost what they hold, and nothing else.

use super::*;

#[test]
fn row_047_a_damaged_root_denies_without_pins() {
    let repo = plant().publish();
    let root = format!("{}.json", Sha256::of(&repo.bytes("root")).hex());
    let spoilt = repo.bytes("timestamp");
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 6] = [
        ("gone", &|directory| fs::remove_file(directory.join(&root)).unwrap()),
        ("cut short", &|directory| fs::write(directory.join(&root), b"{").unwrap()),
        ("another file", &|directory| fs::write(directory.join(&root), &spoilt).unwrap()),
        ("index cut short", &|directory| fs::write(directory.join("state.json"), b"{\"format\":1").unwrap()),
        ("index empty", &|directory| fs::write(directory.join("state.json"), b"").unwrap()),
        ("index of another", &|directory| {
            let text = fs::read_to_string(directory.join("state.json")).unwrap();
            fs::write(directory.join("state.json"), text.replace("plant/plc", "plant/hmi")).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let bench = Bench::new();
        bench.refresh(&bench.start(), &repo).unwrap();
        damage(&bench.directory());
        let metrics = Arc::new(Metrics::new());
        let store = Store::new(Some(bench.cache()), MAX_BYTES, Arc::clone(&metrics));
        let found = bench.refresh(&store, &repo);
        let Err(RefreshError::Rejected(rejection)) = found else { panic!("{what}: {found:?}") };
        assert_eq!(rejection.code(), "stored-root-damaged", "{what}");
        assert!(rejection.to_string().contains(&format!("portreeve check --reset {GUN}")), "{rejection}");
        let counted = "portreeve_reloads_total{what=\"stored_trust\",result=\"failed\"} 1";
        assert!(metrics.render().contains(counted), "{what}");
        assert!(bench.stale(now()).unwrap().is_none(), "{what}");
        // With pins it starts again from them, and is whole afterwards.
        assert_eq!(code(bench.refresh_at(&bench.start(), &repo, &pin(&repo), now())), "accepted", "{what}");
        assert_eq!(code(bench.refresh(&bench.start(), &repo)), "accepted", "{what}");
        assert!(bench.stale(now()).unwrap().is_some(), "{what}");
    }
}

#[test]
fn a_damaged_root_does_not_take_the_versions_along() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    bench.refresh(&bench.start(), &new).unwrap();
    fs::remove_file(bench.directory().join(format!("{}.json", Sha256::of(&new.bytes("root")).hex()))).unwrap();
    assert_eq!(code(bench.refresh_at(&bench.start(), &old, &pin(&old), now())), "rollback");
    assert_eq!(code(bench.refresh_at(&bench.start(), &new, &pin(&old), now())), "accepted");
}

/// The owner removed a stolen key. A thief who damages the stored root does not get the key accepted again.
#[test]
fn a_damaged_root_does_not_take_its_own_version_along() {
    let bench = Bench::new();
    let base = plant().publish();
    let stolen = base.keys("targets");
    let rotated = base.update(|signer| signer.rotate("targets", vec![Key::p256()]));
    bench.refresh(&bench.start(), &rotated).unwrap();
    fs::remove_file(bench.directory().join(format!("{}.json", Sha256::of(&rotated.bytes("root")).hex()))).unwrap();
    let forged = base.update(|signer| {
        let signer = signer.sign_with("targets", stolen).touch("targets").release("v1", [9; 32], 5, &["alice"]);
        ["timestamp", "snapshot", "targets"].into_iter().fold(signer, |signer, role| signer.version(role, 9))
    });
    for _ in 0..2 {
        let found = bench.refresh_at(&bench.start(), &forged, &pin(&base), now());
        let Err(RefreshError::Rejected(rejection)) = found else { panic!("{found:?}") };
        assert_eq!(rejection, Rejection::Rollback { role: "root".to_owned(), seen: 2, offered: 1 });
    }
    assert_eq!(code(bench.refresh_at(&bench.start(), &rotated, &pin(&base), now())), "accepted");
}

#[test]
fn damaged_data_is_fetched_anew_under_the_stored_root() {
    let repo = plant().publish();
    for role in ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"] {
        let bench = Bench::new();
        bench.refresh(&bench.start(), &repo).unwrap();
        let file = bench.directory().join(format!("{}.json", Sha256::of(&repo.bytes(role)).hex()));
        let mut bytes = fs::read(&file).unwrap();
        bytes[40] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(bench.stored(), Some((1, false)), "{role}");
        assert!(bench.stale(now()).unwrap().is_none(), "{role}");
        assert_eq!(code(bench.refresh(&bench.start(), &repo)), "accepted");
        assert_eq!(bench.stored(), Some((1, true)), "{role}");
    }
}

#[test]
fn data_below_its_own_floor_stands_in_for_nothing() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&bench.state()).unwrap();
    let key = repo.keys("snapshot")[0].id();
    assert_eq!(state["seenUnder"]["snapshot"][&key]["version"], 1);
    state["seenUnder"]["snapshot"][&key]["version"] = 9.into();
    fs::write(bench.directory().join("state.json"), state.to_string()).unwrap();
    assert!(bench.stale(now()).unwrap().is_none());
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "rollback");
    state["seenUnder"]["snapshot"][&key]["version"] = 1.into();
    state["seen"]["root"]["version"] = 2.into();
    fs::write(bench.directory().join("state.json"), state.to_string()).unwrap();
    assert!(bench.stale(now()).unwrap().is_none());
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "rollback");
    // Another content than the one that was verified is damage.
    state["seen"]["root"]["version"] = 1.into();
    state["seenUnder"]["snapshot"][&key]["content"] = "0".repeat(64).into();
    fs::write(bench.directory().join("state.json"), state.to_string()).unwrap();
    let damage = bench.start().summary(&bench.server, &bench.gun).unwrap().damage.unwrap();
    assert_eq!(damage, "its snapshot is not the one that was verified");
    assert!(bench.stale(now()).unwrap().is_none());
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "equivocation");
}

/// A refresh that fails further on leaves what is stored as it was, and says what is wrong with what the server offers.
#[test]
fn row_109_a_refresh_that_failed_half_way_is_no_damage() {
    let base = plant().publish();
    type Change<'a> = &'a dyn Fn(Signer) -> Signer;
    let changes: [(&str, &str, Change<'_>); 5] = [
        // A signer's key was replaced, and nothing is signed with the new one yet (notary#1500).
        ("signature", "nothing", &|signer| {
            let old = base.bytes("targets/releases");
            signer.rotate("targets/releases", vec![Key::p256()]).edit_bytes("targets/releases", move |_| old.clone())
        }),
        ("expired", "nothing", &|signer| signer.expires("targets", now()).touch("timestamp")),
        ("unavailable", "snapshot", &|signer| signer.touch("snapshot")),
        ("unavailable", "targets.", &|signer| signer.touch("targets")),
        ("unavailable", "targets/releases.", &|signer| signer.touch("targets/releases").touch("targets")),
    ];
    for (expected, without, change) in changes {
        let bench = Bench::new();
        let mut store = bench.start();
        bench.refresh(&store, &base).unwrap();
        let halfway = base.update(change);
        for round in 0..3 {
            assert_eq!(fail(&bench, &store, &halfway, without), expected, "{without} {round}");
            let metrics = Arc::new(Metrics::new());
            store = Store::new(Some(bench.cache()), MAX_BYTES, Arc::clone(&metrics));
            let summary = store.summary(&bench.server, &bench.gun).unwrap();
            assert_eq!(summary.damage, None, "{without} {round}");
            let timestamp = summary.roles.iter().find(|role| role.role == "timestamp").unwrap();
            assert_eq!((timestamp.version, timestamp.file.is_some()), (2, false), "the one that was seen");
            // No image is admitted by it, as before the restart.
            let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
            assert!(known.has_data() && known.is_superseded());
            assert!(known.stale(&first_use(), &alice(), now()).unwrap().is_none());
            let failed = r#"portreeve_reloads_total{what="stored_trust",result="failed"} 0"#;
            assert!(metrics.render().contains(failed), "{without} {round}");
        }
        // The versions that were seen bind.
        assert_eq!(code(bench.refresh(&store, &base)), "rollback", "{without}");
        let mended = base.update(|signer| signer.version("timestamp", 3).version("snapshot", 3).version("targets", 3));
        let mended = mended.update(|signer| signer.version("targets/releases", 3));
        assert_eq!(code(bench.refresh(&store, &mended)), "accepted", "{without}");
    }
}

/// Only absence is absence. A disk that fails says nothing of what was stored, and what was seen may bind.
#[test]
fn a_disk_that_cannot_be_read_is_no_first_use() {
    use std::io;
    let bench = Bench::new();
    let repo = plant().publish();
    let newer = repo.update(|signer| signer.touch("timestamp"));
    bench.refresh(&bench.start(), &newer).unwrap();
    let faults: [fn() -> io::Result<()>; 2] =
        [|| Err(io::ErrorKind::PermissionDenied.into()), || Err(io::Error::from_raw_os_error(5))];
    for fault in faults {
        let store = bench.start();
        *store.disk.as_ref().unwrap().files.reading.lock().unwrap() = Some(fault);
        for anchor in [first_use(), pin(&repo)] {
            let failed = bench.refresh_at(&store, &repo, &anchor, now()).unwrap_err();
            let RefreshError::Unavailable(why) = failed else { panic!("{failed:?}") };
            let path = bench.directory().display().to_string();
            assert_eq!(why.cause, UnavailableCause::TrustState);
            assert!(why.message.starts_with("trust.cache cannot be read: ") && why.message.contains(&path), "{why}");
        }
        let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
        assert!(known.stale(&first_use(), &alice(), now()).unwrap().is_none());
        assert!(store.warned_unreadable.load(Ordering::Relaxed));
        // It is not remembered: as soon as the disk can be read, what was seen binds.
        *store.disk.as_ref().unwrap().files.reading.lock().unwrap() = None;
        assert_eq!(code(bench.refresh(&store, &repo)), "rollback");
        assert_eq!(code(bench.refresh(&store, &newer)), "accepted");
        assert!(!store.warned_unreadable.load(Ordering::Relaxed));
        // A process that has the record in memory needs no disk.
        *store.disk.as_ref().unwrap().files.reading.lock().unwrap() = Some(fault);
        let other = bench.start();
        bench.refresh(&other, &newer.update(|signer| signer.touch("snapshot"))).unwrap();
        assert_eq!(code(bench.refresh(&store, &repo)), "rollback");
        assert_eq!(code(bench.refresh(&store, &newer)), "accepted");
        let _ = fs::remove_dir_all(bench.directory());
        bench.refresh(&bench.start(), &newer).unwrap();
    }
    // As the system itself has it.
    let circle = bench.scratch.path().join("circle");
    symlink(&circle, &circle).unwrap();
    let long = bench.scratch.path().join("x".repeat(300));
    for base in [circle, long] {
        let store = Store::new(Some(base), MAX_BYTES, Arc::new(Metrics::new()));
        assert_eq!(code(bench.refresh(&store, &newer)), "unavailable");
    }
    // The root's file alone.
    let root = bench.directory().join(format!("{}.json", Sha256::of(&newer.bytes("root")).hex()));
    fs::remove_file(&root).unwrap();
    assert_eq!(code(bench.refresh(&bench.start(), &newer)), "stored-root-damaged", "it is gone, and nothing else");
    // What is not there was never there.
    let absent = bench.scratch.path().join("no/such/cache");
    let store = Store::new(Some(absent), MAX_BYTES, Arc::new(Metrics::new()));
    assert_eq!(code(bench.refresh(&store, &newer)), "accepted");
}

#[test]
fn a_disk_that_does_not_answer_keeps_nobody_past_the_deadline() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let store = bench.start();
    *store.disk.as_ref().unwrap().files.reading.lock().unwrap() = Some(|| {
        thread::sleep(Duration::from_secs(8));
        Ok(())
    });
    let began = std::time::Instant::now();
    let known = store.get(&bench.server, &bench.gun, Deadline::after(Duration::from_millis(2_400))).unwrap();
    assert!(known.why_unreadable().is_some_and(|why| why.contains("does not answer")));
    // No other request waits for the same read again.
    assert!(store.get(&bench.server, &bench.gun, soon()).unwrap().why_unreadable().is_some());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn names_cannot_lead_out_and_links_are_refused() {
    let bench = Bench::new();
    for name in ["a/b/c", "localhost/x", "a", "registry.local:9001/..x/y"] {
        let gun = Gun::new(name).unwrap();
        let directory = Disk::new(bench.cache()).directory(Place { server: &bench.server, gun: &gun });
        assert_eq!(directory.parent(), Some(bench.cache().as_path()), "{name}");
    }
    let repo = plant().publish();
    let outside = bench.scratch.path().join("outside");
    // The directory itself.
    fs::create_dir_all(&outside).unwrap();
    let store = bench.start();
    symlink(&outside, bench.directory()).unwrap();
    assert_eq!(code(bench.refresh(&store, &repo)), "stored-root-damaged");
    bench.refresh_at(&store, &repo, &pin(&repo), now()).unwrap();
    assert!(files_in(&outside).is_empty());
    fs::remove_file(bench.directory()).unwrap();
    // A file that is to be written, and one that is to be read.
    bench.refresh(&bench.start(), &repo).unwrap();
    let secret = bench.scratch.write("secret", b"untouched");
    for name in ["state.json", "lock"] {
        let path = bench.directory().join(name);
        fs::remove_file(&path).unwrap();
        symlink(&secret, &path).unwrap();
        let next = repo.update(|signer| signer.touch("timestamp"));
        let _ = bench.refresh_at(&bench.start(), &next, &pin(&repo), now());
        assert_eq!(fs::read(&secret).unwrap(), b"untouched", "{name}");
        fs::remove_file(&path).unwrap();
    }
    // Opening a pipe would wait for a writer.
    let pipe = bench.directory().join("state.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (done, wait) = std::sync::mpsc::channel();
    let disk = Disk::new(bench.cache());
    let (server, gun) = (bench.server.clone(), bench.gun.clone());
    thread::spawn(move || done.send(disk.load(Place { server: &server, gun: &gun }).is_err()));
    assert_eq!(wait.recv_timeout(Duration::from_secs(10)), Ok(true));
    // A directory that everybody may write was not left like that by us.
    fs::remove_dir_all(bench.directory()).unwrap();
    bench.refresh(&bench.start(), &repo).unwrap();
    fs::set_permissions(bench.directory(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "stored-root-damaged");
}

#[test]
fn a_reset_mends_whatever_is_there() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    fs::write(bench.directory().join("state.json"), b"junk").unwrap();
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "stored-root-damaged");
    // Even if the record cannot be read: the server is known from the configuration.
    fs::write(bench.directory().join("name"), b"junk").unwrap();
    assert_eq!(reset(bench.cache(), &bench.gun, std::slice::from_ref(&bench.server)).unwrap().len(), 1);
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "accepted");
}
