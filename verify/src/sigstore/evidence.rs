//! What a trusted root says about one signature: a log has it, and a certificate names who signed.

use super::entry::{self, Signed};
use super::fulcio::{self, Names};
use super::key::SigstoreKey;
use super::material::Material;
use super::sct;
use super::trusted_root::TrustedRoot;
use crate::crypto::certificate_ref::CertificateRef;
use crate::not_counted::NotCounted;
use crate::timestamp::{Authority, GenTime, Token};

pub(super) const NO_CERTIFICATE: NotCounted =
    NotCounted::Unproven("it was made with a key, and the policy names identities");

/// A signature and what it is over.
#[derive(Clone, Copy)]
pub(super) struct Claimed<'a> {
    pub(super) message: &'a [u8],
    /// The payload, if the message is that of a DSSE envelope.
    pub(super) payload: Option<&'a [u8]>,
    pub(super) signature: &'a [u8],
    pub(super) is_bundle: bool,
}

/// Does a log of the trusted root have this key's signature? The signature itself is verified already.
pub(super) fn of_key(
    material: &Material,
    claimed: Claimed<'_>,
    key: &SigstoreKey,
    root: &TrustedRoot,
) -> Result<(), NotCounted> {
    let verifier = key.spki();
    times(material, claimed, &verifier, false, root).map(drop)
}

/// Whom the certificate names that has made this signature. A log must have the signature, the certificate must chain to the
/// trusted root when it was signed, and, if `sct_required`, a certificate log must have promised to have it.
pub(super) fn of_certificate(
    material: &Material,
    claimed: Claimed<'_>,
    root: &TrustedRoot,
    sct_required: bool,
) -> Result<Names, NotCounted> {
    let der = material.certificate.as_deref().ok_or(NO_CERTIFICATE)?;
    let certificate = CertificateRef::read(der).ok_or(NotCounted::Unproven("its certificate is damaged"))?;
    let key = certificate.public_key().and_then(SigstoreKey::from_public);
    let key = key.ok_or(NotCounted::Unproven("its certificate has a key that is not supported"))?;
    let names = Names::of(&certificate)?;
    if !key.verifies(claimed.message, claimed.signature) {
        return Err(NotCounted::Unproven("the key of its certificate has not made it"));
    }
    let times = times(material, claimed, der, true, root)?;
    let issuer = fulcio::issuer_key(&certificate, root, &times)?;
    if sct_required {
        sct::verify(&certificate, issuer, root)?;
    }
    Ok(names)
}

/// When it was signed, as logs and time stamp authorities say. At least one entry of a known log must be there, and all of them
/// must be right.
fn times(
    material: &Material,
    claimed: Claimed<'_>,
    verifier: &[u8],
    is_certificate: bool,
    root: &TrustedRoot,
) -> Result<Vec<i64>, NotCounted> {
    let Claimed { message, payload, signature, is_bundle } = claimed;
    let signed = Signed { message, payload, signature, verifier, is_certificate };
    let stamps = material.timestamps.iter();
    let mut times: Vec<_> = stamps.filter_map(|stamp| stamped(stamp, signature, root)).collect();
    let stamped = times.len();
    let mut is_logged = false;
    let mut unknown = None;
    for entry in &material.entries {
        let mut verdict = None;
        for log in root.logs.iter().filter(|log| log.id == entry.log_id) {
            // cosign 2's old format has the log's promise alone, and a bundle must have the proof as well.
            let found = entry::verify(entry, log, signed, times.get(..stamped).unwrap_or_default(), is_bundle);
            if verdict.is_none_or(|verdict: Result<_, _>| verdict.is_err()) {
                verdict = Some(found);
            }
        }
        match verdict {
            Some(Ok(time)) => {
                is_logged = true;
                times.extend(time);
            }
            Some(Err(why)) => return Err(NotCounted::Unproven(why)),
            None => unknown = unknown.or(Some(&entry.log_id)),
        }
    }
    match unknown {
        _ if is_logged => Ok(times),
        Some(id) => Err(NotCounted::unknown_log(root, "log", id)),
        None => Err(NotCounted::Unproven("it has no entry of a transparency log, which the policy requires")),
    }
}

/// When a time stamp authority of the trusted root has seen the signature.
fn stamped(stamp: &[u8], signature: &[u8], root: &TrustedRoot) -> Option<i64> {
    let token = Token::read(stamp).ok()?;
    root.timestamp_authorities.iter().find_map(|authority| {
        let (anchor, intermediates) = authority.certificates.split_last()?;
        let trusted = Authority { anchors: std::slice::from_ref(anchor), intermediates };
        // A chain that begins with a signer's certificate trusts this signer alone, not all whom its CA has certified.
        let only_signer = authority.certificates.first().map(Vec::as_slice).filter(|der| !is_ca(der));
        // Other clients leave out the accuracy, and signers ask for a time stamp in the second of their certificate.
        let GenTime { earliest, latest } = token.verify_by(signature, &trusted, only_signer).ok()?;
        let time = earliest.checked_add(latest)?.div_euclid(2);
        authority.valid_for.has(time).then_some(time)
    })
}

fn is_ca(der: &[u8]) -> bool {
    let constraints = CertificateRef::read(der).and_then(|certificate| certificate.basic_constraints()?);
    constraints.is_some_and(|constraints| constraints.is_ca)
}
