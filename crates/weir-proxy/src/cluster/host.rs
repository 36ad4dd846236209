//! The instances of a cluster.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use weir_config::check_target::CheckTarget;
use weir_config::endpoints::{Assignment, EdsHealth, Endpoint, Locality};
use weir_config::workload::Workload;
use weir_xds::values::UNIX;

use super::outlier::HostHealth;
use crate::io::unix_socket;
use crate::tls::transports::Said;

/// One instance of a service. It lives as long as its address is in the cluster, whatever else changes.
#[derive(Debug)]
pub struct Host {
    /// Where it accepts.
    pub address: SocketAddr,
    /// Its name: the one that is given for it, else the one that its address came from.
    pub hostname: Option<Arc<str>>,
    /// What it is known by on rings and in tables, if not by its address or name.
    pub hash_key: Option<Arc<str>>,
    /// Which workload it is, as Istio's metrics name it.
    pub workload: Workload,
    /// Requests and connections that it is busy with, counted by all workers.
    pub active: AtomicU32,
    /// Whether it has failed too often lately.
    pub health: HostHealth,
    /// When it was added.
    since: Instant,
    /// When it last became healthy, in milliseconds after that; [`NEVER`] if it has not been healthy yet.
    healthy_from: AtomicU64,
    /// How its health is checked, where that is not as for all others.
    pub check: Option<Box<CheckTarget>>,
    /// What is said of its transport.
    pub transport: Said,
}

/// In place of a time that has not come.
const NEVER: u64 = u64::MAX;

impl Host {
    /// An instance that is added now.
    pub fn new(address: SocketAddr, hostname: Option<Arc<str>>, workload: Workload, now: Instant) -> Self {
        let (active, health) = (AtomicU32::new(0), HostHealth::default());
        let (hash_key, healthy_from) = (None, AtomicU64::new(0));
        Self { address, hostname, hash_key, workload, active, health, since: now, healthy_from, check: None, transport: Said::default() }
    }

    /// What it is known by on rings and in tables.
    pub fn hash_key(&self, by_hostname: bool) -> Cow<'_, str> {
        match (&self.hash_key, &self.hostname) {
            (Some(key), _) => Cow::Borrowed(key),
            (None, hostname) if by_hostname => Cow::Borrowed(hostname.as_deref().unwrap_or_default()),
            _ => unix_socket::shown(self.address),
        }
    }

    /// Whether its health is checked, in a cluster that does that.
    pub fn is_checked(&self) -> bool {
        self.check.as_ref().is_none_or(|check| !check.is_disabled)
    }

    /// Where its health is checked.
    pub fn check_address(&self) -> SocketAddr {
        let Some(check) = &self.check else { return self.address };
        let mut address = check.address.unwrap_or(self.address);
        if let Some(port) = check.port.filter(|_| unix_socket::path(address).is_none()) {
            address.set_port(port);
        }
        address
    }

    /// How many requests and connections it is busy with.
    pub fn load(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// For how long it has been healthy: since it was added, or passes its active health checks again. Failing and
    /// coming back by outlier detection does not count, as with Envoy.
    pub fn healthy_for(&self, now: Instant) -> Duration {
        let from = Duration::from_millis(self.healthy_from.load(Ordering::Relaxed));
        now.saturating_duration_since(self.since).saturating_sub(from)
    }

    /// It becomes healthy now: its warm-up begins anew.
    pub fn set_healthy_from(&self, now: Instant) {
        self.healthy_from.store(now.saturating_duration_since(self.since).as_millis() as u64, Ordering::Relaxed);
    }

    /// Takes note of what the control plane says: the warm-up begins when it is first said to be well.
    fn heed(&self, eds: EdsHealth, is_new: bool, now: Instant) {
        let is_bad = matches!(eds, EdsHealth::Unhealthy | EdsHealth::Draining);
        if is_new && is_bad {
            self.healthy_from.store(NEVER, Ordering::Relaxed);
        } else if !is_bad && self.healthy_from.load(Ordering::Relaxed) == NEVER {
            self.set_healthy_from(now);
        }
    }
}

/// An instance and its share.
#[derive(Debug, Clone)]
pub struct WeightedHost {
    /// The instance.
    pub host: Arc<Host>,
    /// Its share, relative to the others'; at least 1.
    pub weight: u32,
    /// What the control plane says of its health.
    pub eds: EdsHealth,
}

