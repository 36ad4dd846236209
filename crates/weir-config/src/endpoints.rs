//! The endpoints of a cluster as the control plane names them: before names are resolved and instances are known.

use std::collections::HashMap;
use std::sync::Arc;

use weir_routing::CompileError;
use weir_xds::core::{Address, HealthStatus, Locality as XdsLocality};
use weir_xds::endpoint::cluster_load_assignment::Policy;
use weir_xds::endpoint::cluster_load_assignment::policy::DropOverload;
use weir_xds::endpoint::lb_endpoint::HostIdentifier;
use weir_xds::endpoint::locality_lb_endpoints::LbConfig;
use weir_xds::endpoint::{ClusterLoadAssignment, Endpoint as XdsEndpoint, LbEndpoint, LocalityLbEndpoints};
use weir_xds::values::{UNIX, host_and_port, metadata_text, millionths, socket_path};

use super::check_target::CheckTarget;
use super::transport::Criteria;
use super::workload::Workload;

/// Envoy's overprovisioning factor where none is given, in percent.
const OVERPROVISIONING: u32 = 140;
/// Envoy's limit of priorities.
const LOWEST_PRIORITY: u32 = 128;

/// Where a workload runs.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone in it.
    pub zone: String,
    /// The part of the zone.
    pub sub_zone: String,
}

impl Locality {
    fn of(locality: Option<&XdsLocality>) -> Self {
        let Some(XdsLocality { region, zone, sub_zone }) = locality else { return Self::default() };
        Self { region: region.clone(), zone: zone.clone(), sub_zone: sub_zone.clone() }
    }
}

/// What the control plane says of an endpoint's health.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum EdsHealth {
    /// It is well, or nothing is said.
    #[default]
    Healthy,
    /// It is worse than others.
    Degraded,
    /// It is not to be used.
    Unhealthy,
    /// It is not to be used, and is not missed: it is on its way out.
    Draining,
}

impl EdsHealth {
    /// As Envoy's EDS maps them.
    fn of(status: HealthStatus) -> Self {
        match status {
            HealthStatus::Unknown | HealthStatus::Healthy => Self::Healthy,
            HealthStatus::Degraded => Self::Degraded,
            HealthStatus::Draining => Self::Draining,
            HealthStatus::Unhealthy | HealthStatus::Timeout => Self::Unhealthy,
        }
    }
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// An IP address, a name, or the path of a Unix socket behind `unix://`.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its name, where one is given.
    pub hostname: Option<Arc<str>>,
    /// What it is known by on rings and in tables, if not by its address or name.
    pub hash_key: Option<Arc<str>>,
    /// What it says of its transport.
    pub transport: Criteria,
    /// Its share.
    pub weight: u32,
    /// Its workload.
    pub workload: Workload,
    /// What is said of its health.
    pub health: EdsHealth,
    /// How its health is checked, where that is not as for all others.
    pub check: Option<Box<CheckTarget>>,
    /// Its position in [`Assignment::localities`].
    pub locality: usize,
}

/// A locality of one priority.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct PriorityLocality {
    /// The priority; 0 is the highest.
    pub priority: u32,
    /// The locality.
    pub locality: Locality,
    /// Its share of the priority's requests, where localities are weighted. Without one it gets none.
    pub weight: u32,
    /// What is said of the transport of its endpoints, where they say nothing themselves.
    pub transport: Criteria,
}

/// A `ClusterLoadAssignment`, compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// In the order of the configuration.
    pub endpoints: Vec<Endpoint>,
    /// The localities of all priorities, each once.
    pub localities: Vec<PriorityLocality>,
    /// The overprovisioning factor in percent: how much more than their share healthy instances can take.
    pub overprovisioning: u32,
    /// Whether the health of a priority goes by the weights of its endpoints.
    pub weighted_health: bool,
    /// So many of a million requests are answered at once, before any endpoint is chosen.
    pub dropped_millionths: u32,
}

impl Default for Assignment {
    fn default() -> Self {
        Self { endpoints: vec![], localities: vec![], overprovisioning: OVERPROVISIONING, weighted_health: false, dropped_millionths: 0 }
    }
}

