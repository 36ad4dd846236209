//! How requests spread over the priorities of a cluster, in proportion to their health; and panic: if too few instances are
//! healthy, all are used. Pure: numbers in, percent out.
//!
//! The rules are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority>,
//! `LoadBalancerBase` in its `load_balancer_impl.cc`).

use crate::cluster::host::{CoarseHealth, WeightedHost};

/// How healthy a priority is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Its instances, also those that are on their way out.
    pub hosts: u32,
    /// Those that count in how large it is.
    pub counted: u32,
    /// The healthy ones.
    pub healthy: u32,
    /// The degraded ones.
    pub degraded: u32,
    /// How much of all requests its healthy instances can take, in percent.
    pub healthy_availability: u32,
    /// How much its degraded instances can take.
    pub degraded_availability: u32,
}

impl Level {
    /// Of its instances. `overprovisioning` is in percent; if `weighted`, its health goes by weights.
    pub fn of(hosts: &[WeightedHost], overprovisioning: u32, weighted: bool) -> Self {
        let mut level = Self { hosts: hosts.len() as u32, ..Self::default() };
        let (mut healthy, mut degraded, mut total) = (0_u64, 0_u64, 0_u64);
        for host in hosts {
            let weight = if weighted { u64::from(host.weight) } else { 1 };
            if !host.is_excluded() {
                level.counted += 1;
                total += weight;
            }
            match host.health() {
                CoarseHealth::Healthy => {
                    level.healthy += 1;
                    healthy += weight;
                }
                CoarseHealth::Degraded => {
                    level.degraded += 1;
                    degraded += weight;
                }
                CoarseHealth::Unhealthy => {}
            }
        }
        let availability = |good: u64| (u64::from(overprovisioning) * good).checked_div(total).unwrap_or(0).min(100) as u32;
        level.healthy_availability = availability(healthy);
        level.degraded_availability = availability(degraded);
        level
    }

    /// Whether so few are left that leaving others out would do more harm.
    fn panics(&self, threshold: u32) -> bool {
        (u64::from(self.healthy) + u64::from(self.degraded)) * 100 < u64::from(threshold) * u64::from(self.counted.max(1))
    }
}

/// Which instances of a priority a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
}

/// How many of a hundred requests each priority gets: all together a hundred.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Loads {
    /// For healthy instances.
    pub healthy: Vec<u32>,
    /// For degraded instances.
    pub degraded: Vec<u32>,
}

impl Loads {
    /// In proportion to the availability of the priorities, the highest first; none if nobody is available.
    fn spread(levels: &[Level]) -> Option<Self> {
        let total = total_availability(levels);
        if total == 0 {
            return None;
        }
        let mut rest = 100;
        let mut give = |availability: u32| {
            let load = rest.min(availability * 100 / total);
            rest -= load;
            load
        };
        let mut healthy: Vec<u32> = levels.iter().map(|level| give(level.healthy_availability)).collect();
        let mut degraded: Vec<u32> = levels.iter().map(|level| give(level.degraded_availability)).collect();
        // What is left was lost in rounding: it goes to the first that is available.
        let first_healthy = levels.iter().position(|level| level.healthy_availability > 0);
        let first_degraded = levels.iter().position(|level| level.degraded_availability > 0);
        let first = match (first_healthy, first_degraded) {
            (Some(first), _) => healthy.get_mut(first),
            (None, Some(first)) => degraded.get_mut(first),
            (None, None) => None,
        };
        if let Some(first) = first {
            *first += rest;
        }
        Some(Self { healthy, degraded })
    }

    /// In proportion to the number of instances, whatever their health.
    fn by_size(levels: &[Level]) -> Self {
        let all: u64 = levels.iter().map(|level| u64::from(level.hosts)).sum();
        let share = |level: &Level| (100 * u64::from(level.hosts)).checked_div(all).unwrap_or(0) as u32;
        let mut healthy: Vec<u32> = levels.iter().map(share).collect();
        let rest = 100 - healthy.iter().sum::<u32>();
        let first = levels.iter().position(|level| level.hosts > 0).unwrap_or(0);
        if let Some(first) = healthy.get_mut(first) {
            *first += rest;
        }
        Self { degraded: vec![0; healthy.len()], healthy }
    }

    /// The priority of a request. `random` may be a hash: like requests get the same priority.
    pub fn choose(&self, random: u64) -> (usize, Availability) {
        let point = (random % 100) as u32 + 1;
        let mut sum = 0;
        let mut reached = |load: &u32| {
            sum += load;
            point <= sum
        };
        if let Some(found) = self.healthy.iter().position(&mut reached) {
            return (found, Availability::Healthy);
        }
        // The sum is a hundred.
        self.degraded.iter().position(&mut reached).map_or((0, Availability::Healthy), |found| (found, Availability::Degraded))
    }

