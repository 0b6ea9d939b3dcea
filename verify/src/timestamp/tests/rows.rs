//! What is accepted, and each single thing that is not.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};

use super::drafts::*;
use crate::crypto::der::{element, tag};
use crate::crypto::public_key::CHECKS;
use crate::effort::{Checks, Effort};
use crate::timestamp::{Authority, GenTime, MAX_TOKEN, TimestampError, Token};

const AT_NOON: GenTime = GenTime { earliest: NOON - 1, latest: NOON + 1 };

fn is_shape<T>(result: &Result<T, TimestampError>) -> bool {
    matches!(result, Err(TimestampError::Shape(_)))
}

fn is_signature<T>(result: &Result<T, TimestampError>) -> bool {
    matches!(result, Err(TimestampError::Signature(_)))
}

fn is_authority<T>(result: &Result<T, TimestampError>) -> bool {
    matches!(result, Err(TimestampError::Authority(_)))
}

#[test]
fn an_honest_token_is_verified_alone_and_in_a_response() {
    let chain = Chain::new();
    let token = chain.draft().token();
    assert_eq!(chain.verify(&token), Ok(AT_NOON));
    assert_eq!(chain.verify(&response(0, &token)), Ok(AT_NOON));
    assert_eq!(chain.verify(&response(1, &token)), Ok(AT_NOON));
    for status in [2, 3, 4, 5] {
        assert_eq!(chain.verify(&response(status, &token)), Err(TimestampError::NotGranted));
        assert_eq!(chain.verify(&response(status, &[])), Err(TimestampError::NotGranted));
    }
    let text = sequence(&[&element(tag::UTF8_STRING, &[b"ok"])]);
    let status = |rest: &[u8]| sequence(&[&sequence(&[&integer(&[0]), rest]), &token]);
    assert_eq!(chain.verify(&status(&text)), Ok(AT_NOON));
    assert!(is_shape(&chain.verify(&status(&element(tag::BIT_STRING, &[&[0, 1]])))));
    assert!(is_shape(&chain.verify(&response(0, &[]))));
    assert!(is_shape(&chain.verify(&response(0, &[token.clone(), token.clone()].concat()))));
    for bad in [&[][..], &[0x30, 0], &[5, 0], &[0x30, 0x80, 0, 0], &[token.clone(), vec![0]].concat(), &token[1..]] {
        assert!(is_shape(&chain.verify(bad)), "{bad:02x?}");
    }
    assert_eq!(chain.verify(&vec![0x30; MAX_TOKEN + 1]), Err(TimestampError::TooLarge));
    assert!(Token::read(&token).unwrap().heap_size() > token.len() as u64);
}

#[test]
fn only_the_signer_that_is_wanted_may_have_made_it() {
    let chain = Chain::new();
    let token = Token::read(&chain.draft().token()).unwrap();
    let anchors = [chain.root.der.clone()];
    let authority = Authority { anchors: &anchors, intermediates: &[] };
    let unlimited = Checks::new(Effort::UNLIMITED);
    let verify = |signer: &[u8]| token.verify_by(SIGNED, &authority, Some(signer), &unlimited);
    assert_eq!(verify(&chain.signer.der), Ok(AT_NOON));
    let other = chain.intermediate.certify(params("Stamps", false));
    assert!(is_authority(&verify(&other.der)) && is_authority(&verify(&chain.intermediate.der)));
}

#[test]
fn scheme_row_086_a_time_stamp_of_other_bytes_or_by_an_untrusted_authority() {
    let chain = Chain::new();
    let token = Token::read(&chain.draft().token()).unwrap();
    let anchors = [chain.root.der.clone()];
    let verify = |signed: &[u8]| token.verify(signed, &Authority { anchors: &anchors, intermediates: &[] });
    assert_eq!(verify(SIGNED), Ok(AT_NOON));
    assert_eq!(verify(b"the payload"), Err(TimestampError::OtherMessage));
    // All certificates of the chain are embedded, the root as well, and none is trusted.
    let mut draft = chain.draft();
    draft.certificates.as_mut().unwrap().push(chain.root.der.clone());
    let other = Chain::new();
    assert!(is_authority(&other.verify(&draft.token())));
    let nobody = Authority { anchors: &[], intermediates: &anchors };
    assert!(is_authority(&Token::read(&draft.token()).unwrap().verify(SIGNED, &nobody)));
    assert_eq!(chain.verify(&draft.token()), Ok(AT_NOON));
}

