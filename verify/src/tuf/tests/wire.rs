//! Rows 84 to 100: signatures and JSON, in each role's file.

use serde_json::{Value, json};

use super::*;

const ROLES: [&str; 6] = ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"];

/// The results of an edit of each role's envelope.
fn envelopes(edit: fn(&mut Value), expected: &str) {
    for role in ROLES {
        assert_eq!(v1_by_alice(&plant().edit_envelope(role, edit).publish()), expected, "{role}");
    }
}

/// The results of a replacement in each role's bytes.
fn replaced(from: &'static str, to: &'static str, expected: &str) {
    for role in ROLES {
        let repo = plant().edit_bytes(role, move |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1).into_bytes()
        });
        assert_eq!(v1_by_alice(&repo.publish()), expected, "{role}: {from} -> {to}");
    }
}

#[test]
fn row_084_the_method_is_the_keys_own() {
    for method in ["", "none", "rsapss", "rsapkcs1v15", "eddsa", "ecdsa-x509", "ecdsa "] {
        for role in ROLES {
            let repo = plant().edit_envelope(role, move |e| {
                for signature in e["signatures"].as_array_mut().unwrap() {
                    signature["method"] = json!(method);
                }
            });
            assert_eq!(v1_by_alice(&repo.publish()), "signature", "{role}: {method}");
        }
    }
    for (key, others) in [
        (Key::rsa_pkcs1v15(), ["", "rsa", "ecdsa", "eddsa", "rsapss"]),
        (Key::rsa_pss(), ["", "rsa", "ecdsa", "eddsa", "rsapkcs1v15"]),
        (Key::ed25519(), ["", "ed25519", "ecdsa", "rsapss", "rsapkcs1v15"]),
    ] {
        let signer = Signer::new_at(GUN, now()).signer_with("alice", key).release("v1", DIGEST, 1, &["alice"]);
        assert_eq!(v1_by_alice(&signer.clone().publish()), "accepted");
        for method in others {
            let repo =
                signer.clone().edit_envelope("targets/alice", move |e| e["signatures"][0]["method"] = json!(method));
            assert_eq!(v1_by_alice(&repo.publish()), "signature", "{method}");
        }
    }
}

#[test]
fn row_085_signatures_of_unknown_keys_are_passed_over() {
    envelopes(
        |e| {
            let extra = json!({"keyid": "f".repeat(64), "method": "ecdsa", "sig": "AAAA"});
            e["signatures"].as_array_mut().unwrap().insert(0, extra);
        },
        "accepted",
    );
}

fn twice(e: &mut Value) {
    let first = e["signatures"][0].clone();
    e["signatures"].as_array_mut().unwrap().push(first);
}

#[test]
fn row_086_a_repeated_signature_does_no_harm() {
    envelopes(twice, "accepted");
}

#[test]
fn row_087_a_repeated_signature_counts_once() {
    for role in ROLES {
        let repo = plant().threshold(role, 2).edit_envelope(role, twice).publish();
        assert_eq!(v1_by_alice(&repo), "signature", "{role}");
    }
}

#[test]
fn row_088_the_case_of_a_method_is_nothing() {
    envelopes(|e| e["signatures"][0]["method"] = json!("ECDSA"), "accepted");
}

#[test]
fn signatures_are_whole_and_few() {
    envelopes(
        |e| {
            let first = e["signatures"][0].clone();
            e["signatures"] = json!(vec![first; 64]);
        },
        "accepted",
    );
    envelopes(
        |e| {
            let first = e["signatures"][0].clone();
            e["signatures"] = json!(vec![first; 65]);
        },
        "structure",
    );
    for broken in [json!(null), json!({}), json!({"keyid": 1, "method": "ecdsa", "sig": ""}), json!("x")] {
        for role in ROLES {
            let broken = broken.clone();
            let repo = plant().edit_envelope(role, move |e| e["signatures"][0] = broken.clone()).publish();
            assert_eq!(v1_by_alice(&repo), "structure", "{role}");
        }
    }
}

#[test]
fn a_signature_over_other_bytes_is_none() {
    for role in ROLES {
        let repo = plant().edit_envelope(role, |e| e["signed"]["x-added"] = json!(1)).publish();
        assert_eq!(v1_by_alice(&repo), "signature", "{role}");
        let repo = plant().edit_envelope(role, |e| e["signed"]["version"] = json!(2)).publish();
        assert_eq!(v1_by_alice(&repo), "signature", "{role}");
    }
}

