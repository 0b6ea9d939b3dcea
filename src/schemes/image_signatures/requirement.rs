//! What a policy requires of the signatures that a registry keeps beside an image, whatever their scheme: each scheme's
//! requirement, and the few questions that a lookup asks it.

use std::fmt;

use super::kind::Kind;
use crate::schemes::evidence::{Signature, SignatureForm};
use crate::schemes::{Finding, cosign, notation};
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::{Image, MAX_CANDIDATES};
use portreeve_verify::sigstore::{self, SignatureRejection};
use portreeve_verify::{Effort, VerifiedDigest, notation as envelope};

/// The image that signatures are to be about.
#[derive(Clone, Copy)]
pub(in crate::schemes) struct SignedImage<'a> {
    pub(in crate::schemes) image: &'a Image,
    /// Its manifest's bytes, if they are at hand.
    pub(in crate::schemes) manifest: Option<&'a [u8]>,
}

/// What a policy requires, with all keys.
#[derive(Clone, Copy)]
pub(crate) enum Requirement<'a> {
    Cosign(sigstore::Requirement<'a>),
    Notation(&'a notation::Required, Effort<'a>),
}

/// The same, for messages and for people after the request.
#[derive(Clone, Debug)]
pub(in crate::schemes) enum Required {
    Cosign(cosign::Required),
    Notation(notation::Required),
}

/// The image is signed as required.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) digest: VerifiedDigest,
    pub(super) signers: Vec<String>,
}

/// Why an image's signatures do not meet a requirement.
pub(super) enum Rejection {
    Cosign(SignatureRejection),
    Notation(envelope::Rejection),
}

impl Requirement<'_> {
    /// Which signatures count at all.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Cosign(_) => Kind::Cosign,
            Self::Notation(..) => Kind::Notation,
        }
    }

    /// A command that signs as it requires, up to the image.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Cosign(requirement) if requirement.signers.iter().all(|signer| signer.by.identity().is_some()) => {
                "cosign sign"
            }
            Self::Cosign(_) => "cosign sign --key …",
            Self::Notation(..) => "notation sign",
        }
    }

    /// Do these signatures meet it? Those of other kinds are not looked at.
    pub(super) fn verify(
        &self,
        of: SignedImage<'_>,
        signatures: &mut dyn Iterator<Item = &Signature>,
    ) -> Result<Accepted, Rejection> {
        let most = signatures.size_hint().1.unwrap_or(MAX_CANDIDATES).min(2 * MAX_CANDIDATES);
        match self {
            Self::Cosign(requirement) => {
                let mut own = Vec::with_capacity(most);
                own.extend(signatures.filter_map(Signature::sigstore));
                let accepted = requirement.verify(of.into(), &own).map_err(Rejection::Cosign)?;
                Ok(Accepted { digest: accepted.digest, signers: accepted.signers })
            }
            Self::Notation(required, effort) => {
                let mut own = Vec::with_capacity(most);
                own.extend(signatures.filter_map(Signature::notation));
                let accepted = required.as_ref(*effort).verify(of.into(), &own, required.now);
                let accepted = accepted.map_err(Rejection::Notation)?;
                Ok(Accepted { digest: accepted.digest, signers: accepted.signers })
            }
        }
    }

    /// Does a signature count?
    pub(super) fn counts(&self, of: SignedImage<'_>, signature: &Signature) -> bool {
        match (self, signature) {
            (Self::Cosign(requirement), Signature::Sigstore(signature)) => {
                requirement.signers_of(of.into(), signature).is_ok()
            }
            (Self::Notation(required, effort), Signature::Notation(envelope)) => {
                required.as_ref(*effort).signer_of(of.into(), envelope, required.now).is_ok()
            }
            (Self::Cosign(_), Signature::Notation(_)) | (Self::Notation(..), Signature::Sigstore(_)) => false,
        }
    }

    /// A signature, and who made it or why it does not count; `None` for one of another kind.
    pub(super) fn finding(&self, of: SignedImage<'_>, signature: &Signature) -> Option<Finding> {
        let kind = match signature.form() {
            SignatureForm::Layer => "signature",
            SignatureForm::Bundle => "bundle",
            SignatureForm::Envelope => "envelope",
        };
        let (signers, passed_over) = match (self, signature) {
            (Self::Cosign(requirement), Signature::Sigstore(signature)) => {
                match requirement.signers_of(of.into(), signature) {
                    Ok(signers) => (signers, None),
                    Err(why) => (Vec::new(), Some(why.to_string())),
                }
            }
            (Self::Notation(required, effort), Signature::Notation(envelope)) => {
                match required.as_ref(*effort).signer_of(of.into(), envelope, required.now) {
                    Ok(signer) => (vec![signer], None),
                    Err(why) => (Vec::new(), Some(why.to_string())),
                }
            }
            (Self::Cosign(_), Signature::Notation(_)) | (Self::Notation(..), Signature::Sigstore(_)) => return None,
        };
        Some(Finding { signature: format!("{kind} in {}", signature.manifest()), signers, passed_over })
    }

    /// The hash of all that it requires.
    pub(super) fn id(&self) -> Sha256 {
        match self {
            Self::Cosign(requirement) => cosign::required::id(requirement),
            Self::Notation(required, _) => required.id(),
        }
    }

    /// For use after the request.
    pub(super) fn to_required(self) -> Required {
        match self {
            Self::Cosign(requirement) => Required::Cosign(cosign::Required::from(requirement)),
            Self::Notation(required, _) => Required::Notation(required.clone()),
        }
    }
}

impl Required {
    pub(super) fn as_ref(&self) -> Requirement<'_> {
        match self {
            Self::Cosign(required) => Requirement::Cosign(required.as_ref()),
            Self::Notation(required) => Requirement::Notation(required, Effort::UNLIMITED),
        }
    }
}

impl<'a> From<SignedImage<'a>> for sigstore::SignedImage<'a> {
    fn from(SignedImage { image, manifest }: SignedImage<'a>) -> Self {
        Self { digest: image.digest, manifest }
    }
}

impl<'a> From<SignedImage<'a>> for envelope::SignedImage<'a> {
    fn from(SignedImage { image, .. }: SignedImage<'a>) -> Self {
        Self { digest: image.digest, media_type: &image.media_type, size: image.size }
    }
}

impl Rejection {
    /// Was a signature not verified? Then nobody can say whether the image is signed as required.
    pub(super) fn is_incomplete(&self) -> bool {
        match self {
            Self::Cosign(rejection) => rejection.reasons.is_incomplete,
            Self::Notation(rejection) => rejection.reasons.is_incomplete,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosign(rejection) => rejection.fmt(f),
            Self::Notation(rejection) => rejection.fmt(f),
        }
    }
}
