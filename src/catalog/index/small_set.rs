//! An ordered set that needs no memory of its own for one element: most have no more.

use std::collections::BTreeSet;

/// An ordered set. A node of a [`BTreeSet`] has room for eleven elements, however few it holds.
#[derive(Debug, Default)]
pub(super) enum SmallSet<T> {
    #[default]
    Empty,
    One(T),
    /// At least two.
    Many(BTreeSet<T>),
}

impl<T: Ord> SmallSet<T> {
    /// Adds an element, unless it is there.
    pub(super) fn insert(&mut self, element: T) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(element),
            Self::One(one) if one == element => Self::One(one),
            Self::One(one) => Self::Many(BTreeSet::from([one, element])),
            Self::Many(mut many) => {
                many.insert(element);
                Self::Many(many)
            }
        };
    }

    /// Removes an element, if it is there.
    pub(super) fn remove(&mut self, element: &T) {
        *self = match std::mem::take(self) {
            Self::One(one) if one == *element => Self::Empty,
            Self::Many(mut many) => {
                many.remove(element);
                match many.len() {
                    1 => many.pop_first().map_or(Self::Empty, Self::One),
                    _ => Self::Many(many),
                }
            }
            other => other,
        };
    }

    /// The elements in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|many| many.iter()))
    }

    /// The first element in order.
    pub(super) fn first(&self) -> Option<&T> {
        match self {
            Self::Empty => None,
            Self::One(one) => Some(one),
            Self::Many(many) => many.first(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_of_the_library_holds(steps in prop::collection::vec((any::<bool>(), 0u8..6), 0..40)) {
            let (mut small, mut set) = (SmallSet::default(), BTreeSet::new());
            for (adds, element) in steps {
                if adds {
                    small.insert(element);
                    set.insert(element);
                } else {
                    small.remove(&element);
                    set.remove(&element);
                }
                prop_assert!(small.iter().eq(set.iter()));
                prop_assert_eq!((small.first(), small.is_empty()), (set.first(), set.is_empty()));
                prop_assert_eq!(matches!(small, SmallSet::Many(_)), set.len() > 1);
            }
        }
    }
}
