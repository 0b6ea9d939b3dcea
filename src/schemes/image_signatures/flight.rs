//! What requests for one image share: the key of a fetch, how far it has come, and why one failed.

use std::sync::atomic::{AtomicBool, Ordering};

use super::collected::Tried;
use super::kind::Kind;
use crate::keychain::credentials::Credentials;
use crate::registry::oci::places::Place;
use crate::registry::oci::repository;
use crate::registry::sign_in::SignIn;
use crate::schemes::{Finding, Refusal};
use portreeve_verify::image::Sha256;
use portreeve_verify::{Unavailable, UnavailableCause};

/// The key of a fetch. Credentials and rules are no part of it: what is fetched does not depend on rules, but for the kind of the
/// signatures, and a fetch with other credentials is made beside it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) image: Place,
    /// `None` if it is the same.
    pub(super) signatures: Option<Place>,
    pub(super) wanted: Wanted,
    /// The signatures that are fetched.
    pub(super) kind: Kind,
}

/// What a reference names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Tag(String),
    Digest(Sha256),
}

impl Wanted {
    pub(super) fn as_ref(&self) -> repository::Wanted<'_> {
        match self {
            Self::Tag(tag) => repository::Wanted::Tag(tag),
            Self::Digest(digest) => repository::Wanted::Digest(*digest),
        }
    }
}

/// A repository that is asked, and the credentials for it.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) place: &'a Place,
    pub(super) credentials: &'a Credentials<'a>,
}

/// The repositories that are asked about one image.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    /// The one with the image.
    pub(super) image: Side<'a>,
    /// The one with its signatures, if it is another one.
    pub(super) signatures: Option<Side<'a>>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SideName {
    Image,
    Signatures,
}

impl<'a> Sides<'a> {
    pub(super) fn get(&self, name: SideName) -> Side<'a> {
        match name {
            SideName::Image => self.image,
            SideName::Signatures => self.signatures.unwrap_or(self.image),
        }
    }

    /// Each of them once.
    pub(super) fn names(&self) -> impl Iterator<Item = SideName> + use<> {
        [SideName::Image, SideName::Signatures].into_iter().take(1 + usize::from(self.signatures.is_some()))
    }

    /// The one with the signatures.
    pub(super) fn of_signatures(&self) -> SideName {
        if self.signatures.is_some() { SideName::Signatures } else { SideName::Image }
    }
}

/// How far a fetch has come.
#[derive(Default)]
pub(super) struct Scope {
    image: SignIn,
    signatures: SignIn,
    at_signatures: AtomicBool,
}

impl Scope {
    pub(super) fn sign_in(&self, name: SideName) -> &SignIn {
        match name {
            SideName::Image => &self.image,
            SideName::Signatures => &self.signatures,
        }
    }

    /// The scope of a fetch whose credentials are known already.
    pub(super) fn with(credentials: &Tried) -> Self {
        let [image, signatures] = credentials.map(|known| known.map(SignIn::with).unwrap_or_default());
        Self { image, signatures, at_signatures: AtomicBool::default() }
    }

    /// The side that is asked now.
    pub(super) fn side(&self) -> SideName {
        if self.at_signatures.load(Ordering::Relaxed) { SideName::Signatures } else { SideName::Image }
    }

    pub(super) fn ask(&self, name: SideName) {
        self.at_signatures.store(name == SideName::Signatures, Ordering::Relaxed);
    }
}

/// Why an image is not verified, and for whose credentials.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) refusal: Refusal,
    pub(super) tried: Tried,
    /// The digest of the image, if the registry said it before something failed.
    pub(super) resolved: Option<Sha256>,
    /// The signatures that were looked at.
    pub(super) findings: Vec<Finding>,
}

impl Failure {
    /// Would the same query fail a moment later, unless an operator changes something?
    pub(super) fn is_definite(&self) -> bool {
        match &self.refusal {
            Refusal::Rejected { .. } => true,
            Refusal::Unavailable(unavailable) => unavailable.cause == UnavailableCause::SignIn,
        }
    }

    /// Does it hold for other requests with these credentials as well?
    pub(super) fn is_general(&self) -> bool {
        match &self.refusal {
            Refusal::Rejected { .. } => true,
            Refusal::Unavailable(unavailable) => is_general(unavailable),
        }
    }
}

/// Does it depend neither on the time that a request had nor on its place among others?
pub(super) fn is_general(unavailable: &Unavailable) -> bool {
    !matches!(unavailable.cause, UnavailableCause::OutOfTime | UnavailableCause::Busy)
}

/// A failure before any server was asked.
impl From<Unavailable> for Box<Failure> {
    fn from(unavailable: Unavailable) -> Self {
        let refusal = Refusal::Unavailable(unavailable);
        Self::new(Failure { refusal, tried: Tried::default(), resolved: None, findings: Vec::new() })
    }
}
