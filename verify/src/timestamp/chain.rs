//! From the certificate of a time stamp authority to one that the caller trusts.

use super::error::TimestampError;
use super::token::{Authority, GenTime};
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::chain::{self, Most};
use crate::crypto::extension::{
    BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, KeyUsage, NAME_CONSTRAINTS, SUBJECT_ALT_NAME, purpose,
};
use crate::effort::Checks;

/// Most intermediates of a chain, and most signatures that are checked for it. Whoever sends a token chooses its certificates.
const MOST: Most = Most { intermediates: 5, checks: 8 };

/// Does a chain lead from the signer to an anchor, with all certificates in date at the time? The anchor as well.
pub(super) fn verify(
    signer: &CertificateRef<'_>,
    embedded: &[CertificateRef<'_>],
    authority: &Authority<'_>,
    time: GenTime,
    checks: &Checks<'_>,
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
    if !has_known_extensions(signer) {
        return refuse("its certificate has a critical extension that is not supported");
    }
    if !in_date(signer, time) {
        return refuse("its certificate was not in date at the time of the time stamp");
    }
    if authority.anchors.iter().any(|anchor| anchor == signer.der)
        || leads_to_anchor(signer, embedded, authority, time, checks)
    {
        return Ok(());
    }
    refuse("no chain of certificates that were in date at its time leads to a trusted one")
}

fn leads_to_anchor(
    signer: &CertificateRef<'_>,
    embedded: &[CertificateRef<'_>],
    authority: &Authority<'_>,
    time: GenTime,
    checks: &Checks<'_>,
) -> bool {
    let (anchors, mut others) = (read_all(authority.anchors), read_all(authority.intermediates));
    others.extend(embedded);
    let may_issue = |issuer: &CertificateRef<'_>, below| may_issue(issuer, below, time) && checks.take(issuer.units());
    chain::leads_to_anchor(*signer, others, &anchors, MOST, &may_issue, &mut |_| true)
}

/// Those that can be read.
fn read_all(certificates: &[Vec<u8>]) -> Vec<CertificateRef<'_>> {
    certificates.iter().filter_map(|der| CertificateRef::read(der)).collect()
}

/// Is it a CA in date, whose key may sign certificates of time stamp authorities with so many intermediates below it
/// (RFC 5280 §6.1.4)?
fn may_issue(certificate: &CertificateRef<'_>, below: usize, time: GenTime) -> bool {
    let constraints = certificate.basic_constraints().flatten();
    let usage = certificate.key_usage();
    let purposes = certificate.extended_key_usage();
    constraints.is_some_and(|it| it.is_ca && it.path_length.is_none_or(|most| below <= usize::from(most)))
        && usage.is_some_and(|usage| usage.is_none_or(|usage| usage.has(KeyUsage::KEY_CERT_SIGN)))
        && purposes.is_some_and(|it| it.is_none_or(|usage| usage.purposes.contains(&purpose::TIME_STAMPING)))
        && has_known_extensions(certificate)
        && in_date(certificate, time)
}

/// Has it no critical extension but those that are checked, and no name constraints, which are not?
fn has_known_extensions(certificate: &CertificateRef<'_>) -> bool {
    certificate.extensions().iter().all(|extension| match extension.oid {
        KEY_USAGE | BASIC_CONSTRAINTS | EXTENDED_KEY_USAGE | SUBJECT_ALT_NAME => true,
        NAME_CONSTRAINTS => false,
        _ => !extension.is_critical,
    })
}

/// Is the whole span of time within its dates?
fn in_date(certificate: &CertificateRef<'_>, time: GenTime) -> bool {
    certificate.validity.not_before <= time.earliest && time.latest <= certificate.validity.not_after
}
