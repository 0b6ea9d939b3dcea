//! Ordered collections that add little machine code for each type.
//!
//! The standard library's sort is generic: each type that is sorted adds about four kilobytes to the executable. Each pair of types
//! in a `BTreeMap` adds three to ten. What is here is sorted lists and one sort of numbers.

mod map;
mod set;
mod sort;

pub use map::Map;
pub use set::Set;
pub use sort::{sort_by, sort_numbers};

/// The map of these entries; of two with the same key, the later counts.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> Map<K, V> {
    entries.into_iter().collect()
}

/// The set of these entries.
pub fn set<T: Ord>(entries: impl IntoIterator<Item = T>) -> Set<T> {
    entries.into_iter().collect()
}
