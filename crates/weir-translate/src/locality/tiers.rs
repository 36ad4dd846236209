//! Priorities: the nearest instances first, others when those fail.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::resources::load_balancer::Failover;
use weir_model::topology::parts;
use weir_xds::endpoint::LocalityLbEndpoints;

use super::Group;

/// Which localities are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// None.
    Nothing,
    /// Subzones, zones and regions.
    Localities,
    /// Regions.
    Regions,
}

/// A label that instances are ranked by; without a value, the proxy's own counts.
pub(super) struct Label<'p> {
    pub name: &'p str,
    pub value: Option<&'p str>,
}

/// What puts an instance before others.
pub(super) struct Tiers<'p> {
    /// The proxy's locality.
    pub from: &'p str,
    /// The proxy's labels.
    pub own: &'p BTreeMap<String, String>,
    /// The labels that count before the locality; the first ones most.
    pub labels: Vec<Label<'p>>,
    pub kept: Kept,
    /// The regions that take over from others.
    pub failover: &'p [Failover],
}

/// First the labels, then the locality; the less, the sooner.
type Rank = (usize, u8);

impl Tiers<'_> {
    /// Divides groups by rank. The ranks that there are become priorities, from 0 on and without gaps: Envoy wants them so.
    pub fn arrange(&self, groups: Vec<Group<'_>>) -> Vec<LocalityLbEndpoints> {
        let mut ranked: Vec<(Rank, Group<'_>)> = vec![];
        for group in groups {
            let near = self.locality_rank(group.locality);
            let mut by_labels: BTreeMap<usize, Vec<_>> = BTreeMap::new();
            for (instance, endpoint) in group.instances {
                by_labels.entry(self.label_rank(&instance.labels)).or_default().push((instance, endpoint));
            }
            let part = |(rank, instances)| ((rank, near), Group { locality: group.locality, instances });
            ranked.extend(by_labels.into_iter().map(part));
        }
        let ranks: BTreeSet<Rank> = ranked.iter().map(|(rank, _)| *rank).collect();
        let priorities: BTreeMap<Rank, u32> = ranks.into_iter().zip(0..).collect();
        let finish = |(rank, group): (Rank, Group<'_>)| {
            let weight = group.weight();
            group.finish(weight, priorities.get(&rank).copied().unwrap_or_default())
        };
        ranked.into_iter().map(finish).collect()
    }

    /// How many labels do not count, from the first that differs on. What both lack does not differ.
    fn label_rank(&self, labels: &BTreeMap<String, String>) -> usize {
        let equals = |label: &&Label<'_>| label.value.unwrap_or_else(|| value_of(self.own, label.name)) == value_of(labels, label.name);
        let equal = self.labels.iter().take_while(equals).count();
        self.labels.len() - equal
    }

    /// How far away a locality is: 0 the same subzone, 1 zone, 2 region, 3 another region, 4 one that does not take over
    /// from the proxy's, where it is said which does. Where only regions are kept apart, 0 to 2.
    fn locality_rank(&self, locality: &str) -> u8 {
        let (own, other) = (parts(self.from), parts(locality));
        let equal = own.iter().zip(&other).take_while(|(own, other)| own == other).count();
        let is_elsewhere = equal == 0;
        let [own_region, ..] = own;
        let successor = self.failover.iter().find(|failover| failover.from == own_region);
        let [region, ..] = other;
        let is_last = is_elsewhere && successor.is_some_and(|failover| failover.to != region);
        match self.kept {
            Kept::Nothing => 0,
            Kept::Regions => u8::from(is_elsewhere) + u8::from(is_last),
            Kept::Localities => 3 - u8::try_from(equal).unwrap_or(3) + u8::from(is_last),
        }
    }
}

fn value_of<'l>(labels: &'l BTreeMap<String, String>, name: &str) -> &'l str {
    labels.get(name).map_or("", String::as_str)
}