#[test]
fn scheme_row_087_an_authority_stamps_alone_and_critically() {
    let verify = |extensions: Vec<CustomExtension>| {
        let mut params = params("Stamps", false);
        params.custom_extensions = extensions;
        let chain = Chain::with(params);
        chain.verify(&chain.draft().token())
    };
    assert_eq!(verify(vec![purposes(&[8], true)]), Ok(AT_NOON));
    for bad in [
        vec![],
        vec![purposes(&[8], false)],
        vec![purposes(&[8, 3], true)],
        vec![purposes(&[3, 8], true)],
        vec![purposes(&[8, 8], true)],
        vec![purposes(&[3], true)],
        vec![purposes(&[8], true), purposes(&[8], true)],
    ] {
        let result = verify(bad.clone());
        assert!(is_authority(&result), "{bad:?} {result:?}");
    }
}

#[test]
fn the_chain_is_in_date_and_of_cas() {
    let verify = |change: &dyn Fn(&mut [CertificateParams; 3])| {
        let mut all = [params("Root", true), params("Intermediate", true), params("Stamps", false)];
        change(&mut all);
        let [root, intermediate, signer] = all;
        let root = Holder::root(root);
        let intermediate = root.certify(intermediate);
        let signer = intermediate.certify(signer);
        let chain = Chain { root, intermediate, signer };
        chain.verify(&chain.draft().token())
    };
    assert_eq!(verify(&|_| {}), Ok(AT_NOON));
    for at in 0..3 {
        assert!(is_authority(&verify(&|all| all[at].not_after = date_time_ymd(2026, 6, 1))), "{at}");
        assert!(is_authority(&verify(&|all| all[at].not_before = date_time_ymd(2026, 6, 2))), "{at}");
    }
    for at in 0..2 {
        assert!(is_authority(&verify(&|all| all[at].is_ca = IsCa::ExplicitNoCa)), "{at}");
        assert!(is_authority(&verify(&|all| all[at].is_ca = IsCa::NoCa)), "{at}");
        assert!(is_authority(&verify(&|all| all[at].key_usages = vec![KeyUsagePurpose::CrlSign])), "{at}");
    }
    assert_eq!(verify(&|all| all[1].key_usages.clear()), Ok(AT_NOON));
    assert!(is_authority(&verify(&|all| all[0].is_ca = IsCa::Ca(BasicConstraints::Constrained(0)))));
    assert_eq!(verify(&|all| all[1].is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), Ok(AT_NOON));
    // An intermediate for other purposes, and one for this.
    assert!(is_authority(&verify(&|all| all[1].custom_extensions = vec![purposes(&[3], false)])));
    assert_eq!(verify(&|all| all[1].custom_extensions = vec![purposes(&[3, 8], false)]), Ok(AT_NOON));
    assert!(is_authority(&verify(&|all| all[2].is_ca = IsCa::Ca(BasicConstraints::Unconstrained))));
    assert!(is_authority(&verify(&|all| all[2].key_usages = vec![KeyUsagePurpose::KeyEncipherment])));
    assert_eq!(verify(&|all| all[2].key_usages.clear()), Ok(AT_NOON));
    assert_eq!(verify(&|all| all[2].key_usages = vec![KeyUsagePurpose::ContentCommitment]), Ok(AT_NOON));
    // Name constraints, which are not checked, and an extension that is critical and unknown, in each of them.
    let names = || CustomExtension::from_oid_content(&[2, 5, 29, 30], sequence(&[]));
    assert!(is_authority(&verify(&|all| all[1].custom_extensions.push(names()))));
    let unknown = || {
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        unknown
    };
    for at in 0..3 {
        assert!(is_authority(&verify(&|all| all[at].custom_extensions.push(unknown()))), "{at}");
    }
}

#[test]
fn a_chain_is_found_in_any_order_and_has_at_most_five_intermediates() {
    let root = Holder::root(params("Root", true));
    // Five intermediates, each under the one before it, and one too many.
    let mut line = vec![root.certify(params("CA 0", true))];
    for number in 1..6 {
        line.push(line.last().unwrap().certify(params(&format!("CA {number}"), true)));
    }
    let six = line.pop().unwrap();
    let all: Vec<_> = line.iter().collect();
    assert_eq!(verify_among(&root, &line[4], &all), (Ok(AT_NOON), 7));
    let reversed: Vec<_> = line.iter().rev().collect();
    assert_eq!(verify_among(&root, &line[4], &reversed), (Ok(AT_NOON), 7));
    assert!(is_authority(&verify_among(&root, &line[4], &all[1..]).0));
    assert!(is_authority(&verify_among(&root, &six, &[&all[..], &[&six]].concat()).0));
}

