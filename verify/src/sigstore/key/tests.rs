//! Which keys are taken, which are refused by name, and what each verifies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::cosign::Key;

use super::*;
use crate::crypto::pem::{pem_blocks, pem_text};

const P384: &str = include_str!("../fixtures/p384.pub");
const ED25519: &str = include_str!("../fixtures/ed25519.pub");
const RSA_2048: &str = include_str!("../fixtures/rsa2048.pub");
const RSA_PKCS1: &str = include_str!("../fixtures/rsa2048-pkcs1.pub");
const RSA_3072: &str = include_str!("../fixtures/rsa3072.pub");
const RSA_4096: &str = include_str!("../fixtures/rsa4096.pub");
const PAYLOAD: &[u8] = include_bytes!("../fixtures/payload.json");

/// Keys of kinds that are not verified, and their names.
const UNSUPPORTED: [(&str, &str); 9] = [
    (include_str!("../fixtures/p521.pub"), "an ECDSA key on P-521"),
    (include_str!("../fixtures/p224.pub"), "an ECDSA key on P-224"),
    (include_str!("../fixtures/secp256k1.pub"), "an ECDSA key on secp256k1"),
    (include_str!("../fixtures/brainpool.pub"), "an ECDSA key on another curve"),
    (include_str!("../fixtures/ed448.pub"), "an Ed448 key"),
    (include_str!("../fixtures/x25519.pub"), "an X25519 key"),
    (include_str!("../fixtures/x448.pub"), "an X448 key"),
    (include_str!("../fixtures/dsa.pub"), "a DSA key"),
    (include_str!("../fixtures/rsa-pss.pub"), "an RSA-PSS key"),
];

fn key(pem: &str) -> SigstoreKey {
    SigstoreKey::from_pem(pem).unwrap()
}

fn refused(pem: &str) -> SigstoreKeyError {
    let error = SigstoreKey::from_pem(pem).expect_err(pem);
    let text = error.to_string();
    assert!(text.starts_with("it ") && text.len() < 400 && !text.chars().any(char::is_control), "{text}");
    error
}

fn verifies(pem: &str, signature: &str) -> bool {
    key(pem).verifies(PAYLOAD, &STANDARD.decode(signature.trim()).unwrap())
}

#[test]
fn keys_of_cosign_are_taken_and_identified_by_their_contents() {
    for pem in [P384, ED25519, RSA_2048, RSA_3072, RSA_4096] {
        let der = pem_blocks(pem, 1).unwrap().remove(0).der;
        assert_eq!(key(pem).id(), Sha256::of(&der), "the hash that a bundle's hint has");
        assert_eq!(key(&pem.replace('\n', "\r\n")), key(pem));
        assert_eq!(key(&format!("a comment\n{pem}\n")), key(pem));
        assert_eq!(format!("{:?}", key(pem)), format!("SigstoreKey({})", Sha256::of(&der)));
    }
    for made in [Key::p256(), Key::p384(), Key::rsa(), Key::ed25519()] {
        assert_eq!(key(&made.public_pem()).id(), Sha256::new(made.id()));
    }
    assert_eq!(key(RSA_PKCS1), key(RSA_2048), "the same key in PKCS#1");
}

#[test]
fn scheme_row_033_p384_over_sha_384_and_over_sha_256() {
    assert!(verifies(P384, include_str!("../fixtures/p384-sha384.sig")));
    assert!(verifies(P384, include_str!("../fixtures/p384-sha256.sig")));
    let p256 = key(&Key::p256().public_pem());
    let signature = STANDARD.decode(include_str!("../fixtures/p384-sha256.sig")).unwrap();
    assert!(!p256.verifies(PAYLOAD, &signature) && !key(P384).verifies(b"another payload", &signature));
}

#[test]
fn scheme_row_034_rsa_of_three_sizes_by_pkcs1_over_sha_256_alone() {
    assert!(verifies(RSA_2048, include_str!("../fixtures/rsa2048-sha256.sig")));
    assert!(verifies(RSA_PKCS1, include_str!("../fixtures/rsa2048-sha256.sig")));
    assert!(verifies(RSA_3072, include_str!("../fixtures/rsa3072-sha256.sig")));
    assert!(verifies(RSA_4096, include_str!("../fixtures/rsa4096-sha256.sig")));
    assert!(!verifies(RSA_2048, include_str!("../fixtures/rsa2048-sha512.sig")));
    assert!(!verifies(RSA_3072, include_str!("../fixtures/rsa2048-sha256.sig")));
}

#[test]
fn scheme_row_035_rsa_pss_does_not_verify() {
    assert!(!verifies(RSA_2048, include_str!("../fixtures/rsa2048-pss.sig")));
}

#[test]
fn scheme_row_036_ed25519_pure() {
    assert!(verifies(ED25519, include_str!("../fixtures/ed25519-pure.sig")));
}

