//! Credentials from mounted files: every `.dockerconfigjson` and `.dockercfg` below a directory, as kubelet mounts Secrets.
//! The files are checked for changes at most once a second. If a file becomes bad, its last good credentials stay in force,
//! and denials name it. If a file is removed, its credentials are removed.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::candidates::best_first;
use super::docker_config::{Entry, Format};
use super::{Credential, docker_config};
use crate::base::files::{Stamp, read_capped};
use crate::base::reload::{Reload, Reloading, Source};
use crate::metrics::{Metrics, Reloaded};
use portreeve_verify::ordered::Map;

/// The shortest time between two checks of the files.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The depth to which directories are searched.
const MAX_DEPTH: usize = 4;
/// Most directory entries that are visited, and most files that are read.
const MAX_VISITED: usize = 10_000;
const MAX_FILES: usize = 500;
/// Largest file: the limit that Kubernetes has for a Secret.
const MAX_FILE: usize = 1 << 20;

/// All mounted credentials. Shared by all workers.
#[derive(Debug)]
pub struct MountedCredentials {
    files: Option<Reloading<Directory>>,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Debug)]
struct Directory(PathBuf);

/// The credentials of one state of the directory.
#[derive(Debug, Default)]
struct Mounted {
    files: Map<PathBuf, MountedFile>,
    /// A problem with the directory itself.
    problem: Option<String>,
}

impl Mounted {
    fn is_sound(&self) -> bool {
        self.problem.is_none() && self.files.values().all(|file| file.problems.is_empty())
    }
}

#[derive(Clone, Debug)]
struct MountedFile {
    stamp: Option<Stamp>,
    entries: Arc<Vec<Entry>>,
    problems: Vec<String>,
}

impl MountedCredentials {
    /// Reads the files. Without a directory, or if it is absent, there are no credentials.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self::checked_every(directory, CHECK_EVERY)
    }

    fn checked_every(directory: Option<PathBuf>, check_every: Duration) -> Self {
        let start = |directory| {
            let Ok(files) = Reloading::start(Directory(directory), check_every);
            files
        };
        Self { files: directory.map(start), metrics: None }
    }

    /// Counts reloads from now on.
    pub fn counted_by(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The credentials for a repository, most specific first. `name` is normalised and without tag:
    /// `registry.local:9001/plant/plc`.
    pub fn candidates(&self, name: &str) -> Vec<Credential> {
        let mounted = self.current();
        // Equally specific entries are in the order of the files' names, which is the same every time.
        best_first(
            name,
            mounted.files.iter().flat_map(|(path, file)| file.entries.iter().map(move |entry| (path.display(), entry))),
            usize::MAX,
        )
    }

    /// How many credentials there are.
    pub(crate) fn count(&self) -> usize {
        self.current().files.values().map(|file| file.entries.len()).sum()
    }

    /// The problems with the mounted files, for messages. Contains no secrets.
    pub fn problems(&self) -> Vec<String> {
        let mounted = self.current();
        let of_files = mounted.files.iter().flat_map(|(path, file)| {
            file.problems.iter().map(move |problem| format!("credentials file {} {problem}", path.display()))
        });
        mounted.problem.iter().cloned().chain(of_files).collect()
    }

    /// The credentials in force, after a check of the files if one is due. One caller checks; the others do not wait.
    fn current(&self) -> Arc<Mounted> {
        let Some(files) = &self.files else { return Arc::default() };
        let Reload::Made(mounted) = files.check() else { return files.value() };
        if let Some(metrics) = &self.metrics {
            metrics.reload(Reloaded::Credentials, mounted.is_sound());
        }
        mounted
    }
}

impl Source for Directory {
    type Value = Arc<Mounted>;
    type Stamp = Found;
    type Error = Infallible;

