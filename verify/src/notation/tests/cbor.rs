//! The reader of CBOR, against encodings that are not the only one of a value.

use portreeve_test_support::notation::Cbor;

use super::super::cbor::{Label, Reader};

fn is_map(bytes: &[u8]) -> bool {
    Reader::all(bytes, Reader::map).is_some()
}

#[test]
fn numbers_have_their_shortest_form() {
    for (bytes, number) in [
        (&[0x00][..], Some(0)),
        (&[0x17], Some(23)),
        (&[0x18, 24], Some(24)),
        (&[0x18, 23], None),
        (&[0x19, 1, 0], Some(256)),
        (&[0x19, 0, 255], None),
        (&[0x1a, 0, 1, 0, 0], Some(65_536)),
        (&[0x1a, 0, 0, 255, 255], None),
        (&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0], Some(1 << 32)),
        (&[0x1b, 0, 0, 0, 0, 255, 255, 255, 255], None),
        (&[0x20], Some(-1)),
        (&[0x38, 36], Some(-37)),
        (&[0x1b, 255, 255, 255, 255, 255, 255, 255, 255], None),
        (&[0x3b, 127, 255, 255, 255, 255, 255, 255, 255], Some(i64::MIN)),
        (&[0x1c], None),
        (&[0x1f], None),
        (&[0x40], None),
        (&[], None),
    ] {
        assert_eq!(Reader::all(bytes, Reader::integer), number, "{bytes:x?}");
    }
}

#[test]
fn lengths_are_definite_and_within_the_bytes() {
    for bad in [&[0x5f, 0x41, 0, 0xff][..], &[0x42, 0], &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255], &[0x58, 1, 0]]
    {
        assert_eq!(Reader::all(bad, Reader::bytes), None, "{bad:x?}");
    }
    assert_eq!(Reader::all(&[0x61, 0xff], Reader::text), None); // no UTF-8
    for bad in [
        &[0xbf, 0xff][..],
        &[0xa1, 0x01],
        &[0xa2, 1, 1, 1, 2],       // a label twice
        &[0xa2, 1, 1, 0x18, 1, 2], // the same, in another form
        &[0xa1, 0x41, 0, 1],       // a label of bytes
        &[0xa1, 1, 0xf9, 0, 0],    // a float
        &[0xa1, 1, 0xf7],          // undefined
        &[0xa1, 1, 0xf8, 20],      // a simple value in a longer form
        &[0xa1, 1, 0x9f, 0xff],    // an array of indefinite length
        &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
    ] {
        assert!(!is_map(bad), "{bad:x?}");
    }
    for good in [&[0xa0][..], &[0xa1, 1, 0xf6], &[0xa2, 1, 0xf4, 0x61, b'1', 0xf5], &[0xa1, 0x20, 0x82, 0xc1, 0, 0xa0]]
    {
        assert!(is_map(good), "{good:x?}");
    }
}

#[test]
fn maps_and_depth_have_caps() {
    let map = |entries: i64| Cbor::Map((0..entries).map(|label| (Cbor::Integer(label), Cbor::Integer(1))).collect());
    assert!(is_map(&map(64).encode()) && !is_map(&map(65).encode()));
    let deep = |levels: usize| {
        let value = (0..levels).fold(Cbor::Integer(1), |value, _| Cbor::Array(vec![value]));
        Cbor::Map(vec![(Cbor::Integer(1), value)]).encode()
    };
    assert!(is_map(&deep(7)) && !is_map(&deep(8)));
    assert!(!is_map(&[&[0xa1, 1][..], &vec![0xc1; 500_000]].concat()));
    let entries = Reader::all(&[0xa1, 0x61, b'a', 0x02], Reader::map).unwrap();
    let [(label, mut value)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!((label, value.integer()), (Label::Text("a"), Some(2)));
}