    /// The only priority that gets anything, if it is one.
    pub fn only(&self) -> Option<(usize, Availability)> {
        let whole = |loads: &[u32]| loads.iter().position(|load| *load >= 100);
        let healthy = whole(&self.healthy).map(|found| (found, Availability::Healthy));
        healthy.or_else(|| whole(&self.degraded).map(|found| (found, Availability::Degraded)))
    }

    /// For a retry that leaves out the priorities of attempts before: Envoy's `previous_priorities`. `tried` are the
    /// priorities of the attempts in their order; they count whenever another `frequency` attempts were made. When none
    /// is left, all count again. None if the usual loads hold.
    pub fn without(levels: &[Level], tried: &[Option<usize>], frequency: usize) -> Option<Self> {
        let frequency = frequency.max(1);
        let (mut loads, mut excluded, mut since) = (None, vec![false; levels.len()], 0);
        for end in 1..=tried.len() {
            if (end - since) % frequency != 0 {
                if end - since < frequency {
                    loads = None;
                }
                continue;
            }
            for level in tried[since..end].iter().flatten() {
                if let Some(excluded) = excluded.get_mut(*level) {
                    *excluded = true;
                }
            }
            let left = |excluded: &[bool]| -> Vec<Level> {
                levels.iter().zip(excluded).map(|(level, out)| if *out { Level::default() } else { *level }).collect()
            };
            loads = Self::spread(&left(&excluded));
            if loads.is_none() {
                excluded.fill(false);
                since = end;
                loads = Self::spread(levels);
            }
        }
        loads
    }
}

/// How much of all requests can be taken, in percent.
fn total_availability(levels: &[Level]) -> u32 {
    levels.iter().map(|level| level.healthy_availability + level.degraded_availability).sum::<u32>().min(100)
}

