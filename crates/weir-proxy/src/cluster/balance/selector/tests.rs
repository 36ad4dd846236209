use std::time::Duration;

use weir_xds::cluster::cluster::SlowStartConfig;
use weir_xds::core::HealthStatus;
use weir_xds::values::duration;

use super::*;
use crate::cluster::balance::tests::{LEAST_REQUEST, settings};
use crate::cluster::outlier::Health;
use crate::cluster::testing::{assignment, lb_endpoint};
use weir_config::load_balancing::Balance;
use weir_config::slow_start::SlowStart;

const PICKS: usize = 10_000;
const RING: Balance = Balance::RingHash(1024, 8 << 20);

/// So many instances in each of these localities: priority, zone and health. The weight of a locality is its priority
/// plus 1.
fn hosts(localities: &[(u32, &str, usize, HealthStatus)]) -> Hosts {
    let mut number = 0;
    let groups = localities.iter().map(|(priority, zone, count, health)| {
        let endpoints = (0..*count).map(|_| {
            number += 1;
            lb_endpoint(&format!("10.0.{}.{}", number / 250, number % 250 + 1), *health)
        });
        (*priority, *zone, endpoints.collect())
    });
    Hosts::build(&assignment(groups.collect()), |_| vec![], None, Instant::now())
}

fn fail(hosts: &Hosts, positions: std::ops::Range<usize>) {
    let health = Health::default();
    assert!(hosts.list[positions].iter().all(|host| health.checked(&host.host, false)));
}

/// How many of a hundred requests each locality gets, and each instance.
fn shares(settings: &Settings, hosts: &Hosts) -> (Vec<f64>, Vec<usize>) {
    let mut random = fastrand::Rng::with_seed(11);
    let mut selector = Selector::new(settings, hosts, Instant::now(), || random.u64(..));
    let mut counts = vec![0; hosts.list.len()];
    for _ in 0..PICKS {
        if let Some(choice) = selector.pick(&Wish { hash: Some(random.u64(..)), ..Wish::default() }, || random.u64(..)) {
            counts[choice.position] += 1;
        }
    }
    let of = |at: &LocalityHosts| counts[at.hosts.clone()].iter().sum::<usize>() as f64 * 100.0 / PICKS as f64;
    (hosts.localities.iter().map(of).collect(), counts)
}

fn assert_near(found: &[f64], wanted: &[f64], what: &str) {
    let near = found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() <= 2.0);
    assert!(near, "{what}: {found:?}, not {wanted:?}");
}

const WELL: HealthStatus = HealthStatus::Healthy;

#[test]
fn locality_failover_shifts_in_proportion_to_health() {
    // Instances at the first priority that fail, of 10; the share of the first, and of the second, which has 10 as well.
    let cases = [(0, [100.0, 0.0]), (2, [100.0, 0.0]), (3, [98.0, 2.0]), (5, [70.0, 30.0]), (8, [28.0, 72.0]), (10, [0.0, 100.0])];
    for balance in [Balance::RoundRobin, Balance::Random, LEAST_REQUEST, RING, Balance::Maglev(65_537)] {
        for (failing, wanted) in cases {
            let hosts = hosts(&[(0, "a", 10, WELL), (1, "b", 10, WELL)]);
            fail(&hosts, 0..failing);
            let (found, counts) = shares(&settings(balance), &hosts);
            assert_near(&found, &wanted, &format!("{balance:?}, {failing} fail"));
            assert_eq!(counts[..failing].iter().sum::<usize>(), 0, "{balance:?}, {failing} fail");
        }
    }
}

#[test]
fn what_an_assignment_says_of_overprovisioning_holds() {
    let mut hosts = hosts(&[(0, "a", 10, WELL), (1, "b", 10, WELL)]);
    fail(&hosts, 0..5);
    hosts.overprovisioning = 100;
    assert_near(&shares(&settings(Balance::Random), &hosts).0, &[50.0, 50.0], "without overprovisioning");
}

