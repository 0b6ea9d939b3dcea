//! The budget of memory and the quota of the disk, which evidence shares with trust data.

use std::time::SystemTime;

use super::*;
use crate::base::waiting::Waiting;
use crate::http::url::PlainHttp;
use crate::schemes::memory_budget::Part;
use crate::schemes::notary;
use crate::schemes::storage::evidence_files::EvidenceFiles;

fn named(number: usize) -> cosign::Image {
    cosign::Image::named(&format!("plc-{number}"))
}

fn used(bench: &Bench) -> Used {
    let mut used = Used::default();
    EvidenceFiles::below(&bench.cache()).count(&mut used);
    used
}

/// Makes a file look as if it was written this many minutes ago.
fn age(path: PathBuf, minutes: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes)).unwrap();
}

#[test]
fn evidence_in_memory_is_evicted_in_the_order_of_use() {
    let key = Key::p256();
    let settings = Settings { cache: None, memory: 256 << 10, ..Bench::new().settings() };
    let store = EvidenceStore::new(settings);
    for number in 0..100 {
        let plc = named(number);
        put(&store, &plc, &layer(&plc, &key));
        put_tag(&store, &format!("registry.local/plc:{number}"), &plc, Timestamp::now());
        assert!(store.get(digest(&named(0)), soon()).is_some(), "it is in use");
        assert!(store.memory().bytes() <= (256 << 10) / 4);
    }
    let kept = (0..100).filter(|number| store.get(digest(&named(*number)), soon()).is_some()).count();
    assert!((5..50).contains(&kept), "{kept}");
    assert!(store.get(digest(&named(99)), soon()).is_some() && store.get(digest(&named(50)), soon()).is_none());
    let tags = (0..100)
        .filter(|number| store.tag(&format!("registry.local/plc:{number}"), Timestamp::now(), soon()).is_some());
    assert!((10..90).contains(&tags.count()));
}

#[test]
fn evidence_that_is_too_large_for_memory_is_on_the_disk() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = named(0);
    let store = EvidenceStore::new(Settings { memory: 8 << 10, ..bench.settings() });
    put(&store, &plc, &layer(&plc, &key));
    assert_eq!(store.memory().bytes(), 0);
    assert!(is_signed(&store.get(digest(&plc), soon()).unwrap(), &key));
}

#[test]
fn new_digests_and_names_do_not_fill_the_disk() {
    let (bench, key) = (Bench::new(), Key::p256());
    // A quarter of it is evidence: twelve blocks for images, and four for tags.
    let quota = 4 * 16 * (4 << 10);
    let store = EvidenceStore::new(Settings { cache_bytes: quota, ..bench.settings() });
    for number in 0..40 {
        let plc = named(number);
        put(&store, &plc, &layer(&plc, &key));
        age(bench.image_file(&plc), 100 - u64::try_from(number).unwrap());
        let name = format!("registry.local/plc:{number}");
        put_tag(&store, &name, &plc, Timestamp::now());
        age(bench.tag_file(&name), 100 - u64::try_from(number).unwrap());
        assert!(used(&bench).images <= quota / 16 * 3 && used(&bench).tags <= quota / 16, "{:?}", used(&bench));
    }
    assert_eq!(used(&bench), Used { all: quota / 4, unproven: 0, images: quota / 16 * 3, tags: quota / 16 });
    let stored: Vec<_> = (0..40).filter(|number| bench.image_file(&named(*number)).exists()).collect();
    assert_eq!(stored, Vec::from_iter(28..40), "the oldest give way");
    // A file that changes keeps its place, and one that is used is the youngest.
    age(bench.image_file(&named(39)), 60 * 48);
    assert!(EvidenceStore::new(bench.settings()).get(digest(&named(39)), soon()).is_some());
    let newest = named(40);
    put(&store, &newest, &layer(&newest, &key));
    assert!(bench.image_file(&named(39)).exists() && !bench.image_file(&named(28)).exists());
}

#[test]
fn what_does_not_fit_is_counted() {
    let (bench, key) = (Bench::new(), Key::p256());
    let settings = Settings { cache_bytes: 4 << 10, ..bench.settings() };
    let metrics = Arc::clone(&settings.metrics);
    let store = EvidenceStore::new(settings);
    put(&store, &named(0), &layer(&named(0), &key));
    assert!(metrics.render().contains("portreeve_trust_store_failures_total 1"), "{}", metrics.render());
    assert!(store.get(digest(&named(0)), soon()).is_some());
    assert_eq!(used(&bench), Used::default());
}