/// Envoy's coarse health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoarseHealth {
    /// It is chosen.
    Healthy,
    /// It is chosen for what the healthy ones cannot take.
    Degraded,
    /// It is chosen in a panic only.
    Unhealthy,
}

impl WeightedHost {
    /// Its health, by all that is known of it.
    pub fn health(&self) -> CoarseHealth {
        match self.eds {
            EdsHealth::Unhealthy | EdsHealth::Draining => CoarseHealth::Unhealthy,
            _ if !self.host.health.is_usable() => CoarseHealth::Unhealthy,
            EdsHealth::Degraded => CoarseHealth::Degraded,
            EdsHealth::Healthy => CoarseHealth::Healthy,
        }
    }

    /// Whether it does not count in how large its priority is.
    pub fn is_excluded(&self) -> bool {
        self.eds == EdsHealth::Draining
    }
}

/// The instances of a cluster.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// By priority and locality; within one locality in the order of the configuration.
    pub list: Arc<[WeightedHost]>,
    /// Where in the list which locality is.
    pub localities: Arc<[LocalityHosts]>,
    /// By how many percent the healthy instances of a priority or locality can take more than their share.
    pub overprovisioning: u32,
    /// Whether the health of a priority goes by the weights of its instances, and not by their number.
    pub weighted_health: bool,
    /// So many of a million requests are answered before an instance is chosen.
    pub dropped_millionths: u32,
    /// The positions by address, once somebody has asked for one.
    pub(super) index: Arc<OnceLock<HashMap<SocketAddr, usize>>>,
}

/// The instances of a priority in one locality.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalityHosts {
    /// The priority; 0 is the highest.
    pub priority: u32,
    /// The number of its priority among those that have instances.
    pub level: usize,
    /// The locality.
    pub locality: Locality,
    /// Its share, where localities are weighted.
    pub weight: u32,
    /// Its positions in the list.
    pub hosts: Range<usize>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::build(&Assignment::default(), |_| vec![], None, Instant::now())
    }
}

impl Hosts {
    /// The instances of an assignment. `resolve` gives the addresses of a name; instances of `previous` with the
    /// same address and workload are taken over, and with them what is counted of them.
    pub fn build(assignment: &Assignment, resolve: impl Fn(&str) -> Vec<IpAddr>, previous: Option<&Hosts>, now: Instant) -> Self {
        let known: HashMap<SocketAddr, &Arc<Host>> =
            previous.iter().flat_map(|previous| previous.list.iter()).map(|known| (known.host.address, &known.host)).collect();
        let mut seen = std::collections::HashSet::new();
        let mut found: BTreeMap<(u32, usize), Vec<WeightedHost>> = BTreeMap::new();
        for endpoint in &assignment.endpoints {
            let addresses = addresses(endpoint, &resolve);
            let hostname = &endpoint.hostname;
            let locality = assignment.localities.get(endpoint.locality);
            let said = Said {
                endpoint: endpoint.transport.clone(),
                locality: locality.map(|locality| locality.transport.clone()).unwrap_or_default(),
            };
            let place = locality.map_or(0, |locality| locality.priority);
            // One address is one instance, however often it is listed.
            for address in addresses.into_iter().filter(|address| seen.insert(*address)) {
                let is_same = |host: &Host| {
                    host.workload == endpoint.workload
                        && host.hostname == *hostname
                        && host.hash_key == endpoint.hash_key
                        && host.check == endpoint.check
                        && host.transport == said
                };
                let same = known.get(&address).filter(|host| is_same(host));
                let host = match same {
                    Some(host) => Arc::clone(host),
                    None => Arc::new(Host { transport: said.clone(), ..new_host(endpoint, address, hostname.clone(), now) }),
                };
                host.heed(endpoint.health, same.is_none(), now);
                let of_locality = found.entry((place, endpoint.locality)).or_default();
                of_locality.push(WeightedHost { host, weight: endpoint.weight, eds: endpoint.health });
            }
        }
        Self::in_order(assignment, found)
    }

