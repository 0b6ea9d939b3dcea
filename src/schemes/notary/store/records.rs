//! The records of all repositories, within bounds of number and size: every client that can have a workload reviewed can
//! have one more repository recorded. Data is evicted first, because it can be fetched again. Of the rest, records that the
//! disk has too are evicted first.

use std::collections::HashMap;
use std::sync::Arc;

use super::repository_record::RepositoryRecord;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::{Anchor, Gun, Repository};

/// Most repositories that are recorded.
pub(crate) const MAX_REPOSITORIES: usize = 5_000;

/// Most anchors whose verdict on a repository's root is kept.
const MAX_ANCHORS: usize = 8;
/// About what the verdict of an anchor with a pin or two takes in memory.
const ANCHOR_BYTES: u64 = 1 << 10;

pub(crate) type Key = (TrustServer, Gun);

/// A repository's data under an anchor; `None` where the anchor does not trust its root.
pub(crate) type Anchored = Option<Arc<Repository>>;

#[derive(Default)]
pub(crate) struct Records {
    pub(crate) by_key: HashMap<Key, Entry>,
    /// The heap size of all records together.
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
    /// What evidence takes of `max_bytes`.
    pub(crate) evidence: u64,
    /// Counts up with every use.
    pub(crate) clock: u64,
    /// How many requests are reading each repository from the disk. Its versions are not evicted meanwhile: what was read may be
    /// older.
    pub(crate) reading: HashMap<Key, usize>,
}

pub(crate) struct Entry {
    pub(crate) record: Arc<RepositoryRecord>,
    used: u64,
    /// [`RepositoryRecord::is_on_disk`].
    is_on_disk: bool,
    /// [`RepositoryRecord::is_superseded`]. A record does not change, and each query asks.
    is_superseded: bool,
    /// The anchors that were checked against the root of the data.
    anchors: Vec<(Anchor, Anchored)>,
    heap_size: u64,
}

impl Entry {
    fn of(record: Arc<RepositoryRecord>) -> Self {
        let (is_on_disk, is_superseded) = (record.is_on_disk(), record.is_superseded());
        Self { record, used: 0, is_on_disk, is_superseded, anchors: Vec::new(), heap_size: 0 }
    }

    /// What it takes in memory. Data that several anchors share counts once.
    fn measure(&self) -> u64 {
        let data = self.record.repository.as_ref();
        let unshared = |anchored: &Anchored| match (anchored, data) {
            (Some(anchored), Some(data)) if !Arc::ptr_eq(anchored, data) => anchored.unshared_heap_size(),
            _ => 0,
        };
        let anchors = self.anchors.iter().map(|(_, anchored)| ANCHOR_BYTES.saturating_add(unshared(anchored)));
        anchors.fold(self.record.heap_size(), u64::saturating_add)
    }

    /// The order of eviction: first records that the disk has too, then those that never verified an image, then the others.
    fn eviction_order(&self) -> (bool, bool) {
        (!self.is_on_disk, self.record.admitted)
    }
}

impl Records {
    pub(crate) fn get(&mut self, key: &Key) -> Option<Arc<RepositoryRecord>> {
        self.touch(key).map(|entry| Arc::clone(&entry.record))
    }

    fn touch(&mut self, key: &Key) -> Option<&Entry> {
        self.clock += 1;
        let entry = self.by_key.get_mut(key)?;
        entry.used = self.clock;
        Some(entry)
    }

    /// As [`Self::get`], with the verdict of an anchor, if it was checked already. `None` where newer data than the record's
    /// was seen.
    pub(crate) fn get_under(
        &mut self,
        key: &Key,
        anchor: &Anchor,
    ) -> Option<(Arc<RepositoryRecord>, Option<Anchored>)> {
        let entry = self.touch(key).filter(|entry| !entry.is_superseded)?;
        let verdict = entry.anchors.iter().find(|(checked, _)| checked == anchor);
        Some((Arc::clone(&entry.record), verdict.map(|(_, anchored)| anchored.clone())))
    }

    /// Keeps the verdict of an anchor on this data. Verdicts on other data are void.
    pub(crate) fn insert_anchored(&mut self, key: &Key, data: &Arc<Repository>, anchor: &Anchor, anchored: &Anchored) {
        let Some(entry) = self.by_key.get_mut(key) else { return };
        if !entry.record.repository.as_ref().is_some_and(|current| Arc::ptr_eq(current, data)) {
            return;
        }
        entry.anchors.retain(|(checked, _)| checked != anchor);
        if entry.anchors.len() >= MAX_ANCHORS {
            entry.anchors.remove(0);
        }
        entry.anchors.push((anchor.clone(), anchored.clone()));
        let heap_size = entry.measure();
        let before = std::mem::replace(&mut entry.heap_size, heap_size);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(heap_size);
        self.fit(Some(key));
    }

    pub(crate) fn insert(&mut self, key: Key, record: Arc<RepositoryRecord>) {
        self.clock += 1;
        if self.by_key.len() >= MAX_REPOSITORIES && !self.by_key.contains_key(&key) {
            let others = self.by_key.iter().filter(|(key, _)| !self.reading.contains_key(*key));
            let oldest = others.min_by_key(|(_, it)| (it.eviction_order(), it.used));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.remove(&oldest);
            }
        }
        let data = |record: &RepositoryRecord| record.repository.as_ref().map(Arc::as_ptr);
        let before = self.remove(&key).filter(|before| data(&before.record) == data(&record));
        let anchors = before.map(|before| before.anchors).unwrap_or_default();
        self.put(key.clone(), Entry { used: self.clock, anchors, ..Entry::of(record) });
        self.fit(Some(&key));
    }

    fn put(&mut self, key: Key, mut entry: Entry) {
        entry.heap_size = entry.measure();
        self.bytes = self.bytes.saturating_add(entry.heap_size);
        self.by_key.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let removed = self.by_key.remove(key)?;
        self.bytes = self.bytes.saturating_sub(removed.heap_size);
        Some(removed)
    }

    /// Evicts until the rest fits, but never the record of `but`.
    pub(crate) fn fit(&mut self, but: Option<&Key>) {
        while self.bytes.saturating_add(self.evidence) > self.max_bytes && self.evict_one(but) {}
    }

    /// Evicts the data that was used longest ago, of other repositories than `but`. Where no data is left, evicts a whole
    /// record, in [`Entry::eviction_order`].
    pub(crate) fn evict_one(&mut self, but: Option<&Key>) -> bool {
        let has_data = |it: &Entry| it.record.has_data();
        let may_go = |key: &Key, it: &Entry| Some(key) != but && (has_data(it) || !self.reading.contains_key(key));
        let others = self.by_key.iter().filter(|(key, it)| may_go(key, it));
        let oldest = others.min_by_key(|(_, it)| {
            (!has_data(it), if has_data(it) { (false, false) } else { it.eviction_order() }, it.used)
        });
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return false };
        let Some(Entry { record, used, is_on_disk, .. }) = self.remove(&key) else { return false };
        if record.has_data() {
            self.put(key, Entry { used, is_on_disk, ..Entry::of(Arc::new(record.without_data())) });
        }
        true
    }
}
