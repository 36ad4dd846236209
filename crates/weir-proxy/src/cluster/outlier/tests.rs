use std::sync::Arc;

use weir_config::endpoints::EdsHealth;
use weir_config::workload::Workload;
use weir_xds::cluster::OutlierDetection;
use weir_xds::values::duration;

use super::*;
use crate::cluster::balance::tests::{hosts, of_list};
use crate::cluster::host::WeightedHost;

const BAD: Outcome = Outcome::Status(500);

/// The instances that are not left out.
fn usable(hosts: &Hosts) -> Vec<usize> {
    (0..hosts.list.len()).filter(|position| hosts.list[*position].host.health.is_usable()).collect()
}

fn policy(detection: OutlierDetection) -> OutlierPolicy {
    OutlierPolicy::compile(&detection).expect("valid")
}

fn report(health: &Health, hosts: &Hosts, position: usize, outcomes: &[Outcome], policy: &OutlierPolicy) {
    for outcome in outcomes {
        health.report("test", hosts, &hosts.list[position].host, *outcome, policy);
    }
}

#[test]
fn five_errors_in_a_row_and_no_fewer() {
    let (health, all) = (Health::default(), hosts(&[1; 10]));
    let policy = policy(OutlierDetection::default());
    report(&health, &all, 3, &[BAD, BAD, BAD, BAD, Outcome::Status(404), BAD, BAD, BAD, BAD], &policy);
    assert_eq!(usable(&all).len(), 10);
    report(&health, &all, 3, &[Outcome::Failed], &policy);
    assert_eq!(usable(&all), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(health.version(), 1);
    // A tenth of the instances is out: no more may be.
    report(&health, &all, 4, &[BAD; 20], &policy);
    assert_eq!(usable(&all).len(), 9);
}

#[test]
fn gateway_errors_and_failures_to_connect_may_be_counted_apart() {
    let gateway = policy(OutlierDetection {
        consecutive_5xx: Some(0),
        consecutive_gateway_failure: Some(2),
        enforcing_consecutive_gateway_failure: Some(100),
        max_ejection_percent: Some(100),
        ..Default::default()
    });
    let (health, all) = (Health::default(), hosts(&[1; 2]));
    report(&health, &all, 0, &[Outcome::Status(500); 9], &gateway);
    assert_eq!(usable(&all), [0, 1]);
    report(&health, &all, 0, &[Outcome::Status(503), Outcome::TimedOut], &gateway);
    assert_eq!(usable(&all), [1]);
    let split = policy(OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: Some(2),
        max_ejection_percent: Some(100),
        ..Default::default()
    });
    let all = hosts(&[1; 2]);
    report(&health, &all, 0, &[Outcome::Failed, Outcome::Status(200), Outcome::Failed], &split);
    assert_eq!(usable(&all), [0, 1]);
    report(&health, &all, 0, &[Outcome::Failed], &split);
    assert_eq!(usable(&all), [1]);
}

#[test]
fn who_is_left_out_comes_back_and_is_left_out_longer_the_next_time() {
    let seconds = |seconds| Some(duration(Duration::from_secs(seconds)));
    let policy = policy(OutlierDetection {
        consecutive_5xx: Some(2),
        max_ejection_percent: Some(100),
        base_ejection_time: seconds(30),
        max_ejection_time: seconds(70),
        interval: seconds(10),
        ..Default::default()
    });
    let (health, all) = (Health::default(), hosts(&[1; 2]));
    let (start, mut now) = (health.started, 0);
    // For how many seconds it is left out, in intervals of 10.
    let mut left_out = |pause: u64| {
        now += pause;
        (0..2).for_each(|_| health.report_at("test", &all, &all.list[1].host, BAD, &policy, || start + Duration::from_secs(now)));
        let since = now;
        while usable(&all) == [0] {
            now += 10;
            health.look_at("test", &all, &policy, start + Duration::from_secs(now));
        }
        now - since
    };
    assert_eq!([left_out(0), left_out(0), left_out(0), left_out(0)], [30, 60, 70, 70]);
    // What it was charged with before does not count.
    health.report("test", &all, &all.list[1].host, BAD, &policy);
    assert_eq!(usable(&all), [0, 1]);
    // Well for some intervals: it is trusted more.
    (1..4).for_each(|interval| health.look_at("test", &all, &policy, start + Duration::from_secs(1000 + 10 * interval)));
    assert_eq!(all.list[1].host.health.times.load(Ordering::Relaxed), 1);
}

#[test]
fn chance_makes_the_time_longer_if_that_is_wanted() {
    let jitter = Some(duration(Duration::from_secs(1000)));
    let policy = policy(OutlierDetection {
        consecutive_5xx: Some(1),
        max_ejection_percent: Some(100),
        max_ejection_time_jitter: jitter,
        ..Default::default()
    });
    let (health, all) = (Health::default(), hosts(&[1; 50]));
    (0..50).for_each(|position| report(&health, &all, position, &[BAD], &policy));
    health.look_at("test", &all, &policy, health.started + Duration::from_secs(29));
    assert_eq!(usable(&all).len(), 0);
    health.look_at("test", &all, &policy, health.started + Duration::from_secs(530));
    assert!((5..45).contains(&usable(&all).len()), "{:?}", usable(&all));
    health.look_at("test", &all, &policy, health.started + Duration::from_secs(1040));
    assert_eq!(usable(&all).len(), 50);
}

