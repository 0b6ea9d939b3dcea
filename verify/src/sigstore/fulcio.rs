//! A certificate of a certificate authority such as Fulcio: whom it names, and whether it chains to the trusted root at the time
//! of signing. Today's date decides nothing: such a certificate is valid for minutes.

use pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage as Usage, VerifiedPath, anchor_from_trusted_cert};

use super::trusted_root::{Chain, TrustedRoot};
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::der::{Reader, tag};
use crate::crypto::extension::{GeneralName, KeyUsage, purpose};
use crate::effort::Checks;
use crate::not_counted::NotCounted;

/// 1.3.6.1.4.1.57264.1.1, the issuer as raw bytes.
const OLD_ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 1];
/// 1.3.6.1.4.1.57264.1.8, the issuer as a UTF8String.
const ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
/// 1.3.6.1.4.1.57264.1.7, a name that is no e-mail address and no URI.
const OTHER_NAME: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 7];
/// The most bytes of an issuer or a subject.
const MAX_NAME: usize = 1024;

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) issuer: Box<str>,
    pub(super) subject: Box<str>,
}

impl Names {
    pub(super) const MAX_HEAP: u64 = 2 * 1024;

    /// The one subject and the one issuer of a certificate.
    pub(super) fn of(certificate: &CertificateRef<'_>) -> Result<Self, NotCounted> {
        let names = certificate.subject_alt_names().unwrap_or_default();
        let subject = match names.as_slice() {
            [GeneralName::Email(name) | GeneralName::Uri(name)] => Some(*name),
            [GeneralName::Other { oid: OTHER_NAME, tag: tag::UTF8_STRING, value }] => std::str::from_utf8(value).ok(),
            _ => None,
        };
        // A pattern such as `*` would match control characters, and an operator would not see them.
        let fits = |text: &&str| {
            !text.is_empty() && text.len() <= MAX_NAME && !text.bytes().any(|byte| byte.is_ascii_control())
        };
        let subject = subject.filter(fits).ok_or(NotCounted::Unproven(
            "its certificate has not exactly one subject alternative name that is an e-mail address, a URI or an identity",
        ))?;
        let issuer = Self::issuer(certificate).filter(fits);
        let issuer =
            issuer.ok_or(NotCounted::Unproven("its certificate has not exactly one issuer of its identity"))?;
        Ok(Self { issuer: issuer.into(), subject: subject.into() })
    }

    /// Both fields for the issuer, if both are there, must say the same (SCHEMES.md, row 76).
    fn issuer<'a>(certificate: &CertificateRef<'a>) -> Option<&'a str> {
        let old = certificate.extension(OLD_ISSUER)?;
        let old = old.map(|old| std::str::from_utf8(old.value)).transpose().ok()?;
        let new = match certificate.extension(ISSUER)? {
            Some(new) => Some(Reader::all(new.value, |new| new.content(tag::UTF8_STRING))?),
            None => None,
        };
        let new = new.map(std::str::from_utf8).transpose().ok()?;
        match (old, new) {
            (Some(old), Some(new)) if old != new => None,
            (old, new) => new.or(old),
        }
    }
}

