//! The seam between policies and signature schemes. A policy lists the checks that an image needs. Each check is made by one
//! scheme.
//!
//! All code above this room reads [`Verified`], [`Evidence`] and [`Refusal`], and never a scheme's own type. A scheme defines
//! what a tag means: Notary v1 signs a tag together with its digest. A scheme never decides whether an image runs, and an
//! unavailable server never makes an image verified.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::context::Deadline;
use crate::keychain::Keychain;
use crate::schemes::notary::trust_server::TrustServer;
use cosign::scheme::Cosign;
use image_signatures::ImageSignatures;
use notary::scheme::NotaryV1;
use notation::scheme::Notation;
use portreeve_verify::image::{Glob, Reference};
use portreeve_verify::tuf::{Gun, Repository};
use portreeve_verify::{Effort, Unavailable, VerifiedDigest};

pub mod cosign;
pub(crate) mod evidence;
pub mod image_signatures;
mod listing;
pub(crate) mod memory_budget;
pub mod notary;
pub mod notation;
pub mod shared;
mod signer_secrets;
pub(crate) mod storage;

/// What a policy requires of an image.
#[derive(Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: the image is let in unchecked, and no network call is made for it.
    Nothing,
    /// A denial: no such image runs.
    Denied(Denial),
    /// A signature.
    Signed(Signed),
}

/// The texts of a denial, which say why, and what to use instead. They are made once, and all denied images share them.
#[derive(Debug, PartialEq, Eq)]
pub struct Denial {
    /// The text.
    pub text: Arc<str>,
    /// The text for an image without a tag, if the rule is for some tags.
    pub untagged: Arc<str>,
}

/// A policy that requires signatures.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// `policy.mode`.
    pub mode: Mode,
    /// `policy.mutateImage`.
    pub mutate_image: MutateImage,
    /// Alternatives, of which one is enough. All checks of an alternative must hold, and name the same digest.
    pub any_of: Vec<Vec<Check>>,
}

/// Where a verified tag is replaced by the digest that was signed. The later ones include the earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MutateImage {
    /// `false`: nowhere.
    Nowhere,
    /// `pods`: in Pods, also in those that trusted controllers make. Templates stay as they are written.
    Pods,
    /// `true`: in templates and Pods.
    #[default]
    Everywhere,
}

/// The effect of a bad verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// `enforce`: the image is denied.
    #[default]
    Enforce,
    /// `warn`: the image is let in with a warning. The verdict is logged and counted.
    Warn,
}

/// A check: a rule of one scheme. Alternatives may share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Notary v1 trust data: `trust`.
    NotaryV1(Arc<notary::Rule>),
    /// cosign signatures: `cosign`.
    Cosign(Arc<cosign::Rule>),
    /// Notation's signatures: `notation`.
    Notation(Arc<notation::Rule>),
}

impl Check {
    /// Its field in a policy, which is also its scheme's name in logs, metrics and messages.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::NotaryV1(_) => "trust",
            Self::Cosign(_) => "cosign",
            Self::Notation(_) => "notation",
        }
    }
}

/// `whenUnavailable` as written in a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnavailableRule {
    /// `deny`.
    #[default]
    Deny,
    /// `useCached`.
    UseCached,
}

/// Whether stored data is used while a server cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// No: the image is unavailable.
    Deny,
    /// Yes, if it has not expired and the server has confirmed it within `max_stale`.
    UseCached {
        /// The largest age of that confirmation.
        max_stale: Duration,
    },
}

impl WhenUnavailable {
    /// What applies under a policy with these fields. `self` is what the configuration says: it applies where a policy has no
    /// `whenUnavailable`, or no `maxStale`. Without either `maxStale`, stored data is not used.
    pub fn under(self, when_unavailable: Option<UnavailableRule>, max_stale: Option<Duration>) -> Self {
        match (when_unavailable, max_stale) {
            (Some(UnavailableRule::Deny), _) => Self::Deny,
            (Some(UnavailableRule::UseCached), Some(max_stale)) => Self::UseCached { max_stale },
            (None, _) | (Some(UnavailableRule::UseCached), None) => self,
        }
    }
}

