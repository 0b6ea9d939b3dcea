//! A repository's metadata, all of it verified, as a set of files that can be carried to where there is no server.
//! Takes nothing that does not verify; writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::Notary;
use super::query::Refusal;
use super::recorder::Recorder;
use super::store::repository_record::Confirmation;
use crate::base::context::Deadline;
use crate::keychain::credentials::Credentials;
use crate::registry::sign_in::SignIn;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::Unavailable;
use portreeve_verify::ordered;
use portreeve_verify::tuf::Anchor;
use portreeve_verify::tuf::KeyId;
use portreeve_verify::tuf::Root;
use portreeve_verify::tuf::{Delegation, Repository, RoleExpiry};
use portreeve_verify::tuf::{Gun, RoleName};
use portreeve_verify::tuf::{MetadataName, MetadataSource};

/// Earlier roots that are taken along, for sites that know an old one: as many as are followed in one refresh.
const EARLIER_ROOTS: usize = 64;
/// Most delegations of a repository that is stored for having been exported.
const KEPT_DELEGATIONS: usize = 256;

/// What to export.
#[derive(Clone, Copy, Debug)]
pub struct ExportRequest<'a> {
    /// The repository.
    pub gun: &'a Gun,
    /// Where from.
    pub server: &'a TrustServer,
    /// Where trust in the root begins.
    pub anchor: &'a Anchor,
    /// The credentials for signing in.
    pub credentials: &'a Credentials<'a>,
    /// When to be done.
    pub deadline: Deadline,
}

/// A whole repository, verified.
#[derive(Debug)]
pub struct Export {
    /// The files by the name that a server gives them, without `.json`. In this order they may replace an earlier
    /// export file by file, and whoever reads in the meantime finds either one whole.
    pub files: Vec<(String, Vec<u8>)>,
    /// When each role ends.
    pub expiries: Vec<RoleExpiry>,
    /// The IDs of the root keys.
    pub root_key_ids: Vec<KeyId>,
    /// Delegations that are published and do not verify, and why.
    pub left_out: BTreeMap<RoleName, String>,
}

impl Notary {
    /// Fetches and verifies all of a repository.
    pub fn export(&self, request: &ExportRequest<'_>, now: Timestamp) -> Result<Export, Refusal> {
        let ExportRequest { gun, server, anchor, credentials, deadline } = *request;
        let began = Instant::now();
        let budget = self.budget();
        let sign_in = SignIn::default();
        let source = self.source(server, gun, credentials, deadline, None, &sign_in);
        let mut source = Recorder::new(source, true, budget, &server.to_string(), deadline);
        let none = BTreeSet::new();
        let known = self.store().recall(server, gun, deadline);
        let epoch = known.as_ref().map_or(0, |known| known.epoch());
        let repository = match known {
            // Nothing is carried over, for all bytes are wanted; what was seen before holds none the less.
            Some(known) => known.refresh_anew(&mut source, gun, anchor, &none, now),
            None => Repository::refresh_with_state(&mut source, gun, anchor, None, &none, now),
        };
        let repository = repository.map_err(|failed| {
            if let Some(seen) = &failed.state {
                self.store().note(server, gun, seen, epoch);
                self.store().persist_noted(server, gun, deadline);
            }
            Refusal::from(failed.error).at(server)
        })?;
        let mut record = source.take_record();
        let published = ordered::set(repository.snapshot().delegations().keys().cloned());
        let repository = Arc::new(repository.with_signers(&mut source, &published, now).map_err(Refusal::from)?);
        let earlier = earlier_roots(&mut source, gun, repository.root());
        record.extend(source.take_record());

        let files = repository.files();
        let mut out = Vec::new();
        let mut left_out = BTreeMap::new();
        let targets = (MetadataName::Targets(repository.targets().file().sha256), repository.targets().file().sha256);
        let mut listed = vec![targets];
        for (role, delegation) in repository.delegations() {
            match delegation {
                Delegation::Verified(held) => {
                    listed.push((MetadataName::Delegation(role.clone(), held.file().sha256), held.file().sha256));
                }
                Delegation::Rejected(rejection) => drop(left_out.insert(role.clone(), rejection.to_string())),
                Delegation::Absent => {}
            }
        }
        for (name, hash) in listed {
            let bytes = record.get(&hash).cloned();
            let missing = || Refusal::Unavailable(Unavailable::other(format!("{name} was not fetched")));
            out.push((name.file_stem(), bytes.ok_or_else(missing)?));
        }
        let snapshot = MetadataName::Snapshot(repository.timestamp().snapshot().sha256);
        out.push((snapshot.file_stem(), files.snapshot.to_vec()));
        for root in earlier.iter().rev().chain([repository.root()]) {
            out.push((MetadataName::RootVersion(root.header().version).file_stem(), root.bytes().to_vec()));
        }
        // The timestamp before the root: whoever has the old root finds the way to the new one by its number.
        out.push((MetadataName::Timestamp.file_stem(), files.timestamp.to_vec()));
        out.push((MetadataName::Root.file_stem(), files.root.to_vec()));
        let export =
            Export { files: out, expiries: repository.expiries(), root_key_ids: repository.root_key_ids(), left_out };
        // A server that invents signers does not fill our disk.
        if published.len() <= KEPT_DELEGATIONS {
            let confirmation = Confirmation { time: now, asked: began };
            self.store().remember(server, gun, anchor, &repository, Some(confirmation), epoch);
            self.store().persist(server, gun, &repository, epoch, record, deadline);
        }
        Ok(export)
    }
}

/// The roots before this one, newest first, as far back as each has signed the next.
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