/// Whoever sends a token chooses its certificates. Besides those of the chain there is the check of the token itself.
#[test]
fn only_so_many_signatures_are_checked_for_a_chain() {
    let root = Holder::root(params("Root", true));
    let issuer = root.certify(params("CA", true));
    let others: Vec<_> = (0..14).map(|_| Holder::root(params("CA", true))).collect();
    let others: Vec<_> = others.iter().collect();
    assert_eq!(verify_among(&root, &issuer, &[&others[..6], &[&issuer]].concat()), (Ok(AT_NOON), 1 + 8));
    // What stands behind the issuer is not looked at: the root is asked first.
    assert_eq!(verify_among(&root, &issuer, &[&[&issuer], &others[..]].concat()), (Ok(AT_NOON), 1 + 2));
    for count in [7, 14] {
        let (verdict, checks) = verify_among(&root, &issuer, &[&others[..count], &[&issuer]].concat());
        assert!(is_authority(&verdict) && checks == 1 + 8, "{verdict:?} {checks}");
    }
    assert_eq!(verify_among(&issuer, &issuer, &others), (Ok(AT_NOON), 1 + 1));
}

/// A token by a signer of this issuer, with these certificates beside the signer's. Also how many signatures were checked.
fn verify_among(root: &Holder, issuer: &Holder, embedded: &[&Holder]) -> (Result<GenTime, TimestampError>, usize) {
    let signer = issuer.certify(params("Stamps", false));
    // The draft needs a root and an intermediate, and names neither.
    let [root_of_draft, intermediate] = [0, 1].map(|_| Holder::root(params("Other", true)));
    let chain = Chain { root: root_of_draft, intermediate, signer };
    let mut draft = chain.draft();
    draft.certificates = Some(embedded.iter().chain(&[&chain.signer]).map(|holder| holder.der.clone()).collect());
    let anchors = [root.der.clone()];
    let before = CHECKS.get();
    let authority = Authority { anchors: &anchors, intermediates: &[] };
    let verdict = Token::read(&draft.token()).and_then(|token| token.verify(SIGNED, &authority));
    (verdict, CHECKS.get() - before)
}

#[test]
fn the_signers_certificate_and_its_chain_may_come_from_the_caller() {
    let chain = Chain::new();
    let mut draft = chain.draft();
    draft.certificates = None;
    let token = Token::read(&draft.token()).unwrap();
    let (root, others) = ([chain.root.der.clone()], [chain.signer.der.clone(), chain.intermediate.der.clone()]);
    let verify =
        |anchors: &[Vec<u8>], intermediates: &[Vec<u8>]| token.verify(SIGNED, &Authority { anchors, intermediates });
    assert_eq!(verify(&root, &others), Ok(AT_NOON));
    assert!(is_authority(&verify(&root, &others[1..])));
    assert!(is_authority(&verify(&root, &others[..1])));
    // An intermediate, and the signer's own certificate, as what is trusted.
    assert_eq!(verify(&others[1..], &others[..1]), Ok(AT_NOON));
    assert_eq!(verify(&others[..1], &[]), Ok(AT_NOON));
    // A certificate that cannot be read helps nobody, and hinders nobody.
    assert_eq!(verify(&[vec![1], root[0].clone()], &[vec![2], others[0].clone(), others[1].clone()]), Ok(AT_NOON));
    // Another certificate of the same name and number, in front of the signer's.
    let twin = Chain::new();
    let mut params = params("Stamps", false);
    params.serial_number = Some(chain.signer.read().serial_number.to_vec().into());
    let twin = twin.intermediate.certify(params);
    assert!(draft_with(&chain, &twin).is_ok());
}

fn draft_with(chain: &Chain, twin: &Holder) -> Result<GenTime, TimestampError> {
    let mut draft = chain.draft();
    draft.certificates.as_mut().unwrap().insert(0, twin.der.clone());
    chain.verify(&draft.token())
}

