//! cosign's signatures with keys and with certificates, in both formats: the old one (a simple-signing payload, one layer each)
//! and Sigstore bundles (SCHEMES.md, sections 2 to 4).
//!
//! A signature is over a digest. It says nothing about tags, about other repositories with the same image, or about newer
//! images. Signatures are parsed once by a strict reader. What a policy requires is decided anew for each image.
//!
//! Certificates, time stamps and entries of transparency logs are read and verified only under a trusted root, if a policy names
//! an identity or requires a log. A policy that names a key asks for neither, and they are not looked at.

mod bundle;
mod checkpoint;
mod claim;
mod entry;
mod evidence;
mod fulcio;
mod identity;
mod key;
mod material;
mod merkle;
mod payload;
mod rejection;
mod requirement;
mod sct;
mod signature;
mod statement;
#[cfg(test)]
mod tests;
mod trusted_root;

pub use crate::not_counted::NotCounted;
pub use identity::{Identity, IdentityError, SignedBy};
pub use key::{SigstoreKey, SigstoreKeyError};
pub use rejection::SignatureRejection;
pub use requirement::{Accepted, BY_CERTIFICATE, Requirement, SignedImage, Signer, described};
pub use signature::{Signature, SignatureFormat};
pub use trusted_root::{MAX_TRUSTED_ROOT, TrustedRoot, TrustedRootEnd, TrustedRootError};

use crate::json::{Allowance, Document};

/// The largest payload of the old format, in bytes.
pub const MAX_PAYLOAD: usize = 64 << 10;
/// The largest bundle, in bytes.
pub const MAX_BUNDLE: usize = 512 << 10;
/// The most values and names in a payload, a bundle or a statement. Those that cosign writes have fewer than fifty.
const MAX_VALUES: usize = 8192;

/// Reads the JSON of a payload, a bundle or a statement. `what` names it in the error.
fn read_json<'a>(bytes: &'a [u8], cap: usize, what: &'static str) -> Result<Document<'a>, NotCounted> {
    if bytes.len() > cap {
        return Err(NotCounted::TooLarge { what, cap });
    }
    Document::read(bytes, Allowance::of_text(bytes.len(), MAX_VALUES)).map_err(|error| NotCounted::Json { what, error })
}
