//! Policies by what they ask for, so that a request is held against those alone that may match it.

use std::collections::{BTreeMap, HashMap};

use smallvec::SmallVec;

use super::Policy;
use super::condition::Condition;
use super::facts::Facts;
use super::principal::PrincipalMatch;
use super::subject::Subject;
use crate::text_match::TextMatch;

/// Fewer policies are as fast to walk.
const FEW: usize = 4;
/// A policy with more alternatives is walked: each would be an entry.
const MOST_KEYS: usize = 4096;

type Places = SmallVec<[u32; 2]>;
type ByText = HashMap<Box<[u8]>, Places, foldhash::fast::RandomState>;

/// The policies by a text that each of them needs.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_subject: Vec<(Subject, ByText)>,
    /// By how a path begins, and by how much of it.
    by_prefix: BTreeMap<usize, ByText>,
    /// Those that need nothing that could be looked up, in their order.
    others: Vec<u32>,
}

/// Something without which a policy does not match.
#[derive(Debug, Clone)]
enum Key {
    Text(Subject, Box<[u8]>),
    PathPrefix(Box<[u8]>),
}

impl Key {
    fn rank(&self) -> u8 {
        match self {
            Self::Text(subject, _) => subject.rank(),
            Self::PathPrefix(_) => 3,
        }
    }
}

/// Of these a request must have one; the lower the rank, the fewer requests do.
#[derive(Debug, Clone)]
struct Guard {
    rank: u8,
    keys: Vec<Key>,
}

impl Guard {
    fn of(key: Key) -> Self {
        Self { rank: key.rank(), keys: vec![key] }
    }

    fn order(&self) -> (u8, usize) {
        (self.rank, self.keys.len())
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
        let (map, text) = match key {
            Key::PathPrefix(prefix) => (self.by_prefix.entry(prefix.len()).or_default(), prefix),
            Key::Text(subject, text) => {
                let known = self.by_subject.iter().position(|(known, _)| *known == subject);
                let at = known.unwrap_or_else(|| {
                    self.by_subject.push((subject, ByText::default()));
                    self.by_subject.len() - 1
                });
                let Some((_, map)) = self.by_subject.get_mut(at) else { return };
                (map, text)
            }
        };
        let places = map.entry(text).or_default();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }

    /// The first policy that matches.
    pub(super) fn first<'p>(&self, policies: &'p [Policy], facts: &Facts<'_>) -> Option<&'p Policy> {
        let matching = |place: &u32| policies.get(*place as usize).filter(|policy| policy.matches(facts));
        if self.by_subject.is_empty() && self.by_prefix.is_empty() {
            return self.others.iter().find_map(matching);
        }
        let mut found = self.candidates(facts);
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

    fn candidates(&self, facts: &Facts<'_>) -> SmallVec<[u32; 16]> {
        let mut found = SmallVec::new();
        for (subject, map) in &self.by_subject {
            subject.any(facts, &mut |text| {
                found.extend(map.get(text).into_iter().flatten().copied());
                false
            });
        }
        if let Some(path) = facts.path().filter(|_| !self.by_prefix.is_empty()) {
            for (length, map) in self.by_prefix.range(..=path.len()) {
                let prefix = path.as_bytes().get(..*length);
                found.extend(prefix.and_then(|prefix| map.get(prefix)).into_iter().flatten().copied());
            }
        }
        found
    }
}

/// What a condition needs at least; none if nothing that could be looked up.
fn guard(condition: &Condition) -> Option<Guard> {
    if let Some((subject, text)) = condition.exact() {
        return Some(Guard::of(Key::Text(subject, text.into())));
    }
    match condition {
        Condition::All(all) => all.iter().filter_map(guard).min_by_key(Guard::order),
        Condition::Any(any) => {
            let guards = any.iter().map(guard).collect::<Option<Vec<_>>>()?;
            let rank = guards.iter().map(|guard| guard.rank).max()?;
            Some(Guard { rank, keys: guards.into_iter().flat_map(|guard| guard.keys).collect() })
        }
        Condition::OneOf(subject, texts) => {
            let keys = texts.iter().map(|text| Key::Text(subject.clone(), text.clone()));
            Some(Guard { rank: subject.rank(), keys: keys.collect() })
        }
        Condition::Path(TextMatch::Prefix(prefix)) => path_prefix(prefix),
        Condition::Template(template) => path_prefix(template.prefix.as_bytes()),
        Condition::Principal(PrincipalMatch::Namespace { name, .. } | PrincipalMatch::Within { name, .. }) => {
            Some(Guard::of(Key::Text(Subject::Namespace, name.as_bytes().into())))
        }
        Condition::Metadata(value) if !value.invert => {
            let texts = value.value.exact()?;
            let subject = Subject::Metadata(value.namespace.clone(), value.path.clone());
            let keys = texts.into_iter().map(|text| Key::Text(subject.clone(), text.into()));
            Some(Guard { rank: subject.rank(), keys: keys.collect() })
        }
        _ => None,
    }
}

/// Every path begins with `/`: that tells nothing apart.
fn path_prefix(prefix: &[u8]) -> Option<Guard> {
    (prefix.len() > 1).then(|| Guard::of(Key::PathPrefix(prefix.into())))
}
