//! Connections that are forwarded as they are: the TCP proxy, and the filter chains of a service or of a rule.
//!
//! Facts: pilot/pkg/networking/core/{networkfilter,tls}.go of Istio.

use std::collections::HashSet;
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::resources::destination_rule::{TrafficPolicy, TunnelSettings};
use weir_api::resources::virtual_service::{L4MatchAttributes, RouteDestination, TlsMatchAttributes};
use weir_model::host::{is_wildcard, overlap};
use weir_model::tree::List;
use weir_model::{DestinationRule, MESH, Origin, Resolution, Service, ServicePort, VirtualService};
use weir_xds::listener::Filter;
use weir_xds::tcp_proxy::TcpProxy;
use weir_xds::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use weir_xds::tcp_proxy::tcp_proxy::{ClusterSpecifier, TunnelingConfig, WeightedCluster};
use weir_xds::types::{HashPolicy, hash_policy};
use weir_xds::values::duration;

use super::access_log;
use super::chain::{Chain, filter};
use crate::context::{Context, metadata_of};
use crate::names;
use crate::route::destination;

/// The filter that sends every connection to one cluster.
pub(crate) fn to_cluster(context: &Context<'_>, cluster: &str) -> Filter {
    build(&context.mesh.config, proxy(cluster, ClusterSpecifier::Cluster(cluster.to_owned()), None, ""))
}

/// The filter that gives up a connection.
pub(crate) fn to_black_hole() -> Filter {
    let config = proxy(names::BLACK_HOLE, ClusterSpecifier::Cluster(names::BLACK_HOLE.to_owned()), None, "");
    filter("envoy.filters.network.tcp_proxy", &config)
}

/// The filter that sends TLS to a cluster of a service as it is: it already is what a tunnel would be for.
pub(crate) fn to_own_cluster(context: &Context<'_>, service: &Service, subset: &str, cluster: &str) -> Filter {
    let to = ClusterSpecifier::Cluster(cluster.to_owned());
    build(&context.mesh.config, TcpProxy { tunneling_config: None, ..proxy(cluster, to, context.destination_rule(service), subset) })
}

/// The filter for the destinations of a rule.
pub(crate) fn to_destinations(context: &Context<'_>, routes: &[RouteDestination], port: u16, origin: &Origin) -> Filter {
    let service = |route: &RouteDestination| route.destination.as_ref().and_then(|destination| context.scope.service(&destination.host));
    let cluster = |route: &RouteDestination| match &route.destination {
        Some(destination) => destination::cluster(destination, service(route), port),
        None => names::BLACK_HOLE.to_owned(),
    };
    let rule = routes.first().and_then(service).and_then(|service| context.destination_rule(service));
    if let [only] = routes {
        let (cluster, subset) = (cluster(only), only.destination.as_ref().map_or("", |destination| destination.subset.as_str()));
        return build(&context.mesh.config, proxy(&cluster, ClusterSpecifier::Cluster(cluster.clone()), rule, subset));
    }
    let weighted = |route: &RouteDestination| {
        let weight = u32::try_from(route.weight).ok().filter(|weight| *weight > 0)?;
        Some(ClusterWeight { name: cluster(route), weight, ..Default::default() })
    };
    let clusters = WeightedCluster { clusters: routes.iter().filter_map(weighted).collect() };
    let meta = &origin.object.meta;
    let name = format!("{}.{}", meta.name, meta.namespace);
    build(&context.mesh.config, proxy(&name, ClusterSpecifier::WeightedClusters(clusters), rule, ""))
}

/// The filter for a service's port. If the port is not the service's, its only port is meant.
fn to_service(context: &Context<'_>, service: &Arc<Service>, port: u16) -> Filter {
    let number = match service.ports.as_slice() {
        [only] => only.number,
        _ => port,
    };
    let cluster = names::outbound(number.into(), "", &service.hostname);
    build(&context.mesh.config, proxy(&cluster, ClusterSpecifier::Cluster(cluster.clone()), context.destination_rule(service), ""))
}

