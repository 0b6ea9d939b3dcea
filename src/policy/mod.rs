//! Policies: which images need what. Read strictly from files, selected by namespace and normalised reference.
//!
//! directories → `load` → `document` (over `yaml::tree`, `fields` and `requirement`) → `set` → `selection` → the [`Rule`]s for an image.
//! Nothing that asks for a check is ever ignored: what is not understood keeps the whole set from loading.

mod configmap;
mod document;
mod fields;
mod load;
mod notary;
mod notes;
mod pattern;
mod problem;
mod requirement;
mod selection;
mod set;

use std::fmt;
use std::path::PathBuf;

pub use configmap::{Checked, check_data, check_manifests, check_path};
pub use load::{PolicySource, load};
pub use notes::{Note, PolicyNote};
pub use pattern::{Pattern, PatternError};
pub use problem::{Fault, PolicyProblem};
pub use requirement::MAX_DENIAL;
pub use selection::Together;
pub use set::{PolicySet, Selection};

use crate::schemes::{Mode, Requirement, Signed};
use crate::yaml::tree::At;
use portreeve_verify::image::Glob;
use portreeve_verify::text::printable;

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

    /// The checks that it asks for, and how a bad verdict counts; `None` where it asks for no signature.
    pub fn signed(&self) -> Option<&Signed> {
        match &self.requirement {
            Requirement::Signed(signed) => Some(signed),
            Requirement::Nothing | Requirement::Denied(_) => None,
        }
    }

    /// Does a bad verdict deny, or only warn?
    pub fn mode(&self) -> Mode {
        self.signed().map_or(Mode::Enforce, |signed| signed.mode)
    }

    /// Is a verified tag to be replaced by its digest?
    pub fn mutates_image(&self) -> bool {
        self.signed().is_some_and(|signed| signed.mutate_image)
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
