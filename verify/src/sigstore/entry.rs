//! One entry of a log of signatures: it must be about exactly this signature, and the log must have promised or proved that it
//! has it.
//!
//! Rekor 1 signs a promise with a time (SET). Both versions prove inclusion in a tree whose root is in a checkpoint. An entry says
//! nothing about who may sign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::Checkpoint;
use super::material::{Entry, there};
use super::{MAX_BUNDLE, merkle, read_json};
use crate::crypto::algorithm::Hash;
use crate::crypto::pem::pem_blocks;
use crate::effort::Checks;
use crate::image::Sha256;
use crate::json::Value;

use super::trusted_root::{Log, ValidFor};

/// The signature that an entry must be about.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The bytes that the signature is over.
    pub(super) message: &'a [u8],
    /// The payload, if they are those of a DSSE envelope.
    pub(super) payload: Option<&'a [u8]>,
    pub(super) signature: &'a [u8],
    /// The certificate, or the public key, in DER.
    pub(super) verifier: &'a [u8],
    pub(super) is_certificate: bool,
}

/// The one outcome that the time of the day changes.
pub(super) const NOT_BEGUN: &str = "the log was not trusted yet, and nothing says when the entry was made";
pub(super) const NOT_TRUSTED: &str =
    "the log was not trusted at the time of its entry: the log's part of the trusted root had ended or not begun";

/// When the log says that it took the entry, if it has signed that. `has_time` is what [`is_about`] says. Whether the log was trusted
/// then is another question: [`in_time`].
pub(super) fn verify(
    entry: &Entry,
    log: &Log,
    has_time: bool,
    needs_proof: bool,
    checks: &Checks<'_>,
) -> Result<Option<i64>, &'static str> {
    let time = match &entry.promise {
        Some(promise) if has_time => Some(promised(entry, log, promise, checks)?),
        _ => None,
    };
    match &entry.proof {
        Some(proof) => {
            if proof.checkpoint.is_empty() {
                return Err("the inclusion proof of the log's entry has no checkpoint");
            }
            // Rekor 1 counts the entries of its earlier logs as well. Rekor 2 has one number for an entry.
            if !has_time && entry.log_index != proof.index {
                return Err("the inclusion proof is about another place in the log");
            }
            let checkpoint = Checkpoint::verify(&proof.checkpoint, log, checks)?;
            // The bundle's own size and root decide nothing, and must not say anything else.
            let says = |root: &Vec<u8>| *root == checkpoint.root;
            if proof.size != checkpoint.size || !proof.root.as_ref().is_none_or(says) {
                return Err("the inclusion proof is not about the tree of its checkpoint");
            }
            let leaf = merkle::leaf(&entry.body);
            if merkle::root(proof.index, checkpoint.size, leaf, &proof.hashes) != Some(checkpoint.root) {
                return Err("the inclusion proof does not lead to the root of the log's checkpoint");
            }
        }
        None if needs_proof => return Err("the log's entry has no inclusion proof"),
        None if time.is_none() => return Err("the log's entry has neither an inclusion proof nor a promise"),
        None => {}
    }
    Ok(time)
}

/// Was the log trusted when it took an entry at this time? `times` are those of other proofs. `now` decides only if there is no time at all.
pub(super) fn in_time(valid: ValidFor, time: Option<i64>, times: &[i64], now: i64) -> Result<(), &'static str> {
    let is_trusted = match time {
        Some(time) => valid.has(time),
        // A log that has ended may be anybody's: something must say that the entry is older.
        None if times.is_empty() && valid.has_end() => false,
        None if times.is_empty() && !valid.has(now) => return Err(NOT_BEGUN),
        None => times.iter().all(|time| valid.has(*time)),
    };
    if is_trusted { Ok(()) } else { Err(NOT_TRUSTED) }
}

