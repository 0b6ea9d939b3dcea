//! A `trusted_root.json` (sigstore_trustroot.proto in its JSON form): which logs, certificate authorities and time stamp
//! authorities are trusted, and from when until when.
//!
//! A file that cannot be read wholly is refused. An instance whose kind of key is not known is passed over: newer files have
//! logs that older readers cannot verify (SCHEMES.md, row 88). Nothing here decides whether a signature counts.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::Validity;
use crate::crypto::public_key::{PublicKey, SignatureAlgorithm};
use crate::effort::Checks;
use crate::heap_size::{allocation, as_u64, inline_size};
use crate::image::Sha256;
use crate::json::{Allowance, Document, JsonError, Value};
use crate::text::printable;
use crate::tuf::rfc3339;

/// The largest file, in bytes. The one of the public instance has 8 kB.
pub const MAX_TRUSTED_ROOT: usize = 256 << 10;
/// The most values and names in a file.
const MAX_VALUES: usize = 16_384;
/// The most instances in each of the four lists.
const MAX_INSTANCES: usize = 64;
/// The most certificates in a chain.
const MAX_CHAIN: usize = 8;
/// The most characters of an instance's name in a message.
const MAX_NAME: usize = 80;

const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// What a `trusted_root.json` says.
#[derive(Debug)]
pub struct TrustedRoot {
    id: Sha256,
    newest: i64,
    pub(super) logs: Vec<Log>,
    pub(super) ct_logs: Vec<Log>,
    pub(super) certificate_authorities: Vec<Chain>,
    pub(super) timestamp_authorities: Vec<Chain>,
}

/// From when until when an instance counts, in seconds since 1970. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValidFor {
    start: i64,
    end: Option<i64>,
}

impl ValidFor {
    pub(super) fn has(self, seconds: i64) -> bool {
        self.start <= seconds && self.end.is_none_or(|end| seconds <= end)
    }

    pub(super) fn has_end(self) -> bool {
        self.end.is_some()
    }
}

/// A log of signatures or of certificates.
#[derive(Debug)]
pub(super) struct Log {
    /// Its address without the scheme.
    pub(super) name: String,
    /// What entries name it by.
    pub(super) id: Vec<u8>,
    /// The beginning of what checkpoints name its key by.
    pub(super) checkpoint_id: [u8; 4],
    pub(super) valid_for: ValidFor,
    key: PublicKey,
    algorithm: SignatureAlgorithm,
}

impl Log {
    /// Has this log signed the message? The answer says nothing if the checks are exhausted.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8], checks: &Checks<'_>) -> bool {
        if !checks.take(self.key.units()) {
            return false;
        }
        #[cfg(test)]
        super::key::VERIFICATIONS.with(|count| count.set(count.get() + 1));
        self.key.verifies(self.algorithm, message, signature)
    }
}

/// An authority that issues certificates or time stamps.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: String,
    /// Its certificates in DER: the anchor is the last one.
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) valid_for: ValidFor,
}

/// When a part of a trusted root ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRootEnd {
    /// Which part, printable: `log rekor.sigstore.dev`.
    pub what: String,
    /// The last second, since 1970.
    pub at: i64,
}

