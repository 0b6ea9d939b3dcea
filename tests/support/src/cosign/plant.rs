//! A plant with its own certificate authority, logs and certificate log, and signatures under them: it also makes what real
//! producers refuse to make.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use super::{Artifact, Bundle, Image, Key, Layer, Payload, Statement, pae};
use crate::signer::{sha256, sha256_hex};

pub const SUBJECT: &str = "https://git.plant.example/line-1/build.yml@refs/heads/main";
pub const ISSUER: &str = "https://issuer.plant.example";
/// Noon of the day on which certificates for signing are valid: 2026-03-02.
pub const SIGNED: u64 = 1_772_452_800;

/// 1.3.6.1.4.1.57264.1.
const FULCIO: [u64; 8] = [1, 3, 6, 1, 4, 1, 57264, 1];

pub fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

fn spki(key: &Key) -> Vec<u8> {
    KeyPair::from_pem(&key.private_pem()).unwrap().subject_public_key_info()
}

fn pem(label: &str, der: &[u8]) -> Value {
    base64(pem_text(label, der).as_bytes())
}

fn pem_text(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![tag, short],
        Ok(long) => vec![tag, 0x81, long],
        Err(_) => [&[tag, 0x82][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    [head.as_slice(), content].concat()
}

/// What a certificate's signature is over: the first element of its outer one.
fn signed_part(der: &[u8]) -> &[u8] {
    let (head, length) = length_of(der);
    let (_, inside) = der[..head + length].split_at(head);
    let (head, length) = length_of(inside);
    &inside[..head + length]
}

/// The lengths of an element's head and of its content.
fn length_of(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short @ 0..=0x7f => (2, short.into()),
        0x81 => (3, der[2].into()),
        _ => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
    }
}

/// A certificate authority.
pub struct Holder {
    pub der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Holder {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2036, 1, 1));
        params
    }

    fn root() -> Self {
        let (params, key) = (Self::params("plant root"), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    pub fn intermediate(&self, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (Self::params("plant intermediate"), KeyPair::generate().unwrap());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        edit(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }
}

pub struct Plant {
    pub root: Holder,
    pub intermediate: Holder,
    pub log: Key,
    pub log_2: Key,
    pub ct_log: Key,
    pub signer: Key,
}

/// The subject and issuer of a certificate, as Fulcio writes them.
pub fn names(subject: SanType, old: Option<&str>, new: Option<&str>) -> impl Fn(&mut CertificateParams) {
    let (old, new) = (old.map(str::to_owned), new.map(str::to_owned));
    move |params| {
        let oid = |last: u64| [FULCIO.as_slice(), &[last]].concat();
        params.subject_alt_names = vec![subject.clone()];
        params.custom_extensions.clear();
        if let Some(old) = &old {
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid(1), old.clone().into_bytes()));
        }
        if let Some(new) = &new {
            let text = element(0x0c, new.as_bytes());
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid(8), text));
        }
    }
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

impl Default for Plant {
    fn default() -> Self {
        Self::new()
    }
}

impl Plant {
    /// With new keys.
    pub fn new() -> Self {
        let root = Holder::root();
        let intermediate = root.intermediate(|_| {});
        let (log, log_2, ct_log, signer) = (Key::p256(), Key::ed25519(), Key::p256(), Key::p256());
        Self { root, intermediate, log, log_2, ct_log, signer }
    }

