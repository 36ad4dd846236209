use std::net::IpAddr;
use std::time::Duration;

use weir_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use weir_xds::cluster::{Cluster as XdsCluster, OutlierDetection};
use weir_xds::core::health_check::{HealthChecker, TcpHealthCheck};
use weir_xds::core::{HealthCheck, HealthStatus};

use super::*;
use crate::cluster::host::Hosts;
use crate::cluster::outlier::Health;
use crate::cluster::testing::{assignment, lb_endpoint};
use crate::stats::cluster::ClusterStats;

/// A cluster with two instances at each of two priorities: 10.0.0.1, 10.0.0.2, and 10.0.1.1, 10.0.1.2.
fn cluster(more: XdsCluster) -> Arc<Cluster> {
    let endpoint = |ip| lb_endpoint(ip, HealthStatus::Healthy);
    let first = vec![endpoint("10.0.0.1"), endpoint("10.0.0.2")];
    let second = vec![endpoint("10.0.1.1"), endpoint("10.0.1.2")];
    let endpoints = assignment(vec![(0, "a", first), (1, "b", second)]);
    let hosts = Hosts::build(&endpoints, |_| vec![], None, Instant::now());
    let policy = ClusterPolicy::compile(&XdsCluster { name: "test".into(), lb_policy: LbPolicy::Random as i32, ..more }).expect("valid");
    let stats = Arc::new(ClusterStats::new(1));
    Arc::new(Cluster {
        policy: Arc::new(policy),
        hosts,
        stats,
        health: Arc::new(Health::default()),
        resources: Arc::default(),
        transports: Arc::default(),
    })
}

/// A check that nobody carries out here: the tests say themselves who passes.
fn health_check() -> HealthCheck {
    let second = weir_xds::values::duration(Duration::from_secs(1));
    HealthCheck {
        timeout: Some(second),
        interval: Some(second),
        unhealthy_threshold: Some(1),
        healthy_threshold: Some(1),
        health_checker: Some(HealthChecker::TcpHealthCheck(TcpHealthCheck::default())),
        ..Default::default()
    }
}

/// The addresses that are chosen in many picks, each once.
fn chosen(runtime: &ClusterRuntime, context: &LbContext<'_>) -> Vec<String> {
    let picks = (0..200).filter_map(|_| runtime.pick(context));
    let found: std::collections::BTreeSet<IpAddr> = picks.map(|target| target.host.address.ip()).collect();
    found.iter().map(IpAddr::to_string).collect()
}