    fn in_order(assignment: &Assignment, found: BTreeMap<(u32, usize), Vec<WeightedHost>>) -> Self {
        let (mut list, mut localities): (Vec<WeightedHost>, Vec<LocalityHosts>) = (vec![], vec![]);
        for ((priority, locality), hosts) in found {
            let start = list.len();
            list.extend(hosts);
            let place = assignment.localities.get(locality).cloned().unwrap_or_default();
            let level = localities.last().map_or(0, |last| last.level + usize::from(last.priority != priority));
            localities.push(LocalityHosts { priority, level, locality: place.locality, weight: place.weight, hosts: start..list.len() });
        }
        Self {
            list: list.into(),
            localities: localities.into(),
            overprovisioning: assignment.overprovisioning,
            weighted_health: assignment.weighted_health,
            dropped_millionths: assignment.dropped_millionths,
            index: Arc::default(),
        }
    }

    /// Whether they are the same instances, and the same is said of them.
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { list, localities, overprovisioning, weighted_health, dropped_millionths, index: _ } = self;
        let alike =
            |one: &WeightedHost, two: &WeightedHost| Arc::ptr_eq(&one.host, &two.host) && (one.weight, one.eds) == (two.weight, two.eds);
        (localities, overprovisioning, weighted_health) == (&other.localities, &other.overprovisioning, &other.weighted_health)
            && *dropped_millionths == other.dropped_millionths
            && list.len() == other.list.len()
            && list.iter().zip(other.list.iter()).all(|(one, two)| alike(one, two))
    }

    /// The position of the instance at an address.
    pub fn position(&self, address: SocketAddr) -> Option<usize> {
        let by_address = || self.list.iter().enumerate().map(|(position, known)| (known.host.address, position)).collect();
        self.index.get_or_init(by_address).get(&address).copied()
    }

    /// Whether an instance is among them.
    pub fn contains(&self, host: &Host) -> bool {
        let known = self.position(host.address).and_then(|position| self.list.get(position));
        known.is_some_and(|known| std::ptr::eq(Arc::as_ptr(&known.host), host))
    }

    /// Where an instance is, by its position.
    pub fn locality(&self, position: usize) -> Option<&LocalityHosts> {
        let next = self.localities.partition_point(|locality| locality.hosts.end <= position);
        self.localities.get(next).filter(|locality| locality.hosts.contains(&position))
    }

    /// The number of its priority among those that have instances.
    pub fn level(&self, position: usize) -> usize {
        self.locality(position).map_or(0, |locality| locality.level)
    }
}

/// Where an endpoint's instances are.
fn addresses(endpoint: &Endpoint, resolve: impl Fn(&str) -> Vec<IpAddr>) -> Vec<SocketAddr> {
    if let Some(path) = endpoint.host.strip_prefix(UNIX) {
        return vec![unix_socket::address(path)];
    }
    let found = endpoint.host.parse().map_or_else(|_| resolve(&endpoint.host), |ip| vec![ip]);
    found.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port)).collect()
}

