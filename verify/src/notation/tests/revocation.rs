//! Row 114: revocation lists that are carried in, and nothing else.

use pki_types::{CertificateDer, UnixTime};
use portreeve_test_support::notation::{Extension, distribution_point, key_usage, ocsp_address, revocation_list};
use webpki::{
    ALL_VERIFICATION_ALGS, BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    RevocationOptionsBuilder, anchor_from_trusted_cert,
};

use super::*;
use crate::crypto::der::element;

const URL: &str = "http://ca.plant.example/a.crl";
const DATES: (i64, i64) = (NOW - DAY, NOW + DAY);

/// A leaf that can be revoked, and its root.
fn revocable(extension: Extension) -> Vec<Certificate> {
    let root = Spec::ca("Plant Root", Kind::P256).self_signed();
    vec![Spec { serial_number: 7, ..Spec::leaf("builder", Kind::P256) }.with(extension).signed_by(&root), root]
}

/// The code and the words for a chain under these lists; `None` if it counts.
fn judged(chain: &[Certificate], lists: &[&[u8]], now: i64) -> Option<(&'static str, String)> {
    let mut policy = Policy::of(&[chain.last().unwrap()]);
    policy.lists = RevocationLists::read(lists).unwrap();
    let reason = policy.signer_of(&jws(&Jws::new(IMAGE, chain)).unwrap(), now).err()?;
    Some((reason.code(), reason.to_string()))
}

