//! One X.509 certificate: the fields that decide what its key may do.

use jiff::{SignedDuration, Timestamp};

use super::certificate_ref::CertificateRef;
use super::extension::KeyUsage;
use super::public_key::PublicKey;
use crate::heap_size::{allocation, inline_size};

/// The clock of a signer may be ahead by this much (TRUST.md, rows 14 and 15).
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_hours(24);

/// The signature algorithms of certificates that are accepted. SHA-1 and older hashes are missing (TRUST.md, row 22), and so
/// is RSA-PSS, whose parameters would need checks of their own.
const STRONG: [&[u8]; 7] = [
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], // 1.2.840.10045.4.3.2, ecdsa-with-SHA256
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], // 1.2.840.10045.4.3.3, ecdsa-with-SHA384
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], // 1.2.840.10045.4.3.4, ecdsa-with-SHA512
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], // 1.2.840.113549.1.1.11, sha256WithRSAEncryption
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], // 1.2.840.113549.1.1.12, sha384WithRSAEncryption
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], // 1.2.840.113549.1.1.13, sha512WithRSAEncryption
    &[0x2b, 0x65, 0x70],                      // 1.3.101.112, Ed25519
];

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Validity {
    /// Of a certificate in DER. `None` if it cannot be read, or has a date before 1970, which webpki does not read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let validity = CertificateRef::read(certificate)?.validity;
        (validity.not_before >= 0 && validity.not_after >= 0).then_some(validity)
    }
}

/// The one common name of a certificate in DER. `None` if it has none, or several, or one in an unusual encoding.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    CertificateRef::read(certificate)?.subject.common_name().map(str::to_owned)
}

/// A certificate.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    common_name: Option<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    is_ca: bool,
    may_issue: bool,
    path_length: Option<u8>,
    strong_signature: bool,
    key: Option<PublicKey>,
}

impl Certificate {
    /// From DER. `None` if it cannot be read.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let fields = CertificateRef::read(der)?;
        let constraints = fields.basic_constraints()?;
        let usage = fields.key_usage()?;
        // The last days of the year 9999, which stand for no end at all (RFC 5280 §4.1.2.5), are past jiff's last time.
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        Some(Self {
            der: der.to_vec(),
            common_name: fields.subject.common_name().map(str::to_owned),
            not_before: time(fields.validity.not_before),
            not_after: time(fields.validity.not_after),
            is_ca: constraints.is_some_and(|constraints| constraints.is_ca),
            may_issue: usage.is_none_or(|usage| usage.has(KeyUsage::KEY_CERT_SIGN)),
            path_length: constraints.and_then(|constraints| constraints.path_length),
            strong_signature: fields.signature_oid().is_some_and(|oid| STRONG.contains(&oid)),
            key: fields.public_key(),
        })
    }

    /// What it takes in memory, nearly.
    pub(crate) fn heap_size(&self) -> u64 {
        inline_size::<Self>() + allocation(self.der.len())
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its one common name. `None` if it has none, or several, or one in an unusual encoding.
    pub(crate) fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    pub(crate) fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// May its key sign certificates? A certificate that does not limit the use of its key allows it.
    pub(crate) fn may_issue(&self) -> bool {
        self.may_issue
    }

    /// How many intermediates may stand between it and a leaf.
    pub(crate) fn path_length(&self) -> Option<u8> {
        self.path_length
    }

    pub(crate) fn key(&self) -> Option<&PublicKey> {
        self.key.as_ref()
    }

    /// Are its key and its signature strong enough to be trusted?
    pub(crate) fn is_strong(&self) -> bool {
        self.strong_signature && self.key.as_ref().is_some_and(|key| !key.is_weak())
    }

    pub(crate) fn in_date(&self, now: Timestamp) -> bool {
        // Saturating: a date at the end of time stays there.
        let from = self.not_before.checked_sub(NOT_BEFORE_LEEWAY).unwrap_or(Timestamp::MIN);
        from <= now && now <= self.not_after
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

#[cfg(test)]
pub(crate) mod tests;
