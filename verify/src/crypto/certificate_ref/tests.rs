//! Tests of the fields and extensions that `certificate/tests.rs` does not compare.

use portreeve_test_support::certificates::{Authority, Leaf};
use portreeve_test_support::signer::Key;
use rcgen::{
    BasicConstraints as Constraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::*;
use crate::crypto::extension::purpose;
use crate::crypto::pem::pem_blocks;

fn ders(pem: &str) -> Vec<Vec<u8>> {
    pem_blocks(pem, 9).unwrap().into_iter().map(|block| block.der).collect()
}

#[test]
fn fields_and_extensions_are_read() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "US");
    params.distinguished_name.push(DnType::CommonName, "Plant");
    params.serial_number = Some(vec![0x81, 2].into());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::DecipherOnly];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::TimeStamping];
    params.subject_alt_names = vec![
        SanType::Rfc822Name("a@example.com".try_into().unwrap()),
        SanType::URI("https://example.com/x".try_into().unwrap()),
        SanType::DnsName("example.com".try_into().unwrap()),
        SanType::IpAddress("127.0.0.1".parse().unwrap()),
        SanType::OtherName((vec![1, 3, 6, 1], "other".into())),
    ];
    params.is_ca = IsCa::Ca(Constraints::Constrained(2));
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let read = CertificateRef::read(&der).unwrap();
    assert_eq!((read.der, read.serial_number), (&der[..], &[0, 0x81, 2][..]));
    let text: Vec<_> = read.subject.attributes().iter().map(|one| (one.relative, one.text().unwrap())).collect();
    assert_eq!(text, [(0, "US"), (1, "Plant")]);
    assert_eq!(read.subject, read.issuer);
    let usage = read.key_usage().unwrap().unwrap();
    assert!(usage.is_critical && usage.has(KeyUsage::DIGITAL_SIGNATURE) && !usage.has(KeyUsage::KEY_CERT_SIGN));
    assert_eq!(usage.bits, 0b1000_0000_1000_0000);
    let extended = read.extended_key_usage().unwrap().unwrap();
    assert_eq!(extended.purposes, [purpose::CODE_SIGNING, purpose::TIME_STAMPING]);
    assert!(!extended.is_critical);
    let constraints = read.basic_constraints().unwrap().unwrap();
    assert_eq!(constraints, BasicConstraints { is_critical: true, is_ca: true, path_length: Some(2) });
    let names = read.subject_alt_names().unwrap();
    let other = GeneralName::Other { oid: &[0x2b, 6, 1], tag: tag::UTF8_STRING, value: b"other" };
    let expected = [
        GeneralName::Email("a@example.com"),
        GeneralName::Uri("https://example.com/x"),
        GeneralName::Dns("example.com"),
        GeneralName::Unread(tag::implicit(7)),
        other,
    ];
    assert_eq!(names, expected);
    assert_eq!(read.subject_key_identifier().unwrap().unwrap().len(), 20);
    assert_eq!(read.extensions().len(), 5);
    assert_eq!(read.key.der, read.public_key().unwrap().spki());
}

#[test]
fn a_certificate_is_signed_by_its_issuer_alone() {
    let authority = Authority::followed_by("A CA", 200);
    let (ca, other) = (authority.der(), Authority::followed_by("A CA", 200).der());
    let (ca, other) = (CertificateRef::read(&ca).unwrap(), CertificateRef::read(&other).unwrap());
    assert!(ca.is_signed_by(&ca) && !ca.is_signed_by(&other));
    let leaf = ders(&Leaf::new("example.com/one").signed_by(&Key::p256(), &authority)).remove(0);
    let read = CertificateRef::read(&leaf).unwrap();
    assert!(read.is_signed_by(&ca) && !read.is_signed_by(&other) && !ca.is_signed_by(&read));
    // One changed bit anywhere, except where the certificate cannot be read any more.
    for at in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[at] ^= 1;
        let changed = CertificateRef::read(&changed);
        assert!(changed.is_none_or(|changed| !changed.is_signed_by(&ca)), "{at}");
    }
    let weak = ders(include_str!("../../tuf/fixtures/sha1-root-certificate.pem")).remove(0);
    let weak = CertificateRef::read(&weak).unwrap();
    assert!(weak.issuer == weak.subject && !weak.is_signed_by(&weak));
}

#[test]
fn every_algorithm_of_certificates_is_verified() {
    let algorithms = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    for algorithm in algorithms {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(Constraints::Unconstrained);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let ca = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["example.com".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
        let leaf = leaf.der().to_vec();
        let (ca, leaf) = (CertificateRef::read(&ca).unwrap(), CertificateRef::read(&leaf).unwrap());
        assert!(ca.is_signed_by(&ca) && leaf.is_signed_by(&ca));
    }
}

#[test]
fn a_certificate_has_a_largest_size_and_most_extensions_and_attributes() {
    // Each extension, and each attribute, is compared with all others of its kind.
    let of = |extensions: u64, attributes: u64, size: usize| {
        let mut params = CertificateParams::default();
        let own = |n: u64| rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, n], vec![4, 0]);
        params.custom_extensions = (0..extensions).map(own).collect();
        params
            .custom_extensions
            .push(rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 9999], vec![0; size]));
        params.distinguished_name = rcgen::DistinguishedName::new();
        for n in 0..attributes {
            params.distinguished_name.push(rcgen::DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99999, n]), "x");
        }
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        CertificateRef::read(&der).is_some()
    };
    assert!(of(60, 64, 58 << 10));
    assert!(!of(70, 1, 1) && !of(1, 65, 1) && !of(1, 1, 64 << 10));
}
