//! Load balancing: which instance gets the next request. Pure: numbers in, a position out.
//!
//! The policies are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers>).

mod maglev;
pub mod outlier;
mod ring;
mod schedule;

use crate::config::cluster::Balance;
use crate::config::host::Hosts;
use maglev::Maglev;
use ring::Ring;
use schedule::Schedule;

/// Chooses instances of one cluster, for one worker.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    /// The next position.
    RoundRobin(usize),
    Random,
    /// The sums of the weights so far.
    WeightedRandom(Vec<u64>),
    /// Of so many by chance, the least busy.
    LeastRequest(u32),
    /// By weight, one after the other; if `true`, those that are busy count for less.
    Scheduled(Schedule, bool),
    Ring(Ring),
    Maglev(Maglev),
}

/// What a choice may depend on beside chance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// The request's hash.
    pub hash: Option<u64>,
    /// How often it was chosen for already.
    pub attempt: u32,
}

impl Balancer {
    /// For instances, starting anywhere.
    pub fn new(balance: Balance, hosts: &Hosts, random: u64) -> Self {
        let weights = hosts.list.iter().map(|host| host.weight);
        let policy = match (balance, hosts.equal) {
            (Balance::RoundRobin, true) => Policy::RoundRobin(random as usize),
            (Balance::RoundRobin, false) => Policy::Scheduled(Schedule::new(weights, random), false),
            (Balance::Random, true) => Policy::Random,
            (Balance::Random, false) => Policy::WeightedRandom(sums(weights)),
            (Balance::LeastRequest(choices), true) => Policy::LeastRequest(choices),
            (Balance::LeastRequest(_), false) => Policy::Scheduled(Schedule::new(weights, random), true),
            (Balance::RingHash(minimum, maximum), _) => Policy::Ring(Ring::new(&hosts.list, minimum, maximum)),
            (Balance::Maglev(size), _) => Policy::Maglev(Maglev::new(&hosts.list, size)),
        };
        Self { policy }
    }

    /// The position of the instance for the next request; none if there are no instances.
    pub fn pick(&mut self, hosts: &Hosts, wish: Wish, mut random: impl FnMut() -> u64) -> Option<usize> {
        let count = hosts.list.len();
        match (&mut self.policy, count) {
            (_, 0) => None,
            (_, 1) => Some(0),
            (Policy::RoundRobin(next), _) => {
                *next = next.wrapping_add(1);
                Some(*next % count)
            }
            (Policy::Random, _) => Some((random() % count as u64) as usize),
            (Policy::WeightedRandom(sums), _) => {
                let point = random() % sums.last().copied().filter(|sum| *sum > 0)?;
                Some(sums.partition_point(|sum| *sum <= point))
            }
            (Policy::LeastRequest(choices), _) => {
                let candidates = (0..*choices).map(|_| (random() % count as u64) as usize);
                candidates.min_by_key(|position| hosts.list[*position].host.load())
            }
            (Policy::Scheduled(schedule, by_load), _) => {
                let weight = |position: usize| {
                    let host = &hosts.list[position];
                    let busy = if *by_load { host.host.load() } else { 0 };
                    f64::from(host.weight) / f64::from(busy + 1)
                };
                schedule.next(weight)
            }
            (Policy::Ring(ring), _) => ring.choose(wish.hash.unwrap_or_else(random), wish.attempt),
            (Policy::Maglev(table), _) => table.choose(wish.hash.unwrap_or_else(random), wish.attempt),
        }
    }
}

