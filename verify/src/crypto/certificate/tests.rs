//! Our reader against x509-cert: on honest certificates, and on those with changed, inserted and missing bytes. The
//! changes are drawn from a fixed seed. Most keys are new in every run, so a failure prints the certificate.
//!
//! The two differ in what `refused_by_us_alone` and `with_early_dates_replaced` list, and in nothing else.

use portreeve_test_support::certificates::{Authority, Leaf};
use portreeve_test_support::signer::Key;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd,
};
use x509_cert::der::asn1::{Any, BitString, Null, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::ext::pkix;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::*;
use crate::crypto::der::{Element, Reader, element, tag};
use crate::crypto::pem::pem_blocks;

const MUTANTS: usize = 10_000;

/// Everything that is read of a certificate.
#[derive(Debug, PartialEq)]
struct Read {
    common_name: Option<String>,
    not_before: i64,
    not_after: i64,
    is_ca: bool,
    may_issue: bool,
    path_length: Option<u8>,
    strong_signature: bool,
    key: Option<PublicKey>,
}

fn ours(der: &[u8]) -> Option<Read> {
    let certificate = Certificate::from_der(der)?;
    let Validity { not_before, not_after } = CertificateRef::read(der)?.validity;
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    assert_eq!((time(not_before), time(not_after)), (certificate.not_before, certificate.not_after));
    let Certificate { common_name, is_ca, may_issue, path_length, strong_signature, key, .. } = certificate;
    Some(Read { common_name, not_before, not_after, is_ca, may_issue, path_length, strong_signature, key })
}

/// By x509-cert.
fn theirs(der: &[u8]) -> Option<Read> {
    const STRONG: [&str; 7] = [
        "1.2.840.10045.4.3.2",
        "1.2.840.10045.4.3.3",
        "1.2.840.10045.4.3.4",
        "1.2.840.113549.1.1.11",
        "1.2.840.113549.1.1.12",
        "1.2.840.113549.1.1.13",
        "1.3.101.112",
    ];
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let tbs = certificate.tbs_certificate();
    let mut names = tbs.subject().iter().filter(|attribute| attribute.oid.to_string() == "2.5.4.3");
    let common_name = match (names.next(), names.next()) {
        (Some(name), None) if matches!(name.value.tag(), Tag::Utf8String | Tag::PrintableString) => {
            String::from_utf8(name.value.value().to_vec()).ok()
        }
        _ => None,
    };
    let constraints = tbs.get_extension::<pkix::BasicConstraints>().ok()?.map(|(_, constraints)| constraints);
    let usage = tbs.get_extension::<pkix::KeyUsage>().ok()?.map(|(_, usage)| usage);
    let time = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap();
    Some(Read {
        common_name,
        not_before: time(tbs.validity().not_before),
        not_after: time(tbs.validity().not_after),
        is_ca: constraints.as_ref().is_some_and(|constraints| constraints.ca),
        may_issue: usage.is_none_or(|usage| usage.key_cert_sign()),
        path_length: constraints.and_then(|constraints| constraints.path_len_constraint),
        strong_signature: STRONG.contains(&certificate.signature_algorithm().oid.to_string().as_str()),
        key: key_by_them(&tbs.subject_public_key_info().to_der().unwrap()),
    })
}

/// A public key by x509-cert, whose encoding is compared with the one that it writes.
fn key_by_them(der: &[u8]) -> Option<PublicKey> {
    let info = SubjectPublicKeyInfoOwned::from_der(der).ok()?;
    let bits = info.subject_public_key.as_bytes()?;
    let curve = |oid: &str| Some(Any::encode_from(&ObjectIdentifier::new(oid).unwrap()).unwrap());
    let (p256, p384) = (curve("1.2.840.10045.3.1.7"), curve("1.3.132.0.34"));
    let (key, parameters) = match (info.algorithm.oid.to_string().as_str(), bits.len(), bits.first()) {
        ("1.2.840.10045.2.1", 65, Some(4)) => (PublicKey::P256(bits.to_vec()), p256),
        ("1.2.840.10045.2.1", 97, Some(4)) => (PublicKey::P384(bits.to_vec()), p384),
        ("1.2.840.113549.1.1.1", ..) => {
            let mut reader = SliceReader::new(bits).ok()?;
            let modulus = reader.sequence(|reader| {
                let modulus = UintRef::decode(reader)?;
                UintRef::decode(reader)?;
                Ok::<_, x509_cert::der::Error>(modulus)
            });
            let modulus = modulus.ok().filter(|_| reader.is_finished())?.as_bytes();
            let length = 8 * modulus.len() - modulus[0].leading_zeros() as usize;
            (PublicKey::Rsa { pkcs1: bits.to_vec(), bits: length }, Some(Any::encode_from(&Null).unwrap()))
        }
        ("1.3.101.112", ..) => (PublicKey::Ed25519(bits.try_into().ok()?), None),
        _ => return None,
    };
    let algorithm = AlgorithmIdentifierOwned { oid: info.algorithm.oid, parameters };
    let subject_public_key = BitString::from_bytes(bits).unwrap();
    let encoding = SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().unwrap();
    (encoding == der).then_some(key)
}

/// Has this certificate, which x509-cert reads, one of the faults that only our reader refuses? The header of `der.rs` names
/// them.
fn refused_by_us_alone(der: &[u8]) -> bool {
    let certificate = x509_cert::Certificate::from_der(der).unwrap();
    let tbs = certificate.tbs_certificate();
    let key = tbs.subject_public_key_info();
    let is_padded = |bits: &BitString| {
        bits.raw_bytes().last().is_some_and(|last| last.trailing_zeros() < u32::from(bits.unused_bits()))
    };
    let ids = [tbs.issuer_unique_id(), tbs.subject_unique_id()];
    let extensions = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
    let usage = extensions.iter().find(|extension| extension.extn_id.to_string() == "2.5.29.15");
    let usage = usage.map(|usage| BitString::from_der(usage.extn_value.as_bytes()).unwrap());
    let algorithms =
        [certificate.signature_algorithm(), tbs.signature(), &key.algorithm].map(|algorithm| algorithm.oid);
    let names = tbs.issuer().iter().chain(tbs.subject().iter()).map(|attribute| attribute.oid);
    let mut oids = algorithms.into_iter().chain(names).chain(extensions.iter().map(|extension| extension.extn_id));
    let is_odd = |oid: ObjectIdentifier| {
        let mut arcs = oid.as_bytes()[1..].split_inclusive(|digit| digit & 0x80 == 0);
        arcs.any(|arc| arc[0] == 0x80 || arc.len() > 5)
    };
    certificate.signature().has_unused_bits()
        || key.subject_public_key.has_unused_bits()
        || ids.into_iter().flatten().any(is_padded)
        || usage.as_ref().is_some_and(is_padded)
        || oids.any(is_odd)
}

/// x509-cert reads no date before 1970, and ours does: here is the same certificate with the beginning of 1970 instead.
fn with_early_dates_replaced(der: &[u8]) -> Vec<u8> {
    let mut patched = der.to_vec();
    for (old, new) in [(13, b"700101000000Z".as_slice()), (15, b"19700101000000Z")] {
        let tag = if old == 13 { [tag::UTC_TIME, 13] } else { [tag::GENERALIZED_TIME, 15] };
        for at in 0..patched.len().saturating_sub(old + 1) {
            let is_early = match &patched[at + 2..at + 2 + old] {
                [b'5'..=b'6', ..] if old == 13 => true,
                year => old == 15 && year < b"1970".as_slice(),
            };
            if patched[at..at + 2] == tag && is_early {
                patched[at + 2..at + 2 + old].copy_from_slice(new);
            }
        }
    }
    patched
}

fn compare(der: &[u8]) {
    match (ours(der), theirs(der)) {
        (Some(ours), Some(theirs)) => assert_eq!(ours, theirs, "{der:02x?}"),
        (None, None) => {}
        (None, Some(_)) => assert!(refused_by_us_alone(der), "{der:02x?}"),
        (Some(ours), None) => {
            assert!(ours.not_before < 0 || ours.not_after < 0, "{der:02x?}");
            let later = Read { not_before: ours.not_before.max(0), not_after: ours.not_after.max(0), ..ours };
            assert_eq!(Some(later), theirs(&with_early_dates_replaced(der)), "{der:02x?}");
        }
    }
}

fn ders(pem: &str) -> Vec<Vec<u8>> {
    pem_blocks(pem, 9).unwrap().into_iter().map(|block| block.der).collect()
}

fn honest_certificates() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for pem in [
        include_str!("../../tuf/fixtures/p384-certificate.pem"),
        include_str!("../../tuf/fixtures/rsa-1024-root-certificate.pem"),
        include_str!("../../tuf/fixtures/sha1-root-certificate.pem"),
        include_str!("../../tuf/fixtures/sound-root-certificate.pem"),
    ] {
        all.extend(ders(pem));
    }
    let authority = Authority::followed_by("A CA", 200);
    all.push(authority.der());
    all.push(Authority::without_cert_sign("A mute CA").der());
    for key in [Key::p256(), Key::ed25519(), Key::rsa_pss()] {
        all.extend(ders(&Leaf::new("example.com/one").self_signed(&key)));
        all.extend(ders(&Leaf::new("example.com/two").server_auth().signed_by(&key, &authority)));
    }
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        all.push(params.self_signed(&key).unwrap().der().to_vec()); // without extensions
        params.distinguished_name.push(DnType::OrganizationName, "Somebody");
        let name = DnValue::PrintableString("example.com/three".try_into().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DecipherOnly];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 70_000], vec![5, 0])];
        params.not_after = date_time_ymd(2150, 2, 28);
        all.push(params.self_signed(&key).unwrap().der().to_vec());
    }
    all.push(with_unique_ids(&authority.der()));
    all
}

