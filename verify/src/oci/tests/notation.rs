//! Which manifests may be signatures of Notation, and where their envelope is.

use super::*;
use crate::notation::EnvelopeFormat;
use crate::oci::candidates::{notation_candidates, notation_layer};
use media_type::NOTATION_SIGNATURE;

const THUMBPRINTS: &str = "io.cncf.notary.x509chain.thumbprint#S256";

/// The manifest of a signature as notation 1 writes it.
fn signature() -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
           "config": {"mediaType": NOTATION_SIGNATURE, "digest": digest(b"{}"), "size": 2},
           "layers": [{"mediaType": "application/jose+json", "digest": digest(b"envelope"), "size": 8}],
           "subject": {"mediaType": OCI_MANIFEST, "digest": digest(b"image"), "size": 5}})
}

fn layer_of(manifest: &Value) -> Result<EnvelopeFormat, OciError> {
    let manifest = SignatureManifest::read(manifest.to_string().as_bytes(), None, None)?;
    notation_layer(&manifest, Sha256::of(b"image")).map(|(_, format)| format)
}

fn entry(number: usize, kind: Option<&str>, annotations: &[&str]) -> Descriptor {
    Descriptor {
        media_type: OCI_MANIFEST.to_owned(),
        digest: Sha256::of(&number.to_le_bytes()),
        size: 728,
        artifact_type: kind.map(str::to_owned),
        annotations: annotations.iter().map(|name| ((*name).to_owned(), "[]".to_owned())).collect(),
    }
}

fn places(list: &[Descriptor]) -> Vec<usize> {
    let place = |candidate: &Descriptor| list.iter().position(|entry| entry == candidate).unwrap();
    notation_candidates(list).unwrap().into_iter().map(place).collect()
}

#[test]
fn scheme_row_115_the_dead_artifact_manifest_is_passed_over() {
    let dead = "application/vnd.oci.artifact.manifest.v1+json";
    let entry = Descriptor { media_type: dead.to_owned(), ..entry(0, Some(NOTATION_SIGNATURE), &[]) };
    assert!(places(&[entry]).is_empty());
    let mut manifest = signature();
    manifest["mediaType"] = dead.into();
    assert!(words(layer_of(&manifest)).contains("is not supported here"));
}

#[test]
fn scheme_row_116_the_type_stands_in_the_config_or_in_artifact_type() {
    let with = |artifact_type: Option<&str>, config: &str| {
        let mut manifest = signature();
        manifest["config"]["mediaType"] = config.into();
        if let Some(kind) = artifact_type {
            manifest["artifactType"] = kind.into();
        }
        layer_of(&manifest)
    };
    for (artifact_type, config) in [
        (None, NOTATION_SIGNATURE),
        (Some(NOTATION_SIGNATURE), NOTATION_SIGNATURE),
        (Some(NOTATION_SIGNATURE), OCI_EMPTY),
        (Some(""), NOTATION_SIGNATURE), // Go's writers may write an empty text for none
    ] {
        assert_eq!(with(artifact_type, config), Ok(EnvelopeFormat::Jws), "{artifact_type:?} {config}");
    }
    for (artifact_type, config, expected) in [
        (Some(SIGSTORE_BUNDLE), NOTATION_SIGNATURE, "contradict each other"),
        (Some(NOTATION_SIGNATURE), "application/spdx+json", "contradict each other"),
        (Some("application/spdx+json"), OCI_EMPTY, "no Notation signature"),
        (None, OCI_EMPTY, "no Notation signature"),
    ] {
        let words = words(with(artifact_type, config));
        assert!(words.contains(expected), "{artifact_type:?} {config}: {words}");
    }
}

#[test]
fn one_layer_of_a_known_format_about_this_image() {
    type Case = (&'static str, Edit);
    let cases: [Case; 5] = [
        ("exactly one layer", |manifest| manifest["layers"] = json!([])),
        ("exactly one layer", |manifest| {
            let layer = manifest["layers"][0].clone();
            manifest["layers"].as_array_mut().unwrap().push(layer);
        }),
        ("its media type \"application/json\"", |manifest| {
            manifest["layers"][0]["mediaType"] = "application/json".into()
        }),
        ("about another image", |manifest| manifest["subject"]["digest"] = digest(b"other").into()),
        ("does not say which image", |manifest| manifest["subject"] = Value::Null),
    ];
    for (expected, edit) in cases {
        let mut manifest = signature();
        edit(&mut manifest);
        let words = words(layer_of(&manifest));
        assert!(words.contains(expected), "{words}");
    }
    let mut cose = signature();
    cose["layers"][0]["mediaType"] = "application/cose".into();
    assert_eq!(layer_of(&cose), Ok(EnvelopeFormat::Cose));
}

#[test]
fn candidates_are_marked_by_their_type_or_their_thumbprints() {
    let list = [
        entry(0, Some(NOTATION_SIGNATURE), &[]),
        entry(1, Some(SIGSTORE_BUNDLE), &[THUMBPRINTS]),
        entry(2, None, &[]),
        entry(3, Some(OCI_EMPTY), &[THUMBPRINTS]),
        entry(4, Some("application/spdx+json"), &[]),
        Descriptor { size: (256 << 10) + 1, ..entry(5, Some(NOTATION_SIGNATURE), &[]) },
        Descriptor { media_type: OCI_INDEX.to_owned(), ..entry(6, Some(NOTATION_SIGNATURE), &[]) },
        entry(0, Some(NOTATION_SIGNATURE), &[]),
    ];
    assert_eq!(places(&list), [0, 2, 3]);
    let unmarked = (10..310).map(|number| entry(number, Some(OCI_EMPTY), &[]));
    let list: Vec<_> = unmarked.chain([entry(0, Some(NOTATION_SIGNATURE), &[])]).collect();
    assert_eq!(places(&list), [300]);
    let many: Vec<_> = (0..33).map(|number| entry(number, Some(NOTATION_SIGNATURE), &[])).collect();
    assert_eq!(notation_candidates(&many), Err(OciError::TooMany { limit: MAX_CANDIDATES }));
    assert_eq!(places(&many[..32]).len(), 32);
}
