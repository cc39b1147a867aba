//! The live mitigations of a victim: nearly always one, which then costs no list.

use prefixd_api::ids::MitigationId;
use std::slice;
use std::sync::Arc;

/// See the module; there is one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfVictim {
    /// One.
    One(MitigationId),
    /// Several vectors of it.
    More(Arc<[MitigationId]>),
}

impl OfVictim {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[MitigationId] {
        match self {
            Self::One(id) => slice::from_ref(id),
            Self::More(ids) => ids,
        }
    }

    pub(super) fn with(&self, id: MitigationId) -> Self {
        let mut all = self.as_slice().to_vec();
        all.push(id);
        Self::More(all.into())
    }

    /// What is left without this one, if anything is.
    pub(super) fn without(&self, id: MitigationId) -> Option<Self> {
        let left: Vec<MitigationId> = self.as_slice().iter().copied().filter(|one| *one != id).collect();
        match left[..] {
            [] => None,
            [one] => Some(Self::One(one)),
            _ => Some(Self::More(left.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_list_and_the_last_leaves_nothing() {
        let [a, b, c] = std::array::from_fn(|_| MitigationId::new());
        let all = OfVictim::One(a).with(b).with(c);
        assert_eq!(all.as_slice(), [a, b, c]);
        let two = all.without(b).unwrap();
        assert_eq!(two.as_slice(), [a, c]);
        assert_eq!(two.without(b), Some(two.clone()), "it is not there");
        let one = two.without(a).unwrap();
        assert_eq!((one.clone(), one.without(c)), (OfVictim::One(c), None));
    }
}
