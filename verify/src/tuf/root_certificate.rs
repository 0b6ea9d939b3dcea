//! The certificate of a root key. In trust data a root key is one PEM bundle: first exactly one certificate that is not a
//! CA, then its intermediates.
//!
//! Notary computes the ID of the key from the bundle as Notary itself would write it, so a bundle in any other form is
//! refused.

use jiff::Timestamp;

use super::gun::Gun;
use crate::crypto::certificate::Certificate;
use crate::crypto::chain;
use crate::crypto::pem::{pem_blocks, pem_text};
use crate::crypto::public_key::PublicKey;

/// The most certificates of one bundle: as many as a chain may have.
const MAX_CERTIFICATES: usize = 16;

/// The certificate of a root key, and its intermediates behind it.
#[derive(Clone, Debug)]
pub(crate) struct RootCertificate {
    certificates: Vec<Certificate>,
}

impl RootCertificate {
    /// What it takes in memory, nearly.
    pub(crate) fn heap_size(&self) -> u64 {
        self.certificates.iter().map(Certificate::heap_size).sum()
    }

    /// From PEM text in exactly the form in which Notary writes it: LF, lines of 64 characters, no headers, no other text.
    pub(crate) fn from_canonical_pem(pem: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok()?;
        let blocks = pem_blocks(text, MAX_CERTIFICATES)?;
        let written: String = blocks.iter().map(|block| pem_text(&block.label, &block.der)).collect();
        // TRUST.md, row 21: Notary computes another ID for CRLF, other text or other line lengths.
        if written != text || blocks.iter().any(|block| block.label != "CERTIFICATE") {
            return None;
        }
        let certificates: Option<Vec<_>> = blocks.iter().map(|block| Certificate::from_der(&block.der)).collect();
        certificates.filter(|certificates| !certificates.is_empty()).map(|certificates| Self { certificates })
    }

    /// The key of the first certificate.
    pub(crate) fn key(&self) -> Option<&PublicKey> {
        self.certificates.first().and_then(Certificate::key)
    }

    /// May this be the certificate of a root key of `gun`? All checks but that of the dates (TRUST.md, "Reading a repository",
    /// 2).
    pub(crate) fn is_root_key_of(&self, gun: &Gun) -> bool {
        self.root_key_of().is_some_and(|name| names(name, gun))
    }

    /// The common name, if all other checks pass: the repositories whose root key this may be.
    pub(crate) fn root_key_of(&self) -> Option<&str> {
        let (leaf, rest) = self.certificates.split_first()?;
        let shape = !leaf.is_ca() && rest.iter().all(Certificate::is_ca); // TRUST.md, row 19
        let strong = self.certificates.iter().all(Certificate::is_strong); // TRUST.md, row 22
        leaf.common_name().filter(|_| shape && strong)
    }

    /// Are all certificates in date? Notary computes another ID if one is not (TRUST.md, row 18).
    pub(crate) fn in_date(&self, now: Timestamp) -> bool {
        self.certificates.iter().all(|certificate| certificate.in_date(now))
    }

    /// When the first of the certificates expires.
    pub(crate) fn ends(&self) -> Timestamp {
        self.certificates.iter().map(Certificate::not_after).min().unwrap_or(Timestamp::MIN)
    }

    /// Is this its first certificate?
    pub(crate) fn has_leaf(&self, der: &[u8]) -> bool {
        self.certificates.first().is_some_and(|leaf| leaf.der() == der)
    }

    /// Does it chain to this CA? Until when it does.
    pub(crate) fn chains_to_until(&self, ca: &[u8], now: Timestamp) -> Option<Timestamp> {
        chain::valid_until(&self.certificates, ca, now)
    }
}

/// Is this common name the GUN, or a prefix of the GUN with `*` behind it (TRUST.md, rows 3 to 5)?
fn names(common_name: &str, gun: &Gun) -> bool {
    match common_name.strip_suffix('*') {
        Some(prefix) => gun.as_str().starts_with(prefix),
        None => gun.as_str() == common_name,
    }
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::certificates::Authority;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn is_root_key(pem: &str) -> bool {
        let gun = Gun::new("registry.local:9001/plant/plc").unwrap();
        RootCertificate::from_canonical_pem(pem.as_bytes()).unwrap().is_root_key_of(&gun)
    }

    #[test]
    fn row_022_weak_certificates_hold_no_root_key() {
        // Three certificates that differ in nothing but their strength.
        assert!(is_root_key(include_str!("fixtures/sound-root-certificate.pem")));
        assert!(!is_root_key(include_str!("fixtures/sha1-root-certificate.pem")));
        assert!(!is_root_key(include_str!("fixtures/rsa-1024-root-certificate.pem")));
    }

    #[test]
    fn bundles_are_written_as_notary_writes_them() {
        let pem = Authority::new().pem();
        assert!(RootCertificate::from_canonical_pem(pem.as_bytes()).is_some());
        assert!(RootCertificate::from_canonical_pem((pem.clone() + &pem).as_bytes()).is_some());
        assert!(RootCertificate::from_canonical_pem(pem.repeat(MAX_CERTIFICATES).as_bytes()).is_some());
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
            pem.repeat(MAX_CERTIFICATES + 1),
        ] {
            assert!(RootCertificate::from_canonical_pem(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(RootCertificate::from_canonical_pem(b"\xff").is_none());
    }
}