/// A query to a scheme: an image, and the facts of the request that a check depends on.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The image.
    pub image: &'a Reference,
    /// For an image without a tag: the tags under which its digest may be signed; `None` for all.
    pub tags: Option<&'a Glob>,
    /// For an image without a tag: the tags under which its digest does not count, because another rule decides on them.
    pub except: &'a [&'a Glob],
    /// The namespace whose secrets have the keys that the policy names. For a namespace's policy it is that namespace, and for a
    /// cluster policy Portreeve's own. So a tenant never chooses a key that the cluster trusts.
    pub key_namespace: &'a str,
    /// The credentials that the image is pulled with.
    pub keychain: &'a dyn Keychain,
    /// Was the rule written by the people of a namespace? Then a server that it names receives no credentials that are mounted
    /// for all namespaces, unless the configuration names the server as well.
    pub is_delegated: bool,
    /// The time by which the check must end.
    pub deadline: Deadline,
    /// The current time, for expiry dates.
    pub now: Timestamp,
    /// How many signatures may be verified, together with the other images of the request.
    pub effort: Effort<'a>,
    /// Is told before the check waits.
    pub notice: WaitNotice<'a>,
}

/// Is told when a check is about to wait: for a server, for the disk, or for another request. Other images can be evaluated in
/// the meantime.
#[derive(Clone, Copy)]
pub struct WaitNotice<'a>(&'a (dyn Fn() + Sync));

impl<'a> WaitNotice<'a> {
    /// Nobody has to know.
    pub const NONE: WaitNotice<'static> = WaitNotice(&|| ());

    /// Runs this at each notice.
    pub fn new(run: &'a (dyn Fn() + Sync)) -> Self {
        Self(run)
    }

    /// Gives notice. A check may do so several times.
    pub fn give(self) {
        (self.0)();
    }
}

impl fmt::Debug for WaitNotice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitNotice(…)")
    }
}

/// A signature scheme.
pub trait Scheme {
    /// What a policy can require.
    type Rule;

    /// Verifies an image. It fills `trace` in every case, also when it refuses.
    fn verify(&self, rule: &Self::Rule, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal>;
}

/// The schemes. All workers share them.
#[derive(Debug)]
pub struct Schemes {
    /// Notary v1.
    pub notary_v1: NotaryV1,
    /// Signatures in registries.
    pub image_signatures: Arc<ImageSignatures>,
    /// cosign.
    pub cosign: Cosign,
    /// Notation.
    pub notation: Notation,
}

impl Schemes {
    /// Makes one check.
    pub fn verify(&self, check: &Check, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        match check {
            Check::NotaryV1(rule) => self.notary_v1.verify(rule, query, trace),
            Check::Cosign(rule) => self.cosign.verify(rule, query, trace),
            Check::Notation(rule) => self.notation.verify(rule, query, trace),
        }
    }
}

/// What a check did, whatever its result.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// What it looked at; `None` if it found no name for it.
    pub subject: Option<Subject>,
    /// How long it took to collect the keys.
    pub credentials: Duration,
    /// How long the verification took, including all waiting; `None` if it did not begin.
    pub trust: Option<Duration>,
    /// The signatures that were looked at, if the registry was asked or the image was refused. For an image that was verified
    /// by stored evidence, [`Evidence::findings`] has them.
    pub findings: Vec<Finding>,
}

/// A signature that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is, and where it was found: `bundle in sha256:…`. Safe to print.
    pub signature: String,
    /// The policy's signers that made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// Why it does not count. Safe to print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
}

/// What a check looked at.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A repository of Notary v1.
    NotaryV1 {
        /// Its name in trust data.
        gun: Gun,
        /// Its server; `None` if none is configured.
        server: Option<TrustServer>,
    },
    /// An image at a registry.
    Registry {
        /// Its repository there, in one spelling: `registry.local:9001/plant/plc`.
        repository: String,
        /// The registry's URL, or the layout's; of the place that has the signatures, if that is another one.
        server: String,
    },
}

