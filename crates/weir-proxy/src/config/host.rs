//! The instances of a cluster.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use weir_xds::core::{HealthStatus, Metadata};
use weir_xds::endpoint::lb_endpoint::HostIdentifier;
use weir_xds::endpoint::{ClusterLoadAssignment, LbEndpoint};
use weir_xds::values::{host_and_port, metadata_text};

use crate::balance::outlier::HostHealth;

/// One instance of a service. It lives as long as its address is in the cluster, whatever else changes.
#[derive(Debug)]
pub struct Host {
    /// Where it accepts.
    pub address: SocketAddr,
    /// The name that its address came from, if it came from DNS.
    pub hostname: Option<Arc<str>>,
    /// Which workload it is, as Istio's metrics name it.
    pub workload: Workload,
    /// Requests and connections that it is busy with, counted by all workers.
    pub active: AtomicU32,
    /// Whether it has failed too often lately.
    pub health: HostHealth,
    /// How its health is checked, where that is not as for all others.
    pub check: Option<Box<CheckTarget>>,
}

/// How the health of one instance is checked: `envoy.config.endpoint.v3.Endpoint.HealthCheckConfig`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CheckTarget {
    /// Where it answers checks, if not where it serves.
    pub address: Option<SocketAddr>,
    /// At which port, if not there.
    pub port: Option<u16>,
    /// The authority of checks; may be empty.
    pub hostname: String,
    /// Whether it is not checked at all.
    pub is_disabled: bool,
}

impl CheckTarget {
    fn compile(found: &weir_xds::endpoint::Endpoint) -> Option<Box<Self>> {
        let config = found.health_check_config.as_ref()?;
        Some(Box::new(Self {
            address: config.address.as_ref().and_then(weir_xds::values::to_socket_addr),
            port: u16::try_from(config.port_value).ok().filter(|port| *port != 0),
            hostname: config.hostname.clone(),
            is_disabled: config.disable_active_health_check,
        }))
    }
}

/// What Istio tells of an instance: `name;namespace;canonical name;canonical revision;cluster`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The workload's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its canonical service.
    pub app: String,
    /// Its canonical revision.
    pub version: String,
    /// The cluster that it runs in.
    pub cluster: String,
}

impl Workload {
    fn parse(metadata: Option<&Metadata>) -> Self {
        let text = metadata.and_then(|metadata| metadata_text(metadata, "istio", "workload")).unwrap_or_default();
        let mut parts = text.split(';').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { name: next(), namespace: next(), app: next(), version: next(), cluster: next() }
    }
}

impl Host {
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
}

/// An instance and its share.
#[derive(Debug, Clone)]
pub struct WeightedHost {
    /// The instance.
    pub host: Arc<Host>,
    /// Its share, relative to the others'; at least 1.
    pub weight: u32,
}

/// The instances of a cluster that may be chosen.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// In the order of the configuration.
    pub list: Arc<[WeightedHost]>,
    /// Whether all have the same weight.
    pub equal: bool,
}

/// An instance as the configuration names it, before its name is resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// An IP address or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its share.
    pub weight: u32,
    /// Its workload.
    pub workload: Workload,
    /// How its health is checked.
    pub check: Option<Box<CheckTarget>>,
}

/// The usable instances of an assignment: those of the first priority that has any that are healthy.
pub fn endpoints(assignment: &ClusterLoadAssignment) -> Vec<Endpoint> {
    let priorities = assignment.endpoints.iter().map(|locality| locality.priority);
    let with_some = priorities.filter(|priority| healthy(assignment, *priority).next().is_some());
    with_some.min().map_or_else(Vec::new, |priority| healthy(assignment, priority).collect())
}

fn healthy(assignment: &ClusterLoadAssignment, priority: u32) -> impl Iterator<Item = Endpoint> {
    let localities = assignment.endpoints.iter().filter(move |locality| locality.priority == priority);
    let all = localities.flat_map(|locality| &locality.lb_endpoints);
    all.filter(|endpoint| is_healthy(endpoint)).filter_map(endpoint)
}

fn is_healthy(endpoint: &LbEndpoint) -> bool {
    matches!(endpoint.health_status(), HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded)
}

fn endpoint(endpoint: &LbEndpoint) -> Option<Endpoint> {
    let Some(HostIdentifier::Endpoint(found)) = &endpoint.host_identifier else { return None };
    let (host, port) = host_and_port(found.address.as_ref()?)?;
    Some(Endpoint {
        host: host.to_owned(),
        port,
        weight: endpoint.load_balancing_weight.unwrap_or(1).max(1),
        workload: Workload::parse(endpoint.metadata.as_ref()),
        check: CheckTarget::compile(found),
    })
}

