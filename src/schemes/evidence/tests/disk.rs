//! Processes that die, disks that are slow or full, and several processes in one directory.

use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;
use std::{io, thread};

use super::*;

fn files(directory: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_process_that_dies_leaves_the_old_file_or_the_new_one() {
    let (key, new) = (Key::p256(), Key::p256());
    let plc = cosign::Image::named("plc");
    for steps in 0.. {
        let bench = Bench::new();
        put(&bench.start(), &plc, &layer(&plc, &key));
        let dying = bench.start();
        *dying.disk.as_ref().unwrap().atomic.steps.lock().unwrap() = Some(steps);
        put(&dying, &plc, &bundle(&plc, &new));
        let is_whole = dying.disk.as_ref().unwrap().atomic.steps.lock().unwrap().unwrap() > 0;
        let record = bench.start().get(digest(&plc), soon()).unwrap();
        assert!(is_signed(&record, &key), "after {steps} steps");
        if is_whole {
            assert!(is_signed(&record, &new));
            assert!(steps > 4, "{steps}");
            break;
        }
    }
}

#[test]
fn unfinished_files_of_dead_processes_are_swept() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    let dying = bench.start();
    *dying.disk.as_ref().unwrap().atomic.steps.lock().unwrap() = Some(3);
    put(&dying, &plc, &layer(&plc, &key));
    let directory = bench.cache().join("evidence/images");
    let left = files(directory.clone());
    assert!(left.len() == 1 && left[0].starts_with(".new-"), "{left:?}");
    // It may be of a process that still writes.
    put(&bench.start(), &plc, &layer(&plc, &key));
    assert_eq!(files(directory.clone()).len(), 2);
    let path = directory.join(&left[0]);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7_200)).unwrap();
    fs::write(directory.join("notes"), "of an operator").unwrap();
    put(&bench.start(), &plc, &bundle(&plc, &key));
    assert_eq!(files(directory), [plc.hex(), "notes".to_owned()]);
}

#[test]
fn a_write_that_fails_leaves_nothing_and_is_counted() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    let settings = bench.settings();
    let metrics = Arc::clone(&settings.metrics);
    let store = EvidenceStore::new(settings);
    *store.disk.as_ref().unwrap().atomic.writing.lock().unwrap() = Some(|| Err(io::ErrorKind::StorageFull.into()));
    put(&store, &plc, &layer(&plc, &key));
    assert!(metrics.render().contains("portreeve_trust_store_failures_total 1"), "{}", metrics.render());
    assert!(store.get(digest(&plc), soon()).is_some(), "memory has it");
    *store.disk.as_ref().unwrap().atomic.writing.lock().unwrap() = None;
    put(&store, &plc, &layer(&plc, &key));
    assert_eq!(files(bench.cache().join("evidence/images")), [plc.hex()]);
}

#[test]
fn a_directory_that_cannot_be_made_costs_no_verdict() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    let store = bench.start();
    fs::write(bench.cache(), "a file").unwrap();
    put(&store, &plc, &layer(&plc, &key));
    put_tag(&store, NAME, &plc, ago(0));
    assert!(store.get(digest(&plc), soon()).is_some() && store.tag(NAME, Timestamp::now(), soon()).is_some());
    assert!(bench.start().get(digest(&plc), soon()).is_none());
    // A directory that everybody may write is refused.
    fs::remove_file(bench.cache()).unwrap();
    let evidence = bench.cache().join("evidence");
    fs::create_dir_all(&evidence).unwrap();
    fs::set_permissions(&evidence, fs::Permissions::from_mode(0o777)).unwrap();
    put(&store, &plc, &bundle(&plc, &key));
    assert_eq!(files(evidence), Vec::<String>::new());
}

#[test]
fn the_files_are_private() {
    let (bench, plc) = (Bench::new(), cosign::Image::named("plc"));
    let store = bench.start();
    put(&store, &plc, &layer(&plc, &Key::p256()));
    put_tag(&store, NAME, &plc, ago(0));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let evidence = bench.cache().join("evidence");
    assert_eq!(
        [&evidence, &evidence.join("images"), &evidence.join("tags")].map(|path| mode(path.clone())),
        [0o700; 3]
    );
    assert_eq!([bench.image_file(&plc), bench.tag_file(NAME)].map(mode), [0o600; 2]);
}

