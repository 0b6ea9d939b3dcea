//! Certificate paths (RFC 5280 §6): from a leaf through its intermediates to one CA that the operator trusts.

use jiff::Timestamp;
use pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::certificate::Certificate;

/// Does the first of these certificates chain to this CA, through the others? Says until when all of them are in date.
pub(crate) fn valid_until(certificates: &[Certificate], ca: &[u8], now: Timestamp) -> Option<Timestamp> {
    // webpki trusts an anchor whatever its dates and constraints are. An expired pin is no pin (TRUST.md, row 12).
    let pinned = Certificate::from_der(ca).filter(|ca| ca.in_date(now) && ca.may_issue())?;
    let (leaf, rest) = certificates.split_first()?;
    let ca = CertificateDer::from(ca);
    let anchor = anchor_from_trusted_cert(&ca).ok()?;
    let leaf = CertificateDer::from(leaf.der());
    let leaf = EndEntityCert::try_from(&leaf).ok()?;
    // webpki does not check the key usage of an issuer (RFC 5280 §6.1.4 (n); TRUST.md, row 105).
    let issuers = rest.iter().filter(|certificate| certificate.may_issue());
    let intermediates: Vec<_> = issuers.map(|issuer| CertificateDer::from(issuer.der())).collect();
    let seconds = u64::try_from(now.as_second()).ok()?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    // TRUST.md, row 13: Notary's path check wants serverAuth, where the leaf limits its use at all.
    let usage = KeyUsage::server_auth();
    // webpki checks the path length of intermediates, but not that of the anchor (RFC 5280 §4.2.1.9).
    let fits = |path: &VerifiedPath<'_>| match pinned.path_length() {
        Some(most) if path.intermediate_certificates().count() > usize::from(most) => {
            Err(webpki::Error::PathLenConstraintViolated)
        }
        _ => Ok(()),
    };
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &intermediates, time, usage, None, Some(&fits)).ok()?;
    certificates.iter().map(Certificate::not_after).chain([pinned.not_after()]).min()
}
