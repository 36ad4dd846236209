//! Which instance of a cluster gets a request: first the priority, then the locality, then the instance.
//!
//! A cluster with one priority and without weighted localities is one pool: nothing is decided before the instance is.

use std::sync::Arc;
use std::time::Instant;

use super::pool::{Pool, Pools};
use super::priority::{self, Availability, Level, Loads};
use super::schedule::Schedule;
use super::{Settings, Wish};
use crate::cluster::host::{CoarseHealth, Hosts, LocalityHosts, WeightedHost};

/// Chooses instances of a cluster, for one worker. It is made anew whenever the instances or their health change.
#[derive(Debug)]
pub struct Selector {
    kind: Kind,
    /// When the last instance has warmed up; none if none is warming up, or nothing is to be known of it.
    pub warm_until: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    /// All requests go to one pool; whether it is a panic.
    One(Pool, bool),
    Several(Box<Priorities>),
}

#[derive(Debug)]
struct Priorities {
    health: Vec<Level>,
    loads: Loads,
    /// If all goes to one priority.
    only: Option<(usize, Availability)>,
    by_hash: bool,
    pools: Vec<PriorityPools>,
}

#[derive(Debug)]
struct PriorityPools {
    /// All are used, whatever their health: they are in `healthy`.
    panics: bool,
    healthy: Pools,
    degraded: Pools,
}

/// An instance that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its position among all instances of the cluster.
    pub position: usize,
    /// Whether all were used because too few are healthy.
    pub panics: bool,
}

impl Selector {
    /// For a cluster's instances as they are now, starting anywhere.
    pub fn new(settings: &Settings, hosts: &Hosts, now: Instant, random: impl FnMut() -> u64) -> Self {
        let mut make = Maker { settings, hosts, now, random };
        let kind = make.kind();
        let warm_until = match &kind {
            Kind::One(pool, _) => pool.warm_until(),
            Kind::Several(priorities) => {
                let pools = priorities.pools.iter().flat_map(|pools| [&pools.healthy, &pools.degraded]);
                pools.filter_map(Pools::warm_until).max()
            }
        };
        Self { kind, warm_until }
    }

    /// The instance for a request; none if there is none that may be used.
    pub fn pick(&mut self, wish: &Wish<'_>, mut random: impl FnMut() -> u64) -> Option<Choice> {
        match &mut self.kind {
            Kind::One(pool, panics) => Some(Choice { position: pool.pick(wish, random)?, panics: *panics }),
            Kind::Several(priorities) => priorities.pick(wish, &mut random),
        }
    }

    /// The loads for a retry that leaves out the priorities of the attempts before, which are given in their order; none
    /// if the usual ones hold. See [`Loads::without`].
    pub fn loads_without(&self, tried: &[Option<usize>], frequency: usize) -> Option<Loads> {
        match &self.kind {
            // By a hash Envoy does not look at attempts before.
            Kind::Several(priorities) if !priorities.by_hash => Loads::without(&priorities.health, tried, frequency),
            _ => None,
        }
    }
}

impl Priorities {
    fn pick(&mut self, wish: &Wish<'_>, random: &mut impl FnMut() -> u64) -> Option<Choice> {
        let mut wish = *wish;
        if self.by_hash {
            wish.hash = Some(wish.hash.unwrap_or_else(&mut *random));
        }
        let (level, availability) = match (wish.loads, self.only) {
            (None, Some(only)) => only,
            (loads, _) => loads.unwrap_or(&self.loads).choose(wish.hash.filter(|_| self.by_hash).unwrap_or_else(&mut *random)),
        };
        let pools = self.pools.get_mut(level)?;
        let chosen = match availability {
            Availability::Degraded if !pools.panics => &mut pools.degraded,
            _ => &mut pools.healthy,
        };
        Some(Choice { position: chosen.pick(&wish, random)?, panics: pools.panics })
    }
}

/// Makes the pools of a selector.
struct Maker<'m, R> {
    settings: &'m Settings,
    hosts: &'m Hosts,
    now: Instant,
    random: R,
}