impl TrustedRoot {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> Result<Self, TrustedRootError> {
        if bytes.len() > MAX_TRUSTED_ROOT {
            return Err(TrustedRootError::TooLarge);
        }
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err(TrustedRootError::Pem);
        }
        let document = Document::read(bytes, Allowance::of_text(bytes.len(), MAX_VALUES));
        let document = document.map_err(TrustedRootError::Json)?;
        let root = document.root();
        let media_type = root.get("mediaType").and_then(Value::string).unwrap_or_default();
        if !MEDIA_TYPES.contains(&media_type) {
            return Err(TrustedRootError::MediaType { found: printable(media_type, MAX_NAME) });
        }
        let mut trusted = Self {
            id: Sha256::of(bytes),
            newest: i64::MIN,
            logs: Vec::new(),
            ct_logs: Vec::new(),
            certificate_authorities: Vec::new(),
            timestamp_authorities: Vec::new(),
        };
        for (list, into) in [("tlogs", &mut trusted.logs), ("ctlogs", &mut trusted.ct_logs)] {
            let newest = &mut trusted.newest;
            each(root, list, &mut |instance| {
                let (valid_for, log) = log(instance)?;
                *newest = valid_for.start.max(*newest);
                into.extend(log);
                Ok(())
            })?;
        }
        for (list, into) in [
            ("certificateAuthorities", &mut trusted.certificate_authorities),
            ("timestampAuthorities", &mut trusted.timestamp_authorities),
        ] {
            let newest = &mut trusted.newest;
            each(root, list, &mut |instance| {
                let chain = chain(instance)?;
                *newest = chain.valid_for.start.max(*newest);
                into.push(chain);
                Ok(())
            })?;
        }
        if trusted.newest == i64::MIN {
            return Err(TrustedRootError::Empty);
        }
        Ok(trusted)
    }

    /// The hash of its bytes.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// The day on which the newest of its instances begins: how old it is, for people.
    pub fn date(&self) -> String {
        let day = Timestamp::from_second(self.newest).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
        day.get(..10).unwrap_or_default().to_owned()
    }

    /// The names of its logs of signatures, each with the ID by which entries name it.
    pub fn logs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.logs.iter().map(|log| (&*log.name, &*log.id))
    }

    /// Is there a log of certificates? Without one, no certificate has a promise that could be verified.
    pub fn has_certificate_logs(&self) -> bool {
        !self.ct_logs.is_empty()
    }

    /// What of it ends when: each instance with an end, and each authority at the first end of its certificates. What has ended
    /// is left out if another instance of its kind has not: old instances stay in the file, for old signatures.
    pub fn ends(&self, now: i64) -> Vec<TrustedRootEnd> {
        let mut ends = Vec::new();
        for (kind, logs) in [("log", &self.logs), ("certificate log", &self.ct_logs)] {
            add_ends(&mut ends, kind, logs.iter().map(|log| (&*log.name, log.valid_for.end)), now);
        }
        for (kind, chains) in [
            ("certificate authority", &self.certificate_authorities),
            ("time stamp authority", &self.timestamp_authorities),
        ] {
            let end = |chain: &Chain| {
                let certificates = chain.certificates.iter().filter_map(|der| Validity::of(der));
                certificates.map(|validity| validity.not_after).chain(chain.valid_for.end).min()
            };
            add_ends(&mut ends, kind, chains.iter().map(|chain| (&*chain.name, end(chain))), now);
        }
        ends
    }

    /// What it takes in memory, in bytes.
    pub fn heap_size(&self) -> u64 {
        let logs = self.logs.iter().chain(&self.ct_logs);
        let logs = logs.map(|log| inline_size::<Log>() + allocation(log.name.len()) + allocation(log.id.len()) + 600);
        let chains = self.certificate_authorities.iter().chain(&self.timestamp_authorities);
        let chain = |chain: &Chain| {
            let certificates = chain.certificates.iter().map(|der| allocation(der.len()));
            inline_size::<Chain>() + allocation(chain.name.len()) + certificates.sum::<u64>()
        };
        inline_size::<Self>() + logs.sum::<u64>() + chains.map(chain).sum::<u64>() + as_u64(MAX_INSTANCES)
    }
}

/// Adds the ends of the instances of one kind.
fn add_ends<'a>(
    ends: &mut Vec<TrustedRootEnd>,
    kind: &str,
    instances: impl Iterator<Item = (&'a str, Option<i64>)> + Clone,
    now: i64,
) {
    let last = instances.clone().map(|(_, end)| end.unwrap_or(i64::MAX)).max();
    for (name, end) in instances {
        if let Some(at) = end.filter(|at| *at > now || Some(*at) == last) {
            ends.push(TrustedRootEnd { what: [kind, " ", name].concat(), at });
        }
    }
}

/// What is wrong with an instance.
type Fault = &'static str;

