//! Transparency logs: SCHEMES.md, rows 51 to 53, 70, 80 to 83.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::cosign::Layer;
use serde_json::{Value, json};

use super::plant::{ISSUER, Plant, Read as _, SIGNED, SUBJECT, Signing, base64, checkpoint, identity, read_root};
use super::*;
use crate::sigstore::{TrustedRoot, merkle};

/// 2026-12-01
const NOW: i64 = 1_796_083_200;

/// Does the signer's signature count, where the policy requires a log?
fn logged(plant: &Plant, image: &Image, signature: &Signature, root: &Arc<TrustedRoot>) -> Result<(), String> {
    let signers = [signer("alice", &plant.signer)];
    let requirement = Requirement { trusted_root: Some(root), log_required: true, now: NOW, ..by(&signers) };
    let found = requirement.signers_of(about(image), signature);
    assert_eq!(found.is_ok(), requirement.verify(about(image), &[signature]).is_ok());
    // Where no log is required, none is looked at.
    assert!(verify(by(&signers), image, &[signature]).is_ok());
    found.map(|found| assert_eq!(found, ["alice"])).map_err(|why| why.to_string())
}

fn assert_why(result: Result<(), String>, words: &str) {
    let text = result.unwrap_err();
    assert!(text.contains(words), "{text}\ndoes not say: {words}");
}

/// A signature in the old format, with the entry of a log as cosign 2 writes it.
struct Old {
    payload: Vec<u8>,
    layer: Layer,
    signature: Vec<u8>,
}

impl Old {
    fn new(plant: &Plant, image: &Image) -> Self {
        let payload = Payload::new(image).bytes();
        let signature = plant.signer.sign(&payload);
        Self { layer: Layer::with_signature(payload.clone(), &signature), payload, signature }
    }

    fn body(&self, pem: &str) -> Value {
        json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": Sha256::of(&self.payload).hex()}},
                "signature": {"content": base64(&self.signature), "publicKey": {"content": base64(pem.as_bytes())}}
            }
        })
    }

    fn read(self, annotations: &[(&str, String)]) -> Signature {
        let add = |layer: Layer, (name, value): &(&str, String)| {
            layer.annotation(&format!("dev.sigstore.cosign/{name}"), value)
        };
        layers(&[annotations.iter().fold(self.layer, add)]).remove(0).unwrap()
    }
}

/// The annotation with an entry of the plant's first log.
fn entry_of(plant: &Plant, body: &Value, time: u64) -> String {
    let entry = plant.entry(body, time);
    json!({
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": time,
            "logIndex": 1_000_001,
            "logID": Sha256::new(plant.log.id()).hex()
        }
    })
    .to_string()
}

#[test]
fn scheme_row_051_052_the_old_format_with_a_log() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let pem = plant.signer.public_pem();
    let run = |edit: &dyn Fn(&mut Value)| {
        let old = Old::new(&plant, &image);
        let mut body = old.body(&pem);
        edit(&mut body);
        let entry = entry_of(&plant, &body, SIGNED);
        logged(&plant, &image, &old.read(&[("bundle", entry)]), &root)
    };
    run(&|_| {}).unwrap();
    assert_why(logged(&plant, &image, &Old::new(&plant, &image).read(&[]), &root), "no entry of a transparency log");
    assert!(logged(&plant, &image, &Old::new(&plant, &image).read(&[("bundle", "junk".to_owned())]), &root).is_err());
    // The log has signed each of these, and each is about something else.
    let other = base64(Key::p256().public_pem().as_bytes());
    let signature = base64(&plant.signer.sign(b"something else"));
    let edits: [&dyn Fn(&mut Value); 5] = [
        &|body| body["spec"]["signature"]["publicKey"]["content"] = other.clone(),
        &|body| body["spec"]["signature"]["content"] = signature.clone(),
        &|body| body["spec"]["data"]["hash"]["value"] = Sha256::of(b"").hex().into(),
        &|body| body["spec"]["data"]["hash"]["algorithm"] = "sha512".into(),
        &|body| body["spec"]["data"]["hash"] = Value::Null,
    ];
    for edit in edits {
        assert_why(run(edit), "about another signature, key, certificate or image");
    }
    assert_why(run(&|body| body["apiVersion"] = "0.0.9".into()), "of a kind that is not supported");
}