fn proxy(stat_prefix: &str, to: ClusterSpecifier, rule: Option<&Arc<DestinationRule>>, subset: &str) -> TcpProxy {
    let tcp = rule.and_then(|rule| rule.policy.as_ref()?.connection_pool.as_ref()?.tcp.as_ref());
    TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(to),
        idle_timeout: tcp.and_then(|tcp| tcp.idle_timeout).map(|timeout| duration(timeout.to_std())),
        max_downstream_connection_duration: tcp.and_then(|tcp| tcp.max_connection_duration).map(|limit| duration(limit.to_std())),
        hash_policy: rule.filter(|rule| hashes_source(rule, subset)).map(|_| vec![by_source()]).unwrap_or_default(),
        tunneling_config: rule.and_then(|rule| tunnel(rule, subset)).map(tunneling),
        ..Default::default()
    }
}

fn build(mesh: &MeshConfig, proxy: TcpProxy) -> Filter {
    filter("envoy.filters.network.tcp_proxy", &TcpProxy { access_log: access_log::of_traffic(mesh), ..proxy })
}

/// The tunnel that a rule asks for. What it says as a whole is not for its subsets.
fn tunnel<'r>(rule: &'r DestinationRule, subset: &str) -> Option<&'r TunnelSettings> {
    let policy = if subset.is_empty() { rule.policy.as_ref() } else { rule.subset(subset)?.traffic_policy.as_ref() };
    policy?.tunnel.as_ref()
}

fn tunneling(written: &TunnelSettings) -> TunnelingConfig {
    let host = names::bracketed(&written.target_host);
    TunnelingConfig { hostname: format!("{host}:{}", written.target_port), use_post: written.protocol == "POST", ..Default::default() }
}

/// Whether connections of one client go to one instance. A subset with a load balancer of its own decides itself.
fn hashes_source(rule: &DestinationRule, subset: &str) -> bool {
    let balancer = |policy: Option<&TrafficPolicy>| policy.and_then(|policy| policy.load_balancer.clone());
    let own = rule.subset(subset).and_then(|subset| balancer(subset.traffic_policy.as_ref()));
    let hash = own.or_else(|| balancer(rule.policy.as_ref())).and_then(|balancer| balancer.consistent_hash);
    hash.is_some_and(|hash| hash.use_source_ip == Some(true))
}

fn by_source() -> HashPolicy {
    HashPolicy { policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {})) }
}

/// For what the filter chains of a sidecar's listener are made.
pub(crate) struct ChainInput<'i> {
    pub service: &'i Arc<Service>,
    pub port: &'i ServicePort,
    /// Where the listener is bound.
    pub bind: &'i str,
    /// The range of addresses that stands for the service, if it is none but a range.
    pub range: Option<&'i str>,
    /// The rules of the egress listener.
    pub rules: &'i List<Arc<VirtualService>>,
}

