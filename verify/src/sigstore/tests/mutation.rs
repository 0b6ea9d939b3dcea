//! Whatever is changed in a signature, it never counts for another image, and what is signed cannot be changed at all.

use portreeve_test_support::cosign::digest;

use super::*;

/// Each bit flip and each byte that is taken out, put in twice or replaced, at each place.
fn mutations(bytes: &[u8], step: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).step_by(step).flat_map(move |at| {
        let with = |byte: u8| [&bytes[..at], &[byte], &bytes[at + 1..]].concat();
        let byte = bytes[at];
        let case = if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { b'0' };
        [
            with(byte ^ 1),
            with(byte ^ 0x80),
            with(case),
            with(b'"'),
            [&bytes[..at], &bytes[at + 1..]].concat(),
            [&bytes[..at], &[byte], &bytes[at..]].concat(),
        ]
        .into_iter()
        .filter(move |mutant| mutant != bytes)
    })
}

/// Counts it for this image? It must not count for another one, whatever it is.
fn counts(signers: &[Signer], image: &Image, other: &Image, signature: &Signature) -> bool {
    assert!(verify(by(signers), other, &[signature]).is_err(), "it counts for another image");
    verify(by(signers), image, &[signature]).is_ok()
}

#[test]
fn no_byte_of_a_payload_can_be_changed() {
    let (image, other, key) = (plc(), Image::named("other"), Key::ed25519());
    let signers = [signer("alice", &key)];
    let payload = Payload::new(&image).annotation("build", "42").bytes();
    let signature = key.sign(&payload);
    let mut read = 0;
    for mutant in mutations(&payload, 1) {
        let Ok(mutant) = layers(&[Layer::with_signature(mutant, &signature)]).remove(0) else { continue };
        read += 1;
        assert!(!counts(&signers, &image, &other, &mutant));
    }
    assert!(read > 100, "many mutants are still payloads: {read}");
}

#[test]
fn no_byte_of_a_signature_can_be_changed() {
    let (image, other) = (plc(), Image::named("other"));
    for key in [Key::p256(), Key::p384(), Key::rsa(), Key::ed25519()] {
        let signers = [signer("alice", &key)];
        let payload = Payload::new(&image).bytes();
        let signature = key.sign(&payload);
        for mutant in mutations(&signature, 5) {
            let mutant = layers(&[Layer::with_signature(payload.clone(), &mutant)]).remove(0).unwrap();
            assert!(!counts(&signers, &image, &other, &mutant));
        }
    }
}

/// The hint is not signed, and white space and escapes are no change; nothing else may be different.
#[test]
fn no_change_of_a_bundle_makes_it_count_for_another_image() {
    let (image, other, key) = (plc(), Image::named("other"), Key::ed25519());
    let signers = [signer("alice", &key)];
    let statement = Statement::new(&image).bytes();
    for bytes in [Bundle::dsse(&statement, &key).bytes(), Bundle::message(&image.manifest, &key).bytes()] {
        let hint = bytes.windows(6).position(|six| six == b"\"hint\"").unwrap();
        let hint = hint..hint + 6 + 2 + key.hint().len() + 1;
        for mutant in mutations(&bytes, 1) {
            let at = mutant.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(mutant.len());
            let Ok(mutant) = raw_bundle(mutant) else { continue };
            assert!(!counts(&signers, &image, &other, &mutant) || hint.contains(&at), "changed at {at}");
        }
    }
}

/// A payload or a statement about another image, under the signature for this one.
#[test]
fn a_signature_is_not_moved_to_another_image() {
    let (image, other) = (plc(), Image::named("other"));
    for key in [Key::p256(), Key::rsa(), Key::ed25519()] {
        let signers = [signer("alice", &key)];
        let signature = key.sign(&Payload::new(&image).bytes());
        let moved = layers(&[Layer::with_signature(Payload::new(&other).bytes(), &signature)]).remove(0).unwrap();
        assert!(!counts(&signers, &image, &other, &moved));
        let honest: serde_json::Value =
            serde_json::from_slice(&Bundle::dsse(&Statement::new(&image).bytes(), &key).bytes()).unwrap();
        let moved = Bundle::dsse(&Statement::new(&other).bytes(), &key)
            .edit(|bundle| bundle["dsseEnvelope"]["signatures"] = honest["dsseEnvelope"]["signatures"].clone());
        assert!(!counts(&signers, &image, &other, &bundle(&moved).unwrap()));
        // A signature of the one kind is none of the other.
        let payload = Payload::new(&image).bytes();
        let crossed = layers(&[Layer::with_signature(payload, &key.sign(&image.manifest))]).remove(0).unwrap();
        assert!(!counts(&signers, &image, &other, &crossed));
        assert_ne!(digest(&image.manifest), digest(&other.manifest));
    }
}