/// The log's promise, which it signed together with a time, over the form of RFC 8785.
fn promised(entry: &Entry, log: &Log, promise: &[u8], checks: &Checks<'_>) -> Result<i64, &'static str> {
    let id: String = entry.log_id.first_chunk().copied().map(|id| Sha256::new(id).hex()).unwrap_or_default();
    let Entry { log_index, integrated_time, body, .. } = entry;
    let body = STANDARD.encode(body);
    let signed =
        format!(r#"{{"body":"{body}","integratedTime":{integrated_time},"logID":"{id}","logIndex":{log_index}}}"#);
    if !log.verifies(signed.as_bytes(), promise, checks) {
        return Err("the log has not signed the promise of its entry (SET)");
    }
    i64::try_from(*integrated_time).map_err(|_| "the log's entry has no time")
}

const OTHER: &str = "the log's entry is about another signature, key, certificate or image";

/// Is the entry about this signature? Says whether the log's version signs times: Rekor 1 does.
pub(super) fn is_about(body: &[u8], signed: Signed<'_>) -> Result<bool, &'static str> {
    let document = read_json(body, MAX_BUNDLE, "").map_err(|_| "the log's entry is not strict JSON")?;
    let root = document.root();
    let text = |name| there(root, name).and_then(Value::string).unwrap_or_default();
    let spec = there(root, "spec").ok_or(OTHER)?;
    let is_about = match (text("kind"), text("apiVersion")) {
        ("hashedrekord", "0.0.2") => return if is_hashed_2(body, spec, signed) { Ok(false) } else { Err(OTHER) },
        ("hashedrekord", "0.0.1") => is_hashed_1(spec, signed),
        ("dsse", "0.0.1") => is_dsse(spec, signed),
        ("intoto", "0.0.2") => is_in_toto(spec, signed),
        _ => return Err("the log's entry is of a kind that is not supported"),
    };
    if is_about == Some(true) { Ok(true) } else { Err(OTHER) }
}

/// Rekor 2: the leaf is built again from the bundle. Only the names of algorithms are taken from the entry.
fn is_hashed_2(body: &[u8], spec: Value<'_>, signed: Signed<'_>) -> bool {
    let at = |names: &[&str]| at(spec, names).and_then(Value::string);
    let algorithm = at(&["hashedRekordV002", "data", "algorithm"]).unwrap_or_default();
    let hash = match algorithm {
        "SHA2_256" => Hash::Sha256,
        "SHA2_384" => Hash::Sha384,
        "SHA2_512" => Hash::Sha512,
        _ => return false,
    };
    let details = at(&["hashedRekordV002", "signature", "verifier", "keyDetails"]).unwrap_or_default();
    if !details.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return false;
    }
    let verifier = if signed.is_certificate { "x509Certificate" } else { "publicKey" };
    let expected = [
        r#"{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":""#,
        algorithm,
        r#"","digest":""#,
        &STANDARD.encode(hash.of(signed.message)),
        r#""},"signature":{"content":""#,
        &STANDARD.encode(signed.signature),
        r#"","verifier":{"keyDetails":""#,
        details,
        r#"",""#,
        verifier,
        r#"":{"rawBytes":""#,
        &STANDARD.encode(signed.verifier),
        r#""}}}}}}"#,
    ];
    expected.concat().as_bytes() == body
}

/// Rekor 1, `hashedrekord` 0.0.1: the hash of the signed bytes.
fn is_hashed_1(spec: Value<'_>, signed: Signed<'_>) -> Option<bool> {
    let hash = at(spec, &["data", "hash"])?;
    let signature = at(spec, &["signature", "content"])?.string()?;
    let verifier = at(spec, &["signature", "publicKey", "content"])?.string()?;
    Some(
        is_hash(hash, signed.message)?
            && STANDARD.decode(signature).ok()? == signed.signature
            && is_verifier(verifier, signed)?,
    )
}

/// Rekor 1, `dsse` 0.0.1: the hash of the payload.
fn is_dsse(spec: Value<'_>, signed: Signed<'_>) -> Option<bool> {
    let only = only(at(spec, &["signatures"])?)?;
    let signature = STANDARD.decode(at(only, &["signature"])?.string()?).ok()?;
    let verifier = at(only, &["verifier"])?.string()?;
    let hash = at(spec, &["payloadHash"])?;
    Some(is_hash(hash, signed.payload?)? && signature == signed.signature && is_verifier(verifier, signed)?)
}

/// Rekor 1, `intoto` 0.0.2: the hash of the payload. The signature is in base64 twice.
fn is_in_toto(spec: Value<'_>, signed: Signed<'_>) -> Option<bool> {
    let content = at(spec, &["content"])?;
    let only = only(at(content, &["envelope", "signatures"])?)?;
    let signature = STANDARD.decode(at(only, &["sig"])?.string()?).ok()?;
    let signature = STANDARD.decode(signature).ok()?;
    let verifier = at(only, &["publicKey"])?.string()?;
    let hash = at(content, &["payloadHash"])?;
    Some(is_hash(hash, signed.payload?)? && signature == signed.signature && is_verifier(verifier, signed)?)
}

/// Is this `{algorithm, value}` the hash of these bytes?
fn is_hash(hash: Value<'_>, bytes: &[u8]) -> Option<bool> {
    let algorithm = match at(hash, &["algorithm"])?.string()? {
        "sha256" => Hash::Sha256,
        "sha384" => Hash::Sha384,
        "sha512" => Hash::Sha512,
        _ => return None,
    };
    let value = at(hash, &["value"])?.string()?.as_bytes();
    let found = algorithm.of(bytes);
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    let hex = found.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    Some(hex.eq(value.iter().copied()))
}

/// Is this base64 of PEM the certificate or the key?
fn is_verifier(base64: &str, signed: Signed<'_>) -> Option<bool> {
    let pem = String::from_utf8(STANDARD.decode(base64).ok()?).ok()?;
    let block = pem_blocks(&pem, 1)?.pop()?;
    let label = if signed.is_certificate { "CERTIFICATE" } else { "PUBLIC KEY" };
    Some(block.label == label && block.der == signed.verifier)
}

/// The value under these names.
fn at<'d>(value: Value<'d>, names: &[&str]) -> Option<Value<'d>> {
    names.iter().try_fold(value, |value, name| there(value, name))
}

/// The only item of a list.
fn only(list: Value<'_>) -> Option<Value<'_>> {
    let mut items = list.array()?;
    let only = items.next()?;
    items.next().is_none().then_some(only)
}