#[test]
fn row_089_without_what_is_signed_there_is_nothing() {
    envelopes(|e| drop(e.as_object_mut().unwrap().remove("signed")), "structure");
    envelopes(|e| e["signed"] = json!(null), "structure");
    envelopes(|e| e["signed"] = json!([]), "structure");
    envelopes(|e| drop(e.as_object_mut().unwrap().remove("signatures")), "structure");
}

#[test]
fn row_091_names_are_exact() {
    replaced("\"signed\":", "\"SIGNED\":", "structure");
    for role in ROLES {
        let repo = plant().edit(role, |s| {
            let version = s["version"].take();
            s.as_object_mut().unwrap().remove("version");
            s["Version"] = version;
        });
        assert_eq!(v1_by_alice(&repo.publish()), "structure", "{role}");
    }
}

#[test]
fn row_090_a_second_targets_object_adds_nothing() {
    // The attack of this row: the signature stays valid over the member that a generic parser keeps.
    replaced("\"signed\":{", "\"signed\":{\"version\":1,", "json");
    let repo = plant().edit_bytes("targets/releases", |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        let evil = r#""signed":{"targets":{"evil":{"hashes":{"sha256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"length":1}},"#;
        text.replacen("\"signed\":{", evil, 1).into_bytes()
    });
    assert_eq!(v1_by_alice(&repo.publish()), "json");
    replaced("{\"signatures\":", "{\"signatures\":[],\"signatures\":", "json");
    replaced("\"signed\":{", "\"signed\":{\"\\u0076ersion\":1,", "json");
}

#[test]
fn row_092_the_wire_may_look_otherwise() {
    for role in ROLES {
        let repo = plant().edit_bytes(role, |bytes| {
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            pretty.replace("\"expires\"", "\"\\u0065xpires\"").replace('/', "\\/").into_bytes()
        });
        assert_eq!(v1_by_alice(&repo.publish()), "accepted", "{role}");
    }
    // Characters that Go's encoder escapes are raw in the signed form.
    let repo = plant().edit("targets/releases", |s| s["custom"] = json!("<a> & \u{2028} \u{1} \\ \" é"));
    let repo = repo.edit_bytes("targets/releases", |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").into_bytes()
    });
    assert_eq!(v1_by_alice(&repo.publish()), "accepted");
}

/// The results of bytes behind the end of each role's file.
fn followed_by(suffix: &'static [u8], expected: &str) {
    for role in ROLES {
        let repo = plant().edit_bytes(role, move |mut bytes| {
            bytes.extend_from_slice(suffix);
            bytes
        });
        assert_eq!(v1_by_alice(&repo.publish()), expected, "{role}");
    }
}

#[test]
fn row_093_every_file_is_one_json_document() {
    followed_by(b" \n", "accepted");
    for more in [&b"x"[..], b"{}", b"\0"] {
        followed_by(more, "json");
    }
    replaced("{\"signatures\"", "\u{feff}{\"signatures\"", "json");
    replaced("\"version\":1", "\"version\":01", "json");
    replaced("\"version\":1", "\"version\":1,\"x\":\"\u{1}\"", "json");
}

#[test]
fn row_094_every_number_is_an_integer() {
    for version in ["1.0", "1e0", "1e400", "9223372036854775808"] {
        let to: &'static str = format!("\"version\":{version}").leak();
        replaced("\"version\":1", to, "json");
    }
    replaced("\"version\":1", "\"version\":1,\"x\":0.5", "json");
    for role in ROLES {
        let repo = plant().edit(role, |s| s["version"] = json!("1")).publish();
        assert_eq!(v1_by_alice(&repo), "structure", "{role}");
    }
}

#[test]
fn row_095_every_integer_is_exact() {
    replaced("\"version\":1", "\"version\":9007199254740993", "json");
    replaced("\"version\":1", "\"version\":1,\"x\":-9007199254740993", "json");
}

#[test]
fn row_097_every_text_is_unicode() {
    replaced("\"version\":1", "\"version\":1,\"x\":\"\\ud800\"", "json");
    for role in ROLES {
        let repo = plant().edit_bytes(role, |mut bytes| {
            let at = bytes.windows(9).position(|window| window == b"\"expires\"").unwrap();
            bytes.splice(at..at, *b"\"x\":\"\xff\",");
            bytes
        });
        assert_eq!(v1_by_alice(&repo.publish()), "json", "{role}");
    }
}