fn sums(weights: impl Iterator<Item = u32>) -> Vec<u64> {
    let sum = |total: &mut u64, weight| {
        *total += u64::from(weight);
        Some(*total)
    };
    weights.scan(0, sum).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::config::host::{Host, WeightedHost, Workload};

    pub(crate) fn hosts(weights: &[u32]) -> Hosts {
        let host = |(i, weight): (usize, &u32)| WeightedHost {
            host: Arc::new(Host {
                check: None,
                address: ([10, 0, 0, i as u8], 80).into(),
                hostname: None,
                workload: Workload::default(),
                active: AtomicU32::new(0),
                health: Default::default(),
            }),
            weight: *weight,
        };
        let list: Arc<[WeightedHost]> = weights.iter().enumerate().map(host).collect();
        Hosts { equal: weights.windows(2).all(|pair| pair[0] == pair[1]), list }
    }

    /// How often each of the instances is chosen in 10,000 requests.
    fn spread(balance: Balance, hosts: &Hosts) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut balancer = Balancer::new(balance, hosts, random.u64(..));
        let mut counts = vec![0; hosts.list.len()];
        for _ in 0..10_000 {
            counts[balancer.pick(hosts, Wish::default(), || random.u64(..)).expect("an instance")] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_exact() {
        assert_eq!(spread(Balance::RoundRobin, &hosts(&[1; 10])), [1000; 10]);
        assert_eq!(spread(Balance::RoundRobin, &hosts(&[1, 3, 6])), [1000, 3000, 6000]);
    }

    #[test]
    fn chance_is_fair() {
        for balance in [Balance::Random, Balance::LeastRequest(2)] {
            let counts = spread(balance, &hosts(&[1; 10]));
            assert!(counts.iter().all(|count| (800..1200).contains(count)), "{balance:?} {counts:?}");
        }
        let counts = spread(Balance::Random, &hosts(&[1, 9]));
        assert!((800..1200).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn who_is_busy_is_spared() {
        let busy = hosts(&[1, 1]);
        busy.list[0].host.active.store(100, Ordering::Relaxed);
        let counts = spread(Balance::LeastRequest(2), &busy);
        // Both choices fall on the busy one in a quarter of the cases.
        assert!((2200..2800).contains(&counts[0]), "{counts:?}");
        let busy = hosts(&[1, 2]);
        busy.list[1].host.active.store(99, Ordering::Relaxed);
        let counts = spread(Balance::LeastRequest(2), &busy);
        assert!(counts[0] > 9000, "{counts:?}");
    }

    const BY_HASH: [Balance; 3] = [Balance::RingHash(1024, 8 << 20), Balance::RingHash(65_536, 8 << 20), Balance::Maglev(65_537)];

    fn chosen(balance: Balance, hosts: &Hosts) -> Vec<std::net::SocketAddr> {
        let mut balancer = Balancer::new(balance, hosts, 0);
        let choose = |key: u64| {
            let hash = weir_routing::hash_policy::hash(&key.to_le_bytes());
            let wish = Wish { hash: Some(hash), attempt: 0 };
            hosts.list[balancer.pick(hosts, wish, || 5).expect("an instance")].host.address
        };
        (0..10_000).map(choose).collect()
    }

    #[test]
    fn a_key_stays_on_its_instance_while_others_leave() {
        const INSTANCES: usize = 10;
        let all = hosts(&[1; INSTANCES]);
        let kept =
            Hosts { list: all.list.iter().filter(|host| host.host.address.to_string() != "10.0.0.3:80").cloned().collect(), equal: true };
        for balance in BY_HASH {
            let (before, after) = (chosen(balance, &all), chosen(balance, &kept));
            let moved = before.iter().zip(&after).filter(|(one, two)| one != two).count();
            let owned = before.iter().filter(|address| address.to_string() == "10.0.0.3:80").count();
            // On a ring nothing moves but what the instance had; of Maglev's table a little more.
            match balance {
                Balance::Maglev(_) | Balance::RingHash(65_536, _) => assert!(moved <= 10_000 * 12 / 10 / INSTANCES, "{balance:?} {moved}"),
                _ => assert_eq!(moved, owned, "{balance:?}"),
            }
        }
    }

    #[test]
    fn hashes_spread_by_weight() {
        for balance in BY_HASH {
            let share = |address: &str, weights: &[u32]| {
                chosen(balance, &hosts(weights)).iter().filter(|chosen| chosen.to_string() == address).count()
            };
            let tenth = share("10.0.0.7:80", &[1; 10]);
            assert!((700..1400).contains(&tenth), "{balance:?} {tenth}");
            let most = share("10.0.0.1:80", &[1, 9]);
            assert!((8500..9400).contains(&most), "{balance:?} {most}");
        }
    }

    #[test]
    fn another_attempt_goes_elsewhere() {
        let hosts = hosts(&[1; 10]);
        for balance in BY_HASH {
            let mut balancer = Balancer::new(balance, &hosts, 0);
            let mut of = |attempt| balancer.pick(&hosts, Wish { hash: Some(42), attempt }, || 5);
            let first = of(0);
            assert!((1..50).any(|attempt| of(attempt) != first), "{balance:?}");
            assert_eq!(of(0), first);
        }
    }

    #[test]
    fn without_instances_none_is_chosen() {
        let none = hosts(&[]);
        for balance in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest(2), Balance::RingHash(8, 8), Balance::Maglev(7)] {
            assert_eq!(Balancer::new(balance, &none, 3).pick(&none, Wish::default(), || 5), None);
        }
    }
}
