//! The clusters of a service.
//!
//! Facts: `buildOutboundClusters` in pilot/pkg/networking/core/cluster.go of Istio.

use std::sync::Arc;
use std::time::Duration;

use weir_api::FieldPath;
use weir_api::resources::protocol::Protocol;
use weir_model::peer_authentication::NamespaceTls;
use weir_model::{
    DestinationRule, EffectivePolicy, Endpoint, Health, Origin, Peers, ProxyKind, Resolution, Service, ServicePort, topology,
};
use weir_xds::cluster::Cluster;
use weir_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy};
use weir_xds::core::{AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, config_source::ConfigSourceSpecifier};
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{ListValue, Struct, Value};
use weir_xds::values::{duration, set_metadata, text};

use super::mesh_tls::{self, MeshTls};
use super::pool::{self, Pool};
use super::{Made, balancer, dynamic_dns, proxy_protocol, tls};
use crate::context::Context;
use crate::endpoints::{self, Instance};
use crate::locality::Preference;
use crate::{names, secrets};

const DNS_JITTER: Duration = Duration::from_millis(100);

/// The clusters of all ports of a service, and of their subsets.
pub(super) fn of_service(context: &Context<'_>, service: &Arc<Service>) -> Vec<Made> {
    inputs(context, service).filter_map(|(input, origin)| input.build(origin)).collect()
}

/// The instances of those of a service's clusters that are named, as far as they travel apart from them.
pub(crate) fn assignments_of_service(
    context: &Context<'_>,
    service: &Arc<Service>,
    is_named: impl Fn(&str) -> bool,
) -> Vec<ClusterLoadAssignment> {
    let named = inputs(context, service).map(|(input, _)| input).filter(|input| is_named(&input.name()));
    named.map(|input| input.assignment(&Preference::new(context, &input.policy, service))).collect()
}

/// What the clusters of a service are made of, and where their subsets stand.
fn inputs<'i>(context: &'i Context<'_>, service: &'i Arc<Service>) -> impl Iterator<Item = (Input<'i>, Option<&'i Origin>)> {
    let rule = context.destination_rule(service).map(|rule| &**rule);
    let ports = service.ports.iter().filter(|port| port.protocol != Some(Protocol::Udp));
    let forwards = context.passes_by_cluster_names && !service.external;
    let traffics = if forwards { &[Traffic::Usual, Traffic::Forwarded][..] } else { &[Traffic::Usual] };
    ports.flat_map(move |port| {
        let subsets = rule.into_iter().flat_map(|rule| &rule.subsets).map(|(subset, origin)| (subset.name.as_str(), Some(origin)));
        let all = std::iter::once(("", None)).chain(subsets);
        all.flat_map(move |(subset, origin)| {
            let policy = context.policy(service, subset, port.number);
            let input = move |traffic: &Traffic| Input { context, service, port, rule, subset, policy: policy.clone(), traffic: *traffic };
            traffics.iter().map(move |traffic| (input(traffic), origin))
        })
    })
}

/// What goes to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    /// What this proxy sends, as its rules say.
    Usual,
    /// TLS of the mesh that this gateway forwards as it is, by the cluster's name. Who takes no such TLS gets none of it: it could
    /// not be told there who sent it.
    Forwarded,
}

/// What a cluster is made of.
struct Input<'i> {
    context: &'i Context<'i>,
    service: &'i Arc<Service>,
    port: &'i ServicePort,
    rule: Option<&'i DestinationRule>,
    subset: &'i str,
    policy: EffectivePolicy,
    traffic: Traffic,
}