#[test]
fn scheme_row_037_ed25519ph_does_not_verify_and_other_kinds_are_refused_by_name() {
    assert!(!verifies(ED25519, include_str!("../fixtures/ed25519-ph.sig")));
    for (pem, kind) in UNSUPPORTED {
        let error = refused(pem);
        assert_eq!(error, SigstoreKeyError::Unsupported { kind });
        assert!(error.to_string().contains(kind) && error.to_string().contains("P-256"), "{error}");
    }
    let error = refused(include_str!("../fixtures/rsa1024.pub"));
    assert_eq!(error, SigstoreKeyError::RsaSize { bits: 1024 });
    assert_eq!(refused(include_str!("../fixtures/rsa8200.pub")), SigstoreKeyError::RsaSize { bits: 8200 });
}

#[test]
fn scheme_row_037_what_is_no_public_key_is_told_by_what_it_is() {
    for private in [
        Key::p256().private_pem(),
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJrZGYi\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
            .into(),
        "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\nnot base64".into(),
        format!("{ED25519}{}", Key::ed25519().private_pem()),
    ] {
        let error = refused(&private);
        assert_eq!(error, SigstoreKeyError::PrivateKey);
        assert!(error.to_string().contains("it is a private key") && error.to_string().contains("cosign.pub"));
    }
    assert_eq!(refused(include_str!("../fixtures/certificate.pem")), SigstoreKeyError::Certificate);
    assert_eq!(refused(&format!("{ED25519}{P384}")), SigstoreKeyError::Several { found: 2 });
    assert_eq!(refused(&ED25519.repeat(17)), SigstoreKeyError::Damaged);
    assert_eq!(refused(""), SigstoreKeyError::NoPem);
    assert_eq!(refused("cosign.pub"), SigstoreKeyError::NoPem);
    assert_eq!(
        refused(&P384.replace("PUBLIC KEY", "SSH\u{1b}KEY")),
        SigstoreKeyError::OtherLabel { label: "SSH\u{fffd}KEY".into() }
    );
}

/// A second encoding of a key would count as a second key, or give the same key another ID.
#[test]
fn a_key_has_one_encoding() {
    assert_eq!(refused(include_str!("../fixtures/p256-compressed.pub")), SigstoreKeyError::Damaged);
    let der = |pem: &str| pem_blocks(pem, 1).unwrap().remove(0).der;
    for pem in [P384, ED25519, RSA_2048] {
        let mut long = der(pem);
        long.push(0);
        assert_eq!(refused(&pem_text("PUBLIC KEY", &long)), SigstoreKeyError::Damaged);
        assert_eq!(refused(&pem_text("PUBLIC KEY", &long[..long.len() - 2])), SigstoreKeyError::Damaged);
        assert!(SigstoreKey::from_pem(&pem_text("RSA PUBLIC KEY", &der(pem))).is_err());
    }
    let unfinished = P384.replace("-----END PUBLIC KEY-----", "");
    assert_eq!(refused(&unfinished), SigstoreKeyError::Damaged);
}

#[test]
fn an_ed25519_key_for_which_anybody_can_sign_is_refused() {
    let mut der = pem_blocks(ED25519, 1).unwrap().remove(0).der;
    let start = der.len() - 32;
    der[start..].fill(0);
    assert_eq!(refused(&pem_text("PUBLIC KEY", &der)), SigstoreKeyError::Weak);
    der[start] = 1;
    assert_eq!(refused(&pem_text("PUBLIC KEY", &der)), SigstoreKeyError::Weak);
}

/// Every other encoding of the same numbers is refused, so that a signature has one spelling.
#[test]
fn scheme_row_038_ecdsa_in_der_alone() {
    for (made, half) in [(Key::p256(), 32), (Key::p384(), 48)] {
        let key = key(&made.public_pem());
        let fixed = made.sign_otherwise(PAYLOAD);
        assert!(fixed.len() == 2 * half && !key.verifies(PAYLOAD, &fixed));
        let number = |digits: &[u8], zeros: usize| {
            let digits: Vec<u8> = digits.iter().copied().skip_while(|digit| *digit == 0).collect();
            let sign = usize::from(digits[0] & 0x80 != 0) + zeros;
            [vec![2, u8::try_from(sign + digits.len()).unwrap()], vec![0; sign], digits].concat()
        };
        let sequence = |content: Vec<u8>, long: bool| {
            let length = u8::try_from(content.len()).unwrap();
            [if long { vec![0x30, 0x81, length] } else { vec![0x30, length] }, content].concat()
        };
        let (r, s) = fixed.split_at(half);
        let sound = sequence([number(r, 0), number(s, 0)].concat(), false);
        assert!(key.verifies(PAYLOAD, &sound), "the test's own DER must be sound");
        let long = sequence([number(r, 0), number(s, 0)].concat(), true);
        let padded = sequence([number(r, 1), number(s, 0)].concat(), false);
        let three = sequence([number(r, 0), number(s, 0), number(s, 0)].concat(), false);
        let trailing = [sound.clone(), vec![0]].concat();
        let negative = sequence([vec![2, 1, 0xff], number(s, 0)].concat(), false);
        for other in [long, padded, three, trailing, negative, sound[..sound.len() - 1].to_vec(), Vec::new()] {
            assert!(!key.verifies(PAYLOAD, &other), "{other:x?}");
        }
    }
}
