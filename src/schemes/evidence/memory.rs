//! Evidence in memory, within bounds of number and size: what was used longest ago is evicted first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::record::Record;
use portreeve_verify::heap_size::{allocation, inline_size};
use portreeve_verify::image::Sha256;

/// Evidence may use one part in this many of the budget. Trust data may use what evidence leaves.
const EVIDENCE_SHARE: u64 = 4;
/// Tags may use one part in this many of what evidence may use.
const TAGS_SHARE: u64 = 4;
/// Most entries of a kind: finding the oldest takes a look at each.
const MAX_ENTRIES: usize = 10_000;

/// The evidence of images, and the digests of tags.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) images: Recent<Arc<Record>>,
    /// By the hash of the name.
    pub(super) tags: Recent<Tag>,
}

/// The digest of a tag.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    pub(super) name: Arc<str>,
    pub(super) digest: Sha256,
    /// When the registry said so, by the wall clock.
    pub(super) confirmed: Timestamp,
    /// When this process asked the registry, by the monotonic clock.
    pub(super) asked: Option<Instant>,
    /// The time of confirmation that was written last.
    pub(super) written: Option<Timestamp>,
}

/// Entries that were used lately.
#[derive(Debug)]
pub(super) struct Recent<V> {
    entries: HashMap<Sha256, Entry<V>>,
    bytes: u64,
    max_bytes: u64,
    /// Counts up with every use.
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: u64,
    bytes: u64,
}

impl Memory {
    /// Within a budget that trust data shares.
    pub(super) fn within(budget: u64) -> Self {
        let all = budget / EVIDENCE_SHARE;
        Self { images: Recent::within(all - all / TAGS_SHARE), tags: Recent::within(all / TAGS_SHARE) }
    }

    /// What all of it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.images.bytes.saturating_add(self.tags.bytes)
    }

    pub(super) fn insert_image(&mut self, record: Arc<Record>) {
        let bytes = record.heap_size();
        self.images.insert(record.image.digest, record, bytes);
    }

    pub(super) fn insert_tag(&mut self, key: Sha256, tag: Tag) {
        let bytes = allocation(tag.name.len() + inline_size_of_counts());
        self.tags.insert(key, tag, bytes);
    }
}

/// The two counts of an `Arc`.
const fn inline_size_of_counts() -> usize {
    2 * size_of::<usize>()
}

impl<V: Clone> Recent<V> {
    fn within(max_bytes: u64) -> Self {
        Self { entries: HashMap::new(), bytes: 0, max_bytes, clock: 0 }
    }

    pub(super) fn get(&mut self, key: &Sha256) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Keeps a value of so many bytes, in place of an earlier one. A value that would take more than half of the room is not
    /// kept.
    fn insert(&mut self, key: Sha256, value: V, bytes: u64) {
        self.remove(&key);
        // A table of entries is a little more than half full at worst.
        let bytes = bytes.saturating_add(2 * inline_size::<(Sha256, Entry<V>)>());
        if bytes > self.max_bytes / 2 {
            return;
        }
        self.clock += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.insert(key, Entry { value, used: self.clock, bytes });
        while self.bytes > self.max_bytes || self.entries.len() > MAX_ENTRIES {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Sha256) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}
