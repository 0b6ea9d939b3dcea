//! Policy directories: reads the policies of all mounted ConfigMaps as one set.
//!
//! kubelet mounts a ConfigMap as a directory in which `..data` links to a dated directory with the files. Every name links
//! through `..data`, and an update replaces only that link. Therefore the link is followed once, and all files are read from
//! its target: never some files of the old version and some of the new one. Names that begin with two dots belong to kubelet
//! and are skipped. Names that begin with one dot are skipped too, but a key of a ConfigMap with such a name is an error.
//!
//! A set is valid as a whole or refused as a whole. `source` reads again what changed.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::document::{self, Document};
use super::fault::Fault;
use super::namespaces;
use super::owner::{Budget, Owner};
use super::problem::PolicyProblem;
use super::set::PolicySet;
use super::{Place, Rule};
use crate::base::files::{FileError, Stamp, read_text_capped};
use crate::yaml::tree::{At, MAX_TEXT};
use portreeve_verify::image::Sha256;
use portreeve_verify::ordered;

/// Enough for several ConfigMaps below one directory, and folders in them. A deeper path is probably a loop of links.
pub(crate) const MAX_DEPTH: usize = 5;
pub(crate) const MAX_FILES: usize = 4096;
/// The most bytes of all files together. 10,000 policies have about 5 MiB.
pub(super) const MAX_TOTAL: usize = 32 << 20;
/// After this many problems, no further directory is read.
const MAX_PROBLEMS: usize = 1000;

/// Where policies are.
#[derive(Clone, Debug, Default)]
pub struct PolicyPlaces {
    /// The directories of the site's policies.
    pub site: Vec<PathBuf>,
    /// The directory with a directory for each namespace that has policies of its own. It may be absent.
    pub namespaces: Option<PathBuf>,
}

/// Reads the policies of one owner below these directories, and adds to the problems. A directory of the site must have files.
/// Rules that are the same as in the last set are shared with it.
pub(super) fn read(
    owner: &Owner,
    directories: &[PathBuf],
    last: &LastRules<'_>,
    mut problems: Vec<PolicyProblem>,
) -> (Vec<Document>, Vec<PolicyProblem>) {
    let caps = owner.caps();
    let mut documents: Vec<Document> = Vec::new();
    let (mut total, mut budget) = (0, Budget::of(owner));
    for directory in directories {
        let mut finder = Finder::new(caps.files);
        finder.find(directory, directory, MAX_DEPTH);
        if finder.files.is_empty() && finder.problems.is_empty() && *owner == Owner::Site {
            problems.push(problem(directory, Fault::NoFiles));
        }
        problems.append(&mut finder.problems);
        for file in &finder.files {
            match read_file(&file.real) {
                Ok(text) => {
                    total += text.len();
                    if total > caps.bytes {
                        problems.push(problem(&file.shown, Fault::TooLargeTogether { limit: caps.bytes }));
                        return (documents, problems);
                    }
                    // Only the site's may be spread over many files and ConfigMaps.
                    if *owner == Owner::Site {
                        budget = Budget::of(owner);
                    }
                    let (mut more, found) = document::read_within(&mut budget, &text, &file.shown);
                    problems.extend(found.into_list());
                    owner.take(&more, &mut problems);
                    last.share(&mut more);
                    documents.extend(more);
                    if *owner != Owner::Site
                        && let Some(excess) = Budget::excess(&mut problems)
                    {
                        return (documents, excess);
                    }
                }
                Err(fault) => problems.push(problem(&file.shown, fault)),
            }
        }
    }
    (documents, problems)
}

/// The rules of the set in force, in the order of their places. Both sets are in memory until the new one is in force.
pub(super) struct LastRules<'a>(Vec<&'a Arc<Rule>>);

impl<'a> LastRules<'a> {
    pub(super) fn of(set: Option<&'a PolicySet>) -> Self {
        let mut rules = set.into_iter().flat_map(PolicySet::shared_rules).collect();
        ordered::sort_by(&mut rules, |a: &&Arc<Rule>, b| a.place.cmp(&b.place));
        Self(rules)
    }

    /// Takes the last rules for those that are the same.
    fn share(&self, documents: &mut [Document]) {
        for (_, rule) in documents.iter_mut().flat_map(|document| &mut document.rules) {
            let at = self.0.binary_search_by(|last| last.place.cmp(&rule.place));
            if let Some(last) = at.ok().and_then(|at| self.0.get(at)).filter(|last| **last == rule) {
                *rule = Arc::clone(last);
            }
        }
    }
}

