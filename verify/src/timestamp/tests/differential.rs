//! Our reader of tokens against the crate cms: on honest tokens, and on those with changed, inserted and missing bytes, drawn
//! from a fixed seed. A failure prints the token.
//!
//! What cms refuses is refused here, with the one exception that `read_by_us_alone` names. What cms reads and we refuse has
//! one of the faults in `refused_by_us_alone`. Three of these are what our own readers say of it, because cms does not read
//! what is in a `TSTInfo`, in the signed attributes, and in an algorithm; `rows.rs` has their faults one by one.

use cms::cert::CertificateChoices;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{SignedData, SignerIdentifier};
use x509_cert::der::asn1::OctetString;
use x509_cert::der::{Decode as _, Encode as _};

use super::drafts::*;
use super::openssl::RESPONSES;
use crate::crypto::algorithm::{Hash, signature_algorithm};
use crate::crypto::certificate::tests::{Random, mutant, spliced};
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::der::{Reader, element, tag};
use crate::timestamp::attributes::SignedAttributes;
use crate::timestamp::signed_data::{SignedData as Ours, Signer};
use crate::timestamp::tst_info::TstInfo;
use crate::timestamp::{MAX_TOKEN, Token};

const MUTANTS: usize = 6_000;

fn theirs(token: &[u8]) -> Option<SignedData> {
    let info = ContentInfo::from_der(token).ok()?;
    let is_signed = info.content_type.to_string() == "1.2.840.113549.1.7.2";
    info.content.decode_as::<SignedData>().ok().filter(|_| is_signed)
}

/// Without its tag and length.
fn content(der: &[u8]) -> &[u8] {
    Reader::new(der).any().unwrap().content
}

/// All that we read is what cms reads.
fn assert_same(token: &[u8], theirs: &SignedData) {
    let ours = Ours::read(&mut Reader::new(token)).ok().unwrap();
    assert_eq!((theirs.version, &theirs.crls), (CmsVersion::V3, &None));
    assert_eq!(theirs.encap_content_info.econtent_type.to_string(), "1.2.840.113549.1.9.16.1.4");
    let inner = theirs.encap_content_info.econtent.as_ref().unwrap().decode_as::<OctetString>().unwrap();
    assert_eq!(inner.as_bytes(), ours.content);
    let mut certificates: Vec<_> = ours.certificates.iter().map(|certificate| certificate.der.to_vec()).collect();
    certificates.sort();
    let read = theirs.certificates.iter().flat_map(|set| set.0.iter());
    let mut read: Vec<_> = read.map(|certificate| certificate.to_der().unwrap()).collect();
    read.sort();
    // A FALSE that is written although it is the default is not written again.
    if read.concat().len() == certificates.concat().len() {
        assert_eq!(certificates, read);
    }
    assert_eq!(certificates.len(), read.len());
    assert_eq!(theirs.signer_infos.0.len(), 1);
    let signer = theirs.signer_infos.0.get(0).unwrap();
    match (&signer.sid, ours.signer) {
        (SignerIdentifier::IssuerAndSerialNumber(theirs), Signer::Issuer(ours)) => {
            assert_eq!(theirs.serial_number.as_bytes(), ours.serial_number);
            assert_eq!(theirs.issuer.to_der().unwrap().len(), ours.issuer.der.len());
        }
        (SignerIdentifier::SubjectKeyIdentifier(theirs), Signer::KeyIdentifier(ours)) => {
            assert_eq!(theirs.0.as_bytes(), ours);
        }
        _ => panic!("{token:02x?}"),
    }
    let attributes = signer.signed_attrs.as_ref().unwrap().to_der().unwrap();
    assert_eq!(attributes, ours.signed);
    assert_eq!(signer.signature.as_bytes(), ours.signature);
}

