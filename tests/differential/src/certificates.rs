//! Chains of certificates in which something is unusual or wrong, and everything is signed.

use portreeve_test_support::notation::{
    BASIC_CONSTRAINTS, Certificate, EXTENDED_KEY_USAGE, Extension, KEY_USAGE, Kind, Spec, basic_constraints,
    distribution_point, extended_key_usage, key_usage, name, ocsp_address,
};

use crate::bytes;
use crate::der::{self, tlv};
use crate::random::Random;

const PURPOSES: [u8; 9] = [0, 1, 2, 3, 3, 4, 8, 9, 17];
const DAY: i64 = 86_400;

/// A chain, signer first, and the place of the certificate that is trusted.
pub fn chain(now: i64, random: &mut Random) -> (Vec<Certificate>, usize) {
    let kind = |random: &mut Random| match random.below(12) {
        0 => Kind::P384,
        1 => Kind::Rsa(2048),
        2 => Kind::Rsa(3072),
        3 if random.once_in(3) => Kind::P521,
        4 if random.once_in(3) => Kind::Ed25519,
        _ => Kind::P256,
    };
    let length = 1 + random.pick(&[0, 1, 2, 2, 3]);
    let wrong = random.below(length);
    let mut chain: Vec<Certificate> = Vec::new();
    for place in (0..length).rev() {
        let key = kind(random);
        let mut spec = match place {
            0 => Spec::leaf("builder", key),
            _ => Spec::ca(&format!("Plant CA {place}"), key),
        };
        if place == wrong {
            for _ in 0..=random.below(4) / 3 {
                change(&mut spec, now, random);
            }
        }
        let mut certificate = match chain.first() {
            Some(issuer) if issuer.key.kind != Kind::P521 => spec.signed_by(issuer),
            _ => spec.self_signed(),
        };
        if place == wrong && random.once_in(3) {
            let issuer = chain.first().unwrap_or(&certificate).clone();
            if let Some(der) = signed_anew(&certificate.der, &issuer, random) {
                certificate.der = der;
            }
        }
        chain.insert(0, certificate);
    }
    if random.once_in(6) {
        let (from, to) = (random.below(chain.len()), random.below(chain.len()));
        match random.below(5) {
            0 if chain.len() > 1 => drop(chain.remove(from)),
            1 => chain.insert(to, chain[from].clone()),
            2 => chain.swap(from, to),
            3 => chain.push(Spec::ca("Plant CA 9", Kind::P256).self_signed()),
            _ => chain[from].der = bytes::changed(&chain[from].der, random),
        }
    }
    let anchor = if random.once_in(3) { random.below(chain.len()) } else { chain.len() - 1 };
    (chain, anchor)
}

/// The certificate with a change in its signed part, signed by this issuer.
fn signed_anew(certificate: &[u8], issuer: &Certificate, random: &mut Random) -> Option<Vec<u8>> {
    let (content, _) = der::split(certificate)?;
    let (_, rest) = der::split(content)?;
    let signed = bytes::changed(&content[..content.len() - rest.len()], random);
    let (algorithm, signature) = der::sign(&issuer.key, &signed);
    Some(tlv(0x30, &[&signed, &algorithm, &tlv(3, &[&[0], &signature])]))
}

fn change(spec: &mut Spec, now: i64, random: &mut Random) {
    let some = |random: &mut Random| random.once_in(2);
    match random.below(20) {
        0 => {
            put(spec, key_usage(some(random), random.pick(&[0, 0x80, 0xc0, 0xa0, 0x04, 0x06, 0x84, 0x02, 0x20, 0x01])))
        }
        1 => put(spec, basic_constraints(some(random), some(random), random.pick(&[None, Some(0), Some(1), Some(2)]))),
        2 => {
            let purposes: Vec<u8> = (0..random.below(4)).map(|_| random.pick(&PURPOSES)).collect();
            let mut extension = extended_key_usage(&purposes);
            extension.1 = some(random);
            put(spec, extension);
        }
        3 => *spec = spec.clone().without(random.pick(&[KEY_USAGE, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE])),
        4 if !spec.extensions.is_empty() => spec.extensions.push(random.pick(&spec.extensions.clone())),
        5 if !spec.extensions.is_empty() => {
            let at = random.below(spec.extensions.len());
            spec.extensions[at].2 = bytes::changed(&spec.extensions[at].2, random);
        }
        6 if !spec.extensions.is_empty() => {
            let at = random.below(spec.extensions.len());
            spec.extensions[at].1 = !spec.extensions[at].1;
        }
        7 => spec.extensions.push(other_extension(some(random), random)),
        8 => spec.extensions.push(distribution_point("http://127.0.0.1:1/list")),
        9 => spec.extensions.push(ocsp_address("http://127.0.0.1:1/")),
        10 => spec.not_after = now + random.pick(&[-DAY, -3600, 3600, DAY]),
        11 => spec.not_before = now + random.pick(&[-DAY, -3600, 3600, DAY]),
        12 => (spec.not_before, spec.not_after) = (spec.not_after, spec.not_before),
        13 => spec.serial_number = random.pick(&[0, 0x7f, 0x80, 0xff]),
        14 => spec.algorithm = Some(algorithm(random)),
        _ => spec.subject = subject(random),
    }
}