impl ChainInput<'_> {
    /// The filter chains of the service's port: of the rules about it, or its own.
    pub fn chains(&self, context: &Context<'_>) -> Vec<Chain> {
        let about: Vec<&Arc<VirtualService>> =
            self.rules.iter().filter(|rule| rule.hosts.iter().any(|host| overlap(host, &self.service.hostname))).collect();
        if self.port.protocol.is_some_and(weir_api::resources::protocol::Protocol::is_tls) {
            self.tls(context, &about)
        } else {
            self.tcp(context, &about)
        }
    }

    fn subnets(&self) -> Vec<String> {
        self.range.map(str::to_owned).into_iter().collect()
    }

    /// By server name. Without rules, one chain takes all, or, where the listener does not belong to the service alone,
    /// all for the service's own name.
    fn tls(&self, context: &Context<'_>, rules: &[&Arc<VirtualService>]) -> Vec<Chain> {
        let mut chains = vec![];
        let mut known: HashSet<(&[String], &[String])> = HashSet::new();
        for rule in rules.iter().flat_map(|rule| &rule.tls) {
            for block in rule.spec.r#match.iter().filter(|block| is_meant_tls(context, block, MESH, self.port.number)) {
                if !known.insert((&block.sni_hosts, &block.destination_subnets)) {
                    context.warn(&rule.origin, "an earlier rule has the same sniHosts: this one is never reached");
                    continue;
                }
                let subnets = if block.destination_subnets.is_empty() { self.subnets() } else { block.destination_subnets.clone() };
                chains.push(Chain {
                    sni: block.sni_hosts.clone(),
                    subnets,
                    metadata: Some(metadata_of(&rule.origin, "virtual-service")),
                    filters: vec![to_destinations(context, &rule.spec.route, self.port.number, &rule.origin)],
                    ..Default::default()
                });
            }
        }
        if chains.is_empty() {
            // Where there is an address for all names that a wildcard stands for, it says nothing of the one that is meant.
            let is_of_many = self.service.resolution == Resolution::DynamicDns && is_wildcard(&self.service.hostname);
            let is_shared = self.range.is_some() || self.bind == super::ANY_ADDRESS || is_of_many;
            chains.push(Chain {
                sni: if is_shared { vec![self.service.hostname.to_string()] } else { vec![] },
                subnets: self.subnets(),
                filters: vec![to_service(context, self.service, self.port.number)],
                ..Default::default()
            });
        }
        chains
    }

    /// By destination. The first rule without a condition on it ends the list.
    fn tcp(&self, context: &Context<'_>, rules: &[&Arc<VirtualService>]) -> Vec<Chain> {
        let mut chains = vec![];
        for rule in rules.iter().flat_map(|rule| &rule.tcp) {
            let chain = |subnets: Vec<String>| Chain {
                subnets,
                metadata: Some(metadata_of(&rule.origin, "virtual-service")),
                filters: vec![to_destinations(context, &rule.spec.route, self.port.number, &rule.origin)],
                ..Default::default()
            };
            let blocks: Vec<&L4MatchAttributes> =
                rule.spec.r#match.iter().filter(|block| is_meant_tcp(context, block, MESH, self.port.number)).collect();
            if rule.spec.r#match.is_empty() || blocks.iter().any(|block| block.destination_subnets.is_empty()) {
                chains.push(chain(self.subnets()));
                return chains;
            }
            let subnets: Vec<String> = blocks.iter().flat_map(|block| block.destination_subnets.clone()).collect();
            if subnets.is_empty() {
                continue;
            }
            let is_own = subnets == self.subnets();
            chains.push(chain(subnets));
            if is_own {
                return chains;
            }
        }
        let filters = vec![to_service(context, self.service, self.port.number)];
        chains.push(Chain { subnets: self.subnets(), filters, ..Default::default() });
        chains
    }
}

/// Whether a block of a `tls` rule is meant for this proxy, as this gateway, at this port.
pub(crate) fn is_meant_tls(context: &Context<'_>, block: &TlsMatchAttributes, gateway: &str, port: u16) -> bool {
    let source = (&block.source_labels, block.source_namespace.as_str());
    is_meant(context, &block.gateways, gateway, block.port, port, source)
}

/// Whether a block of a `tcp` rule is meant for this proxy, as this gateway, at this port.
pub(crate) fn is_meant_tcp(context: &Context<'_>, block: &L4MatchAttributes, gateway: &str, port: u16) -> bool {
    let source = (&block.source_labels, block.source_namespace.as_str());
    is_meant(context, &block.gateways, gateway, block.port, port, source)
}

type Source<'s> = (&'s std::collections::BTreeMap<String, String>, &'s str);

/// All conditions count together. A gateway has no source: for it only the port and the gateway count.
fn is_meant(context: &Context<'_>, gateways: &[String], gateway: &str, wanted: u32, port: u16, (labels, namespace): Source<'_>) -> bool {
    let by_gateway = gateways.is_empty() || gateways.iter().any(|named| named == gateway);
    let by_port = wanted == 0 || wanted == u32::from(port);
    let from_here = || context.proxy.is_selected(labels) && (namespace.is_empty() || namespace == context.proxy.namespace);
    by_gateway && by_port && (gateway != MESH || from_here())
}
