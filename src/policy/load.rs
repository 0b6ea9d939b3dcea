//! Policy directories: mounted ConfigMaps, read whole and swapped whole.
//!
//! kubelet mounts a ConfigMap as a directory in which `..data` links to a dated directory with the files, and every
//! name links through `..data`; an update replaces that one link. So the link is followed once and all files are read
//! behind it: never half of the old and half of the new. Names that begin with two dots are kubelet's own, and
//! skipped; so is what begins with one, but for a ConfigMap's key, which somebody wrote to be read.
//!
//! All or nothing: one bad file, and there is no set. Whoever holds the last good one keeps it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Place;
use super::document::{self, Document};
use super::problem::{Fault, PolicyProblem};
use super::set::PolicySet;
use crate::base::files::{FileError, Stamp, read_text_capped};
use crate::base::reload::{Reload, Reloading, Source};
use crate::yaml::tree::{At, MAX_TEXT};
use portreeve_verify::image::Sha256;

/// Several ConfigMaps below one directory, and folders in them; deeper is a loop of links.
pub(crate) const MAX_DEPTH: usize = 5;
const MAX_FILES: usize = 4096;
/// All files together. 10,000 policies have about 5 MiB.
const MAX_TOTAL: usize = 32 << 20;
/// Past this many problems no further directory is looked into.
const MAX_PROBLEMS: usize = 1000;
/// How often a read is begun anew because kubelet swapped the files meanwhile.
const ATTEMPTS: usize = 4;

/// Reads all policies below `directories`. All problems are told, not just the first.
pub fn load(directories: &[PathBuf]) -> Result<PolicySet, Vec<PolicyProblem>> {
    load_steadily(directories).0
}

/// Policy directories that are checked for changes again and again.
#[derive(Debug)]
pub struct PolicySource(Reloading<Directories>);

#[derive(Debug)]
struct Directories(Vec<PathBuf>);

impl PolicySource {
    /// Nothing is read yet.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self(Reloading::start_with(None, Directories(directories), Duration::ZERO))
    }

    /// Reads the policies if anything changed since the last call. The first call always reads. `None`: nothing changed,
    /// whether the policies are good or bad. A file that cannot be read is tried again at every call.
    pub fn reload_if_changed(&self) -> Option<Result<Arc<PolicySet>, Vec<PolicyProblem>>> {
        match self.0.check() {
            Reload::Unchanged => None,
            Reload::Made(set) => set.map(Ok),
            Reload::Failed { error, .. } => Some(Err(error)),
        }
    }
}

impl Source for Directories {
    /// `None` before the first good set.
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

/// Reads until nothing changed while reading.
fn load_steadily(directories: &[PathBuf]) -> (Result<PolicySet, Vec<PolicyProblem>>, Fingerprint) {
    steadily(|| Fingerprint::of(directories), || load_once(directories))
}

/// What is read, and the state that it was read in: the same before and after, if that is to be had.
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

/// A set, if nothing at all is wrong; else everything that is.
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

/// A policy file: the name that people know it by, and where it is read.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) shown: PathBuf,
    pub(crate) real: PathBuf,
}

