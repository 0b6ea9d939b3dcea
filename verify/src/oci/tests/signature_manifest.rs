use super::*;
use media_type::COSIGN_PAYLOAD;
use portreeve_test_support::cosign;

fn read(manifest: &Value) -> Result<SignatureManifest, OciError> {
    SignatureManifest::read(manifest.to_string().as_bytes(), Some(OCI_MANIFEST), None)
}

#[test]
fn both_formats_are_read_as_the_signer_writes_them() {
    let (key, image) = (cosign::Key::p256(), cosign::Image::named("plc"));
    let digest = Sha256::of(&image.manifest);
    let payload = cosign::Payload::new(&image).bytes();
    let layers: Vec<_> = (0..3).map(|_| cosign::Layer::new(payload.clone(), &key)).collect();
    let old = cosign::Artifact::layers(&layers);
    let manifest = SignatureManifest::read(&old.manifest, Some(OCI_MANIFEST), Some(Sha256::of(&old.manifest))).unwrap();
    assert_eq!((manifest.subject, manifest.artifact_type.as_deref()), (None, None));
    for (layer, signed) in candidates::payload_layers(&manifest).unwrap().into_iter().zip(&layers) {
        assert!(layer.annotations.iter().eq(&signed.annotations));
        assert_eq!(layer.check(&payload), Ok(()));
    }
    assert_eq!(manifest.layers.len(), 3);
    assert!(candidates::bundle_layer(&manifest, digest).is_err());

    let new = cosign::Artifact::bundle(&image, b"bundle".to_vec());
    let manifest = SignatureManifest::read(&new.manifest, None, None).unwrap();
    assert_eq!((manifest.subject, manifest.digest), (Some(digest), Sha256::of(&new.manifest)));
    assert_eq!((manifest.config.media_type.as_str(), manifest.config.check(b"{}")), (OCI_EMPTY, Ok(())));
    assert_eq!(candidates::bundle_layer(&manifest, digest).unwrap().check(b"bundle"), Ok(()));
    assert!(candidates::payload_layers(&manifest).unwrap().is_empty());
}

#[test]
fn scheme_row_019_a_manifest_about_another_image_is_passed_over() {
    let image = Sha256::of(b"image");
    assert!(candidates::bundle_layer(&read(&bundle()).unwrap(), image).is_ok());
    let mut other = bundle();
    other["subject"]["digest"] = json!(digest(b"another"));
    let manifest = read(&other).unwrap();
    let error = candidates::bundle_layer(&manifest, image).unwrap_err();
    assert_eq!(error, OciError::Subject { found: Some(Sha256::of(b"another")) });
    assert_eq!(error.to_string(), format!("it is about another image, {}", digest(b"another")));
    for absent in [None, Some(json!(null))] {
        let mut none = bundle();
        match absent {
            None => drop(none.as_object_mut().unwrap().remove("subject")),
            Some(null) => none["subject"] = null,
        }
        let error = candidates::bundle_layer(&read(&none).unwrap(), image).unwrap_err().to_string();
        assert_eq!(error, "it does not say which image it is about");
    }
    // A subject that cannot be read is not an absent one.
    for subject in [json!({}), json!([]), json!(1), json!({"digest": 1}), json!({"Digest": digest(b"image")})] {
        let mut bad = bundle();
        bad["subject"] = subject.clone();
        assert!(read(&bad).is_err(), "{subject}");
    }
}

#[test]
fn scheme_row_054_an_index_is_no_signature() {
    for (media_type, manifest) in images() {
        let result = SignatureManifest::read(manifest.to_string().as_bytes(), Some(media_type), None);
        if media_type == OCI_MANIFEST {
            assert!(result.is_ok());
        } else {
            assert_eq!(result, Err(OciError::MediaType { found: media_type.to_owned() }));
        }
    }
    // Nor is a manifest that says that it is one.
    let mut both = bundle();
    both["manifests"] = json!([]);
    assert_eq!(read(&both), Err(OciError::Ambiguous));
}

#[test]
fn a_manifest_without_a_media_type_is_an_oci_manifest_by_its_shape() {
    for (header, is_read) in [(None, true), (Some(""), true), (Some(OCI_MANIFEST), true), (Some(OCI_INDEX), false)] {
        let mut manifest = bundle();
        manifest.as_object_mut().unwrap().remove("mediaType");
        let result = SignatureManifest::read(manifest.to_string().as_bytes(), header, None);
        assert_eq!(result.is_ok(), is_read, "{header:?}: {result:?}");
    }
    let index = json!({"schemaVersion": 2, "manifests": []});
    assert!(
        words(SignatureManifest::read(index.to_string().as_bytes(), None, None)).contains("an index by its contents")
    );
}