#[test]
fn the_signer_may_be_named_by_its_key() {
    let mut params = params("Stamps", false);
    let id = octets(&octets(&[9; 20])[2..]);
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, 14], octets(&[9; 20]));
    params.custom_extensions.push(extension);
    let chain = Chain::with(params);
    let mut draft = chain.draft();
    draft.signer_version = integer(&[3]);
    draft.signer = [&[tag::implicit(0)], &id[1..]].concat();
    assert_eq!(chain.verify(&draft.token()), Ok(AT_NOON));
    draft.signer_version = integer(&[1]);
    assert!(is_shape(&chain.verify(&draft.token())));
    draft.signer_version = integer(&[3]);
    draft.signer[5] ^= 1;
    assert!(is_authority(&chain.verify(&draft.token())));
}

#[test]
fn a_signature_is_of_the_signers_key_and_of_the_attributes() {
    let chain = Chain::new();
    let verify = |change: &dyn Fn(&mut Draft<'_>)| {
        let mut draft = chain.draft();
        change(&mut draft);
        chain.verify(&draft.token())
    };
    assert!(is_signature(&chain.verify(&chain.draft().signed_by(&chain.intermediate))));
    // Another serial number in the TSTInfo: the attributes are signed, and not of it.
    assert!(is_signature(&verify(&|draft| {
        let at = draft.info.windows(3).position(|window| window == [2, 1, 7]).unwrap();
        draft.info[at + 2] = 8;
    })));
    assert!(is_signature(&verify(&|draft| draft.digest_algorithm = algorithm(SHA_1))));
    assert!(is_signature(&verify(
        &|draft| draft.signature_algorithm = algorithm(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1])
    )));
    let sha512 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
    assert!(is_signature(&verify(&|draft| draft.signature_algorithm = algorithm(&sha512))));
    let with_null = sequence(&[&oid(ECDSA_SHA_256), &[5, 0]]);
    assert!(is_signature(&verify(&|draft| draft.signature_algorithm = with_null.clone())));
    // The hash may have NULL behind it, or not (RFC 5754 §2).
    let hash_with_null = sequence(&[&oid(SHA_256), &[5, 0]]);
    assert!(verify(&|draft| draft.digest_algorithm = hash_with_null.clone()).is_ok());
    let p384 = Chain::new();
    let signer = p384.intermediate.certify_for(params("Stamps", false), &PKCS_ECDSA_P384_SHA384);
    let p384 = Chain { signer, ..p384 };
    let mut draft = p384.draft();
    draft.signature_algorithm = algorithm(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]);
    assert_eq!(p384.verify(&draft.token()), Ok(AT_NOON));
}

#[test]
fn each_attribute_is_there_once_in_order_and_right() {
    let chain = Chain::new();
    let verify = |change: &dyn Fn(&mut Draft<'_>)| {
        let mut draft = chain.draft();
        change(&mut draft);
        chain.verify(&draft.token())
    };
    for at in 0..3 {
        assert!(is_shape(&verify(&|draft| drop(draft.attributes.remove(at)))), "{at}");
        assert!(is_shape(&verify(&|draft| draft.attributes.push(draft.attributes[at].clone()))), "{at}");
    }
    let (hash, other) = (sha256(&chain.signer.der), sha256(&chain.root.der));
    let v2 = |draft: &mut Draft<'_>, attribute: Vec<u8>| draft.attributes[2] = attribute;
    // A second of each kind with another value.
    assert!(is_shape(&verify(&|draft| draft.attributes.push(certificate_v2(&algorithm(SHA_256), &hash, &[])))));
    assert!(is_shape(&verify(&|draft| draft.attributes.push(attribute(&[4], &[&octets(&other)])))));
    assert!(is_shape(&verify(&|draft| draft.attributes.push(attribute(&[3], &[&oid(&[0x2a, 3])])))));
    assert!(is_shape(&verify(&|draft| draft.attributes[0] = attribute(&[3], &[&oid(&[0x2a, 3])]))));
    // Two values, or none.
    assert!(is_shape(&verify(&|draft| draft.attributes[1] = attribute(&[4], &[&octets(&hash), &octets(&other)]))));
    assert!(is_shape(&verify(&|draft| draft.attributes[1] = attribute(&[4], &[]))));
    assert!(is_shape(&verify(&|draft| {
        draft.attributes.sort();
        draft.attributes.reverse();
        draft.is_in_order = true;
    })));
    assert!(is_signature(&verify(&|draft| draft.attributes[1] = attribute(&[4], &[&octets(&other)]))));
    // The certificate: by either version, by both, and another one.
    assert!(is_signature(&verify(&|draft| v2(draft, certificate_v2(&[], &other, &[])))));
    assert!(verify(&|draft| v2(draft, certificate_v2(&algorithm(SHA_256), &hash, &[]))).is_ok());
    assert!(is_shape(&verify(&|draft| v2(draft, certificate_v2(&algorithm(SHA_1), &sha1(&chain.signer.der), &[])))));
    assert!(is_shape(&verify(&|draft| v2(draft, certificate_v2(&[], &hash, &integer(&[1]))))));
    let old = certificate_v1(&sha1(&chain.signer.der));
    assert!(verify(&|draft| v2(draft, old.clone())).is_ok());
    assert!(verify(&|draft| draft.attributes.push(old.clone())).is_ok());
    assert!(is_signature(&verify(&|draft| draft.attributes.push(certificate_v1(&sha1(&chain.root.der))))));
    assert!(is_signature(&verify(&|draft| v2(draft, certificate_v1(&sha1(&chain.root.der))))));
    assert!(is_signature(&verify(&|draft| v2(draft, certificate_v1(&hash)))));
    let read = chain.signer.read();
    let issuer_serial = |serial: &[u8]| {
        let names = sequence(&[&element(tag::explicit(4), &[read.issuer.der])]);
        certificate_v2(&[], &hash, &sequence(&[&names, &integer(serial)]))
    };
    assert!(verify(&|draft| v2(draft, issuer_serial(read.serial_number))).is_ok());
    assert!(is_signature(&verify(&|draft| v2(draft, issuer_serial(&[1])))));
    // Attributes that say nothing.
    assert!(verify(&|draft| draft.attributes.push(attribute(&[5], &[&[5, 0]]))).is_ok());
    let unsigned = |attributes: &[&[u8]]| element(tag::explicit(1), attributes);
    assert!(verify(&|draft| draft.unsigned = unsigned(&[&attribute(&[9], &[&[5, 0]])])).is_ok());
    assert!(is_shape(&verify(&|draft| draft.unsigned = unsigned(&[&[5, 0]]))));
}

