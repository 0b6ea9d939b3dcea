//! Metadata files: the signed envelope, and the roles timestamp and snapshot. A role is built from the same parsed value that
//! the signatures were verified over.

use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeSliceError, Engine as _};
use jiff::Timestamp;

use super::error::RefreshError;
use super::gun::RoleName;
use super::key::{KeyId, ListedKey, RoleKeys};
use super::rejection::Rejection;
use super::signature::{Signature, distinct, signers};
use super::source::{MetadataName, most_values, reading_memory};
use super::time::rfc3339;
use crate::heap_size::{allocation, as_u64, inline_size, map_entry};
use crate::image::Sha256;
use crate::json::canonical::{Form, canonical};
use crate::json::{Allowance, Document, JsonError, Take, Value};
use crate::ordered::{self, Map};
use crate::text::printable;
use crate::unavailable::{Unavailable, UnavailableCause};

/// The most keys of a role, and the most signatures of a file: each costs a verification.
const KEYS: usize = 64;
/// The most keys of a file: each is decoded.
const KEYS_IN_FILE: usize = 4096;

/// A file that was parsed and is not verified yet.
pub(crate) struct Envelope<'a> {
    role: &'a str,
    bytes: &'a [u8],
    document: Document<'a>,
    signatures: Vec<Signature>,
    message: Form,
    is_late: &'a dyn Fn() -> bool,
}

impl<'a> Envelope<'a> {
    /// Parses a file of `role`, within the limits of such a file. `is_late` says whether the deadline has passed.
    pub(crate) fn read(role: &'a str, bytes: &'a [u8], is_late: &'a dyn Fn() -> bool) -> Result<Self, RefreshError> {
        let document = Document::read(bytes, allowance(role, bytes, is_late)).map_err(|error| failed(role, error))?;
        Self::of(role, bytes, document, is_late)
    }

    /// The same, but each target is given to `take` as soon as it is read, and the envelope does not keep it. `None`: a target
    /// was not taken, or the file is not in canonical form, for which all of it is needed. What was taken is then void.
    pub(crate) fn read_and_give(
        role: &'a str,
        bytes: &'a [u8],
        is_late: &'a dyn Fn() -> bool,
        take: Take<'_>,
    ) -> Result<Option<Self>, RefreshError> {
        let document = Document::read_and_give(bytes, allowance(role, bytes, is_late), take);
        let document = document.map_err(|error| failed(role, error))?;
        document.map(|document| Self::of(role, bytes, document, is_late)).transpose()
    }

    fn of(
        role: &'a str,
        bytes: &'a [u8],
        document: Document<'a>,
        is_late: &'a dyn Fn() -> bool,
    ) -> Result<Self, RefreshError> {
        let malformed = |what: &str| Rejection::structure(role, what);
        let signed = document.root().get("signed").filter(|signed| signed.object().is_some());
        let signed = signed.ok_or_else(|| malformed("there is no object \"signed\""))?;
        let allowance = allowance(role, bytes, is_late);
        let left = Allowance { memory: allowance.memory.saturating_sub(document.memory()), ..allowance };
        let message = canonical(signed, left).map_err(|error| failed(role, error))?;
        let entries = document.root().get("signatures").and_then(Value::array);
        let entries = entries.ok_or_else(|| malformed("there is no list \"signatures\""))?;
        if entries.clone().count() > KEYS {
            return Err(malformed("it carries more than 64 signatures").into());
        }
        let signatures = entries.map(signature).collect::<Result<_, _>>().map_err(malformed)?;
        Ok(Self { role, bytes, document, signatures, message, is_late })
    }

