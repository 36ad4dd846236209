//! Load balancing: which instance gets the next request. Pure: numbers in, a position out.
//!
//! The policies are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers>).

mod bounded;
mod maglev;
mod pool;
pub mod priority;
mod ring;
mod schedule;
pub mod selector;
pub mod slow_start;

use std::time::Instant;

use weir_config::load_balancing::{Balance, Settings};
use weir_config::slow_start::SlowStart;

use crate::cluster::host::WeightedHost;
use bounded::Bounds;
use maglev::Maglev;
use priority::Loads;
use ring::Ring;
use schedule::Schedule;

/// Chooses among instances that are all alike but for their weights, for one worker.
#[derive(Debug)]
struct Balancer {
    policy: Policy,
    warm_up: Option<WarmUp>,
    /// By hash, how busy an instance may be.
    bounds: Option<Bounds>,
}

/// Some instances are warming up.
#[derive(Debug, Clone, Copy)]
struct WarmUp {
    slow_start: SlowStart,
    /// When the last is done.
    until: Instant,
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
    /// By weight, one after the other; those that are busy count for less, the more the greater the bias.
    Scheduled(Schedule, f64),
    Ring(Ring),
    Maglev(Maglev),
}

/// What a choice may depend on beside chance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'w> {
    /// The request's hash.
    pub hash: Option<u64>,
    /// How often it was chosen for already.
    pub attempt: u32,
    /// The time, where instances warm up.
    pub now: Option<Instant>,
    /// How requests spread over priorities, if not as usual.
    pub loads: Option<&'w Loads>,
}

/// The weight of an instance now.
fn weight(host: &WeightedHost, bias: f64, warm_up: Option<(SlowStart, Instant)>) -> f64 {
    let weight = f64::from(host.weight);
    let weight = match bias {
        0.0 => weight,
        1.0 => weight / (f64::from(host.host.load()) + 1.0),
        bias => weight / (f64::from(host.host.load()) + 1.0).powf(bias),
    };
    warm_up.map_or(weight, |(slow_start, now)| weight * slow_start::factor_of(&slow_start, host, now))
}

impl Balancer {
    /// For instances, starting anywhere.
    fn new(settings: &Settings, hosts: &[WeightedHost], now: Instant, random: u64) -> Self {
        let warms_up = matches!(settings.balance, Balance::RoundRobin | Balance::LeastRequest { .. });
        let slow_start = settings.common.slow_start.filter(|_| warms_up);
        let warm_up = slow_start.and_then(|slow_start| Some(WarmUp { slow_start, until: slow_start::until(&slow_start, hosts, now)? }));
        // While somebody warms up, weights differ.
        let equal = warm_up.is_none() && hosts.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let scheduled = |bias| {
            let weights = hosts.iter().map(|host| weight(host, bias, slow_start.map(|slow_start| (slow_start, now))));
            Policy::Scheduled(Schedule::new(weights.collect(), random), bias)
        };
        let policy = match (settings.balance, equal) {
            (Balance::RoundRobin, true) => Policy::RoundRobin(random as usize),
            (Balance::RoundRobin, false) => scheduled(0.0),
            (Balance::Random, true) => Policy::Random,
            (Balance::Random, false) => Policy::WeightedRandom(sums(hosts.iter().map(|host| host.weight))),
            (Balance::LeastRequest { choices, .. }, true) => Policy::LeastRequest(choices),
            (Balance::LeastRequest { bias, .. }, false) => scheduled(bias),
            (Balance::RingHash(minimum, maximum), _) => Policy::Ring(Ring::new(hosts, minimum, maximum, settings.common.hash_by_hostname)),
            (Balance::Maglev(size), _) => Policy::Maglev(Maglev::new(hosts, size, settings.common.hash_by_hostname)),
        };
        let bounds = settings.common.hash_balance_percent.filter(|_| settings.balance.is_by_hash());
        Self { policy, warm_up, bounds: bounds.map(|percent| Bounds::new(hosts, percent)) }
    }

    /// When the last instance has warmed up.
    fn warm_until(&self) -> Option<Instant> {
        self.warm_up.map(|warm_up| warm_up.until)
    }

    /// The position of the instance for the next request; none if there are no instances.
    fn pick(&mut self, hosts: &[WeightedHost], wish: &Wish<'_>, mut random: impl FnMut() -> u64) -> Option<usize> {
        let count = hosts.len();
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
                candidates.min_by_key(|position| hosts[*position].host.load())
            }
            (Policy::Scheduled(schedule, bias), _) => {
                let warm_up = self.warm_up.and_then(|warm_up| Some((warm_up.slow_start, wish.now?)));
                schedule.next(|position| weight(&hosts[position], *bias, warm_up))
            }
            (policy @ (Policy::Ring(_) | Policy::Maglev(_)), _) => {
                let hash = wish.hash.unwrap_or_else(random);
                let first = policy.by_hash(hash, wish.attempt)?;
                Some(self.bounds.as_ref().map_or(first, |bounds| bounds.choose(hosts, hash, first)))
            }
        }
    }
}