#[test]
fn scheme_row_053_the_promise_of_another_log_or_at_another_time() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let run = |plant_of_log: &Plant, time| {
        let old = Old::new(&plant, &image);
        let body = old.body(&plant.signer.public_pem());
        let mut entry: Value = serde_json::from_str(&entry_of(plant_of_log, &body, time)).unwrap();
        entry["Payload"]["logID"] = Sha256::new(plant.log.id()).hex().into();
        logged(&plant, &image, &old.read(&[("bundle", entry.to_string())]), &root)
    };
    run(&plant, SIGNED).unwrap();
    assert_why(run(&Plant::new(), SIGNED), "has not signed the promise of its entry (SET)");
    assert_why(run(&plant, SIGNED - 366 * 24 * 3600), "was not trusted at the time of its entry");
    let mut ended = plant.trusted_root();
    for (end, is_in) in [("2026-03-02T12:00:00Z", true), ("2026-03-02T11:59:59.999Z", false)] {
        ended["tlogs"][0]["publicKey"]["validFor"]["end"] = end.into();
        let old = Old::new(&plant, &image);
        let entry = entry_of(&plant, &old.body(&plant.signer.public_pem()), SIGNED);
        let result = logged(&plant, &image, &old.read(&[("bundle", entry)]), &read_root(&ended));
        assert_eq!(result.is_ok(), is_in, "{end}: {result:?}");
    }
}

/// What cosign 2 writes without a key: the certificate stands beside the signature.
#[test]
fn the_old_format_with_a_certificate() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let pem = |der: &[u8]| crate::crypto::pem::pem_text("CERTIFICATE", der);
    let run = |certificate: String, logged: &str| {
        let old = Old::new(&plant, &image);
        let entry = entry_of(&plant, &old.body(logged), SIGNED);
        let signature = old.read(&[("certificate", certificate), ("chain", "junk".to_owned()), ("bundle", entry)]);
        let signers = [identity(ISSUER, SUBJECT)];
        let requirement = Requirement { trusted_root: Some(&root), ..by(&signers) };
        requirement.verify(about(&image), &[&signature]).is_ok()
    };
    let leaf = plant.leaf();
    assert!(run(pem(&leaf), &pem(&leaf)));
    let other = plant.leaf();
    assert!(!run(pem(&leaf), &pem(&other)), "the log has another certificate");
    assert!(!run(pem(&leaf), &plant.signer.public_pem()), "the log has the key alone");
    assert!(!run(format!("{}{}", pem(&leaf), pem(&other)), &pem(&leaf)), "which of both?");
    assert!(!run("junk".to_owned(), &pem(&leaf)));
}

#[test]
fn scheme_row_070_a_proof_with_a_checkpoint() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let run = |edit: &dyn Fn(&mut Value)| {
        let mut signing = Signing::logged(&plant, &image, SIGNED);
        edit(signing.entry());
        logged(&plant, &image, &signing.read().unwrap(), &root)
    };
    run(&|_| {}).unwrap();
    run(&|entry| drop(entry.as_object_mut().unwrap().remove("inclusionPromise"))).unwrap();
    assert_why(run(&|entry| entry["inclusionProof"] = Value::Null), "has no inclusion proof");
    assert_why(run(&|entry| entry["inclusionProof"]["checkpoint"] = Value::Null), "has no checkpoint");
    assert_why(run(&|entry| entry["canonicalizedBody"] = base64(b"{}")), "the log's entry");
    assert!(run(&|entry| entry["logIndex"] = json!("-1")).is_err());
    assert!(run(&|entry| entry["logIndex"] = json!("01")).is_err());
    assert!(run(&|entry| entry["integratedTime"] = json!(true)).is_err());
    let no_entry = Signing::new(&plant, &image).read().unwrap();
    assert_why(logged(&plant, &image, &no_entry, &root), "no entry of a transparency log");
    // Other logs are nobody's.
    let mut lacking = plant.trusted_root();
    lacking["tlogs"] = json!([]);
    let signing = Signing::logged(&plant, &image, SIGNED).read().unwrap();
    assert_why(logged(&plant, &image, &signing, &read_root(&lacking)), "knows no log");
}

