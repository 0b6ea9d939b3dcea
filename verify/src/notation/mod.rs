//! Notation's signatures (Notary Project; SCHEMES.md, section 5): envelopes in JWS or COSE with a chain of certificates,
//! against trust stores and identities.
//!
//! A signature is over a manifest's digest, media type and size. It says nothing about tags and repositories. An envelope is
//! read by a strict reader. Once a certificate of its chain is one that a policy trusts, its own signature and the rules for its
//! chain that do not depend on the time are checked, once. Dates, anchors, identities, expiry and metadata are compared anew
//! for each image.
//!
//! What is never done here: no request for OCSP or for a revocation list, no plug-ins, and no certificate is trusted because
//! an envelope has it.

mod cbor;
mod chain;
mod cose;
mod envelope;
mod headers;
mod identity;
mod jws;
mod payload;
mod rejection;
mod requirement;
mod revocation;
mod revocation_list;
mod subject;
#[cfg(test)]
mod tests;
mod trust_policy;
mod trust_store;

pub use crate::not_counted::{NotCounted, SignedTime};
pub use envelope::{Envelope, EnvelopeFormat};
pub use identity::{Identity, IdentityError};
pub use rejection::Rejection;
pub use requirement::{Accepted, Requirement, SignedImage};
pub use revocation::{Revocation, RevocationError, RevocationLists};
pub use trust_policy::{PolicyEffect, TrustPolicy, TrustPolicyError};
pub use trust_store::{StoreError, TrustStores, read_store_file};

use crate::json::{Allowance, Document, Value};
use crate::text::is_folded;

/// The largest envelope, in bytes.
pub const MAX_ENVELOPE: usize = 512 << 10;
/// The largest file of a trust store, in bytes.
pub const MAX_STORE_FILE: usize = 1 << 20;
/// The largest revocation list, in bytes.
pub const MAX_REVOCATION_LIST: usize = 8 << 20;
/// The most values and names in an envelope, in its headers or in its payload. Those that notation writes have fewer than fifty.
const MAX_VALUES: usize = 8192;

/// Reads JSON. `what` names it in the error.
fn read_json<'a>(bytes: &'a [u8], cap: usize, what: &'static str) -> Result<Document<'a>, NotCounted> {
    if bytes.len() > cap {
        return Err(NotCounted::TooLarge { what, cap });
    }
    Document::read(bytes, Allowance::of_text(bytes.len(), MAX_VALUES)).map_err(|error| NotCounted::Json { what, error })
}

/// Refuses what is no object, and names that differ from these only in upper and lower case: notation takes them for these.
fn check_names(object: Value<'_>, names: &[&'static str]) -> Result<(), NotCounted> {
    let members = object.object().ok_or(NotCounted::Shape("the envelope has another value where an object belongs"))?;
    for (name, _) in members {
        if let Some(name) = names.iter().find(|known| name != **known && is_folded(name, known)) {
            return Err(NotCounted::OtherCase { name });
        }
    }
    Ok(())
}
