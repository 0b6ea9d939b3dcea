//! Files of trust stores.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::notation::BASIC_CONSTRAINTS;

use super::*;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn a_file_has_one_certificate_in_der_or_several_in_pem() {
    let chain = p256_chain();
    let [_, ca, root] = &chain[..] else { panic!() };
    assert_eq!(read_store_file(&root.der).unwrap(), std::slice::from_ref(&root.der));
    let both = [pem("CERTIFICATE", &ca.der), "a comment\n".to_owned(), pem("CERTIFICATE", &root.der)].concat();
    assert_eq!(read_store_file(both.as_bytes()).unwrap(), [ca.der.clone(), root.der.clone()]);
    let own = self_signed(Kind::P256);
    assert_eq!(read_store_file(&own[0].der).unwrap().len(), 1);
}

#[test]
fn scheme_row_097_109_what_can_never_be_an_anchor_is_refused_by_name() {
    let chain = p256_chain();
    let root = &chain[2];
    let sha1 = [&[0x30, 9, 6, 7][..], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]].concat();
    for (der, words) in [
        (Spec::ca("Plant Root", Kind::P521).self_signed().der, "CN=Plant Root,O=Plant,ST=WA,C=US has a key on P-521"),
        (Spec { algorithm: Some(sha1), ..Spec::ca("Plant Root", Kind::P256) }.self_signed().der, "such as SHA-1"),
        (chain[0].der.clone(), "neither a CA nor self-signed"),
        (
            Spec::ca("Plant Root", Kind::P256).without(BASIC_CONSTRAINTS).signed_by(root).der,
            "neither a CA nor self-signed",
        ),
        (Spec::ca("Plant Root", Kind::Ed25519).self_signed().der, "Ed25519"),
        (
            Spec::ca("Plant Root", Kind::P256).with((vec![0x55, 29, 30], true, vec![0x30, 0])).self_signed().der,
            "name constraints",
        ),
    ] {
        let error = read_store_file(&der).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_is_no_file_of_a_store_is_refused() {
    let root = Spec::ca("Plant Root", Kind::P256).self_signed();
    let good = pem("CERTIFICATE", &root.der);
    let trailing = [&root.der[..], &[0]].concat();
    let large = vec![0x30; MAX_STORE_FILE + 1];
    for (bytes, words) in [
        (&b""[..], "no certificate"),
        (b"a text", "no certificate"),
        (&[0xff], "certificate 1 of it is damaged"),
        (&trailing, "certificate 1 of it is damaged"),
        (&large, "1048576 bytes"),
        (&good.as_bytes()[..good.len() - 9], "broken PEM block"),
        (pem("PRIVATE KEY", &root.der).as_bytes(), "\"PRIVATE KEY\""),
        ([good.clone(), pem("CERTIFICATE", &[0x30, 0])].concat().as_bytes(), "certificate 2 of it is damaged"),
        (good.repeat(257).as_bytes(), "more than 256"),
    ] {
        let error = read_store_file(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
