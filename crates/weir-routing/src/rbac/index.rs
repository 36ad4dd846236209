//! Policies by what they ask for, so that a request is held against those alone that may match it.

use std::collections::{BTreeMap, HashMap};

use smallvec::SmallVec;

use super::Policy;
use super::facts::Facts;
use super::guard::{Guard, Key, guard};
use super::subject::{Part, Subject};

/// Fewer policies are as fast to walk.
const FEW: usize = 4;
/// A policy with more alternatives is walked: each would be an entry.
const MOST_KEYS: usize = 4096;

type Places = SmallVec<[u32; 2]>;
type ByText = HashMap<Box<[u8]>, Places, foldhash::fast::RandomState>;
type Found = SmallVec<[u32; 16]>;

/// The policies by a text that each of them needs.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_subject: Vec<OfSubject>,
    /// Those that need nothing that could be looked up, in their order.
    others: Vec<u32>,
}

/// Those that need something of one subject.
#[derive(Debug)]
struct OfSubject {
    subject: Subject,
    whole: ByText,
    /// By how it begins, and by how much of it.
    begin: BTreeMap<usize, ByText>,
    /// By how it ends.
    end: BTreeMap<usize, ByText>,
}

impl OfSubject {
    fn new(subject: Subject) -> Self {
        Self { subject, whole: ByText::default(), begin: BTreeMap::new(), end: BTreeMap::new() }
    }

    fn add(&mut self, part: Part, text: Box<[u8]>, place: u32) {
        let map = match part {
            Part::Whole => &mut self.whole,
            Part::Begin => self.begin.entry(text.len()).or_default(),
            Part::End => self.end.entry(text.len()).or_default(),
        };
        let places = map.entry(text).or_default();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }

    fn find(&self, facts: &Facts<'_>, found: &mut Found) {
        self.subject.any(facts, &mut |value| {
            let mut take = |map: &ByText, text: &[u8]| found.extend(map.get(text).into_iter().flatten().copied());
            take(&self.whole, value);
            for (length, map) in self.begin.range(..=value.len()) {
                value.get(..*length).into_iter().for_each(|begin| take(map, begin));
            }
            for (length, map) in self.end.range(..=value.len()) {
                value.get(value.len() - length..).into_iter().for_each(|end| take(map, end));
            }
            false
        });
    }
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
        let known = self.by_subject.iter().position(|known| known.subject == subject);
        let at = known.unwrap_or_else(|| {
            self.by_subject.push(OfSubject::new(subject));
            self.by_subject.len() - 1
        });
        if let Some(of_subject) = self.by_subject.get_mut(at) {
            of_subject.add(part, text, place);
        }
    }

    /// The first policy that matches.
    pub(super) fn first<'p>(&self, policies: &'p [Policy], facts: &Facts<'_>) -> Option<&'p Policy> {
        let matching = |place: &u32| policies.get(*place as usize).filter(|policy| policy.matches(facts));
        let mut found = Found::new();
        self.by_subject.iter().for_each(|of_subject| of_subject.find(facts, &mut found));
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
