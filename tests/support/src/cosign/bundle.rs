//! Sigstore bundles with keys, and the in-toto statements in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Image, Key};
use crate::signer::sha256;

/// The type of a DSSE payload that is an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The predicate type of `cosign sign`.
pub const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// An in-toto statement in preparation: by default what `cosign sign` writes.
#[derive(Clone)]
pub struct Statement {
    value: Value,
}

impl Statement {
    /// The statement of `cosign sign` about an image.
    pub fn new(image: &Image) -> Self {
        let value = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": image.hex()}, "annotations": {}}],
            "predicateType": SIGN_PREDICATE,
            "predicate": {}
        });
        Self { value }
    }

    /// Adds an annotation to the first subject.
    pub fn annotation(self, name: &str, value: impl Into<Value>) -> Self {
        self.edit(|statement| statement["subject"][0]["annotations"][name] = value.into())
    }

    /// Sets `predicateType`.
    pub fn predicate_type(self, predicate_type: &str) -> Self {
        self.edit(|statement| statement["predicateType"] = predicate_type.into())
    }

    /// Changes anything else.
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.value);
        self
    }

    /// The bytes that are signed, as a DSSE payload.
    pub fn bytes(&self) -> Vec<u8> {
        self.value.to_string().into_bytes()
    }
}

/// What DSSE signs: the pre-authentication encoding.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// A bundle in preparation.
#[derive(Clone)]
pub struct Bundle {
    value: Value,
}

impl Bundle {
    /// A bundle with a DSSE envelope around an in-toto statement: what `cosign sign` writes.
    pub fn dsse(statement: &[u8], key: &Key) -> Self {
        Self::dsse_of(IN_TOTO, statement, key)
    }

    /// The same with another payload type, which is really signed.
    pub fn dsse_of(payload_type: &str, payload: &[u8], key: &Key) -> Self {
        let envelope = json!({
            "payload": STANDARD.encode(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": STANDARD.encode(key.sign(&pae(payload_type, payload)))}]
        });
        Self::new("dsseEnvelope", envelope, key)
    }

    /// A bundle with a signature over a message: the bytes of an image's manifest.
    pub fn message(manifest: &[u8], key: &Key) -> Self {
        let signature = json!({
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(sha256(manifest))},
            "signature": STANDARD.encode(key.sign(manifest))
        });
        Self::new("messageSignature", signature, key)
    }

    fn new(name: &str, content: Value, key: &Key) -> Self {
        let mut value = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": key.hint()}}
        });
        value[name] = content;
        Self { value }
    }

    /// Sets `mediaType`.
    pub fn media_type(self, media_type: &str) -> Self {
        self.edit(|bundle| bundle["mediaType"] = media_type.into())
    }

    /// Changes anything else.
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.value);
        self
    }

    /// The bundle.
    pub fn bytes(&self) -> Vec<u8> {
        self.value.to_string().into_bytes()
    }
}
