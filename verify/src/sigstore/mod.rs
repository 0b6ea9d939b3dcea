//! cosign's signatures with keys, in both formats: the old one (a simple-signing payload, one layer each) and Sigstore bundles
//! (SCHEMES.md, sections 2 and 3).
//!
//! A signature is over a digest. It says nothing about tags, about other repositories with the same image, or about newer
//! images. Signatures are parsed once by a strict reader. What a policy requires is decided anew for each image.

mod bundle;
mod key;
mod payload;
mod requirement;
mod signature;

pub use key::{SigstoreKey, SigstoreKeyError};
pub use requirement::{Accepted, Requirement, SignatureRejection, SignedImage, Signer};
pub use signature::{NotCounted, Signature, SignatureFormat};

/// The largest payload of the old format, in bytes.
pub const MAX_PAYLOAD: usize = 64 << 10;
/// The largest bundle, in bytes.
pub const MAX_BUNDLE: usize = 512 << 10;
