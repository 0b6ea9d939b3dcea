//! One sort for lists of all types.

use std::cmp::Ordering;

use crate::heap_size::as_u64;

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
