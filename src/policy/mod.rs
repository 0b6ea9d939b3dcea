//! Policies: which images need what. Read strictly from files, selected by namespace and normalised reference.
//!
//! directories → `load` → `document` (over `yaml::tree`, `fields` and `requirement`) → `set` → `selection` → the [`Rule`]s for an image.
//! Nothing that asks for a check is ever ignored: what is not understood keeps the whole set from loading.

mod configmap;
mod document;
mod fields;
mod load;
mod notes;
mod pattern;
mod problem;
mod requirement;
mod selection;
mod set;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use configmap::{Checked, check_data, check_manifests, check_path};
pub use load::{PolicySource, load};
pub use notes::{Note, PolicyNote};
pub use pattern::{Pattern, PatternError};
pub use problem::{Fault, PolicyProblem};
pub use requirement::MAX_DENIAL;
pub use selection::Together;
pub use set::{PolicySet, Selection};

use crate::http::url::TrustServer;
use crate::yaml::tree::At;
use portreeve_verify::image::Glob;
use portreeve_verify::image::{Reference, ReferenceError};
use portreeve_verify::text::printable;
use portreeve_verify::tuf::anchor::RootPin;
use portreeve_verify::tuf::repository::RequiredSigner;

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
    /// The tags that the pattern matches; `None` for all.
    pub tags: Option<Glob>,
    /// What it asks for.
    pub requirement: Requirement,
    /// Are there settings for a check (`mode`, `mutateImage`) while it asks for none?
    pub has_idle_settings: bool,
}

impl Rule {
    /// The policy for people: `ImagePolicy line-1/plant-floor (file, line 7)`.
    pub fn describe(&self) -> String {
        format!("{} ({}, line {})", self.policy_name(), self.place.file_name(), self.place.line)
    }

    /// The policy alone: `ImagePolicy line-1/plant-floor`.
    pub fn policy_name(&self) -> String {
        set::describe_policy(&self.scope, &self.policy)
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

impl Place {
    pub(crate) fn new(file: &std::path::Path, at: At) -> Self {
        Self { file: file.to_owned(), line: at.line, column: at.column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file_name(), self.line, self.column)
    }
}

impl Place {
    /// The file for people; a checked-out directory can hold names that command a terminal.
    pub(crate) fn file_name(&self) -> String {
        printable(&self.file.to_string_lossy(), 4096)
    }
}

/// What a rule asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: the image is let in unchecked, and no network call is made for it.
    Nothing,
    /// That no such image runs. The words say why, and what to do instead.
    Denied(String),
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
    /// What the normalised image name begins with; ends in `/`.
    pub prefix: String,
    /// What stands there in trust data; ends in `/`.
    pub signed_prefix: String,
}

impl Remap {
    /// The image that trust data knows this one by: its name with the prefix exchanged, normalised again. A name that is
    /// not under the prefix is its own.
    pub fn signed(&self, image: &Reference) -> Result<Reference, ReferenceError> {
        match image.repository().strip_prefix(&self.prefix) {
            Some(rest) => Reference::parse(&format!("{}{rest}", self.signed_prefix)),
            None => Ok(image.clone()),
        }
    }
}
