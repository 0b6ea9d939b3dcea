//! A Sigstore bundle (SCHEMES.md, section 3; sigstore_bundle.proto in its JSON form).
//!
//! The hint of the key is not signed and decides nothing. Unknown members are passed over: newer minor versions have them.
//! Certificates, entries of logs and time stamps are kept as they are, and read if a policy asks for them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::claim::Claim;
use super::material::{Source, there as member};
use super::{MAX_BUNDLE, read_json, statement};
use crate::crypto::algorithm::Hash;
use crate::image::Sha256;
use crate::json::Value;
use crate::not_counted::NotCounted;

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
    /// Was it made with a certificate instead of a key?
    pub(super) is_keyless: bool,
    pub(super) source: Source,
}

/// The bytes that a signature is over.
#[derive(Debug)]
pub(super) enum Signed {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// The bytes of the image's manifest, which have this hash.
    Manifest(Hash, Vec<u8>),
}

/// Reads a bundle. `any_predicate`: its statement may be of any type, and not that of `cosign sign` alone.
pub(super) fn read(bytes: Vec<u8>, any_predicate: bool) -> Result<Bundle, NotCounted> {
    let document = read_json(&bytes, MAX_BUNDLE, "the bundle")?;
    let root = document.root();
    let media_type = member(root, "mediaType").and_then(Value::string);
    if !media_type.is_some_and(|media_type| MEDIA_TYPES.contains(&media_type)) {
        return Err(NotCounted::value("the bundle's \"mediaType\"", media_type, "a version from 0.1 to 0.3"));
    }
    let material = member(root, "verificationMaterial");
    let material = material.ok_or(NotCounted::Shape("the bundle has no \"verificationMaterial\""))?;
    let has = |name| member(material, name).is_some();
    let is_keyless = has("certificate") || has("x509CertificateChain");
    // A chain is the form of older versions (SCHEMES.md, row 67).
    let is_new = media_type.is_some_and(|media_type| MEDIA_TYPES.iter().take(2).any(|new| *new == media_type));
    if has("x509CertificateChain") && (is_new || has("certificate")) {
        return Err(NotCounted::Shape("the bundle has a chain of certificates, which its version does not have"));
    }
    let mut hint = None;
    match member(material, "publicKey").filter(|key| key.object().is_some()) {
        Some(_) if is_keyless => return Err(NotCounted::Shape("the bundle has both a key and a certificate")),
        None if is_keyless => {}
        Some(key) => {
            let decoded = member(key, "hint").and_then(Value::string).and_then(|hint| STANDARD.decode(hint).ok());
            hint = decoded.and_then(|hint| hint.try_into().ok()).map(Sha256::new);
        }
        None => return Err(NotCounted::Shape("the bundle's \"verificationMaterial\" has no \"publicKey\"")),
    }
    let has_evidence = is_keyless || has("tlogEntries") || has("timestampVerificationData");
    let (claim, signed, signature) = match (member(root, "dsseEnvelope"), member(root, "messageSignature")) {
        (Some(envelope), None) => envelope_of(envelope, any_predicate)?,
        (None, Some(message)) => message_of(message)?,
        _ => {
            return Err(NotCounted::Shape(
                "the bundle has not exactly one of \"dsseEnvelope\" and \"messageSignature\"",
            ));
        }
    };
    drop(document);
    let source = if has_evidence { Source::Bundle(bytes) } else { Source::Nothing };
    Ok(Bundle { claim, signed, signature, hint, is_keyless, source })
}

/// A DSSE envelope with an in-toto statement.
fn envelope_of(envelope: Value<'_>, any_predicate: bool) -> Result<(Claim, Signed, Vec<u8>), NotCounted> {
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
    let claim = statement::read(&payload, any_predicate)?;
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

/// The bytes of a member in standard base64.
fn base64(value: Value<'_>, name: &str) -> Result<Vec<u8>, NotCounted> {
    let text = member(value, name).and_then(Value::string);
    text.and_then(|text| STANDARD.decode(text).ok())
        .ok_or(NotCounted::Shape("the bundle has a field that is not base64"))
}
