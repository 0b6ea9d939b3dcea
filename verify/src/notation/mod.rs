//! Notation's signatures (Notary Project; SCHEMES.md, section 5): envelopes in JWS or COSE with a chain of certificates,
//! against trust stores and identities.
//!
//! A signature is over a manifest's digest, media type and size. It says nothing about tags and repositories. An envelope is
//! read by a strict reader, and its own signature and the rules for its chain that do not depend on the time are checked once,
//! when it is read. Dates, anchors, identities, expiry and metadata are compared anew for each image.
//!
//! What is never done here: no request for OCSP or for a revocation list, no plug-ins, and no certificate is trusted because
//! an envelope has it.

mod envelope;
mod identity;
mod not_counted;
mod rejection;
mod requirement;
mod revocation;
mod trust_store;

pub use envelope::{Envelope, EnvelopeFormat};
pub use identity::{Identity, IdentityError};
pub use not_counted::{NotCounted, SignedTime};
pub use rejection::Rejection;
pub use requirement::{Accepted, Requirement, SignedImage};
pub use revocation::{Revocation, RevocationError, RevocationLists};
pub use trust_store::{StoreError, TrustStores, read_store_file};

/// The largest envelope, in bytes.
pub const MAX_ENVELOPE: usize = 512 << 10;
/// The largest file of a trust store, in bytes.
pub const MAX_STORE_FILE: usize = 1 << 20;
/// The largest revocation list, in bytes.
pub const MAX_REVOCATION_LIST: usize = 8 << 20;
