//! Keys and certificates.

pub(crate) mod certificate;