    /// The value that is signed.
    pub(crate) fn signed(&self) -> Value<'_> {
        self.document.root().get("signed").unwrap_or(self.document.root()) // `read` has checked that it is there
    }

    pub(crate) fn role(&self) -> &str {
        self.role
    }

    fn message(&self) -> &[u8] {
        self.message.bytes(self.bytes)
    }

    /// Fails after the deadline.
    pub(crate) fn check_time(&self) -> Result<(), RefreshError> {
        if (self.is_late)() { Err(late(self.role)) } else { Ok(()) }
    }

    /// The keys of a role that have signed this file. Fails below the role's threshold. `keys_of` names the place that lists the
    /// keys, for the message.
    pub(crate) fn verify(&self, keys: &RoleKeys, keys_of: Option<String>) -> Result<Vec<Arc<ListedKey>>, RefreshError> {
        let signers = signers(self.message(), &self.signatures, keys, || self.check_time())?;
        let valid = distinct(signers.iter().map(Arc::as_ref));
        if valid < keys.threshold {
            let (role, threshold) = (self.role.to_owned(), keys.threshold);
            return Err(Rejection::Signatures { role, keys_of, threshold, valid }.into());
        }
        Ok(signers)
    }

    /// The fields that all roles have.
    pub(crate) fn header(&self, kind: &str) -> Result<Header, Rejection> {
        let malformed = |what: String| Rejection::structure(self.role, what);
        let signed = self.signed();
        // TRUST.md, row 68: a file of one role is never used as that of another.
        if signed.get("_type").and_then(Value::string) != Some(kind) {
            return Err(malformed(format!("its \"_type\" is not \"{kind}\"")));
        }
        let version = signed.get("version").and_then(Value::integer).and_then(|n| u64::try_from(n).ok());
        let version = version.filter(|version| *version >= 1);
        let expires = signed.get("expires").and_then(Value::string).and_then(rfc3339);
        Ok(Header {
            version: version.ok_or_else(|| malformed("its \"version\" is not an integer from 1".to_owned()))?,
            expires: expires.ok_or_else(|| malformed("its \"expires\" is not an RFC 3339 time".to_owned()))?,
            content: Sha256::of(self.message()),
        })
    }
}

/// What reading a file of this role may take.
fn allowance<'l>(role: &str, bytes: &[u8], is_late: &'l dyn Fn() -> bool) -> Allowance<'l> {
    Allowance { values: most_values(role, bytes.len()), memory: reading_memory(role, bytes.len()), is_late }
}

fn failed(role: &str, error: JsonError) -> RefreshError {
    match error.is_late() {
        true => late(role),
        false => Rejection::Json { role: role.to_owned(), error }.into(),
    }
}

/// The deadline passed. This is no rejection: what was read of the file is not wrong.
fn late(role: &str) -> RefreshError {
    let message = format!("the deadline passed while the {role} metadata was verified");
    Unavailable::new(UnavailableCause::OutOfTime, message).into()
}

fn signature(entry: Value<'_>) -> Result<Signature, &'static str> {
    let field = |name: &str| entry.get(name).and_then(Value::string);
    let (Some(key_id), Some(method), Some(sig)) = (field("keyid"), field("method"), field("sig")) else {
        return Err("a signature lacks its keyid, method or sig");
    };
    let bytes = STANDARD.decode(sig).map_err(|_| "a signature is not base64")?;
    Ok(Signature::new(key_id, method, bytes))
}

/// The fields that the metadata of all roles has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version.
    pub version: u64,
    /// When the metadata expires.
    pub expires: Timestamp,
    /// The hash of the canonical form that is signed. White space and signatures do not change it.
    pub content: Sha256,
}

impl Header {
    /// Rejects expired metadata, which ends a freeze attack (TUF 1.0 §5.3.10, §5.4.4, §5.5.6, §5.6.6).
    pub(crate) fn check_expiry(&self, role: &str, now: Timestamp) -> Result<(), Rejection> {
        if now < self.expires {
            return Ok(());
        }
        Err(Rejection::Expired { role: role.to_owned(), expired: self.expires })
    }
}

/// Reads the `keyids` and the `threshold` of a role. `keys` are the keys of the same file.
pub(crate) fn role_keys(entry: Value<'_>, keys: Option<Value<'_>>, known: &mut KnownKeys) -> Result<RoleKeys, String> {
    let threshold = entry.get("threshold").and_then(Value::integer).and_then(|n| u64::try_from(n).ok());
    let threshold = threshold.filter(|n| *n >= 1).ok_or("a role's threshold is not an integer from 1")?;
    let mut listed = Map::new();
    // TRUST.md, row 77: a role without keyids can never be trusted, but the file is well-formed.
    let ids = entry.get("keyids").filter(|ids| !ids.is_null());
    let ids = ids.map(|ids| ids.array().ok_or("a role's keyids are not a list")).transpose()?;
    for (index, id) in ids.into_iter().flatten().enumerate() {
        if index == KEYS {
            return Err("a role lists more than 64 keys".to_owned());
        }
        let id = id.string().ok_or("a keyid is not text")?;
        let key = match known.get(id) {
            Some(key) => key.clone(),
            None => {
                if known.len() == KEYS_IN_FILE {
                    return Err("its roles list more than 4096 different keys".to_owned());
                }
                let entry = keys.and_then(|keys| keys.get(id));
                let entry = entry.ok_or_else(|| format!("the key {} is listed and not there", printable(id, 64)))?;
                let key = ListedKey::read(id, entry)?.map(Arc::new);
                known.insert(id.to_owned(), key.clone());
                key
            }
        };
        if let Some(key) = key {
            listed.insert(key.id(), key);
        }
    }
    Ok(RoleKeys { threshold, keys: listed })
}