/// The names that must be resolved before [`Hosts::build`].
pub fn names(endpoints: &[Endpoint]) -> impl Iterator<Item = &str> {
    endpoints.iter().map(|endpoint| endpoint.host.as_str()).filter(|host| host.parse::<std::net::IpAddr>().is_err())
}

impl Hosts {
    /// The instances of endpoints. `resolve` gives the addresses of a name; instances of `previous` with the
    /// same address and workload are taken over, and with them what is counted of them.
    pub fn build(endpoints: &[Endpoint], resolve: impl Fn(&str) -> Vec<std::net::IpAddr>, previous: &Hosts) -> Self {
        let known: HashMap<SocketAddr, &Arc<Host>> = previous.list.iter().map(|weighted| (weighted.host.address, &weighted.host)).collect();
        let mut list: Vec<WeightedHost> = vec![];
        let mut seen: HashMap<SocketAddr, usize> = HashMap::new();
        for endpoint in endpoints {
            let (addresses, hostname) = match endpoint.host.parse() {
                Ok(ip) => (vec![ip], None),
                Err(_) => (resolve(&endpoint.host), Some(Arc::<str>::from(endpoint.host.as_str()))),
            };
            for ip in addresses {
                let address = SocketAddr::new(ip, endpoint.port);
                // One address is one instance, however often it is listed.
                if seen.insert(address, list.len()).is_some() {
                    continue;
                }
                let is_same =
                    |host: &&&Arc<Host>| host.workload == endpoint.workload && host.hostname == hostname && host.check == endpoint.check;
                let same = known.get(&address).filter(is_same);
                let new = || Host {
                    address,
                    hostname: hostname.clone(),
                    workload: endpoint.workload.clone(),
                    active: AtomicU32::new(0),
                    health: HostHealth::default(),
                    check: endpoint.check.clone(),
                };
                list.push(WeightedHost { host: same.map_or_else(|| Arc::new(new()), |host| Arc::clone(host)), weight: endpoint.weight });
            }
        }
        let equal = list.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        Self { list: list.into(), equal }
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::endpoint::{Endpoint as XdsEndpoint, LocalityLbEndpoints};
    use weir_xds::values::socket_address;

    use super::*;

    fn lb_endpoint(ip: &str, health: HealthStatus) -> LbEndpoint {
        let endpoint = XdsEndpoint { address: Some(socket_address(ip, 80)), ..Default::default() };
        LbEndpoint { health_status: health as i32, host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
    }

    fn assignment(localities: Vec<(u32, Vec<LbEndpoint>)>) -> ClusterLoadAssignment {
        let locality = |(priority, lb_endpoints)| LocalityLbEndpoints { priority, lb_endpoints, ..Default::default() };
        ClusterLoadAssignment { endpoints: localities.into_iter().map(locality).collect(), ..Default::default() }
    }

    #[test]
    fn the_first_priority_with_healthy_instances_is_used() {
        let sick = lb_endpoint("10.0.0.1", HealthStatus::Unhealthy);
        let well = lb_endpoint("10.0.0.2", HealthStatus::Healthy);
        let other = lb_endpoint("10.0.0.3", HealthStatus::Unknown);
        let hosts = |localities| endpoints(&assignment(localities)).into_iter().map(|e| e.host).collect::<Vec<_>>();
        assert_eq!(hosts(vec![(0, vec![sick.clone(), well.clone()]), (1, vec![other.clone()])]), ["10.0.0.2"]);
        assert_eq!(hosts(vec![(0, vec![sick.clone()]), (1, vec![other])]), ["10.0.0.3"]);
        assert!(hosts(vec![(0, vec![sick])]).is_empty());
    }

    #[test]
    fn an_instance_outlives_changes_of_the_others() {
        let endpoint = |host: &str| Endpoint { host: host.into(), port: 80, weight: 1, workload: Workload::default(), check: None };
        let before = Hosts::build(&[endpoint("10.0.0.1"), endpoint("10.0.0.2")], |_| vec![], &Hosts::default());
        let after = Hosts::build(&[endpoint("10.0.0.2"), endpoint("10.0.0.2"), endpoint("10.0.0.3")], |_| vec![], &before);
        assert_eq!(after.list.len(), 2);
        assert!(Arc::ptr_eq(&before.list[1].host, &after.list[0].host));
    }
}
