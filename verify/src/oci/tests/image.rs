use super::*;

#[test]
fn scheme_row_001_the_digest_is_the_hash_of_the_bytes() {
    for (media_type, manifest) in images() {
        for text in [manifest.to_string(), format!(" {manifest:#}\n")] {
            let image = Image::read(text.as_bytes(), Some(media_type), None).unwrap();
            assert_eq!((image.digest, image.size), (Sha256::of(text.as_bytes()), text.len() as u64), "{text}");
            assert_eq!(image.media_type, media_type);
        }
    }
}

#[test]
fn scheme_row_002_bytes_of_another_digest_are_refused() {
    let text = images()[0].1.to_string();
    let (found, expected) = (Sha256::of(text.as_bytes()), Sha256::of(b"another"));
    let error = Image::read(text.as_bytes(), Some(OCI_MANIFEST), Some(expected)).unwrap_err();
    assert_eq!((error.code(), &error), ("digest-mismatch", &OciError::Digest { expected, found }));
    assert_eq!(error.to_string(), format!("its bytes have the digest {found} instead of {expected}"));
    // The hash comes first: bytes that nobody asked for are not described.
    let error = Image::read(b"<html>", Some("text/html"), Some(expected)).unwrap_err();
    assert_eq!(error.code(), "digest-mismatch");
    assert!(Image::read(text.as_bytes(), Some(OCI_MANIFEST), Some(found)).is_ok());
}

#[test]
fn scheme_row_003_a_digest_that_nobody_announces_is_not_needed() {
    let text = images()[1].1.to_string();
    assert_eq!(Image::read(text.as_bytes(), Some(OCI_INDEX), None).unwrap().digest, Sha256::of(text.as_bytes()));
}

#[test]
fn scheme_row_004_an_announced_digest_is_that_of_the_bytes() {
    let text = images()[1].1.to_string();
    let mut changed = text.clone().into_bytes();
    for at in 0..changed.len() {
        changed[at] ^= 1;
        let result = Image::read(&changed, Some(OCI_INDEX), Some(Sha256::of(text.as_bytes())));
        assert_eq!(result.unwrap_err().code(), "digest-mismatch", "byte {at}");
        changed[at] ^= 1;
    }
}

#[test]
fn scheme_row_005_header_and_body_have_the_same_media_type() {
    for (media_type, manifest) in images() {
        let text = manifest.to_string();
        let read = |header: Option<&str>| Image::read(text.as_bytes(), header, None);
        let upper = media_type.to_uppercase();
        let parameters = [format!("{media_type}; charset=utf-8"), format!(" {media_type} ;a=b;c"), upper];
        for header in parameters.iter().map(String::as_str).chain([media_type]) {
            assert_eq!(read(Some(header)).unwrap().media_type, media_type, "{header}");
        }
        // Without a header, or with an empty one, the body decides.
        for header in [None, Some(""), Some(" ; charset=utf-8")] {
            assert_eq!(read(header).unwrap().media_type, media_type);
        }
        let others = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, "application/json", "text/plain", "*/*"];
        for other in others.into_iter().filter(|other| *other != media_type) {
            let expected = OciError::ContentType { header: other.to_owned(), body: media_type.to_owned() };
            assert_eq!(read(Some(other)), Err(expected));
        }
        assert!(words(read(Some("a/\u{1b}b"))).starts_with("its Content-Type is"));
    }
}

#[test]
fn scheme_row_005_a_body_without_a_media_type_has_the_headers() {
    for (media_type, mut manifest) in images() {
        manifest.as_object_mut().unwrap().remove("mediaType");
        let text = manifest.to_string();
        let read = |header: Option<&str>| Image::read(text.as_bytes(), header, None);
        if media_type.contains("docker") {
            assert_eq!(words(read(Some(media_type))), "it has no mediaType, which a Docker manifest must have");
        } else {
            assert_eq!(read(Some(&media_type.to_uppercase())).unwrap().media_type, media_type);
            let other = if media_type == OCI_INDEX { OCI_MANIFEST } else { OCI_INDEX };
            assert!(words(read(Some(other))).contains("by its contents"));
        }
        assert_eq!(read(None), Err(OciError::NoMediaType));
        assert_eq!(read(Some("application/json")), Err(OciError::MediaType { found: "application/json".to_owned() }));
    }
}

#[test]
fn scheme_row_006_no_image_is_an_index_as_well() {
    for (media_type, manifest) in images() {
        for (name, value) in [("layers", json!([])), ("manifests", json!([])), ("config", json!({}))] {
            for value in [value, json!(null), json!(1)] {
                let mut both = manifest.clone();
                if both.get(name).is_none() {
                    both[name] = value;
                    let result = Image::read(both.to_string().as_bytes(), Some(media_type), None);
                    assert_eq!(result, Err(OciError::Ambiguous), "{both}");
                }
            }
        }
        // The contents are those of the media type, whatever the header repeats.
        let other = match media_type {
            OCI_MANIFEST => OCI_INDEX,
            OCI_INDEX => OCI_MANIFEST,
            DOCKER_MANIFEST => DOCKER_LIST,
            _ => DOCKER_MANIFEST,
        };
        let mut disguised = manifest.clone();
        disguised["mediaType"] = json!(other);
        let error = words(Image::read(disguised.to_string().as_bytes(), Some(other), None));
        assert!(error.contains("by its contents"), "{error}");
    }
}