fn is_unknown(found: Option<(&'static str, String)>, words: &str) {
    let (code, text) = found.expect("it counts");
    assert!(code == "revocation-unknown" && text.contains(words) && text.contains("revocation: skip"), "{text}");
}

#[test]
fn scheme_row_114_a_certificate_with_an_address_needs_a_list() {
    for extension in [distribution_point(URL), ocsp_address("http://ocsp.plant.example")] {
        let chain = revocable(extension);
        is_unknown(judged(&chain, &[], NOW), "no revocation list of its issuer");
        let mut policy = Policy::of(&[&chain[1]]);
        policy.is_strict = false;
        policy.signer_of(&jws(&Jws::new(IMAGE, &chain)).unwrap(), NOW).unwrap();
        assert_eq!(judged(&chain, &[&revocation_list(&chain[1], &[1, 6], DATES, &[])], NOW), None);
        assert_eq!(judged(&chain, &[&revocation_list(&chain[1], &[6, 7], DATES, &[])], NOW).unwrap().0, "revoked");
    }
    // An address of the issuer's certificate is none of its revocation.
    let mut issuers = ocsp_address("http://ca.plant.example/a.cer");
    let at = issuers.2.windows(2).position(|two| two == [48, 1]).unwrap();
    issuers.2[at + 1] = 2;
    assert_eq!(judged(&revocable(issuers), &[], NOW), None);
    // What cannot be read could be an address.
    for id in [&[0x55, 29, 31][..], &[0x2b, 6, 1, 5, 5, 7, 1, 1]] {
        is_unknown(judged(&revocable((id.to_vec(), false, vec![5, 0, 0])), &[], NOW), "no revocation list");
    }
}

#[test]
fn scheme_row_114_every_certificate_but_the_root_is_looked_at() {
    let root = Spec::ca("Plant Root", Kind::P256).with(distribution_point(URL)).self_signed();
    let ca = Spec::ca("Plant Signing CA", Kind::P256).with(distribution_point(URL)).signed_by(&root);
    let chain = vec![Spec::leaf("builder", Kind::P256).signed_by(&ca), ca, root];
    is_unknown(judged(&chain, &[], NOW), "the certificate of CN=Plant Signing CA");
    let of_root = revocation_list(&chain[2], &[], DATES, &[]);
    assert_eq!(judged(&chain, &[&of_root], NOW), None);
    let revoked = judged(&chain, &[&revocation_list(&chain[2], &[1], DATES, &[])], NOW).unwrap();
    assert!(revoked.0 == "revoked" && revoked.1.contains("CN=Plant Signing CA"), "{revoked:?}");
    is_unknown(judged(&chain, &[&revocation_list(&chain[1], &[], DATES, &[])], NOW), "CN=Plant Signing CA");
}

#[test]
fn scheme_row_114_a_list_is_current_and_by_the_issuer() {
    let chain = revocable(distribution_point(URL));
    let list = revocation_list(&chain[1], &[], DATES, &[]);
    for (now, is_current) in [(DATES.0 - 1, false), (DATES.0, true), (DATES.1, true), (DATES.1 + 1, false)] {
        match is_current {
            true => assert_eq!(judged(&chain, &[&list], now), None),
            false => is_unknown(judged(&chain, &[&list], now), "not current"),
        }
    }
    // A newer list takes over; a list with the certificate counts although it has ended.
    let newer = revocation_list(&chain[1], &[], (NOW, NOW + 9 * DAY), &[]);
    assert_eq!(judged(&chain, &[&list, &newer], NOW + 9 * DAY), None);
    let old = revocation_list(&chain[1], &[7], (NOW - 9 * DAY, NOW - 8 * DAY), &[]);
    assert_eq!(judged(&chain, &[&list, &old], NOW).unwrap().0, "revoked");
    // Another key in the name of the issuer, and an issuer that may not sign lists.
    let other = Spec::ca("Plant Root", Kind::P256).self_signed();
    is_unknown(judged(&chain, &[&revocation_list(&other, &[], DATES, &[])], NOW), "no revocation list");
    let root = Spec::ca("Plant Root", Kind::P256).with(key_usage(true, 0x04)).self_signed();
    let leaf = Spec::leaf("builder", Kind::P256).with(distribution_point(URL)).signed_by(&root);
    is_unknown(judged(&[leaf, root.clone()], &[&revocation_list(&root, &[], DATES, &[])], NOW), "no revocation list");
    // No byte of a list can be changed.
    for at in 0..list.len() {
        let mut changed = list.clone();
        changed[at] ^= 1;
        if RevocationLists::read(&[&changed]).is_ok() {
            assert!(judged(&chain, &[&changed], NOW).is_some(), "{at}");
        }
    }
}

/// An issuing distribution point with these fields.
fn scope(fields: &[&[u8]]) -> Extension {
    let content = fields.concat();
    (vec![0x55, 29, 28], true, element(0x30, &[&content]))
}

/// The distribution point with this address.
fn point(url: &str) -> Vec<u8> {
    element(0xa0, &[&element(0xa0, &[&element(0x86, &[url.as_bytes()])])])
}

#[test]
fn scheme_row_114_a_list_of_a_part_is_about_that_part() {
    let chain = revocable(distribution_point(URL));
    let by = |extension: Extension| revocation_list(&chain[1], &[], DATES, &[extension]);
    for good in [scope(&[&point(URL)]), scope(&[&[0x81, 1, 0xff]]), scope(&[&point(URL), &[0x81, 1, 0xff]]), scope(&[])]
    {
        assert_eq!(judged(&chain, &[&by(good)], NOW), None);
    }
    for other in [scope(&[&point("http://ca.plant.example/b.crl")]), scope(&[&[0x82, 1, 0xff]])] {
        is_unknown(judged(&chain, &[&by(other)], NOW), "no revocation list");
    }
    for (bad, words) in [
        (scope(&[&[0x84, 1, 0xff]]), "other issuers'"),  // indirect
        (scope(&[&[0x83, 2, 6, 0x40]]), "some reasons"), // some reasons
        (scope(&[&[0x85, 1, 0xff]]), "other issuers'"),  // attribute certificates
        ((vec![0x55, 29, 27], true, vec![2, 1, 1]), "it is a delta list"),
        ((vec![0x55, 29, 99], true, vec![5, 0]), "another critical extension"),
        ((vec![0x55, 29, 28], true, vec![0x30, 1]), "damaged"),
        ((vec![0x55, 29, 20], false, vec![2, 1, 2]), "damaged"), // the list's number twice
    ] {
        let (place, error) = RevocationLists::read(&[&by(bad)]).unwrap_err();
        assert!(place == 0 && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn lists_are_read_from_der_and_pem() {
    use base64::Engine as _;
    let chain = revocable(distribution_point(URL));
    let list = revocation_list(&chain[1], &[], DATES, &[]);
    let pem = |label: &str| {
        let base64 = base64::engine::general_purpose::STANDARD.encode(&list);
        format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
    };
    let both = RevocationLists::read(&[&list, pem("X509 CRL").repeat(2).as_bytes()]).unwrap();
    let issuer = "CN=Plant Root,O=Plant,ST=WA,C=US";
    assert_eq!(both.endings(), [(issuer.to_owned(), DATES.1)]);
    assert_ne!(both.id(), RevocationLists::none().id());
    assert_eq!(RevocationLists::none().endings(), []);
    let certificate = pem("CERTIFICATE");
    for (file, words) in [
        (&b""[..], "X509 CRL"),
        (b"text", "X509 CRL"),
        (certificate.as_bytes(), "X509 CRL"),
        (&[0xff], "X509 CRL"),
        (&list[..list.len() - 1], "damaged"),
        (&chain[0].der, "damaged"),
    ] {
        let (place, error) = RevocationLists::read(&[&list, file]).unwrap_err();
        assert!(place == 1 && error.to_string().contains(words), "{error}");
    }
    let large = vec![0x30; MAX_REVOCATION_LIST + 1];
    assert!(RevocationLists::read(&[&large]).unwrap_err().1.to_string().contains("8388608 bytes"));
    let many = pem("X509 CRL").repeat(256);
    assert!(RevocationLists::read(&[many.as_bytes(), &list]).unwrap_err().1.to_string().contains("more than 256"));
}

/// webpki's answer for the leaf alone: does the list show that it is not revoked?
fn webpki_says(chain: &[Certificate], list: &[u8], now: i64) -> bool {
    let Ok(list) = BorrowedCertRevocationList::from_der(list) else { return false };
    let list = CertRevocationList::from(list);
    let root = CertificateDer::from(chain[1].der.as_slice());
    let leaf = CertificateDer::from(chain[0].der.as_slice());
    let (anchor, leaf) = (anchor_from_trusted_cert(&root).unwrap(), EndEntityCert::try_from(&leaf).unwrap());
    let lists = [&list];
    let options = RevocationOptionsBuilder::new(&lists).unwrap().with_expiration_policy(ExpirationPolicy::Enforce);
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.cast_unsigned()));
    let usage = KeyUsage::required_if_present(&[0x2b, 6, 1, 5, 5, 7, 3, 3]);
    let options = Some(options.build());
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &[], time, usage, options, None).is_ok()
}

/// What counts here counts for webpki. The reverse is not so: webpki does not look at `thisUpdate`, and takes its anchor's key
/// usage for unlimited.
#[test]
fn webpki_accepts_each_list_that_is_accepted_here() {
    let chain = revocable(distribution_point(URL));
    let mut accepted = 0;
    for revoked in [&[][..], &[7], &[1, 2], &[1, 7, 8]] {
        for extensions in
            [vec![], vec![scope(&[&point(URL)])], vec![scope(&[&point("http://b")])], vec![scope(&[&[0x82, 1, 0xff]])]]
        {
            for issuer in [
                &chain[1],
                &Spec::ca("Plant Root", Kind::P256).self_signed(),
                &Spec::ca("Other", Kind::P256).self_signed(),
            ] {
                let list = revocation_list(issuer, revoked, DATES, &extensions);
                for now in [NOW, DATES.1 - 1, DATES.1 + 1] {
                    let ours = judged(&chain, &[&list], now).is_none();
                    assert_eq!(ours, webpki_says(&chain, &list, now), "{revoked:?} {extensions:x?} {now}");
                    accepted += usize::from(ours);
                }
            }
        }
    }
    assert_eq!(accepted, 8);
}

/// Of two editions of a list the later one counts, and a list of another scope is no edition of it.
#[test]
fn each_list_has_an_end() {
    let chain = revocable(distribution_point(URL));
    let root = &chain[1];
    let until =
        |days: i64, extensions: &[Extension]| revocation_list(root, &[], (NOW - DAY, NOW + days * DAY), extensions);
    let users = (vec![0x55, 29, 28], true, vec![0x30, 3, 0x81, 1, 0xff]);
    let files = [until(3, &[]), until(9, &[]), until(1, &[users]), until(5, &[])];
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let lists = RevocationLists::read(&files).unwrap();
    let ends: Vec<i64> = lists.endings().into_iter().map(|(_, at)| (at - NOW) / DAY).collect();
    assert_eq!(ends, [9, 1]);
    // A signature needs one of them: the last to end.
    let policy = Policy { lists, ..Policy::of(&[root]) };
    let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
    assert_eq!(envelope.revocation_ends(&policy.lists), None);
    policy.signer_of(&envelope, NOW).unwrap();
    assert_eq!(envelope.revocation_ends(&policy.lists), Some(NOW + 9 * DAY));
    let unneeded = jws(&Jws::new(IMAGE, &[Spec::leaf("other", Kind::P256).signed_by(root), root.clone()])).unwrap();
    policy.signer_of(&unneeded, NOW).unwrap();
    assert_eq!(unneeded.revocation_ends(&policy.lists), None);
}