/// A certificate that is not made any more: with both unique IDs (RFC 5280 §4.1.2.8).
fn with_unique_ids(der: &[u8]) -> Vec<u8> {
    let ids = [element(tag::implicit(1), &[&[0, 1, 2]]), element(tag::implicit(2), &[&[4, 0x50]])].concat();
    let wholes = |reader: &mut Reader<'_>| {
        Some(std::iter::from_fn(|| reader.any().map(|element| element.whole.to_vec())).collect::<Vec<_>>())
    };
    let mut parts = Reader::all(der, |all| all.within(tag::SEQUENCE, wholes)).unwrap();
    let mut fields = Reader::all(&parts[0], |all| all.within(tag::SEQUENCE, wholes)).unwrap();
    fields.insert(7, ids);
    parts[0] = element(tag::SEQUENCE, &[&fields.concat()]);
    element(tag::SEQUENCE, &[&parts.concat()])
}

/// Marsaglia's xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Does an element with this tag and this content consist of other elements? An extension's value often does.
fn is_nested(tag: u8, content: &[u8]) -> bool {
    let mut rest = Reader::new(content);
    let is_whole = std::iter::from_fn(|| (!rest.is_empty()).then(|| rest.any())).all(|element| element.is_some());
    // The bytes of a key identifier may look like an element by chance, and need not be one further inside.
    is_whole && (tag & 0x20 != 0 || tag == tag::OCTET_STRING)
}

