//! Instances among which one balancer chooses: the healthy ones of a priority, or of a locality in it.

use std::sync::Arc;
use std::time::Instant;

use super::{Balancer, Settings, Wish};
use crate::cluster::balance::schedule::Schedule;
use crate::cluster::host::WeightedHost;

/// Instances and their balancer.
#[derive(Debug)]
pub(super) struct Pool {
    hosts: Arc<[WeightedHost]>,
    /// Their positions among all instances of the cluster; none if these are all.
    positions: Option<Box<[usize]>>,
    balancer: Balancer,
}

impl Pool {
    /// Of all instances of a cluster.
    pub(super) fn of_all(all: &Arc<[WeightedHost]>, settings: &Settings, now: Instant, random: u64) -> Self {
        Self { balancer: Balancer::new(settings, all, now, random), hosts: all.clone(), positions: None }
    }

    /// Of the instances at these positions.
    pub(super) fn new(all: &Arc<[WeightedHost]>, positions: Vec<usize>, settings: &Settings, now: Instant, random: u64) -> Self {
        if positions.len() == all.len() {
            return Self::of_all(all, settings, now, random);
        }
        let hosts = positions.iter().map(|position| all[*position].clone()).collect();
        Self::weighted(hosts, positions, settings, now, random)
    }

    /// Of instances whose weights are not those that the cluster gives them.
    pub(super) fn weighted(hosts: Arc<[WeightedHost]>, positions: Vec<usize>, settings: &Settings, now: Instant, random: u64) -> Self {
        Self { balancer: Balancer::new(settings, &hosts, now, random), hosts, positions: Some(positions.into()) }
    }

    /// The position of the instance for a request, among all of the cluster.
    pub(super) fn pick(&mut self, wish: &Wish<'_>, random: impl FnMut() -> u64) -> Option<usize> {
        let chosen = self.balancer.pick(&self.hosts, wish, random)?;
        match &self.positions {
            None => Some(chosen),
            Some(positions) => positions.get(chosen).copied(),
        }
    }

    /// When the last of its instances has warmed up.
    pub(super) fn warm_until(&self) -> Option<Instant> {
        self.balancer.warm_until()
    }
}

/// Instances of a priority: all alike, or by locality.
#[derive(Debug)]
pub(super) enum Pools {
    /// Localities make no difference.
    Flat(Pool),
    /// Localities take turns by their weights.
    ByLocality(Schedule, Vec<(f64, Pool)>),
}

impl Pools {
    /// The position of the instance for a request, among all of the cluster.
    pub(super) fn pick(&mut self, wish: &Wish<'_>, random: impl FnMut() -> u64) -> Option<usize> {
        match self {
            Self::Flat(pool) => pool.pick(wish, random),
            Self::ByLocality(schedule, pools) => {
                let chosen = schedule.next(|locality| pools[locality].0)?;
                pools[chosen].1.pick(wish, random)
            }
        }
    }

    /// When the last of the instances has warmed up.
    pub(super) fn warm_until(&self) -> Option<Instant> {
        match self {
            Self::Flat(pool) => pool.warm_until(),
            Self::ByLocality(_, pools) => pools.iter().filter_map(|(_, pool)| pool.warm_until()).max(),
        }
    }
}
