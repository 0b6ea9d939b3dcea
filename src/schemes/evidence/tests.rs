//! What is kept of signatures, and for how long: rows 132 to 135 of SCHEMES.md as far as the store decides them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use portreeve_test_support::cosign::{self, Artifact, Bundle, Key, Layer, Payload};

use super::*;
use crate::base::files::scratch::Scratch;
use portreeve_verify::oci::candidates::{bundle_layer, payload_layers};
use portreeve_verify::oci::{SignatureManifest, media_type};
use portreeve_verify::sigstore::{self, Requirement, SignedImage, Signer, SigstoreKey};

mod damage;
mod disk;
mod limits;

const NAME: &str = "registry.local:9001/plant/plc:v1";
const BUDGET: u64 = 16 << 20;
const QUOTA: u64 = 64 << 20;

/// One cache directory.
struct Bench {
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        Self { scratch: Scratch::new() }
    }

    fn cache(&self) -> PathBuf {
        self.scratch.path().join("cache")
    }

    fn settings(&self) -> Settings {
        Settings { cache: Some(self.cache()), memory: BUDGET, cache_bytes: QUOTA, metrics: Arc::new(Metrics::new()) }
    }

    /// A process that starts.
    fn start(&self) -> EvidenceStore {
        EvidenceStore::new(self.settings())
    }

    fn image_file(&self, image: &cosign::Image) -> PathBuf {
        self.cache().join("evidence/images").join(image.hex())
    }

    fn tag_file(&self, name: &str) -> PathBuf {
        self.cache().join("evidence/tags").join(Sha256::of(name.as_bytes()).hex())
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn digest(image: &cosign::Image) -> Sha256 {
    Sha256::new(image.sha256())
}

fn image(image: &cosign::Image) -> Image {
    let size = u64::try_from(image.manifest.len()).unwrap();
    Image { digest: digest(image), media_type: media_type::OCI_INDEX.to_owned(), size }
}

/// The signatures of a manifest, as the scheme finds them at a registry.
fn found(image: &cosign::Image, artifact: &Artifact) -> Vec<FoundSignature> {
    let manifest = SignatureManifest::read(&artifact.manifest, None, None).unwrap();
    let found = |signature, layer: usize| FoundSignature {
        signature: Arc::new(Signature::Sigstore(signature)),
        manifest: artifact.manifest.as_slice().into(),
        layer,
        blob: (Sha256::of(&artifact.blobs[layer]), artifact.blobs[layer].as_slice().into()),
    };
    if manifest.artifact_type.is_some() {
        bundle_layer(&manifest, digest(image)).unwrap();
        return vec![found(sigstore::Signature::from_bundle(&manifest, artifact.blobs[0].clone()).unwrap(), 0)];
    }
    let layers = payload_layers(&manifest).unwrap();
    let parsed = layers.iter().enumerate().map(|(number, layer)| {
        found(
            sigstore::Signature::from_layer(&manifest, layer, artifact.blobs[number].as_slice().into()).unwrap(),
            number,
        )
    });
    parsed.collect()
}

/// A signature in the old format.
fn layer(image: &cosign::Image, key: &Key) -> Vec<FoundSignature> {
    found(image, &Artifact::layers(&[Layer::new(Payload::new(image).bytes(), key)]))
}

/// A bundle.
fn bundle(image: &cosign::Image, key: &Key) -> Vec<FoundSignature> {
    let bundle = Bundle::dsse(&cosign::Statement::new(image).bytes(), key).bytes();
    found(image, &Artifact::bundle(image, bundle))
}

/// Is the image of this record signed by this key?
fn is_signed(record: &Record, key: &Key) -> bool {
    let signers = [Signer::with_key("plant".to_owned(), SigstoreKey::from_pem(&key.public_pem()).unwrap())];
    let annotations = BTreeMap::new();
    let requirement = Requirement::new(&signers, &annotations);
    let signatures: Vec<_> = record.signatures.iter().filter_map(|signature| signature.sigstore()).collect();
    let image = SignedImage { digest: record.image.digest, manifest: record.manifest.as_deref() };
    requirement.verify(image, &signatures).is_ok()
}

fn put(store: &EvidenceStore, image: &cosign::Image, found: &[FoundSignature]) {
    let manifest = Arc::from(image.manifest.as_slice());
    store.put(&self::image(image), Some(&manifest), found);
    store.settle();
}

fn put_tag(store: &EvidenceStore, name: &str, image: &cosign::Image, now: Timestamp) {
    store.put_tag(name, digest(image), now);
    store.settle();
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

#[test]
fn scheme_row_132_evidence_of_a_digest_is_kept_over_a_restart() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    for signatures in [layer(&plc, &key), bundle(&plc, &key)] {
        let store = bench.start();
        put(&store, &plc, &signatures);
        assert!(is_signed(&store.get(digest(&plc), soon()).unwrap(), &key), "from memory");
        let store = bench.start();
        let record = store.get(digest(&plc), soon()).unwrap();
        assert!(is_signed(&record, &key), "from the disk");
        assert_eq!((&record.image, record.manifest.is_some()), (&image(&plc), false));
        assert!(Arc::ptr_eq(&record, &store.get(digest(&plc), soon()).unwrap()), "read once");
        assert!(store.get(digest(&cosign::Image::named("other")), soon()).is_none());
    }
}

#[test]
fn scheme_row_133_evidence_says_nothing_about_other_keys() {
    let (bench, old, new) = (Bench::new(), Key::p256(), Key::p256());
    let plc = cosign::Image::named("plc");
    put(&bench.start(), &plc, &layer(&plc, &old));
    let store = bench.start();
    let record = store.get(digest(&plc), soon()).unwrap();
    assert!(is_signed(&record, &old) && !is_signed(&record, &new));
    // Signed again, the image has both, in memory and on the disk.
    put(&store, &plc, &bundle(&plc, &new));
    for store in [store, bench.start()] {
        let record = store.get(digest(&plc), soon()).unwrap();
        assert!(is_signed(&record, &old) && is_signed(&record, &new));
        assert_eq!(record.signatures.len(), 2);
    }
}

#[test]
fn scheme_row_135_a_tag_is_remembered_with_its_time_over_a_restart() {
    let (bench, plc) = (Bench::new(), cosign::Image::named("plc"));
    let asked = ago(600);
    let store = bench.start();
    put_tag(&store, NAME, &plc, asked);
    let now = Timestamp::now();
    let known = store.tag(NAME, now, soon()).unwrap();
    assert_eq!((known.digest, known.age.unwrap().as_secs()), (digest(&plc), 600));
    assert_eq!(known.asked.unwrap().as_secs(), 600);
    let known = bench.start().tag(NAME, now, soon()).unwrap();
    assert_eq!((known.digest, known.age.unwrap().as_secs(), known.asked), (digest(&plc), 600, None));
    assert_eq!(bench.start().tag("registry.local:9001/plant/plc:v2", now, soon()), None);
}

#[test]
fn a_word_from_the_future_has_no_age() {
    let (bench, plc) = (Bench::new(), cosign::Image::named("plc"));
    let store = bench.start();
    put_tag(&store, NAME, &plc, ago(-3_600));
    for store in [&store, &bench.start()] {
        let known = store.tag(NAME, Timestamp::now(), soon()).unwrap();
        assert_eq!((known.digest, known.age), (digest(&plc), None));
        assert!(known.asked.is_none_or(|asked| asked < Duration::from_secs(60)));
    }
    // The clock is right again: the registry's next word counts, although it has an earlier time.
    let other = cosign::Image::named("other");
    let store = bench.start();
    store.tag(NAME, Timestamp::now(), soon()).unwrap();
    put_tag(&store, NAME, &other, ago(0));
    for store in [store, bench.start()] {
        let known = store.tag(NAME, Timestamp::now(), soon()).unwrap();
        assert!(known.digest == digest(&other) && known.age.is_some());
    }
}

#[test]
fn setting_the_clock_back_makes_no_tag_younger() {
    let store = EvidenceStore::new(Settings { cache: None, ..Bench::new().settings() });
    let now = Timestamp::now();
    put_tag(&store, NAME, &cosign::Image::named("plc"), now);
    std::thread::sleep(Duration::from_millis(30));
    let known = store.tag(NAME, now, soon()).unwrap();
    assert!(known.age.unwrap() >= Duration::from_millis(30), "{known:?}");
}

#[test]
fn the_later_of_two_words_counts() {
    let (bench, old, new) = (Bench::new(), cosign::Image::named("old"), cosign::Image::named("new"));
    let store = bench.start();
    put_tag(&store, NAME, &new, ago(1));
    put_tag(&store, NAME, &old, ago(2));
    for store in [store, bench.start()] {
        assert_eq!(store.tag(NAME, Timestamp::now(), soon()).unwrap().digest, digest(&new));
    }
}

#[test]
fn a_new_time_alone_is_written_once_a_minute() {
    let (bench, plc) = (Bench::new(), cosign::Image::named("plc"));
    let store = bench.start();
    let file = || fs::read(bench.tag_file(NAME)).unwrap();
    put_tag(&store, NAME, &plc, ago(100));
    let first = file();
    put_tag(&store, NAME, &plc, ago(50));
    assert_eq!(file(), first);
    put_tag(&store, NAME, &plc, ago(30));
    let second = file();
    assert_ne!(second, first);
    put_tag(&store, NAME, &cosign::Image::named("other"), ago(29));
    assert_ne!(file(), second, "another digest is written at once");
}

#[test]
fn a_manifest_is_kept_only_for_signatures_over_it() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    let message = Bundle::message(&plc.manifest, &key).bytes();
    put(&bench.start(), &plc, &found(&plc, &Artifact::bundle(&plc, message)));
    let store = bench.start();
    let record = store.get(digest(&plc), soon()).unwrap();
    assert_eq!(record.manifest.as_deref(), Some(plc.manifest.as_slice()));
    assert!(is_signed(&record, &key));
    put(&store, &plc, &layer(&plc, &key));
    assert!(bench.start().get(digest(&plc), soon()).unwrap().manifest.is_some(), "it is kept");
}

#[test]
fn layers_with_one_payload_are_told_apart() {
    let (bench, keys) = (Bench::new(), [Key::p256(), Key::p256()]);
    let plc = cosign::Image::named("plc");
    let payload = Payload::new(&plc).bytes();
    let both = found(&plc, &Artifact::layers(&keys.each_ref().map(|key| Layer::new(payload.clone(), key))));
    put(&bench.start(), &plc, &both[1..]);
    let record = bench.start().get(digest(&plc), soon()).unwrap();
    assert!(!is_signed(&record, &keys[0]) && is_signed(&record, &keys[1]));
    assert_eq!(record.signatures.len(), 1);
}

#[test]
fn nothing_is_kept_of_an_image_without_signatures() {
    let (bench, plc) = (Bench::new(), cosign::Image::named("plc"));
    let store = bench.start();
    put(&store, &plc, &[]);
    assert!(store.get(digest(&plc), soon()).is_none() && !bench.cache().exists());
}
