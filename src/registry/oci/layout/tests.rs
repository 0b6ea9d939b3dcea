use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use portreeve_test_support::cosign::{Artifact, Bundle, Image as SignedImage, Key, Layer, Payload, Statement};
use serde_json::{Value, json};

use super::*;
use crate::base::files::scratch::Scratch;
use portreeve_verify::oci::MAX_MANIFEST;

const PLC: &str = "registry.local:9001/plant/plc";
const CAP: usize = MAX_MANIFEST;

/// A layout as a test writes it.
struct Stick {
    scratch: Scratch,
    entries: Vec<Value>,
}

impl Stick {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.write("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        Self { scratch, entries: Vec::new() }
    }

    fn blob(&self, bytes: &[u8]) -> Sha256 {
        let digest = Sha256::of(bytes);
        let path = self.scratch.path().join(blob_path(digest));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        digest
    }

    fn entry(&mut self, bytes: &[u8], annotations: &Value) -> Sha256 {
        let digest = self.blob(bytes);
        self.entries.push(json!({
            "mediaType": media_type::OCI_MANIFEST, "digest": digest.to_string(), "size": bytes.len(), "annotations": annotations
        }));
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": self.entries });
        self.scratch.write(INDEX, index.to_string());
        digest
    }

    fn artifact(&mut self, artifact: &Artifact, annotations: &Value) -> Sha256 {
        for blob in &artifact.blobs {
            self.blob(blob);
        }
        self.entry(&artifact.manifest, annotations)
    }

    fn open<'a>(&'a self, repository: &'a str) -> Box<dyn Repository + 'a> {
        open(self.scratch.path(), repository, Deadline::after(Duration::from_secs(20)))
    }
}

fn named(name: &str) -> Value {
    json!({ REF_NAME: name })
}

fn bytes_of(image: &SignedImage) -> &[u8] {
    &image.manifest
}

fn digest_of(image: &SignedImage) -> Sha256 {
    Sha256::new(image.sha256())
}

fn is_absent<T>(result: Result<T, FetchError>) -> bool {
    matches!(result, Err(FetchError::NotFound { .. }))
}

#[test]
fn scheme_row_137_an_image_is_found_by_digest_and_by_its_name_and_no_other_is() {
    let mut stick = Stick::new();
    let (plc, hmi, bare) = (SignedImage::named("plc"), SignedImage::named("hmi"), SignedImage::named("bare"));
    stick.entry(bytes_of(&plc), &named(&format!("{PLC}:v1")));
    stick.entry(bytes_of(&hmi), &named("registry.local:9001/plant/hmi:v2"));
    stick.entry(bytes_of(&bare), &named("v3"));
    let repository = stick.open(PLC);
    let found = |wanted| repository.image(wanted, CAP).map(|fetched| fetched.image.digest);
    assert_eq!(found(Wanted::Tag("v1")).unwrap(), digest_of(&plc));
    assert_eq!(found(Wanted::Digest(digest_of(&plc))).unwrap(), digest_of(&plc));
    assert_eq!(found(Wanted::Tag("v3")).unwrap(), digest_of(&bare));
    // The tag of another repository, an unknown tag, an unknown digest.
    for wanted in [Wanted::Tag("v2"), Wanted::Tag("latest"), Wanted::Digest(Sha256::of(b"unknown"))] {
        assert!(is_absent(repository.image(wanted, CAP)), "{wanted:?}");
    }
}

#[test]
fn a_tag_without_a_name_counts_only_if_it_is_there_once() {
    let mut stick = Stick::new();
    stick.entry(bytes_of(&SignedImage::named("one")), &named("v1"));
    stick.entry(bytes_of(&SignedImage::named("two")), &named("v1"));
    assert!(is_absent(stick.open(PLC).image(Wanted::Tag("v1"), CAP)));
    // The whole name decides, wherever it stands.
    let plc = SignedImage::named("plc");
    stick.entry(bytes_of(&plc), &named(&format!("{PLC}:v1")));
    assert_eq!(stick.open(PLC).image(Wanted::Tag("v1"), CAP).unwrap().image.digest, digest_of(&plc));
}

