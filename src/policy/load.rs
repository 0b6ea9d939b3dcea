//! Policy directories: reads the policies of all mounted ConfigMaps as one set.
//!
//! kubelet mounts a ConfigMap as a directory in which `..data` links to a dated directory with the files. Every name links
//! through `..data`, and an update replaces only that link. Therefore the link is followed once, and all files are read from
//! its target: never some files of the old version and some of the new one. Names that begin with two dots belong to kubelet
//! and are skipped. Names that begin with one dot are skipped too, but a key of a ConfigMap with such a name is an error.
//!
//! A set is valid as a whole or refused as a whole. If it is refused, the last valid set stays in force.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::Place;
use super::document::{self, Document};
use super::fault::Fault;
use super::problem::PolicyProblem;
use super::set::PolicySet;
use crate::base::files::{FileError, Stamp, read_text_capped};
use crate::base::reload::{Reload, Reloading, Source};
use crate::yaml::tree::{At, MAX_TEXT};
use portreeve_verify::image::Sha256;
use portreeve_verify::ordered;

/// Enough for several ConfigMaps below one directory, and folders in them. A deeper path is probably a loop of links.
pub(crate) const MAX_DEPTH: usize = 5;
const MAX_FILES: usize = 4096;
/// The most bytes of all files together. 10,000 policies have about 5 MiB.
const MAX_TOTAL: usize = 32 << 20;
/// After this many problems, no further directory is read.
const MAX_PROBLEMS: usize = 1000;
/// How often the files are read again because kubelet replaced them meanwhile.
const ATTEMPTS: usize = 4;

/// Reads all policies below `directories`. Reports all problems.
pub fn load(directories: &[PathBuf]) -> Result<PolicySet, Vec<PolicyProblem>> {
    load_steadily(directories).0
}

/// Policy directories that are checked for changes.
#[derive(Debug)]
pub struct PolicySource(Reloading<Directories>);

#[derive(Debug)]
struct Directories(Vec<PathBuf>);

impl PolicySource {
    /// Does not read yet.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self(Reloading::start_with(None, Directories(directories), Duration::ZERO))
    }

    /// Reads the policies if a file changed since the last call. The first call always reads. `None`: nothing changed, and the
    /// result is the same as before. If a file could not be read, every call tries again.
    pub fn reload_if_changed(&self) -> Option<Result<Arc<PolicySet>, Vec<PolicyProblem>>> {
        match self.0.check() {
            Reload::Unchanged => None,
            Reload::Made(set) => set.map(Ok),
            Reload::Failed { error, .. } => Some(Err(error)),
        }
    }
}

impl Source for Directories {
    /// `None` before the first valid set.
    type Value = Option<Arc<PolicySet>>;
    type Stamp = Fingerprint;
    type Error = Vec<PolicyProblem>;