    /// A certificate for the signer's key, without a promise of the certificate log.
    fn certificate(&self, extra: Option<Vec<u8>>, edit: &dyn Fn(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from_slice(&[7; 16]));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (date_time_ymd(2026, 3, 2), date_time_ymd(2026, 3, 3));
        names(uri(SUBJECT), Some(ISSUER), Some(ISSUER))(&mut params);
        edit(&mut params);
        let sct = |content| CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], content);
        params.custom_extensions.extend(extra.map(sct));
        let key = KeyPair::from_pem(&self.signer.private_pem()).unwrap();
        params.signed_by(&key, &self.intermediate.issuer).unwrap().der().to_vec()
    }

    pub fn without_sct(&self, edit: &dyn Fn(&mut CertificateParams)) -> Vec<u8> {
        self.certificate(None, edit)
    }

    /// A certificate with a promise by this key, of this time.
    pub fn with_sct(&self, by: &Key, seconds: u64, edit: &dyn Fn(&mut CertificateParams)) -> Vec<u8> {
        let der = self.without_sct(edit);
        let precertificate = signed_part(&der);
        let milliseconds = (seconds * 1000 + 999).to_be_bytes();
        let length = u32::try_from(precertificate.len()).unwrap().to_be_bytes();
        let issuer = sha256(&self.intermediate.issuer.key().subject_public_key_info());
        let signed = [&[0, 0][..], &milliseconds, &[0, 1], &issuer, &length[1..], precertificate, &[0, 0]];
        let signature = by.sign(&signed.concat());
        let short = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let sct = [&[0][..], &sha256(&spki(by)), &milliseconds, &[0, 0], &[4, 3], &short(&signature)].concat();
        let content = element(4, &short(&short(&sct)));
        self.certificate(Some(content), edit)
    }

    /// A certificate with this extension for promises.
    pub fn with_promise(&self, extension: Vec<u8>, edit: &dyn Fn(&mut CertificateParams)) -> Vec<u8> {
        self.certificate(Some(extension), edit)
    }

    pub fn leaf(&self) -> Vec<u8> {
        self.with_sct(&self.ct_log, SIGNED, &|_| {})
    }

    /// `trusted_root.json`.
    pub fn trusted_root(&self) -> Value {
        let log = |url: &str, details: &str, key: &Key, id: [u8; 32]| {
            json!({
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64(&spki(key)),
                    "keyDetails": details,
                    "validFor": {"start": "2026-01-01T00:00:00Z"}
                },
                "logId": {"keyId": base64(&id)}
            })
        };
        let p256 = "PKIX_ECDSA_P256_SHA_256";
        let chain: Vec<_> =
            [&self.intermediate, &self.root].map(|holder| json!({"rawBytes": base64(&holder.der)})).into();
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                log("https://rekor.plant.example", p256, &self.log, self.log.id()),
                log("https://log2.plant.example/", "PKIX_ED25519", &self.log_2, self.id_2())
            ],
            "certificateAuthorities": [{
                "subject": {"organization": "plant.example", "commonName": "plant root"},
                "uri": "https://fulcio.plant.example",
                "certChain": {"certificates": chain},
                "validFor": {"start": "2026-01-01T00:00:00Z"}
            }],
            "ctlogs": [log("https://ct.plant.example", p256, &self.ct_log, self.ct_log.id())],
            "timestampAuthorities": []
        })
    }

    /// The key ID of the second log (C2SP, signed notes).
    fn id_2(&self) -> [u8; 32] {
        let raw = spki(&self.log_2);
        sha256(&[b"log2.plant.example\n\x01", &raw[raw.len() - 32..]].concat())
    }

    /// An entry of the first log, with its promise and a proof, as the second of three leaves.
    pub fn entry(&self, body: &Value, time: u64) -> Value {
        let body = body.to_string();
        let (id, index) = (self.log.id(), 1_000_001_u64);
        let promise = format!(
            r#"{{"body":"{}","integratedTime":{time},"logID":"{}","logIndex":{index}}}"#,
            STANDARD.encode(&body),
            id.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
        json!({
            "logIndex": index.to_string(),
            "logId": {"keyId": base64(&id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": time.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": base64(&self.log.sign(promise.as_bytes()))},
            "inclusionProof": proof(body.as_bytes(), "rekor.plant.example - 12", "rekor.plant.example", &self.log, id),
            "canonicalizedBody": base64(body.as_bytes())
        })
    }

    /// An entry of the second log.
    pub fn entry_2(&self, body: &str) -> Value {
        let (id, name) = (self.id_2(), "log2.plant.example");
        json!({
            "logIndex": "1",
            "logId": {"keyId": base64(&id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": proof(body.as_bytes(), name, name, &self.log_2, id),
            "canonicalizedBody": base64(body.as_bytes())
        })
    }
}

/// The proof that an entry is the second of three.
fn proof(body: &[u8], origin: &str, name: &str, key: &Key, id: [u8; 32]) -> Value {
    let leaf = |body: &[u8]| sha256(&[&[0], body].concat());
    let node = |left: &[u8], right: &[u8]| sha256(&[&[1], left, right].concat());
    let (first, third) = (leaf(b"first"), leaf(b"third"));
    let root = node(&node(&first, &leaf(body)), &third);
    json!({
        "logIndex": "1",
        "treeSize": "3",
        "rootHash": base64(&root),
        "hashes": [base64(&first), base64(&third)],
        "checkpoint": {"envelope": checkpoint(origin, name, 3, &root, key, id)}
    })
}

/// A checkpoint by this key.
pub fn checkpoint(origin: &str, name: &str, size: u64, root: &[u8], key: &Key, id: [u8; 32]) -> String {
    let text = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root));
    let signature = [&id[..4], &key.sign(text.as_bytes())].concat();
    format!("{text}\n— {name} {}\n", STANDARD.encode(signature))
}

/// The body of an entry of Rekor 1 about a signed statement.
pub fn dsse_body(payload: &[u8], signature: &str, verifier: Value) -> Value {
    json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": sha256_hex(b"")},
            "payloadHash": {"algorithm": "sha256", "value": sha256_hex(payload)},
            "signatures": [{"signature": signature, "verifier": verifier}]
        }
    })
}