/// These elements with bytes removed and inserted where the one that begins, or whose content lies, at `at`. The lengths of
/// all elements around the place are corrected.
pub(crate) fn spliced(der: &[u8], at: usize, removed: usize, inserted: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(der);
    let mut out = Vec::new();
    let mut begin = 0;
    while !reader.is_empty() {
        let Element { tag, content, whole } = reader.any().unwrap();
        let start = begin + whole.len() - content.len();
        let inner = at.checked_sub(start).filter(|inner| *inner < content.len());
        let content = match inner {
            Some(inner) if is_nested(tag, content) => spliced(content, inner, removed, inserted),
            Some(inner) => [&content[..inner], inserted, &content[(inner + removed).min(content.len())..]].concat(),
            None => content.to_vec(),
        };
        let tag = if begin == at { inserted.first().copied().unwrap_or(tag) } else { tag };
        out.extend(element(tag, &[&content]));
        begin += whole.len();
    }
    out
}

pub(crate) fn mutant(honest: &[u8], random: &mut Random) -> Vec<u8> {
    let mut der = honest.to_vec();
    for _ in 0..=random.below(2) {
        let at = random.below(der.len());
        let byte = u8::try_from([random.below(256), 0, 1, 0x80, 0xff, 0x30][random.below(6)]).unwrap();
        match random.below(4) {
            0 => der[at] ^= 1 << random.below(8),
            1 => der[at] = byte,
            2 => der.insert(at, byte),
            _ => drop(der.remove(at)),
        }
    }
    der
}

#[test]
fn honest_certificates_are_read_as_x509_cert_reads_them() {
    for der in honest_certificates() {
        assert!(ours(&der).is_some_and(|ours| Some(ours) == theirs(&der)), "{der:02x?}");
        assert_eq!(Validity::of(&der), CertificateRef::read(&der).map(|fields| fields.validity));
    }
}

