//! The old format with keys: rows 32 to 50.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

#[test]
fn scheme_row_032_p256_over_sha_256_in_der() {
    let (image, key) = (plc(), Key::p256());
    let signature = layer(&Payload::new(&image), &key);
    assert!(is_accepted(&image, &signature, &key));
    assert!(!is_accepted(&image, &signature, &Key::p256()), "another key");
    assert!(!is_accepted(&Image::named("other"), &signature, &key), "another image");
}

/// Keys that ring signs with. `key/tests.rs` has those that it does not: P-384 over SHA-256, RSA of other sizes.
#[test]
fn scheme_row_033_034_036_other_keys() {
    let image = plc();
    let keys = [Key::p256(), Key::p384(), Key::rsa(), Key::ed25519()];
    for (index, made) in keys.iter().enumerate() {
        let signature = layer(&Payload::new(&image), made);
        for (other, key) in keys.iter().enumerate() {
            assert_eq!(is_accepted(&image, &signature, key), index == other, "key {index}, signer {other}");
        }
    }
}

#[test]
fn scheme_row_035_038_other_paddings_and_encodings_are_rejected() {
    let image = plc();
    for key in [Key::rsa(), Key::p256(), Key::p384()] {
        let payload = Payload::new(&image).bytes();
        let otherwise = key.sign_otherwise(&payload);
        let signature = layers(&[Layer::with_signature(payload, &otherwise)]).remove(0);
        assert!(signature.is_ok() && !is_accepted(&image, &signature, &key));
    }
}

#[test]
fn scheme_row_039_the_digest_of_another_image() {
    let (image, key) = (plc(), Key::p256());
    let signature = layer(&Payload::new(&Image::named("other")), &key).unwrap();
    let signers = [signer("alice", &key)];
    let (code, text) = why(by(&signers).signers_of(about(&image), &signature));
    assert_eq!((code, text.as_str()), ("other-image", "it is about another image: the digest differs"));
    assert!(!is_accepted(&image, &Ok(signature), &key));
}

#[test]
fn scheme_row_040_another_type() {
    let (image, key) = (plc(), Key::p256());
    let with = |kind: Value| why(layer(&Payload::new(&image).edit(|payload| payload["critical"]["type"] = kind), &key));
    for kind in
        ["atomic container signature", "Cosign container image signature", "cosign container image signature ", ""]
    {
        let (code, text) = with(kind.into());
        assert!(code == "bad-signature" && text.contains(&format!("is \"{kind}\"")), "{text}");
    }
    for kind in [Value::Null, json!(1), json!(["cosign container image signature"])] {
        assert_eq!(with(kind).0, "bad-signature");
    }
    let removed =
        Payload::new(&image).edit(|payload| drop(payload["critical"].as_object_mut().unwrap().remove("type")));
    assert_eq!(why(layer(&removed, &key)).0, "bad-signature");
}

#[test]
fn scheme_row_041_names_are_exact() {
    let (image, key) = (plc(), Key::p256());
    let text = String::from_utf8(Payload::new(&image).bytes()).unwrap();
    for name in ["critical", "identity", "image", "type", "docker-reference", "docker-manifest-digest", "optional"] {
        let upper = format!("\"{}{}\":", name.get(..1).unwrap().to_uppercase(), tail(name));
        let other = text.replace(&format!("\"{name}\":"), &upper);
        assert_ne!(other, text);
        assert_eq!(why(raw_layer(other.clone().into_bytes(), &key)).0, "bad-signature", "{other}");
        // Beside the right name, where a reader that ignores case takes the last.
        let both = text.replace(&format!("\"{name}\":"), &format!("{upper}null,\"{name}\":"));
        assert_eq!(why(raw_layer(both.clone().into_bytes(), &key)).0, "bad-signature", "{both}");
    }
    let added = Payload::new(&image).edit(|payload| payload["critical"]["tag"] = "v1".into());
    assert!(why(layer(&added, &key)).1.contains("a member \"tag\""));
}

#[test]
fn scheme_row_042_one_reading() {
    let (image, key) = (plc(), Key::p256());
    let text = String::from_utf8(Payload::new(&image).bytes()).unwrap();
    let digest = format!("\"docker-manifest-digest\":\"{}\"", image.digest());
    let other = digest.replace(&image.hex(), &"0".repeat(64));
    assert!(text.contains(&digest));
    let wrong = [
        text.replace(&digest, &format!("{digest},{other}")),
        text.replace(&digest, &format!("{other},{digest}")),
        text.replace(&digest, &format!("{digest},{}", digest.replace("digest\":", "\\u0064igest\":"))),
        text.replace("\"optional\":null", "\"optional\":{\"a\":\"1\",\"a\":\"2\"}"),
        format!("{{\"critical\":null,{}", tail(&text)),
        format!("{text}{text}"),
        format!("{text}x"),
        format!("{text}\0"),
        format!("\u{feff}{text}"),
        text.strip_suffix('}').unwrap().to_owned(),
        format!("[{text}]"),
        String::new(),
    ];
    for wrong in wrong {
        assert_ne!(wrong, text);
        assert_eq!(why(raw_layer(wrong.clone().into_bytes(), &key)).0, "bad-signature", "{wrong}");
    }
    let latin = [b"{\"".as_slice(), &[0xe9], b"\":1,", &text.as_bytes()[1..]].concat();
    assert_eq!(why(raw_layer(latin, &key)).0, "bad-signature");
    // White space is no second reading.
    assert!(is_accepted(&image, &raw_layer(format!(" \n{text}\n").into_bytes(), &key), &key));
}

