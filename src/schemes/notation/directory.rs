//! The files of the trust stores, as notation keeps them: `truststore/x509/<type>/<name>/*` with certificates, and `crl/*` with
//! revocation lists, in PEM or DER. Names that begin with a dot are passed over: kubelet keeps the real files of a mount there.
//!
//! Never more is read than the caps allow. A file that cannot be used spoils its own store alone.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::rule::{StoreKind, StoreName};
use super::stores::{Store, Stores};
use crate::base::files::read_capped;
use crate::base::reload::Source;
use crate::schemes::listing::{self, FoundFile, Listing, shown};
use portreeve_verify::image::Sha256;
use portreeve_verify::notation::{MAX_REVOCATION_LIST, MAX_STORE_FILE, RevocationLists, read_store_file};

/// Where the stores are below the directory.
pub(super) const LAYOUT: &str = "truststore/x509";
/// Where the revocation lists are.
const LISTS: &str = "crl";
/// The most bytes of all certificates together.
const MAX_CERTIFICATES: usize = 256 << 10;

/// The directory of the trust stores.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

/// The files, found without reading them, in the order of their names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    stores: Vec<(StoreName, Vec<FoundFile>)>,
    lists: Vec<FoundFile>,
    listing: Listing,
}

impl Source for Directory {
    type Value = Arc<Stores>;
    type Stamp = Found;
    type Error = Infallible;

    fn stamp(&self) -> Found {
        let mut found = Found::default();
        for kind in StoreKind::ALL {
            let directory = self.0.join(LAYOUT).join(kind.word());
            for path in found.listing.entries(&directory) {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if !StoreName::is_name(name) {
                    let why = "is no trust store: a store's name has letters, digits and characters of \"_.-\"";
                    found.listing.problem(&path, why);
                } else if !path.is_dir() {
                    let why = "is no trust store: each store is a directory, and its files are certificates";
                    found.listing.problem(&path, why);
                } else {
                    let store = StoreName { kind, name: name.to_owned() };
                    let files = found.listing.files(&path);
                    found.stores.push((store, files));
                }
            }
        }
        found.lists = found.listing.files(&self.0.join(LISTS));
        found
    }

    fn make(&self, found: &Found, last: Option<&Arc<Stores>>) -> Result<Arc<Stores>, Infallible> {
        let mut problems = found.listing.problems.clone();
        let mut list: Vec<Store> = Vec::new();
        let mut room = MAX_CERTIFICATES;
        let before = |name: &StoreName| last?.list.iter().find(|store| store.name == *name).cloned();
        for (name, files) in &found.stores {
            let store = match read_store(name, files, &mut room) {
                Ok(certificates) => Some(Store { name: name.clone(), certificates }),
                Err(problem) => {
                    let kept = before(name);
                    let told = if kept.is_some() { "; what it held before stays in force" } else { "" };
                    problems.push(format!("trust store {name}: {problem}{told}"));
                    kept
                }
            };
            list.extend(store);
        }
        if found.listing.is_partial {
            // What could not be looked at may still be there.
            let gone = last.iter().flat_map(|last| &last.list);
            let gone = gone.filter(|store| !found.stores.iter().any(|(name, _)| *name == store.name));
            list.extend(gone.cloned());
        }
        let revocation = match read_lists(&found.lists) {
            Ok(lists) => Arc::new(lists),
            Err(problem) => {
                let kept = last.map(|last| Arc::clone(&last.revocation));
                let told = if kept.is_some() { "; the lists before stay in force" } else { "; no list counts" };
                problems.push(format!("revocation list {problem}{told}"));
                kept.unwrap_or_else(|| Arc::new(RevocationLists::none()))
            }
        };
        listing::tell(&mut problems);
        let names: Vec<String> = list.iter().map(|store| store.name.to_string()).collect();
        let parts = list.iter().zip(&names).flat_map(|(store, name)| {
            std::iter::once(name.as_bytes()).chain(store.certificates.iter().map(Vec::as_slice))
        });
        let id = Sha256::of_parts(parts.chain([revocation.id().as_bytes().as_slice()]));
        let endings = Stores::endings_of(&list, &revocation);
        Ok(Arc::new(Stores { list, revocation, problems, endings, id, chosen: Mutex::default() }))
    }
}

/// The certificates of a store. `room` is what all stores together may still have.
fn read_store(name: &StoreName, files: &[FoundFile], room: &mut usize) -> Result<Vec<Vec<u8>>, String> {
    let mut certificates: Vec<Vec<u8>> = Vec::new();
    for (path, _) in files {
        let bytes = read_capped(path, MAX_STORE_FILE).map_err(|error| format!("{} {error}", shown(path)))?;
        let read = read_store_file(&bytes).map_err(|error| format!("{}: {error}", shown(path)))?;
        for certificate in read {
            let too_many =
                || format!("all trust stores together have more than {MAX_CERTIFICATES} bytes of certificates");
            *room = room.checked_sub(certificate.len()).ok_or_else(too_many)?;
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
    }
    if certificates.is_empty() { Err(format!("{name} has no certificate")) } else { Ok(certificates) }
}

fn read_lists(files: &[FoundFile]) -> Result<RevocationLists, String> {
    let mut room = MAX_REVOCATION_LIST;
    let mut read = Vec::new();
    for (path, _) in files {
        let bytes = read_capped(path, room).map_err(|error| format!("{} {error}", shown(path)))?;
        room -= bytes.len();
        read.push(bytes);
    }
    let slices: Vec<&[u8]> = read.iter().map(Vec::as_slice).collect();
    RevocationLists::read(&slices).map_err(|(place, error)| {
        let path = files.get(place).map(|(path, _)| shown(path)).unwrap_or_default();
        format!("{path}: {error}")
    })
}
