//! Trust stores: the certificates that a policy trusts, as notation keeps them on disk
//! (`truststore/x509/{ca,signingAuthority,tsa}/<name>/`).

use std::fmt;

use super::chain::check_any;
use super::{MAX_STORE_FILE, subject};
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::pem::pem_blocks;
use crate::image::Sha256;
use crate::text::printable;

/// The most certificates of a file.
const MAX_CERTIFICATES: usize = 256;

/// The certificates of a policy's trust stores, by the stores' types, in DER. They come from [`read_store_file`].
#[derive(Clone, Debug, Default)]
pub struct TrustStores {
    ca: Vec<Vec<u8>>,
    signing_authority: Vec<Vec<u8>>,
    /// With the hash of the certificates.
    tsa: Option<(Vec<Vec<u8>>, Sha256)>,
}

impl TrustStores {
    /// From the certificates of all stores of each type. `tsa` is `None` if the policy has no store of that type: no time stamp is
    /// then looked at.
    pub fn new(ca: Vec<Vec<u8>>, signing_authority: Vec<Vec<u8>>, tsa: Option<Vec<Vec<u8>>>) -> Self {
        let tsa = tsa.map(|tsa| {
            let id = Sha256::of_parts(tsa.iter().map(Vec::as_slice));
            (tsa, id)
        });
        Self { ca, signing_authority, tsa }
    }

    /// The certificates of the stores of the type `ca`.
    pub fn ca(&self) -> &[Vec<u8>] {
        &self.ca
    }

    /// The certificates of the stores of the type `signingAuthority`.
    pub fn signing_authority(&self) -> &[Vec<u8>] {
        &self.signing_authority
    }

    /// The certificates of the stores of the type `tsa`, if the policy has one.
    pub fn tsa(&self) -> Option<&[Vec<u8>]> {
        self.tsa.as_ref().map(|(tsa, _)| tsa.as_slice())
    }

    /// The hash of the certificates of the stores of the type `tsa`.
    pub(super) fn tsa_id(&self) -> Option<Sha256> {
        self.tsa.as_ref().map(|(_, id)| *id)
    }
}

/// The certificates of a file of a trust store, in DER: the file is one certificate in DER, or PEM text with one or more.
/// Certificates that can never be an anchor are errors by name.
pub fn read_store_file(bytes: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    if bytes.len() > MAX_STORE_FILE {
        return Err(StoreError::TooLarge);
    }
    let certificates = if bytes.first() == Some(&0x30) {
        vec![bytes.to_vec()]
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| StoreError::Damaged { place: 1 })?;
        let blocks = pem_blocks(text, MAX_CERTIFICATES).ok_or(StoreError::Pem)?;
        let mut certificates = Vec::new();
        for block in blocks {
            if block.label != "CERTIFICATE" {
                return Err(StoreError::OtherLabel { label: printable(&block.label, 40) });
            }
            certificates.push(block.der);
        }
        certificates
    };
    if certificates.is_empty() {
        return Err(StoreError::Empty);
    }
    for (index, der) in certificates.iter().enumerate() {
        let certificate = CertificateRef::read(der).ok_or(StoreError::Damaged { place: index + 1 })?;
        if let Err(what) = check_anchor(&certificate) {
            return Err(StoreError::Unusable { subject: subject::printable(certificate.subject), what });
        }
    }
    Ok(certificates)
}

/// Can it ever be an anchor? It is a CA, or its own issuer (trust-store-trust-policy.md, "Trust Store").
fn check_anchor(certificate: &CertificateRef<'_>) -> Result<(), &'static str> {
    check_any(certificate)?;
    let is_ca = matches!(certificate.basic_constraints(), Some(Some(constraints)) if constraints.is_ca);
    if is_ca || certificate.is_signed_by(certificate) {
        Ok(())
    } else {
        Err("is neither a CA nor self-signed: put the CA that issued it into the store")
    }
}

/// A file of a trust store that cannot be used. `Display` says what is wrong, and what belongs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It is larger than its cap.
    TooLarge,
    /// It has no certificate.
    Empty,
    /// A PEM block of it is broken, or it has too many.
    Pem,
    /// It has a PEM block of another kind.
    OtherLabel {
        /// Its label.
        label: String,
    },
    /// A certificate of it cannot be read.
    Damaged {
        /// Its place, from 1.
        place: usize,
    },
    /// A certificate of it can never be an anchor.
    Unusable {
        /// Its subject, printable.
        subject: String,
        /// Why.
        what: &'static str,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "it is larger than its cap of {MAX_STORE_FILE} bytes"),
            Self::Empty => f.write_str("it has no certificate; a CA's certificate in PEM or DER belongs here"),
            Self::Pem => {
                write!(f, "it has a broken PEM block, or more than {MAX_CERTIFICATES}; copy the certificates again")
            }
            Self::OtherLabel { label } => {
                write!(f, "it has a PEM block \"{label}\", and only certificates belong here")
            }
            Self::Damaged { place } => {
                write!(f, "certificate {place} of it is damaged, or no certificate; copy it again")
            }
            Self::Unusable { subject, what } => write!(f, "the certificate of {subject} {what}"),
        }
    }
}

impl std::error::Error for StoreError {}
