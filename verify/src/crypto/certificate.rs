//! One X.509 certificate: the fields that decide what its key may do.

use jiff::{SignedDuration, Timestamp};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::ext::pkix;

use super::public_key::PublicKey;
use crate::heap_size::{allocation, inline_size};

/// The clock of a signer may be ahead by this much (TRUST.md, rows 14 and 15).
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_hours(24);

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The signature algorithms of certificates that are accepted. SHA-1 and older hashes are missing (TRUST.md, row 22), and so
/// is RSA-PSS, whose parameters would need checks of their own.
const STRONG: [ObjectIdentifier; 7] = [
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"), // ecdsa-with-SHA256
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), // ecdsa-with-SHA384
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"), // ecdsa-with-SHA512
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), // sha256WithRSAEncryption
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), // sha384WithRSAEncryption
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), // sha512WithRSAEncryption
    ObjectIdentifier::new_unwrap("1.3.101.112"),         // Ed25519
];

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
        let certificate = match x509_cert::Certificate::from_der(der) {
            Ok(certificate) => certificate,
            Err(_) => x509_cert::Certificate::from_der(&without_early_dates(der)?).ok()?,
        };
        let tbs = certificate.tbs_certificate();
        let mut names = tbs.subject().iter().filter(|attribute| attribute.oid == COMMON_NAME);
        let common_name = match (names.next(), names.next()) {
            (Some(name), None) if matches!(name.value.tag(), Tag::Utf8String | Tag::PrintableString) => {
                String::from_utf8(name.value.value().to_vec()).ok()
            }
            _ => None,
        };
        let constraints = tbs.get_extension::<pkix::BasicConstraints>().ok()?.map(|(_, constraints)| constraints);
        let usage = tbs.get_extension::<pkix::KeyUsage>().ok()?.map(|(_, usage)| usage);
        // The last days of the year 9999, which stand for no end at all (RFC 5280 §4.1.2.5), are past jiff's last time.
        let time = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        Some(Self {
            der: der.to_vec(),
            common_name,
            not_before: time(tbs.validity().not_before),
            not_after: time(tbs.validity().not_after),
            is_ca: constraints.as_ref().is_some_and(|constraints| constraints.ca),
            may_issue: usage.is_none_or(|usage| usage.key_cert_sign()),
            path_length: constraints.and_then(|constraints| constraints.path_len_constraint),
            strong_signature: STRONG.contains(&certificate.signature_algorithm().oid),
            key: tbs.subject_public_key_info().to_der().ok().and_then(|spki| PublicKey::from_spki(&spki)),
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

/// A copy of the certificate in which each date before 1970 is replaced by the beginning of 1970, because x509-cert does not
/// read earlier dates. Only its fields are read: signatures are verified over the original. `None` if there is no such date.
fn without_early_dates(der: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut dates = Vec::new();
    // The reader reports an error for what follows the dates, which is not read here.
    let _ = reader.sequence(|certificate| {
        certificate.sequence(|tbs| {
            while Tag::peek(tbs)? != Tag::Integer {
                tbs.tlv_bytes()?; // the version
            }
            for _ in ["serial number", "signature", "issuer"] {
                tbs.tlv_bytes()?;
            }
            tbs.sequence(|validity| {
                for _ in ["not before", "not after"] {
                    let date = validity.tlv_bytes()?;
                    dates.push((usize::try_from(validity.position())?, date.to_vec()));
                }
                Ok::<_, x509_cert::der::Error>(())
            })
        })
    });
    let mut patched = der.to_vec();
    for (end, date) in &dates {
        let [tag, length, digits @ ..] = date.as_slice() else { return None };
        let is_early = match tag {
            0x17 => (b"50".as_slice()..b"70").contains(&digits.get(..2)?), // UTCTime: 1950 to 2049
            _ => digits < b"1970".as_slice(),
        };
        if is_early && digits.iter().rev().skip(1).all(u8::is_ascii_digit) && digits.last() == Some(&b'Z') {
            let first: &[u8] = if *length == 13 { b"700101000000Z" } else { b"19700101000000Z" };
            patched.get_mut(end.checked_sub(first.len())?..*end)?.copy_from_slice(first);
        }
    }
    (patched != der).then_some(patched)
}
