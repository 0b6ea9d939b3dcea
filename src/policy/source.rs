//! Policies that are read again when their files change: the site's, and those of each namespace. If what was read cannot be
//! used, the last good policies stay in force.
//!
//! [`Reader`] does this for one owner, and knows its files alone. What stays in force, and what is told, is up to its caller.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::fault::Fault;
use super::load::{Fingerprint, LastRules, PolicyPlaces, entry_names, finish, problem, read};
use super::namespaces::{self, NamespaceChange, Namespaces};
use super::owner::Owner;
use super::problem::PolicyProblem;
use super::set::PolicySet;
use crate::base::reload::Attempt;

/// How often the files are read again because kubelet replaced them meanwhile.
const ATTEMPTS: usize = 4;

/// What a read gives.
type Loaded = Result<PolicySet, Vec<PolicyProblem>>;

/// Reads the site's policies below these directories. Reports all problems.
pub fn load(site: &[PathBuf]) -> Loaded {
    Files { owner: &Owner::Site, directories: site, namespaces: None }.load_steadily(None).0
}

/// Reads all policies. Reports all problems of the site's policies. A namespace whose own policies cannot be used is among the
/// changes, and the set denies its images.
pub fn load_all(places: &PolicyPlaces) -> Result<(PolicySet, Vec<NamespaceChange>), Vec<PolicyProblem>> {
    let site = Files::of_site(places).load_steadily(None).0?;
    let mut namespaces = Namespaces::default();
    let changes = namespaces.check(places.namespaces.as_deref());
    Ok((site.with(namespaces), changes))
}

/// Policies that are read again when they change.
#[derive(Debug)]
pub struct PolicySource {
    places: PolicyPlaces,
    known: Mutex<Known>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Known {
    site: Reader,
    /// The last good set of the site's; `None` before the first one.
    set: Option<Arc<PolicySet>>,
    namespaces: Namespaces,
}

/// What changed since the last look.
#[derive(Debug, Default)]
pub struct Changes {
    /// The site's policies: their number, or why they cannot be used. `None`: they have not changed.
    pub site: Option<Result<usize, Vec<PolicyProblem>>>,
    /// The namespaces' own policies that changed.
    pub namespaces: Vec<NamespaceChange>,
    /// All policies together, to be put in force; `None`: nothing changed, or there is no good set of the site's.
    pub in_force: Option<Arc<PolicySet>>,
}

impl PolicySource {
    /// Does not read yet.
    pub fn new(places: PolicyPlaces) -> Self {
        Self { places, known: Mutex::default() }
    }

    /// Reads the policies whose files changed since the last call. The first call always reads. If a file could not be read,
    /// every call tries again.
    pub fn reload_if_changed(&self) -> Changes {
        // A read that panicked left the last good policies.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        let site = known.site.check(&Files::of_site(&self.places), known.set.as_deref()).map(|loaded| {
            loaded.map(|set| {
                let count = set.len();
                known.set = Some(Arc::new(set));
                count
            })
        });
        let namespaces = known.namespaces.check(self.places.namespaces.as_deref());
        let is_changed = matches!(site, Some(Ok(_))) || !namespaces.is_empty();
        let set = known.set.as_ref().filter(|_| is_changed);
        let in_force = set.map(|set| Arc::new(set.with(known.namespaces.clone())));
        Changes { site, namespaces, in_force }
    }
}

/// The files of one owner.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub(super) owner: &'a Owner,
    pub(super) directories: &'a [PathBuf],
    /// The directory of the namespaces' directories. What is no namespace's directory in it is a problem of the site's, because
    /// it would count nowhere.
    pub(super) namespaces: Option<&'a Path>,
}

impl<'a> Files<'a> {
    fn of_site(places: &'a PolicyPlaces) -> Self {
        Self { owner: &Owner::Site, directories: &places.site, namespaces: places.namespaces.as_deref() }
    }

    fn stamp(&self) -> Fingerprint {
        Fingerprint::of(self.directories, self.owner.caps().files, self.namespaces)
    }

    /// Reads the files once. Shares with the last set what has not changed.
    fn load(&self, last: &LastRules<'_>) -> Loaded {
        let problems = self.namespaces.map(|root| namespaces::find(root).1).unwrap_or_default();
        let (documents, problems) = read(self.owner, self.directories, last, problems);
        if documents.is_empty() && problems.is_empty() {
            let place = self.directories.first().map_or(Path::new(""), PathBuf::as_path);
            if *self.owner != Owner::Site && !has_entries(place) {
                return Ok(PolicySet::default());
            }
            return Err(vec![problem(place, self.owner.no_policies())]);
        }
        finish(documents, problems)
    }

    /// Reads again until nothing changed during the read.
    fn load_steadily(&self, last: Option<&PolicySet>) -> (Loaded, Fingerprint) {
        let last = LastRules::of(last);
        steadily(|| self.stamp(), || self.load(&last))
    }
}

/// Is there any key? A namespace's ConfigMap whose keys hold no policy was probably meant to hold some.
fn has_entries(directory: &Path) -> bool {
    !matches!(entry_names(directory, 1), Ok(names) if names.is_empty())
}

/// Reads the files of one owner when they have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader(Attempt<Fingerprint>);

impl Reader {
    /// What is read; `None` if nothing changed. If a file could not be read, every call tries again.
    /// It may share with the last set what has not changed.
    pub(super) fn check(&mut self, files: &Files<'_>, last: Option<&PolicySet>) -> Option<Loaded> {
        if self.0.is_enough(&files.stamp()) {
            return None;
        }
        let (loaded, seen) = files.load_steadily(last);
        self.0 = Attempt::new(seen, loaded.as_ref().is_err_and(|problems| is_transient(problems)));
        Some(loaded)
    }

    /// Did the last read fail, and is it worth repeating?
    pub(super) fn is_retrying(&self) -> bool {
        self.0.is_worth_repeating()
    }
}

/// Is it worth trying again although nothing changed?
fn is_transient(problems: &[PolicyProblem]) -> bool {
    problems.iter().any(|problem| matches!(problem.fault, Fault::Io(_)))
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

#[cfg(test)]
mod tests;
