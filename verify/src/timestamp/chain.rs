//! From the certificate of a time stamp authority to one that the caller trusts.

use std::time::Duration;

use pki_types::{CertificateDer, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage as Purpose, VerifiedPath, anchor_from_trusted_cert,
};

use super::error::TimestampError;
use super::token::{Authority, GenTime};
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::extension::{KeyUsage, purpose};

/// Does a chain lead from the signer to an anchor, with all certificates in date at the time? The anchor as well.
pub(super) fn verify(
    signer: &CertificateRef<'_>,
    embedded: &[CertificateRef<'_>],
    authority: &Authority<'_>,
    time: GenTime,
) -> Result<(), TimestampError> {
    let refuse = |reason| Err(TimestampError::Authority(reason));
    // RFC 3161 §2.3: timeStamping alone, and critical.
    let stamps_alone = signer
        .extended_key_usage()
        .flatten()
        .is_some_and(|usage| usage.is_critical && matches!(usage.purposes.as_slice(), [purpose::TIME_STAMPING]));
    if !stamps_alone {
        return refuse("its certificate's extended key usage must be timeStamping alone, and critical");
    }
    let may_sign = signer.key_usage().is_some_and(|usage| {
        usage.is_none_or(|usage| {
            let signs = usage.has(KeyUsage::DIGITAL_SIGNATURE) || usage.has(KeyUsage::CONTENT_COMMITMENT);
            signs && !usage.has(KeyUsage::KEY_CERT_SIGN)
        })
    });
    if !may_sign || signer.basic_constraints().is_none_or(|it| it.is_some_and(|it| it.is_ca)) {
        return refuse("its certificate is a CA's, or is not for signatures");
    }
    if !in_date(signer, time) {
        return refuse("its certificate was not in date at the time of the time stamp");
    }
    if authority.anchors.iter().any(|anchor| anchor == signer.der) {
        return Ok(());
    }
    let leads_to = |anchor: &Vec<u8>| leads_to(signer, embedded, authority, anchor, time).is_some();
    if authority.anchors.iter().any(leads_to) {
        return Ok(());
    }
    refuse("no chain of certificates that were in date at its time leads to a trusted one")
}

/// Does a chain lead to this anchor?
fn leads_to(
    signer: &CertificateRef<'_>,
    embedded: &[CertificateRef<'_>],
    authority: &Authority<'_>,
    anchor: &[u8],
    time: GenTime,
) -> Option<()> {
    // webpki trusts an anchor whatever its dates, its constraints and its key usage are.
    let trusted = CertificateRef::read(anchor).filter(|anchor| may_issue(anchor, time))?;
    let most = trusted.basic_constraints()??.path_length.map_or(usize::MAX, usize::from);
    let helpers = authority.intermediates.iter().filter_map(|der| CertificateRef::read(der));
    let issuers = embedded.iter().copied().chain(helpers).filter(|issuer| may_issue(issuer, time));
    let intermediates: Vec<_> = issuers.map(|issuer| CertificateDer::from(issuer.der)).collect();
    let anchor = CertificateDer::from(anchor);
    let anchor = anchor_from_trusted_cert(&anchor).ok()?;
    let leaf = CertificateDer::from(signer.der);
    let leaf = EndEntityCert::try_from(&leaf).ok()?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.latest).ok()?));
    let usage = Purpose::required_if_present(purpose::TIME_STAMPING);
    let fits = |path: &VerifiedPath<'_>| {
        let count = path.intermediate_certificates().count();
        if count > most { Err(Error::PathLenConstraintViolated) } else { Ok(()) }
    };
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &intermediates, now, usage, None, Some(&fits)).ok()?;
    Some(())
}

/// Is it a CA in date, whose key may sign certificates?
fn may_issue(certificate: &CertificateRef<'_>, time: GenTime) -> bool {
    let is_ca = certificate.basic_constraints().flatten().is_some_and(|constraints| constraints.is_ca);
    let usage = certificate.key_usage();
    is_ca
        && usage.is_some_and(|usage| usage.is_none_or(|usage| usage.has(KeyUsage::KEY_CERT_SIGN)))
        && in_date(certificate, time)
}

/// Is the whole span of time within its dates?
fn in_date(certificate: &CertificateRef<'_>, time: GenTime) -> bool {
    certificate.validity.not_before <= time.earliest && time.latest <= certificate.validity.not_after
}
