//! The site's trusted roots: `<name>.json` in a directory that an operator mounts, each a `trusted_root.json`, read again when they
//! change. A file that cannot be used any more leaves the last good one in force, and is told of (SCHEMES.md, row 89).

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::ending::{Ending, EndingKind};
use crate::base::files::{Stamp, read_capped};
use crate::base::reload::{Reload, Reloading, Source};
use crate::metrics::{Metrics, Reloaded};
use crate::schemes::listing::{self, FoundFile, Listing, shown};
use portreeve_verify::sigstore::{MAX_TRUSTED_ROOT, TrustedRoot};

/// The shortest time between two checks of the files.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The most bytes of all files together. That of the public instance has 8 kB.
const MAX_TOGETHER: usize = 1 << 20;
/// What the name of a file ends in.
const ENDING: &str = ".json";

/// The trusted roots in force. Shared by all workers.
pub struct TrustedRoots {
    files: Reloading<Directory>,
    metrics: Arc<Metrics>,
}

/// The trusted roots of one state of the files.
#[derive(Debug)]
pub struct Roots {
    list: Vec<(String, Arc<TrustedRoot>)>,
    problems: Vec<String>,
}

/// Can a trusted root have this name? It is the name of its file without `.json`.
pub fn is_trusted_root(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=128).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.') && !name.ends_with(ENDING)
}

impl TrustedRoots {
    /// Reads the files of a directory. Without one there are none.
    pub fn new(directory: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self::checked_every(directory, metrics, CHECK_EVERY)
    }

    pub(super) fn checked_every(directory: PathBuf, metrics: Arc<Metrics>, every: Duration) -> Self {
        let Ok(files) = Reloading::start(Directory(directory), every);
        Self { files, metrics }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.files.source().0
    }

    /// The roots in force, after a check of the files if one is due. One caller checks; the others do not wait.
    pub fn current(&self) -> Arc<Roots> {
        let Reload::Made(roots) = self.files.check() else { return self.files.value() };
        self.metrics.reload(Reloaded::TrustedRoots, roots.problems.is_empty());
        roots
    }
}

impl Roots {
    /// The trusted root of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<TrustedRoot>> {
        self.list.iter().find(|(known, _)| known == name).map(|(_, root)| root)
    }

    /// All of them, in the order of their names.
    pub fn list(&self) -> &[(String, Arc<TrustedRoot>)] {
        &self.list
    }

    /// When the instances of the roots end.
    pub fn endings(&self, now: Timestamp) -> Vec<Ending> {
        const ADVICE: &str = "carry in the newest trusted_root.json of the public instance; to a file of your own, add the part that \
                              follows, and remove nothing";
        let of = |(name, root): &(String, Arc<TrustedRoot>)| {
            let ends = root.ends(now.as_second()).into_iter().map(|end| {
                let what = [name, ", ", &end.what].concat();
                let at = Timestamp::from_second(end.at).unwrap_or(Timestamp::MAX);
                Ending { kind: EndingKind::TrustedRoot, what, at, advice: ADVICE }
            });
            ends.collect::<Vec<_>>()
        };
        self.list.iter().flat_map(of).collect()
    }

    /// What is wrong with the files. Safe to print.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Why the file of this root cannot be used, if it is there.
    pub fn problem_of(&self, name: &str) -> Option<&str> {
        let head = ["trusted root ", name, ": "].concat();
        self.problems.iter().find_map(|problem| problem.strip_prefix(&head))
    }

    /// Why a root that a policy names cannot be used, and what to do. The name is one that a root can have.
    pub(super) fn missing(&self, name: &str, directory: &Path) -> String {
        if let Some(problem) = self.problem_of(name) {
            return ["the policy names the trusted root \"", name, "\": ", problem, "; correct the file"].concat();
        }
        let mut message = format!(
            "the trusted root \"{name}\", which the policy names, is not there: put the file into {}/{name}{ENDING} \
             (sigstore.trustedRoots of the configuration)",
            shown(directory)
        );
        for problem in self.problems.iter().take(2) {
            message.extend(["; ", problem]);
        }
        message
    }
}

/// The directory.
struct Directory(PathBuf);

/// The files, found without reading them, in the order of their names.
#[derive(Debug, Default, PartialEq)]
struct Found {
    roots: Vec<(String, FoundFile)>,
    listing: Listing,
}

impl Source for Directory {
    type Value = Arc<Roots>;
    type Stamp = Found;
    type Error = Infallible;

    fn stamp(&self) -> Found {
        let mut found = Found::default();
        // `--trusted-root` names one file.
        let files = match self.0.is_file() {
            true => vec![(self.0.clone(), Stamp::of(&self.0))],
            false => found.listing.files(&self.0),
        };
        for file in files {
            let name = file.0.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.strip_suffix(ENDING).filter(|name| is_trusted_root(name)) {
                Some(name) => found.roots.push((name.to_owned(), file)),
                None => {
                    let why = "is no trusted root: its name has letters, digits and characters of \"_.-\", and ends in \
                               \".json\"";
                    found.listing.problem(&file.0, why);
                }
            }
        }
        found
    }

    fn make(&self, found: &Found, last: Option<&Arc<Roots>>) -> Result<Arc<Roots>, Infallible> {
        let mut problems = Vec::new();
        let mut list = Vec::new();
        let mut room = MAX_TOGETHER;
        for (name, (path, _)) in &found.roots {
            let kept = last.and_then(|last| last.get(name)).cloned();
            let root = match read(path, &mut room) {
                Ok(root) => Some(Arc::new(root)),
                Err(problem) => {
                    let told = if kept.is_some() { "; what it held before stays in force" } else { "" };
                    problems.push(["trusted root ", name, ": ", &shown(path), " ", &problem, told].concat());
                    kept
                }
            };
            list.extend(root.map(|root| (name.clone(), root)));
        }
        if found.listing.is_partial {
            // What could not be looked at may still be there.
            let gone = last.iter().flat_map(|last| &last.list);
            let gone = gone.filter(|(name, _)| !found.roots.iter().any(|(known, _)| known == name));
            list.extend(gone.cloned());
        }
        // A denial tells the first ones, and a root that cannot be read matters more than a stray file.
        problems.extend_from_slice(&found.listing.problems);
        listing::tell(&mut problems);
        Ok(Arc::new(Roots { list, problems }))
    }
}

/// Reads a file. `room` is what all files together may still have.
fn read(path: &Path, room: &mut usize) -> Result<TrustedRoot, String> {
    let bytes = read_capped(path, MAX_TRUSTED_ROOT.min(*room)).map_err(|error| error.to_string())?;
    *room -= bytes.len();
    TrustedRoot::read(&bytes).map_err(|error| ["cannot be used: ", &error.to_string()].concat())
}

impl fmt::Debug for TrustedRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedRoots").field(&self.directory()).finish()
    }
}

#[cfg(test)]
mod tests;
