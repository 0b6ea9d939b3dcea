//! Envelopes in both formats. Each field can be edited before it is signed.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::cbor::Cbor;
use super::certificate::Certificate;

const SIGNING_TIME: i64 = 1_790_000_000; // 2026-09-21

/// The descriptor of an image's manifest.
pub fn descriptor(manifest: &[u8]) -> Value {
    let digest = ring::digest::digest(&ring::digest::SHA256, manifest);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{hex}"), "size": manifest.len()})
}

/// An envelope in JWS.
#[derive(Clone)]
pub struct Jws {
    pub payload: Value,
    pub protected: Value,
    pub header: Value,
    /// The text of the protected headers, if it is to be another one.
    pub protected_text: Option<String>,
    /// The payload's bytes, if they are to be others.
    pub payload_bytes: Option<Vec<u8>>,
    signer: Certificate,
}

impl Jws {
    /// About this image, by the first of these certificates.
    pub fn new(image: &[u8], chain: &[Certificate]) -> Self {
        let x5c: Vec<String> = chain.iter().map(|certificate| STANDARD.encode(&certificate.der)).collect();
        Self {
            payload: json!({"targetArtifact": descriptor(image)}),
            protected: json!({
                "alg": chain[0].key.algorithm(),
                "crit": ["io.cncf.notary.signingScheme"],
                "cty": "application/vnd.cncf.notary.payload.v1+json",
                "io.cncf.notary.signingScheme": "notary.x509",
                "io.cncf.notary.signingTime": rfc3339(SIGNING_TIME),
            }),
            header: json!({"x5c": x5c, "io.cncf.notary.signingAgent": "tests"}),
            protected_text: None,
            payload_bytes: None,
            signer: chain[0].clone(),
        }
    }

    pub fn edit(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// With an expiry, in seconds since 1970.
    pub fn expires(self, at: i64) -> Self {
        self.edit(|jws| {
            jws.protected["io.cncf.notary.expiry"] = rfc3339(at).into();
            jws.protected["crit"].as_array_mut().unwrap().push("io.cncf.notary.expiry".into());
        })
    }

    /// By the scheme of a signing authority, at this time.
    pub fn by_authority(self, at: i64) -> Self {
        self.edit(|jws| {
            let protected = jws.protected.as_object_mut().unwrap();
            protected.remove("io.cncf.notary.signingTime");
            protected["io.cncf.notary.signingScheme"] = "notary.x509.signingAuthority".into();
            protected.insert("io.cncf.notary.authenticSigningTime".to_owned(), rfc3339(at).into());
            let critical = protected["crit"].as_array_mut().unwrap();
            critical.push("io.cncf.notary.authenticSigningTime".into());
        })
    }

    /// The envelope, signed.
    pub fn bytes(&self) -> Vec<u8> {
        self.value().to_string().into_bytes()
    }

    /// The same as a value.
    pub fn value(&self) -> Value {
        let protected = self.protected_text.clone().unwrap_or_else(|| self.protected.to_string());
        let protected = URL_SAFE_NO_PAD.encode(protected);
        let payload = self.payload_bytes.clone().unwrap_or_else(|| self.payload.to_string().into_bytes());
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let algorithm = self.protected["alg"].as_str().unwrap_or_default();
        let signature = self.signer.key.sign(algorithm, format!("{protected}.{payload}").as_bytes());
        json!({"payload": payload, "protected": protected, "header": self.header, "signature": URL_SAFE_NO_PAD.encode(signature)})
    }
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

/// An envelope in COSE.
#[derive(Clone)]
pub struct Cose {
    pub payload: Value,
    pub protected: Vec<(Cbor, Cbor)>,
    pub unprotected: Vec<(Cbor, Cbor)>,
    /// The protected headers, if they are to be other bytes.
    pub protected_bytes: Option<Vec<u8>>,
    /// The payload's bytes, if they are to be others.
    pub payload_bytes: Option<Vec<u8>>,
    pub tag: u64,
    signer: Certificate,
}

impl Cose {
    /// About this image, by the first of these certificates.
    pub fn new(image: &[u8], chain: &[Certificate]) -> Self {
        let algorithm = match chain[0].key.algorithm() {
            "ES256" => -7,
            "ES384" => -35,
            "PS256" => -37,
            "PS384" => -38,
            "PS512" => -39,
            _ => -36,
        };
        let scheme = Cbor::text("io.cncf.notary.signingScheme");
        let x5chain = chain.iter().map(|certificate| Cbor::Bytes(certificate.der.clone())).collect();
        Self {
            payload: json!({"targetArtifact": descriptor(image)}),
            protected: vec![
                (Cbor::Integer(1), Cbor::Integer(algorithm)),
                (Cbor::Integer(2), Cbor::Array(vec![scheme.clone()])),
                (Cbor::Integer(3), Cbor::text("application/vnd.cncf.notary.payload.v1+json")),
                (Cbor::text("io.cncf.notary.signingTime"), Cbor::time(SIGNING_TIME)),
                (scheme, Cbor::text("notary.x509")),
            ],
            unprotected: vec![
                (Cbor::Integer(33), Cbor::Array(x5chain)),
                (Cbor::text("io.cncf.notary.signingAgent"), Cbor::text("tests")),
            ],
            protected_bytes: None,
            payload_bytes: None,
            tag: 18,
            signer: chain[0].clone(),
        }
    }

    pub fn edit(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// Sets a protected header.
    pub fn set(&mut self, label: Cbor, value: Cbor) {
        self.protected.retain(|(known, _)| *known != label);
        self.protected.push((label, value));
    }

    /// The envelope, signed.
    pub fn bytes(&self) -> Vec<u8> {
        self.tree().encode()
    }

    /// The same before it is written.
    pub fn tree(&self) -> Cbor {
        let protected = self.protected_bytes.clone().unwrap_or_else(|| Cbor::Map(self.protected.clone()).encode());
        let payload = self.payload_bytes.clone().unwrap_or_else(|| self.payload.to_string().into_bytes());
        let signed = Cbor::Array(vec![
            Cbor::text("Signature1"),
            Cbor::Bytes(protected.clone()),
            Cbor::Bytes(Vec::new()),
            Cbor::Bytes(payload.clone()),
        ]);
        let signature = self.signer.key.sign(self.signer.key.algorithm(), &signed.encode());
        let parts = vec![
            Cbor::Bytes(protected),
            Cbor::Map(self.unprotected.clone()),
            Cbor::Bytes(payload),
            Cbor::Bytes(signature),
        ];
        Cbor::Tag(self.tag, Box::new(Cbor::Array(parts)))
    }
}
