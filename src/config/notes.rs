//! Notes on a configuration: keys that do nothing, and mounted files that no key names. A configuration with notes is used.

use std::cmp::Ordering;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::check::Checker;
use super::{AskApi, Config};
use crate::admission::children::Children;
use crate::admission::exempt::DEFAULT_TRUSTED_CONTROLLERS;
use crate::schemes::WhenUnavailable;
use crate::yaml::tree::{Node, Value};
use portreeve_verify::ordered;
use portreeve_verify::text::printable;

/// Where the manifests mount what a pod of Portreeve reads. Below these directories each file should have a key.
const MOUNTS: [&str; 2] = ["/etc/portreeve", "/etc/certs"];
/// How deep they are searched, how many entries are looked at, and how many files are noted.
const MAX_DEPTH: usize = 4;
const MAX_VISITED: usize = 1_000;
const MAX_NOTED: usize = 20;
/// The CA of the serving certificate, which cert-manager and certs-gen put beside it, and which nobody has to read.
const CA_BESIDE: &str = "ca.crt";

/// A setting that is valid and probably not intended. `Display` is safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(String);

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The notes on a configuration. `others` are files and directories that policies name.
pub fn notes(config: &Config, others: &[&Path]) -> Vec<Note> {
    let mut notes = config.key_notes.clone();
    for (key, has_effect, needs) in conditional(config) {
        if !has_effect && config.conditional_keys.contains(&key) {
            notes.push(Note(format!("{key} does nothing: it needs {needs}")));
        }
    }
    notes.extend(missing_controllers(&config.trusted_controllers));
    let mut search = Search { named: named(config, others), visited: 0, notes: &mut notes };
    for mount in search.mounts(config) {
        search.look_below(&mount, 0);
    }
    notes
}

/// The controllers of Kubernetes that are not trusted. What they make is then verified as if a user had made it.
fn missing_controllers(trusted: &[String]) -> Option<Note> {
    let is_missing = |user: &&&str| !trusted.iter().any(|known| known == **user);
    let missing: Vec<&str> = DEFAULT_TRUSTED_CONTROLLERS.iter().filter(is_missing).copied().collect();
    let what =
        if missing.len() == 1 { "this controller of Kubernetes makes" } else { "these controllers of Kubernetes make" };
    (!missing.is_empty()).then(|| {
        Note(format!(
            "admission.trustedControllers leaves out {}: what {what} is verified again, and denied \
             while the trust server is away; to add users to the controllers of Kubernetes write {{ add: [...] }}",
            missing.join(", ")
        ))
    })
}

/// The keys that do nothing without another one: whether they have an effect, and what they need.
fn conditional(config: &Config) -> [(&'static str, bool, &'static str); 3] {
    let asks_api = config.ask_api == AskApi::Yes || config.children == Children::Compare;
    let uses_cached = config.trust.when_unavailable != WhenUnavailable::Deny;
    [
        ("trust.maxStale", uses_cached, "trust.whenUnavailable: useCached beside it"),
        ("limits.trustCache", config.trust.cache.is_some(), "a directory in trust.cache"),
        ("credentials.api", asks_api, "credentials.kubernetes: true, or admission.children: compare"),
    ]
}

impl Checker<'_> {
    /// Fills in what notes need to know of the files: the keys that stand there, and those without a value.
    pub(super) fn add_notes(&self, config: &mut Config) {
        config.conditional_keys =
            conditional(config).map(|(key, ..)| key).into_iter().filter(|key| self.has(key)).collect();
        config.files = self.files.iter().map(|(file, _)| file.clone()).collect();
        for (file, document) in self.files {
            without_value(file, document, "", &mut config.key_notes);
        }
    }
}

/// Notes the keys of one file that stand without a value.
fn without_value(file: &Path, node: &Node, section: &str, notes: &mut Vec<Note>) {
    let Value::Map(entries) = &node.value else { return };
    for (key, value) in entries {
        let name = [section, &key.text].concat();
        if value.is_null() && notes.len() < MAX_NOTED {
            let (file, line) = (printable(&file.display().to_string(), 400), key.at.line);
            let name = printable(&name, 120);
            notes.push(Note(format!("{file}:{line}: {name} has no value, and does nothing: its default applies")));
        }
        without_value(file, value, &[&name, "."].concat(), notes);
    }
}

/// All files and directories that are read.
fn named(config: &Config, others: &[&Path]) -> Vec<PathBuf> {
    let tls = &config.server.tls;
    let directories = config.policies.iter().chain(&config.namespace_policies);
    let directories = directories.chain([&config.secrets, &config.mounted_credentials]);
    let directories = directories.chain([&config.trust_stores, &config.trusted_roots]);
    let files = [&tls.certificate, &tls.key, &config.trust.ca, &config.api.token, &config.api.ca];
    let named = directories.chain(files).chain(&tls.client_ca).chain(&config.trust.cache).chain(&config.files);
    let by_url = config.trust.servers.directories().chain(config.registries.layouts());
    named.map(PathBuf::as_path).chain(by_url).chain(others.iter().copied()).map(Path::to_owned).collect()
}

/// Orders the files of one directory.
pub(super) fn by_name(a: &Path, b: &Path) -> Ordering {
    a.as_os_str().cmp(b.as_os_str())
}

/// A search for files that no key names.
struct Search<'a> {
    named: Vec<PathBuf>,
    visited: usize,
    notes: &'a mut Vec<Note>,
}

impl Search<'_> {
    /// Where to look: the places of the manifests, and each directory that kubelet has mounted for a named file.
    fn mounts(&self, config: &Config) -> Vec<PathBuf> {
        let tls = &config.server.tls;
        let files = [&tls.certificate, &tls.key, &config.trust.ca];
        let files = files.into_iter().chain(&tls.client_ca).chain(&config.files);
        let mut mounts: Vec<PathBuf> = MOUNTS.iter().map(PathBuf::from).collect();
        for directory in files.filter_map(|file| file.parent()) {
            let is_known = mounts.iter().any(|mount| directory.starts_with(mount));
            if !is_known && directory.join("..data").is_dir() {
                mounts.push(directory.to_owned());
            }
        }
        mounts
    }

    fn look_below(&mut self, directory: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        let mut paths: Vec<PathBuf> = entries.flatten().take(MAX_VISITED).map(|entry| entry.path()).collect();
        ordered::sort_by(&mut paths, |a, b| by_name(a, b));
        for path in paths {
            self.visited += 1;
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            // kubelet keeps the real files in `..data` and links to them.
            if self.visited > MAX_VISITED || name.starts_with(b".") || self.named.contains(&path) {
                continue;
            }
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    self.look_below(&path, depth + 1);
                }
            } else if !self.is_beside_certificate(&path) && self.notes.len() < MAX_NOTED {
                let path = printable(&path.display().to_string(), 400);
                self.notes.push(Note(format!("no key of the configuration names {path}: it is mounted and not read")));
            }
        }
    }

    fn is_beside_certificate(&self, path: &Path) -> bool {
        let is_beside = |named: &PathBuf| named.file_name().is_some_and(|name| name == "tls.crt");
        let certificate = path.with_file_name("tls.crt");
        path.file_name().is_some_and(|name| name == CA_BESIDE)
            && self.named.iter().any(|n| is_beside(n) && *n == certificate)
    }
}

#[cfg(test)]
mod tests;