#[test]
fn scheme_row_043_digests_are_lower_case_sha256() {
    let (image, key) = (plc(), Key::p256());
    let hex = image.hex();
    let wrong = [
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha512:{hex}{hex}"),
        format!("sha256:{hex} "),
        format!("sha256:{}", tail(&hex)),
        hex,
        String::new(),
    ];
    for wrong in wrong {
        let payload = Payload::new(&image).edit(|payload| {
            payload["critical"]["image"]["docker-manifest-digest"] = wrong.as_str().into();
        });
        assert!(why(layer(&payload, &key)).1.contains("docker-manifest-digest"), "{wrong}");
    }
    for wrong in [json!(null), json!(7), json!([image.digest()])] {
        let payload =
            Payload::new(&image).edit(|payload| payload["critical"]["image"]["docker-manifest-digest"] = wrong);
        assert_eq!(why(layer(&payload, &key)).0, "bad-signature");
    }
}

#[test]
fn scheme_row_044_another_repository_unless_the_policy_asks() {
    let (image, key) = (plc(), Key::p256());
    let signers = [signer("alice", &key)];
    let is_of = |reference: &str, repository: &str| {
        let signature = layer(&Payload::new(&image).reference(reference), &key).unwrap();
        assert!(verify(by(&signers), &image, &[&signature]).is_ok(), "a mirror needs it");
        let requirement = Requirement { repository: Some(repository), ..by(&signers) };
        verify(requirement, &image, &[&signature]).map(drop)
    };
    let plc = "registry.local:9001/plant/plc";
    for reference in
        [plc, &format!("{plc}:v1"), &format!("{plc}:v2@{}", image.digest()), "REGISTRY.local:9001/plant/plc"]
    {
        assert_eq!(is_of(reference, plc), Ok(()), "{reference}");
    }
    for reference in ["nginx", "index.docker.io/library/nginx:1", "docker.io/nginx"] {
        assert_eq!(is_of(reference, "docker.io/library/nginx"), Ok(()), "{reference}");
    }
    for reference in
        ["registry.local:9001/plant/plc2", "registry.local/plant/plc", "mirror.local/plant/plc", "plant/plc"]
    {
        let text = is_of(reference, plc).unwrap_err().to_string();
        assert!(text.contains("signed by alice for ") && text.contains("sameRepository requires"), "{text}");
    }
    for reference in ["", "registry.local:9001/plant/plc:", "registry.local:9001/Plant/plc", "\u{202e}"] {
        let text = is_of(reference, plc).unwrap_err().to_string();
        assert!(text.contains("for no valid image name"), "{text}");
    }
}

#[test]
fn scheme_row_045_annotations_are_strings() {
    let (image, key) = (plc(), Key::p256());
    let signers = [signer("alice", &key)];
    let required = annotations(&[("build", "42")]);
    let requirement = Requirement { annotations: &required, ..by(&signers) };
    let verdict = |payload: &Payload| verify(requirement, &image, &[&layer(payload, &key).unwrap()]).map(drop);
    let build = |value: Value| Payload::new(&image).annotation("build", value);
    assert_eq!(verdict(&build("42".into())), Ok(()));
    assert_eq!(verdict(&build("42".into()).annotation("line", 7).annotation("a", json!({"b": []}))), Ok(()));
    let text = verdict(&build("43".into())).unwrap_err().to_string();
    assert!(
        text.contains("signed by alice with the annotation build=\"43\", and the policy requires \"42\""),
        "{text}"
    );
    let others = [
        build(42.into()),
        build(Value::Null),
        build(json!(["42"])),
        Payload::new(&image),
        Payload::new(&image).annotation("Build", "42"),
    ];
    for other in others {
        let text = verdict(&other).unwrap_err().to_string();
        assert!(text.contains("signed by alice without the annotation build"), "{text}");
    }
    let no_object = Payload::new(&image).edit(|payload| payload["optional"] = json!([]));
    assert_eq!(why(layer(&no_object, &key)).0, "bad-signature");
    let absent = Payload::new(&image).edit(|payload| drop(payload.as_object_mut().unwrap().remove("optional")));
    assert!(is_accepted(&image, &layer(&absent, &key), &key));
    let many = |count: usize| {
        (0..count).fold(Payload::new(&image), |payload, index| payload.annotation(&index.to_string(), "x"))
    };
    assert!(is_accepted(&image, &layer(&many(256), &key), &key));
    assert!(why(layer(&many(257), &key)).1.contains("more than 256"));
}

