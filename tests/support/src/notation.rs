//! A signer for Notation's envelopes, which can make what notation refuses to make. Certificates are written in DER here, so
//! that each field can be wrong.

mod cbor;
mod certificate;
mod envelope;
mod key;
mod revocation_list;

pub use cbor::Cbor;
pub use certificate::{
    BASIC_CONSTRAINTS, Certificate, EXTENDED_KEY_USAGE, Extension, KEY_USAGE, Spec, basic_constraints, chain,
    distribution_point, extended_key_usage, key_usage, name, ocsp_address,
};
pub use envelope::{Cose, Jws, descriptor};
pub use key::{Kind, SigningKey};
pub use revocation_list::revocation_list;

use serde_json::json;

use crate::cosign::{Artifact, Image};

/// One DER element.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    match content.len() {
        length @ 0..=0x7f => der.push(length as u8),
        length @ 0x80..=0xff => der.extend([0x81, length as u8]),
        length => {
            der.push(0x83);
            der.extend(&(length as u32).to_be_bytes()[1..]);
            if length <= 0xffff {
                der.remove(2);
                der[1] = 0x82;
            }
        }
    }
    der.extend(content);
    der
}

/// A UTCTime, or a GeneralizedTime from 2050 on.
pub(crate) fn time(seconds: i64) -> Vec<u8> {
    let time = jiff::Timestamp::from_second(seconds).unwrap();
    let long = time.strftime("%Y%m%d%H%M%SZ").to_string();
    if long.as_str() < "2050" { tlv(0x17, &[&long.as_bytes()[2..]]) } else { tlv(0x18, &[long.as_bytes()]) }
}

/// The manifest of a signature, as notation-go writes it: without `artifactType`.
pub fn artifact(image: &Image, media_type: &str, envelope: Vec<u8>) -> Artifact {
    Artifact::bundle(image, envelope).edit(|manifest| {
        manifest.as_object_mut().unwrap().remove("artifactType");
        manifest["config"]["mediaType"] = "application/vnd.cncf.notary.signature".into();
        manifest["layers"][0]["mediaType"] = media_type.into();
        manifest["annotations"] = json!({"io.cncf.notary.x509chain.thumbprint#S256": "[]"});
    })
}
