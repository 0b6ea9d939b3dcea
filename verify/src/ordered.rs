//! Ordered collections that share the machine code of one sort.
//!
//! The standard library's sort is generic: each type that is sorted adds about four kilobytes to the executable. `collect()`
//! into a `BTreeMap` or a `BTreeSet` sorts as well. These functions insert the entries one by one, or sort their numbers.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::heap_size::as_u64;

/// The map of these entries; of two with the same key, the later counts.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        map.insert(key, value);
    }
    map
}

/// The set of these entries.
pub fn set<T: Ord>(entries: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for entry in entries {
        set.insert(entry);
    }
    set
}

/// Sorts a list; entries that compare as equal keep their order.
pub fn sort_by<T>(list: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    if list.len() < 2 {
        return;
    }
    let order = order(list.len(), &|a, b| match list.get(a).zip(list.get(b)) {
        Some((a, b)) => compare(a, b),
        None => Ordering::Equal,
    });
    let mut old: Vec<Option<T>> = std::mem::take(list).into_iter().map(Some).collect();
    list.extend(order.into_iter().filter_map(|at| old.get_mut(index(at))?.take()));
}

/// The numbers from 0 to `length`, sorted.
fn order(length: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<u64> {
    let mut order: Vec<u64> = (0..as_u64(length)).collect();
    sort_numbers(&mut order, &|a, b| compare(index(a), index(b)));
    order
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Sorts numbers by `compare`, and in ascending order where it finds no difference: the one place that has the machine code
/// of the standard library's sort.
pub fn sort_numbers(numbers: &mut [u64], compare: &dyn Fn(u64, u64) -> Ordering) {
    numbers.sort_unstable_by(|a, b| compare(*a, *b).then(a.cmp(b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_entries_counts() {
        assert_eq!(map([(2, 'a'), (1, 'b'), (2, 'c')]), BTreeMap::from([(1, 'b'), (2, 'c')]));
        assert_eq!(set([3, 1, 3]), BTreeSet::from([1, 3]));
    }

    #[test]
    fn a_list_is_sorted_as_the_standard_library_does() {
        let mut state = 1_u32;
        for length in 0..40 {
            let mut list: Vec<(u32, usize)> = (0..length)
                .map(|index| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 28, index)
                })
                .collect();
            let mut expected = list.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort_by(&mut list, |a, b| a.0.cmp(&b.0));
            assert_eq!(list, expected);
        }
    }
}