    fn stamp(&self) -> Found {
        let mut found = Found::default();
        match fs::metadata(&self.0) {
            Ok(_) => found.walk(&self.0, 0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => found.miss(&self.0, &error.to_string()),
        }
        found
    }

    /// Reads the files that changed. A file that did not change keeps its credentials.
    fn make(&self, found: &Found, last: Option<&Arc<Mounted>>) -> Result<Arc<Mounted>, Infallible> {
        let last = last.cloned().unwrap_or_default();
        if let Some(problem) = &found.problem
            && last.problem.as_ref() != Some(problem)
        {
            log::warn!("{problem}");
        }
        let mut files = Map::new();
        for (path, &(stamp, format)) in &found.files {
            let file = match last.files.get(path) {
                Some(file) if file.stamp == stamp => file.clone(),
                before => read_file(path, stamp, format, before),
            };
            files.insert(path.clone(), file);
        }
        if found.is_partial {
            // A file that could not be looked at may still be there, so that its last good credentials stay in force.
            for (path, file) in &last.files {
                if !files.contains_key(path) {
                    files.insert(path.clone(), file.clone());
                }
            }
        }
        Ok(Arc::new(Mounted { files, problem: found.problem.clone() }))
    }
}

fn read_file(path: &Path, stamp: Option<Stamp>, format: Format, last: Option<&MountedFile>) -> MountedFile {
    let read = read_capped(path, MAX_FILE)
        .map_err(|error| error.to_string())
        .and_then(|bytes| docker_config::parse(&bytes, format).map_err(|error| error.to_string()));
    let file = match read {
        Ok(config) => MountedFile { stamp, entries: Arc::new(config.entries), problems: config.problems },
        Err(problem) => {
            let kept = last.map(|file| Arc::clone(&file.entries)).unwrap_or_default();
            let problem =
                if kept.is_empty() { problem } else { format!("{problem}; what it held before stays in force") };
            MountedFile { stamp, entries: kept, problems: vec![problem] }
        }
    };
    for problem in &file.problems {
        log::warn!("credentials file {} {problem}", path.display());
    }
    file
}

/// The files below the directory, found without reading them.
#[derive(Debug, Default, PartialEq)]
struct Found {
    files: Map<PathBuf, (Option<Stamp>, Format)>,
    visited: usize,
    problem: Option<String>,
    /// A directory could not be read to its end.
    is_partial: bool,
}

impl Found {
    fn miss(&mut self, directory: &Path, why: &str) {
        self.problem = Some(format!("credentials directory {}: {why}", directory.display()));
        self.is_partial = true;
    }

    fn walk(&mut self, directory: &Path, depth: usize) {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.miss(directory, &error.to_string());
                return;
            }
        };
        for entry in entries.flatten() {
            self.visited += 1;
            if self.visited > MAX_VISITED || self.files.len() >= MAX_FILES {
                self.miss(directory, "too many files");
                return;
            }
            let name = entry.file_name();
            // kubelet keeps the real files in `..data` and links to them. The links are read.
            if name.as_encoded_bytes().starts_with(b"..") {
                continue;
            }
            let format = match name.as_encoded_bytes() {
                b".dockerconfigjson" => Some(Format::Json),
                b".dockercfg" => Some(Format::Cfg),
                _ => None,
            };
            let path = entry.path();
            if format.is_none() && looks_like_a_docker_config(&name.to_string_lossy()) && path.is_file() {
                let told = format!(
                    "credentials file {} is not read, for its name: mount it as .dockerconfigjson (kubectl create secret \
                     generic NAME --type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=FILE)",
                    path.display()
                );
                self.problem.get_or_insert(told);
            }
            if let Some(format) = format {
                let stamp = Stamp::of(&path);
                self.files.insert(path, (stamp, format));
            } else if depth < MAX_DEPTH && path.is_dir() {
                self.walk(&path, depth + 1);
            }
        }
    }
}