impl Input<'_> {
    fn name(&self) -> String {
        let name = match self.traffic {
            Traffic::Usual => names::outbound,
            Traffic::Forwarded => names::by_server_name,
        };
        name(self.port.number.into(), self.subset, &self.service.hostname)
    }

    fn build(self, origin: Option<&Origin>) -> Option<Made> {
        let is_dynamic = self.service.resolution == Resolution::DynamicDns;
        if is_dynamic && !self.port.protocol.is_some_and(Protocol::is_http) {
            let place = Origin::new(&self.service.object, FieldPath::default().key("spec").key("resolution"));
            let message =
                format!("of port {} only bytes are seen, and no host that could be looked up: it cannot be reached", self.port.number);
            self.context.warn(&place, message);
            return None;
        }
        let name = self.name();
        let discovery = self.discovery();
        let mut cluster = Cluster {
            alt_stat_name: format!("{name};"),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
            metadata: Some(self.metadata()),
            name,
            ..Default::default()
        };
        balancer::apply(&mut cluster, self.policy.load_balancer.as_ref());
        if self.service.keeps_sessions {
            balancer::keep_sessions(&mut cluster);
        }
        pool::apply(&mut cluster, &self.pool());
        if let Some(detection) = &self.policy.outlier_detection {
            balancer::apply_outlier_detection(&mut cluster, detection);
        }
        if let Err(tls::Unsupported(reason)) = self.set_tls(&mut cluster) {
            self.warn(origin, format!("{reason}: {} cannot be reached", cluster.name));
            return None;
        }
        if self.policy.tunnel.is_some() && self.port.protocol.is_some_and(Protocol::is_http) {
            let message = "a tunnel is for tcp and tls routes: requests of HTTP go without it";
            self.warn(origin, message.to_owned());
        }
        if let Some(written) = self.policy.proxy_protocol.as_ref().filter(|_| self.traffic == Traffic::Usual) {
            proxy_protocol::apply(&mut cluster, written);
        }
        if is_dynamic {
            let unverified = self.policy.tls.as_ref().is_some_and(|settings| settings.insecure_skip_verify == Some(true));
            cluster.cluster_discovery_type = Some(dynamic_dns::discovery(unverified));
            cluster.lb_policy = LbPolicy::ClusterProvided.into();
            cluster.lb_config = None;
            return Some(Made { cluster, endpoints: None });
        }
        let preference = Preference::new(self.context, &self.policy, self.service);
        cluster.common_lb_config.get_or_insert_default().locality_config_specifier = preference.of_cluster;
        let endpoints = self.add_instances(&mut cluster, discovery, &preference);
        Some(Made { cluster, endpoints })
    }

    /// TLS as a rule says, else as the mesh chooses it.
    fn set_tls(&self, cluster: &mut Cluster) -> Result<(), tls::Unsupported> {
        if self.traffic != Traffic::Usual {
            return Ok(());
        }
        let (context, service) = (self.context, self.service);
        let is_http2 = pool::is_http2(cluster);
        let name_in_mesh = names::by_server_name(self.port.number.into(), self.subset, &service.hostname);
        let peers = || Peers::of(&context.mesh.services.endpoints(service));
        let Some(settings) = &self.policy.tls else {
            let (peers, to_own_address) = (peers(), self.discovery() == DiscoveryType::OriginalDst);
            if mesh_tls::is_automatic(context, service, &peers, to_own_address) {
                let names = mesh_tls::names(context, service, &peers);
                let socket = MeshTls { context, names, sni: name_in_mesh, is_http2 }.socket();
                mesh_tls::by_instance(cluster, socket, to_own_address);
            }
            return Ok(());
        };
        let asked = tls::Asked {
            context,
            settings,
            is_http2,
            names_of_service: &service.subject_alt_names,
            names_in_mesh: &|| mesh_tls::names(context, service, &peers()),
            name_in_mesh: &name_in_mesh,
            may_use_credentials: secrets::may_use_credentials(context.proxy.kind, self.rule),
        };
        tls::apply(cluster, &asked)
    }

    /// The instances by their addresses.
    fn assignment(&self, preference: &Preference<'_>) -> ClusterLoadAssignment {
        endpoints::by_address(&self.name(), &self.instances(), self.tls(), preference)
    }

    /// What the service's instances take from their clients.
    fn tls(&self) -> &NamespaceTls {
        self.context.mesh.peer_authentications.of_namespace(&self.service.namespace)
    }

    fn pool(&self) -> Pool<'_> {
        Pool {
            mesh: &self.context.mesh.config,
            settings: self.policy.connection_pool.as_ref(),
            budget: self.policy.retry_budget.as_ref(),
            protocol: self.port.protocol,
            follows_client: self.context.proxy.kind == ProxyKind::Sidecar,
            upgrades: true,
        }
    }

    fn warn(&self, origin: Option<&Origin>, message: String) {
        let whole = self.rule.and_then(|rule| rule.objects.first());
        let whole = whole.map(|object| Origin::new(object, FieldPath::default().key("spec").key("trafficPolicy")));
        if let Some(origin) = origin.or(whole.as_ref()) {
            self.context.warn(origin, message);
        }
    }

    /// How instances are found. A gateway does not see where its clients wanted to go.
    fn discovery(&self) -> DiscoveryType {
        if balancer::is_passthrough(self.policy.load_balancer.as_ref()) {
            return DiscoveryType::OriginalDst;
        }
        match self.service.resolution {
            Resolution::Dns => DiscoveryType::StrictDns,
            Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
            Resolution::Passthrough if self.context.proxy.kind == ProxyKind::Sidecar => DiscoveryType::OriginalDst,
            _ => DiscoveryType::Eds,
        }
    }

    /// Names the instances, or says how they are found; returns those that travel apart from the cluster.
    #[expect(deprecated, reason = "the DNS fields of a cluster are what Istio sends and every Envoy understands")]
    fn add_instances(&self, cluster: &mut Cluster, discovery: DiscoveryType, preference: &Preference<'_>) -> Option<ClusterLoadAssignment> {
        match discovery {
            DiscoveryType::OriginalDst => {
                cluster.lb_policy = LbPolicy::ClusterProvided.into();
                cluster.lb_config = None;
                None
            }
            DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
                cluster.dns_lookup_family = DnsLookupFamily::V4Only.into();
                cluster.dns_refresh_rate = Some(duration(self.context.mesh.config.dns_refresh_rate.to_std()));
                cluster.dns_jitter = Some(duration(DNS_JITTER));
                cluster.respect_dns_ttl = true;
                cluster.load_assignment = Some(endpoints::by_name(&cluster.name, &self.instances(), self.tls(), preference));
                None
            }
            _ => {
                cluster.eds_cluster_config = Some(EdsClusterConfig { eds_config: Some(ads()), service_name: cluster.name.clone() });
                Some(self.assignment(preference))
            }
        }
    }

    /// The instances of the subset that are for this proxy, and as what it is told of them.
    fn instances(&self) -> Vec<Instance> {
        let all = self.context.mesh.services.endpoints(self.service);
        let labels = self.rule.and_then(|rule| rule.subset(self.subset)).map(|subset| &subset.labels);
        let is_near = |endpoint: &Endpoint| {
            !self.service.node_local || endpoint.labels.get(topology::NODE) == self.context.labels.get(topology::NODE)
        };
        let wanted = |endpoint: &&Endpoint| {
            endpoint.service_port == self.port.number
                && labels.is_none_or(|labels| weir_model::proxy::selects(labels, &endpoint.labels))
                && (self.traffic == Traffic::Usual || endpoint.takes_mutual_tls)
                && is_near(endpoint)
        };
        let told = |endpoint: &Endpoint| Some((endpoint.clone(), endpoint.told(self.service)?));
        let all = all.iter().filter(wanted).filter_map(told);
        all.filter(|(_, health)| *health != Health::Unhealthy || !self.may_panic()).collect()
    }

    /// Whether instances get requests though they are known to take none, where too few others are left.
    fn may_panic(&self) -> bool {
        self.policy.outlier_detection.as_ref().is_some_and(|detection| detection.min_health_percent > 0)
    }

    /// What Istio's tools and its filters look at.
    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        let mut set = |key: &str, value: Value| set_metadata(&mut metadata, "istio", key, value);
        let service = [("host", &self.service.hostname), ("name", &self.service.name), ("namespace", &self.service.namespace)];
        let service = Struct { fields: service.into_iter().map(|(key, value)| (key.to_owned(), text(&**value))).collect() };
        let list = ListValue { values: vec![Value { kind: Some(Kind::StructValue(service)) }] };
        set("services", Value { kind: Some(Kind::ListValue(list)) });
        if let Some(object) = self.rule.and_then(|rule| rule.objects.first()) {
            set("config", text(names::config_path("destination-rule", &object.meta.namespace, &object.meta.name)));
        }
        if !self.subset.is_empty() {
            set("subset", text(self.subset));
        }
        if self.service.external {
            set("external", Value { kind: Some(Kind::BoolValue(true)) });
        }
        metadata
    }
}

fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        initial_fetch_timeout: Some(duration(Duration::ZERO)),
        resource_api_version: ApiVersion::V3.into(),
        ..Default::default()
    }
}