#[test]
fn so_many_may_be_left_out_and_no_more() {
    // Percent, whether one always may, instances, and how many of them are left out.
    let cases = [(None, None, 4, 0), (None, None, 10, 1), (Some(50), None, 4, 2), (None, Some(true), 4, 1), (Some(100), None, 4, 4)];
    for (max_ejection_percent, always_eject_one_host, instances, out) in cases {
        let policy = policy(OutlierDetection { max_ejection_percent, always_eject_one_host, ..Default::default() });
        let (health, all) = (Health::default(), hosts(&vec![1; instances]));
        (0..instances).for_each(|position| report(&health, &all, position, &[BAD; 5], &policy));
        assert_eq!(ejected(&all), out, "{policy:?}");
        let count = |counters: &[AtomicU64]| counters.iter().map(|counter| counter.load(Ordering::Relaxed) as usize).sum::<usize>();
        assert_eq!(count(&health.stats.detected), instances);
        assert_eq!(count(&health.stats.enforced), out);
        assert_eq!(count(std::slice::from_ref(&health.stats.overflow)), instances - out);
    }
}

#[test]
fn who_leaves_while_left_out_makes_room_for_another() {
    let policy = policy(OutlierDetection { consecutive_5xx: Some(1), max_ejection_percent: Some(50), ..Default::default() });
    let (health, all) = (Health::default(), hosts(&[1; 4]));
    (0..4).for_each(|position| report(&health, &all, position, &[BAD], &policy));
    assert_eq!(usable(&all), [2, 3]);
    let left = of_list(all.list[1..].to_vec());
    health.recount(&left);
    (0..3).for_each(|position| report(&health, &left, position, &[BAD; 2], &policy));
    // Two of three would be more than half.
    assert_eq!(usable(&left), [1, 2]);
    let two = of_list(all.list[2..].to_vec());
    health.recount(&two);
    (0..2).for_each(|position| report(&health, &two, position, &[BAD], &policy));
    assert_eq!(usable(&two), [1]);
}

#[test]
fn many_instances_that_fail_are_no_burden() {
    let policy = policy(OutlierDetection { consecutive_5xx: Some(1), max_ejection_percent: Some(100), ..Default::default() });
    let at = |i: u32| {
        Arc::new(Host::new(std::net::SocketAddr::from((std::net::Ipv4Addr::from(i), 80)), None, Workload::default(), Instant::now()))
    };
    let host = |i| WeightedHost { host: at(i), weight: 1, eds: EdsHealth::Healthy };
    let (health, all) = (Health::default(), of_list((0..20_000).map(host).collect()));
    let started = Instant::now();
    all.list.iter().for_each(|known| health.report("test", &all, &known.host, BAD, &policy));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(ejected(&all), 20_000);
}

#[test]
fn a_passed_health_check_brings_back_unless_that_is_not_wanted() {
    for wanted in [None, Some(false)] {
        let policy = policy(OutlierDetection {
            max_ejection_percent: Some(100),
            successful_active_health_check_uneject_host: wanted,
            ..Default::default()
        });
        let (health, all) = (Health::default(), hosts(&[1; 2]));
        health.follow(Some(&policy), true, &all);
        report(&health, &all, 0, &[BAD; 5], &policy);
        let before = health.version();
        assert!(!health.checked(&all.list[0].host, true));
        assert_eq!((usable(&all).len() == 2, health.version() != before), (wanted.is_none(), wanted.is_none()));
    }
}

#[test]
fn without_a_policy_nobody_stays_left_out() {
    let (health, all) = (Health::default(), hosts(&[1; 2]));
    report(&health, &all, 0, &[BAD; 5], &policy(OutlierDetection { max_ejection_percent: Some(100), ..Default::default() }));
    health.checked(&all.list[1].host, false);
    health.follow(None, true, &all);
    assert_eq!(usable(&all), [0]);
    health.follow(None, false, &all);
    assert_eq!(usable(&all), [0, 1]);
    // Who has not heard of the change yet changes nothing.
    report(&health, &all, 0, &[BAD; 5], &policy(OutlierDetection { max_ejection_percent: Some(100), ..Default::default() }));
    assert!(!health.checked(&all.list[1].host, false));
    assert_eq!(usable(&all), [0, 1]);
}

#[test]
fn a_longest_time_below_the_shortest_is_refused() {
    let max_ejection_time = Some(duration(Duration::from_secs(29)));
    assert!(OutlierPolicy::compile(&OutlierDetection { max_ejection_time, ..Default::default() }).is_err());
    let base_ejection_time = Some(duration(Duration::from_secs(400)));
    let policy = policy(OutlierDetection { base_ejection_time, ..Default::default() });
    assert_eq!(policy.time_out(2).as_secs(), 400);
}