/// Whether the name is one that people give a docker config (`config.json`, `dockerconfigjson`), but that is not read.
fn looks_like_a_docker_config(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("config.json") || name.ends_with("dockerconfigjson")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::scratch::Scratch;

    fn config(registry: &str, user: &str) -> String {
        format!(r#"{{"auths":{{"{registry}":{{"username":"{user}","password":"p"}}}}}}"#)
    }

    fn users(credentials: &MountedCredentials, name: &str) -> Vec<String> {
        credentials.candidates(name).into_iter().map(|c| c.username).collect()
    }

    fn of(scratch: &Scratch) -> MountedCredentials {
        MountedCredentials::checked_every(Some(scratch.path().to_owned()), Duration::ZERO)
    }

    #[test]
    fn no_directory_means_no_credentials() {
        assert!(MountedCredentials::new(None).candidates("quay.io/x").is_empty());
        let scratch = Scratch::new();
        let absent = MountedCredentials::new(Some(scratch.path().join("absent")));
        assert!(absent.candidates("quay.io/x").is_empty());
        assert!(absent.problems().is_empty());
    }

    #[test]
    fn finds_files_at_any_depth_and_orders_candidates() {
        let scratch = Scratch::new();
        scratch.write("b/.dockerconfigjson", config("registry.local:9001", "bob"));
        scratch.write("a/.dockerconfigjson", config("registry.local:9001/plant", "alice"));
        scratch.write("c/d/.dockercfg", r#"{"*.local:9001":{"auth":"Y2Fyb2w6cA"}}"#);
        scratch.write("e/config.json", config("registry.local:9001", "eve"));
        scratch.write("f/..data/.dockerconfigjson", config("registry.local:9001", "mallory"));
        scratch.write("1/2/3/4/5/.dockerconfigjson", config("registry.local:9001", "deep"));
        let credentials = of(&scratch);
        assert_eq!(users(&credentials, "registry.local:9001/plant/plc"), ["alice", "bob", "carol"]);
        assert_eq!(users(&credentials, "registry.local:9001/other"), ["bob", "carol"]);
        assert!(users(&credentials, "quay.io/plant/plc").is_empty());
        let problems = credentials.problems();
        assert!(problems.len() == 1 && problems[0].contains("e/config.json is not read"), "{problems:?}");
        let source = credentials.candidates("registry.local:9001/plant/plc")[0].source.clone();
        assert!(source.contains("a/.dockerconfigjson") && source.contains("registry.local:9001/plant"), "{source}");
    }

    #[test]
    fn kubelet_swaps_are_seen() {
        let scratch = Scratch::new();
        scratch.write("harbor/..1/.dockerconfigjson", config("quay.io", "old"));
        scratch.write("harbor/..2/.dockerconfigjson", config("quay.io", "new"));
        let data = scratch.path().join("harbor/..data");
        std::os::unix::fs::symlink("..1", &data).unwrap();
        std::os::unix::fs::symlink("..data/.dockerconfigjson", scratch.path().join("harbor/.dockerconfigjson"))
            .unwrap();
        let credentials = of(&scratch);
        assert_eq!(users(&credentials, "quay.io/x"), ["old"]);
        let next = scratch.path().join("harbor/..tmp");
        std::os::unix::fs::symlink("..2", &next).unwrap();
        fs::rename(next, data).unwrap();
        assert_eq!(users(&credentials, "quay.io/x"), ["new"]);
    }

    #[test]
    fn a_bad_file_is_named_and_hurts_no_other() {
        let scratch = Scratch::new();
        scratch.write("a/.dockerconfigjson", config("quay.io", "alice"));
        let bad = scratch.write("b/.dockerconfigjson", config("quay.io", "bob"));
        let metrics = Arc::new(Metrics::new());
        let counts = |result: &str, count: u32| {
            let line = format!("portreeve_reloads_total{{what=\"credentials\",result=\"{result}\"}} {count}");
            metrics.render().lines().any(|found| found == line)
        };
        let credentials = of(&scratch).counted_by(Arc::clone(&metrics));
        assert_eq!(users(&credentials, "quay.io/x"), ["alice", "bob"]);
        assert!(credentials.problems().is_empty());
        fs::write(&bad, "{ not json").unwrap();
        assert_eq!(users(&credentials, "quay.io/x"), ["alice", "bob"], "the last good state stays");
        let problems = credentials.problems();
        assert!(problems.len() == 1 && problems[0].contains("b/.dockerconfigjson"), "{problems:?}");
        fs::write(&bad, "x".repeat(MAX_FILE + 1)).unwrap();
        assert_eq!(users(&credentials, "quay.io/x"), ["alice", "bob"]);
        assert!(credentials.problems()[0].contains("larger"), "{:?}", credentials.problems());
        assert!(counts("ok", 0) && counts("failed", 2), "{}", metrics.render());
        fs::remove_file(&bad).unwrap();
        assert_eq!(users(&credentials, "quay.io/x"), ["alice"]);
        assert!(credentials.problems().is_empty());
        assert!(counts("ok", 1) && counts("failed", 2), "{}", metrics.render());
    }

    #[test]
    fn what_could_not_be_looked_at_is_not_gone_and_what_is_gone_is() {
        let scratch = Scratch::new();
        let (mount, aside) = (scratch.path().join("m"), scratch.path().join("aside"));
        fs::create_dir(&mount).unwrap();
        let credentials = MountedCredentials::checked_every(Some(mount.clone()), Duration::ZERO);
        let away = || {
            fs::rename(&mount, &aside).unwrap();
            fs::write(&mount, "no directory").unwrap();
        };
        let back = || {
            fs::remove_file(&mount).unwrap();
            fs::rename(&aside, &mount).unwrap();
        };
        // Told, although no file has changed.
        assert!(credentials.problems().is_empty());
        away();
        assert!(credentials.problems()[0].starts_with("credentials directory "), "{:?}", credentials.problems());
        back();
        assert!(credentials.problems().is_empty());

        scratch.write("m/a/.dockerconfigjson", config("quay.io", "alice"));
        assert_eq!(users(&credentials, "quay.io/x"), ["alice"]);
        away();
        assert_eq!(users(&credentials, "quay.io/x"), ["alice"]);
        back();
        // A file whose name is not read does not keep other credentials in force.
        scratch.write("m/b/config.json", config("quay.io", "bob"));
        fs::remove_dir_all(mount.join("a")).unwrap();
        assert!(users(&credentials, "quay.io/x").is_empty());
        assert!(credentials.problems()[0].contains("b/config.json is not read"), "{:?}", credentials.problems());
        fs::rename(mount.join("b/config.json"), mount.join("b/dockerconfigjson")).unwrap();
        assert!(users(&credentials, "quay.io/x").is_empty());
        assert!(credentials.problems()[0].contains("b/dockerconfigjson is not read"), "{:?}", credentials.problems());
    }

    #[test]
    fn files_are_looked_at_no_more_than_is_due() {
        let scratch = Scratch::new();
        let credentials = MountedCredentials::checked_every(Some(scratch.path().to_owned()), Duration::from_secs(3600));
        scratch.write("a/.dockerconfigjson", config("quay.io", "alice"));
        assert!(users(&credentials, "quay.io/x").is_empty());
    }
}
