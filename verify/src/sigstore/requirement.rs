//! What a policy requires of an image's signatures, and whether they meet it.

use std::collections::BTreeMap;
use std::fmt;

use super::key::SigstoreKey;
use super::signature::{NotCounted, Signature};
use crate::image::Sha256;
use crate::verified::VerifiedDigest;

/// A signer of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its name in the policy.
    pub name: String,
    /// Its key. No two signers of one requirement have the same key.
    pub key: SigstoreKey,
}

/// The image that signatures are to be about.
#[derive(Clone, Copy, Debug)]
pub struct SignedImage<'a> {
    /// Its digest.
    pub digest: Sha256,
    /// Its manifest's bytes, if they are at hand: a bundle with a message signature is over them.
    pub manifest: Option<&'a [u8]>,
}

/// What a policy requires.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    /// The signers.
    pub signers: &'a [Signer],
    /// How many of them must have signed; `None` for all.
    pub threshold: Option<usize>,
    /// Annotations that each signature that counts must have signed.
    pub annotations: &'a BTreeMap<String, String>,
    /// The repository that the signed `docker-reference` must name, in one spelling: `registry.local:9001/plant/plc`. Only the
    /// old format has one.
    pub repository: Option<&'a str>,
}

/// The image is signed as required.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The digest.
    pub digest: VerifiedDigest,
    /// The names of the requirement's signers that signed it, in the requirement's order.
    pub signers: Vec<String>,
}

/// The image is not signed as required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRejection {
    /// The names of the signers without a signature that counts.
    pub missing: Vec<String>,
    /// How many of the signers have signed.
    pub signed: usize,
}

impl Requirement<'_> {
    /// Do these signatures meet the requirement? Signers count once, whatever the number of their signatures.
    pub fn verify(&self, _image: SignedImage<'_>, _signatures: &[&Signature]) -> Result<Accepted, SignatureRejection> {
        unimplemented!()
    }

    /// The signers whose signature this is, or why it does not count. For people: `verify` decides.
    pub fn signers_of(&self, _image: SignedImage<'_>, _signature: &Signature) -> Result<Vec<String>, NotCounted> {
        unimplemented!()
    }
}

impl fmt::Display for SignatureRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no signature by {}", self.missing.join(", "))
    }
}
