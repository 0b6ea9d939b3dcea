//! Bundles with keys: rows 57 to 72.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::cosign::{IN_TOTO, SIGN_PREDICATE};
use serde_json::{Value, json};

use super::*;
use crate::oci::OciError;

fn honest(image: &Image, key: &Key) -> Bundle {
    Bundle::dsse(&Statement::new(image).bytes(), key)
}

#[test]
fn scheme_row_057_what_cosign_3_writes() {
    let image = plc();
    for key in [Key::p256(), Key::p384(), Key::rsa(), Key::ed25519()] {
        let signature = bundle(&honest(&image, &key));
        assert!(is_accepted(&image, &signature, &key));
        assert!(!is_accepted(&image, &signature, &Key::p256()), "another key");
        assert!(!is_accepted(&Image::named("other"), &signature, &key), "another image");
        assert_eq!(signature.unwrap().hint(), Some(Sha256::new(key.id())));
    }
}

#[test]
fn scheme_row_058_the_hint_decides_nothing() {
    let (image, key, other) = (plc(), Key::p256(), Key::p256());
    for hint in [json!(other.hint()), json!("junk"), json!(""), Value::Null, json!(7)] {
        let edited = honest(&image, &key).edit(|bundle| bundle["verificationMaterial"]["publicKey"]["hint"] = hint);
        assert!(is_accepted(&image, &bundle(&edited), &key));
    }
    let none = honest(&image, &key).edit(|bundle| bundle["verificationMaterial"]["publicKey"] = json!({}));
    assert!(is_accepted(&image, &bundle(&none), &key));
    // The hint of the policy's key does not help a signature by another.
    let claimed = honest(&image, &other).edit(|bundle| {
        bundle["verificationMaterial"]["publicKey"]["hint"] = key.hint().into();
    });
    assert!(!is_accepted(&image, &bundle(&claimed), &key));
}

#[test]
fn scheme_row_059_an_attestation_is_no_signature() {
    let (image, key) = (plc(), Key::p256());
    for predicate in [
        "https://spdx.dev/Document",
        "https://slsa.dev/provenance/v1",
        "https://cosign.sigstore.dev/attestation/vuln/v1",
        "https://sigstore.dev/cosign/sign/v1/",
        "https://sigstore.dev/cosign/sign/v2",
        "https://SIGSTORE.dev/cosign/sign/v1",
        "",
    ] {
        let (code, text) = why(dsse(&Statement::new(&image).predicate_type(predicate), &key));
        assert!(code == "attestation" && text.contains(&format!("\"{predicate}\"")), "{text}");
    }
    let number = Statement::new(&image).edit(|statement| statement["predicateType"] = 1.into());
    assert_eq!(why(dsse(&number, &key)).0, "attestation");
    // The predicate itself is not looked at.
    let full = Statement::new(&image).edit(|statement| statement["predicate"] = json!({"a": [1, {"b": null}]}));
    assert!(is_accepted(&image, &dsse(&full, &key), &key));
}

#[test]
fn scheme_row_060_another_payload_type() {
    let (image, key) = (plc(), Key::p256());
    let statement = Statement::new(&image).bytes();
    for kind in ["application/vnd.in-toto+json ", "application/json", "application/vnd.In-Toto+json", ""] {
        let (code, text) = why(bundle(&Bundle::dsse_of(kind, &statement, &key)));
        assert!(code == "bad-signature" && text.contains("payloadType"), "{text}");
    }
    let swapped = Bundle::dsse_of("application/json", &statement, &key).edit(|bundle| {
        bundle["dsseEnvelope"]["payloadType"] = IN_TOTO.into();
    });
    assert!(!is_accepted(&image, &bundle(&swapped), &key), "the type is signed");
    let bare = honest(&image, &key).edit(|bundle| {
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = STANDARD.encode(key.sign(&statement)).into();
    });
    assert!(
        !is_accepted(&image, &bundle(&bare), &key),
        "not the payload alone, but its encoding with the type is signed"
    );
}

