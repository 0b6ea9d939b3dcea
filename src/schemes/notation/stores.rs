//! The site's trust stores: the certificates and the revocation lists that an operator mounts, read again when they change. A
//! store that cannot be read keeps its last good certificates, and is told of.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::directory::{Directory, LAYOUT};
use super::rule::{StoreKind, StoreName};
use crate::base::ending::{self, Ending, EndingKind};
use crate::base::reload::{Reload, Reloading};
use crate::metrics::{Metrics, Reloaded};
use portreeve_verify::image::Sha256;
use portreeve_verify::notation::{RevocationLists, TrustStores};

/// The shortest time between two checks of the files.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The most sets of stores whose certificates are kept together. Few policies of a site differ in their stores.
const MAX_CHOSEN: usize = 8;

/// The stores in force. Shared by all workers.
pub struct SiteStores {
    files: Reloading<Directory>,
    metrics: Arc<Metrics>,
}

/// The stores of one state of the files.
pub struct Stores {
    pub(super) list: Vec<Store>,
    pub(super) revocation: Arc<RevocationLists>,
    pub(super) problems: Vec<String>,
    pub(super) endings: Vec<Ending>,
    /// The hash of the certificates and the revocation lists.
    pub(super) id: Sha256,
    /// The certificates of stores that a policy names together.
    pub(super) chosen: Mutex<Vec<(Vec<StoreName>, Arc<TrustStores>)>>,
}

/// A store.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) name: StoreName,
    /// In DER.
    pub(super) certificates: Vec<Vec<u8>>,
}

impl SiteStores {
    /// Reads the stores below a directory. Without one there are none.
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

    /// The stores in force, after a check of the files if one is due. One caller checks; the others do not wait.
    pub fn current(&self) -> Arc<Stores> {
        let Reload::Made(stores) = self.files.check() else { return self.files.value() };
        self.metrics.reload(Reloaded::TrustStores, stores.problems.is_empty());
        stores
    }
}

impl Stores {
    /// The certificates of these stores together, or the first of them that is not there.
    pub(super) fn choose<'n>(&self, names: &'n [StoreName]) -> Result<Arc<TrustStores>, &'n StoreName> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = chosen.iter().find(|(known, _)| known == names) {
            return Ok(Arc::clone(known));
        }
        let of = |kind| {
            let mut certificates = Vec::new();
            for name in names.iter().filter(|name| name.kind == kind) {
                certificates.extend_from_slice(&self.find(name).ok_or(name)?.certificates);
            }
            Ok(certificates)
        };
        let (ca, signing_authority) = (of(StoreKind::Ca)?, of(StoreKind::SigningAuthority)?);
        let tsa = of(StoreKind::Tsa)?;
        let tsa = names.iter().any(|name| name.kind == StoreKind::Tsa).then_some(tsa);
        let made = Arc::new(TrustStores::new(ca, signing_authority, tsa));
        if chosen.len() >= MAX_CHOSEN {
            chosen.remove(0);
        }
        chosen.push((names.to_vec(), Arc::clone(&made)));
        Ok(made)
    }

    fn find(&self, name: &StoreName) -> Option<&Store> {
        self.list.iter().find(|store| store.name == *name && !store.certificates.is_empty())
    }

    /// Is this store there, with a certificate?
    pub fn has(&self, name: &StoreName) -> bool {
        self.find(name).is_some()
    }

    /// What is wrong with the files. Safe to print.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The revocation lists.
    pub(super) fn revocation(&self) -> &RevocationLists {
        &self.revocation
    }

    pub(super) fn id(&self) -> Sha256 {
        self.id
    }

    /// When the stores' certificates and the revocation lists end.
    pub fn endings(&self) -> &[Ending] {
        &self.endings
    }

    pub(super) fn endings_of(list: &[Store], revocation: &RevocationLists) -> Vec<Ending> {
        const CARRY: &str = "carry the new list of this CA in (crl/), or ask the CA why there is none";
        const ADVICE: &str =
            "put the certificate of the renewed CA into the trust store, beside this one, and sign with it";
        let of = |store: &Store| {
            let certificates = store.certificates.iter().map(Vec::as_slice);
            ending::of_certificates(EndingKind::TrustStore, certificates, &store.name.to_string(), ADVICE)
        };
        let lists = revocation.endings().into_iter().map(|(what, at)| {
            let at = Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
            Ending { kind: EndingKind::RevocationList, what, at, advice: CARRY }
        });
        list.iter().flat_map(of).chain(lists).collect()
    }

    /// Why this store cannot be used, if it is there.
    pub fn problem_of(&self, name: &StoreName) -> Option<&str> {
        let head = ["trust store ", &name.to_string(), ": "].concat();
        self.problems.iter().find_map(|problem| problem.strip_prefix(&head))
    }

    /// The names of those that can be used.
    pub fn names(&self) -> Vec<String> {
        let usable = self.list.iter().filter(|store| !store.certificates.is_empty());
        usable.map(|store| store.name.to_string()).collect()
    }

    /// Where the certificates of a store belong.
    pub fn place_of(name: &StoreName, directory: &Path) -> PathBuf {
        directory.join(LAYOUT).join(name.kind.word()).join(&name.name)
    }

    /// Why a store that a policy names cannot be used, and what to do.
    pub(super) fn missing(&self, name: &StoreName, directory: &Path) -> String {
        if let Some(problem) = self.problem_of(name) {
            return ["the policy names the trust store \"", &name.to_string(), "\": ", problem, "; correct it"]
                .concat();
        }
        let mut message = format!(
            "the trust store \"{name}\", which the policy names, is not there: put the certificates that it is to trust into \
             {} (notation.trustStores of the configuration)",
            Self::place_of(name, directory).display()
        );
        for problem in self.problems.iter().take(2) {
            message.extend(["; ", problem]);
        }
        message
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stores").field(&self.id).finish()
    }
}

impl fmt::Debug for SiteStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SiteStores").field(&self.directory()).finish()
    }
}