#[test]
fn row_098_no_file_is_nested_without_end() {
    for role in ROLES {
        let repo = plant().edit(role, |s| {
            s["deep"] = serde_json::from_str(&("[".repeat(120) + &"]".repeat(120))).unwrap();
        });
        assert_eq!(v1_by_alice(&repo.publish()), "accepted", "{role}");
        let deep = plant().edit_bytes(role, |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let deep = "\"signed\":{\"deep\":".to_owned() + &"[".repeat(126) + &"]".repeat(126) + ",";
            text.replacen("\"signed\":{", &deep, 1).into_bytes()
        });
        assert_eq!(v1_by_alice(&deep.publish()), "json", "{role}");
    }
}

#[test]
fn row_096_base64_is_strict() {
    for role in ROLES {
        for spoil in [
            |sig: &str| json!(format!("{sig}\n")),
            |sig: &str| json!(sig.split_at(8).0.to_owned() + "\n" + sig.split_at(8).1),
            |sig: &str| json!(sig.trim_end_matches('=')),
            |sig: &str| json!(sig.as_bytes()),
            |_: &str| json!(null),
        ] {
            let repo = plant().edit_envelope(role, move |e| {
                for signature in e["signatures"].as_array_mut().unwrap() {
                    let sig = signature["sig"].as_str().unwrap().to_owned();
                    signature["sig"] = spoil(&sig);
                }
            });
            assert_eq!(v1_by_alice(&repo.publish()), "structure", "{role}");
        }
    }
    let repo = plant().edit("root", |s| {
        let id = s["roles"]["timestamp"]["keyids"][0].as_str().unwrap().to_owned();
        let public = s["keys"][&id]["keyval"]["public"].as_str().unwrap().to_owned();
        s["keys"][&id]["keyval"]["public"] = json!(public + "\n");
    });
    assert_eq!(code(open(&repo.publish())), "structure");
}

#[test]
fn row_099_der_signatures_are_refused() {
    for role in ROLES {
        let repo = plant().edit_envelope(role, |e| {
            use base64::Engine as _;
            let base64 = base64::engine::general_purpose::STANDARD;
            for signature in e["signatures"].as_array_mut().unwrap() {
                let raw = base64.decode(signature["sig"].as_str().unwrap()).unwrap();
                let mut der = vec![];
                for half in raw.chunks(32) {
                    let digits: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
                    let sign = usize::from(digits[0] >= 0x80);
                    der.extend([2, u8::try_from(digits.len() + sign).unwrap()]);
                    der.extend(vec![0; sign]);
                    der.extend(digits);
                }
                let mut sequence = vec![0x30, u8::try_from(der.len()).unwrap()];
                sequence.extend(der);
                signature["sig"] = json!(base64.encode(sequence));
            }
        });
        assert_eq!(v1_by_alice(&repo.publish()), "signature", "{role}");
    }
}

#[test]
fn row_100_every_kind_of_key_signs() {
    let leaf = |key: Key| {
        let certificate = portreeve_test_support::certificates::Leaf::new("alice").self_signed(&key);
        key.with_bundle(certificate)
    };
    for key in [
        Key::p256(),
        Key::ed25519(),
        Key::rsa_pss(),
        Key::rsa_pkcs1v15(),
        leaf(Key::p256()),
        leaf(Key::rsa_pss()),
        leaf(Key::rsa_pkcs1v15()),
    ] {
        let repo = Signer::new_at(GUN, now()).signer_with("alice", key.clone()).release("v1", DIGEST, 1, &["alice"]);
        assert_eq!(v1_by_alice(&repo.clone().publish()), "accepted", "{}", key.keytype());
        let other = match key.method() {
            "rsapss" => "rsapkcs1v15",
            "rsapkcs1v15" => "rsapss",
            "ecdsa" => "eddsa",
            _ => "ecdsa",
        };
        let repo = repo.edit_envelope("targets/alice", move |e| e["signatures"][0]["method"] = json!(other));
        assert_eq!(v1_by_alice(&repo.publish()), "signature", "{}", key.keytype());
    }
}
