//! The old format with keys: rows 32 to 50.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::crypto::pem::pem_blocks;
use crate::crypto::public_key::PublicKey;

#[test]
fn scheme_row_032_p256_over_sha_256_in_der() {
    let (image, key) = (plc(), Key::p256());
    let signature = layer(&Payload::new(&image), &key);
    assert!(is_accepted(&image, &signature, &key));
    assert!(!is_accepted(&image, &signature, &Key::p256()));
}

#[test]
fn scheme_row_033_p384_over_sha_384() {
    let (image, key) = (plc(), Key::p384());
    assert!(is_accepted(&image, &layer(&Payload::new(&image), &key), &key));
}
