//! What copies of a session have in common until one of them changes it.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// A value that is copied when it is written to, and not when it is cloned: each line is judged in
/// a copy of its session, and most lines set next to nothing.
#[derive(Clone, Debug, Default, Eq)]
pub(in crate::shell) struct Shared<T>(Arc<T>);

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *self.0 == *other.0
    }
}

impl<K: Ord + AsRef<str>, V: PartialEq> Shared<BTreeMap<K, V>> {
    /// The names that are another in `other`, or are in one of both only, in order.
    pub(super) fn differing<C: FromIterator<String>>(&self, other: &Self) -> C {
        if Arc::ptr_eq(&self.0, &other.0) {
            return std::iter::empty().collect();
        }
        let mut ours = self.0.iter().peekable();
        let mut theirs = other.0.iter().peekable();
        let names = std::iter::from_fn(|| {
            loop {
                let order = match (ours.peek(), theirs.peek()) {
                    (Some((our, _)), Some((their, _))) => our.cmp(their),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (None, None) => return None,
                };
                let our = ours.next_if(|_| order.is_le());
                let their = theirs.next_if(|_| order.is_ge());
                if our != their {
                    return our.or(their).map(|(name, _)| name.as_ref().to_owned());
                }
            }
        });
        names.collect()
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Shared;

    proptest! {
        #[test]
        fn what_differs_is_what_one_would_find_name_by_name(
            one in prop::collection::btree_map("[a-d]{1,2}", 0_u8..3, 0..8),
            other in prop::collection::btree_map("[a-d]{1,2}", 0_u8..3, 0..8),
        ) {
            let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let expected: Vec<String> = names
                .into_iter()
                .filter(|name| one.get(*name) != other.get(*name))
                .cloned()
                .collect();
            let shared = |map: &BTreeMap<String, u8>| {
                Shared(std::sync::Arc::new(map.clone()))
            };
            let (one, other) = (shared(&one), shared(&other));
            prop_assert_eq!(one.differing::<Vec<String>>(&other), expected);
            prop_assert!(one.differing::<Vec<String>>(&one.clone()).is_empty());
        }
    }
}