/// Rekor 2 gives no time. A certificate needs one, and the signature of a key does not (row 80 for keys); but a log that has
/// ended proves nothing then.
#[test]
fn scheme_row_080_rekor_2_and_its_leaf() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let run = |edit: &dyn Fn(&mut Value)| {
        let mut signing = Signing::logged_2(&plant, &image);
        let body: String =
            String::from_utf8(STANDARD.decode(signing.entry()["canonicalizedBody"].as_str().unwrap()).unwrap())
                .unwrap();
        let mut body: Value = serde_json::from_str(&body).unwrap();
        edit(&mut body);
        *signing.entry() = plant.entry_2(&body.to_string());
        logged(&plant, &image, &signing.read().unwrap(), &root)
    };
    run(&|_| {}).unwrap();
    let at = |body: &mut Value, path: &str, value: Value| *body.pointer_mut(path).unwrap() = value;
    let spec = "/spec/hashedRekordV002";
    let edits: [&dyn Fn(&mut Value); 6] = [
        &|body| at(body, &format!("{spec}/data/digest"), base64(Sha256::of(b"").as_bytes())),
        &|body| at(body, &format!("{spec}/data/algorithm"), "SHA2_512".into()),
        &|body| at(body, &format!("{spec}/signature/content"), base64(b"signature")),
        &|body| at(body, &format!("{spec}/signature/verifier/publicKey/rawBytes"), base64(b"key")),
        &|body| at(body, &format!("{spec}/signature/verifier/keyDetails"), "A\",\"x\":\"".into()),
        &|body| body["spec"]["hashedRekordV002"]["more"] = 1.into(),
    ];
    for edit in edits {
        assert_why(run(edit), "about another signature, key, certificate or image");
    }
    // There are no earlier logs before it, so the entry and its proof have one place.
    let mut elsewhere = Signing::logged_2(&plant, &image);
    elsewhere.entry()["logIndex"] = "2".into();
    assert_why(logged(&plant, &image, &elsewhere.read().unwrap(), &root), "another place in the log");
    // One that has not begun proves nothing either, until it has.
    let mut future = plant.trusted_root();
    future["tlogs"][1]["publicKey"]["validFor"]["start"] = "2026-12-01T00:00:01Z".into();
    let (future, signing) = (read_root(&future), Signing::logged_2(&plant, &image).read().unwrap());
    assert_why(logged(&plant, &image, &signing, &future), "the log was not trusted yet");
    let signers = [signer("alice", &plant.signer)];
    let begun = Requirement { trusted_root: Some(&future), log_required: true, now: NOW + 1, ..by(&signers) };
    begun.verify(about(&image), &[&signing]).unwrap();
    let mut ended = plant.trusted_root();
    ended["tlogs"][1]["publicKey"]["validFor"]["end"] = "2026-06-01T00:00:00Z".into();
    let signing = Signing::logged_2(&plant, &image).read().unwrap();
    assert_why(logged(&plant, &image, &signing, &read_root(&ended)), "was not trusted at the time of its entry");
}

#[test]
fn scheme_row_081_the_shard_and_the_checkpoint_decide() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let run = |edit: &dyn Fn(&mut Value)| {
        let mut signing = Signing::logged(&plant, &image, SIGNED);
        edit(&mut signing.entry()["inclusionProof"]);
        logged(&plant, &image, &signing.read().unwrap(), &root)
    };
    run(&|_| {}).unwrap();
    let no_root = "does not lead to the root";
    assert_why(run(&|proof| proof["logIndex"] = "1000001".into()), no_root);
    assert_why(run(&|proof| proof["logIndex"] = "0".into()), no_root);
    assert_why(run(&|proof| drop(proof.as_object_mut().unwrap().remove("logIndex"))), no_root);
    assert_why(run(&|proof| drop(proof["hashes"].as_array_mut().unwrap().pop())), no_root);
    assert_why(run(&|proof| proof["hashes"].as_array_mut().unwrap().push(base64(&[0; 32]))), no_root);
    let other_tree = "not about the tree of its checkpoint";
    assert_why(run(&|proof| proof["treeSize"] = "4".into()), other_tree);
    assert_why(run(&|proof| proof["rootHash"] = base64(&[0; 32])), other_tree);
    assert!(run(&|proof| proof["hashes"] = vec![base64(&[0; 32]); 65].into()).is_err());
    // A tree that holds the entry, and that the log has not signed.
    let forged = |proof: &mut Value| {
        let note = proof["checkpoint"]["envelope"].as_str().unwrap().replacen("\n3\n", "\n5\n", 1);
        proof["checkpoint"]["envelope"] = note.into();
        proof["treeSize"] = "5".into();
    };
    assert_why(run(&forged), "has not signed the checkpoint");
}