/// Finds the files below a directory, in the order of their names. `shown` is its name for people, `real` the same
/// directory behind kubelet's link.
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
    // Followed once: what it names now is what is read, whatever kubelet does meanwhile.
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
    entries.sort();
    for name in entries {
        let directory = shown;
        let (shown, real) = (shown.join(&name), real.join(&name));
        if data.is_some() && fs::read_link(&real).is_ok_and(|target| target.starts_with("..data")) {
            continue; // found behind the link already
        }
        match fs::metadata(&real) {
            Ok(metadata) if metadata.is_dir() => find_files(&shown, &real, depth - 1, files, problems),
            // Asked before it is opened: a pipe would keep us waiting for ever.
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

/// The keys of a mounted ConfigMap that begin with a dot; none may begin with two.
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
    read_text_capped(path, MAX_TEXT).map_err(|error| match error {
        FileError::Io(error) => Fault::Io(error),
        FileError::NotAFile => Fault::NotAFile,
        FileError::TooLarge { cap } => Fault::TooLarge { limit: cap },
        FileError::NotText => Fault::NotUtf8,
    })
}

pub(crate) fn problem(file: &Path, fault: Fault) -> PolicyProblem {
    PolicyProblem::new(Place::new(file, At::START), fault)
}

/// The stamps of everything below the directories, with the names and links. Costs a few `stat` calls and reads no file.
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
    names.sort();
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
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory of its own, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("portreeve-load-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn dirs(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }

        /// Mounts files as kubelet does: a dated directory, `..data` to it, a link for each name.
        fn mount(&self, dated: &str, files: &[(&str, &str)]) {
            for (name, text) in files {
                self.write(&format!("{dated}/{name}"), text);
            }
            symlink(dated, self.0.join("..data_tmp")).unwrap();
            fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
            for (name, _) in files {
                let top = name.split('/').next().unwrap();
                let _ = symlink(format!("..data/{top}"), self.0.join(top));
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn policy(name: &str) -> String {
        format!(
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: {name}}}\nspec: {{repositories: []}}\n"
        )
    }

    fn faults(result: Result<PolicySet, Vec<PolicyProblem>>) -> Vec<String> {
        result.expect_err("should not load").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_what_kubelet_mounts() {
        let scratch = Scratch::new();
        scratch.mount("..2026_01", &[("a.yaml", &policy("a")), ("sub/b", &policy("b"))]);
        scratch.write(".hidden", "not: [yaml");
        assert_eq!(load(&scratch.dirs()).unwrap().len(), 2, "each once, and no dated directory besides");
        scratch.mount("..2026_02", &[("a.yaml", "tust: 1")]);
        let problems = faults(load(&scratch.dirs()));
        let shown = scratch.0.join("a.yaml").display().to_string();
        assert!(problems[0].starts_with(&format!("{shown}:1:1: not a policy")), "{problems:?}");
    }

    #[test]
    fn several_mounts_below_one_directory() {
        let scratch = Scratch::new();
        scratch.write("plain/c.yaml", &policy("c"));
        let below = Scratch(scratch.0.join("mounted"));
        fs::create_dir_all(&below.0).unwrap();
        below.mount("..2026_01", &[("a.yaml", &policy("a"))]);
        assert_eq!(load(&scratch.dirs()).unwrap().len(), 2);
    }

    #[test]
    fn one_bad_file_and_there_is_no_set_and_all_is_told() {
        let scratch = Scratch::new();
        scratch.write("a.yaml", &policy("a"));
        scratch.write("b.yaml", "kind: [");
        scratch.write("c.yaml", "x: 1");
        fs::write(scratch.0.join("d.yaml"), [0xff, 0xfe]).unwrap();
        fs::write(scratch.0.join("e.yaml"), vec![b'a'; MAX_TEXT + 1]).unwrap();
        symlink("nowhere", scratch.0.join("f.yaml")).unwrap();
        let problems = faults(load(&scratch.dirs()));
        assert_eq!(problems.len(), 5, "{problems:#?}");
    }

    /// Applied while nobody looked it over, it would else count for nothing, and a laxer policy in its place.
    #[test]
    fn a_key_that_begins_with_a_dot_is_not_passed_over_in_silence() {
        let scratch = Scratch::new();
        scratch.mount("..2026_01", &[("a.yaml", &policy("a")), (".strict.yaml", &policy("b"))]);
        let problems = faults(load(&scratch.dirs()));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("/.strict.yaml:1:1: ") && problems[0].contains("begins with a dot"),
            "{problems:?}"
        );
        scratch.mount("..2026_02", &[("a.yaml", &policy("a"))]);
        assert_eq!(load(&scratch.dirs()).unwrap().len(), 1);
    }

    #[test]
    fn no_policy_is_never_a_policy() {
        let scratch = Scratch::new();
        assert!(faults(load(&scratch.dirs()))[0].contains("no policy file"));
        scratch.write("a.yaml", "# later\n");
        assert!(faults(load(&scratch.dirs()))[0].contains("no policy in these files"));
        assert!(faults(load(&[scratch.0.join("absent")]))[0].contains("cannot be read"));
        assert_eq!(load(&[]).unwrap_err().len(), 1);
    }

    #[test]
    fn loops_of_links_end() {
        let scratch = Scratch::new();
        scratch.write("a.yaml", &policy("a"));
        symlink(".", scratch.0.join("loop")).unwrap();
        let problems = faults(load(&scratch.dirs()));
        assert!(problems.iter().any(|problem| problem.contains("levels deep")), "{problems:?}");
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let scratch = Scratch::new();
        let _listener = std::os::unix::net::UnixListener::bind(scratch.0.join("socket")).unwrap();
        assert!(faults(load(&scratch.dirs()))[0].contains("neither a regular file"));
    }

    #[test]
    fn reads_again_only_what_changed() {
        let scratch = Scratch::new();
        scratch.mount("..2026_01", &[("a.yaml", &policy("a"))]);
        let source = PolicySource::new(scratch.dirs());
        assert_eq!(source.reload_if_changed().unwrap().unwrap().len(), 1);
        assert!(source.reload_if_changed().is_none());
        scratch.mount("..2026_02", &[("a.yaml", &policy("a")), ("b.yaml", &policy("b"))]);
        assert_eq!(source.reload_if_changed().unwrap().unwrap().len(), 2);
        assert!(source.reload_if_changed().is_none());
        scratch.mount("..2026_03", &[("a.yaml", "broken: ["), ("b.yaml", &policy("b"))]);
        assert!(source.reload_if_changed().unwrap().is_err());
        assert!(source.reload_if_changed().is_none(), "a bad one is told once");
    }

    /// What was read while the files changed is read again, and never taken for their new state.
    #[test]
    fn what_changes_while_it_is_read_is_read_again() {
        for (changes, expected) in [(0, (1, 0)), (1, (2, 1)), (2, (3, 2)), (3, (4, 3)), (9, (4, 3))] {
            let (reads, state) = (Cell::new(0), Cell::new(0));
            let read = || {
                reads.set(reads.get() + 1);
                state.set(state.get().max(reads.get().min(changes)));
                reads.get()
            };
            assert_eq!(steadily(|| state.get(), read), expected, "{changes} changes");
        }
    }

    #[test]
    fn all_files_together_have_a_cap() {
        let scratch = Scratch::new();
        let words = format!("# {}\n", "x".repeat(MAX_TEXT - 3));
        for number in 0..=MAX_TOTAL / MAX_TEXT {
            scratch.write(&format!("p{number:02}.yaml"), &words);
        }
        let faults = faults(load(&scratch.dirs()));
        assert!(faults.len() == 1 && faults[0].contains("p32.yaml"), "{faults:?}");
    }

    #[test]
    fn a_plain_file_edited_in_place_is_noticed() {
        let scratch = Scratch::new();
        scratch.write("a.yaml", &policy("a"));
        let source = PolicySource::new(scratch.dirs());
        assert!(source.reload_if_changed().unwrap().is_ok());
        scratch.write("a.yaml", &policy("abc"));
        assert!(source.reload_if_changed().unwrap().is_ok());
        fs::remove_dir_all(&scratch.0).unwrap();
        assert!(source.reload_if_changed().unwrap().is_err());
        assert!(source.reload_if_changed().is_some(), "what could not be read is tried again");
    }

    /// kubelet swaps while we read: whatever loads is wholly of one generation.
    #[test]
    fn never_half_old_and_half_new() {
        let scratch = Scratch::new();
        let rules = |generation: usize, name: &str| {
            let repositories = format!("repositories: [{{name: reg.io/g{generation}/{name}}}]");
            policy(name).replace("repositories: []", &repositories)
        };
        let mount = |generation: usize| {
            let files = [("a.yaml", rules(generation, "a")), ("b.yaml", rules(generation, "b"))];
            scratch.mount(&format!("..{generation}"), &files.each_ref().map(|(name, text)| (*name, text.as_str())));
            std::thread::sleep(std::time::Duration::from_millis(1));
            let _ = fs::remove_dir_all(scratch.0.join(format!("..{}", generation.wrapping_sub(1))));
        };
        mount(0);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let mut loaded = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| (1..).take_while(|_| !stop.load(Ordering::Relaxed)).for_each(mount));
            for _ in 0..300 {
                if let Ok(set) = load(&scratch.dirs()) {
                    let generations: Vec<&str> =
                        set.rules().map(|rule| rule.pattern.split('/').nth(1).unwrap()).collect();
                    assert_eq!(generations.len(), 2);
                    assert_eq!(generations[0], generations[1]);
                    loaded += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(loaded > 0);
        assert_eq!(load(&scratch.dirs()).unwrap().len(), 2);
    }
}
