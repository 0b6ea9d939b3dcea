//! Certificate paths (RFC 5280 §6): from a leaf through its intermediates to one CA that the operator trusts.
//!
//! webpki looks for a path by names alone, and checks signatures at its end. A sender whose certificates have one name could make it
//! try hundreds of thousands of orders, so paths are built here from signatures that are checked, and webpki gets one path at a time.

use jiff::Timestamp;
use pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::certificate::Certificate;
use super::certificate_ref::CertificateRef;

/// Most intermediates of a path, as webpki has it.
const MAX_INTERMEDIATES: usize = 6;
/// Most signatures of certificates that are checked.
const MAX_CHECKS: usize = 64;
/// Most paths that are tried.
const MAX_PATHS: usize = 4;

/// Does the first of these certificates chain to this CA, through the others? Says until when all of them are in date.
pub(crate) fn valid_until(certificates: &[Certificate], ca: &[u8], now: Timestamp) -> Option<Timestamp> {
    // webpki trusts an anchor whatever its dates and constraints are. An expired pin is no pin (TRUST.md, row 12).
    let pinned = Certificate::from_der(ca).filter(|ca| ca.in_date(now) && ca.may_issue())?;
    let (first, rest) = certificates.split_first()?;
    // webpki does not check the key usage of an issuer (RFC 5280 §6.1.4 (n); TRUST.md, row 105).
    let issuers = rest.iter().filter(|certificate| certificate.may_issue());
    let issuers = issuers.filter_map(|issuer| CertificateRef::read(issuer.der())).collect();
    let (signer, pin) = (CertificateRef::read(first.der())?, CertificateRef::read(ca)?);
    let ca = CertificateDer::from(ca);
    let anchor = anchor_from_trusted_cert(&ca).ok()?;
    let leaf = CertificateDer::from(first.der());
    let leaf = EndEntityCert::try_from(&leaf).ok()?;
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
    let anchors = [anchor];
    let mut is_sound = |intermediates: &[CertificateRef<'_>]| {
        let path: Vec<_> = intermediates.iter().map(|issuer| CertificateDer::from(issuer.der)).collect();
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &path, time, usage, None, Some(&fits)).is_ok()
    };
    let most = Most { intermediates: MAX_INTERMEDIATES, checks: MAX_CHECKS };
    if !leads_to_anchor(signer, issuers, &[pin], most, &|_, _| true, &mut is_sound) {
        return None;
    }
    certificates.iter().map(Certificate::not_after).chain([pinned.not_after()]).min()
}

/// How far paths are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Most {
    /// Most intermediates of a path.
    pub(crate) intermediates: usize,
    /// Most signatures of certificates that are checked. The time of many more would be a sender's to take.
    pub(crate) checks: usize,
}

/// Does a path of certificates, each signed by the next one, lead from `signer` to an anchor, and is it sound? `may_issue` is asked
/// before each check of a signature with the number of intermediates below it, and `is_sound` for the intermediates of each path.
///
/// Each certificate that is reached is used once, with the fewest intermediates below it.
pub(crate) fn leads_to_anchor<'a>(
    signer: CertificateRef<'a>,
    mut others: Vec<CertificateRef<'a>>,
    anchors: &[CertificateRef<'_>],
    most: Most,
    may_issue: &dyn Fn(&CertificateRef<'_>, usize) -> bool,
    is_sound: &mut dyn FnMut(&[CertificateRef<'a>]) -> bool,
) -> bool {
    let mut checks = 0;
    let mut has_issued = |issuer: &CertificateRef<'_>, certificate: &CertificateRef<'_>, below: usize| {
        if certificate.issuer != issuer.subject || checks == most.checks || !may_issue(issuer, below) {
            return false;
        }
        checks += 1;
        count(Step::Signature);
        certificate.is_signed_by(issuer)
    };
    let mut tried = 0;
    let mut reached: Vec<(CertificateRef<'a>, Vec<CertificateRef<'a>>)> = Vec::new();
    // The certificate whose issuers are looked for, and the first of the others that it was not compared with.
    let (mut at, mut from) = (0, 0);
    let mut new = Some((signer, Vec::new()));
    loop {
        // The anchors come first: a sender's certificates are not looked at if none is needed.
        if let Some((certificate, path)) = new.take() {
            if anchors.iter().any(|anchor| has_issued(anchor, &certificate, path.len())) {
                count(Step::Path);
                if is_sound(&path) {
                    return true;
                }
                tried += 1;
                if tried == MAX_PATHS {
                    return false;
                }
            }
            reached.push((certificate, path));
        }
        let Some((certificate, path)) = reached.get(at) else { return false };
        let mut rest = others.iter().enumerate().skip(from);
        let below = path.len();
        let issuer = rest.find(|(_, other)| below < most.intermediates && has_issued(other, certificate, below));
        match issuer.map(|(place, issuer)| (place, *issuer)) {
            Some((place, issuer)) => {
                new = Some((issuer, [path.as_slice(), &[issuer]].concat()));
                others.remove(place);
                from = place;
            }
            None => (at, from) = (at + 1, 0),
        }
    }
}

/// What takes time.
enum Step {
    Signature,
    Path,
}

/// For the tests of what a sender can make us do.
fn count(_step: Step) {
    #[cfg(test)]
    tests::STEPS.with(|steps| {
        let (signatures, paths) = steps.get();
        steps.set(match _step {
            Step::Signature => (signatures + 1, paths),
            Step::Path => (signatures, paths + 1),
        });
    });
}

#[cfg(test)]
mod tests;
