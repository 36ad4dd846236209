//! A sorted map whose copies share all that they do not change.
//!
//! Entries lie in short sorted runs, and a copy shares the runs: to change one of `n` entries in a copy costs one run and
//! the list of the runs. Two versions of a map are compared run by run, so that what they share costs one look a run.

use std::cmp::Ordering;
use std::sync::Arc;

/// Maps and sets of names, of which every client has some.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
pub(crate) type HashSet<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// A run that grows beyond this is divided.
const LONGEST: usize = 128;

type Run<V> = Arc<Vec<(Arc<str>, V)>>;

/// A sorted map by name.
#[derive(Debug, Clone)]
pub(crate) struct SharedMap<V> {
    /// None of them is empty.
    runs: Vec<Run<V>>,
}

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        Self { runs: vec![] }
    }
}

impl<V: Clone> SharedMap<V> {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.runs.iter().flat_map(|run| run.iter()).map(|(name, value)| (name, value))
    }

    /// The entry of a name, with the name as it is shared.
    pub fn get(&self, name: &str) -> Option<(&Arc<str>, &V)> {
        let run = self.runs.get(self.run_of(name))?;
        let index = run.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        run.get(index).map(|(name, value)| (name, value))
    }

    /// Sets the value of a name.
    pub fn insert(&mut self, name: Arc<str>, value: V) {
        let at = self.run_of(&name);
        let Some(run) = self.runs.get_mut(at) else {
            self.runs.push(Arc::new(vec![(name, value)]));
            return;
        };
        let entries = Arc::make_mut(run);
        match entries.binary_search_by(|(known, _)| known.cmp(&name)) {
            Ok(index) => entries[index].1 = value,
            Err(index) => entries.insert(index, (name, value)),
        }
        if entries.len() > LONGEST {
            let rest = entries.split_off(LONGEST / 2);
            self.runs.insert(at + 1, Arc::new(rest));
        }
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let at = self.run_of(name);
        let run = self.runs.get_mut(at)?;
        let index = run.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        let entries = Arc::make_mut(run);
        let (_, removed) = entries.remove(index);
        if entries.is_empty() {
            self.runs.remove(at);
        }
        Some(removed)
    }

    /// The run that a name is in, if it is in any.
    fn run_of(&self, name: &str) -> usize {
        let after = self.runs.partition_point(|run| run.first().is_some_and(|(first, _)| **first <= *name));
        after.saturating_sub(1)
    }

    /// Calls `found` for each name that only one of two maps has, or whose values are not the same.
    pub fn compare(&self, other: &Self, same: impl Fn(&V, &V) -> bool, mut found: impl FnMut(&Arc<str>)) {
        let (mut ours, mut theirs) = (Cursor::new(self), Cursor::new(other));
        loop {
            if ours.skip_if_shared(&mut theirs) {
                continue;
            }
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let (a, b) = (ours.peek().filter(|_| order.is_le()), theirs.peek().filter(|_| order.is_ge()));
            match (a, b) {
                (Some((name, a)), Some((_, b))) if !same(a, b) => found(name),
                (Some((name, _)), None) | (None, Some((name, _))) => found(name),
                _ => {}
            }
            ours.step(order.is_le());
            theirs.step(order.is_ge());
        }
    }
}

/// A place in a map.
struct Cursor<'m, V> {
    runs: &'m [Run<V>],
    run: usize,
    index: usize,
}

impl<'m, V> Cursor<'m, V> {
    fn new(map: &'m SharedMap<V>) -> Self {
        Self { runs: &map.runs, run: 0, index: 0 }
    }

    fn peek(&self) -> Option<&'m (Arc<str>, V)> {
        self.runs.get(self.run)?.get(self.index)
    }

    fn step(&mut self, forward: bool) {
        if !forward {
            return;
        }
        self.index += 1;
        if self.runs.get(self.run).is_some_and(|run| self.index >= run.len()) {
            self.next_run();
        }
    }

    fn next_run(&mut self) {
        self.run += 1;
        self.index = 0;
    }

    /// Passes over a run that both begin now and share.
    fn skip_if_shared(&mut self, other: &mut Self) -> bool {
        let shared = match (self.runs.get(self.run), other.runs.get(other.run)) {
            (Some(a), Some(b)) => self.index == 0 && other.index == 0 && Arc::ptr_eq(a, b),
            _ => false,
        };
        if shared {
            self.next_run();
            other.next_run();
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn name(number: u16) -> Arc<str> {
        format!("outbound|{number}").into()
    }

    proptest! {
        /// It is a sorted map, whatever is done to it, and the comparison finds just what differs.
        #[test]
        fn it_is_a_map_and_its_copies_are_compared(
            first in prop::collection::vec((0u16..600, any::<u8>()), 0..600),
            changes in prop::collection::vec((0u16..700, prop::option::of(any::<u8>())), 0..40),
        ) {
            let (mut map, mut plain) = (SharedMap::default(), BTreeMap::new());
            for (number, value) in first {
                map.insert(name(number), value);
                plain.insert(name(number), value);
            }
            let (before, plain_before) = (map.clone(), plain.clone());
            for (number, value) in changes {
                match value {
                    Some(value) => {
                        map.insert(name(number), value);
                        plain.insert(name(number), value);
                    }
                    None => prop_assert_eq!(map.remove(&name(number)), plain.remove(&name(number))),
                }
            }
            prop_assert!(map.iter().eq(&plain));
            prop_assert!(before.iter().eq(&plain_before));
            prop_assert!(plain.iter().all(|(name, value)| map.get(name) == Some((name, value))));
            let mut found = BTreeSet::new();
            map.compare(&before, |a, b| a == b, |name| assert!(found.insert(name.clone()), "each once"));
            let all: BTreeSet<&Arc<str>> = plain.keys().chain(plain_before.keys()).collect();
            let differing = all.into_iter().filter(|name| plain.get(*name) != plain_before.get(*name)).cloned();
            prop_assert_eq!(found, differing.collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn a_copy_shares_what_it_does_not_change() {
        let mut map = SharedMap::default();
        (0..10_000).for_each(|number| map.insert(name(number), 0));
        let mut copy = map.clone();
        copy.insert(name(77), 1);
        let shared = map.runs.iter().filter(|run| copy.runs.iter().any(|other| Arc::ptr_eq(run, other))).count();
        assert_eq!(shared, map.runs.len() - 1);
    }
}
