//! Keys, certificates and PEM text. Nothing here knows a signature scheme.

pub(crate) mod certificate;
pub(crate) mod chain;
mod der;
pub(crate) mod pem;
pub(crate) mod public_key;