impl Assignment {
    /// Compiles an xDS assignment.
    ///
    /// # Errors
    /// If an endpoint is not at a TCP address, or endpoints are to be learnt in another way: others would get its requests.
    pub fn compile(assignment: &ClusterLoadAssignment) -> Result<Self, CompileError> {
        let ClusterLoadAssignment { cluster_name: _, endpoints, named_endpoints, policy } = assignment;
        if !named_endpoints.is_empty() {
            return Err(CompileError::unsupported("named_endpoints"));
        }
        let usual = Policy::default();
        let Policy {
            overprovisioning_factor,
            weighted_priority_health,
            drop_overloads,
            // Reported.
            endpoint_stale_after: _,
        } = policy.as_ref().unwrap_or(&usual);
        // So does Envoy.
        if drop_overloads.len() > 1 {
            return Err(CompileError::new("policy.drop_overloads", "has more than one"));
        }
        if *overprovisioning_factor == Some(0) {
            return Err(CompileError::new("policy.overprovisioning_factor", "must be more than nothing"));
        }
        let mut compiled = Self {
            overprovisioning: overprovisioning_factor.unwrap_or(OVERPROVISIONING),
            weighted_health: *weighted_priority_health,
            dropped_millionths: drop_overloads.first().map_or(0, dropped),
            ..Self::default()
        };
        let mut places = HashMap::new();
        for (i, group) in endpoints.iter().enumerate() {
            compiled.add(group, &mut places).map_err(|error| error.within(&format!("endpoints[{i}]")))?;
        }
        Ok(compiled)
    }

    /// As those of a cluster whose instances are found by name: each is called what was asked for, also where that is an address.
    #[must_use]
    pub fn named_by_host(mut self) -> Self {
        for endpoint in &mut self.endpoints {
            endpoint.hostname.get_or_insert_with(|| endpoint.host.as_str().into());
        }
        self
    }

    /// Adds the endpoints of a locality, which may be listed several times; `places` has those that are there already.
    fn add(&mut self, group: &LocalityLbEndpoints, places: &mut HashMap<(u32, Locality), usize>) -> Result<(), CompileError> {
        let LocalityLbEndpoints {
            locality,
            lb_endpoints,
            load_balancing_weight,
            priority,
            lb_config,
            metadata,
            // Reported.
            proximity: _,
        } = group;
        if *priority > LOWEST_PRIORITY {
            return Err(CompileError::new("priority", format!("is more than {LOWEST_PRIORITY}")));
        }
        let lb_endpoints = match lb_config {
            None => lb_endpoints,
            #[allow(deprecated)] // Envoy still reads it.
            Some(LbConfig::LoadBalancerEndpoints(list)) => &list.lb_endpoints,
            Some(LbConfig::LedsClusterLocalityConfig(_)) => return Err(CompileError::unsupported("leds_cluster_locality_config")),
        };
        // Envoy takes note of a weight only where the locality is named.
        let weight = load_balancing_weight.filter(|_| locality.is_some());
        let locality = Locality::of(locality.as_ref());
        let position = *places.entry((*priority, locality)).or_insert_with_key(|(priority, locality)| {
            let (priority, locality) = (*priority, locality.clone());
            self.localities.push(PriorityLocality { priority, locality, ..PriorityLocality::default() });
            self.localities.len() - 1
        });
        if let Some(place) = self.localities.get_mut(position) {
            place.weight = weight.unwrap_or(place.weight);
            if metadata.is_some() {
                place.transport = Criteria::of(metadata.as_ref());
            }
        }
        for (i, endpoint) in lb_endpoints.iter().enumerate() {
            let compiled = compile_endpoint(endpoint, position).map_err(|error| error.within(&format!("lb_endpoints[{i}]")))?;
            self.endpoints.push(compiled);
        }
        Ok(())
    }

    /// The names that must be resolved before instances are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let hosts = self.endpoints.iter().map(|endpoint| endpoint.host.as_str());
        hosts.filter(|host| !host.starts_with(UNIX) && host.parse::<std::net::IpAddr>().is_err())
    }
}

/// Where an address is.
fn place(address: &Address) -> Option<(String, u16)> {
    if let Some(path) = socket_path(address).filter(|path| !path.is_empty()) {
        return Some((format!("{UNIX}{path}"), 0));
    }
    host_and_port(address).map(|(host, port)| (host.to_owned(), port))
}

