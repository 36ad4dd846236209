//! Sorted maps and lists that are cheap to copy and share with their copies all that is the same: what a snapshot is made
//! of, so that the next one costs what changed.

use std::borrow::Borrow;

use rpds::{RedBlackTreeMapSync, VectorSync};

/// A sorted map.
pub type Tree<K, V> = RedBlackTreeMapSync<K, V>;
/// A list.
pub type List<T> = VectorSync<T>;

/// Puts a value in, or takes the key out where there is none.
pub(crate) fn put<K: Ord, V>(tree: &mut Tree<K, V>, key: K, value: Option<V>) {
    if let Some(value) = value {
        tree.insert_mut(key, value);
    } else {
        tree.remove_mut(&key);
    }
}

/// For each key, a sorted map that is never empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Groups<K: Ord, M: Ord, V>(Tree<K, Tree<M, V>>);

impl<K: Ord, M: Ord, V> Default for Groups<K, M, V> {
    fn default() -> Self {
        Self(Tree::default())
    }
}

impl<K: Ord, M: Ord, V> Groups<K, M, V> {
    /// The members of a group, if there are any.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Tree<M, V>>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// The members of a group.
    pub fn members<Q: Ord + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (&M, &V)>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).into_iter().flat_map(Tree::iter)
    }

    /// All groups.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Tree<M, V>)> {
        self.0.iter()
    }

    /// The members of all groups.
    pub fn all(&self) -> impl Iterator<Item = (&M, &V)> {
        self.0.values().flat_map(Tree::iter)
    }

    /// Puts a member into its group, in place of the one of the same name.
    pub fn insert(&mut self, key: K, member: M, value: V)
    where
        K: Clone,
    {
        match self.0.get_mut(&key) {
            Some(group) => group.insert_mut(member, value),
            None => self.0.insert_mut(key, Tree::default().insert(member, value)),
        }
    }

    /// Takes a member out of its group.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &K, member: &Q)
    where
        K: Clone,
        M: Borrow<Q>,
    {
        let Some(mut group) = self.0.get(key).cloned() else { return };
        group.remove_mut(member);
        let left = (!group.is_empty()).then_some(group);
        put(&mut self.0, key.clone(), left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_with_its_last_member_and_copies_stay_as_they_are() {
        let mut groups = Groups::<&str, u8, char>::default();
        groups.insert("a", 2, 'x');
        groups.insert("a", 1, 'y');
        let before = groups.clone();
        groups.remove(&"a", &2);
        assert_eq!(groups.members("a").collect::<Vec<_>>(), [(&1, &'y')]);
        groups.remove(&"a", &1);
        groups.remove(&"b", &1);
        assert!(groups.get("a").is_none() && groups == Groups::default());
        assert_eq!(before.members("a").count(), 2);
    }
}