#[test]
fn signatures_are_found_by_their_subject_and_by_their_tag() {
    let mut stick = Stick::new();
    let key = Key::p256();
    let (plc, other) = (SignedImage::named("plc"), SignedImage::named("other"));
    stick.entry(bytes_of(&plc), &named(&format!("{PLC}:v1")));
    let bundle =
        |image: &SignedImage| Artifact::bundle(image, Bundle::dsse(&Statement::new(image).bytes(), &key).bytes());
    let by_export = stick.artifact(&bundle(&plc), &json!({ SUBJECT: plc.digest() }));
    let theirs = stick.artifact(&bundle(&other), &json!({}));
    let old = Artifact::layers(&[Layer::new(Payload::new(&plc).bytes(), &key)]);
    let tag = plc.tag(".sig");
    stick.artifact(&old, &json!({ REF_NAME: format!("{PLC}:{tag}"), SUBJECT: other.digest() }));
    let repository = stick.open(PLC);
    let digests = |image: &SignedImage| {
        let list = repository.referrers(digest_of(image), CAP).unwrap().unwrap();
        list.iter().map(|entry| entry.digest).collect::<Vec<_>>()
    };
    assert_eq!(digests(&plc), [by_export]);
    assert!(digests(&other).contains(&theirs));
    let signatures = repository.signatures(Wanted::Tag(&tag), CAP).unwrap();
    assert_eq!(signatures.bytes, old.manifest);
    let payload = &signatures.manifest.layers[0];
    assert_eq!(Sha256::of(&repository.blob(payload, CAP).unwrap()), payload.digest);
    assert!(is_absent(repository.signatures(Wanted::Tag("sha256-none.sig"), CAP)));
    assert!(repository.tagged_referrers(digest_of(&plc), CAP).unwrap().is_empty());
}

#[test]
fn other_bytes_and_links_out_of_the_layout_are_refused() {
    let mut stick = Stick::new();
    let plc = SignedImage::named("plc");
    let digest = stick.entry(bytes_of(&plc), &named(&format!("{PLC}:v1")));
    let path = stick.scratch.path().join(blob_path(digest));
    fs::write(&path, bytes_of(&SignedImage::named("another"))).unwrap();
    let found = stick.open(PLC).image(Wanted::Tag("v1"), CAP);
    assert!(matches!(found, Err(FetchError::Rejected { .. })), "{found:?}");
    let outside = Scratch::new();
    outside.write("manifest", std::str::from_utf8(bytes_of(&plc)).unwrap());
    fs::remove_file(&path).unwrap();
    symlink(outside.path().join("manifest"), &path).unwrap();
    let found = stick.open(PLC).image(Wanted::Tag("v1"), CAP);
    assert!(matches!(found, Err(FetchError::Unavailable(_))), "{found:?}");
}

#[test]
fn what_is_no_layout_says_nothing() {
    let scratch = Scratch::new();
    let missing = scratch.path().join("missing");
    for directory in [scratch.path(), &missing] {
        for wanted in [Wanted::Tag("v1"), Wanted::Digest(Sha256::of(b"x"))] {
            let found = open(directory, PLC, Deadline::after(Duration::from_secs(20))).image(wanted, CAP);
            assert!(matches!(found, Err(FetchError::Unavailable(_))), "{found:?}");
        }
    }
}

#[test]
fn an_image_without_a_media_type_has_that_of_the_layouts_index() {
    let mut stick = Stick::new();
    let manifest = json!({"schemaVersion": 2, "config": {}, "layers": []}).to_string();
    let digest = stick.entry(manifest.as_bytes(), &named(&format!("{PLC}:v1")));
    let child = stick.blob(manifest.replace('2', " 2").as_bytes());
    let repository = stick.open(PLC);
    for wanted in [Wanted::Tag("v1"), Wanted::Digest(digest)] {
        let image = repository.image(wanted, CAP).unwrap().image;
        assert_eq!((image.digest, image.media_type.as_str()), (digest, media_type::OCI_MANIFEST));
    }
    // Nothing says what this one is.
    let refused = repository.image(Wanted::Digest(child), CAP);
    assert!(matches!(refused, Err(FetchError::Rejected { code: "bad-manifest", .. })), "{refused:?}");
}

#[test]
fn a_large_index_is_read_within_its_cap_and_its_time() {
    let (mut stick, key, plc) = (Stick::new(), Key::p256(), SignedImage::named("plc"));
    let bundle = Bundle::dsse(&Statement::new(&plc).bytes(), &key);
    stick.artifact(&Artifact::bundle(&plc, bundle.bytes()), &json!({ "x": "y".repeat(50_000) }));
    let repository = stick.open(PLC);
    let found = repository.referrers(digest_of(&plc), 32 << 10);
    assert!(matches!(found, Err(FetchError::TooLarge { .. })), "{found:?}");
    assert_eq!(repository.referrers(digest_of(&plc), CAP).unwrap().unwrap().len(), 1);
    let late = open(stick.scratch.path(), PLC, Deadline::after(Duration::ZERO));
    let found = late.referrers(digest_of(&plc), CAP);
    let Err(FetchError::Unavailable(unavailable)) = found else { panic!("{found:?}") };
    assert_eq!(unavailable.cause, UnavailableCause::OutOfTime);
}