#[test]
fn scheme_row_061_exactly_one_signature() {
    let (image, key) = (plc(), Key::p256());
    let with = |edit: &dyn Fn(&mut Value)| {
        why(bundle(&honest(&image, &key).edit(|b| edit(&mut b["dsseEnvelope"]["signatures"])))).1
    };
    assert!(with(&|list| *list = json!([])).contains("exactly one"));
    assert!(with(&|list| *list = json!([list[0], list[0]])).contains("exactly one"));
    assert!(with(&|list| *list = json!([list[0], null])).contains("exactly one"));
    assert!(with(&|list| *list = list[0].clone()).contains("exactly one"));
    assert!(with(&|list| *list = Value::Null).contains("exactly one"));
    assert!(with(&|list| list[0] = Value::Null).contains("base64"));
    assert!(with(&|list| list[0]["sig"] = "é".into()).contains("base64"));
    let url = with(&|list| list[0]["sig"] = "-_-_".into());
    assert!(url.contains("base64"));
    let keyid = honest(&image, &key).edit(|bundle| bundle["dsseEnvelope"]["signatures"][0]["keyid"] = "junk".into());
    assert!(is_accepted(&image, &bundle(&keyid), &key));
}

#[test]
fn scheme_row_062_one_of_several_subjects() {
    let (image, key) = (plc(), Key::p256());
    let among = |others: usize| {
        Statement::new(&image).edit(|statement| {
            let list = statement["subject"].as_array_mut().unwrap();
            for index in 0..others {
                list.insert(0, json!({"digest": {"sha256": Image::named(&index.to_string()).hex()}}));
            }
        })
    };
    assert!(is_accepted(&image, &dsse(&among(1), &key), &key));
    assert!(is_accepted(&image, &dsse(&among(63), &key), &key));
    assert!(is_accepted(&Image::named("62"), &dsse(&among(63), &key), &key));
    assert!(why(dsse(&among(64), &key)).1.contains("more than 64"));
}

#[test]
fn scheme_row_063_a_subject_without_a_sha256_digest() {
    let (image, key) = (plc(), Key::p256());
    let with = |digest: Value| {
        dsse(&Statement::new(&image).edit(|statement| statement["subject"][0]["digest"] = digest), &key)
    };
    for digest in [
        json!({"sha512": "0".repeat(128)}),
        json!({"sha512": image.hex()}),
        json!({"SHA256": image.hex()}),
        json!({"sha256": image.hex().to_uppercase()}),
        json!({"sha256": image.digest()}),
        json!({"sha256": [image.hex()]}),
        json!({}),
        json!(image.hex()),
        Value::Null,
    ] {
        assert_eq!(why(with(digest)).0, "bad-signature");
    }
    assert!(is_accepted(&image, &with(json!({"sha256": image.hex(), "sha512": "0".repeat(128)})), &key));
    for subject in [json!([]), json!({}), Value::Null, json!(["x"])] {
        let statement = Statement::new(&image).edit(|statement| statement["subject"] = subject);
        assert_eq!(why(dsse(&statement, &key)).0, "bad-signature");
    }
}

#[test]
fn scheme_row_064_both_versions_of_the_statement() {
    let (image, key) = (plc(), Key::p256());
    let with = |kind: Value| dsse(&Statement::new(&image).edit(|statement| statement["_type"] = kind), &key);
    assert!(is_accepted(&image, &with("https://in-toto.io/Statement/v0.1".into()), &key));
    for kind in [json!("https://in-toto.io/Statement/v2"), json!("https://in-toto.io/Statement/v1 "), Value::Null] {
        assert_eq!(why(with(kind)).0, "bad-signature");
    }
}

