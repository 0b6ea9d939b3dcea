//! Certificates of root keys. The input is PEM, or after a NUL DER certificates, each after its length in two bytes,
//! which are encoded as Notary does. The fuzzer has no key, so only the honest leaves chain to the CA.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use portreeve::fuzzing::root_bundle;
use portreeve_verify::tuf::Gun;

/// A CA without its key, a leaf under it and a leaf under an intermediate. They are public and fixed.
pub const CA: &str = include_str!("../fixtures/ca.pem");
pub const LEAF: &str = include_str!("../fixtures/leaf.pem");
pub const CHAINED: &str = include_str!("../fixtures/chained.pem");
pub const GUN: &str = "registry.local:9001/plant/plc";

pub fn check(data: &[u8]) {
    let pem = match data.split_first() {
        Some((0, rest)) => written(rest),
        _ => data.to_vec(),
    };
    let gun = Gun::new(GUN).expect("a GUN");
    let now: Timestamp = "2030-01-01T00:00:00Z".parse().expect("a time");
    let Some(bundle) = root_bundle(&pem, &gun, &der(CA), now) else { return };
    // An accepted bundle is in the one form that has one ID.
    let text = std::str::from_utf8(&pem).expect("PEM is text");
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n") && text.ends_with("-----END CERTIFICATE-----\n"));
    let lines = text.lines().filter(|line| !line.starts_with('-'));
    assert!(!text.contains('\r') && lines.clone().all(|line| (1..=64).contains(&line.len())));
    let first = der(text);
    let holds = |needle: &[u8]| first.windows(needle.len()).any(|window| window == needle);
    if bundle.is_root_key {
        // The name is the GUN, or a prefix of it and a star, and occurs in the leaf.
        let named = (0..=GUN.len()).any(|end| holds(format!("{}*", &GUN[..end]).as_bytes())) || holds(GUN.as_bytes());
        assert!(named, "{text}");
    }
    if bundle.chains {
        let honest = [LEAF, CHAINED].map(der);
        assert!(honest.iter().any(|leaf| holds(to_be_signed(leaf))), "a forged chain\n{text}");
    }
}

/// PEM of the certificates, leaf first.
fn written(mut rest: &[u8]) -> Vec<u8> {
    let mut pem = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let (der, after) = more.split_at(usize::from(u16::from_be_bytes(*length)).min(more.len()));
        let base64 = STANDARD.encode(der);
        pem.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
        for line in base64.as_bytes().chunks(64) {
            pem.extend_from_slice(line);
            pem.push(b'\n');
        }
        pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
        rest = after;
    }
    pem
}

/// The first certificate.
pub fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    STANDARD.decode(lines).unwrap_or_default()
}

/// The `tbsCertificate` of a certificate whose lengths have two bytes.
fn to_be_signed(certificate: &[u8]) -> &[u8] {
    assert_eq!((certificate[1], certificate[5]), (0x82, 0x82));
    &certificate[4..][..4 + usize::from(u16::from_be_bytes([certificate[6], certificate[7]]))]
}
