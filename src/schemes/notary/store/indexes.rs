//! The indexes of all stored repositories, read for people. Verifies nothing and changes nothing.

use std::path::PathBuf;

use super::disk::{Disk, Place};
use super::disk_error::DiskError;
use crate::http::url::PlainHttp;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::image::Reference;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::Gun;

/// What is stored below a directory.
#[derive(Debug, Default)]
pub struct StoredIndexes {
    /// The server and the GUN of each repository.
    pub repositories: Vec<(String, String)>,
    /// The repositories whose index cannot be read, each with the reason. Safe to print.
    pub damaged: Vec<String>,
    /// The room that everything below the directory takes.
    pub used: u64,
}

/// Reads all indexes below a directory, one after the other.
pub fn stored_indexes(directory: PathBuf) -> Result<StoredIndexes, DiskError> {
    let disk = Disk::new(directory);
    let mut found = StoredIndexes { repositories: disk.repositories()?, used: disk.usage().all, ..Default::default() };
    for (server, name) in &found.repositories {
        let gun = Reference::parse(name).ok().and_then(|image| Gun::of(&image).ok());
        let server = TrustServer::parse(server, PlainHttp::DangerouslyAllowed);
        let (Some(gun), Ok(server)) = (gun, server) else { continue };
        if let Err(error) = disk.load(Place { server: &server, gun: &gun }) {
            found.damaged.push(format!("{}: {error}", printable(name, 300)));
        }
    }
    Ok(found)
}
