//! Directories that an operator mounts, and what is in them: the files of Notation's trust stores, and trusted roots. Names that
//! begin with a dot are passed over: kubelet keeps the real files of a mount there.
//!
//! Nothing is read. Never more is listed than the caps allow.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::files::Stamp;
use portreeve_verify::ordered;
use portreeve_verify::text::printable;

/// The most entries of directories that are visited, and the most files that are read.
const MAX_VISITED: usize = 2_000;
const MAX_FILES: usize = 256;
/// The most problems that are told.
const MAX_PROBLEMS: usize = 16;

/// A file, and its state.
pub(super) type FoundFile = (PathBuf, Option<Stamp>);

/// What was seen of some directories.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Listing {
    pub(super) problems: Vec<String>,
    visited: usize,
    files: usize,
    /// A directory could not be read to its end.
    pub(super) is_partial: bool,
}

impl Listing {
    /// The entries of a directory, in the order of their names. A directory that is not there has none.
    pub(super) fn entries(&mut self, directory: &Path) -> Vec<PathBuf> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.is_partial = true;
                self.problem(directory, &format!("cannot be read: {error}"));
                return Vec::new();
            }
        };
        let mut paths = Vec::new();
        for entry in entries.flatten() {
            self.visited += 1;
            if self.visited > MAX_VISITED {
                self.is_partial = true;
                self.problem(directory, "has too many entries");
                break;
            }
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                paths.push(entry.path());
            }
        }
        ordered::sort_by(&mut paths, |a: &PathBuf, b| a.cmp(b));
        paths
    }

    /// The files of a directory.
    pub(super) fn files(&mut self, directory: &Path) -> Vec<FoundFile> {
        let mut files = self.entries(directory);
        self.files += files.len();
        if self.files > MAX_FILES {
            self.is_partial = true;
            self.problem(directory, "has too many files");
            files.clear();
        }
        files.into_iter().map(|path| (Stamp::of(&path), path)).map(|(stamp, path)| (path, stamp)).collect()
    }

    pub(super) fn problem(&mut self, path: &Path, why: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{} {why}", shown(path)));
        }
    }
}

/// Logs problems, and drops those beyond the most that are told.
pub(super) fn tell(problems: &mut Vec<String>) {
    problems.truncate(MAX_PROBLEMS);
    for problem in problems {
        log::warn!("{problem}");
    }
}

/// A path, printable.
pub(super) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), 300)
}
