use super::*;

const DIGEST: &str = "the digest of a descriptor is not sha256: and 64 lower-case hexadecimal digits";

/// A manifest whose layer was changed.
fn with_layer(edit: impl Fn(&mut Value)) -> Value {
    let mut manifest = bundle();
    edit(&mut manifest["layers"][0]);
    manifest
}

#[test]
fn a_descriptor_is_read_whole() {
    let manifest = with_layer(|layer| {
        layer["size"] = json!(1 << 30);
        layer["urls"] = json!(["https://example.com"]);
        layer["artifactType"] = json!("a/b");
    });
    let layer = SignatureManifest::read(manifest.to_string().as_bytes(), None, None).unwrap().layers.remove(0);
    let expected = Descriptor {
        media_type: SIGSTORE_BUNDLE.to_owned(),
        digest: Sha256::of(b"bundle"),
        size: 1 << 30,
        artifact_type: Some("a/b".to_owned()),
        annotations: [("a".to_owned(), "b".to_owned())].into(),
    };
    assert_eq!(layer, expected);
    for absent in [json!(null), json!("")] {
        let manifest = with_layer(|layer| layer["artifactType"] = absent.clone());
        let manifest = SignatureManifest::read(manifest.to_string().as_bytes(), None, None).unwrap();
        assert_eq!(manifest.layers[0].artifact_type, None);
    }
}

#[test]
fn other_descriptors_are_refused() {
    let hex = Sha256::of(b"bundle").hex();
    let digests = [
        json!(hex.as_str()),
        json!(format!("sha256:{}", hex.to_uppercase())),
        json!(format!("sha256:{hex}0")),
        json!(format!("sha256:{}", hex.get(1..).unwrap())),
        json!(format!(" sha256:{hex}")),
        json!("sha256:"),
        json!(""),
    ];
    for digest in digests {
        let error = refused(&with_layer(|layer| layer["digest"] = digest.clone()));
        let is_unknown = matches!(error, OciError::Algorithm { .. });
        assert!(
            is_unknown == digest.as_str().unwrap().starts_with(' ') && (is_unknown || error == OciError::Shape(DIGEST))
        );
    }
    let edits: [(Edit, &str); 14] = [
        (|d| d["digest"] = json!(null), "the digest of a descriptor is no string"),
        (|d| d["size"] = json!(-1), "the size of a descriptor"),
        (|d| d["size"] = json!("6"), "the size of a descriptor"),
        (|d| d["size"] = json!(null), "the size of a descriptor"),
        (|d| d["size"] = json!(6.5), "a number that is not an integer"),
        (|d| d["size"] = json!(u64::MAX), "a number that is not an integer"),
        (|d| d["mediaType"] = json!(""), "the mediaType of a descriptor"),
        (|d| d["mediaType"] = json!(null), "the mediaType of a descriptor"),
        (|d| d["artifactType"] = json!(1), "an artifactType is no string"),
        (|d| d["annotations"] = json!([]), "the annotations of a descriptor"),
        (|d| d["annotations"] = json!({"a": 1}), "the annotations of a descriptor"),
        (|d| d["annotations"] = json!({"a": null}), "the annotations of a descriptor"),
        (|d| d["Digest"] = json!(1), "the name digest in another spelling"),
        (|d| *d = json!([]), "not an object"),
    ];
    for (edit, expected) in edits {
        for place in ["config", "layers"] {
            let mut manifest = bundle();
            edit(if place == "layers" { &mut manifest["layers"][0] } else { &mut manifest["config"] });
            let found = refused(&manifest).to_string();
            assert!(
                found.contains(expected) || place == "config" && found.contains("config is no"),
                "{manifest}: {found}"
            );
        }
    }
}

#[test]
fn scheme_row_027_other_algorithms_than_sha256_are_not_supported() {
    let sha512 = format!("sha512:{}", "a".repeat(128));
    for (digest, algorithm) in
        [(sha512.as_str(), "sha512"), ("sha384:00", "sha384"), ("blake3:00", "blake3"), ("md5:", "md5")]
    {
        for place in ["/layers/0/digest", "/config/digest", "/subject/digest"] {
            let mut manifest = bundle();
            *manifest.pointer_mut(place).unwrap() = json!(digest);
            let error = refused(&manifest);
            assert_eq!(error, OciError::Algorithm { found: algorithm.to_owned() }, "{place}");
            let words =
                format!("it has a digest of the algorithm {algorithm:?}, which is not supported: only sha256 is");
            assert_eq!((error.code(), error.to_string()), ("bad-manifest", words));
        }
    }
}

#[test]
fn scheme_row_010_bytes_have_the_descriptors_size_and_digest() {
    let manifest = SignatureManifest::read(bundle().to_string().as_bytes(), None, None).unwrap();
    let mut layer = manifest.layers[0].clone();
    assert_eq!(layer.check(b"bundle"), Ok(()));
    assert_eq!(layer.check(b"bundles"), Err(OciError::Size { expected: 6, found: 7 }));
    assert_eq!(layer.check(b""), Err(OciError::Size { expected: 6, found: 0 }));
    assert_eq!(layer.check(b"bundlE").unwrap_err().code(), "digest-mismatch");
    // The size counts, although the digest is right.
    layer.size = 5;
    assert_eq!(words(layer.check(b"bundle")), "it has 6 bytes instead of 5");
}

#[test]
fn scheme_row_009_an_announced_size_is_limited_before_a_byte_is_read() {
    let layer = |size: u64| {
        let manifest = with_layer(|layer| layer["size"] = json!(size));
        SignatureManifest::read(manifest.to_string().as_bytes(), None, None).unwrap().layers.remove(0)
    };
    assert_eq!(layer(64 << 10).check_limit(64 << 10), Ok(()));
    assert_eq!(layer(0).check_limit(0), Ok(()));
    let error = words(layer((64 << 10) + 1).check_limit(64 << 10));
    assert_eq!(error, "it has 65537 bytes, and at most 65536 are read");
    assert!(layer(1 << 53).check_limit(512 << 10).is_err());
}
