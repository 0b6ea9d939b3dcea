//! Time stamps that openssl made: RSA, both versions of signingCertificate, and all fields of a `TSTInfo`.

use super::drafts::SIGNED;
use crate::timestamp::{Authority, TimestampError, Token};

pub(super) const RESPONSES: [&[u8]; 3] = [
    include_bytes!("../fixtures/rsa-sha256-v2.tsr"),
    include_bytes!("../fixtures/rsa-sha384-v2.tsr"),
    include_bytes!("../fixtures/rsa-sha512-v1.tsr"),
];

#[test]
fn time_stamps_by_openssl_are_verified() {
    let anchors = [include_bytes!("../fixtures/root.der").to_vec()];
    let intermediates = [include_bytes!("../fixtures/tsa.der").to_vec()];
    for (response, has_certificate) in RESPONSES.into_iter().zip([true, false, true]) {
        let token = Token::read(response).unwrap();
        let authority = Authority { anchors: &anchors, intermediates: &intermediates };
        let time = token.verify(SIGNED, &authority).unwrap();
        // 2026-12-01, 22:16.
        assert!((1_796_163_360..1_796_163_480).contains(&time.earliest), "{time:?}");
        assert!((4..=5).contains(&(time.latest - time.earliest)), "{time:?}");
        assert_eq!(token.verify(b"another", &authority), Err(TimestampError::OtherMessage));
        let alone = Authority { intermediates: &[], ..authority };
        assert_eq!(token.verify(SIGNED, &alone).is_ok(), has_certificate);
        // One changed bit anywhere behind the status of the response.
        let authority = if has_certificate { alone } else { authority };
        for at in 9..response.len() {
            let mut changed = response.to_vec();
            changed[at] ^= 1;
            let result = Token::read(&changed).and_then(|token| token.verify(SIGNED, &authority));
            assert!(result.is_err(), "{at}");
        }
    }
}