/// Does the certificate chain to an authority of the trusted root, with every certificate in date at all of these times?
/// Returns the key of the certificate's issuer in DER.
pub(super) fn issuer_key<'r>(
    leaf: &CertificateRef<'_>,
    root: &'r TrustedRoot,
    times: &[i64],
    checks: &Checks<'_>,
) -> Result<&'r [u8], NotCounted> {
    let first = times.first().and_then(|time| u64::try_from(*time).ok());
    let first = first.ok_or(NotCounted::Unproven(
        "nothing that the trusted root knows says when it was signed: it has no time stamp, or the time stamp authority's part of \
         the trusted root had ended or not begun",
    ))?;
    let during = |is_in: &dyn Fn(i64) -> bool| times.iter().all(|time| is_in(*time));
    let in_date = |certificate: &CertificateRef<'_>| {
        let validity = certificate.validity;
        during(&|time| validity.not_before <= time && time <= validity.not_after)
    };
    if !in_date(leaf) {
        return Err(NotCounted::Unproven("its certificate was not in date when it was signed"));
    }
    let usage = leaf.key_usage().is_some_and(|usage| usage.is_none_or(|usage| usage.has(KeyUsage::DIGITAL_SIGNATURE)));
    let purposes = leaf.extended_key_usage().flatten();
    if !usage || !purposes.is_some_and(|usage| usage.purposes.contains(&purpose::CODE_SIGNING)) {
        return Err(NotCounted::Unproven("its certificate is not for signing code"));
    }
    let mut is_of_another_time = false;
    for authority in &root.certificate_authorities {
        let Some(issuer) = issuer_of(leaf, authority, first, checks) else { continue };
        let all = authority.certificates.iter();
        let all_in_date = all.map(|der| CertificateRef::read(der)).all(|read| read.is_some_and(|read| in_date(&read)));
        if all_in_date && during(&|time| authority.valid_for.has(time)) {
            return Ok(issuer);
        }
        is_of_another_time = true;
    }
    Err(NotCounted::Unproven(if is_of_another_time {
        "the authority of its certificate was not in date or not trusted when it was signed: its certificates, or its part of \
         the trusted root, had ended or not begun"
    } else {
        "no authority of the trusted root has issued its certificate"
    }))
}

/// The key of the certificate's issuer, if the certificate chains to this authority at this time.
fn issuer_of<'r>(
    leaf: &CertificateRef<'_>,
    authority: &'r Chain,
    seconds: u64,
    checks: &Checks<'_>,
) -> Option<&'r [u8]> {
    let (anchor, rest) = authority.certificates.split_last()?;
    // webpki does not check the key usage of an issuer (RFC 5280 §6.1.4 (n)), nor whether an anchor is a CA, and its path length.
    let most = path_length(&CertificateRef::read(anchor)?)?;
    let issuers = || authority.certificates.iter().filter_map(|der| CertificateRef::read(der)).filter(may_issue);
    // webpki looks for a path by names, and this finds the issuer with the fewest checks.
    let issuer = issuers()
        .find(|issuer| leaf.issuer == issuer.subject && checks.take(issuer.units()) && leaf.is_signed_by(issuer))?;
    if !checks.take(issuers().map(|issuer| issuer.units()).sum()) {
        return None;
    }
    let intermediates: Vec<_> = rest
        .iter()
        .filter(|der| CertificateRef::read(der).as_ref().is_some_and(may_issue))
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let anchor_der = CertificateDer::from(anchor.as_slice());
    let anchor = anchor_from_trusted_cert(&anchor_der).ok()?;
    let der = CertificateDer::from(leaf.der);
    let end = EndEntityCert::try_from(&der).ok()?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let fits = |path: &VerifiedPath<'_>| match most {
        Some(most) if path.intermediate_certificates().count() > usize::from(most) => {
            Err(webpki::Error::PathLenConstraintViolated)
        }
        _ => Ok(()),
    };
    let usage = Usage::required_if_present(purpose::CODE_SIGNING);
    end.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &intermediates, time, usage, None, Some(&fits)).ok()?;
    Some(issuer.key.der)
}

/// Is it a CA, whose key may sign certificates?
fn may_issue(certificate: &CertificateRef<'_>) -> bool {
    path_length(certificate).is_some()
}

/// The most intermediates below a CA whose key may sign certificates, if it has a limit. The outer `None` for others.
fn path_length(certificate: &CertificateRef<'_>) -> Option<Option<u8>> {
    let usage = certificate.key_usage()?;
    let constraints = certificate.basic_constraints()??;
    let may_issue = constraints.is_ca && usage.is_none_or(|usage| usage.has(KeyUsage::KEY_CERT_SIGN));
    may_issue.then_some(constraints.path_length)
}
