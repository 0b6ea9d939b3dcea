//! The anchor of trust in a repository's root: the operator's pins, or the first root that was verified.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::key::{KeyId, ListedKey};
use crate::crypto::certificate::Certificate;
use crate::crypto::pem::pem_blocks;
use crate::crypto::public_key::PublicKey;

/// A pin of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RootPin {
    /// The certificate of a root key, in DER.
    Certificate(Vec<u8>),
    /// The ID of a root key in the root role. For an x509 key this is the ID of its certificates, not of the bare key.
    KeyId(KeyId),
    /// A CA, in DER, to which the certificate of a root key must chain.
    Ca(Vec<u8>),
}

impl RootPin {
    /// A certificate pin from PEM text with exactly one certificate.
    pub fn certificate_from_pem(pem: &str) -> Result<Self, PinError> {
        one_certificate(pem).map(|(der, _)| Self::Certificate(der))
    }

    /// A CA pin from PEM text with exactly one certificate, which must be that of a CA.
    pub fn ca_from_pem(pem: &str) -> Result<Self, PinError> {
        let (der, certificate) = one_certificate(pem)?;
        match (certificate.is_ca(), certificate.may_issue()) {
            (false, _) => Err(PinError::NotACa),
            (true, false) => Err(PinError::MayNotIssue),
            (true, true) => Ok(Self::Ca(der)),
        }
    }
}

/// May the first root be trusted where no pin is given?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstUse {
    /// Trust on first use, as Docker does.
    Allowed,
    /// Only pinned roots are trusted.
    Forbidden,
}

/// The pins for a repository, and what holds without pins. The first kind that is given decides alone, in this order:
/// certificates and key IDs, CAs, first use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// The pins. There may be none. The anchors of one policy share them, and so compare them by their address first.
    pub pins: Arc<Vec<RootPin>>,
    /// What holds where `pins` is empty.
    pub first_use: FirstUse,
}

impl Anchor {
    /// Which kind of pin decides.
    pub fn kind(&self) -> AnchorKind {
        let exact = |pin: &RootPin| matches!(pin, RootPin::Certificate(_) | RootPin::KeyId(_));
        if self.pins.iter().any(exact) {
            AnchorKind::Key
        } else if !self.pins.is_empty() {
            AnchorKind::Ca
        } else {
            match self.first_use {
                FirstUse::Allowed => AnchorKind::FirstUse,
                FirstUse::Forbidden => AnchorKind::Nothing,
            }
        }
    }

    /// May this root key count, and until when? (TRUST.md, rows 2 and 6 to 13.)
    pub(crate) fn accepts_until(&self, key: &ListedKey, now: Timestamp) -> Option<Timestamp> {
        let certificate = key.certificate()?;
        let accepted = match self.kind() {
            AnchorKind::Key => self.pins.iter().any(|pin| match pin {
                RootPin::Certificate(der) => certificate.has_leaf(der),
                RootPin::KeyId(id) => *id == key.id(), // not the ID of the bare key: TRUST.md, row 8
                RootPin::Ca(_) => false,
            }),
            AnchorKind::Ca => {
                // When a pinned CA expires, certificates under it end as well (TRUST.md, row 12).
                let ends = self.pins.iter().filter_map(|pin| match pin {
                    RootPin::Ca(ca) => certificate.chains_to_until(ca, now),
                    RootPin::Certificate(_) | RootPin::KeyId(_) => None,
                });
                return ends.max();
            }
            AnchorKind::FirstUse => true,
            AnchorKind::Nothing => false,
        };
        accepted.then(|| certificate.ends())
    }
}

/// What makes a root trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorKind {
    /// Pinned certificates and key IDs.
    Key,
    /// Pinned CAs.
    Ca,
    /// The first root.
    FirstUse,
    /// No root is trusted: there is no pin, and first use is forbidden.
    Nothing,
}

fn one_certificate(pem: &str) -> Result<(Vec<u8>, Certificate), PinError> {
    let blocks = pem_blocks(pem, 16).ok_or(PinError::Malformed)?;
    if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
        return Err(PinError::PrivateKey);
    }
    match blocks.as_slice() {
        [block] if block.label == "CERTIFICATE" => {
            let certificate = Certificate::from_der(&block.der).ok_or(PinError::Malformed)?;
            if certificate.key().is_some_and(PublicKey::is_weak) {
                return Err(PinError::Weak);
            }
            Ok((block.der.clone(), certificate))
        }
        _ => Err(PinError::NotOneCertificate { found: blocks.len() }),
    }
}

/// A pin that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinError {
    /// There is not exactly one PEM block `CERTIFICATE`.
    NotOneCertificate {
        /// How many blocks there are.
        found: usize,
    },
    /// It is, or holds, a private key.
    PrivateKey,
    /// The PEM, or the certificate in it, is broken.
    Malformed,
    /// The certificate is not a CA's.
    NotACa,
    /// The certificate of the CA does not allow its key to sign certificates.
    MayNotIssue,
    /// The certificate's key is too weak to be trusted.
    Weak,
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOneCertificate { found } => {
                write!(f, "expected exactly one PEM block CERTIFICATE, and found {found} PEM blocks")
            }
            Self::PrivateKey => {
                f.write_str("this holds a private key, which belongs with its owner; give the CERTIFICATE")
            }
            Self::Malformed => f.write_str("the PEM block, or the certificate in it, is broken"),
            Self::NotACa => f.write_str(
                "the certificate is not a CA's (CA:TRUE); to pin this very certificate, use \"certificate\"",
            ),
            Self::MayNotIssue => f.write_str(
                "the CA's certificate does not allow its key to sign certificates (its keyUsage lacks keyCertSign); \
                 issue a new one",
            ),
            Self::Weak => f.write_str(
                "the certificate's key is weak (RSA with fewer than 2048 bits, or Ed25519 of small order); make a new \
                 key pair",
            ),
        }
    }
}

impl std::error::Error for PinError {}

#[cfg(test)]
mod tests {
    use portreeve_test_support::certificates::Authority;
    use portreeve_test_support::signer::Key;

    use super::*;

    #[test]
    fn pins_are_single_certificates() {
        let ca = Authority::new();
        let root = String::from_utf8(Key::root("registry.local/plc").public()).unwrap();
        assert_eq!(RootPin::ca_from_pem(&ca.pem()), Ok(RootPin::Ca(ca.der())));
        assert_eq!(RootPin::certificate_from_pem(&ca.pem()), Ok(RootPin::Certificate(ca.der())));
        assert!(RootPin::certificate_from_pem(&root).is_ok());
        assert_eq!(RootPin::ca_from_pem(&root), Err(PinError::NotACa));
        for (pem, error) in [
            (String::new(), PinError::NotOneCertificate { found: 0 }),
            (ca.pem() + &root, PinError::NotOneCertificate { found: 2 }),
            (Key::p256().public_pem(), PinError::NotOneCertificate { found: 1 }),
            (Key::p256().private_pem(), PinError::PrivateKey),
            (ca.pem().replace("-----END", "---END"), PinError::Malformed),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), PinError::Malformed),
        ] {
            assert_eq!(RootPin::certificate_from_pem(&pem), Err(error.clone()), "{pem}");
            assert_eq!(RootPin::ca_from_pem(&pem), Err(error.clone()), "{pem}");
            assert!(!error.to_string().is_empty());
        }
    }
}
