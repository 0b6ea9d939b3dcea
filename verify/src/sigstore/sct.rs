//! Certificate transparency: a certificate log of the trusted root has promised to have the certificate (RFC 6962 §3).
//!
//! The promise (SCT) is inside the certificate. It is over the certificate without it, so the signed part is built again.

use super::trusted_root::TrustedRoot;
use crate::crypto::certificate::Validity;
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::der::{Reader, element, tag};
use crate::effort::Checks;
use crate::image::Sha256;
use crate::not_counted::NotCounted;

/// 1.3.6.1.4.1.11129.2.4.2
const SCT_LIST: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
/// The most promises that are looked at.
const MAX_SCTS: usize = 16;
/// How far the clocks of a certificate log and of an authority may differ, in seconds.
const MAX_SKEW: i64 = 3600;

/// One promise (RFC 6962 §3.2).
struct Sct<'a> {
    log_id: &'a [u8],
    milliseconds: &'a [u8],
    extensions: &'a [u8],
    signature: &'a [u8],
}

/// Has a certificate log of the trusted root promised to have this certificate? `issuer` is the key of its issuer in DER.
pub(super) fn verify(
    leaf: &CertificateRef<'_>,
    issuer: &[u8],
    root: &TrustedRoot,
    checks: &Checks<'_>,
) -> Result<(), NotCounted> {
    const SHAPE: NotCounted = NotCounted::Unproven("its certificate's promise of a certificate log (SCT) is damaged");
    let extension = leaf.extension(SCT_LIST).ok_or(SHAPE)?;
    let extension = extension.ok_or(NotCounted::Unproven(
        "its certificate has no promise of a certificate log (SCT), which the policy requires",
    ))?;
    let list = Reader::all(extension.value, |list| list.content(tag::OCTET_STRING)).ok_or(SHAPE)?;
    let mut rest = list;
    let mut list = with_length(&mut rest, 2).filter(|_| rest.is_empty()).ok_or(SHAPE)?;
    let precertificate = without_scts(leaf.signed).ok_or(SHAPE)?;
    let mut unknown = None;
    let mut is_known = false;
    let mut count = 0;
    while !list.is_empty() {
        count += 1;
        let sct = with_length(&mut list, 2).filter(|_| count <= MAX_SCTS).ok_or(SHAPE)?;
        let Some(sct) = read(sct) else { continue }; // another version, or another kind of signature
        let milliseconds = sct.milliseconds.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let seconds = i64::try_from(milliseconds / 1000).map_err(|_| SHAPE)?;
        let length = u32::try_from(precertificate.len()).map_err(|_| SHAPE)?.to_be_bytes();
        let extensions = u16::try_from(sct.extensions.len()).map_err(|_| SHAPE)?.to_be_bytes();
        let signed = [
            &[0, 0][..], // version 1, certificate_timestamp
            sct.milliseconds,
            &[0, 1], // precert_entry
            Sha256::of(issuer).as_bytes(),
            length.get(1..).unwrap_or_default(),
            &precertificate,
            &extensions,
            sct.extensions,
        ]
        .concat();
        let mut logs = root.ct_logs.iter().filter(|log| log.id == sct.log_id).peekable();
        if logs.peek().is_none() {
            unknown = unknown.or(Some(sct.log_id));
        }
        for log in logs {
            is_known = true;
            // Hashing a large certificate takes time as well.
            let in_time = log.valid_for.has(seconds) && in_date(leaf, seconds);
            if in_time && checks.take(signed.len() >> 15) && log.verifies(&signed, sct.signature, checks) {
                return Ok(());
            }
        }
    }
    match unknown {
        Some(id) if !is_known => Err(NotCounted::unknown_log(root, "certificate log", id)),
        _ => Err(NotCounted::Unproven(
            "no certificate log of the trusted root has signed its promise (SCT), or the certificate log's part of the trusted \
             root had ended or not begun",
        )),
    }
}

/// Was the promise made while the certificate was in date, or nearly so? It is made before the certificate is (RFC 6962 §3.1), so a log
/// that has ended cannot have promised a newer one.
fn in_date(leaf: &CertificateRef<'_>, seconds: i64) -> bool {
    let Validity { not_before, not_after } = leaf.validity;
    not_before.saturating_sub(MAX_SKEW) <= seconds && seconds <= not_after.saturating_add(MAX_SKEW)
}

/// One promise of version 1 with a signature over SHA-256. `None` for all others.
fn read(mut sct: &[u8]) -> Option<Sct<'_>> {
    let sct = &mut sct;
    let version = take(sct, 1)?;
    let log_id = take(sct, 32)?;
    let milliseconds = take(sct, 8)?;
    let extensions = with_length(sct, 2)?;
    let algorithm = take(sct, 2)?; // SHA-256, with RSA or ECDSA (RFC 5246 §7.4.1.4.1)
    let signature = with_length(sct, 2)?;
    let is_known = version == [0] && matches!(algorithm, [4, 1 | 3]) && sct.is_empty();
    is_known.then_some(Sct { log_id, milliseconds, extensions, signature })
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

/// Bytes behind their length, which has so many bytes.
fn with_length<'a>(from: &mut &'a [u8], digits: usize) -> Option<&'a [u8]> {
    let length = take(from, digits)?.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    take(from, length)
}

/// The signed part of a certificate without its promises: what the log has signed.
fn without_scts(signed: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Vec::new();
    Reader::all(signed, |all| {
        all.within(tag::SEQUENCE, |part| {
            while !part.is_empty() {
                if !part.is_next(tag::explicit(3)) {
                    fields.extend_from_slice(part.any()?.whole);
                    continue;
                }
                let kept = part.within(tag::explicit(3), |outer| {
                    outer.within(tag::SEQUENCE, |list| {
                        let mut kept = Vec::new();
                        while !list.is_empty() {
                            let extension = list.any()?;
                            if Reader::new(extension.content).oid()? != SCT_LIST {
                                kept.extend_from_slice(extension.whole);
                            }
                        }
                        Some(kept)
                    })
                })?;
                fields.extend(element(tag::explicit(3), &[&element(tag::SEQUENCE, &[&kept])]));
            }
            Some(())
        })
    })?;
    Some(element(tag::SEQUENCE, &[&fields]))
}