/// Reads each instance of a list, which may be missing.
fn each(
    root: Value<'_>,
    list: &'static str,
    read: &mut dyn FnMut(Value<'_>) -> Result<(), Fault>,
) -> Result<(), TrustedRootError> {
    let Some(instances) = root.get(list).filter(|list| !list.is_null()) else { return Ok(()) };
    let wrong = |index, what| TrustedRootError::Instance { list, index, what };
    for (index, instance) in instances.array().ok_or(wrong(0, "it is no list"))?.enumerate() {
        if index == MAX_INSTANCES {
            return Err(wrong(index, "there are more than 64 instances"));
        }
        read(instance).map_err(|what| wrong(index, what))?;
    }
    Ok(())
}

/// A log, and `None` if its kind of key is not known.
fn log(instance: Value<'_>) -> Result<(ValidFor, Option<Log>), Fault> {
    let key = instance.get("publicKey").ok_or("it has no \"publicKey\"")?;
    let valid_for = valid_for(key)?;
    let details = key.get("keyDetails").and_then(Value::string).unwrap_or_default();
    let algorithm = match details {
        "PKIX_ECDSA_P256_SHA_256" => SignatureAlgorithm::EcdsaSha256Der,
        "PKIX_ECDSA_P384_SHA_384" => SignatureAlgorithm::EcdsaSha384Der,
        "PKIX_ED25519" => SignatureAlgorithm::Ed25519,
        "PKCS1_RSA_PKCS1V5"
        | "PKIX_RSA_PKCS1V5"
        | "PKIX_RSA_PKCS1V15_2048_SHA256"
        | "PKIX_RSA_PKCS1V15_3072_SHA256"
        | "PKIX_RSA_PKCS1V15_4096_SHA256" => SignatureAlgorithm::RsaPkcs1Sha256,
        _ => return Ok((valid_for, None)),
    };
    let der = bytes(key, "rawBytes").ok_or("its key is not base64")?;
    let public = PublicKey::from_spki(&der).or_else(|| PublicKey::from_pkcs1(&der));
    let public = public.filter(|key| !key.is_weak()).ok_or("its key cannot be read, or is weak")?;
    let fits = matches!(
        (&public, algorithm),
        (PublicKey::P256(_), SignatureAlgorithm::EcdsaSha256Der)
            | (PublicKey::P384(_), SignatureAlgorithm::EcdsaSha384Der)
            | (PublicKey::Ed25519(_), SignatureAlgorithm::Ed25519)
            | (PublicKey::Rsa { .. }, SignatureAlgorithm::RsaPkcs1Sha256)
    );
    if !fits {
        return Err("its key is of another kind than its \"keyDetails\"");
    }
    let key_id = |name: &str| instance.get(name).filter(|id| !id.is_null()).and_then(|id| bytes(id, "keyId"));
    let id = key_id("logId").filter(|id| id.len() == 32).ok_or("its \"logId\" is not 32 bytes in base64")?;
    // Checkpoints name the key by four bytes (C2SP, signed notes). If they are not given, they are those of the log's ID.
    let checkpoint = key_id("checkpointKeyId").filter(|id| !id.is_empty());
    let beginning = checkpoint.as_ref().unwrap_or(&id).first_chunk().copied();
    let checkpoint_id = beginning.ok_or("its \"checkpointKeyId\" is shorter than 4 bytes")?;
    let name = name_of(instance, "baseUrl");
    Ok((valid_for, Some(Log { name, id, checkpoint_id, valid_for, key: public, algorithm })))
}

/// An authority.
fn chain(instance: Value<'_>) -> Result<Chain, Fault> {
    let valid_for = valid_for(instance)?;
    let list = instance.get("certChain").and_then(|chain| chain.get("certificates")).and_then(Value::array);
    let mut certificates = Vec::new();
    for certificate in list.into_iter().flatten() {
        let der = bytes(certificate, "rawBytes").ok_or("a certificate is not base64")?;
        Validity::of(&der).ok_or("a certificate cannot be read")?;
        if certificates.len() == MAX_CHAIN {
            return Err("its chain has more than 8 certificates");
        }
        certificates.push(der);
    }
    if certificates.is_empty() {
        return Err("it has no certificates");
    }
    let mut name = name_of(instance, "uri");
    if name.is_empty() {
        let subject = |field| instance.get("subject").and_then(|subject| subject.get(field)).and_then(Value::string);
        name = printable(subject("commonName").or(subject("organization")).unwrap_or_default(), MAX_NAME);
    }
    Ok(Chain { name, certificates, valid_for })
}

/// An address without its scheme and its last slash.
fn name_of(instance: Value<'_>, field: &str) -> String {
    let url = instance.get(field).and_then(Value::string).unwrap_or_default();
    let name = url.split_once("://").map_or(url, |(_, name)| name);
    printable(name.trim_end_matches('/'), MAX_NAME)
}

/// `validFor`. An instance without a start would count since ever (sigstore_trustroot.proto demands one).
fn valid_for(instance: Value<'_>) -> Result<ValidFor, Fault> {
    let range = instance.get("validFor").filter(|range| !range.is_null()).ok_or("it has no \"validFor\"")?;
    let time = |name| match range.get(name).filter(|time| !time.is_null()) {
        None => Ok(None),
        Some(time) => match time.string().and_then(rfc3339) {
            Some(time) => Ok(Some(time)),
            None => Err("its \"validFor\" has no RFC 3339 time"),
        },
    };
    let start = time("start")?.ok_or("its \"validFor\" has no \"start\"")?;
    // A second that begins before the start does not count, and one that begins before the end does.
    let start = start.as_second() + i64::from(start.subsec_nanosecond() > 0);
    Ok(ValidFor { start, end: time("end")?.map(Timestamp::as_second) })
}

fn bytes(value: Value<'_>, name: &str) -> Option<Vec<u8>> {
    STANDARD.decode(value.get(name)?.string()?).ok()
}

/// A trusted root that cannot be used. `Display` says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedRootError {
    /// It is larger than [`MAX_TRUSTED_ROOT`].
    TooLarge,
    /// It is a certificate or a key.
    Pem,
    /// It is not strict JSON.
    Json(JsonError),
    /// It is something else.
    MediaType {
        /// Its `mediaType`, printable.
        found: String,
    },
    /// It has no instance at all.
    Empty,
    /// An instance is wrong.
    Instance {
        /// The list that it is in.
        list: &'static str,
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for TrustedRootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "it is larger than the cap of {MAX_TRUSTED_ROOT} bytes"),
            Self::Pem => {
                f.write_str("it has PEM and is no trusted root; \"cosign trusted-root create\" makes one of such files")
            }
            Self::Json(error) => write!(f, "it is not strict JSON: {error}"),
            Self::MediaType { found } => write!(
                f,
                "it is no trusted root: its \"mediaType\" is \"{found}\"; \"cosign trusted-root create\" makes one"
            ),
            Self::Empty => f.write_str("it names no log and no authority"),
            Self::Instance { list, index, what } => write!(f, "{list}[{index}]: {what}"),
        }
    }
}

impl std::error::Error for TrustedRootError {}

#[cfg(test)]
mod tests;
