//! Policies by what they ask for, so that a request is held against those alone that may match it.

use super::Policy;
use super::facts::Facts;
use super::guard::{Guard, Key, guard};
use super::subject::Subject;
use super::texts::{Found, Texts};

/// Fewer policies are as fast to walk.
const FEW: usize = 4;
/// A policy with more alternatives is walked: each would be an entry.
const MOST_KEYS: usize = 4096;

/// The policies by a text that each of them needs.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_subject: Vec<(Subject, Texts)>,
    /// Those that need nothing that could be looked up, in their order.
    others: Vec<u32>,
}

impl Index {
    pub(super) fn new(policies: &[Policy]) -> Self {
        let mut index = Self::default();
        for (place, policy) in (0_u32..).zip(policies) {
            let guards = [guard(&policy.permissions), guard(&policy.principals)];
            let best = guards.into_iter().flatten().min_by_key(Guard::order);
            match best.filter(|guard| policies.len() > FEW && guard.keys.len() <= MOST_KEYS) {
                Some(guard) => guard.keys.into_iter().for_each(|key| index.add(key, place)),
                None => index.others.push(place),
            }
        }
        index
    }

    fn add(&mut self, key: Key, place: u32) {
        let Key { subject, part, text } = key;
        match self.by_subject.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, texts)) => texts.add(part, text, place),
            None => {
                let mut texts = Texts::default();
                texts.add(part, text, place);
                self.by_subject.push((subject, texts));
            }
        }
    }

    /// The first policy that matches.
    pub(super) fn first<'p>(&self, policies: &'p [Policy], facts: &Facts<'_>) -> Option<&'p Policy> {
        let matching = |place: &u32| policies.get(*place as usize).filter(|policy| policy.matches(facts));
        let mut found = Found::new();
        for (subject, texts) in &self.by_subject {
            subject.any(facts, &mut |value| {
                texts.find(value, &mut found);
                false
            });
        }
        if found.is_empty() {
            return self.others.iter().find_map(matching);
        }
        found.sort_unstable();
        found.dedup();
        // Both lists are in order, so that the first of each is enough.
        let by_key = found.iter().find_map(|place| Some((*place, matching(place)?)));
        let before = by_key.map_or(u32::MAX, |(place, _)| place);
        let other = self.others.iter().take_while(|place| **place < before).find_map(matching);
        other.or(by_key.map(|(_, policy)| policy))
    }
}
