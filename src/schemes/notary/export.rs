//! Exports a repository: all of its metadata, verified, as files for a site without a server. Exports nothing that does not
//! verify. Writes no file itself.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::Notary;
use super::query::failure_at;
use super::recorder::Recorder;
use super::store::repository_record::Confirmation;
use crate::base::context::Deadline;
use crate::keychain::credentials::Credentials;
use crate::registry::sign_in::SignIn;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::ordered::{Map, Set};
use portreeve_verify::tuf::{
    Anchor, Delegation, Gun, KeyId, MetadataName, MetadataSource, RefreshError, Repository, RoleExpiry, RoleName, Root,
};
use portreeve_verify::{Unavailable, ordered};

/// Most earlier roots that are exported, for sites that trust an old one: as many as one refresh follows.
const EARLIER_ROOTS: usize = 64;
/// Most delegations of an exported repository that is stored as well.
const STORED_DELEGATIONS: usize = 256;

/// A request for an export.
#[derive(Clone, Copy, Debug)]
pub struct ExportRequest<'a> {
    /// The repository.
    pub gun: &'a Gun,
    /// The server to fetch it from.
    pub server: &'a TrustServer,
    /// The anchor that must trust the root.
    pub anchor: &'a Anchor,
    /// The credentials for signing in.
    pub credentials: &'a Credentials<'a>,
    /// When the export must have ended.
    pub deadline: Deadline,
}

/// A verified repository.
#[derive(Debug)]
pub struct Export {
    /// The files by their names on a server, without `.json`. If they replace an earlier export in this order, a reader finds
    /// one of the two complete at any time.
    pub files: Vec<(String, Vec<u8>)>,
    /// When each role expires.
    pub expiries: Vec<RoleExpiry>,
    /// The IDs of the root keys.
    pub root_key_ids: Vec<KeyId>,
    /// The published delegations that do not verify, with the reason.
    pub left_out: Map<RoleName, String>,
}

impl Notary {
    /// Fetches and verifies all of a repository.
    pub fn export(&self, request: &ExportRequest<'_>, now: Timestamp) -> Result<Export, RefreshError> {
        let ExportRequest { gun, server, anchor, credentials, deadline } = *request;
        let began = Instant::now();
        let budget = self.budget();
        let sign_in = SignIn::default();
        let source = self.source(server, gun, credentials, deadline, None, &sign_in);
        let mut source = Recorder::new(source, true, budget, &server.to_string(), deadline);
        let none = Set::new();
        let stored = self.store().get(server, gun, deadline);
        let epoch = stored.as_ref().map_or(0, |stored| stored.epoch());
        let repository = match stored {
            // All files are fetched, because all bytes are exported. The trusted state still protects from a rollback.
            Some(stored) => stored.refresh_anew(&mut source, gun, anchor, &none, now),
            None => Repository::refresh_with_state(&mut source, gun, anchor, None, &none, now),
        };
        let repository = repository.map_err(|failed| {
            if let Some(state) = &failed.state {
                self.store().record(server, gun, state, epoch);
                self.store().persist_versions(server, gun, deadline);
            }
            failure_at(server, failed.error)
        })?;
        let mut record = source.take_record();
        let published = ordered::set(repository.snapshot().delegations().keys().cloned());
        let repository = Arc::new(repository.with_signers(&mut source, &published, now)?);
        let earlier = earlier_roots(&mut source, gun, repository.root());
        record.extend(source.take_record());

        let files = repository.files();
        let mut out = Vec::new();
        let mut left_out = Map::new();
        let targets = (MetadataName::Targets(repository.targets().file().sha256), repository.targets().file().sha256);
        let mut listed = vec![targets];
        for (role, delegation) in repository.delegations() {
            match delegation {
                Delegation::Verified(targets) => {
                    let hash = targets.file().sha256;
                    listed.push((MetadataName::Delegation(role.clone(), hash), hash));
                }
                Delegation::Rejected(rejection) => drop(left_out.insert(role.clone(), rejection.to_string())),
                Delegation::Absent => {}
            }
        }
        for (name, hash) in listed {
            let bytes = record.get(&hash).cloned();
            let missing = || RefreshError::from(Unavailable::other(format!("{name} was not fetched")));
            out.push((name.file_stem(), bytes.ok_or_else(missing)?));
        }
        let snapshot = MetadataName::Snapshot(repository.timestamp().snapshot().sha256);
        out.push((snapshot.file_stem(), files.snapshot.to_vec()));
        for root in earlier.iter().rev().chain([repository.root()]) {
            out.push((MetadataName::RootVersion(root.header().version).file_stem(), root.bytes().to_vec()));
        }
        // The timestamp before the root: a reader with the old root finds the new one by its version.
        out.push((MetadataName::Timestamp.file_stem(), files.timestamp.to_vec()));
        out.push((MetadataName::Root.file_stem(), files.root.to_vec()));
        let export =
            Export { files: out, expiries: repository.expiries(), root_key_ids: repository.root_key_ids(), left_out };
        // A server with many made-up signers must not fill the disk.
        if published.len() <= STORED_DELEGATIONS {
            let confirmation = Confirmation { time: now, asked: began };
            self.store().insert(server, gun, anchor, &repository, Some(confirmation), epoch);
            self.store().persist(server, gun, &repository, epoch, record, deadline);
        }
        Ok(export)
    }
}

/// The roots before this one, newest first, as far back as each root has signed its successor.
fn earlier_roots(source: &mut dyn MetadataSource, gun: &Gun, newest: &Arc<Root>) -> Vec<Arc<Root>> {
    let mut chain: Vec<Arc<Root>> = Vec::new();
    for version in (1..newest.header().version).rev().take(EARLIER_ROOTS) {
        let name = MetadataName::RootVersion(version);
        let Ok(bytes) = source.fetch(&name, name.cap()) else { break };
        let Ok(older) = Root::read(bytes, None, gun, &|| source.is_late()) else { break };
        let next = chain.last().unwrap_or(newest);
        if older.header().version != version
            || Root::read(next.bytes().to_vec(), Some(&older), gun, &|| source.is_late()).is_err()
        {
            break;
        }
        chain.push(Arc::new(older));
    }
    chain
}
