//! Keys, certificates and PEM text. Nothing here knows a signature scheme.

pub(crate) mod algorithm;
pub(crate) mod certificate;
pub(crate) mod certificate_ref;
pub(crate) mod chain;
pub(crate) mod der;
pub(crate) mod extension;
pub(crate) mod name;
pub(crate) mod pem;
pub(crate) mod public_key;
