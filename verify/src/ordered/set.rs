//! A set in one sorted list.

use std::borrow::Borrow;

use super::Map;

/// A set whose entries are in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<T>(Map<T, ()>);

impl<T> Set<T> {
    /// An empty set.
    pub const fn new() -> Self {
        Self(Map::new())
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there no entry?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> Iter<'_, T> {
        self.0.iter().map(|(entry, ())| entry)
    }
}

impl<T: Ord> Set<T> {
    /// Is this an entry?
    pub fn contains<Q: Ord + ?Sized>(&self, entry: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.contains_key(entry)
    }

    /// Are all entries in the other set?
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|entry| other.contains(entry))
    }

    /// The entries that are not in the other set.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        self.iter().filter(|entry| !other.contains(*entry))
    }

    /// Adds an entry. `false`: it was there.
    pub fn insert(&mut self, entry: T) -> bool {
        self.0.insert(entry, ()).is_none()
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The entries of a set.
type Iter<'a, T> = std::iter::Map<super::map::Iter<'a, T, ()>, fn((&'a T, &'a ())) -> &'a T>;

impl<'a, T> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Set<T> {
    type Item = T;
    type IntoIter = std::iter::Map<std::vec::IntoIter<(T, ())>, fn((T, ())) -> T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|(entry, ())| entry)
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Self(entries.into_iter().map(|entry| (entry, ())).collect())
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Set<T> {
    fn from(entries: [T; N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<T: Ord> Extend<T> for Set<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, entries: I) {
        self.0.extend(entries.into_iter().map(|entry| (entry, ())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_there_once() {
        let mut set = Set::from([3, 1, 3]);
        assert_eq!([set.insert(1), set.insert(2)], [false, true]);
        set.extend([0, 2]);
        assert!(set.iter().eq(&[0, 1, 2, 3]) && set.contains(&0) && !set.contains(&4));
        assert_eq!((set.len(), set.is_empty(), set.clone()), (4, false, set.into_iter().collect()));
    }
}
