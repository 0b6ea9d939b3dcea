//! The seam between policies and signature schemes. A policy says which checks an image needs; a scheme makes one of them.
//!
//! Everything above this room reads [`Verified`], [`Evidence`] and [`Refusal`], and never a scheme's own type. A scheme says
//! what a tag means to it: Notary v1 signs a tag with its digest. A scheme never decides whether an image runs, and never
//! lets an image in because its own service is unavailable.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::context::Deadline;
use crate::keychain::Keychain;
use crate::schemes::notary::trust_server::TrustServer;
use notary::scheme::NotaryV1;
use portreeve_verify::Unavailable;
use portreeve_verify::VerifiedDigest;
use portreeve_verify::image::{Glob, Reference};
use portreeve_verify::tuf::Gun;
use portreeve_verify::tuf::Repository;

pub mod notary;

/// What a policy requires of an image.
#[derive(Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: the image is let in unchecked, and no network call is made for it.
    Nothing,
    /// That no such image runs. The words say why, and what to do instead.
    Denied(String),
    /// A signature.
    Signed(Signed),
}

/// A policy that requires signatures.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// `policy.mode`.
    pub mode: Mode,
    /// `policy.mutateImage`; true where it is not given.
    pub mutate_image: bool,
    /// Alternatives, of which one is enough. All checks of an alternative must hold, and name the same digest.
    pub any_of: Vec<Vec<Check>>,
}

/// `enforce` denies; `warn` decides, logs, counts and warns, and lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Deny what is not verified.
    #[default]
    Enforce,
    /// Let it in with a warning.
    Warn,
}

/// One check, in the terms of its scheme.
#[derive(Debug, PartialEq, Eq)]
pub enum Check {
    /// Notary v1 trust data.
    NotaryV1(notary::Rule),
}

/// An image to verify, and what one request says about it.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The image.
    pub image: &'a Reference,
    /// For an image that names no tag: the tags under which its digest may be signed; `None` for all.
    pub tags: Option<&'a Glob>,
    /// For an image that names no tag: the tags under which its digest does not count, because another rule decides on them.
    pub except: &'a [&'a Glob],
    /// The namespace whose secrets hold the keys that the policy names.
    pub key_namespace: &'a str,
    /// The credentials that the image is pulled with.
    pub keychain: &'a dyn Keychain,
    /// When the check must have ended.
    pub deadline: Deadline,
    /// The time by which expiry is decided.
    pub now: Timestamp,
}

/// A signature scheme.
pub trait Scheme {
    /// What a policy can ask of it.
    type Rule;

    /// Verifies an image. `trace` tells what was done on the way, and does so after a refusal as well.
    fn verify(&self, rule: &Self::Rule, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal>;
}

/// The schemes. Shared by all workers.
#[derive(Debug)]
pub struct Schemes {
    /// Notary v1.
    pub notary_v1: NotaryV1,
}

impl Schemes {
    /// Makes one check.
    pub fn verify(&self, check: &Check, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        match check {
            Check::NotaryV1(rule) => self.notary_v1.verify(rule, query, trace),
        }
    }
}

/// What a check did, whatever it came to.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// What it looked at, as far as it could be named.
    pub subject: Option<Subject>,
    /// How long it took to collect keys.
    pub credentials: Duration,
    /// How long the verification took, with all waiting; `None` where it never began.
    pub trust: Option<Duration>,
}

/// What a check looked at.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A repository of Notary v1.
    NotaryV1 {
        /// Its name in trust data.
        gun: Gun,
        /// Its server; `None` where none is configured.
        server: Option<TrustServer>,
    },
}

impl Subject {
    /// The server that was, or would have been, asked.
    pub fn server(&self) -> Option<&str> {
        let Self::NotaryV1 { server, .. } = self;
        server.as_ref().map(TrustServer::as_str)
    }

    /// The image's name there.
    pub fn name(&self) -> &str {
        let Self::NotaryV1 { gun, .. } = self;
        gun.as_str()
    }
}

/// The image is signed as the rule requires.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What to pin the image to.
    pub digest: VerifiedDigest,
    /// Who signed it, of those that the rule names.
    pub signers: Vec<String>,
    /// How fresh the data is that this rests on.
    pub freshness: Freshness,
    /// What was found.
    pub evidence: Evidence,
}

/// How fresh the data behind a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// The server was asked for this very query.
    Fetched,
    /// It was verified a moment ago, within the scheme's refresh interval.
    Cached,
    /// The server did not answer, and stored data was used. The response carries a warning.
    Stale {
        /// How long ago the server last confirmed the data.
        age: Duration,
    },
}

/// What was found of a verified image. Most requests read little of it: lists are made when somebody asks for them.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The tag that was signed with the digest.
    pub tag: String,
    /// The role that released it.
    pub released_by: String,
    data: Data,
}

/// The verified data that evidence is read from.
#[derive(Clone, Debug)]
enum Data {
    NotaryV1(Arc<Repository>),
}

/// A key that an operator can pin in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// The ID of a root key, for `trust.roots`.
    pub key_id: String,
}

impl Evidence {
    /// What was signed, in words: `tag v1, released by targets/releases`.
    pub fn statement(&self) -> String {
        format!("tag {}, released by {}", self.tag, self.released_by)
    }

    /// When each part of it expires.
    pub fn expires(&self) -> Vec<(String, Timestamp)> {
        let Data::NotaryV1(repository) = &self.data;
        repository.expiries().into_iter().map(|expiry| (expiry.role, expiry.expires)).collect()
    }

    /// What an operator could pin.
    pub fn pins(&self) -> Vec<Pin> {
        let Data::NotaryV1(repository) = &self.data;
        repository.root_key_ids().into_iter().map(|id| Pin { key_id: id.hex() }).collect()
    }
}

/// The image is not verified.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The signatures say no, or the rule cannot be applied to this image.
    Rejected {
        /// A fixed word for metrics and logs.
        code: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// Nobody could say; what was tried.
    Unavailable(Unavailable),
}
