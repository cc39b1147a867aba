//! The values of a component.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::slice;

/// A sorted list without doubles. Of a rule's thirteen components most are absent, and a hundred thousand rules may be live:
/// an absent one takes a pointer and nothing else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set<T>(Option<Box<Box<[T]>>>);

const _: () = assert!(size_of::<Option<Set<u64>>>() <= 2 * size_of::<usize>());

impl<T> Set<T> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// The values, which are sorted and differ.
    pub(super) fn of_sorted(values: Vec<T>) -> Self {
        Self((!values.is_empty()).then(|| Box::new(values.into())))
    }
}

impl<T: Ord> Set<T> {
    /// Whether no value is in both.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        !self.iter().any(|value| other.contains(value))
    }

    /// Whether every value is in the other, too.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|value| other.contains(value))
    }
}

impl<T> Deref for Set<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().map_or(&[], |values| values)
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        Self::of_sorted(values)
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Set<T> {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<T: Serialize> Serialize for Set<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, T: Deserialize<'de> + Ord> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_set_are_one() {
        let set: Set<u8> = [17, 6, 17].into();
        assert_eq!(*set, [6, 17]);
        assert_eq!(serde_json::from_str::<Set<u8>>("[17,6,6]").unwrap(), set);
        assert_eq!(serde_json::to_string(&set).unwrap(), "[6,17]");
        assert_eq!(serde_json::from_str::<Set<u8>>("[]").unwrap(), Set::new());
        assert!(Set::new() < set && set < [7].into());
    }

    #[test]
    fn sets_are_compared_by_what_is_in_them() {
        let [both, one, none]: [Set<u8>; 3] = [[6, 17].into(), [17].into(), Set::new()];
        assert!(one.is_subset(&both) && !both.is_subset(&one) && none.is_subset(&one));
        assert!(!one.is_disjoint(&both) && one.is_disjoint(&[6].into()) && none.is_disjoint(&none));
    }
}
