//! The instances of a cluster.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_config::check_target::CheckTarget;
use weir_config::endpoints::{Assignment, EdsHealth, Endpoint, Locality};
use weir_config::workload::Workload;

use super::outlier::HostHealth;
use crate::tls::transports::Said;

/// One instance of a service. It lives as long as its address is in the cluster, whatever else changes.
#[derive(Debug)]
pub struct Host {
    /// Where it accepts.
    pub address: SocketAddr,
    /// What it calls itself, or the name that its address came from, if it came from DNS.
    pub hostname: Option<Arc<str>>,
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
        Self {
            address,
            hostname,
            workload,
            active: AtomicU32::new(0),
            health: HostHealth::default(),
            since: now,
            healthy_from: AtomicU64::new(0),
            check: None,
            transport: Said::default(),
        }
    }

    /// Whether its health is checked, in a cluster that does that.
    pub fn is_checked(&self) -> bool {
        self.check.as_ref().is_none_or(|check| !check.is_disabled)
    }

    /// Where its health is checked.
    pub fn check_address(&self) -> SocketAddr {
        let Some(check) = &self.check else { return self.address };
        let address = check.address.unwrap_or(self.address);
        SocketAddr::new(address.ip(), check.port.unwrap_or(address.port()))
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
}

/// The instances of a priority in one locality.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalityHosts {
    /// The priority; 0 is the highest.
    pub priority: u32,
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
            let (addresses, hostname) = match endpoint.host.parse() {
                Ok(ip) => (vec![ip], endpoint.hostname.clone()),
                Err(_) => (resolve(&endpoint.host), endpoint.hostname.clone().or_else(|| Some(endpoint.host.as_str().into()))),
            };
            let locality = assignment.localities.get(endpoint.locality);
            let said = Said {
                endpoint: endpoint.transport.clone(),
                locality: locality.map(|locality| locality.transport.clone()).unwrap_or_default(),
            };
            let place = locality.map_or(0, |locality| locality.priority);
            // One address is one instance, however often it is listed.
            for address in addresses.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port)).filter(|address| seen.insert(*address)) {
                let is_same = |host: &Host| {
                    host.workload == endpoint.workload
                        && host.hostname == hostname
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
        let (mut list, mut localities) = (vec![], vec![]);
        for ((priority, locality), hosts) in found {
            let start = list.len();
            list.extend(hosts);
            let locality = assignment.localities.get(locality).cloned().unwrap_or_default();
            localities.push(LocalityHosts { priority, locality: locality.locality, weight: locality.weight, hosts: start..list.len() });
        }
        Self {
            list: list.into(),
            localities: localities.into(),
            overprovisioning: assignment.overprovisioning,
            weighted_health: assignment.weighted_health,
        }
    }

    /// Where an instance is, by its position.
    pub fn locality(&self, position: usize) -> Option<&LocalityHosts> {
        self.localities.iter().find(|locality| locality.hosts.contains(&position))
    }

    /// The number of its priority among those that have instances.
    pub fn level(&self, position: usize) -> usize {
        let before = self.localities.iter().take_while(|locality| locality.hosts.end <= position);
        let (mut level, own) = (0, self.locality(position).map(|locality| locality.priority));
        let mut last = None;
        for locality in before.filter(|locality| Some(locality.priority) != own) {
            level += usize::from(last != Some(locality.priority));
            last = Some(locality.priority);
        }
        level
    }
}

fn new_host(endpoint: &Endpoint, address: SocketAddr, hostname: Option<Arc<str>>, now: Instant) -> Host {
    Host { check: endpoint.check.clone(), ..Host::new(address, hostname, endpoint.workload.clone(), now) }
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
}
