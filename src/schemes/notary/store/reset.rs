//! A reset by hand: the stored trust data of one repository is dropped, and a running process drops it too.

use std::path::PathBuf;

use super::disk::{Disk, Place};
use super::disk_error::DiskError;
use crate::base::clock;
use crate::http::url::PlainHttp;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::ordered;
use portreeve_verify::tuf::Gun;

/// Resets a repository on every server of which it is stored, and returns those servers, for people. `servers` are servers
/// of which it may be stored; others are found in the directory.
pub fn reset(directory: PathBuf, gun: &Gun, servers: &[TrustServer]) -> Result<Vec<String>, DiskError> {
    let disk = Disk::new(directory);
    let mut servers = ordered::set(servers.iter().cloned());
    for (server, name) in disk.repositories()? {
        if name == gun.as_str()
            && let Ok(server) = TrustServer::parse(&server, PlainHttp::DangerouslyAllowed)
        {
            servers.insert(server); // the directory is found by the hash of server and GUN, whatever the file says
        }
    }
    let epoch = u64::try_from(clock::now().as_microsecond()).unwrap_or(1).max(1);
    let mut done = Vec::new();
    for server in &servers {
        let place = Place { server, gun };
        if disk.directory(place).symlink_metadata().is_ok() {
            disk.reset(place, epoch)?;
            done.push(server.to_string());
        }
    }
    Ok(done)
}
