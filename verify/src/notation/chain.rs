//! The rules for an envelope's chain of certificates that do not depend on the time or on a policy
//! (signature-specification.md, "Certificate requirements"): leaf first, to a self-signed root, in order, and nothing else.

use super::subject;
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::extension::{BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, KeyUsage, SUBJECT_ALT_NAME, purpose};
use crate::crypto::public_key::{PublicKey, unsupported_kind};
use crate::not_counted::NotCounted;

/// The most certificates of a chain.
pub(super) const MAX_CHAIN: usize = 10;

const CERTIFICATE_POLICIES: &[u8] = &[0x55, 29, 32]; // 2.5.29.32
/// Extensions that may be critical: the first three are checked here, and the others limit nothing that is verified here.
const MAY_BE_CRITICAL: [&[u8]; 5] =
    [BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, SUBJECT_ALT_NAME, CERTIFICATE_POLICIES];

const ANY_PURPOSE: &[u8] = &[0x55, 29, 37, 0]; // 2.5.29.37.0
/// Purposes that a leaf must not have beside codeSigning: serverAuth, clientAuth, emailProtection, timeStamping, OCSPSigning.
const FORBIDDEN_PURPOSES: [&[u8]; 6] = [
    ANY_PURPOSE,
    &[0x2b, 6, 1, 5, 5, 7, 3, 1],
    &[0x2b, 6, 1, 5, 5, 7, 3, 2],
    &[0x2b, 6, 1, 5, 5, 7, 3, 4],
    &[0x2b, 6, 1, 5, 5, 7, 3, 8],
    &[0x2b, 6, 1, 5, 5, 7, 3, 9],
];

/// Checks the chain and gives the leaf's key.
pub(super) fn check(chain: &[CertificateRef<'_>]) -> Result<PublicKey, NotCounted> {
    let broken = |place: usize, what| {
        let subject = chain.get(place).map(|certificate| subject::printable(certificate.subject));
        Err(NotCounted::BadCertificate { subject: subject.unwrap_or_default(), place: place + 1, what })
    };
    for (place, certificate) in chain.iter().enumerate() {
        if let Err(what) = check_any(certificate) {
            return broken(place, what);
        }
    }
    for (place, certificate) in chain.iter().enumerate() {
        let role = if place == 0 { check_leaf(certificate) } else { check_ca(certificate, place - 1) };
        if let Err(what) = role {
            return broken(place, what);
        }
        let is_self_issued = certificate.issuer == certificate.subject;
        match chain.get(place + 1) {
            Some(_) if is_self_issued => {
                return broken(
                    place,
                    "is self-issued, and further certificates follow: the chain must end at its root",
                );
            }
            Some(issuer) if !certificate.is_signed_by(issuer) => {
                return broken(
                    place,
                    "is not issued and signed by the one that follows: the chain must be in order from the signer to the root",
                );
            }
            None if !is_self_issued => {
                return broken(place, "is the last one and not self-signed: the chain must have its root");
            }
            None if !certificate.is_signed_by(certificate) => {
                return broken(place, "is the last one, and its own key has not signed it");
            }
            Some(_) | None => {}
        }
    }
    match chain.first().and_then(CertificateRef::public_key) {
        Some(key) => Ok(key),
        None => Err(NotCounted::Shape("it has no certificate")),
    }
}

/// The rules for the key and the signature of each certificate, also of those in trust stores.
pub(super) fn check_any(certificate: &CertificateRef<'_>) -> Result<(), &'static str> {
    let Some(key) = certificate.public_key() else {
        return Err(match unsupported_kind(certificate.key.der) {
            Some("an ECDSA key on P-521") => {
                "has a key on P-521, which is not supported: use certificates with keys on P-256 or P-384, or RSA"
            }
            _ => "has a key of a kind that is not supported: use keys on P-256 or P-384, or RSA",
        });
    };
    if key.is_weak() {
        return Err("has an RSA key below 2048 bits");
    }
    if matches!(key, PublicKey::Ed25519(_)) {
        return Err("has an Ed25519 key, which Notation does not have: use keys on P-256 or P-384, or RSA");
    }
    if !certificate.has_supported_signature() {
        return Err("is signed by an algorithm that is not supported, such as SHA-1, RSA-PSS, or ECDSA with SHA-512");
    }
    // What notation's reader of certificates refuses (RFC 5280 §4.1.2.2, §4.1.2.4).
    if certificate.serial_number.first().is_some_and(|first| *first >= 0x80) {
        return Err("has a negative serial number");
    }
    if certificate.subject.attributes().iter().any(|attribute| !attribute.is_text()) {
        return Err("has a subject with an attribute that is no text");
    }
    let extensions = certificate.extensions();
    for (index, extension) in extensions.iter().enumerate() {
        if extensions.iter().take(index).any(|earlier| earlier.oid == extension.oid) {
            return Err("has an extension twice");
        }
        if extension.is_critical && !MAY_BE_CRITICAL.contains(&extension.oid) {
            return Err("has a critical extension that is not checked here, such as name constraints");
        }
    }
    Ok(())
}

fn check_leaf(certificate: &CertificateRef<'_>) -> Result<(), &'static str> {
    match certificate.basic_constraints() {
        None => return Err("has basic constraints that cannot be read"),
        Some(Some(constraints)) if constraints.is_ca => return Err("is a CA, and a signer must not be one"),
        Some(_) => {}
    }
    match certificate.key_usage() {
        None => return Err("has a key usage that cannot be read"),
        Some(Some(usage)) if usage.is_critical && usage.bits == KeyUsage::DIGITAL_SIGNATURE => {}
        Some(_) => return Err("must have a critical key usage of digitalSignature alone"),
    }
    match certificate.extended_key_usage() {
        None => Err("has an extended key usage that cannot be read"),
        Some(None) => Ok(()),
        Some(Some(usage)) if FORBIDDEN_PURPOSES.iter().any(|purpose| usage.purposes.contains(purpose)) => {
            Err("has an extended key usage that a signer must not have, such as serverAuth or any")
        }
        Some(Some(usage)) if usage.purposes.contains(&purpose::CODE_SIGNING) => Ok(()),
        Some(Some(_)) => Err("has an extended key usage without codeSigning"),
    }
}

/// `below`: how many CAs stand between it and the leaf.
fn check_ca(certificate: &CertificateRef<'_>, below: usize) -> Result<(), &'static str> {
    match certificate.basic_constraints() {
        Some(Some(constraints)) if constraints.is_critical && constraints.is_ca => {
            if constraints.path_length.is_some_and(|most| below > usize::from(most)) {
                return Err("allows fewer CAs below it than there are (pathLenConstraint)");
            }
        }
        _ => return Err("must have critical basic constraints of a CA"),
    }
    match certificate.key_usage() {
        Some(Some(usage)) if usage.is_critical && usage.has(KeyUsage::KEY_CERT_SIGN) => {}
        _ => return Err("must have a critical key usage with keyCertSign"),
    }
    // A CA that is limited to other purposes must not make signers.
    match certificate.extended_key_usage() {
        None => Err("has an extended key usage that cannot be read"),
        Some(Some(usage))
            if !usage.purposes.contains(&purpose::CODE_SIGNING) && !usage.purposes.contains(&ANY_PURPOSE) =>
        {
            Err("is a CA for other purposes than codeSigning")
        }
        Some(_) => Ok(()),
    }
}
