//! Policies: what each image requires. They are read strictly from files, and selected by namespace and normalised
//! reference.
//!
//! A policy passes through the modules in this order: `load` → `document`, with `fields`, `requirement` and one file for each
//! scheme (`notary`, `cosign`; `signers` and `unavailable` read what both have) → `set` → `selection`, which finds the
//! [`Rule`]s for an image. A field that asks for a check is never ignored: if one field cannot be understood, the whole set is
//! refused.

mod configmap;
mod cosign;
mod document;
mod fault;
mod fields;
mod load;
mod namespaces;
mod notary;
mod notation;
mod notes;
mod owner;
mod pattern;
mod problem;
mod requirement;
mod selection;
mod set;
mod signers;
mod source;
mod unavailable;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use configmap::{Checked, check_data, check_manifests, check_path, check_stream};
pub use fault::Fault;
pub use load::PolicyPlaces;
pub use namespaces::{NamespaceChange, NamespaceState, Namespaces};
pub use notes::{Note, PolicyNote};
pub use owner::{CONFIG_MAP, Owner};
pub use pattern::{Pattern, PatternError};
pub use problem::PolicyProblem;
pub use selection::Together;
pub use set::{PolicySet, Selection};
pub use source::{Changes, PolicySource, load, load_all};

use crate::schemes::{Mode, MutateImage, Requirement, Signed};
use crate::yaml::tree::At;
use portreeve_verify::image::Glob;
use portreeve_verify::text::{printable, to_printable};

/// The scope of a policy.
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
    /// The scope of its policy.
    pub scope: Scope,
    /// The policy's `metadata.name`.
    pub policy: String,
    /// Where it is written.
    pub place: Place,
    /// The pattern as written.
    pub pattern: String,
    /// The tags that the pattern matches; `None` for all.
    pub tags: Option<Glob>,
    /// What it requires.
    pub requirement: Requirement,
    /// Does it have settings for a check (`mode`, `mutateImage`) and require no check?
    pub has_idle_settings: bool,
    /// Is it in the ConfigMap of its namespace, which the namespace's own people may edit?
    pub is_delegated: bool,
}

impl Rule {
    /// The policy and its place, for messages: `ImagePolicy line-1/plant-floor (file, line 7)`.
    pub fn describe(&self) -> String {
        format!("{} ({}, line {})", self.policy_name(), self.place.file_name(), self.place.line)
    }

    /// The checks that it requires; `None` if it requires no signature.
    pub fn signed(&self) -> Option<&Signed> {
        match &self.requirement {
            Requirement::Signed(signed) => Some(signed),
            Requirement::Nothing | Requirement::Denied(_) => None,
        }
    }

    /// The most checks that are made for one image; at least one, so that rules are counted as well.
    pub(super) fn cost(&self) -> usize {
        self.signed().map_or(1, |signed| signed.any_of.iter().map(Vec::len).sum())
    }

    /// Does a bad verdict deny, or only warn?
    pub fn mode(&self) -> Mode {
        self.signed().map_or(Mode::Enforce, |signed| signed.mode)
    }

    /// Where is a verified tag replaced by its digest?
    pub fn mutate_image(&self) -> MutateImage {
        self.signed().map_or(MutateImage::Nowhere, |signed| signed.mutate_image)
    }

    /// The policy, for messages: `ImagePolicy line-1/plant-floor`.
    pub fn policy_name(&self) -> String {
        set::describe_policy(&self.scope, &self.policy)
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file. The rules of a file share it.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl Place {
    pub(crate) fn new(file: &Path, at: At) -> Self {
        Self { file: file.into(), line: at.line, column: at.column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file_name(), self.line, self.column)
    }
}

impl Place {
    /// The file, printable: a file name can hold control characters for a terminal.
    pub(crate) fn file_name(&self) -> Cow<'_, str> {
        match self.file.to_str() {
            Some(name) => to_printable(name, 4096),
            None => Cow::Owned(printable(&self.file.to_string_lossy(), 4096)),
        }
    }
}

#[cfg(test)]
mod tests;