impl Policy {
    /// Where a hash leads, of the policies that go by it.
    fn by_hash(&self, hash: u64, attempt: u32) -> Option<usize> {
        match self {
            Self::Ring(ring) => ring.choose(hash, attempt),
            Self::Maglev(table) => table.choose(hash, attempt),
            _ => None,
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
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    use super::*;
    use weir_config::endpoints::{EdsHealth, Locality};
    use weir_config::load_balancing::CommonLb;
    use weir_config::workload::Workload;

    use crate::cluster::host::{Host, Hosts, LocalityHosts};

    pub(crate) fn hosts(weights: &[u32]) -> Hosts {
        let place = |i: usize| std::net::SocketAddr::from(([10, 0, 0, i as u8], 80));
        let host = |i| Arc::new(Host::new(place(i), None, Workload::default(), Instant::now()));
        let list = weights.iter().enumerate().map(|(i, weight)| WeightedHost { host: host(i), weight: *weight, eds: EdsHealth::Healthy });
        of_list(list.collect())
    }

    /// Of one priority and locality.
    pub(crate) fn of_list(list: Vec<WeightedHost>) -> Hosts {
        let locality = LocalityHosts { priority: 0, level: 0, locality: Locality::default(), weight: 0, hosts: 0..list.len() };
        Hosts { list: list.into(), localities: Arc::new([locality]), ..Hosts::default() }
    }

    fn balancer(balance: Balance, hosts: &Hosts, random: u64) -> Balancer {
        Balancer::new(&settings(balance), &hosts.list, Instant::now(), random)
    }

    pub(crate) const LEAST_REQUEST: Balance = Balance::LeastRequest { choices: 2, bias: 1.0 };

    /// Without anything special.
    pub(crate) fn settings(balance: Balance) -> Settings {
        let common = CommonLb {
            panic_percent: 50,
            fail_traffic_on_panic: false,
            locality_weighted: false,
            hash_by_hostname: false,
            hash_balance_percent: None,
            slow_start: None,
        };
        Settings { balance, common }
    }

    /// How often each of the instances is chosen in 10,000 requests.
    fn spread(balance: Balance, hosts: &Hosts) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut balancer = balancer(balance, hosts, random.u64(..));
        let mut counts = vec![0; hosts.list.len()];
        for _ in 0..10_000 {
            counts[balancer.pick(&hosts.list, &Wish::default(), || random.u64(..)).expect("an instance")] += 1;
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
        for balance in [Balance::Random, LEAST_REQUEST] {
            let counts = spread(balance, &hosts(&[1; 10]));
            assert!(counts.iter().all(|count| (800..=1200).contains(count)), "{balance:?} {counts:?}");
        }
        let counts = spread(Balance::Random, &hosts(&[1, 9]));
        assert!((800..1200).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn who_is_busy_is_spared() {
        let busy = hosts(&[1, 1]);
        busy.list[0].host.active.store(100, Ordering::Relaxed);
        let counts = spread(LEAST_REQUEST, &busy);
        // Both choices fall on the busy one in a quarter of the cases.
        assert!((2200..2800).contains(&counts[0]), "{counts:?}");
        let busy = hosts(&[1, 2]);
        busy.list[1].host.active.store(3, Ordering::Relaxed);
        // 1 / (0 + 1) against 2 / (3 + 1), and with a bias of 2 against 2 / (3 + 1)²; a bias of 0 looks at weights only.
        for (bias, share) in [(1.0, 6667), (2.0, 8889), (0.0, 3333)] {
            let counts = spread(Balance::LeastRequest { choices: 2, bias }, &busy);
            assert!(counts[0].abs_diff(share) <= 2, "{bias} {counts:?}");
        }
    }

    const BY_HASH: [Balance; 3] = [Balance::RingHash(1024, 8 << 20), Balance::RingHash(65_536, 8 << 20), Balance::Maglev(65_537)];

    fn chosen(balance: Balance, hosts: &Hosts) -> Vec<std::net::SocketAddr> {
        let mut balancer = balancer(balance, hosts, 0);
        let choose = |key: u64| {
            let hash = weir_routing::hash_policy::hash(&key.to_le_bytes());
            let wish = Wish { hash: Some(hash), ..Wish::default() };
            hosts.list[balancer.pick(&hosts.list, &wish, || 5).expect("an instance")].host.address
        };
        (0..10_000).map(choose).collect()
    }

    #[test]
    fn a_key_stays_on_its_instance_while_others_leave() {
        const INSTANCES: usize = 10;
        let all = hosts(&[1; INSTANCES]);
        let kept = of_list(all.list.iter().filter(|host| host.host.address.to_string() != "10.0.0.3:80").cloned().collect());
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
            let mut balancer = balancer(balance, &hosts, 0);
            let mut of = |attempt| balancer.pick(&hosts.list, &Wish { hash: Some(42), attempt, ..Wish::default() }, || 5);
            let first = of(0);
            assert!((1..50).any(|attempt| of(attempt) != first), "{balance:?}");
            assert_eq!(of(0), first);
        }
    }

    #[test]
    fn without_instances_none_is_chosen() {
        let none = hosts(&[]);
        for balance in [Balance::RoundRobin, Balance::Random, LEAST_REQUEST, Balance::RingHash(8, 8), Balance::Maglev(7)] {
            assert_eq!(balancer(balance, &none, 3).pick(&none.list, &Wish::default(), || 5), None);
        }
    }
}
