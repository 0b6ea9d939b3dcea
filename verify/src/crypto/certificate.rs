//! X.509 certificates around Notary's keys, and the PEM text they come in.
//!
//! A root key is one PEM bundle: exactly one certificate that is no CA, and first. Notary computes the key's ID from
//! the bundle as it would write it itself, so text that is not in that very form is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::ext::pkix;

use crate::heap_size::{allocation, inline_size};
use crate::tuf::gun::Gun;
use crate::tuf::key::Material;

/// Clocks of signers may run ahead by this much (TRUST.md, rows 14 and 15).
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_hours(24);

/// A bundle is as long as a chain may get; more is nobody's honest root key.
const BUNDLE: usize = 16;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Signature algorithms of certificates that are not weak. SHA-1 and older are missing (row 22), and so is RSA-PSS,
/// whose parameters would have to be judged one by one.
const STRONG: [ObjectIdentifier; 7] = [
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"), // ecdsa-with-SHA256
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), // ecdsa-with-SHA384
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"), // ecdsa-with-SHA512
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), // sha256WithRSAEncryption
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), // sha384WithRSAEncryption
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), // sha512WithRSAEncryption
    ObjectIdentifier::new_unwrap("1.3.101.112"),         // Ed25519
];

/// The certificates of one key, leaf first.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    certificates: Vec<Certificate>,
}

impl Bundle {
    /// About what it takes in memory.
    pub(crate) fn heap_size(&self) -> u64 {
        self.certificates
            .iter()
            .map(|certificate| inline_size::<Certificate>() + allocation(certificate.der.len()))
            .sum()
    }

    /// From PEM text in exactly the form in which Notary writes it: LF, 64 columns, no headers, nothing between.
    pub(crate) fn from_canonical_pem(pem: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok()?;
        let blocks = pem_blocks(text, BUNDLE)?;
        let written: String = blocks.iter().map(|block| pem_text(&block.label, &block.der)).collect();
        // Row 21: CRLF, junk or other line lengths give another ID in Notary's own reckoning.
        if written != text || blocks.iter().any(|block| block.label != "CERTIFICATE") {
            return None;
        }
        let certificates: Option<Vec<_>> = blocks.iter().map(|block| Certificate::from_der(&block.der)).collect();
        certificates.filter(|certificates| !certificates.is_empty()).map(|certificates| Self { certificates })
    }

    /// The key of the first certificate.
    pub(crate) fn key(&self) -> Option<&Material> {
        self.certificates.first().and_then(|leaf| leaf.key.as_ref())
    }

    /// May this bundle hold a root key of `gun`? Everything but the dates (TRUST.md, "Reading a repository", 2).
    pub(crate) fn is_root_key_of(&self, gun: &Gun) -> bool {
        self.root_key_of().is_some_and(|name| names(name, gun))
    }

    /// The name of the repositories whose root key this may be.
    pub(crate) fn root_key_of(&self) -> Option<&str> {
        let (leaf, rest) = self.certificates.split_first()?;
        let shape = !leaf.is_ca && rest.iter().all(|certificate| certificate.is_ca); // row 19
        let strong = self.certificates.iter().all(Certificate::is_strong); // row 22
        leaf.common_name.as_deref().filter(|_| shape && strong)
    }

    /// Are all certificates in date? One that is not changes the ID in Notary's reckoning (row 18).
    pub(crate) fn in_date(&self, now: Timestamp) -> bool {
        self.certificates.iter().all(|certificate| certificate.in_date(now))
    }

    /// When the first of the certificates ends.
    pub(crate) fn ends(&self) -> Timestamp {
        self.certificates.iter().map(|certificate| certificate.not_after).min().unwrap_or(Timestamp::MIN)
    }

    /// Is this the leaf?
    pub(crate) fn has_leaf(&self, der: &[u8]) -> bool {
        self.certificates.first().is_some_and(|leaf| leaf.der == der)
    }

    /// Does the leaf chain to this CA, through the bundle's own intermediates? Says until when.
    pub(crate) fn chains_to_until(&self, ca: &[u8], now: Timestamp) -> Option<Timestamp> {
        // webpki takes an anchor as trusted whatever its dates and constraints; an expired pin is none (row 12).
        let pinned = Certificate::from_der(ca).filter(|ca| ca.in_date(now) && ca.may_issue)?;
        let (leaf, rest) = self.certificates.split_first()?;
        let ca = CertificateDer::from(ca);
        let anchor = anchor_from_trusted_cert(&ca).ok()?;
        let leaf = CertificateDer::from(leaf.der.as_slice());
        let leaf = EndEntityCert::try_from(&leaf).ok()?;
        // webpki does not look at the key usage of an issuer (RFC 5280 §6.1.4 (n); row 105).
        let issuers = rest.iter().filter(|certificate| certificate.may_issue);
        let intermediates: Vec<_> = issuers.map(|c| CertificateDer::from(c.der.as_slice())).collect();
        let seconds = u64::try_from(now.as_second()).ok()?;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        // Row 13: Notary's path check wants serverAuth, where the leaf limits its use at all.
        let usage = KeyUsage::server_auth();
        // It asks the intermediates for their path length, but not the anchor (RFC 5280 §4.2.1.9).
        let fits = |path: &VerifiedPath<'_>| match pinned.path_length {
            Some(most) if path.intermediate_certificates().count() > usize::from(most) => {
                Err(webpki::Error::PathLenConstraintViolated)
            }
            _ => Ok(()),
        };
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &intermediates, time, usage, None, Some(&fits)).ok()?;
        Some(pinned.not_after.min(self.ends()))
    }
}

