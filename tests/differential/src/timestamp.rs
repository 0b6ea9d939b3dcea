//! Time stamps (RFC 3161) in which something is unusual or wrong, and everything is signed.

use portreeve_test_support::notation::{
    Certificate, Extension, Kind, Spec, basic_constraints, extended_key_usage, key_usage, name,
};
use ring::digest::{SHA256, SHA384, digest};

use crate::bytes;
use crate::der::{self, tlv};
use crate::random::Random;

const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA_384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const PKCS_9: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9];
const SERIAL: u8 = 7;

/// A time stamp authority: its root, and the certificate that it signs with.
pub struct Authority {
    pub root: Certificate,
    signer: Certificate,
}

/// An authority whose certificate is as it must be, or nearly.
pub fn authority(random: &mut Random) -> Authority {
    let root = Spec::ca("Time Root", Kind::P256).self_signed();
    let mut purpose = extended_key_usage(if random.once_in(12) { &[8, 3] } else { &[8] });
    purpose.1 = !random.once_in(12);
    let subject = name(&[("C", "US"), ("O", "Time"), ("CN", "Stamps")]);
    let mut spec = Spec { subject, serial_number: SERIAL, ..Spec::leaf("", Kind::P256) }.with(purpose);
    let other: Option<Extension> = match random.below(24) {
        0 => Some(key_usage(true, random.pick(&[0xc0, 0x40, 0x84, 0x20]))),
        1 => Some(key_usage(false, 0x80)),
        2 => Some(basic_constraints(true, true, None)),
        _ => None,
    };
    if let Some(other) = other {
        spec = spec.with(other);
    }
    let signer = spec.signed_by(&root);
    Authority { root, signer }
}

fn algorithm(oid: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(6, &[oid])])
}

fn attribute(number: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(6, &[&PKCS_9, number]), &tlv(0x31, &[value])])
}

/// Once in so many times, with changed bytes.
fn sometimes(times: usize, bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if random.once_in(times) { bytes::changed(&bytes, random) } else { bytes }
}

impl Authority {
    /// A time stamp of these bytes at this time (`20260601120000Z`).
    pub fn token(&self, signed: &[u8], time: &str, random: &mut Random) -> Vec<u8> {
        let info = sometimes(5, info(signed, time, random), random);
        let certificate_hash = digest(&SHA256, &self.signer.der);
        let id = tlv(0x30, &[&tlv(4, &[certificate_hash.as_ref()])]);
        let mut attributes = vec![
            attribute(&[3], &tlv(6, &[&PKCS_9, &[16, 1, 4]])),
            attribute(&[4], &tlv(4, &[digest(&SHA256, &info).as_ref()])),
            attribute(&[16, 2, 47], &tlv(0x30, &[&tlv(0x30, &[&id])])),
        ];
        match random.below(12) {
            0 => drop(attributes.remove(random.below(3))),
            1 => attributes.push(attributes[random.below(3)].clone()),
            2 => attributes.push(attribute(&[5], &tlv(0x17, &[b"260601120000Z"]))),
            _ => {}
        }
        attributes.sort();
        if random.once_in(20) {
            attributes.reverse();
        }
        let attributes = sometimes(8, attributes.concat(), random);
        let (signature_algorithm, signature) = der::sign(&self.signer.key, &tlv(0x31, &[&attributes]));
        let issuer = name(&[("C", "US"), ("ST", "WA"), ("O", "Plant"), ("CN", "Time Root")]);
        let signer = tlv(
            0x30,
            &[
                &tlv(2, &[&[1]]),
                &tlv(0x30, &[&issuer, &tlv(2, &[&[SERIAL]])]),
                &algorithm(SHA_256),
                &tlv(0xa0, &[&attributes]),
                &signature_algorithm,
                &tlv(4, &[&signature]),
            ],
        );
        let mut signers = vec![signer];
        if random.once_in(20) {
            signers.push(signers[0].clone());
        }
        let mut certificates = vec![self.signer.der.clone()];
        match random.below(8) {
            0 => certificates.clear(),
            1 => certificates.push(self.root.der.clone()),
            2 => certificates.insert(0, Spec::ca("Somebody", Kind::P256).self_signed().der),
            _ => {}
        }
        let data = tlv(
            0x30,
            &[
                &tlv(2, &[&[3]]),
                &tlv(0x31, &[&algorithm(SHA_256)]),
                &tlv(0x30, &[&tlv(6, &[&PKCS_9, &[16, 1, 4]]), &tlv(0xa0, &[&tlv(4, &[&info])])]),
                &tlv(0xa0, &[&certificates.concat()]),
                &tlv(0x31, &[&signers.concat()]),
            ],
        );
        let token = tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]]), &tlv(0xa0, &[&data])]);
        sometimes(6, token, random)
    }
}

/// A `TSTInfo`.
fn info(signed: &[u8], time: &str, random: &mut Random) -> Vec<u8> {
    let imprint = match random.below(12) {
        0 => [algorithm(SHA_384), tlv(4, &[digest(&SHA384, signed).as_ref()])],
        1 => [algorithm(SHA_384), tlv(4, &[digest(&SHA256, signed).as_ref()])],
        2 => [algorithm(SHA_256), tlv(4, &[digest(&SHA256, b"another").as_ref()])],
        _ => [algorithm(SHA_256), tlv(4, &[digest(&SHA256, signed).as_ref()])],
    };
    let mut parts = vec![
        tlv(2, &[&[1]]),
        tlv(6, &[&[0x2a, 3, 4]]),
        tlv(0x30, &[&imprint.concat()]),
        tlv(2, &[&[0x2a]]),
        tlv(0x18, &[time.as_bytes()]),
    ];
    match random.below(6) {
        0 => parts.push(tlv(0x30, &[&tlv(2, &[&[1]])])), // an accuracy of a second
        1 => parts.push(tlv(0x30, &[&tlv(2, &[&[0x7f, 0xff, 0xff]])])), // and of three months
        2 => parts.push(tlv(1, &[&[0xff]])),             // ordering
        3 => parts.push(tlv(2, &[&[9]])),                // a nonce
        _ => {}
    }
    tlv(0x30, &[&parts.concat()])
}
