//! Row 93: COSE, whatever the order of its headers, and nothing that is not COSE_Sign1.

use portreeve_test_support::notation::Cbor;

use super::*;

#[test]
fn scheme_row_093_cose_with_headers_in_any_order() {
    for kind in [Kind::P256, Kind::Rsa(2048)] {
        let chain = portreeve_test_support::notation::chain(kind, Kind::P256);
        let policy = Policy::of(&[&chain[2]]);
        let signed = Cose::new(IMAGE, &chain);
        for turn in 0..signed.protected.len() {
            let turned = signed.clone().edit(|cose| {
                cose.protected.rotate_left(turn);
                cose.unprotected.reverse();
            });
            let envelope = cose(&turned).unwrap();
            assert_eq!(envelope.format(), EnvelopeFormat::Cose);
            policy.signer_of(&envelope, NOW).unwrap();
        }
    }
}

#[test]
fn scheme_row_093_the_received_bytes_are_verified() {
    let chain = self_signed(Kind::P256);
    let signed = Cose::new(IMAGE, &chain);
    let bytes = signed.bytes();
    // Headers in another order are other bytes: the signature is over those that were received.
    let protected = Cbor::Map(signed.protected.clone()).encode();
    let other = Cbor::Map(signed.protected.iter().rev().cloned().collect()).encode();
    let at = bytes.windows(protected.len()).position(|window| window == protected).unwrap();
    let moved = [&bytes[..at], &other, &bytes[at + protected.len()..]].concat();
    assert_refused(
        read(EnvelopeFormat::Cose, &moved),
        "bad-signature",
        "the key of its own certificate has not made it",
    );
}

#[test]
fn what_is_no_cose_sign1_is_refused() {
    let chain = self_signed(Kind::P256);
    let signed = Cose::new(IMAGE, &chain);
    let good = signed.bytes();
    cose(&signed).unwrap();
    assert_refused(cose(&signed.clone().edit(|cose| cose.tag = 98)), "bad-signature", "no COSE_Sign1");
    let no_tag = &good[1..];
    let trailing = [&good[..], &[0]].concat();
    let indefinite = [&[0xd2, 0x9f], &good[2..], &[0xff]].concat();
    let long_tag = [&[0xd8, 18], &good[1..]].concat();
    for bad in [no_tag, &trailing, &indefinite, &long_tag, &good[..good.len() - 1], &[], &[0xd2]] {
        assert_refused(read(EnvelopeFormat::Cose, bad), "bad-signature", "no COSE_Sign1");
    }
}

#[test]
fn a_label_stands_once_and_where_it_belongs() {
    let chain = self_signed(Kind::P256);
    let signed = Cose::new(IMAGE, &chain);
    let twice = signed.clone().edit(|cose| cose.protected.push(cose.protected[0].clone()));
    assert_refused(cose(&twice), "bad-signature", "each label once");
    let twice = signed.clone().edit(|cose| cose.unprotected.push(cose.unprotected[0].clone()));
    assert_refused(cose(&twice), "bad-signature", "no COSE_Sign1");
    let nested = Cbor::Map(vec![(Cbor::Integer(1), Cbor::Integer(1)), (Cbor::Integer(1), Cbor::Integer(2))]);
    let twice = signed.clone().edit(|cose| cose.set(Cbor::text("a"), nested));
    assert_refused(cose(&twice), "bad-signature", "each label once");
    for label in [Cbor::Integer(1), Cbor::Integer(3), Cbor::text("io.cncf.notary.expiry"), Cbor::text("a")] {
        let both = signed.clone().edit(|cose| {
            cose.set(Cbor::text("a"), Cbor::Integer(1));
            cose.unprotected.push((label, Cbor::Integer(1)));
        });
        assert_refused(cose(&both), "bad-signature", "where it does not belong");
    }
    let moved = signed.clone().edit(|cose| {
        let chain = cose.unprotected.remove(0);
        cose.protected.push(chain);
    });
    assert_refused(cose(&moved), "bad-signature", "where it does not belong");
    let tag = Cbor::Tag(1, Box::new(Cbor::Integer(1)));
    for tagged in [tag.clone(), Cbor::Array(vec![tag.clone()]), Cbor::Map(vec![(Cbor::Integer(1), tag)])] {
        let protected = signed.clone().edit(|cose| cose.set(Cbor::text("a"), tagged.clone()));
        assert!(cose(&protected).is_ok());
        let unprotected = signed.clone().edit(|cose| cose.unprotected.push((Cbor::text("a"), tagged)));
        assert_refused(cose(&unprotected), "bad-signature", "no COSE_Sign1");
    }
    // Protected headers that follow each other, and none.
    let bytes = Cbor::Map(signed.protected.clone()).encode();
    for bad in [[&bytes[..], &[0]].concat(), Vec::new(), vec![0xa0], vec![0xbf, 0xff]] {
        let changed = signed.clone().edit(|cose| cose.protected_bytes = Some(bad));
        assert_eq!(why(cose(&changed)).0, "bad-signature");
    }
}

#[test]
fn certificates_are_an_array() {
    let chain = self_signed(Kind::P256);
    for (value, words) in [
        // RFC 9360 allows this, and notation does not.
        (Cbor::Bytes(chain[0].der.clone()), "no chain"),
        (Cbor::Array(Vec::new()), "no certificate"),
        (Cbor::Integer(1), "no chain"),
        (Cbor::Array(vec![Cbor::Integer(1)]), "no chain"),
        (Cbor::Array(vec![Cbor::Bytes(Vec::new())]), "damaged"),
    ] {
        let changed = Cose::new(IMAGE, &chain).edit(|cose| cose.unprotected[0].1 = value);
        assert_refused(cose(&changed), "bad-signature", words);
    }
}