#[test]
fn scheme_row_082_a_witness_is_not_the_log() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let run = |edit: &dyn Fn(&str) -> String| {
        let mut signing = Signing::logged(&plant, &image, SIGNED);
        let note = &mut signing.entry()["inclusionProof"]["checkpoint"]["envelope"];
        *note = edit(note.as_str().unwrap()).into();
        logged(&plant, &image, &signing.read().unwrap(), &root)
    };
    let line = |note: &str| note.split_once("\n\n").unwrap().1.to_owned();
    let text = |note: &str| note.split_once("\n\n").unwrap().0.to_owned();
    let tree = merkle::leaf(b"");
    let witness = |name: &str| {
        let key = Key::ed25519();
        line(&checkpoint("rekor.plant.example - 12", name, 3, &tree, &key, key.id()))
    };
    run(&|note| format!("{}\n\n{}{}", text(note), witness("witness.example"), line(note))).unwrap();
    run(&|note| format!("{}\n\n{}{}", text(note), line(note), witness("rekor.plant.example"))).unwrap();
    let not_signed = "has not signed the checkpoint";
    assert_why(run(&|note| format!("{}\n\n{}", text(note), witness("witness.example"))), not_signed);
    assert_why(run(&|note| format!("{}\n\n{}", text(note), witness("rekor.plant.example"))), not_signed);
    // The log's own key under another name, and for another origin.
    assert_why(run(&|note| note.replace("— rekor.plant.example ", "— plant.example ")), not_signed);
    assert_why(run(&|note| note.replacen("rekor.plant", "rekor2.plant", 1)), not_signed);
    let shape = "is not an origin, a size, a root and signatures";
    assert_why(run(&|note| text(note)), shape);
    assert_why(run(&|note| note.trim_end().to_owned()), shape);
    assert_why(run(&|note| note.replacen("\n3\n", "\n03\n", 1)), shape);
    assert_why(run(&|note| note.replacen("\n3\n", "\n", 1)), shape);
    assert_why(run(&|note| format!("\n{note}")), shape);
    assert_why(run(&|note| note.replace("— rekor", "- rekor")), shape);
    assert_why(run(&|note| format!("{}\n\n{}", text(note), line(note).replacen(' ', "  ", 2))), shape);
    let many: String = (0..33).map(|_| witness("witness.example")).collect();
    assert_why(run(&|note| format!("{}\n\n{many}{}", text(note), line(note))), "more than 32 signatures");
    assert!(run(&|note| format!("{note}{}", "x".repeat(17_000))).is_err());
}

#[test]
fn scheme_row_083_an_unknown_log_beside_a_known_one() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let mut signing = Signing::logged(&plant, &image, SIGNED);
    let known = signing.entry().clone();
    let mut unknown = known.clone();
    unknown["logId"]["keyId"] = base64(&[1; 32]);
    unknown["canonicalizedBody"] = base64(b"not even JSON");
    for order in [json!([unknown, known]), json!([known, unknown])] {
        signing.bundle["verificationMaterial"]["tlogEntries"] = order;
        logged(&plant, &image, &signing.read().unwrap(), &root).unwrap();
    }
    // A second entry of a known log that is wrong is not passed over.
    let mut wrong = Signing::logged_2(&plant, &Image::named("other"));
    signing.bundle["verificationMaterial"]["tlogEntries"] = json!([known, wrong.entry().clone()]);
    assert_why(logged(&plant, &image, &signing.read().unwrap(), &root), "about another signature");
}

/// What a real log and a real time stamp authority of a plant made, with a key.
#[test]
fn scheme_row_070_a_private_log_of_rekor_2() {
    let Some(vectors) = super::vectors::vectors() else { return };
    for (folder, root, counts) in [
        ("rekor2", "trusted_root.rekor2+tsa.json", true),
        ("rekor2", "trusted_root.fulcio+rekor2+tsa.json", true),
        ("rekor2", "trusted_root.tsa.json", false),
        ("tsb", "trusted_root.rekor2+tsa.json", false),
    ] {
        super::vectors::plant(&vectors, folder, root, counts);
    }
}

/// Every byte of what stands beside a signature: no change makes another signature count, and changes of what is signed make it
/// not count.
#[test]
fn no_changed_proof_counts_for_another_signature() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let other = Signing::logged(&plant, &Image::named("other"), SIGNED);
    let mut moved = Signing::logged(&plant, &image, SIGNED);
    moved.bundle["verificationMaterial"] = other.bundle["verificationMaterial"].clone();
    assert_why(logged(&plant, &image, &moved.read().unwrap(), &root), "about another signature");
    let signers = [signer("alice", &plant.signer)];
    let requirement = Requirement { trusted_root: Some(&root), log_required: true, ..by(&signers) };
    let bundle = Signing::logged(&plant, &image, SIGNED).bundle;
    let text = bundle.to_string();
    let body = text.find("canonicalizedBody").unwrap();
    for at in (body + 20..body + 600).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        if let Ok(signature) = raw_bundle(bytes) {
            assert!(requirement.verify(about(&image), &[&signature]).is_err(), "byte {at}");
        }
    }
}