fn put(spec: &mut Spec, extension: Extension) {
    *spec = spec.clone().with(extension);
}

fn other_extension(is_critical: bool, random: &mut Random) -> Extension {
    let dns = tlv(0x82, &[b"plant.example"]);
    let (arcs, value): (&[u8], Vec<u8>) = match random.below(8) {
        0 => (&[0x55, 29, 17], tlv(0x30, &[&dns])),
        1 => (&[0x55, 29, 30], tlv(0x30, &[&tlv(0xa0, &[&tlv(0x30, &[&dns])])])),
        2 => (&[0x55, 29, 32], tlv(0x30, &[&tlv(0x30, &[&tlv(6, &[&[0x55, 29, 32, 0]])])])),
        3 => (&[0x55, 29, 14], tlv(4, &[b"key"])),
        4 => (&[0x55, 29, 35], tlv(0x30, &[&tlv(0x80, &[b"another"])])),
        5 => (&[0x55, 29, 36], tlv(0x30, &[&tlv(0x80, &[&[0]])])),
        6 => (&[0x55, 29, 54], tlv(2, &[&[0]])),
        _ => (&[0x2a, 3, 4], b"anything".to_vec()),
    };
    (arcs.to_vec(), is_critical, value)
}

fn algorithm(random: &mut Random) -> Vec<u8> {
    let ecdsa = |number: u8, parameters: &[u8]| {
        tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, number]]), parameters])
    };
    let rsa = |number: u8, parameters: &[u8]| {
        tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, number]]), parameters])
    };
    match random.below(9) {
        0 => ecdsa(2, &[5, 0]),
        1 => ecdsa(3, &[]),
        2 => ecdsa(4, &[]),
        3 => ecdsa(1, &[]),
        4 => rsa(11, &[]),
        5 => rsa(5, &[5, 0]),
        6 => rsa(12, &[5, 0]),
        7 => rsa(10, &[0x30, 0]),
        _ => tlv(0x30, &[&tlv(6, &[&[0x2b, 0x65, 0x70]])]),
    }
}

/// A subject that the identity `C=US, ST=WA, O=Plant` may be met by, or seem to be.
fn subject(random: &mut Random) -> Vec<u8> {
    let attribute =
        |number: u8, tag: u8, value: &[u8]| tlv(0x30, &[&tlv(6, &[&[0x55, 4, number]]), &tlv(tag, &[value])]);
    let usual = [attribute(6, 0x13, b"US"), attribute(8, 0x0c, b"WA"), attribute(10, 0x0c, b"Plant")];
    let relative = |attributes: &[Vec<u8>]| tlv(0x31, &[&attributes.concat()]);
    let of = |names: &[Vec<u8>]| tlv(0x30, &[&names.concat()]);
    let each: Vec<Vec<u8>> = usual.iter().map(|one| relative(std::slice::from_ref(one))).collect();
    let with = |more: &[Vec<u8>]| of(&[each.clone(), more.to_vec()].concat());
    match random.below(18) {
        0 => of(&[]),
        1 => name(&[("C", "US"), ("ST", "WA"), ("O", "Other"), ("CN", "O=Plant")]),
        2 => name(&[("C", "US"), ("ST", "WA"), ("O", "Other,O=Plant")]),
        3 => name(&[("O", "Plant"), ("ST", "WA"), ("C", "US")]),
        4 => name(&[("C", "US"), ("ST", "WA"), ("O", "Other"), ("O", "Plant")]),
        5 => name(&[("C", "US"), ("ST", "WA"), ("O", "Plant"), ("O", "Other")]),
        6 => name(&[("C", "us"), ("ST", "WA"), ("O", "plant")]),
        7 => name(&[("C", "US"), ("ST", "WA"), ("O", " Plant ")]),
        8 => name(&[("C", "US"), ("ST", "WA"), ("O", "Plant\0")]),
        9 => name(&[("C", "US"), ("ST", "WA"), ("O", "Plant"), ("L", "+OU=a\\,\"<>;#")]),
        10 => of(&[relative(&usual)]),
        11 => with(&[relative(&[attribute(11, 0x0c, b"a"), attribute(3, 0x0c, b"b")])]),
        12 => with(&[relative(&[attribute(3, 0x1e, &[0, b'a'])])]), // a BMPString
        13 => with(&[relative(&[attribute(3, 0x14, b"a\xe9")])]),   // a TeletexString
        14 => with(&[relative(&[attribute(3, 2, &[1])])]),          // an INTEGER
        15 => with(&[relative(&[tlv(0x30, &[&tlv(6, &[&[0x2a, 3, 4]]), &tlv(0x0c, &[b"x"])])])]),
        16 => of(&[each[0].clone(), each[1].clone(), relative(&[attribute(10, 0x16, b"Plant")])]),
        _ => of(&[each[0].clone(), each[1].clone(), relative(&[attribute(10, 0x1e, b"\0P\0l\0a\0n\0t")])]),
    }
}