/// How requests spread over priorities, and which of them panic: there all instances are used. `threshold` is the panic
/// threshold in percent; 0 is never.
pub fn loads(levels: &[Level], threshold: u32) -> (Loads, Vec<bool>) {
    let (total, calm) = (total_availability(levels), vec![false; levels.len()]);
    if threshold == 0 && total == 0 {
        // Nobody is there for it, but it must go somewhere.
        let mut loads = Loads { healthy: vec![0; levels.len()], degraded: vec![0; levels.len()] };
        loads.healthy.iter_mut().take(1).for_each(|load| *load = 100);
        return (loads, calm);
    }
    let panics = if total == 100 { calm } else { levels.iter().map(|level| level.panics(threshold)).collect() };
    match Loads::spread(levels) {
        Some(loads) if !panics.iter().all(|panics| *panics) => (loads, panics),
        _ => (Loads::by_size(levels), panics),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A priority with so many instances, healthy and degraded ones among them.
    fn level((hosts, healthy, degraded): (u32, u32, u32), factor: u32) -> Level {
        let availability = |good: u32| (factor * good).checked_div(hosts).unwrap_or(0).min(100);
        let (healthy_availability, degraded_availability) = (availability(healthy), availability(degraded));
        Level { hosts, counted: hosts, healthy, degraded, healthy_availability, degraded_availability }
    }

    fn of(levels: &[(u32, u32, u32)], threshold: u32) -> (Loads, Vec<bool>) {
        let levels: Vec<Level> = levels.iter().map(|counts| level(*counts, 140)).collect();
        loads(&levels, threshold)
    }

    #[test]
    fn load_moves_to_the_next_priority_in_proportion_to_health() {
        // Envoy's own tables, and more: healthy instances of 100 in each priority, and the load in percent.
        let cases: &[(&[u32], &[u32])] = &[
            (&[100, 100], &[100, 0]),
            (&[72, 72], &[100, 0]),
            (&[71, 71], &[99, 1]),
            (&[50, 50], &[70, 30]),
            (&[25, 100], &[35, 65]),
            (&[25, 25], &[50, 50]),
            (&[0, 100], &[0, 100]),
            (&[72, 72, 100], &[100, 0, 0]),
            (&[50, 50, 100], &[70, 30, 0]),
            (&[25, 25, 100], &[35, 35, 30]),
            (&[25, 25, 25], &[35, 35, 30]),
            (&[5, 0, 0], &[100, 0, 0]),
        ];
        for (healthy, wanted) in cases {
            let levels: Vec<_> = healthy.iter().map(|healthy| (100, *healthy, 0)).collect();
            // Without panic, also where all are sick.
            let (loads, panics) = of(&levels, 0);
            assert_eq!(loads.healthy, *wanted, "{healthy:?}");
            assert!(!panics.contains(&true), "{healthy:?}");
        }
    }

    #[test]
    fn degraded_instances_take_what_healthy_ones_cannot() {
        /// Instances, healthy and degraded ones of each priority; loads of the healthy, and of the degraded.
        type Case<'c> = (&'c [(u32, u32, u32)], &'c [u32], &'c [u32]);
        let cases: &[Case<'_>] = &[
            (&[(100, 100, 0)], &[100], &[0]),
            (&[(100, 50, 50)], &[70], &[30]),
            (&[(100, 0, 100)], &[0], &[100]),
            // Healthy ones of a lower priority come before degraded ones of a higher.
            (&[(100, 0, 100), (100, 100, 0)], &[0, 100], &[0, 0]),
            (&[(100, 25, 75), (100, 25, 0)], &[35, 35], &[30, 0]),
        ];
        for (levels, healthy, degraded) in cases {
            let (loads, _) = of(levels, 50);
            assert_eq!((&*loads.healthy, &*loads.degraded), (*healthy, *degraded), "{levels:?}");
        }
    }

    #[test]
    fn a_priority_panics_only_if_all_together_are_not_enough() {
        // Too few at the first, but the second can take the rest.
        assert_eq!(of(&[(10, 1, 0), (10, 10, 0)], 50).1, [false, false]);
        // Together 14 % + 70 %: the first is below a half, the second is not.
        let (loads, panics) = of(&[(10, 1, 0), (10, 5, 0)], 50);
        assert_eq!((loads.healthy, panics), (vec![17, 83], vec![true, false]));
        // All below: by their size.
        let (loads, panics) = of(&[(10, 1, 0), (30, 1, 0)], 50);
        assert_eq!((loads.healthy, panics), (vec![25, 75], vec![true, true]));
        let (loads, panics) = of(&[(10, 0, 0), (20, 0, 0)], 50);
        assert_eq!((loads.healthy, panics), (vec![34, 66], vec![true, true]));
        // Degraded ones count against a panic.
        assert_eq!(of(&[(10, 1, 4)], 50).1, [false]);
        assert_eq!(of(&[(10, 1, 3)], 50).1, [true]);
        // A threshold of 0 never panics.
        let (loads, panics) = of(&[(10, 0, 0), (20, 0, 0)], 0);
        assert_eq!((loads.healthy, panics), (vec![100, 0], vec![false, false]));
    }

    #[test]
    fn priorities_are_chosen_as_often_as_their_loads_say() {
        let loads = Loads { healthy: vec![35, 35], degraded: vec![30, 0] };
        let mut random = fastrand::Rng::with_seed(3);
        let mut counts = [0_usize; 3];
        for _ in 0..10_000 {
            match loads.choose(random.u64(..)) {
                (level, Availability::Healthy) => counts[level] += 1,
                (_, Availability::Degraded) => counts[2] += 1,
            }
        }
        assert!([(0, 3500), (1, 3500), (2, 3000)].iter().all(|(i, wanted)| counts[*i].abs_diff(*wanted) < 150), "{counts:?}");
        assert_eq!(loads.choose(0), (0, Availability::Healthy));
        assert_eq!(loads.choose(99), (0, Availability::Degraded));
    }

    #[test]
    fn a_retry_leaves_the_priorities_of_earlier_attempts() {
        let levels = [level((10, 10, 0), 140), level((10, 5, 0), 140), level((10, 10, 0), 140)];
        let healthy = |tried: &[usize], frequency| {
            let tried: Vec<_> = tried.iter().map(|level| Some(*level)).collect();
            Loads::without(&levels, &tried, frequency).map(|loads| loads.healthy)
        };
        // Istio's frequency is 2: the second attempt may stay, the third leaves.
        assert_eq!(healthy(&[], 2), None);
        assert_eq!(healthy(&[0], 2), None);
        assert_eq!(healthy(&[0, 0], 2), Some(vec![0, 70, 30]));
        assert_eq!(healthy(&[0, 0, 1], 2), Some(vec![0, 70, 30]));
        assert_eq!(healthy(&[0, 0, 1, 1], 2), Some(vec![0, 0, 100]));
        // All were tried: all count again, from the beginning.
        assert_eq!(healthy(&[0, 1, 2], 1), Some(vec![100, 0, 0]));
        assert_eq!(healthy(&[0, 1, 2, 0], 1), Some(vec![0, 70, 30]));
        assert_eq!(healthy(&[0, 0, 1, 2], 2), Some(vec![100, 0, 0]));
        assert_eq!(healthy(&[0, 0, 1, 2, 1, 0], 2), Some(vec![0, 0, 100]));
        assert_eq!(healthy(&[0, 0, 1, 2, 0], 2), None);
        let nobody = [level((10, 0, 0), 140), level((10, 0, 0), 140)];
        assert_eq!(Loads::without(&nobody, &[Some(0)], 1), None);
    }
}