#[test]
fn scheme_row_065_a_signature_over_the_manifest() {
    let (image, other) = (plc(), Image::named("other"));
    for key in [Key::p256(), Key::p384(), Key::rsa(), Key::ed25519()] {
        let signature = bundle(&Bundle::message(&image.manifest, &key));
        assert!(signature.as_ref().unwrap().needs_manifest());
        assert!(is_accepted(&image, &signature, &key) && !is_accepted(&other, &signature, &key));
    }
    let key = Key::p384();
    let signers = [signer("alice", &key)];
    // Digests by other algorithms, which a key on P-384 may come with.
    for (name, algorithm) in [("SHA2_384", &ring::digest::SHA384), ("SHA2_512", &ring::digest::SHA512)] {
        let with = |manifest: &[u8]| {
            let digest = STANDARD.encode(ring::digest::digest(algorithm, manifest));
            let message = Bundle::message(&image.manifest, &key);
            bundle(&message.edit(|bundle| {
                bundle["messageSignature"]["messageDigest"] = json!({"algorithm": name, "digest": digest});
            }))
        };
        let sound = with(&image.manifest);
        assert!(!is_accepted(&other, &sound, &key) && is_accepted(&image, &sound, &key));
        assert!(!is_accepted(&other, &sound, &key), "what it remembers is about one image");
        assert!(!is_accepted(&image, &with(&other.manifest), &key));
    }
    // The digest names another image than the signature is over.
    let message = Bundle::message(&image.manifest, &key);
    let swapped = message.clone().edit(|bundle| {
        bundle["messageSignature"]["messageDigest"]["digest"] = STANDARD.encode(other.sha256()).into();
    });
    let swapped = bundle(&swapped);
    assert!(!is_accepted(&image, &swapped, &key) && !is_accepted(&other, &swapped, &key));
    // Without the manifest, and with that of another image.
    let signature = bundle(&message).unwrap();
    for manifest in [None, Some(other.manifest.as_slice()), Some(b"".as_slice())] {
        let about = SignedImage { manifest, ..about(&image) };
        assert_eq!(why(by(&signers).signers_of(about, &signature)).0, "no-manifest");
        assert!(by(&signers).verify(about, &[&signature]).is_err());
    }
    // Once verified, it needs the manifest no more.
    assert!(verify(by(&signers), &image, &[&signature]).is_ok());
    assert!(by(&signers).verify(SignedImage { manifest: None, ..about(&image) }, &[&signature]).is_ok());
    for (name, value) in
        [("algorithm", json!("SHA3_256")), ("algorithm", json!(1)), ("digest", json!("?")), ("digest", Value::Null)]
    {
        let edited = message.clone().edit(|bundle| bundle["messageSignature"]["messageDigest"][name] = value);
        assert_eq!(why(bundle(&edited)).0, "bad-signature");
    }
    let none = message.edit(|bundle| bundle["messageSignature"]["messageDigest"] = Value::Null);
    assert_eq!(why(bundle(&none)).0, "bad-signature");
}

#[test]
fn scheme_row_066_versions_of_the_bundle() {
    let (image, key) = (plc(), Key::p256());
    let with = |media_type: &str| bundle(&honest(&image, &key).media_type(media_type));
    const OLD: &str = "application/vnd.dev.sigstore.bundle+json;version=0.";
    for version in ["1", "2", "3"] {
        assert!(is_accepted(&image, &with(&format!("{OLD}{version}")), &key));
    }
    assert!(is_accepted(&image, &with("application/vnd.dev.sigstore.bundle.v0.3+json"), &key));
    let wrong = [
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "application/vnd.dev.sigstore.bundle+json",
        "junk",
        "",
        IN_TOTO,
    ];
    for wrong in wrong {
        let (code, text) = why(with(wrong));
        assert!(code == "bad-signature" && text.contains("mediaType"), "{text}");
    }
    assert_eq!(why(with(&format!("{OLD}4"))).0, "bad-signature");
    let none = honest(&image, &key).edit(|bundle| drop(bundle.as_object_mut().unwrap().remove("mediaType")));
    assert_eq!(why(bundle(&none)).0, "bad-signature");
}

