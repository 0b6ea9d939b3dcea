//! One X.509 certificate: the fields that decide what its key may do.

use jiff::{SignedDuration, Timestamp};

use super::der::{Reader, tag};
use super::public_key::{PublicKey, SubjectPublicKeyInfo};
use crate::heap_size::{allocation, inline_size};

/// The clock of a signer may be ahead by this much (TRUST.md, rows 14 and 15).
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_hours(24);

/// Most bytes of a serial number: the 20 of RFC 5280 §4.1.2.2, and one for a sign that some do not count.
const MAX_SERIAL_NUMBER: usize = 21;

const COMMON_NAME: &[u8] = &[0x55, 4, 3]; // 2.5.4.3
const KEY_USAGE: &[u8] = &[0x55, 29, 15]; // 2.5.29.15
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19]; // 2.5.29.19

/// The bit keyCertSign, the sixth from the left (RFC 5280 §4.2.1.3).
const KEY_CERT_SIGN: u8 = 1 << 2;

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
        let validity = Fields::of(certificate)?.validity;
        (validity.not_before >= 0 && validity.not_after >= 0).then_some(validity)
    }
}

/// The one common name of a certificate in DER. `None` if it has none, or several, or one in an unusual encoding.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    Fields::of(certificate)?.common_name.map(str::to_owned)
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
        let fields = Fields::of(der)?;
        let constraints = match fields.extension(BASIC_CONSTRAINTS)? {
            Some(constraints) => Some(Reader::all(constraints, basic_constraints)?),
            None => None,
        };
        let usage = match fields.extension(KEY_USAGE)? {
            Some(usage) => Some(Reader::all(usage, key_usage)?),
            None => None,
        };
        // The last days of the year 9999, which stand for no end at all (RFC 5280 §4.1.2.5), are past jiff's last time.
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        Some(Self {
            der: der.to_vec(),
            common_name: fields.common_name.map(str::to_owned),
            not_before: time(fields.validity.not_before),
            not_after: time(fields.validity.not_after),
            is_ca: constraints.is_some_and(|(is_ca, _)| is_ca),
            may_issue: usage.is_none_or(|bits| bits.first().is_some_and(|first| first & KEY_CERT_SIGN != 0)),
            path_length: constraints.and_then(|(_, path_length)| path_length),
            strong_signature: STRONG.contains(&fields.signature_algorithm),
            key: fields.key.public_key(),
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

/// The fields of a certificate (RFC 5280 §4.1) that are read. All others are checked for their types alone.
struct Fields<'a> {
    common_name: Option<&'a str>,
    validity: Validity,
    key: SubjectPublicKeyInfo<'a>,
    /// All of them can be read.
    extensions: Reader<'a>,
    /// As it stands beside the signature. webpki demands that the signed part names the same one.
    signature_algorithm: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(der: &'a [u8]) -> Option<Self> {
        Reader::all(der, |all| {
            all.within(tag::SEQUENCE, |certificate| {
                let fields = certificate.within(tag::SEQUENCE, Self::of_signed)?;
                let signature_algorithm = certificate.within(tag::SEQUENCE, Reader::algorithm)?;
                certificate.bytes()?; // the signature, which webpki verifies
                Some(Self { signature_algorithm, ..fields })
            })
        })
    }

    /// From the signed part, the TBSCertificate.
    fn of_signed(signed: &mut Reader<'a>) -> Option<Self> {
        if signed.is_next(tag::explicit(0)) {
            let is_known = |version: &&[u8]| matches!(version, [0..=2]);
            signed.within(tag::explicit(0), |version| version.integer().filter(is_known))?;
        }
        signed.integer().filter(|serial_number| serial_number.len() <= MAX_SERIAL_NUMBER)?;
        let signature_algorithm = signed.within(tag::SEQUENCE, Reader::algorithm)?;
        read_common_name(signed)?; // of the issuer
        let validity = signed
            .within(tag::SEQUENCE, |dates| Some(Validity { not_before: dates.time()?, not_after: dates.time()? }))?;
        let common_name = read_common_name(signed)?;
        let key = SubjectPublicKeyInfo::read(signed)?;
        for unique_id in [tag::implicit(1), tag::implicit(2)] {
            if signed.is_next(unique_id) {
                signed.bits(unique_id)?;
            }
        }
        let mut extensions = Reader::default();
        if signed.is_next(tag::explicit(3)) {
            extensions = signed.within(tag::explicit(3), |outer| {
                outer.within(tag::SEQUENCE, |list| {
                    let all = *list;
                    while !list.is_empty() {
                        extension(list)?;
                    }
                    Some(all)
                })
            })?;
        }
        Some(Self { common_name, validity, key, extensions, signature_algorithm })
    }

    /// The value of this extension, if the certificate has it. `None` if it has it twice.
    fn extension(&self, id: &[u8]) -> Option<Option<&'a [u8]>> {
        let mut list = self.extensions;
        let mut found = None;
        while !list.is_empty() {
            let (oid, value) = extension(&mut list)?;
            if oid == id && found.replace(value).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

/// The one common name in a `Name`: the inner `None` if it has none, or several, or one in an unusual encoding.
fn read_common_name<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a str>> {
    let mut found = None;
    let mut count = 0_usize;
    reader.within(tag::SEQUENCE, |name| {
        while !name.is_empty() {
            name.within(tag::SET, |relative| {
                while !relative.is_empty() {
                    let (oid, value) = relative.within(tag::SEQUENCE, |pair| Some((pair.oid()?, pair.any()?)))?;
                    if oid == COMMON_NAME {
                        count += 1;
                        let is_usual = matches!(value.tag, tag::UTF8_STRING | tag::PRINTABLE_STRING);
                        found = std::str::from_utf8(value.content).ok().filter(|_| is_usual);
                    }
                }
                Some(())
            })?;
        }
        Some(())
    })?;
    Some(found.filter(|_| count == 1))
}

/// The next extension: its OBJECT IDENTIFIER and its value.
fn extension<'a>(list: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    list.within(tag::SEQUENCE, |extension| {
        let oid = extension.oid()?;
        extension.boolean_or_false()?; // is it critical? webpki asks.
        Some((oid, extension.content(tag::OCTET_STRING)?))
    })
}

/// The bits of a key's use (RFC 5280 §4.2.1.3). Nine of them have a meaning.
fn key_usage<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    reader.bits(tag::BIT_STRING).filter(|bits| bits.len() <= 2)
}

/// Is it a CA, and how many intermediates may stand below it (RFC 5280 §4.2.1.9)?
fn basic_constraints(reader: &mut Reader<'_>) -> Option<(bool, Option<u8>)> {
    reader.within(tag::SEQUENCE, |constraints| {
        let is_ca = constraints.boolean_or_false()?;
        if constraints.is_empty() {
            return Some((is_ca, None));
        }
        match constraints.unsigned()? {
            [path_length] => Some((is_ca, Some(*path_length))),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