#[test]
fn a_slow_disk_delays_no_answer() {
    let (bench, key) = (Bench::new(), Key::p256());
    let images: Vec<_> = (0..20).map(|number| cosign::Image::named(&format!("plc-{number}"))).collect();
    let settings = bench.settings();
    let metrics = Arc::clone(&settings.metrics);
    let store = EvidenceStore::new(settings);
    *store.disk.as_ref().unwrap().atomic.writing.lock().unwrap() = Some(|| {
        thread::sleep(Duration::from_millis(700));
        Ok(())
    });
    let signed: Vec<_> = images.iter().map(|plc| layer(plc, &key)).collect();
    let begin = Instant::now();
    for (plc, signed) in images.iter().zip(&signed) {
        store.put(&image(plc), None, signed);
        store.put_tag(NAME, digest(plc), Timestamp::now());
    }
    // None of 40 writes of 4 seconds each is waited for, and all are made.
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(images.iter().all(|plc| store.get(digest(plc), soon()).is_some()));
    *store.disk.as_ref().unwrap().atomic.writing.lock().unwrap() = None;
    store.settle();
    assert!(metrics.render().contains("portreeve_trust_store_failures_total 0"));
    assert!(images.iter().all(|plc| bench.image_file(plc).exists()));
    let last = bench.start().tag(NAME, Timestamp::now(), soon());
    assert_eq!(last.map(|tagged| tagged.digest), images.last().map(digest), "in the order in which they came");
}

#[test]
fn a_disk_that_does_not_answer_is_not_waited_for() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    put(&bench.start(), &plc, &layer(&plc, &key));
    let store = bench.start();
    let hang = || {
        thread::sleep(Duration::from_secs(4));
        Ok(())
    };
    *store.disk.as_ref().unwrap().atomic.reading.lock().unwrap() = Some(hang);
    let begin = Instant::now();
    let deadline = || Deadline::after(Duration::from_secs(6));
    assert!(store.get(digest(&plc), deadline()).is_none());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let begin = Instant::now();
    assert!(store.tag(NAME, Timestamp::now(), deadline()).is_none());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    // A disk that fails is no damage: the file stays.
    *store.disk.as_ref().unwrap().atomic.reading.lock().unwrap() = Some(|| Err(io::Error::other("made up")));
    assert!(store.get(digest(&plc), soon()).is_none() && bench.image_file(&plc).exists());
    *store.disk.as_ref().unwrap().atomic.reading.lock().unwrap() = None;
    assert!(store.get(digest(&plc), soon()).is_some());
}

#[test]
fn processes_share_the_directory() {
    let (bench, keys) = (Bench::new(), [Key::p256(), Key::p256()]);
    let plc = cosign::Image::named("plc");
    let (one, other) = (bench.start(), bench.start());
    put(&one, &plc, &layer(&plc, &keys[0]));
    assert!(is_signed(&other.get(digest(&plc), soon()).unwrap(), &keys[0]));
    put(&other, &plc, &bundle(&plc, &keys[1]));
    let record = bench.start().get(digest(&plc), soon()).unwrap();
    assert!(keys.iter().all(|key| is_signed(&record, key)));
    // All at once, whole files are read at every moment.
    let images: Vec<_> = (0..4).map(|number| cosign::Image::named(&format!("plc-{number}"))).collect();
    thread::scope(|scope| {
        for key in &keys {
            let (store, images) = (bench.start(), &images);
            scope.spawn(move || {
                for plc in images.iter().cycle().take(40) {
                    put(&store, plc, &layer(plc, key));
                    put_tag(&store, NAME, plc, Timestamp::now());
                }
            });
        }
        for _ in 0..60 {
            let store = bench.start();
            for plc in images.iter().filter(|plc| bench.image_file(plc).exists()) {
                assert!(store.get(digest(plc), soon()).is_some());
            }
            if bench.tag_file(NAME).exists() {
                assert!(store.tag(NAME, Timestamp::now(), soon()).is_some());
            }
        }
    });
}

#[test]
fn two_writes_of_one_image_are_both_kept() {
    let (bench, plc) = (Bench::new(), cosign::Image::named("plc"));
    let keys: Vec<_> = (0..6).map(|_| Key::ed25519()).collect();
    let store = bench.start();
    thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| put(&store, &plc, &layer(&plc, key)));
        }
    });
    let record = bench.start().get(digest(&plc), soon()).unwrap();
    assert!(keys.iter().all(|key| is_signed(&record, key)));
}

#[test]
fn the_directory_may_be_deleted_at_any_time() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    let store = bench.start();
    put(&store, &plc, &layer(&plc, &key));
    fs::remove_dir_all(bench.cache().join("evidence")).unwrap();
    assert!(store.get(digest(&plc), soon()).is_some() && bench.start().get(digest(&plc), soon()).is_none());
    put(&store, &plc, &bundle(&plc, &key));
    assert!(is_signed(&bench.start().get(digest(&plc), soon()).unwrap(), &key));
}