#[test]
fn scheme_row_046_a_layer_of_another_type_is_passed_over() {
    let (image, key) = (plc(), Key::p256());
    let sound = Layer::new(Payload::new(&image).bytes(), &key);
    let other = Layer { media_type: "application/vnd.dev.cosign.artifact.sbom.v1+json".into(), ..sound.clone() };
    let artifact = Artifact::layers(std::slice::from_ref(&other));
    let manifest = SignatureManifest::read(&artifact.manifest, None, None).unwrap();
    assert!(payload_layers(&manifest).unwrap().is_empty());
    let read = Signature::from_layer(&manifest, &manifest.layers[0], sound.payload.as_slice().into());
    assert!(why(read).1.contains("media type"));
}

#[test]
fn layers_of_one_payload_share_its_bytes() {
    let (image, key) = (plc(), Key::p256());
    let artifact = Artifact::layers(&[Layer::new(Payload::new(&image).bytes(), &key)]);
    let manifest = SignatureManifest::read(&artifact.manifest, None, None).unwrap();
    let payload: Arc<[u8]> = artifact.blobs[0].as_slice().into();
    let read = || Signature::from_layer(&manifest, &manifest.layers[0], Arc::clone(&payload)).unwrap();
    let _signatures: Vec<_> = (0..32).map(|_| read()).collect();
    assert_eq!(Arc::strong_count(&payload), 33);
}

#[test]
fn scheme_row_047_one_of_six_layers_is_enough() {
    let (image, key) = (plc(), Key::p256());
    let payload = Payload::new(&image).bytes();
    let mut all: Vec<_> = (0..5).map(|_| Layer::new(payload.clone(), &Key::p256())).collect();
    all.push(Layer::new(payload, &key));
    let signatures: Vec<_> = layers(&all).into_iter().map(Result::unwrap).collect();
    let signers = [signer("alice", &key)];
    let all: Vec<_> = signatures.iter().collect();
    assert_eq!(verify(by(&signers), &image, &all).unwrap().signers, ["alice"]);
    let text = verify(by(&signers), &image, &all[..5]).unwrap_err().to_string();
    assert!(text.starts_with("it is not signed by alice; signature manifest sha256:"), "{text}");
    assert!(text.ends_with(": another key has made it (5 times)"), "{text}");
}

#[test]
fn scheme_row_050_other_annotations_of_the_layer_are_not_looked_at() {
    let (image, key) = (plc(), Key::p256());
    let mut layer = Layer::new(Payload::new(&image).bytes(), &key);
    for name in ["certificate", "chain", "bundle", "rfc3161timestamp"] {
        layer = layer.annotation(&format!("dev.sigstore.cosign/{name}"), "junk \u{0}");
    }
    assert!(is_accepted(&image, &layers(&[layer]).remove(0), &key));
}

#[test]
fn the_signature_is_strict_base64() {
    let (image, key) = (plc(), Key::p256());
    let layer = Layer::new(Payload::new(&image).bytes(), &key);
    const NAME: &str = "dev.cosignproject.cosign/signature";
    let sound = layer.annotations[NAME].clone();
    let url = sound.replace('+', "-").replace('/', "_");
    let wrong = [
        format!("{sound}="),
        format!("{sound}\n"),
        format!(" {sound}"),
        "é".into(),
        url.replace(char::is_alphanumeric, "-"),
    ];
    for wrong in wrong {
        let read = layers(&[layer.clone().annotation(NAME, &wrong)]).remove(0);
        assert!(why(read).1.contains("base64"), "{wrong}");
    }
    let mut bare = layer;
    bare.annotations.clear();
    assert!(why(layers(&[bare]).remove(0)).1.contains("no signature"));
}

#[test]
fn scheme_row_009_a_payload_is_at_most_64_kib() {
    let (image, key) = (plc(), Key::p256());
    let text = String::from_utf8(Payload::new(&image).bytes()).unwrap();
    let of_size = |size: usize| format!("{text}{}", " ".repeat(size - text.len())).into_bytes();
    assert!(is_accepted(&image, &raw_layer(of_size(super::super::MAX_PAYLOAD), &key), &key));
    assert_eq!(why(raw_layer(of_size(super::super::MAX_PAYLOAD + 1), &key)).0, "too-large");
    // Many values and long escapes are refused while they are read.
    let values = text.replace("null", &format!("[{}1]", "1,".repeat(20_000)));
    assert!(why(raw_layer(values.into_bytes(), &key)).1.contains("more values"));
}