impl Subject {
    /// The server that the check uses.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::NotaryV1 { server, .. } => server.as_ref().map(TrustServer::as_str),
            Self::Registry { server, .. } => Some(server),
        }
    }

    /// The name of the image there.
    pub fn name(&self) -> &str {
        match self {
            Self::NotaryV1 { gun, .. } => gun.as_str(),
            Self::Registry { repository, .. } => repository,
        }
    }
}

/// The image is signed as the rule requires.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The digest to pin the image to.
    pub digest: VerifiedDigest,
    /// Those of the rule's signers that signed it.
    pub signers: Vec<String>,
    /// How fresh the data is.
    pub freshness: Freshness,
    /// The details of the signature.
    pub evidence: Evidence,
}

/// How fresh the data of a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// The server was asked for this query.
    Fetched,
    /// It was verified a moment ago, within the scheme's refresh interval.
    Cached,
    /// The server did not answer, and stored data was used. The response carries a warning.
    Stale {
        /// How long ago the server last confirmed the data.
        age: Duration,
    },
}

/// The details of a signature. Most requests read only a part of them, so lists are made when they are read.
#[derive(Clone, Debug)]
pub struct Evidence(Data);

/// The verified data that evidence is read from.
#[derive(Clone, Debug)]
enum Data {
    NotaryV1 {
        /// The tag that was signed together with the digest.
        tag: String,
        /// The role that released it.
        released_by: &'static str,
        repository: Arc<Repository>,
    },
    ImageSignatures(image_signatures::Signed),
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
        match &self.0 {
            Data::NotaryV1 { tag, released_by, .. } => format!("tag {tag}, released by {released_by}"),
            Data::ImageSignatures(signed) => signed.statement(),
        }
    }

    /// The tag that was signed together with the digest, if the scheme signs tags.
    pub fn tag(&self) -> Option<&str> {
        match &self.0 {
            Data::NotaryV1 { tag, .. } => Some(tag),
            Data::ImageSignatures(_) => None,
        }
    }

    /// The role that released it, if the scheme has roles.
    pub fn released_by(&self) -> Option<&str> {
        match &self.0 {
            Data::NotaryV1 { released_by, .. } => Some(released_by),
            Data::ImageSignatures(_) => None,
        }
    }

    /// The expiry date of each part, by its name.
    pub fn expires(&self) -> Vec<(String, Timestamp)> {
        match &self.0 {
            Data::NotaryV1 { repository, .. } => {
                repository.expiries().into_iter().map(|expiry| (expiry.role, expiry.expires)).collect()
            }
            Data::ImageSignatures(signed) => signed.expires(),
        }
    }

    /// The keys that an operator could pin.
    pub fn pins(&self) -> Vec<Pin> {
        match &self.0 {
            Data::NotaryV1 { repository, .. } => {
                repository.root_key_ids().into_iter().map(|id| Pin { key_id: id.hex() }).collect()
            }
            Data::ImageSignatures(_) => Vec::new(),
        }
    }

    /// Whom the certificates of the signatures name: issuer and subject.
    pub fn identities(&self) -> Vec<(String, String)> {
        match &self.0 {
            Data::NotaryV1 { .. } => Vec::new(),
            Data::ImageSignatures(signed) => signed.identities(),
        }
    }

    /// The signatures that the image was verified by, one by one, if the scheme has several.
    pub fn findings(&self) -> Vec<Finding> {
        match &self.0 {
            Data::NotaryV1 { .. } => Vec::new(),
            Data::ImageSignatures(signed) => signed.findings(),
        }
    }
}

/// The image is not verified.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The signature data rejects the image, or the rule cannot be applied to it.
    Rejected {
        /// A fixed word for metrics and logs.
        code: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// The check could not be made. The message says what was tried and what failed.
    Unavailable(Unavailable),
}