#[test]
fn one_priority_without_weighted_localities_is_one_pool_and_shares_the_list() {
    let hosts = hosts(&[(0, "a", 3, WELL), (0, "b", 3, WELL)]);
    let selector = Selector::new(&settings(Balance::RoundRobin), &hosts, Instant::now(), || 0);
    assert!(matches!(&selector.kind, Kind::One(_, false)));
    assert_eq!(selector.warm_until, None);
    assert_eq!(Arc::strong_count(&hosts.list), 2);
    let (_, counts) = shares(&settings(Balance::RoundRobin), &hosts);
    assert!(counts.iter().all(|count| count.abs_diff(PICKS / 6) <= 1), "{counts:?}");
}

#[test]
fn in_a_panic_all_are_used_or_none_if_that_is_wanted() {
    let hosts = hosts(&[(0, "a", 10, WELL), (1, "b", 30, WELL)]);
    fail(&hosts, 1..40);
    let mut panicking = settings(Balance::Random);
    let (found, counts) = shares(&panicking, &hosts);
    assert_near(&found, &[25.0, 75.0], "by size");
    assert!(!counts.contains(&0));
    panicking.common.fail_traffic_on_panic = true;
    assert_eq!(shares(&panicking, &hosts).1.iter().sum::<usize>(), 0);
    panicking.common.panic_percent = 0;
    assert_eq!(shares(&panicking, &hosts).1[0], PICKS);
}

#[test]
fn those_that_drain_are_not_used_and_not_missed() {
    let hosts = hosts(&[(0, "a", 5, HealthStatus::Draining), (0, "a", 5, WELL), (1, "b", 10, WELL)]);
    let (found, counts) = shares(&settings(Balance::RoundRobin), &hosts);
    assert_near(&found, &[100.0, 0.0], "the second priority is not needed");
    assert_eq!(counts[..5], [0; 5]);
}

#[test]
fn degraded_instances_take_what_healthy_ones_cannot() {
    let mixed = |degraded, well| hosts(&[(0, "a", degraded, HealthStatus::Degraded), (0, "b", well, WELL)]);
    for balance in [Balance::RoundRobin, RING] {
        assert_near(&shares(&settings(balance), &mixed(2, 8)).0, &[0.0, 100.0], "enough are healthy");
        assert_near(&shares(&settings(balance), &mixed(5, 5)).0, &[30.0, 70.0], "half");
        assert_near(&shares(&settings(balance), &mixed(5, 0)).0, &[100.0], "none is healthy");
    }
}

#[test]
fn localities_share_by_weight_and_health_if_they_are_weighted() {
    let mut weighted = settings(Balance::RoundRobin);
    weighted.common.locality_weighted = true;
    let mut hosts = hosts(&[(0, "a", 10, WELL), (0, "b", 2, WELL)]);
    let weights = |hosts: &mut Hosts, weights: [u32; 2]| {
        let localities = hosts.localities.iter().zip(weights).map(|(at, weight)| LocalityHosts { weight, ..at.clone() });
        hosts.localities = localities.collect();
    };
    weights(&mut hosts, [1, 3]);
    assert_near(&shares(&weighted, &hosts).0, &[25.0, 75.0], "by weight, whatever the number of instances");
    assert_near(&shares(&settings(Balance::RoundRobin), &hosts).0, &[83.3, 16.7], "not weighted");
    let hashed = Settings { balance: Balance::Maglev(65_537), ..weighted };
    assert_near(&shares(&hashed, &hosts).0, &[25.0, 75.0], "by hash");
    // Half of the second fails: 3 * 0.5 * 1.4 against 1.
    fail(&hosts, 10..11);
    assert_near(&shares(&weighted, &hosts).0, &[32.3, 67.7], "by weight and health");
    weights(&mut hosts, [1, 0]);
    assert_near(&shares(&weighted, &hosts).0, &[100.0, 0.0], "without a weight nothing is sent");
    weights(&mut hosts, [0, 0]);
    assert_near(&shares(&weighted, &hosts).0, &[90.9, 9.1], "no weights at all: all are alike");
    for balance in [RING, Balance::Maglev(65_537)] {
        assert_near(&shares(&Settings { balance, ..weighted }, &hosts).0, &[0.0, 0.0], "by hash there is nobody then");
    }
}