/// The keys of a file.
pub(crate) fn listed_keys(place: Value<'_>) -> Result<Option<Value<'_>>, String> {
    let keys = place.get("keys");
    match keys.and_then(Value::object).is_some_and(|mut keys| keys.nth(KEYS_IN_FILE).is_some()) {
        true => Err("it has more than 4096 keys".to_owned()),
        false => Ok(keys),
    }
}

/// The keys of a file that were decoded already. `None`: the key never counts.
pub(crate) type KnownKeys = Map<String, Option<Arc<ListedKey>>>;

/// The canonical IDs of keys.
pub(crate) fn canonical_ids(keys: &[Arc<ListedKey>]) -> Vec<KeyId> {
    keys.iter().map(|key| key.canonical_id()).collect()
}

/// The length and the hashes that one role lists for the file of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// The length of the file in bytes.
    pub length: u64,
    /// The SHA-256 of the file.
    pub sha256: Sha256,
    sha512: Option<[u8; 64]>,
}

impl FileMeta {
    fn read(entry: Value<'_>) -> Result<Self, &'static str> {
        let length = entry.get("length").and_then(Value::integer).and_then(|n| u64::try_from(n).ok());
        let length = length.ok_or("a listed length is not an integer from 0")?;
        let hashes = Hashes::read(entry.get("hashes"))?;
        let sha256 = hashes.sha256.ok_or("a listed file has no sha256 hash")?;
        Ok(Self { length, sha256, sha512: hashes.sha512 })
    }

    /// Are these the listed bytes? All hashes of known algorithms must match (TRUST.md, row 62), and so must the length (TRUST.md, rows 64
    /// and 65).
    pub(crate) fn check(&self, role: &str, bytes: &[u8]) -> Result<(), Rejection> {
        let role = || role.to_owned();
        if bytes.len() as u64 != self.length {
            return Err(Rejection::Length { role: role(), expected: self.length, actual: Some(bytes.len() as u64) });
        }
        if Sha256::of(bytes) != self.sha256 {
            return Err(Rejection::Hash { role: role(), algorithm: "sha256" });
        }
        match self.sha512 {
            Some(hash) if ring::digest::digest(&ring::digest::SHA512, bytes).as_ref() != hash => {
                Err(Rejection::Hash { role: role(), algorithm: "sha512" })
            }
            _ => Ok(()),
        }
    }

    /// The listed length of a targets role, at most its cap.
    pub(crate) fn length_within_cap(&self) -> usize {
        let cap = MetadataName::Targets(self.sha256).cap();
        usize::try_from(self.length).unwrap_or(cap).min(cap)
    }

    /// The most bytes to fetch: the listed length. A length beyond the cap of the file is rejected.
    pub(crate) fn cap(&self, role: &str, name: &MetadataName) -> Result<usize, Rejection> {
        let cap = name.cap();
        usize::try_from(self.length)
            .ok()
            .filter(|length| *length <= cap)
            .ok_or_else(|| Rejection::TooLarge { role: role.to_owned(), cap: cap as u64 })
    }
}

/// The hashes of known algorithms in an entry. Others are ignored (TRUST.md, row 63).
struct Hashes {
    sha256: Option<Sha256>,
    sha512: Option<[u8; 64]>,
}

impl Hashes {
    /// From an entry's member `hashes`.
    fn read(hashes: Option<Value<'_>>) -> Result<Self, &'static str> {
        let hashes = hashes.filter(|hashes| hashes.object().is_some()).ok_or("an entry has no hashes")?;
        let [sha256, sha512] = hashes.members_named(["sha256", "sha512"]);
        Ok(Self { sha256: hash(sha256)?.map(Sha256::new), sha512: hash(sha512)? })
    }
}

/// The sha256 of an entry's member `hashes`. All of them must be well-formed.
pub(crate) fn sha256(hashes: Option<Value<'_>>) -> Result<Option<Sha256>, &'static str> {
    Hashes::read(hashes).map(|hashes| hashes.sha256)
}

fn hash<const N: usize>(value: Option<Value<'_>>) -> Result<Option<[u8; N]>, &'static str> {
    let Some(value) = value else { return Ok(None) };
    let mut bytes = [0; 66]; // base64 of 64 bytes decodes in steps of three
    let length = value.string().map(|text| STANDARD.decode_slice(text, &mut bytes));
    match length {
        Some(Ok(length)) => bytes.get(..length).and_then(|bytes| bytes.try_into().ok()).map(Some),
        Some(Err(DecodeSliceError::OutputSliceTooSmall)) => None,
        Some(Err(DecodeSliceError::DecodeError(_))) | None => return Err("a hash is not base64"),
    }
    .ok_or("a hash has the wrong length")
}

/// A verified timestamp.
#[derive(Debug)]
pub struct TimestampRole {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) header: Header,
    pub(crate) snapshot: FileMeta,
}

impl TimestampRole {
    /// The file as it was served.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its version and expiry.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The length and the hashes of the snapshot.
    pub fn snapshot(&self) -> &FileMeta {
        &self.snapshot
    }

    /// What it takes in memory, nearly.
    pub(crate) fn heap_size(&self) -> u64 {
        inline_size::<Self>() + allocation(self.bytes.len())
    }

    /// Parses and verifies.
    pub(crate) fn open(bytes: Vec<u8>, keys: &RoleKeys, is_late: &dyn Fn() -> bool) -> Result<Self, RefreshError> {
        let role = "timestamp";
        let envelope = Envelope::read(role, &bytes, is_late)?;
        envelope.verify(keys, None)?;
        let header = envelope.header("Timestamp")?;
        let entry = envelope.signed().get("meta").and_then(|meta| meta.get("snapshot"));
        let entry = entry.ok_or_else(|| Rejection::structure(role, "it does not list the snapshot"))?;
        let snapshot = FileMeta::read(entry).map_err(|what| Rejection::structure(role, what))?;
        drop(envelope);
        Ok(Self { bytes: bytes.into(), header, snapshot })
    }
}

/// A verified snapshot.
#[derive(Debug)]
pub struct SnapshotRole {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) header: Header,
    /// The keys that it was verified with. Under other keys it must be verified again.
    pub(crate) keys: RoleKeys,
    pub(crate) root: FileMeta,
    pub(crate) targets: FileMeta,
    /// The direct children of `targets`. Other roles are never asked for.
    pub(crate) delegations: Map<RoleName, FileMeta>,
}

impl SnapshotRole {
    /// The file as it was served.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its version and expiry.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The lengths and the hashes of the delegations of `targets`.
    pub fn delegations(&self) -> &Map<RoleName, FileMeta> {
        &self.delegations
    }

