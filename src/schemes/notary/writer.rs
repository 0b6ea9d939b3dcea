//! Hands refreshed data to the background writer. The request that refreshed waits for half of the time that is left.

use std::sync::Arc;

use super::cached::RefreshResult;
use super::store::Store;
use crate::base::context::Deadline;
use crate::schemes::memory_budget::Permit;
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::storage::writer::{Job, MAX_WRITES, Writer};
use portreeve_verify::tuf::Gun;

/// Writes trust data. Shared by all workers.
pub(crate) struct StoreWriter {
    store: Arc<Store>,
    pub(in crate::schemes) writer: Writer,
}

impl StoreWriter {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, writer: Writer::default() }
    }

    /// Writes the result of a refresh. Its memory is given back as soon as the writer has room for its bytes.
    pub(crate) fn write(&self, server: &TrustServer, gun: &Gun, result: RefreshResult, deadline: Deadline) {
        if !self.store.keeps_bytes() {
            return;
        }
        let RefreshResult { repository, record, memory, epoch, .. } = result;
        let (store, server, gun) = (Arc::clone(&self.store), server.clone(), gun.clone());
        let bytes = record.values().map(Vec::len).sum();
        let write = move || store.persist(&server, &gun, &repository, epoch, record, deadline);
        self.run(bytes, memory, deadline, Box::new(write));
    }

    /// Writes the versions that a failed refresh has verified.
    pub(crate) fn write_versions(&self, server: &TrustServer, gun: &Gun, deadline: Deadline) {
        if !self.store.keeps_bytes() {
            return;
        }
        let (store, server, gun) = (Arc::clone(&self.store), server.clone(), gun.clone());
        self.run(0, None, deadline, Box::new(move || store.persist_versions(&server, &gun, deadline)));
    }

    fn run(&self, bytes: usize, memory: Option<Permit>, by: Deadline, write: Box<dyn FnOnce() + Send>) {
        let patience = by.remaining().unwrap_or_default() / 2;
        if let Err(why) = self.writer.run(Job { bytes, memory, most: MAX_WRITES, patience, write }, by) {
            self.store.not_written(&why);
        }
    }
}
