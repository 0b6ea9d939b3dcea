//! DER, as far as certificates and time stamps are written anew here.

use portreeve_test_support::notation::{Kind, SigningKey};

/// One element.
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content].concat()
}

/// The first element, without its head, and what follows it.
pub fn split(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, length) = match *der.get(1)? {
        length @ ..=0x7f => (2, usize::from(length)),
        0x81 => (3, usize::from(*der.get(2)?)),
        0x82 => (4, usize::from(*der.get(2)?) << 8 | usize::from(*der.get(3)?)),
        _ => return None,
    };
    Some((der.get(head..head + length)?, der.get(head + length..)?))
}

/// A signature as certificates have it, and its `AlgorithmIdentifier`.
pub fn sign(key: &SigningKey, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let algorithm = |oid: &[u8], parameters: &[u8]| tlv(0x30, &[&tlv(6, &[oid]), parameters]);
    let ecdsa = |number: u8| algorithm(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, number], &[]);
    match key.kind {
        Kind::P256 => (ecdsa(2), sequence_of_two(&key.sign("", message))),
        Kind::P384 => (ecdsa(3), sequence_of_two(&key.sign("", message))),
        _ => {
            let rsa = algorithm(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], &[5, 0]);
            (rsa, key.sign("RS256", message))
        }
    }
}

/// From `r` and `s` in a fixed width.
fn sequence_of_two(fixed: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
        let number = &number[zeros..];
        let sign: &[u8] = if number[0] & 0x80 != 0 { &[0] } else { &[] };
        tlv(2, &[sign, number])
    };
    let (r, s) = fixed.split_at(fixed.len() / 2);
    tlv(0x30, &[&integer(r), &integer(s)])
}