    /// What it takes in memory, nearly.
    pub(crate) fn heap_size(&self) -> u64 {
        let names: u64 = self.delegations.keys().map(|role| allocation(role.as_str().len())).sum();
        let entries = as_u64(self.delegations.len()) * map_entry::<RoleName, FileMeta>();
        inline_size::<Self>() + allocation(self.bytes.len()) + self.keys.heap_size() + entries + names
    }

    /// Parses and verifies.
    pub(crate) fn open(bytes: Vec<u8>, keys: &RoleKeys, is_late: &dyn Fn() -> bool) -> Result<Self, RefreshError> {
        let role = "snapshot";
        let malformed = |what: &str| Rejection::structure(role, what);
        let envelope = Envelope::read(role, &bytes, is_late)?;
        envelope.verify(keys, None)?;
        let header = envelope.header("Snapshot")?;
        let meta = envelope.signed().get("meta").and_then(Value::object);
        let (mut root, mut targets, mut delegations) = (None, None, Vec::new());
        for (name, entry) in meta.ok_or_else(|| malformed("it has no object \"meta\""))? {
            let file = || FileMeta::read(entry).map_err(malformed);
            match name {
                "root" => root = Some(file()?),
                "targets" => targets = Some(file()?),
                _ if entry.object().is_none() => return Err(malformed("an entry is not an object").into()), // TRUST.md, row 75
                name => {
                    if let Some(role) = RoleName::parse(name) {
                        delegations.push((role, file()?));
                    }
                }
            }
        }
        let root = root.ok_or_else(|| malformed("it does not list the root"))?; // TRUST.md, row 60
        let targets = targets.ok_or_else(|| malformed("it does not list targets"))?;
        drop(envelope);
        let delegations = ordered::map(delegations);
        Ok(Self { bytes: bytes.into(), header, keys: keys.clone(), root, targets, delegations })
    }
}
