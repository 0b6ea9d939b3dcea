//! COSE, held against `coset`: whatever is changed in an envelope, what is accepted here is a COSE_Sign1 for coset, and both
//! read the same parts.

use coset::{CborSerializable as _, CoseSign1, TaggedCborSerializable as _};
use portreeve_test_support::notation::SigningKey;

use super::super::cbor::Reader;
use super::super::envelope::Contents;
use super::*;

/// Each bit flip, and each byte that is taken out, put in twice or replaced.
fn mutations(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).flat_map(move |at| {
        let byte = bytes[at];
        let with = move |other: u8| [&bytes[..at], &[other], &bytes[at + 1..]].concat();
        let taken = [&bytes[..at], &bytes[at + 1..]].concat();
        let twice = [&bytes[..at], &[byte], &bytes[at..]].concat();
        (0..8).map(move |bit| with(byte ^ 1 << bit)).chain([taken, twice, with(0xff), with(0x5f)])
    })
}

/// A small envelope: its chain is no certificate, so that most of its bytes are COSE's own.
fn small() -> Cose {
    let mut certificate = self_signed(Kind::P256).remove(0);
    certificate.der.truncate(4);
    certificate.key = SigningKey::new(Kind::P256);
    Cose::new(IMAGE, &[certificate])
}

#[test]
fn what_is_read_here_is_read_alike_by_coset() {
    let mut both = 0;
    for mutant in mutations(&small().bytes()) {
        let Ok(contents) = super::super::cose::read(&mutant) else { continue };
        let theirs = CoseSign1::from_tagged_slice(&mutant).expect("coset refuses what is read here");
        let Contents { payload, signed, signature, .. } = contents;
        assert_eq!(theirs.payload, Some(payload));
        assert_eq!(theirs.signature, signature);
        assert_eq!(theirs.tbs_data(&[]), signed);
        both += 1;
    }
    assert!(both > 500, "many mutants are still envelopes: {both}");
}

#[test]
fn what_coset_reads_and_is_refused_here_is_refused_for_a_reason() {
    let mut refused = 0;
    for mutant in mutations(&small().bytes()) {
        let Ok(theirs) = CoseSign1::from_tagged_slice(&mutant) else { continue };
        if super::super::cose::read(&mutant).is_ok() {
            continue;
        }
        refused += 1;
        // The same parts in the one form that is read here: only what the headers say can be the reason now.
        let canonical = theirs.clone().to_tagged_vec().unwrap();
        let reason = super::super::cose::read(&canonical).err();
        let is_form = reason.is_none() || theirs.payload.is_none();
        let is_header = matches!(
            reason,
            Some(
                NotCounted::Shape(_)
                    | NotCounted::Value { .. }
                    | NotCounted::Critical { .. }
                    | NotCounted::TooLarge { .. }
            )
        );
        assert!(is_form || is_header, "{reason:?}");
    }
    assert!(refused > 50, "{refused}");
}

/// No change of a sound envelope makes another one that counts, but for what is not signed.
#[test]
fn no_byte_of_an_envelope_can_be_changed() {
    let chain = self_signed(Kind::P256);
    let policy = Policy::of(&[&chain[0]]);
    let bytes = Cose::new(IMAGE, &chain).bytes();
    let agent = bytes.windows(24).position(|window| window.ends_with(b"signingAgent")).unwrap();
    let agent = agent - 12..agent + 24 + 6;
    let mut accepted = 0;
    for (index, mutant) in mutations(&bytes).enumerate() {
        let at = index / 12;
        // Certificates are tried in a test of their own.
        if index % 5 != 0 && !agent.contains(&at) || mutant == bytes {
            continue;
        }
        let Ok(envelope) = read(EnvelopeFormat::Cose, &mutant) else { continue };
        if policy.signer_of(&envelope, NOW).is_ok() {
            assert!(agent.contains(&at), "changed at {at}");
            accepted += 1;
        }
    }
    assert!(accepted > 0);
}

/// Numbers, texts, arrays and maps in each other, as coset's reader of CBOR sees them.
#[test]
fn values_that_are_read_here_are_read_by_coset() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut read = 0;
    for _ in 0..200_000 {
        let mut bytes = vec![0xa1, 0x01];
        for _ in 0..usize::from(next() % 6) + 1 {
            // Mostly small heads of each major type.
            bytes.push(if next() < 200 { (next() & 0xe0) | (next() & 3) } else { next() });
        }
        if Reader::all(&bytes, Reader::map).is_some() {
            coset::cbor::Value::from_slice(&bytes).expect("coset refuses what is read here");
            read += 1;
        }
    }
    assert!(read > 5_000, "{read}");
}