#[test]
fn scheme_row_067_068_certificates_are_of_the_wrong_kind() {
    let (image, key) = (plc(), Key::p256());
    let signers = [signer("alice", &key)];
    let chain = json!({"certificates": [{"rawBytes": "AA=="}]});
    for (name, value) in [("x509CertificateChain", chain), ("certificate", json!({"rawBytes": "AA=="}))] {
        let old = "application/vnd.dev.sigstore.bundle+json;version=0.2";
        let only = honest(&image, &key).edit(|bundle| {
            bundle["mediaType"] = old.into();
            bundle["verificationMaterial"] = json!({name: value});
        });
        let only = bundle(&only).unwrap();
        let (code, text) = why(by(&signers).signers_of(about(&image), &only));
        assert!(code == "certificate" && text.contains("the policy names keys"), "{text}");
        assert!(verify(by(&signers), &image, &[&only]).is_err());
        let both = honest(&image, &key).edit(|bundle| {
            bundle["mediaType"] = old.into();
            bundle["verificationMaterial"][name] = value.clone();
        });
        assert_eq!(why(bundle(&both)).0, "bad-signature");
        let new = honest(&image, &key).edit(|bundle| bundle["verificationMaterial"] = json!({name: value}));
        assert_eq!(bundle(&new).is_ok(), name == "certificate", "version 0.3 has no chain");
    }
    for material in [json!({}), json!({"publicKey": null}), json!({"publicKey": "x"}), json!([]), Value::Null] {
        let edited = honest(&image, &key).edit(|bundle| bundle["verificationMaterial"] = material);
        assert_eq!(why(bundle(&edited)).0, "bad-signature");
    }
}

#[test]
fn scheme_row_068_a_certificate_where_the_policy_names_a_key() {
    let (image, key) = (plc(), Key::p256());
    let only = honest(&image, &key).edit(|bundle| {
        bundle["verificationMaterial"] = json!({"certificate": {"rawBytes": "AA=="}, "tlogEntries": []});
    });
    let only = bundle(&only).unwrap();
    let signers = [signer("alice", &key)];
    // The key has made it, and it says that a certificate has: the policy means the key.
    assert_eq!(why(by(&signers).signers_of(about(&image), &only)).0, "certificate");
    assert!(verify(by(&signers), &image, &[&only]).is_err());
}

#[test]
fn scheme_row_069_log_entries_and_time_stamps_are_not_looked_at() {
    let (image, key) = (plc(), Key::p256());
    let edited = honest(&image, &key).edit(|bundle| {
        bundle["verificationMaterial"]["tlogEntries"] =
            json!([{"logIndex": "99999999999999999999", "canonicalizedBody": "junk"}]);
        bundle["verificationMaterial"]["timestampVerificationData"] =
            json!({"rfc3161Timestamps": [{"signedTimestamp": "?"}]});
    });
    assert!(is_accepted(&image, &bundle(&edited), &key));
}

#[test]
fn scheme_row_071_unknown_fields_are_passed_over_and_duplicates_refused() {
    let (image, key) = (plc(), Key::p256());
    let edited = honest(&image, &key).edit(|bundle| {
        for path in [
            "",
            "/verificationMaterial",
            "/verificationMaterial/publicKey",
            "/dsseEnvelope",
            "/dsseEnvelope/signatures/0",
        ] {
            bundle.pointer_mut(path).unwrap()["new"] = json!({"a": [1, "2"]});
        }
    });
    assert!(is_accepted(&image, &bundle(&edited), &key));
    let text = String::from_utf8(honest(&image, &key).bytes()).unwrap();
    for name in ["mediaType", "dsseEnvelope", "publicKey", "payload", "sig", "hint"] {
        let twice = text.replacen(&format!("\"{name}\":"), &format!("\"{name}\":null,\"{name}\":"), 1);
        assert_ne!(twice, text);
        assert!(why(raw_bundle(twice.into_bytes())).1.contains("same key twice"), "{name}");
    }
    for wrong in
        [format!("{text}{text}"), format!("\u{feff}{text}"), format!("{text},"), tail(&text).to_owned(), String::new()]
    {
        assert_eq!(why(raw_bundle(wrong.into_bytes())).0, "bad-signature");
    }
    let statement = String::from_utf8(Statement::new(&image).bytes()).unwrap();
    let other = Image::named("other").hex();
    let twice = statement
        .replace("\"subject\":", &format!("\"subject\":[{{\"digest\":{{\"sha256\":\"{other}\"}}}}],\"subject\":"));
    assert!(why(bundle(&Bundle::dsse(twice.as_bytes(), &key))).1.contains("same key twice"));
    let trailing = format!("{statement}{statement}");
    assert_eq!(why(bundle(&Bundle::dsse(trailing.as_bytes(), &key))).0, "bad-signature");
}

