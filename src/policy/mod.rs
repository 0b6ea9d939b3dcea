//! Policies: which images need what. Read strictly from files, selected by namespace and normalised reference.

mod pattern;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use pattern::{Pattern, PatternError};

use crate::image::Reference;
use crate::trust::RootPin;
use crate::trust::notary::TrustServer;
use crate::trust::repository::RequiredSigner;

/// All policies in force: immutable, shared, replaced as a whole.
#[derive(Debug, Default)]
pub struct PolicySet {}

/// What selection found for one image.
#[derive(Debug)]
pub enum Selection<'a> {
    /// This rule decides.
    Rule(&'a Rule),
    /// There are policies for the namespace (or the cluster), but no pattern of theirs matches.
    NoMatch {
        /// Whose policies were looked at.
        scope: Scope,
        /// How many policies that were.
        policies: usize,
    },
    /// There is no policy at all that could apply.
    NoPolicy,
}

impl PolicySet {
    /// The rule for an image of a workload in `namespace` (empty for none): if any ImagePolicy exists for the
    /// namespace only those count, else the ClusterImagePolicies.
    pub fn select(&self, _namespace: &str, _image: &Reference) -> Selection<'_> {
        todo!()
    }

    /// How many policies (documents) are in force.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whose policy it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// An ImagePolicy of this namespace.
    Namespace(String),
    /// A ClusterImagePolicy.
    Cluster,
}

/// One entry of a policy's `repositories`.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose it is.
    pub scope: Scope,
    /// The policy's `metadata.name`.
    pub policy: String,
    /// Where it stands.
    pub place: Place,
    /// The pattern as written.
    pub pattern: String,
    /// What it asks for.
    pub requirement: Requirement,
}

impl Rule {
    /// The policy for people: `ImagePolicy line-1/plant-floor (file, line 7)`.
    pub fn describe(&self) -> String {
        todo!()
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// What a rule asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: the image is let in unchecked, and no network call is made for it.
    Nothing,
    /// Signed trust data.
    Trust(Box<TrustRule>),
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

/// A rule with `trust.enabled: true`.
#[derive(Debug, PartialEq, Eq)]
pub struct TrustRule {
    /// `policy.mode`.
    pub mode: Mode,
    /// `policy.mutateImage`; true where it is not given.
    pub mutate_image: bool,
    /// `trust.trustServer`, where given; else the configuration's server for the registry.
    pub server: Option<TrustServer>,
    /// Inline `signers`, each with its key; the same name may not stand twice with different keys.
    pub signers: Vec<RequiredSigner>,
    /// Names of secrets that hold further signers' keys.
    pub signer_secrets: Vec<String>,
    /// `roots`.
    pub roots: Vec<RootPin>,
    /// `remap`.
    pub remap: Option<Remap>,
    /// `whenUnavailable`, where given.
    pub when_unavailable: Option<UnavailableRule>,
    /// `maxStale`, where given.
    pub max_stale: Option<Duration>,
}

/// `whenUnavailable` as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnavailableRule {
    /// `deny`.
    #[default]
    Deny,
    /// `useCached`.
    UseCached,
}

/// `remap: { prefix, signedPrefix }`: an image under `prefix` was signed under `signedPrefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    /// What the normalised image name begins with.
    pub prefix: String,
    /// What stands there in trust data.
    pub signed_prefix: String,
}
