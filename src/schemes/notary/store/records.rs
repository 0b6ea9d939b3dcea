//! What is known of all repositories, within bounds: whoever can have a workload reviewed can have one more remembered.
//! Data goes first, which can be fetched again; of what was seen, first what the disk has as well.

use std::collections::HashMap;
use std::sync::Arc;

use super::known::Known;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::gun::Gun;

/// Most repositories that are remembered.
pub(crate) const MAX_REPOSITORIES: usize = 5_000;

pub(crate) type Key = (TrustServer, Gun);

#[derive(Default)]
pub(crate) struct Records {
    pub(crate) by_key: HashMap<Key, Remembered>,
    /// What all of them weigh together, and may weigh.
    pub(crate) weight: u64,
    pub(crate) max_weight: u64,
    /// Counts up with every use; the smallest was used longest ago.
    pub(crate) clock: u64,
}

pub(crate) struct Remembered {
    pub(crate) known: Arc<Known>,
    used: u64,
    /// Is nothing lost if it is given up, but for the time to read it back?
    is_on_disk: bool,
}

impl Remembered {
    /// The order in which repositories are given up: first those that are on the disk too, for they are read back; then
    /// those that never verified an image; the others last.
    fn worth(&self) -> (bool, bool) {
        (!self.is_on_disk, self.known.admitted)
    }
}

impl Records {
    pub(crate) fn get(&mut self, key: &Key) -> Option<Arc<Known>> {
        self.clock += 1;
        let clock = self.clock;
        let remembered = self.by_key.get_mut(key)?;
        remembered.used = clock;
        Some(Arc::clone(&remembered.known))
    }

    pub(crate) fn insert(&mut self, key: Key, known: Arc<Known>) {
        self.clock += 1;
        if self.by_key.len() >= MAX_REPOSITORIES && !self.by_key.contains_key(&key) {
            let oldest = self.by_key.iter().min_by_key(|(_, it)| (it.worth(), it.used));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.remove(&oldest);
            }
        }
        self.remove(&key);
        self.weight = self.weight.saturating_add(known.weight());
        let (used, is_on_disk) = (self.clock, known.is_on_disk());
        self.by_key.insert(key.clone(), Remembered { known, used, is_on_disk });
        while self.weight > self.max_weight && self.lighten(&key) {}
    }

    fn remove(&mut self, key: &Key) -> Option<Remembered> {
        let removed = self.by_key.remove(key)?;
        self.weight = self.weight.saturating_sub(removed.known.weight());
        Some(removed)
    }

    /// Gives up the data that was used longest ago, but for this one's. Where no data is left, what else is known of a
    /// repository goes, in the same order.
    pub(crate) fn lighten(&mut self, but: &Key) -> bool {
        let others = self.by_key.iter().filter(|(key, _)| *key != but);
        let has_data = |it: &Remembered| it.known.has_data();
        let oldest = others
            .min_by_key(|(_, it)| (!has_data(it), if has_data(it) { (false, false) } else { it.worth() }, it.used));
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return false };
        let Some(Remembered { known, used, is_on_disk }) = self.remove(&key) else { return false };
        if known.has_data() {
            let known = Arc::new(known.without_data());
            self.weight = self.weight.saturating_add(known.weight());
            self.by_key.insert(key, Remembered { known, used, is_on_disk });
        }
        true
    }
}