    fn stamp(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    fn make(&self, stamp: &mut Fingerprint, _: Option<&Self::Value>) -> Result<Self::Value, Vec<PolicyProblem>> {
        let (result, read) = load_steadily(&self.0);
        *stamp = read;
        result.map(|set| Some(Arc::new(set)))
    }

    fn is_transient(&self, problems: &Vec<PolicyProblem>) -> bool {
        problems.iter().any(|problem| matches!(problem.fault, Fault::Io(_)))
    }
}

/// Reads again until nothing changed during the read.
fn load_steadily(directories: &[PathBuf]) -> (Result<PolicySet, Vec<PolicyProblem>>, Fingerprint) {
    steadily(|| Fingerprint::of(directories), || load_once(directories))
}

/// The result of a read, and the state in which it was made. The state was the same before and after, except when every
/// attempt saw a change.
fn steadily<State: PartialEq, Read>(state: impl Fn() -> State, read: impl Fn() -> Read) -> (Read, State) {
    let mut before = state();
    for _ in 1..ATTEMPTS {
        let result = read();
        let after = state();
        if after == before {
            return (result, after);
        }
        before = after;
    }
    (read(), before)
}

fn load_once(directories: &[PathBuf]) -> Result<PolicySet, Vec<PolicyProblem>> {
    let mut problems = Vec::new();
    let mut documents: Vec<Document> = Vec::new();
    let mut total = 0;
    for directory in directories {
        let mut files = Vec::new();
        find_files(directory, directory, MAX_DEPTH, &mut files, &mut problems);
        if files.is_empty() && problems.is_empty() {
            problems.push(problem(directory, Fault::NoFiles));
        }
        for file in &files {
            match read_file(&file.real) {
                Ok(text) => {
                    total += text.len();
                    if total > MAX_TOTAL {
                        problems.push(problem(&file.shown, Fault::TooLargeTogether { limit: MAX_TOTAL }));
                        return Err(problems);
                    }
                    let (read, found) = document::read_text(&text, &file.shown);
                    documents.extend(read);
                    problems.extend(found.into_list());
                }
                Err(fault) => problems.push(problem(&file.shown, fault)),
            }
        }
    }
    if problems.is_empty() && documents.is_empty() {
        let place = directories.first().map_or(Path::new(""), PathBuf::as_path);
        problems.push(problem(place, Fault::NoPolicies));
    }
    finish(documents, problems)
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

/// Finds the files below a directory, in the order of their names. `shown` is its name in messages, `real` the same directory
/// behind kubelet's link.
pub(crate) fn find_files(
    shown: &Path,
    real: &Path,
    depth: usize,
    files: &mut Vec<FoundFile>,
    problems: &mut Vec<PolicyProblem>,
) {
    if problems.len() >= MAX_PROBLEMS {
        return; // links that lead back branch with every level
    }
    if depth == 0 {
        problems.push(problem(shown, Fault::TooDeep { limit: MAX_DEPTH }));
        return;
    }
    // The link is followed once, so that kubelet cannot replace the files between two reads.
    let data = fs::canonicalize(real.join("..data")).ok().filter(|data| data.is_dir());
    if let Some(data) = &data {
        problems.extend(dotted_keys(data).iter().map(|key| problem(&shown.join(key), Fault::PassedOver)));
        find_files(shown, data, depth - 1, files, problems);
    }
    let mut entries = match entry_names(real) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(problem(shown, Fault::Io(error)));
            return;
        }
    };
    ordered::sort_by(&mut entries, |a, b| a.cmp(b));
    for name in entries {
        let directory = shown;
        let (shown, real) = (shown.join(&name), real.join(&name));
        if data.is_some() && fs::read_link(&real).is_ok_and(|target| target.starts_with("..data")) {
            continue; // found behind the link already
        }
        match fs::metadata(&real) {
            Ok(metadata) if metadata.is_dir() => find_files(&shown, &real, depth - 1, files, problems),
            // Checked before the file is opened: opening a pipe would block for ever.
            Ok(metadata) if metadata.is_file() => files.push(FoundFile { shown, real }),
            Ok(_) => problems.push(problem(&shown, Fault::NotAFile)),
            Err(error) => problems.push(problem(&shown, Fault::Io(error))),
        }
        if files.len() > MAX_FILES {
            files.truncate(MAX_FILES);
            problems.push(problem(directory, Fault::TooManyFiles { limit: MAX_FILES }));
            return;
        }
    }
}

/// The keys of a mounted ConfigMap that begin with one dot.
fn dotted_keys(data: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(data).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let dotted = names.filter(|name| name.as_bytes().starts_with(b".") && !name.as_bytes().starts_with(b".."));
    dotted.take(MAX_PROBLEMS).map(PathBuf::from).collect()
}

/// The names in a directory that do not begin with a dot.
fn entry_names(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !name.as_bytes().starts_with(b".") {
            names.push(PathBuf::from(name));
        }
        if names.len() > 2 * MAX_FILES {
            return Err(io::Error::other("the directory has too many entries"));
        }
    }
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
struct Fingerprint(Sha256);

impl Fingerprint {
    fn of(directories: &[PathBuf]) -> Self {
        let mut facts = Vec::new();
        let mut seen = 0;
        for directory in directories {
            note(directory, MAX_DEPTH, &mut facts, &mut seen);
        }
        Self(Sha256::of(&facts))
    }
}

fn note(path: &Path, depth: usize, facts: &mut Vec<u8>, seen: &mut usize) {
    *seen += 1;
    if depth == 0 || *seen > 4 * MAX_FILES {
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
    let Ok(mut names) = entry_names(path) else { return };
    ordered::sort_by(&mut names, |a, b| a.cmp(b));
    for name in names {
        note(&path.join(name), depth - 1, facts, seen);
    }
}

fn note_link(link: &Path, facts: &mut Vec<u8>) {
    if let Ok(target) = fs::read_link(link) {
        facts.extend_from_slice(target.as_os_str().as_bytes());
        facts.push(0);
    }
}

#[cfg(test)]
mod tests;
