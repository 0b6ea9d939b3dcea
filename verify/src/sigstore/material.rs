//! What stands beside a signature: a certificate, entries of logs, and time stamps. All of it is read only if a policy asks for
//! it, and nothing in it is verified here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{MAX_CHECKPOINT, decimal};
use super::merkle::{Hash, MAX_PROOF};
use super::{MAX_BUNDLE, read_json};
use crate::crypto::pem::pem_blocks;
use crate::heap_size::allocation;
use crate::json::Value;
use crate::not_counted::NotCounted;

/// The most entries of logs, and the most time stamps (SCHEMES.md, row 91).
const MAX_EVIDENCE: usize = 32;

/// Where a signature has it. The bytes are kept as they were found.
#[derive(Debug)]
pub(super) enum Source {
    /// There is none.
    Nothing,
    /// The whole bundle.
    Bundle(Vec<u8>),
    /// Annotations of a layer.
    Layer { certificate: Option<String>, entry: Option<String>, timestamp: Option<String> },
}

/// What stands beside a signature.
#[derive(Debug, Default)]
pub(super) struct Material {
    /// In DER.
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) entries: Vec<Entry>,
    /// Each a `TimeStampResp` in DER.
    pub(super) timestamps: Vec<Vec<u8>>,
}

/// An entry of a log of signatures.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) log_id: Vec<u8>,
    /// Its place among all entries of all shards. Only the log's promise is about it.
    pub(super) log_index: u64,
    pub(super) integrated_time: u64,
    /// `signedEntryTimestamp`.
    pub(super) promise: Option<Vec<u8>>,
    pub(super) proof: Option<Proof>,
    pub(super) body: Vec<u8>,
}

/// That an entry is in a log's tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) index: u64,
    pub(super) hashes: Vec<Hash>,
    pub(super) checkpoint: String,
    /// What the bundle says beside the checkpoint. It is not signed.
    pub(super) size: u64,
    pub(super) root: Option<Vec<u8>>,
}

impl Source {
    pub(super) fn heap_size(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bundle(bytes) => allocation(bytes.capacity()),
            Self::Layer { certificate, entry, timestamp } => {
                let texts = [certificate, entry, timestamp].into_iter().flatten();
                texts.map(|text| allocation(text.capacity())).sum()
            }
        }
    }

    pub(super) fn read(&self) -> Result<Material, NotCounted> {
        match self {
            Self::Nothing => Ok(Material::default()),
            Self::Bundle(bytes) => of_bundle(bytes),
            Self::Layer { certificate, entry, timestamp } => of_layer(certificate, entry, timestamp),
        }
    }
}

/// `verificationMaterial` of a bundle.
fn of_bundle(bytes: &[u8]) -> Result<Material, NotCounted> {
    let document = read_json(bytes, MAX_BUNDLE, "the bundle")?;
    let mut found = Material::default();
    let Some(material) = there(document.root(), "verificationMaterial") else { return Ok(found) };
    let chain = || there(material, "x509CertificateChain")?.get("certificates")?.array();
    let mut certificates = there(material, "certificate").into_iter().chain(chain().into_iter().flatten());
    if let Some(certificate) = certificates.next() {
        found.certificate = Some(bytes_of(certificate, "rawBytes")?);
    } else if there(material, "x509CertificateChain").is_some() {
        return Err(NotCounted::Shape("the bundle's chain has no certificate"));
    }
    for entry in list(material, "tlogEntries")? {
        found.add_entry(entry_of_bundle(entry)?)?;
    }
    if let Some(data) = there(material, "timestampVerificationData") {
        for timestamp in list(data, "rfc3161Timestamps")? {
            found.add_timestamp(bytes_of(timestamp, "signedTimestamp")?)?;
        }
    }
    Ok(found)
}

/// The annotations that cosign 2 writes.
fn of_layer(
    certificate: &Option<String>,
    entry: &Option<String>,
    timestamp: &Option<String>,
) -> Result<Material, NotCounted> {
    let mut found = Material::default();
    if let Some(pem) = certificate {
        let blocks = pem_blocks(pem, 1).filter(|blocks| blocks.iter().all(|block| block.label == "CERTIFICATE"));
        let block = blocks.and_then(|mut blocks| blocks.pop());
        found.certificate = Some(block.ok_or(NotCounted::Shape("the annotation with the certificate is no PEM"))?.der);
    }
    if let Some(json) = entry {
        let document = read_json(json.as_bytes(), MAX_BUNDLE, "the annotation with the log's entry")?;
        let payload = there(document.root(), "Payload");
        let payload = payload.ok_or(NotCounted::Shape("the annotation with the log's entry has no \"Payload\""))?;
        let log_id = there(payload, "logID").and_then(Value::string).and_then(crate::image::Sha256::from_hex);
        let log_id = log_id.ok_or(NotCounted::Shape("the log's entry has no \"logID\" in hexadecimal"))?;
        found.add_entry(Entry {
            log_id: log_id.as_bytes().to_vec(),
            log_index: number(payload, "logIndex")?,
            integrated_time: number(payload, "integratedTime")?,
            promise: Some(bytes_of(document.root(), "SignedEntryTimestamp")?),
            proof: None,
            body: bytes_of(payload, "body")?,
        })?;
    }
    if let Some(json) = timestamp {
        let document = read_json(json.as_bytes(), MAX_BUNDLE, "the annotation with the time stamp")?;
        found.add_timestamp(bytes_of(document.root(), "SignedRFC3161Timestamp")?)?;
    }
    Ok(found)
}

