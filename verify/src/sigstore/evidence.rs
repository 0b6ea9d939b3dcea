//! What a trusted root says about one signature: a log has it, and a certificate names who signed.

use super::entry::{self, Signed};
use super::fulcio::{self, Names};
use super::key::SigstoreKey;
use super::material::{Entry, Material};
use super::sct;
use super::trusted_root::TrustedRoot;
use crate::crypto::certificate_ref::CertificateRef;
use crate::effort::Checks;
use crate::not_counted::NotCounted;
use crate::timestamp::{Authority, GenTime, Token};

pub(super) const NO_CERTIFICATE: NotCounted =
    NotCounted::Unproven("it was made with a key, and the policy names identities");

/// What reading an entry and hashing what it is about takes, in units of [`crate::Effort`], and what reading a time stamp takes. Anybody
/// can have the public instance make as many as are read.
const ENTRY: usize = 20;
const TIME_STAMP: usize = 5;

/// A signature and what it is over.
#[derive(Clone, Copy)]
pub(super) struct Claimed<'a> {
    pub(super) message: &'a [u8],
    /// The payload, if the message is that of a DSSE envelope.
    pub(super) payload: Option<&'a [u8]>,
    pub(super) signature: &'a [u8],
    pub(super) is_bundle: bool,
    /// The time of the day.
    pub(super) now: i64,
}

impl<'a> Claimed<'a> {
    fn by(self, verifier: &'a [u8], is_certificate: bool) -> Signed<'a> {
        let Self { message, payload, signature, .. } = self;
        Signed { message, payload, signature, verifier, is_certificate }
    }
}

/// Does a log of the trusted root have this key's signature? The signature itself is verified already. What this and the other
/// functions say is worth nothing if the checks are exhausted.
pub(super) fn of_key(
    material: &Material,
    claimed: Claimed<'_>,
    key: &SigstoreKey,
    root: &TrustedRoot,
    checks: &Checks<'_>,
) -> Result<(), NotCounted> {
    let entries = known_entries(material, claimed.by(&key.spki(), false), root, checks)?;
    times(material, &entries, claimed, root, checks).map(drop)
}

/// Whom the certificate names that has made this signature. A log must have the signature, the certificate must chain to the
/// trusted root when it was signed, and, if `sct_required`, a certificate log must have promised to have it.
pub(super) fn of_certificate(
    material: &Material,
    claimed: Claimed<'_>,
    root: &TrustedRoot,
    sct_required: bool,
    checks: &Checks<'_>,
) -> Result<Names, NotCounted> {
    let der = material.certificate.as_deref().ok_or(NO_CERTIFICATE)?;
    let certificate = CertificateRef::read(der).ok_or(NotCounted::Unproven("its certificate is damaged"))?;
    let key = certificate.public_key().and_then(SigstoreKey::from_public);
    let key = key.ok_or(NotCounted::Unproven("its certificate has a key that is not supported"))?;
    let names = Names::of(&certificate)?;
    let entries = known_entries(material, claimed.by(der, true), root, checks)?;
    if !checks.take(key.units()) || !key.verifies(claimed.message, claimed.signature) {
        return Err(NotCounted::Unproven("the key of its certificate has not made it"));
    }
    let times = times(material, &entries, claimed, root, checks)?;
    let issuer = fulcio::issuer_key(&certificate, root, &times, checks)?;
    if sct_required {
        sct::verify(&certificate, issuer, root, checks)?;
    }
    Ok(names)
}

/// The entries of logs that the trusted root knows, and whether each log signs times. There must be one, and all of them must be about
/// this signature. No signature is checked for that.
fn known_entries<'m>(
    material: &'m Material,
    signed: Signed<'_>,
    root: &TrustedRoot,
    checks: &Checks<'_>,
) -> Result<Vec<(&'m Entry, bool)>, NotCounted> {
    let mut known = Vec::new();
    let is_known = |entry: &&Entry| root.logs.iter().any(|log| log.id == entry.log_id);
    for entry in material.entries.iter().filter(is_known) {
        if !checks.take(ENTRY) {
            return Err(NotCounted::NotVerified);
        }
        known.push((entry, entry::is_about(&entry.body, signed).map_err(NotCounted::Unproven)?));
    }
    match material.entries.first() {
        _ if !known.is_empty() => Ok(known),
        Some(unknown) => Err(NotCounted::unknown_log(root, "log", &unknown.log_id)),
        None => Err(NotCounted::Unproven("it has no entry of a transparency log, which the policy requires")),
    }
}

/// When it was signed, as logs and time stamp authorities say. All of the entries must be right.
fn times(
    material: &Material,
    entries: &[(&Entry, bool)],
    claimed: Claimed<'_>,
    root: &TrustedRoot,
    checks: &Checks<'_>,
) -> Result<Vec<i64>, NotCounted> {
    // A key may stand in the trusted root for several spans of time.
    let mut logged = Vec::new();
    for &(entry, has_time) in entries {
        let mut spans = Vec::new();
        let mut fault = entry::NOT_TRUSTED;
        for log in root.logs.iter().filter(|log| log.id == entry.log_id) {
            // cosign 2's old format has the log's promise alone, and a bundle must have the proof as well.
            match entry::verify(entry, log, has_time, claimed.is_bundle, checks) {
                Ok(time) => spans.push((log.valid_for, time)),
                Err(why) => fault = why,
            }
        }
        if spans.is_empty() {
            return Err(NotCounted::Unproven(fault));
        }
        logged.push(spans);
    }
    let stamps = material.timestamps.iter();
    let mut times: Vec<_> = stamps.filter_map(|stamp| stamped(stamp, claimed.signature, root, checks)).collect();
    let stamped = times.len();
    for spans in logged {
        let stamps = times.get(..stamped).unwrap_or_default();
        let mut verdict = Err(entry::NOT_TRUSTED);
        for (valid_for, time) in spans {
            if verdict.is_err() {
                verdict = entry::in_time(valid_for, time, stamps, claimed.now).map(|()| time);
            }
        }
        times.extend(verdict.map_err(NotCounted::Unproven)?);
    }
    Ok(times)
}

/// When a time stamp authority of the trusted root has seen the signature.
fn stamped(stamp: &[u8], signature: &[u8], root: &TrustedRoot, checks: &Checks<'_>) -> Option<i64> {
    let token = checks.take(TIME_STAMP).then(|| Token::read(stamp).ok())??;
    root.timestamp_authorities.iter().find_map(|authority| {
        let (anchor, intermediates) = authority.certificates.split_last()?;
        let trusted = Authority { anchors: std::slice::from_ref(anchor), intermediates };
        // A chain that begins with a signer's certificate trusts this signer alone, not all whom its CA has certified.
        let only_signer = authority.certificates.first().map(Vec::as_slice).filter(|der| !is_ca(der));
        if !checks.take(TIME_STAMP) {
            return None;
        }
        // Other clients leave out the accuracy, and signers ask for a time stamp in the second of their certificate.
        let GenTime { earliest, latest } = token.verify_by(signature, &trusted, only_signer, checks).ok()?;
        let time = earliest.checked_add(latest)?.div_euclid(2);
        authority.valid_for.has(time).then_some(time)
    })
}

fn is_ca(der: &[u8]) -> bool {
    let constraints = CertificateRef::read(der).and_then(|certificate| certificate.basic_constraints()?);
    constraints.is_some_and(|constraints| constraints.is_ca)
}
