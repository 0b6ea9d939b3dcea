//! Where trust in a repository's root begins: pins that the operator gave, or the first root that was seen.

use super::key::KeyId;

/// One pin, as policy gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RootPin {
    /// The root's own certificate (its DER): some root key's leaf must be this one.
    Certificate(Vec<u8>),
    /// The ID of a root key as it stands in the root role (for x509 keys that of the bundle, not of the bare key).
    KeyId(KeyId),
    /// A CA (its DER) that the root's leaf certificate must chain to.
    Ca(Vec<u8>),
}

impl RootPin {
    /// A certificate pin from PEM text: exactly one certificate.
    pub fn certificate_from_pem(_pem: &str) -> Result<Self, PinError> {
        todo!()
    }

    /// A CA pin from PEM text: exactly one certificate, which must be a CA.
    pub fn ca_from_pem(_pem: &str) -> Result<Self, PinError> {
        todo!()
    }
}

/// A pin that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinError;

/// May the first root that is seen be trusted, where no pin is given?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstUse {
    /// Trust on first use, as Docker does.
    Allowed,
    /// Only pinned roots are trusted.
    Forbidden,
}

/// The pins for one repository, and what holds without any. Pins are used in this order, the first kind that is
/// given decides, with no falling through: certificates or key IDs, then CAs, then first use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// The pins; may be empty.
    pub pins: Vec<RootPin>,
    /// What holds where `pins` is empty.
    pub first_use: FirstUse,
}