/// How many of a million requests are dropped. The category is a word for statistics.
fn dropped(overload: &DropOverload) -> u32 {
    let DropOverload { category: _, drop_percentage } = overload;
    drop_percentage.as_ref().map_or(0, millionths).min(1_000_000)
}

fn compile_endpoint(endpoint: &LbEndpoint, locality: usize) -> Result<Endpoint, CompileError> {
    let LbEndpoint { health_status: _, metadata, load_balancing_weight, host_identifier } = endpoint;
    let found = match host_identifier {
        Some(HostIdentifier::Endpoint(found)) => found,
        Some(HostIdentifier::EndpointName(_)) => return Err(CompileError::unsupported("endpoint_name")),
        None => return Err(CompileError::missing("endpoint")),
    };
    let XdsEndpoint {
        address,
        health_check_config: _,
        hostname,
        // Reported.
        additional_addresses: _,
        // Only a name in statistics.
        observability_name: _,
    } = found;
    let place = address.as_ref().and_then(place);
    let (host, port) = place.ok_or_else(|| CompileError::new("endpoint.address", "is neither a host and a port nor a Unix socket"))?;
    Ok(Endpoint {
        host,
        port,
        hostname: (!hostname.is_empty()).then(|| hostname.as_str().into()),
        hash_key: metadata.as_ref().and_then(|metadata| metadata_text(metadata, "envoy.lb", "hash_key")).map(Into::into),
        transport: Criteria::of(metadata.as_ref()),
        weight: load_balancing_weight.unwrap_or(1).max(1),
        workload: Workload::parse(metadata.as_ref()),
        health: EdsHealth::of(endpoint.health_status()),
        check: CheckTarget::compile(found).map_err(|error| error.within("endpoint.health_check_config"))?,
        locality,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use weir_xds::core::{Address, Metadata, Pipe, address};
    use weir_xds::types::FractionalPercent;
    use weir_xds::values::{set_metadata, socket_address, text};

    use super::*;

    pub(crate) fn lb_endpoint(ip: &str, health: HealthStatus) -> LbEndpoint {
        let endpoint = XdsEndpoint { address: Some(socket_address(ip, 80)), ..Default::default() };
        LbEndpoint { health_status: health as i32, host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
    }

    /// An assignment of priorities, zones and their endpoints.
    pub(crate) fn assignment(localities: Vec<(u32, &str, Vec<LbEndpoint>)>) -> Assignment {
        let locality = |(priority, zone, lb_endpoints): (u32, &str, _)| LocalityLbEndpoints {
            priority,
            lb_endpoints,
            locality: Some(XdsLocality { zone: zone.to_owned(), ..Default::default() }),
            load_balancing_weight: Some(priority + 1),
            ..Default::default()
        };
        let endpoints = localities.into_iter().map(locality).collect();
        Assignment::compile(&ClusterLoadAssignment { endpoints, ..Default::default() }).expect("valid")
    }

    #[test]
    fn endpoints_of_all_priorities_are_kept_with_what_is_said_of_them() {
        let of = |health| vec![lb_endpoint("10.0.0.1", health)];
        let all = assignment(vec![
            (0, "a", of(HealthStatus::Unhealthy)),
            (1, "b", of(HealthStatus::Degraded)),
            (0, "a", of(HealthStatus::Draining)),
            (1, "a", of(HealthStatus::Unknown)),
        ]);
        let endpoints: Vec<_> = all.endpoints.iter().map(|endpoint| (endpoint.locality, endpoint.health)).collect();
        let (unhealthy, degraded) = (EdsHealth::Unhealthy, EdsHealth::Degraded);
        assert_eq!(endpoints, [(0, unhealthy), (1, degraded), (0, EdsHealth::Draining), (2, EdsHealth::Healthy)]);
        let localities: Vec<_> = all.localities.iter().map(|at| (at.priority, at.locality.zone.as_str(), at.weight)).collect();
        assert_eq!(localities, [(0, "a", 1), (1, "b", 2), (1, "a", 2)]);
        assert_eq!((all.overprovisioning, all.weighted_health), (140, false));
    }

    #[test]
    fn the_policy_of_an_assignment_is_read() {
        let share = FractionalPercent { numerator: 25, ..Default::default() };
        let overload = DropOverload { category: "throttle".into(), drop_percentage: Some(share) };
        let policy = Policy {
            overprovisioning_factor: Some(100),
            weighted_priority_health: true,
            drop_overloads: vec![overload],
            ..Default::default()
        };
        let compiled = Assignment::compile(&ClusterLoadAssignment { policy: Some(policy), ..Default::default() }).expect("valid");
        assert_eq!((compiled.overprovisioning, compiled.weighted_health, compiled.dropped_millionths), (100, true, 250_000));
    }

    #[test]
    fn a_weight_counts_only_where_the_locality_is_named() {
        let of = |locality| {
            let endpoints = vec![LocalityLbEndpoints { locality, load_balancing_weight: Some(3), ..Default::default() }];
            let compiled = Assignment::compile(&ClusterLoadAssignment { endpoints, ..Default::default() }).expect("valid");
            compiled.localities.iter().map(|at| at.weight).collect::<Vec<_>>()
        };
        assert_eq!((of(Some(XdsLocality::default())), of(None)), (vec![3], vec![0]));
    }

    #[test]
    fn an_endpoint_may_be_a_socket_of_this_machine_which_has_no_name() {
        let address = weir_xds::values::address("unix:///run/a", 0);
        let found = XdsEndpoint { address: Some(address), ..Default::default() };
        let endpoint = LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(found)), ..Default::default() };
        let endpoints = vec![LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }];
        let compiled = Assignment::compile(&ClusterLoadAssignment { endpoints, ..Default::default() }).expect("valid");
        assert_eq!((compiled.endpoints[0].host.as_str(), compiled.names().count()), ("unix:///run/a", 0));
    }

    #[test]
    fn an_endpoint_that_is_nowhere_is_refused() {
        let pipe = Address { address: Some(address::Address::Pipe(Pipe { path: String::new(), mode: 0 })) };
        let at = |address| HostIdentifier::Endpoint(XdsEndpoint { address, ..Default::default() });
        let cases = [
            (Some(at(Some(pipe))), "endpoint.address: is neither a host and a port nor a Unix socket"),
            (Some(at(None)), "endpoint.address: is neither a host and a port nor a Unix socket"),
            (Some(HostIdentifier::EndpointName("a".into())), "endpoint_name: is not supported"),
            (None, "endpoint: is missing"),
        ];
        for (host_identifier, wanted) in cases {
            let group = LocalityLbEndpoints {
                lb_endpoints: vec![lb_endpoint("10.0.0.1", HealthStatus::Healthy), LbEndpoint { host_identifier, ..Default::default() }],
                ..Default::default()
            };
            let error = Assignment::compile(&ClusterLoadAssignment { endpoints: vec![group], ..Default::default() }).expect_err("nowhere");
            assert_eq!(error.to_string(), format!("endpoints[0].lb_endpoints[1].{wanted}"));
        }
    }

    #[test]
    fn what_an_endpoint_is_known_by_is_read() {
        let mut metadata = Metadata::default();
        set_metadata(&mut metadata, "envoy.lb", "hash_key", text("k"));
        let endpoint = XdsEndpoint { address: Some(socket_address("10.0.0.1", 80)), hostname: "a.test".into(), ..Default::default() };
        let host_identifier = Some(HostIdentifier::Endpoint(endpoint));
        let compiled = compile_endpoint(&LbEndpoint { host_identifier, metadata: Some(metadata), ..Default::default() }, 0).expect("valid");
        assert_eq!((compiled.hostname.as_deref(), compiled.hash_key.as_deref()), (Some("a.test"), Some("k")));
    }

    #[test]
    fn many_localities_are_no_burden() {
        let locality = |i: u32| LocalityLbEndpoints {
            locality: Some(XdsLocality { zone: i.to_string(), ..Default::default() }),
            lb_endpoints: vec![lb_endpoint("10.0.0.1", HealthStatus::Healthy)],
            ..Default::default()
        };
        let started = std::time::Instant::now();
        let endpoints = (0..40_000).map(locality).collect();
        let compiled = Assignment::compile(&ClusterLoadAssignment { endpoints, ..Default::default() }).expect("valid");
        assert_eq!(compiled.localities.len(), 40_000);
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }
}