#[test]
fn a_file_has_a_largest_size() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = named(0);
    // Four bundles of 300 kB: the last three fit into a file.
    let bundles: Vec<_> = (0..4)
        .flat_map(|number| {
            let junk = format!("{number}").repeat(300_000);
            let bundle = Bundle::dsse(&cosign::Statement::new(&plc).bytes(), &key);
            found(&plc, &Artifact::bundle(&plc, bundle.edit(|bundle| bundle["junk"] = junk.into()).bytes()))
        })
        .collect();
    put(&bench.start(), &plc, &bundles);
    let record = bench.start().get(digest(&plc), soon()).unwrap();
    assert_eq!(record.signatures.len(), 3);
    assert_eq!(record.signatures[2].manifest(), bundles[3].signature.manifest());
    assert!(fs::metadata(bench.image_file(&plc)).unwrap().len() <= 1 << 20);
}

#[test]
fn an_image_has_at_most_32_signatures() {
    let (bench, plc) = (Bench::new(), named(0));
    let store = bench.start();
    let keys: Vec<_> = (0..40).map(|_| Key::ed25519()).collect();
    for key in &keys {
        put(&store, &plc, &layer(&plc, key));
    }
    for store in [store, bench.start()] {
        let record = store.get(digest(&plc), soon()).unwrap();
        assert_eq!(record.signatures.len(), 32);
        assert!(!is_signed(&record, &keys[7]) && is_signed(&record, &keys[8]) && is_signed(&record, &keys[39]));
    }
}

/// A service for trust data in the same directory.
fn trust_data(bench: &Bench, settings: &Settings) -> Notary {
    Notary::new(notary::Settings {
        ca: None,
        refresh_after: Duration::from_secs(30),
        plain_http: PlainHttp::Refused,
        cache: Some(bench.cache()),
        workers: 4,
        waiting: Arc::new(Waiting::new(16)),
        memory: usize::try_from(settings.memory).unwrap(),
        verify_memory: 48 << 20,
        cache_bytes: usize::try_from(settings.cache_bytes).unwrap(),
        metrics: Arc::clone(&settings.metrics),
    })
    .unwrap()
}

#[test]
fn trust_data_has_what_evidence_leaves() {
    let (bench, key) = (Bench::new(), Key::p256());
    let settings = bench.settings();
    let notary = trust_data(&bench, &settings);
    let store = EvidenceStore::new(settings).beside(&notary);
    for number in 0..3 {
        let plc = named(number);
        put(&store, &plc, &layer(&plc, &key));
        put_tag(&store, &format!("registry.local/plc:{number}"), &plc, Timestamp::now());
        let taken = store.memory().bytes();
        assert!(taken > 0 && notary.store.left_to_evidence() == taken);
    }
    // Both count the same: three images and three tags, of a block each.
    let block = 4 << 10;
    let expected = Used { all: 6 * block, unproven: 0, images: 3 * block, tags: 3 * block };
    assert_eq!((notary.store.quota.used_now(), notary.store.usage(), used(&bench)), (expected, expected, expected));
    fs::write(bench.image_file(&named(0)), "damaged").unwrap();
    let restarted = EvidenceStore::new(bench.settings()).beside(&notary);
    assert!(restarted.get(digest(&named(0)), soon()).is_none());
    assert_eq!((notary.store.quota.used_now(), notary.store.usage().images), (used(&bench), 2 * block));
}

#[test]
fn large_files_are_read_within_the_budget() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = named(0);
    let bundle = Bundle::dsse(&cosign::Statement::new(&plc).bytes(), &key);
    let bundle = bundle.edit(|bundle| bundle["junk"] = "x".repeat(500_000).into()).bytes();
    put(&bench.start(), &plc, &found(&plc, &Artifact::bundle(&plc, bundle)));
    let store = EvidenceStore::new(bench.settings()).beside(&trust_data(&bench, &bench.settings()));
    let budget = store.disk.as_ref().unwrap().budget().unwrap();
    let draw = |server: &str, bytes| budget.draw(Part::Light, &Arc::from(server), bytes, soon(), &|| {}).unwrap();
    let all = [draw("one", 6 << 20), draw("other", 1 << 20)];
    let begin = Instant::now();
    assert!(store.get(digest(&plc), Deadline::after(Duration::from_secs(2))).is_none());
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(bench.image_file(&plc).exists(), "it is not damaged");
    drop(all);
    assert!(store.get(digest(&plc), soon()).is_some());
}
