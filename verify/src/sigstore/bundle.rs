//! A Sigstore bundle with a key (SCHEMES.md, section 3; sigstore_bundle.proto in its JSON form).
//!
//! The hint of the key is not signed and decides nothing. Unknown members are passed over: newer minor versions have them.
//! Entries of logs and time stamps are not looked at.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::claim::Claim;
use super::not_counted::NotCounted;
use super::{MAX_BUNDLE, read_json, statement};
use crate::image::Sha256;
use crate::json::Value;

/// `mediaType`, of all versions that are read.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A bundle that was read.
pub(super) struct Bundle {
    pub(super) claim: Claim,
    pub(super) signed: Signed,
    pub(super) signature: Vec<u8>,
    pub(super) hint: Option<Sha256>,
}

/// The bytes that a signature is over.
#[derive(Debug)]
pub(super) enum Signed {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// The bytes of the image's manifest, which have this hash.
    Manifest(Hash, Vec<u8>),
}

/// The algorithm of a `messageDigest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn of(self, bytes: &[u8]) -> ring::digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha384 => &ring::digest::SHA384,
            Self::Sha512 => &ring::digest::SHA512,
        };
        ring::digest::digest(algorithm, bytes)
    }
}

/// Reads a bundle.
pub(super) fn read(bytes: &[u8]) -> Result<Bundle, NotCounted> {
    let document = read_json(bytes, MAX_BUNDLE, "the bundle")?;
    let root = document.root();
    let media_type = member(root, "mediaType").and_then(Value::string);
    if !media_type.is_some_and(|media_type| MEDIA_TYPES.contains(&media_type)) {
        return Err(NotCounted::value("the bundle's \"mediaType\"", media_type, "a version from 0.1 to 0.3"));
    }
    let material = member(root, "verificationMaterial");
    let material = material.ok_or(NotCounted::Shape("the bundle has no \"verificationMaterial\""))?;
    if member(material, "certificate").or_else(|| member(material, "x509CertificateChain")).is_some() {
        return Err(NotCounted::Certificate);
    }
    let key = member(material, "publicKey").filter(|key| key.object().is_some());
    let key = key.ok_or(NotCounted::Shape("the bundle's \"verificationMaterial\" has no \"publicKey\""))?;
    let hint = member(key, "hint").and_then(Value::string).and_then(|hint| STANDARD.decode(hint).ok());
    let hint = hint.and_then(|hint| hint.try_into().ok()).map(Sha256::new);
    let (claim, signed, signature) = match (member(root, "dsseEnvelope"), member(root, "messageSignature")) {
        (Some(envelope), None) => envelope_of(envelope)?,
        (None, Some(message)) => message_of(message)?,
        _ => {
            return Err(NotCounted::Shape(
                "the bundle has not exactly one of \"dsseEnvelope\" and \"messageSignature\"",
            ));
        }
    };
    Ok(Bundle { claim, signed, signature, hint })
}

/// A DSSE envelope with an in-toto statement.
fn envelope_of(envelope: Value<'_>) -> Result<(Claim, Signed, Vec<u8>), NotCounted> {
    let payload_type = member(envelope, "payloadType").and_then(Value::string);
    if payload_type != Some(IN_TOTO) {
        return Err(NotCounted::value("the envelope's \"payloadType\"", payload_type, IN_TOTO));
    }
    let payload = base64(envelope, "payload")?;
    let mut signatures = member(envelope, "signatures").and_then(Value::array).into_iter().flatten();
    let (Some(signature), None) = (signatures.next(), signatures.next()) else {
        return Err(NotCounted::Shape("the envelope has not exactly one signature"));
    };
    let signature = base64(signature, "sig")?;
    let claim = statement::read(&payload)?;
    // The pre-authentication encoding (DSSE 1.0).
    let mut bytes = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len()).into_bytes();
    bytes.reserve_exact(payload.len());
    bytes.extend(payload);
    Ok((claim, Signed::Bytes(bytes.into()), signature))
}

/// A signature over the bytes of the image's manifest.
fn message_of(message: Value<'_>) -> Result<(Claim, Signed, Vec<u8>), NotCounted> {
    let digest = member(message, "messageDigest").ok_or(NotCounted::Shape("the bundle has no \"messageDigest\""))?;
    let algorithm = member(digest, "algorithm").and_then(Value::string);
    let algorithm = match algorithm {
        Some("SHA2_256") => Hash::Sha256,
        Some("SHA2_384") => Hash::Sha384,
        Some("SHA2_512") => Hash::Sha512,
        found => return Err(NotCounted::value("the algorithm of \"messageDigest\"", found, "SHA2_256")),
    };
    let signed = Signed::Manifest(algorithm, base64(digest, "digest")?);
    Ok((Claim::default(), signed, base64(message, "signature")?))
}

/// A member that has a value: in this form of JSON `null` is the same as absence.
fn member<'d>(value: Value<'d>, name: &str) -> Option<Value<'d>> {
    value.get(name).filter(|value| !value.is_null())
}

/// The bytes of a member in standard base64.
fn base64(value: Value<'_>, name: &str) -> Result<Vec<u8>, NotCounted> {
    let text = member(value, name).and_then(Value::string);
    text.and_then(|text| STANDARD.decode(text).ok())
        .ok_or(NotCounted::Shape("the bundle has a field that is not base64"))
}