#[test]
fn scheme_row_006_names_in_another_case_are_refused() {
    let names = ["Layers", "LAYERS", "layer\u{17f}", "Manifests", "manife\u{17f}t\u{17f}", "MediaType", "mediatype"];
    for (media_type, manifest) in images() {
        for name in names.into_iter().chain(["Config", "FSLayers", "schemaversion", "Subject", "artifacttype"]) {
            let mut folded = manifest.clone();
            folded[name] = json!(null);
            let result = Image::read(folded.to_string().as_bytes(), Some(media_type), None);
            assert!(matches!(result, Err(OciError::OtherCase { .. })), "{name}: {result:?}");
        }
        for name in ["layers2", "x", "", "annotations", "Annotations", "manifest", "schema_version"] {
            let mut other = manifest.clone();
            other[name] = json!({});
            assert!(Image::read(other.to_string().as_bytes(), Some(media_type), None).is_ok(), "{name}");
        }
    }
}

#[test]
fn scheme_row_007_dockers_schema_2_is_read() {
    for (media_type, manifest) in images().into_iter().skip(2) {
        let image = Image::read(manifest.to_string().as_bytes(), Some(media_type), None).unwrap();
        assert_eq!(image.media_type, media_type);
        assert!(media_type.starts_with("application/vnd.docker.distribution.manifest."));
    }
}

#[test]
fn scheme_row_008_schema_1_is_refused_by_name() {
    let types = ["json", "prettyjws"].map(|kind| format!("application/vnd.docker.distribution.manifest.v1+{kind}"));
    let body =
        json!({"schemaVersion": 1, "name": "plant/plc", "tag": "v1", "fsLayers": [], "history": [], "signatures": []});
    let texts = [
        body.to_string(),
        json!({"schemaVersion": 1}).to_string(),
        json!({"fsLayers": []}).to_string(),
        json!({"schemaVersion": 2, "mediaType": types[0], "layers": [], "config": {}}).to_string(),
    ];
    for text in &texts {
        for header in [None, Some(OCI_MANIFEST), Some("application/json"), Some(types[1].as_str())] {
            assert_eq!(Image::read(text.as_bytes(), header, None), Err(OciError::Schema1), "{text} {header:?}");
        }
    }
    // What registries announce as its digest is not the hash of the bytes.
    let header = types[1].to_uppercase() + "; charset=utf-8";
    let result = Image::read(texts[0].as_bytes(), Some(&header), Some(Sha256::of(b"payload")));
    assert!(words(result).contains("schema 1"));
}

#[test]
fn scheme_row_009_a_manifest_has_at_most_four_mebibytes() {
    let (media_type, mut manifest) = images()[0].clone();
    let length = manifest.to_string().len() + r#","annotations":{"a":""}"#.len();
    for (excess, is_read) in [(0, true), (1, false)] {
        manifest["annotations"] = json!({"a": "x".repeat(MAX_MANIFEST - length + excess)});
        let text = manifest.to_string();
        assert_eq!(text.len(), MAX_MANIFEST + excess);
        let result = Image::read(text.as_bytes(), Some(media_type), None);
        assert_eq!(result.is_ok(), is_read, "{result:?}");
    }
    let error = words(Image::read(&vec![b' '; MAX_MANIFEST + 1], None, None));
    assert_eq!(error, "it has 4194305 bytes, and at most 4194304 are read");
}

#[test]
fn other_shapes_are_refused() {
    let edits: [(Edit, &str); 12] = [
        (|m| m["schemaVersion"] = json!(3), "schemaVersion"),
        (|m| m["schemaVersion"] = json!("2"), "schemaVersion"),
        (|m| m["schemaVersion"] = json!(null), "schemaVersion"),
        (|m| m["mediaType"] = json!(null), "mediaType is no string"),
        (|m| m["mediaType"] = json!(""), "not supported"),
        (|m| m["mediaType"] = json!(OCI_MANIFEST.to_uppercase()), "not supported"),
        (|m| m["mediaType"] = json!("application/vnd.oci.artifact.manifest.v1+json"), "not supported"),
        (|m| m["layers"] = json!(null), "layers are no list"),
        (|m| m["layers"] = json!({}), "layers are no list"),
        (|m| m["config"] = json!(null), "config is no object"),
        (|m| *m = json!([m.clone()]), "not an object"),
        (|m| *m = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST}), "neither layers nor manifests"),
    ];
    for (edit, expected) in edits {
        let mut manifest = images()[0].1.clone();
        edit(&mut manifest);
        let found = words(Image::read(manifest.to_string().as_bytes(), None, None));
        assert!(found.contains(expected), "{manifest}: {found}");
    }
    let text = images()[0].1.to_string();
    for bad in ["", "{", "null", "\u{feff}", "<html></html>"] {
        for text in [bad.to_owned(), bad.to_owned() + &text, text.clone() + bad] {
            assert_eq!(Image::read(text.as_bytes(), None, None).is_ok(), bad.is_empty() && !text.is_empty(), "{text}");
        }
    }
    let twice = text.replacen('{', r#"{"media\u0054ype":"a/b","#, 1);
    assert!(words(Image::read(twice.as_bytes(), None, None)).contains("the same key twice"));
}