#[test]
fn changed_certificates_are_read_as_x509_cert_reads_them_or_not_at_all() {
    let mut honest = honest_certificates();
    honest.extend(ders(&Leaf::new("example.com/old").valid_from_1969_for_ever().self_signed(&Key::p256())));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0_usize;
    for _ in 0..MUTANTS {
        let original = &honest[random.below(honest.len())];
        let der = mutant(original, &mut random);
        compare(&der);
        accepted += usize::from(ours(&der).is_some());
        // A change inside an element, with all lengths corrected, gets past the outermost checks.
        let at = random.below(original.len());
        let byte = u8::try_from(random.below(256)).unwrap();
        let inserted = [vec![byte], vec![], vec![byte, 0], vec![0, byte]][random.below(4)].clone();
        let der = spliced(original, at, random.below(3), &inserted);
        compare(&der);
        accepted += usize::from(ours(&der).is_some());
    }
    // Most changes in names, numbers, keys and signatures leave a certificate that can be read.
    assert!((MUTANTS / 4..2 * MUTANTS).contains(&accepted), "{accepted}");
}

#[test]
fn changed_public_keys_are_read_as_x509_cert_reads_them() {
    let mut honest: Vec<Vec<u8>> = Vec::new();
    for pem in [
        include_str!("../../tuf/fixtures/p256-public.pem"),
        include_str!("../../tuf/fixtures/p256-compressed-public.pem"),
        include_str!("../../tuf/fixtures/p384-public.pem"),
        include_str!("../../tuf/fixtures/p521-public.pem"),
        include_str!("../../tuf/fixtures/ed25519-public.pem"),
        include_str!("../../tuf/fixtures/rsa-1024-public.pem"),
        &Key::rsa_pss().public_pem(),
    ] {
        honest.extend(ders(pem));
    }
    for der in &honest {
        assert_eq!(PublicKey::from_spki(der), key_by_them(der));
    }
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..MUTANTS {
        let der = mutant(&honest[random.below(honest.len())], &mut random);
        let key = PublicKey::from_spki(&der);
        assert_eq!(key, key_by_them(&der), "{der:02x?}");
        assert!(key.is_none_or(|key| key.spki() == der), "{der:02x?}");
    }
}

/// Dates that x509-cert reads, and others.
#[test]
fn dates_are_read_to_the_second() {
    let read = |tag: u8, text: &str| {
        let der = element(tag, &[text.as_bytes()]);
        Reader::all(&der, Reader::time).map(|seconds| Timestamp::from_second(seconds).unwrap().to_string())
    };
    for (tag, text, expected) in [
        (tag::UTC_TIME, "700101000000Z", Some("1970-01-01T00:00:00Z")),
        (tag::UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
        (tag::UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
        (tag::UTC_TIME, "000229120000Z", Some("2000-02-29T12:00:00Z")),
        (tag::UTC_TIME, "010229120000Z", None),
        (tag::UTC_TIME, "690631000000Z", None),
        (tag::UTC_TIME, "700101240000Z", None),
        (tag::UTC_TIME, "700101006000Z", None),
        (tag::UTC_TIME, "700101000060Z", None),
        (tag::UTC_TIME, "700001000000Z", None),
        (tag::UTC_TIME, "701301000000Z", None),
        (tag::UTC_TIME, "700100000000Z", None),
        (tag::UTC_TIME, "7001010000Z", None),
        (tag::UTC_TIME, "700101000000", None),
        (tag::UTC_TIME, "700101000000+0100", None),
        (tag::UTC_TIME, "19700101000000Z", None),
        (tag::GENERALIZED_TIME, "00000229000000Z", Some("0000-02-29T00:00:00Z")),
        (tag::GENERALIZED_TIME, "00010101000000Z", Some("0001-01-01T00:00:00Z")),
        (tag::GENERALIZED_TIME, "19691231235959Z", Some("1969-12-31T23:59:59Z")),
        (tag::GENERALIZED_TIME, "21000228235959Z", Some("2100-02-28T23:59:59Z")),
        (tag::GENERALIZED_TIME, "21000229000000Z", None),
        (tag::GENERALIZED_TIME, "99991229000000Z", Some("9999-12-29T00:00:00Z")),
        (tag::GENERALIZED_TIME, "20000101000000.5Z", None),
        (tag::GENERALIZED_TIME, "700101000000Z", None),
        (tag::OCTET_STRING, "700101000000Z", None),
    ] {
        assert_eq!(read(tag, text).as_deref(), expected, "{text}");
    }
    let last = element(tag::GENERALIZED_TIME, &[b"99991231235959Z"]);
    assert_eq!(Reader::all(&last, Reader::time), Some(253_402_300_799));
}