#[test]
fn scheme_row_054_a_huge_descriptor_is_refused_by_its_size() {
    let mut huge = bundle();
    huge["config"]["size"] = json!(1 << 30);
    huge["layers"][0]["size"] = json!(1 << 30);
    let manifest = read(&huge).unwrap();
    for descriptor in [&manifest.config, &manifest.layers[0]] {
        let error = words(descriptor.check_limit(512 << 10));
        assert_eq!(error, "it has 1073741824 bytes, and at most 524288 are read");
    }
}

#[test]
fn scheme_row_009_a_manifest_of_signatures_has_at_most_256_kibibytes() {
    let mut manifest = bundle();
    let length = manifest.to_string().len() + r#","annotations":{"a":""}"#.len();
    for (excess, is_read) in [(0, true), (1, false)] {
        manifest["annotations"] = json!({"a": "x".repeat(MAX_SIGNATURE_MANIFEST - length + excess)});
        assert_eq!(read(&manifest).is_ok(), is_read);
    }
    let error = words(read(&manifest));
    assert_eq!(error, "it has 262145 bytes, and at most 262144 are read");
}

#[test]
fn scheme_row_046_layers_of_other_kinds_are_passed_over() {
    let mut manifest = bundle();
    let layer = |kind: &str| json!({"mediaType": kind, "digest": digest(kind.as_bytes()), "size": 1});
    let others = [layer("application/octet-stream"), layer(&COSIGN_PAYLOAD.to_uppercase()), layer(SIGSTORE_BUNDLE)];
    manifest["layers"] = json!([others[0], layer(COSIGN_PAYLOAD), others[1], others[2]]);
    let manifest = read(&manifest).unwrap();
    let payloads = candidates::payload_layers(&manifest).unwrap();
    assert_eq!(payloads.iter().map(|layer| layer.digest).collect::<Vec<_>>(), [Sha256::of(COSIGN_PAYLOAD.as_bytes())]);
}

#[test]
fn scheme_row_049_a_layer_that_is_repeated_is_counted() {
    let layer = json!({"mediaType": COSIGN_PAYLOAD, "digest": digest(b"payload"), "size": 7});
    let foreign = json!({"mediaType": "a/b", "digest": digest(b"payload"), "size": 7});
    let with = |payloads: usize, others: usize| {
        let mut manifest = bundle();
        manifest["layers"] = json!([vec![layer.clone(); payloads], vec![foreign.clone(); others]].concat());
        read(&manifest)
    };
    assert_eq!(candidates::payload_layers(&with(32, 200).unwrap()).unwrap().len(), 32);
    let error = candidates::payload_layers(&with(33, 0).unwrap()).unwrap_err();
    assert_eq!((error.code(), &error), ("too-many-signatures", &OciError::TooMany { limit: 32 }));
    assert_eq!(error.to_string(), "there are more than 32 signatures: remove those that are not needed");
    assert!(with(0, MAX_LAYERS).is_ok());
    assert_eq!(with(1, MAX_LAYERS).unwrap_err(), OciError::TooMany { limit: MAX_LAYERS });
}

#[test]
fn scheme_row_072_a_referrer_has_one_layer() {
    let image = Sha256::of(b"image");
    let mut two = bundle();
    two["layers"] = json!([two["layers"][0], two["layers"][0]]);
    let mut none = bundle();
    none["layers"] = json!([]);
    for manifest in [two, none] {
        let manifest = read(&manifest).unwrap();
        assert_eq!(words(candidates::bundle_layer(&manifest, image)), "it has not exactly one layer");
    }
}

#[test]
fn scheme_row_018_the_manifests_own_type_decides() {
    let image = Sha256::of(b"image");
    for (artifact_type, layer, is_bundle) in [
        (SIGSTORE_BUNDLE, SIGSTORE_BUNDLE, true),
        ("application/vnd.dev.sigstore.bundle+json;version=0.2", SIGSTORE_BUNDLE, true),
        (OCI_EMPTY, SIGSTORE_BUNDLE, false),
        ("", SIGSTORE_BUNDLE, false),
        ("application/vnd.cncf.notary.signature", SIGSTORE_BUNDLE, false),
        (SIGSTORE_BUNDLE, OCI_EMPTY, false),
        (SIGSTORE_BUNDLE, COSIGN_PAYLOAD, false),
    ] {
        let mut manifest = bundle();
        manifest["artifactType"] = json!(artifact_type);
        manifest["layers"][0]["mediaType"] = json!(layer);
        let manifest = read(&manifest).unwrap();
        assert_eq!(candidates::bundle_layer(&manifest, image).is_ok(), is_bundle, "{artifact_type} {layer}");
    }
}