/// The set, if there is no problem at all; otherwise all problems.
pub(crate) fn finish(
    documents: Vec<Document>,
    mut problems: Vec<PolicyProblem>,
) -> Result<PolicySet, Vec<PolicyProblem>> {
    match PolicySet::build(documents) {
        Ok(set) if problems.is_empty() => Ok(set),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

/// A policy file: its name in messages, and its path behind kubelet's link.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) shown: PathBuf,
    pub(crate) real: PathBuf,
}

/// Finds files.
pub(crate) struct Finder {
    most: usize,
    pub(crate) files: Vec<FoundFile>,
    pub(crate) problems: Vec<PolicyProblem>,
}

impl Finder {
    /// Finds at most so many files.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, files: Vec::new(), problems: Vec::new() }
    }

    /// Finds the files below a directory, in the order of their names. `shown` is its name in messages, `real` the same
    /// directory behind kubelet's link.
    pub(crate) fn find(&mut self, shown: &Path, real: &Path, depth: usize) {
        if self.problems.len() >= MAX_PROBLEMS {
            return; // links that lead back branch with every level
        }
        if depth == 0 {
            self.problems.push(problem(shown, Fault::TooDeep { limit: MAX_DEPTH }));
            return;
        }
        // The link is followed once, so that kubelet cannot replace the files between two reads.
        let data = fs::canonicalize(real.join("..data")).ok().filter(|data| data.is_dir());
        if let Some(data) = &data {
            self.problems.extend(dotted_keys(data).iter().map(|key| problem(&shown.join(key), Fault::PassedOver)));
            self.find(shown, data, depth - 1);
        }
        let entries = match entry_names(real, 2 * self.most) {
            Ok(entries) => entries,
            Err(Entries::TooMany) => {
                self.problems.push(problem(shown, Fault::TooManyFiles { limit: self.most }));
                return;
            }
            Err(Entries::Unreadable(error)) => {
                self.problems.push(problem(shown, Fault::Io(error)));
                return;
            }
        };
        for name in entries {
            let directory = shown;
            let (shown, real) = (shown.join(&name), real.join(&name));
            if data.is_some() && fs::read_link(&real).is_ok_and(|target| target.starts_with("..data")) {
                continue; // found behind the link already
            }
            match fs::metadata(&real) {
                Ok(metadata) if metadata.is_dir() => self.find(&shown, &real, depth - 1),
                // Checked before the file is opened: opening a pipe would block for ever.
                Ok(metadata) if metadata.is_file() => self.files.push(FoundFile { shown, real }),
                Ok(_) => self.problems.push(problem(&shown, Fault::NotAFile)),
                Err(error) => self.problems.push(problem(&shown, Fault::Io(error))),
            }
            if self.files.len() > self.most {
                self.files.truncate(self.most);
                self.problems.push(problem(directory, Fault::TooManyFiles { limit: self.most }));
                return;
            }
        }
    }
}

/// The keys of a mounted ConfigMap that begin with one dot.
fn dotted_keys(data: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(data).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let dotted = names.filter(|name| name.as_bytes().starts_with(b".") && !name.as_bytes().starts_with(b".."));
    dotted.take(MAX_PROBLEMS).map(PathBuf::from).collect()
}

/// Why the names in a directory are not known.
pub(super) enum Entries {
    /// There are more than are read.
    TooMany,
    /// It cannot be read.
    Unreadable(io::Error),
}

/// The names in a directory that do not begin with a dot, in their order, if there are at most so many.
pub(super) fn entry_names(directory: &Path, most: usize) -> Result<Vec<PathBuf>, Entries> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(Entries::Unreadable)? {
        let name = entry.map_err(Entries::Unreadable)?.file_name();
        if !name.as_bytes().starts_with(b".") {
            names.push(PathBuf::from(name));
        }
        if names.len() > most {
            return Err(Entries::TooMany);
        }
    }
    ordered::sort_by(&mut names, |a, b| a.cmp(b));
    Ok(names)
}

/// Reads a text file of at most [`MAX_TEXT`] bytes.
pub(crate) fn read_file(path: &Path) -> Result<String, Fault> {
    read_text_capped(path, MAX_TEXT).map_err(Fault::from)
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => Self::Io(error),
            FileError::NotAFile => Self::NotAFile,
            FileError::TooLarge { cap } => Self::TooLarge { limit: cap },
            FileError::NotText => Self::NotUtf8,
        }
    }
}

pub(crate) fn problem(file: &Path, fault: Fault) -> PolicyProblem {
    PolicyProblem::new(Place::new(file, At::START), fault)
}

/// The names, links and stamps of all files below the directories. It costs a few `stat` calls and reads no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of directories in which at most so many files count, and of the names of the directories of namespaces.
    pub(super) fn of(directories: &[PathBuf], most: usize, namespaces: Option<&Path>) -> Self {
        let mut facts = facts(directories, most);
        if let Some(root) = namespaces {
            let (names, problems) = namespaces::find(root);
            for name in names.into_iter().flatten() {
                facts.extend_from_slice(name.as_bytes());
                facts.push(0);
            }
            problems.iter().for_each(|problem| facts.extend_from_slice(problem.place.file.as_os_str().as_bytes()));
        }
        Self(Sha256::of(&facts))
    }
}

fn facts(directories: &[PathBuf], most: usize) -> Vec<u8> {
    let (mut facts, mut seen) = (Vec::new(), 0);
    for directory in directories {
        note(directory, MAX_DEPTH, &mut facts, &mut seen, most);
    }
    facts
}

fn note(path: &Path, depth: usize, facts: &mut Vec<u8>, seen: &mut usize, most: usize) {
    *seen += 1;
    if depth == 0 || *seen > 4 * most {
        return;
    }
    facts.extend_from_slice(path.as_os_str().as_bytes());
    facts.push(0);
    if let Ok(target) = fs::read_link(path) {
        facts.extend_from_slice(target.as_os_str().as_bytes());
        facts.push(0);
    }
    let Ok(metadata) = fs::metadata(path) else {
        facts.push(1); // absent, or a link to nothing
        return;
    };
    facts.extend_from_slice(&Stamp::of_metadata(&metadata).to_bytes());
    if !metadata.is_dir() {
        return;
    }
    note_link(&path.join("..data"), facts);
    let Ok(names) = entry_names(path, 2 * most) else { return };
    for name in names {
        note(&path.join(name), depth - 1, facts, seen, most);
    }
}

fn note_link(link: &Path, facts: &mut Vec<u8>) {
    if let Ok(target) = fs::read_link(link) {
        facts.extend_from_slice(target.as_os_str().as_bytes());
        facts.push(0);
    }
}

#[cfg(test)]
pub(super) mod tests;