#[test]
fn signed_data_has_one_shape() {
    let chain = Chain::new();
    let refused = |change: &dyn Fn(&mut Draft<'_>)| {
        let mut draft = chain.draft();
        change(&mut draft);
        is_shape(&chain.verify(&draft.token()))
    };
    for version in [0, 1, 2, 4, 5] {
        assert!(refused(&|draft| draft.version = integer(&[version])), "{version}");
    }
    assert!(refused(&|draft| draft.signer_version = integer(&[3])));
    assert!(refused(&|draft| draft.digest_algorithms.clear()));
    assert!(refused(&|draft| draft.digest_algorithms = vec![algorithm(SHA_1)]));
    assert!(refused(&|draft| draft.digest_algorithms.push(algorithm(SHA_256))));
    assert!(!refused(&|draft| draft.digest_algorithms.push(algorithm(SHA_1))));
    assert!(refused(&|draft| draft.content_type = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1])));
    assert!(refused(&|draft| draft.crls = element(tag::explicit(1), &[])));
    assert!(refused(&|draft| draft.others = sequence(&[])));
    assert!(refused(&|draft| draft.certificates.as_mut().unwrap().push(element(tag::explicit(2), &[]))));
    assert!(refused(&|draft| draft.certificates = Some(vec![chain.root.der.clone(); 17])));
    assert!(!refused(&|draft| draft.certificates.as_mut().unwrap().push(chain.root.der.clone())));
}