impl<R: FnMut() -> u64> Maker<'_, R> {
    fn kind(&mut self) -> Kind {
        let hosts = self.hosts;
        let levels: Vec<&[LocalityHosts]> = by_priority(hosts).collect();
        let health = health_of(hosts);
        let (loads, panics) = priority::loads(&health, self.settings.common.panic_percent);
        let by_hash = self.settings.balance.is_by_hash();
        let mut pools = vec![];
        for (i, level) in levels.iter().enumerate() {
            // By a hash a priority without load is never asked, and tables are large.
            let is_used = |loads: &[u32]| !by_hash || loads[i] > 0;
            let healthy = match panics[i] {
                true if self.settings.common.fail_traffic_on_panic => self.flat(vec![]),
                true => self.flat(span(level).collect()),
                false if is_used(&loads.healthy) => self.pools(level, CoarseHealth::Healthy),
                false => self.flat(vec![]),
            };
            let degraded = match is_used(&loads.degraded) && health[i].degraded > 0 {
                true => self.pools(level, CoarseHealth::Degraded),
                false => self.flat(vec![]),
            };
            pools.push(PriorityPools { panics: panics[i], healthy, degraded });
        }
        match (pools.len(), loads.only()) {
            (0, _) => Kind::One(self.pool(vec![]), false),
            (1, Some((_, availability))) => self.one(pools, health, loads, availability),
            _ => self.several(pools, health, loads),
        }
    }

    /// A single priority of which only the healthy, or only the degraded instances are used.
    fn one(&mut self, mut pools: Vec<PriorityPools>, health: Vec<Level>, loads: Loads, availability: Availability) -> Kind {
        match (pools.pop(), availability) {
            (Some(PriorityPools { panics, healthy: Pools::Flat(pool), .. }), Availability::Healthy) => Kind::One(pool, panics),
            (Some(PriorityPools { panics: false, degraded: Pools::Flat(pool), .. }), Availability::Degraded) => Kind::One(pool, false),
            (only, _) => self.several(only.into_iter().collect(), health, loads),
        }
    }

    fn several(&self, pools: Vec<PriorityPools>, health: Vec<Level>, loads: Loads) -> Kind {
        let (only, by_hash) = (loads.only(), self.settings.balance.is_by_hash());
        Kind::Several(Box::new(Priorities { health, loads, only, by_hash, pools }))
    }

    fn pool(&mut self, positions: Vec<usize>) -> Pool {
        Pool::new(&self.hosts.list, positions, self.settings, self.now, (self.random)())
    }

    fn flat(&mut self, positions: Vec<usize>) -> Pools {
        Pools::Flat(self.pool(positions))
    }

    /// The instances of a priority that have this health.
    fn pools(&mut self, level: &[LocalityHosts], health: CoarseHealth) -> Pools {
        let of = |at: &LocalityHosts| -> Vec<usize> {
            at.hosts.clone().filter(|position| self.hosts.list[*position].health() == health).collect()
        };
        let by_locality: Vec<Vec<usize>> = level.iter().map(of).collect();
        if self.settings.common.locality_weighted {
            let weighted = match self.settings.balance.is_by_hash() {
                true => Some(self.by_weighted_hash(level, &by_locality)),
                false => self.by_locality(level, &by_locality),
            };
            if let Some(weighted) = weighted {
                return weighted;
            }
        }
        self.flat(by_locality.concat())
    }

    /// Localities take turns; one counts for less if many of its instances are not healthy. None if none counts.
    fn by_locality(&mut self, level: &[LocalityHosts], chosen: &[Vec<usize>]) -> Option<Pools> {
        let mut pools = vec![];
        for (at, positions) in level.iter().zip(chosen) {
            let counted = self.hosts.list[at.hosts.clone()].iter().filter(|host| !host.is_excluded()).count();
            let weight = effective_weight(at.weight, positions.len(), counted, self.hosts.overprovisioning);
            if weight > 0.0 {
                let pool = self.pool(positions.clone());
                pools.push((weight, pool));
            }
        }
        let weights: Vec<f64> = pools.iter().map(|(weight, _)| *weight).collect();
        (!pools.is_empty()).then(|| Pools::ByLocality(Schedule::new(weights, (self.random)()), pools))
    }

    /// One table in which the instances of each locality have its share. Where none has a weight there is nobody in it, as in
    /// Envoy's.
    fn by_weighted_hash(&mut self, level: &[LocalityHosts], chosen: &[Vec<usize>]) -> Pools {
        /// So that rounding does not matter.
        const SCALE: f64 = 1_000_000.0;
        let total: f64 = level.iter().map(|at| f64::from(at.weight)).sum();
        let (mut hosts, mut positions) = (vec![], vec![]);
        for (at, of_locality) in level.iter().zip(chosen).filter(|(at, _)| at.weight > 0) {
            let members = || of_locality.iter().map(|position| &self.hosts.list[*position]);
            let sum: f64 = members().map(|host| f64::from(host.weight)).sum();
            let share = SCALE * f64::from(at.weight) / total / sum;
            hosts.extend(members().map(|host| WeightedHost { weight: ((share * f64::from(host.weight)) as u32).max(1), ..host.clone() }));
            positions.extend_from_slice(of_locality);
        }
        let hosts: Arc<[WeightedHost]> = hosts.into();
        Pools::Flat(Pool::weighted(hosts, positions, self.settings, self.now, (self.random)()))
    }
}

/// Where the instances of neighbouring localities stand.
/// The localities of each priority, the highest first.
fn by_priority(hosts: &Hosts) -> impl Iterator<Item = &[LocalityHosts]> {
    hosts.localities.chunk_by(|one, two| one.priority == two.priority)
}

/// How healthy each priority is, the highest first.
pub fn health_of(hosts: &Hosts) -> Vec<Level> {
    by_priority(hosts).map(|level| Level::of(&hosts.list[span(level)], hosts.overprovisioning, hosts.weighted_health)).collect()
}

fn span(level: &[LocalityHosts]) -> std::ops::Range<usize> {
    let (first, last) = (level.first(), level.last());
    first.map_or(0, |first| first.hosts.start)..last.map_or(0, |last| last.hosts.end)
}

/// A locality keeps its weight as long as its healthy instances, with what they can take more, suffice for it.
fn effective_weight(weight: u32, good: usize, counted: usize, overprovisioning: u32) -> f64 {
    if counted == 0 {
        return 0.0;
    }
    let ratio = good as f64 / counted as f64 * f64::from(overprovisioning) / 100.0;
    f64::from(weight) * ratio.min(1.0)
}

#[cfg(test)]
mod tests;