fn new_host(endpoint: &Endpoint, address: SocketAddr, hostname: Option<Arc<str>>, now: Instant) -> Host {
    Host {
        check: endpoint.check.clone(),
        hash_key: endpoint.hash_key.clone(),
        ..Host::new(address, hostname, endpoint.workload.clone(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::{assignment, lb_endpoint};
    use weir_xds::core::HealthStatus;

    fn build(endpoints: &Assignment, previous: Option<&Hosts>, now: Instant) -> Hosts {
        Hosts::build(endpoints, |_| vec![], previous, now)
    }

    #[test]
    fn an_instance_outlives_changes_of_the_others() {
        let now = Instant::now();
        let of = |hosts: &[&str]| {
            let endpoints = hosts.iter().map(|host| lb_endpoint(host, HealthStatus::Healthy)).collect();
            assignment(vec![(0, "a", endpoints)])
        };
        let before = build(&of(&["10.0.0.1", "10.0.0.2"]), None, now);
        let after = build(&of(&["10.0.0.2", "10.0.0.2", "10.0.0.3"]), Some(&before), now + Duration::from_secs(3));
        assert_eq!(after.list.len(), 2);
        assert!(Arc::ptr_eq(&before.list[1].host, &after.list[0].host));
        let ages: Vec<u64> = after.list.iter().map(|host| host.host.healthy_for(now + Duration::from_secs(5)).as_secs()).collect();
        assert_eq!(ages, [5, 2]);
    }

    #[test]
    fn instances_stand_by_priority_and_locality() {
        let well = |ip| vec![lb_endpoint(ip, HealthStatus::Healthy)];
        let all = vec![(1, "a", well("10.0.0.1")), (0, "b", well("10.0.0.2")), (0, "a", well("10.0.0.3")), (0, "b", well("10.0.0.4"))];
        let hosts = build(&assignment(all), None, Instant::now());
        let order: Vec<String> = hosts.list.iter().map(|host| host.host.address.ip().to_string()).collect();
        assert_eq!(order, ["10.0.0.2", "10.0.0.4", "10.0.0.3", "10.0.0.1"]);
        let places: Vec<_> = hosts.localities.iter().map(|at| (at.priority, at.locality.zone.as_str(), at.hosts.clone())).collect();
        assert_eq!(places, [(0, "b", 0..2), (0, "a", 2..3), (1, "a", 3..4)]);
        assert_eq!((0..4).map(|position| hosts.level(position)).collect::<Vec<_>>(), [0, 0, 0, 1]);
    }

    #[test]
    fn the_warm_up_begins_when_the_control_plane_first_says_that_an_instance_is_well() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let of = |health| assignment(vec![(0, "a", vec![lb_endpoint("10.0.0.1", health)])]);
        let sick = build(&of(HealthStatus::Unhealthy), None, now);
        assert_eq!(sick.list[0].health(), CoarseHealth::Unhealthy);
        assert_eq!(sick.list[0].host.healthy_for(after(5)), Duration::ZERO);
        let well = build(&of(HealthStatus::Healthy), Some(&sick), after(10));
        assert_eq!(well.list[0].host.healthy_for(after(13)).as_secs(), 3);
        // It was well before: Envoy does not begin anew.
        let sick = build(&of(HealthStatus::Draining), Some(&well), after(15));
        let again = build(&of(HealthStatus::Unknown), Some(&sick), after(20));
        assert_eq!(again.list[0].host.healthy_for(after(23)).as_secs(), 13);
    }

    #[test]
    fn of_many_instances_each_is_found_at_once() {
        let at = |i: u32| lb_endpoint(&std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string(), HealthStatus::Healthy);
        // Each in a locality of its own.
        let zones: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
        let all = zones.iter().zip(0..).map(|(zone, i)| (i % 2, zone.as_str(), vec![at(i)])).collect();
        let hosts = build(&assignment(all), None, Instant::now());
        let started = Instant::now();
        for (position, known) in hosts.list.iter().enumerate() {
            assert_eq!(hosts.position(known.host.address), Some(position));
            assert!(hosts.contains(&known.host));
            assert_eq!(hosts.level(position), usize::from(position >= 10_000));
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let other = Host::new(hosts.list[0].host.address, None, Workload::default(), Instant::now());
        assert!(!hosts.contains(&other));
    }

    #[test]
    fn what_is_said_again_is_the_same() {
        let now = Instant::now();
        let of = |health| assignment(vec![(0, "a", vec![lb_endpoint("10.0.0.1", health)])]);
        let before = build(&of(HealthStatus::Healthy), None, now);
        assert!(build(&of(HealthStatus::Healthy), Some(&before), now).is_same(&before));
        assert!(!build(&of(HealthStatus::Degraded), Some(&before), now).is_same(&before));
        assert!(!build(&assignment(vec![]), Some(&before), now).is_same(&before));
    }

    #[test]
    fn an_instance_is_hashed_by_its_key_or_its_name_or_its_address() {
        let of = |hostname: Option<&str>, hash_key: Option<&str>| {
            let host = Host::new(SocketAddr::from(([10, 0, 0, 1], 80)), hostname.map(Into::into), Workload::default(), Instant::now());
            let host = Host { hash_key: hash_key.map(Into::into), ..host };
            [false, true].map(|by_hostname| host.hash_key(by_hostname).into_owned())
        };
        assert_eq!(of(Some("a"), Some("k")), ["k", "k"]);
        assert_eq!(of(Some("a"), None), ["10.0.0.1:80", "a"]);
        assert_eq!(of(None, None), ["10.0.0.1:80", ""]);
    }
}