#[test]
fn the_third_try_leaves_the_locality_if_that_is_wanted() {
    let runtime = ClusterRuntime::new(cluster(XdsCluster::default()), 0);
    let address = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), 80);
    let tried = [address("10.0.0.1"), address("10.0.0.2")];
    let of = |attempts: usize, other_priorities| {
        chosen(&runtime, &LbContext { tried: &tried[..attempts], other_priorities, ..LbContext::default() })
    };
    assert_eq!(of(1, Some(2)), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(of(2, None), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(of(2, Some(2)), ["10.0.1.1", "10.0.1.2"]);
}

#[test]
fn who_fails_checks_or_is_left_out_is_not_chosen() {
    let checked = cluster(XdsCluster { health_checks: vec![health_check()], ..XdsCluster::default() });
    let runtime = ClusterRuntime::new(checked.clone(), 0);
    checked.health.checked(&checked.hosts.list[0].host, false);
    assert_eq!(chosen(&runtime, &LbContext::default()), ["10.0.0.2", "10.0.1.1", "10.0.1.2"]);
    checked.health.checked(&checked.hosts.list[0].host, true);
    assert_eq!(chosen(&runtime, &LbContext::default()), ["10.0.0.1", "10.0.0.2"]);
    let detection = OutlierDetection { consecutive_5xx: Some(1), max_ejection_percent: Some(50), ..Default::default() };
    let watched = cluster(XdsCluster { outlier_detection: Some(detection), ..XdsCluster::default() });
    let runtime = ClusterRuntime::new(watched.clone(), 0);
    watched.hosts.list[..2].iter().for_each(|host| runtime.report(&host.host, Outcome::Failed));
    assert_eq!(chosen(&runtime, &LbContext::default()), ["10.0.1.1", "10.0.1.2"]);
}

#[test]
fn in_a_panic_all_are_chosen_and_it_is_counted() {
    let checked = cluster(XdsCluster { health_checks: vec![health_check()], ..XdsCluster::default() });
    let runtime = ClusterRuntime::new(checked.clone(), 0);
    checked.hosts.list.iter().for_each(|host| assert!(checked.health.checked(&host.host, false)));
    assert_eq!(chosen(&runtime, &LbContext::default()).len(), 4);
    assert_eq!(checked.stats.of(0).lb_healthy_panic.get(), 200);
}

#[test]
fn a_cluster_of_original_destinations_goes_where_the_connection_was_going() {
    let kind = Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32));
    let policy = XdsCluster { cluster_discovery_type: kind, lb_policy: LbPolicy::ClusterProvided as i32, ..XdsCluster::default() };
    let compiled = cluster(policy);
    let empty = Cluster { hosts: Hosts::default(), policy: compiled.policy.clone(), ..clone(&compiled) };
    let runtime = ClusterRuntime::new(Arc::new(empty), 0);
    assert_eq!(chosen(&runtime, &LbContext::default()), Vec::<String>::new());
    let destination = Some(SocketAddr::from(([192, 0, 2, 7], 8080)));
    let context = LbContext { destination, ..LbContext::default() };
    let first = runtime.pick(&context).expect("the destination");
    assert_eq!(Some(first.host.address), destination);
    assert!(Rc::ptr_eq(&first, &runtime.pick(&context).expect("the destination")));
    // Where instances are listed, it makes no difference.
    let listed = ClusterRuntime::new(cluster(XdsCluster::default()), 0);
    assert_eq!(chosen(&listed, &context), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn of_many_instances_those_that_stay_keep_their_connections() {
    const MANY: u32 = 60_000;
    let endpoint = |i: u32| lb_endpoint(&std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string(), HealthStatus::Healthy);
    let of = |range: std::ops::Range<u32>| assignment(vec![(0, "a", range.map(endpoint).collect())]);
    let first = cluster(XdsCluster::default());
    let with = |hosts| Arc::new(Cluster { hosts, ..clone(&first) });
    let before = with(Hosts::build(&of(0..MANY), |_| vec![], None, Instant::now()));
    let started = Instant::now();
    let runtime = ClusterRuntime::new(before.clone(), 0);
    let known = runtime.hosts.borrow().clone();
    // What names the same instances walks none of them.
    for _ in 0..1000 {
        runtime.update(&with(before.hosts.clone()));
    }
    assert!(runtime.hosts.borrow().iter().zip(&known).all(|(now, then)| Rc::ptr_eq(now, then)));
    let after = with(Hosts::build(&of(1..MANY + 1), |_| vec![], Some(&before.hosts), Instant::now()));
    runtime.update(&after);
    assert!(runtime.hosts.borrow().iter().zip(&known[1..]).all(|(now, then)| Rc::ptr_eq(now, then)));
    // To compare each with each takes longer than this on any machine.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

fn clone(cluster: &Cluster) -> Cluster {
    let Cluster { policy, hosts, stats, health, resources, transports } = cluster;
    Cluster {
        policy: policy.clone(),
        hosts: hosts.clone(),
        stats: stats.clone(),
        health: health.clone(),
        resources: resources.clone(),
        transports: transports.clone(),
    }
}

#[test]
fn a_cluster_is_looked_after_as_long_as_it_may_have_connections() {
    let runtime = ClusterRuntime::new(cluster(XdsCluster::default()), 0);
    let is_used = || {
        runtime.sweep(Instant::now(), false);
        runtime.is_used.get()
    };
    assert!(!is_used());
    let busy = runtime.pick(&LbContext::default()).expect("an instance").busy(None);
    assert!(runtime.is_used.get() && is_used());
    drop(busy);
    assert!(!is_used());
    let checked = ClusterRuntime::new(cluster(XdsCluster { health_checks: vec![health_check()], ..Default::default() }), 0);
    checked.sweep(Instant::now(), false);
    assert!(checked.is_used.get(), "the health of its instances may change");
}