#[test]
fn scheme_row_072_a_referrer_with_two_layers() {
    let (image, key) = (plc(), Key::p256());
    let artifact = Artifact::bundle(&image, honest(&image, &key).bytes());
    let two = artifact.edit(|manifest| manifest["layers"] = json!([manifest["layers"][0], manifest["layers"][0]]));
    let manifest = SignatureManifest::read(&two.manifest, None, None).unwrap();
    assert!(matches!(bundle_layer(&manifest, Sha256::new(image.sha256())), Err(OciError::Shape(_))));
}

#[test]
fn a_bundle_has_one_content() {
    let (image, key) = (plc(), Key::p256());
    let message = Bundle::message(&image.manifest, &key);
    let message: Value = serde_json::from_slice(&message.bytes()).unwrap();
    let both = honest(&image, &key).edit(|bundle| bundle["messageSignature"] = message["messageSignature"].clone());
    assert!(why(bundle(&both)).1.contains("exactly one"));
    let neither = honest(&image, &key).edit(|bundle| bundle["dsseEnvelope"] = Value::Null);
    assert!(why(bundle(&neither)).1.contains("exactly one"));
    // `null` is the same as absence.
    let null = honest(&image, &key).edit(|bundle| bundle["messageSignature"] = Value::Null);
    assert!(is_accepted(&image, &bundle(&null), &key));
}

#[test]
fn the_annotations_are_those_of_the_image() {
    let (image, key) = (plc(), Key::p256());
    let signers = [signer("alice", &key)];
    let required = annotations(&[("build", "42"), ("line", "7")]);
    let requirement = Requirement { annotations: &required, ..by(&signers) };
    let verdict = |statement: &Statement| verify(requirement, &image, &[&dsse(statement, &key).unwrap()]).map(drop);
    let sound = Statement::new(&image).annotation("build", "42").annotation("line", "7");
    assert_eq!(verdict(&sound), Ok(()));
    let other = json!({"digest": {"sha256": Image::named("other").hex()}, "annotations": {"build": "42", "line": "7"}});
    let of_other = Statement::new(&image).edit(|statement| statement["subject"].as_array_mut().unwrap().push(other));
    assert!(verdict(&of_other).unwrap_err().to_string().contains("without the annotation build"));
    // Not half of them from one subject, and half from another of the same digest.
    let halves = Statement::new(&image).annotation("build", "42").edit(|statement| {
        let mut second = statement["subject"][0].clone();
        second["annotations"] = json!({"line": "7"});
        statement["subject"].as_array_mut().unwrap().push(second);
    });
    assert!(verdict(&halves).unwrap_err().to_string().contains("without the annotation line"));
    for wrong in [json!(42), json!(["42"]), Value::Null] {
        assert!(verdict(&sound.clone().annotation("build", wrong)).is_err());
    }
    let over_manifest = bundle(&Bundle::message(&image.manifest, &key)).unwrap();
    assert!(verify(requirement, &image, &[&over_manifest]).is_err());
}

#[test]
fn scheme_row_044_a_bundle_never_meets_same_repository() {
    let (image, key) = (plc(), Key::p256());
    let signers = [signer("alice", &key)];
    let signature = bundle(&honest(&image, &key)).unwrap();
    let requirement = Requirement { repository: Some("registry.local:9001/plant/plc"), ..by(&signers) };
    let text = verify(requirement, &image, &[&signature]).unwrap_err().to_string();
    assert!(text.contains("in a bundle, which does not say for which repository"), "{text}");
}

#[test]
fn scheme_row_009_a_bundle_is_at_most_512_kib() {
    let (image, key) = (plc(), Key::p256());
    let text = String::from_utf8(honest(&image, &key).bytes()).unwrap();
    let of_size = |size: usize| format!("{text}{}", " ".repeat(size - text.len())).into_bytes();
    assert!(is_accepted(&image, &raw_bundle(of_size(super::super::MAX_BUNDLE)), &key));
    assert_eq!(why(raw_bundle(of_size(super::super::MAX_BUNDLE + 1))).0, "too-large");
    let values = format!("{{\"new\":[{}1],{}", "1,".repeat(20_000), tail(&text));
    assert!(why(raw_bundle(values.into_bytes())).1.contains("more values"));
    assert_eq!(SIGN_PREDICATE, crate::oci::candidates::COSIGN_PREDICATE);
}