/// The rest of a `TSTInfo` behind its time.
#[test]
fn times_are_rounded_outwards() {
    let chain = Chain::new();
    let verify = |time: &str, rest: &[u8]| {
        let mut info = info_at(time);
        info.push(rest.to_vec());
        chain.verify(&Draft::new(&chain, info).token())
    };
    let span = |before: i64, after: i64| Ok(GenTime { earliest: NOON - before, latest: NOON + after });
    let accuracy = |parts: &[&[u8]]| sequence(parts);
    let part = |number: u8, content: &[u8]| element(tag::implicit(number), &[content]);
    assert_eq!(verify("20260601120000Z", &[]), span(1, 1));
    assert_eq!(verify("20260601120000.5Z", &[]), span(1, 2));
    assert_eq!(verify("20260601120000Z", &accuracy(&[])), span(0, 0));
    assert_eq!(verify("20260601120000.000001Z", &accuracy(&[])), span(0, 1));
    assert_eq!(verify("20260601120000.9999999Z", &accuracy(&[])), span(0, 1));
    assert_eq!(verify("20260601120000.00000001Z", &accuracy(&[&part(1, &[1])])), span(1, 1));
    assert_eq!(verify("20260601120000Z", &accuracy(&[&integer(&[2])])), span(2, 2));
    assert_eq!(verify("20260601120000Z", &accuracy(&[&part(0, &[1])])), span(1, 1));
    assert_eq!(verify("20260601120000.5Z", &accuracy(&[&part(0, &[1, 0xf4])])), span(0, 1));
    assert_eq!(
        verify("20260601120000Z", &accuracy(&[&integer(&[1]), &part(0, &[3, 0xe7]), &part(1, &[1])])),
        span(2, 2)
    );
    assert!(is_authority(&verify("20260601120000Z", &accuracy(&[&integer(&[0, 0xff, 0xff, 0xff, 0xff])]))));
    assert!(is_authority(&verify("20240601120000Z", &[])));
    for bad in [
        accuracy(&[&integer(&[0xff])]),
        accuracy(&[&integer(&[])]),
        accuracy(&[&integer(&[0, 1])]),
        accuracy(&[&integer(&[1, 0, 0, 0, 0])]),
        accuracy(&[&part(0, &[0])]),
        accuracy(&[&part(0, &[3, 0xe8])]),
        accuracy(&[&part(1, &[1]), &part(0, &[1])]),
        accuracy(&[&part(2, &[1])]),
        [accuracy(&[]), accuracy(&[])].concat(),
    ] {
        assert!(is_shape(&verify("20260601120000Z", &bad)), "{bad:02x?}");
    }
    for bad in [
        "202606011200Z",
        "20260601120000",
        "20260601120000.Z",
        "20260601120000.10Z",
        "20260601120000.0Z",
        "20260601120000,5Z",
        "20260601120000.5",
        "20260601120000.-5Z",
        "20260601120000+0100",
        "20260631120000Z",
        "20260601126000Z",
        "260601120000Z",
    ] {
        assert!(is_shape(&verify(bad, &[])), "{bad}");
    }
}

#[test]
fn the_other_fields_of_a_tst_info() {
    let chain = Chain::new();
    let verify = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut info = info_at("20260601120000Z");
        change(&mut info);
        chain.verify(&Draft::new(&chain, info).token())
    };
    let extension =
        |critical: &[u8]| element(tag::explicit(1), &[&sequence(&[&oid(&[0x2a, 3]), critical, &octets(&[5, 0])])]);
    let name = element(tag::explicit(0), &[&element(tag::explicit(4), &[chain.signer.read().subject.der])]);
    for good in [
        vec![element(tag::BOOLEAN, &[&[0xff]])],
        vec![integer(&[0xff, 0]), name.clone()],
        vec![sequence(&[]), element(tag::BOOLEAN, &[&[0xff]]), integer(&[5]), name.clone(), extension(&[])],
    ] {
        assert!(verify(&|info| info.extend(good.clone())).is_ok(), "{good:02x?}");
    }
    for bad in [
        vec![extension(&element(tag::BOOLEAN, &[&[0xff]]))],
        vec![name.clone(), integer(&[5])],
        vec![element(tag::explicit(0), &[])],
        vec![integer(&[5]), integer(&[5])],
        vec![element(tag::BOOLEAN, &[&[1]])],
        vec![octets(&[])],
    ] {
        assert!(is_shape(&verify(&|info| info.extend(bad.clone()))), "{bad:02x?}");
    }
    assert!(is_shape(&verify(&|info| info[0] = integer(&[2]))));
    assert!(is_shape(&verify(&|info| info[3] = integer(&[1; 22]))));
    assert!(is_shape(&verify(&|info| drop(info.remove(4)))));
    let imprint = |id: &[u8], hash: &[u8]| sequence(&[&algorithm(id), &octets(hash)]);
    assert!(is_shape(&verify(&|info| info[2] = imprint(SHA_1, &sha1(SIGNED)))));
    assert_eq!(verify(&|info| info[2] = imprint(SHA_256, &sha256(SIGNED)[1..])), Err(TimestampError::OtherMessage));
    let sha512 = ring::digest::digest(&ring::digest::SHA512, SIGNED);
    let id = [&SHA_256[..8], &[3]].concat();
    assert!(verify(&|info| info[2] = imprint(&id, sha512.as_ref())).is_ok());
}
