//! Hands what a refresh has verified to the background writer. No request waits for it.

use std::sync::Arc;

use super::cached::RefreshResult;
use super::store::Store;
use super::store::unwritten::Pending;
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::storage::writer::{Job, Kind, NotWritten, Writer};
use portreeve_verify::tuf::{Gun, TrustedState};

/// Writes trust data. Shared by all workers.
pub(crate) struct StoreWriter {
    store: Arc<Store>,
    pub(in crate::schemes) writer: Writer,
}

impl StoreWriter {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, writer: Writer::default() }
    }

    /// Writes the result of a refresh, which the store has already.
    pub(crate) fn write(&self, server: &TrustServer, gun: &Gun, result: RefreshResult) {
        let RefreshResult { repository, record, memory, epoch, .. } = result;
        let state = Some(repository.trusted_state().clone());
        let pending = Pending { state, epoch, files: Some(record), versions: false, room: None };
        self.start(server, gun, pending);
        drop(memory); // the writer has room for the files now, or they are dropped
    }

    /// Writes the versions that a failed refresh has verified.
    pub(crate) fn write_versions(&self, server: &TrustServer, gun: &Gun, state: TrustedState, epoch: u64) {
        self.start(server, gun, Pending { state: Some(state), epoch, files: None, versions: true, room: None });
    }

    fn start(&self, server: &TrustServer, gun: &Gun, pending: Pending) {
        let Some(name) = self.store.name_on_disk(server, gun) else { return };
        let key = (server.clone(), gun.clone());
        let added = self.store.hold(key.clone(), pending, |bytes| self.writer.room(bytes));
        if !added.has_room {
            self.store.not_written(&NotWritten::TooSlow);
        }
        if !added.is_first {
            return;
        }
        let (store, ours) = (Arc::clone(&self.store), key.clone());
        let write = Box::new(move || store.write_behind(&ours));
        if let Err(why) = self.writer.start(Job { key: name, kind: Kind::TrustData, write }) {
            self.store.drop_unwritten(&key);
            self.store.not_written(&why);
        }
    }
}
