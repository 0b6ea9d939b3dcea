//! The records of all repositories, within bounds of number and size: every client that can have a workload reviewed can
//! have one more repository recorded. Data is evicted first, because it can be fetched again. Of the rest, records that the
//! disk has too are evicted first.

use std::collections::HashMap;
use std::sync::Arc;

use super::repository_record::RepositoryRecord;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::Gun;

/// Most repositories that are recorded.
pub(crate) const MAX_REPOSITORIES: usize = 5_000;

pub(crate) type Key = (TrustServer, Gun);

#[derive(Default)]
pub(crate) struct Records {
    pub(crate) by_key: HashMap<Key, Entry>,
    /// The heap size of all records together.
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
    /// Counts up with every use.
    pub(crate) clock: u64,
}

pub(crate) struct Entry {
    pub(crate) record: Arc<RepositoryRecord>,
    used: u64,
    /// [`RepositoryRecord::is_on_disk`].
    is_on_disk: bool,
}

impl Entry {
    /// The order of eviction: first records that the disk has too, then those that never verified an image, then the others.
    fn eviction_order(&self) -> (bool, bool) {
        (!self.is_on_disk, self.record.admitted)
    }
}

impl Records {
    pub(crate) fn get(&mut self, key: &Key) -> Option<Arc<RepositoryRecord>> {
        self.clock += 1;
        let clock = self.clock;
        let entry = self.by_key.get_mut(key)?;
        entry.used = clock;
        Some(Arc::clone(&entry.record))
    }

    pub(crate) fn insert(&mut self, key: Key, record: Arc<RepositoryRecord>) {
        self.clock += 1;
        if self.by_key.len() >= MAX_REPOSITORIES && !self.by_key.contains_key(&key) {
            let oldest = self.by_key.iter().min_by_key(|(_, it)| (it.eviction_order(), it.used));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.remove(&oldest);
            }
        }
        self.remove(&key);
        self.bytes = self.bytes.saturating_add(record.heap_size());
        let (used, is_on_disk) = (self.clock, record.is_on_disk());
        self.by_key.insert(key.clone(), Entry { record, used, is_on_disk });
        while self.bytes > self.max_bytes && self.evict_one(&key) {}
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let removed = self.by_key.remove(key)?;
        self.bytes = self.bytes.saturating_sub(removed.record.heap_size());
        Some(removed)
    }

    /// Evicts the data that was used longest ago, of other repositories than `but`. Where no data is left, evicts a whole
    /// record, in [`Entry::eviction_order`].
    pub(crate) fn evict_one(&mut self, but: &Key) -> bool {
        let others = self.by_key.iter().filter(|(key, _)| *key != but);
        let has_data = |it: &Entry| it.record.has_data();
        let oldest = others.min_by_key(|(_, it)| {
            (!has_data(it), if has_data(it) { (false, false) } else { it.eviction_order() }, it.used)
        });
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return false };
        let Some(Entry { record, used, is_on_disk }) = self.remove(&key) else { return false };
        if record.has_data() {
            let record = Arc::new(record.without_data());
            self.bytes = self.bytes.saturating_add(record.heap_size());
            self.by_key.insert(key, Entry { record, used, is_on_disk });
        }
        true
    }
}