/// One certificate, as far as trust data cares.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    common_name: Option<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    is_ca: bool,
    /// Is it allowed to sign certificates, where it limits the use of its key at all?
    may_issue: bool,
    /// How many intermediates may follow it.
    path_length: Option<u8>,
    strong_signature: bool,
    key: Option<Material>,
}

impl Certificate {
    /// From DER; `None` if it is none.
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
            _ => None, // none, several or in an encoding that nobody writes: it names nothing
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
            key: tbs.subject_public_key_info().to_der().ok().and_then(|spki| Material::from_spki(&spki)),
        })
    }

    pub(crate) fn is_ca(&self) -> bool {
        self.is_ca
    }

    pub(crate) fn may_issue(&self) -> bool {
        self.may_issue
    }

    pub(crate) fn key(&self) -> Option<&Material> {
        self.key.as_ref()
    }

    fn is_strong(&self) -> bool {
        self.strong_signature && self.key.as_ref().is_some_and(|key| !key.is_weak())
    }

    fn in_date(&self, now: Timestamp) -> bool {
        // Saturating: a date at the end of time stays there.
        let from = self.not_before.checked_sub(NOT_BEFORE_LEEWAY).unwrap_or(Timestamp::MIN);
        from <= now && now <= self.not_after
    }
}

/// Is this common name the GUN, or a prefix of it that ends in `*` (rows 3 to 5)?
fn names(common_name: &str, gun: &Gun) -> bool {
    match common_name.strip_suffix('*') {
        Some(prefix) => gun.as_str().starts_with(prefix),
        None => gun.as_str() == common_name,
    }
}

/// The certificate with its dates before 1970, which x509-cert does not read, replaced by the beginning of 1970. For
/// reading alone: signatures are verified over the original. `None` if it has no such dates.
fn without_early_dates(der: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut dates = Vec::new();
    // What follows the dates is not read here, which is an error to the reader, and none to us.
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

/// One block of PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PemBlock {
    pub(crate) label: String,
    pub(crate) der: Vec<u8>,
}

/// The blocks of PEM text, at most `limit`; headers and what stands between blocks are skipped. `None` if a block is
/// broken.
pub(crate) fn pem_blocks(text: &str, limit: usize) -> Option<Vec<PemBlock>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut base64 = String::new();
        loop {
            let line = lines.next()?;
            if line == end {
                break;
            }
            // RFC 1421 headers, such as Docker's `role: alice`.
            if !line.contains(':') {
                base64.push_str(line);
            }
        }
        if blocks.len() == limit {
            return None;
        }
        blocks.push(PemBlock { label: label.to_owned(), der: STANDARD.decode(base64).ok()? });
    }
    Some(blocks)
}

/// One block as Notary writes it.
fn pem_text(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::certificates::Authority;

    use super::*;

    fn is_root_key(pem: &str) -> bool {
        let gun = Gun::new("registry.local:9001/plant/plc").unwrap();
        Bundle::from_canonical_pem(pem.as_bytes()).unwrap().is_root_key_of(&gun)
    }

    #[test]
    fn row_022_weak_certificates_hold_no_root_key() {
        // Three certificates that differ in nothing but their strength.
        assert!(is_root_key(include_str!("../tuf/fixtures/sound-root-certificate.pem")));
        assert!(!is_root_key(include_str!("../tuf/fixtures/sha1-root-certificate.pem")));
        assert!(!is_root_key(include_str!("../tuf/fixtures/rsa-1024-root-certificate.pem")));
    }

    #[test]
    fn bundles_are_written_as_notary_writes_them() {
        let pem = Authority::new().pem();
        assert!(Bundle::from_canonical_pem(pem.as_bytes()).is_some());
        assert!(Bundle::from_canonical_pem((pem.clone() + &pem).as_bytes()).is_some());
        assert!(Bundle::from_canonical_pem(pem.repeat(BUNDLE).as_bytes()).is_some());
        let one_line = {
            let der = pem_blocks(&pem, 1).unwrap().remove(0).der;
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
        };
        for bad in [
            String::new(),
            pem.trim_end().to_owned(),
            format!("{pem}\n"),
            format!("\n{pem}"),
            pem.replace('\n', "\r\n"),
            pem.replace("-----\nM", "-----\nrole: x\n\nM"),
            pem.replace("CERTIFICATE", "PUBLIC KEY"),
            pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            one_line,
            pem.repeat(BUNDLE + 1),
        ] {
            assert!(Bundle::from_canonical_pem(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Bundle::from_canonical_pem(b"\xff").is_none());
    }
}