impl Material {
    /// Adds an entry. The same one twice would be two proofs for one (SCHEMES.md, row 84).
    fn add_entry(&mut self, entry: Entry) -> Result<(), NotCounted> {
        if self.entries.len() == MAX_EVIDENCE {
            return Err(NotCounted::Shape("it has more than 32 entries of logs"));
        }
        let is_same = |known: &Entry| {
            let index = |entry: &Entry| entry.proof.as_ref().map_or(entry.log_index, |proof| proof.index);
            known.log_id == entry.log_id && (known.body == entry.body || index(known) == index(&entry))
        };
        if self.entries.iter().any(is_same) {
            return Err(NotCounted::Shape("it has the same entry of a log twice"));
        }
        self.entries.push(entry);
        Ok(())
    }

    fn add_timestamp(&mut self, timestamp: Vec<u8>) -> Result<(), NotCounted> {
        if self.timestamps.len() == MAX_EVIDENCE {
            return Err(NotCounted::Shape("it has more than 32 time stamps"));
        }
        if self.timestamps.contains(&timestamp) {
            return Err(NotCounted::Shape("it has the same time stamp twice"));
        }
        self.timestamps.push(timestamp);
        Ok(())
    }
}

fn entry_of_bundle(entry: Value<'_>) -> Result<Entry, NotCounted> {
    let log_id = there(entry, "logId").ok_or(NotCounted::Shape("an entry of a log has no \"logId\""))?;
    let promise = there(entry, "inclusionPromise");
    let promise = promise.map(|promise| bytes_of(promise, "signedEntryTimestamp")).transpose()?;
    let proof = there(entry, "inclusionProof").map(proof_of_bundle).transpose()?;
    Ok(Entry {
        log_id: bytes_of(log_id, "keyId")?,
        log_index: number(entry, "logIndex")?,
        integrated_time: number(entry, "integratedTime")?,
        promise,
        proof,
        body: bytes_of(entry, "canonicalizedBody")?,
    })
}

fn proof_of_bundle(proof: Value<'_>) -> Result<Proof, NotCounted> {
    let mut hashes = Vec::new();
    for hash in list(proof, "hashes")? {
        let hash = hash.string().and_then(|hash| STANDARD.decode(hash).ok()).and_then(|hash| hash.try_into().ok());
        if hashes.len() == MAX_PROOF {
            return Err(NotCounted::Shape("the inclusion proof has more than 64 hashes"));
        }
        hashes.push(hash.ok_or(NotCounted::Shape("the inclusion proof has a hash that is not 32 bytes"))?);
    }
    let checkpoint = there(proof, "checkpoint").and_then(|checkpoint| checkpoint.get("envelope"));
    let checkpoint = checkpoint.and_then(Value::string).unwrap_or_default();
    if checkpoint.len() > MAX_CHECKPOINT {
        return Err(NotCounted::TooLarge { what: "the log's checkpoint", cap: MAX_CHECKPOINT });
    }
    Ok(Proof {
        index: number(proof, "logIndex")?,
        hashes,
        checkpoint: checkpoint.to_owned(),
        size: number(proof, "treeSize")?,
        root: there(proof, "rootHash").map(|_| bytes_of(proof, "rootHash")).transpose()?,
    })
}

/// A member that has a value: in this form of JSON `null` is the same as absence.
pub(super) fn there<'d>(value: Value<'d>, name: &str) -> Option<Value<'d>> {
    value.get(name).filter(|value| !value.is_null())
}

/// The items of a list, which may be missing.
fn list<'d>(value: Value<'d>, name: &'static str) -> Result<impl Iterator<Item = Value<'d>>, NotCounted> {
    let items = match there(value, name) {
        None => None,
        Some(list) => {
            Some(list.array().ok_or(NotCounted::Shape("the bundle has something else where a list belongs"))?)
        }
    };
    Ok(items.into_iter().flatten())
}

/// A number that is not negative: 64 bits are a string in this form of JSON, and 0 may be missing.
fn number(value: Value<'_>, name: &str) -> Result<u64, NotCounted> {
    let Some(number) = there(value, name) else { return Ok(0) };
    let found = match number.string() {
        Some(text) => decimal(text),
        None => number.integer().and_then(|number| u64::try_from(number).ok()),
    };
    found.ok_or(NotCounted::Shape("a number of the log's entry is negative, or is no number"))
}

/// The bytes of a member in standard base64.
fn bytes_of(value: Value<'_>, name: &str) -> Result<Vec<u8>, NotCounted> {
    let bytes = there(value, name).and_then(Value::string).and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.filter(|bytes| !bytes.is_empty() && bytes.len() <= MAX_BUNDLE);
    bytes.ok_or(NotCounted::Shape("the bundle has a field that is not base64"))
}
