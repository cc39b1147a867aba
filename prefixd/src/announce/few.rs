//! Lists that nearly always hold one: then they are none.

use std::ops::Deref;
use std::slice;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Few<T> {
    One(T),
    /// Several, or nothing.
    More(Box<[T]>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::More(Box::default())
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => slice::from_ref(one),
            Self::More(all) => all,
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut all = all.into_iter();
        match (all.next(), all.next()) {
            (Some(one), None) => Self::One(one),
            (first, second) => Self::More(first.into_iter().chain(second).chain(all).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_are() {
        for many in [0, 1, 2, 5] {
            let few: Few<u8> = (0..many).collect();
            assert_eq!(*few, *(0..many).collect::<Vec<u8>>());
            assert_eq!(matches!(few, Few::One(_)), many == 1);
        }
    }
}