/// Has this token, which cms reads, a fault that only we refuse?
fn refused_by_us_alone(token: &[u8], data: &SignedData) -> bool {
    let Some(signer) = data.signer_infos.0.get(0) else { return true };
    let der = |algorithm: &x509_cert::spki::AlgorithmIdentifierOwned| algorithm.to_der().unwrap();
    let hash = Reader::all(content(&der(&signer.digest_alg)), Hash::read);
    let octets = data.encap_content_info.econtent.as_ref().and_then(|any| any.decode_as::<OctetString>().ok());
    let attributes = signer.signed_attrs.as_ref().map(|attributes| attributes.to_der().unwrap());
    let is_signer = match signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(_) => signer.version == CmsVersion::V1,
        SignerIdentifier::SubjectKeyIdentifier(_) => signer.version == CmsVersion::V3,
    };
    let listed: Vec<_> = data.digest_algorithms.iter().map(der).collect();
    let mut twice = listed.clone();
    twice.dedup();
    let mut certificates = data.certificates.iter().flat_map(|set| set.0.iter());
    let is_certificate = |certificate: &CertificateChoices| match certificate {
        CertificateChoices::Certificate(certificate) => CertificateRef::read(&certificate.to_der().unwrap()).is_some(),
        CertificateChoices::Other(_) => false,
    };
    // Sets are sorted again when they are written: these attributes were not in order, or hold what is no DER.
    let written = signer.to_der().unwrap();
    let is_as_written = token.windows(written.len()).any(|window| window == written);
    data.version != CmsVersion::V3
        || data.crls.is_some()
        || data.encap_content_info.econtent_type.to_string() != "1.2.840.113549.1.9.16.1.4"
        || octets.is_none_or(|octets| TstInfo::read(octets.as_bytes()).is_none())
        || data.signer_infos.0.len() != 1
        || !is_signer
        || hash.is_none_or(|hash| !listed.iter().any(|one| Reader::all(content(one), Hash::read) == Some(hash)))
        || twice.len() != listed.len()
        || signature_algorithm(content(&der(&signer.signature_algorithm)), hash).is_none()
        || attributes.is_none_or(|set| Reader::all(content(&set), SignedAttributes::read).is_none())
        || signer.unsigned_attrs.iter().flat_map(|set| set.iter()).any(|attribute| attribute.values.is_empty())
        || !is_as_written
        || !certificates.all(is_certificate)
        || has_odd_identifier(token)
}

/// The header of `crypto/der.rs`: an arc that begins with a zero digit or has more than five digits, and a long identifier.
/// Anything in the token that looks like one counts.
fn has_odd_identifier(token: &[u8]) -> bool {
    (0..token.len()).any(|at| {
        let mut reader = Reader::new(&token[at..]);
        let is_whole = reader.any().is_some_and(|element| element.tag == tag::OBJECT_IDENTIFIER);
        is_whole && Reader::new(&token[at..]).oid().is_none()
    })
}

/// x509-cert reads no date before 1970, and ours does (`crypto/certificate/tests.rs`).
fn read_by_us_alone(token: &[u8]) -> bool {
    let ours = Ours::read(&mut Reader::new(token)).ok().unwrap();
    let mut dates = ours.certificates.iter().map(|certificate| certificate.validity);
    dates.any(|dates| dates.not_before < 0 || dates.not_after < 0)
}

/// Says whether we read it.
fn compare(token: &[u8]) -> bool {
    if Reader::new(token).content(tag::SEQUENCE).is_some_and(|inner| Reader::new(inner).is_next(tag::SEQUENCE)) {
        return false; // a change made a response of it, which cms does not know
    }
    let (ours, theirs) = (Token::read(token).is_ok(), theirs(token));
    match &theirs {
        Some(theirs) if ours => assert_same(token, theirs),
        Some(theirs) => assert!(token.len() > MAX_TOKEN || refused_by_us_alone(token, theirs), "{token:02x?}"),
        None => assert!(!ours || read_by_us_alone(token), "{token:02x?}"),
    }
    ours
}

fn honest() -> Vec<Vec<u8>> {
    let token = |response: &[u8]| {
        let mut parts = Reader::new(content(response));
        parts.any().and(parts.any()).unwrap().whole.to_vec()
    };
    let mut all: Vec<_> = RESPONSES.into_iter().map(token).collect();
    let chain = Chain::new();
    all.push(chain.draft().token());
    let mut draft = chain.draft();
    draft.signer_version = integer(&[3]);
    draft.signer = element(tag::implicit(0), &[&[7; 20]]);
    draft.unsigned = element(tag::explicit(1), &[&attribute(&[9], &[&[5, 0]])]);
    draft.attributes.push(certificate_v1(&sha1(&chain.signer.der)));
    draft.digest_algorithms.push(algorithm(SHA_1));
    draft.certificates = None;
    all.push(draft.token());
    all
}

#[test]
fn tokens_are_read_as_cms_reads_them_or_not_at_all() {
    let honest = honest();
    assert!(honest.iter().all(|token| compare(token)));
    let mut random = Random(0x6a09_e667_f3bc_c908);
    let mut read = 0_usize;
    for _ in 0..MUTANTS {
        let original = &honest[random.below(honest.len())];
        read += usize::from(compare(&mutant(original, &mut random)));
        // A change inside an element, with all lengths corrected, gets past the outermost checks.
        let at = random.below(original.len());
        let byte = u8::try_from(random.below(256)).unwrap();
        let inserted = [vec![byte], vec![], vec![byte, 0], vec![0, byte]][random.below(4)].clone();
        read += usize::from(compare(&spliced(original, at, random.below(3), &inserted)));
    }
    assert!((MUTANTS / 8..2 * MUTANTS).contains(&read), "{read}");
}