#[test]
fn a_hash_keeps_its_priority_and_its_instance() {
    let hosts = hosts(&[(0, "a", 10, WELL), (1, "b", 10, WELL)]);
    fail(&hosts, 0..5);
    let mut selector = Selector::new(&settings(RING), &hosts, Instant::now(), || 0);
    let mut noise = fastrand::Rng::with_seed(5);
    let mut of = |hash| selector.pick(&Wish { hash: Some(hash), ..Wish::default() }, || noise.u64(..)).map(|choice| choice.position);
    for hash in (0..1000).map(|key: u64| weir_routing::hash_policy::hash(&key.to_le_bytes())) {
        let first = of(hash);
        assert_eq!(of(hash), first);
        assert_eq!(first.map(|position| position >= 10), Some(hash % 100 >= 70));
    }
}

#[test]
fn a_retry_goes_to_another_priority_unless_a_hash_decides() {
    let hosts = hosts(&[(0, "a", 2, WELL), (1, "b", 2, WELL)]);
    let mut selector = Selector::new(&settings(Balance::RoundRobin), &hosts, Instant::now(), || 0);
    let loads = selector.loads_without(&[Some(0), Some(0)], 2);
    let wish = Wish { loads: loads.as_ref(), ..Wish::default() };
    for random in 0..100 {
        assert!(selector.pick(&wish, || random).is_some_and(|choice| choice.position >= 2));
        assert!(selector.pick(&Wish::default(), || random).is_some_and(|choice| choice.position < 2));
    }
    let by_hash = Selector::new(&settings(RING), &hosts, Instant::now(), || 0);
    assert_eq!(by_hash.loads_without(&[Some(0), Some(0)], 2), None);
}

#[test]
fn a_new_instance_warms_up() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let window = Some(duration(Duration::from_secs(100)));
    let slow_start = SlowStart::compile(Some(&SlowStartConfig { slow_start_window: window, ..Default::default() }));
    let of = |ips: &[&str]| assignment(vec![(0, "a", ips.iter().map(|ip| lb_endpoint(ip, WELL)).collect())]);
    for balance in [Balance::RoundRobin, LEAST_REQUEST] {
        let before = Hosts::build(&of(&["10.0.0.1", "10.0.0.2"]), |_| vec![], None, start);
        let hosts = Hosts::build(&of(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), |_| vec![], Some(&before), after(1000));
        let mut warming = settings(balance);
        warming.common.slow_start = slow_start;
        // Seconds after it was added, and its part of a whole share.
        for (seconds, part) in [(0, 0.1), (10, 0.1), (50, 0.5), (99, 0.99)] {
            let now = after(1000 + seconds);
            let mut random = fastrand::Rng::with_seed(2);
            let mut selector = Selector::new(&warming, &hosts, now, || random.u64(..));
            assert_eq!(selector.warm_until, Some(after(1100)));
            let wish = Wish { now: Some(now), ..Wish::default() };
            let picks = (0..PICKS).filter_map(|_| selector.pick(&wish, || random.u64(..)));
            let found = picks.filter(|choice| choice.position == 2).count() as f64 * 100.0 / PICKS as f64;
            assert_near(&[found], &[100.0 * part / (2.0 + part)], &format!("{balance:?} after {seconds} s"));
        }
        assert_eq!(Selector::new(&warming, &hosts, after(1100), || 0).warm_until, None);
        // Back from failing its checks it begins anew.
        let health = Health::default();
        health.checked_at(&hosts.list[0].host, false, after(2000));
        assert_eq!(Selector::new(&warming, &hosts, after(2001), || 0).warm_until, None);
        health.checked_at(&hosts.list[0].host, true, after(2010));
        assert_eq!(Selector::new(&warming, &hosts, after(2011), || 0).warm_until, Some(after(2110)));
    }
}