/// A payload of the old format, signed by the plant's key, and its entry of Rekor 1 as cosign 2 writes it. `verifier` is the PEM of a
/// certificate or of the key.
pub fn logged_layer(plant: &Plant, image: &Image, verifier: &str, time: u64) -> Layer {
    let payload = Payload::new(image).bytes();
    let signature = plant.signer.sign(&payload);
    let body = json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": sha256_hex(&payload)}},
            "signature": {"content": base64(&signature), "publicKey": {"content": base64(verifier.as_bytes())}}
        }
    });
    let entry = plant.entry(&body, time);
    let annotation = json!({
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": time,
            "logIndex": 1_000_001,
            "logID": plant.log.id().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        }
    });
    Layer::with_signature(payload, &signature).annotation("dev.sigstore.cosign/bundle", &annotation.to_string())
}

/// The same by a certificate.
pub fn keyless_layer(plant: &Plant, image: &Image, certificate: &[u8], time: u64) -> Layer {
    let pem = pem_text("CERTIFICATE", certificate);
    logged_layer(plant, image, &pem, time).annotation("dev.sigstore.cosign/certificate", &pem)
}

/// A signed statement in a bundle, and everything that stands beside it.
pub struct Signing {
    pub payload: Vec<u8>,
    pub bundle: Value,
}

impl Signing {
    /// By the signer's key, without a log.
    pub fn new(plant: &Plant, image: &Image) -> Self {
        let payload = Statement::new(image).bytes();
        let bundle = serde_json::from_slice(&Bundle::dsse(&payload, &plant.signer).bytes()).unwrap();
        Self { payload, bundle }
    }

    pub fn signature(&self) -> String {
        self.bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap().to_owned()
    }

    /// By a certificate, with an entry of Rekor 1.
    pub fn keyless(plant: &Plant, image: &Image, certificate: &[u8], time: u64) -> Self {
        let mut signing = Self::new(plant, image);
        let body = dsse_body(&signing.payload, &signing.signature(), pem("CERTIFICATE", certificate));
        signing.bundle["verificationMaterial"] = json!({
            "certificate": {"rawBytes": base64(certificate)},
            "tlogEntries": [plant.entry(&body, time)]
        });
        signing
    }

    /// By the signer's key, with an entry of Rekor 1.
    pub fn logged(plant: &Plant, image: &Image, time: u64) -> Self {
        let mut signing = Self::new(plant, image);
        let body = dsse_body(&signing.payload, &signing.signature(), pem("PUBLIC KEY", &spki(&plant.signer)));
        signing.bundle["verificationMaterial"]["tlogEntries"] = json!([plant.entry(&body, time)]);
        signing
    }

    /// By the signer's key, with an entry of Rekor 2.
    pub fn logged_2(plant: &Plant, image: &Image) -> Self {
        let mut signing = Self::new(plant, image);
        let message = pae("application/vnd.in-toto+json", &signing.payload);
        let body = json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": base64(&sha256(&message))},
            "signature": {"content": signing.signature(), "verifier": {
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "publicKey": {"rawBytes": base64(&spki(&plant.signer))}
            }}
        }}});
        signing.bundle["verificationMaterial"]["tlogEntries"] = json!([plant.entry_2(&body.to_string())]);
        signing
    }

    /// The bundle as a referrer of the image.
    pub fn artifact(&self, image: &Image) -> Artifact {
        Artifact::bundle(image, self.bundle.to_string().into_bytes())
    }

    /// The first entry.
    pub fn entry(&mut self) -> &mut Value {
        &mut self.bundle["verificationMaterial"]["tlogEntries"][0]
    }
}
