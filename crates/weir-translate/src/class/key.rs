//! Which proxies are alike: what of a proxy its resources depend on, but for those that are its own alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weir_api::Spec;
use weir_api::resources::destination_rule::TrafficPolicy;
use weir_api::resources::load_balancer::LoadBalancerSettings;
use weir_model::service::ServiceKey;
use weir_model::{
    Changes, DestinationRule, Interception, MeshSnapshot, Name, Proxy, ProxyKind, Resolution, Scope, Service, TrafficDistribution,
    VirtualService, topology,
};

use super::LabelMap;
use crate::context::Context;
use crate::locality::{SAME_NODE, SAME_ZONE};
use crate::patches;

/// The labels of proxies that any rule looks at, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Conditions of VirtualServices on the source.
    sources: BTreeSet<String>,
    /// The same for each of those that have any.
    of_rules: BTreeMap<Name, BTreeSet<String>>,
    /// Selectors of the DestinationRules of each namespace.
    selectors: BTreeMap<String, BTreeSet<String>>,
    /// Selectors of Gateways, and of what else only gateways get as all of their class do.
    gateways: BTreeSet<String>,
    /// Selectors of EnvoyFilters.
    filters: BTreeSet<String>,
    /// Selectors of AuthorizationPolicies.
    policies: BTreeSet<String>,
    /// What instances are ranked by.
    ranks: BTreeSet<String>,
    /// The services whose instances are chosen or ranked by the node that their clients run on.
    by_node: BTreeSet<ServiceKey>,
}

impl Labels {
    /// Those of a mesh.
    pub fn of(mesh: &MeshSnapshot) -> Self {
        let mut labels = Self::default();
        let of_rules = mesh.virtual_services.all().map(|rule| ((rule.namespace.clone(), rule.name.clone()), sources(rule)));
        labels.set_rules(of_rules.filter(|(_, sources)| !sources.is_empty()).collect());
        mesh.destination_rules.all().for_each(|rule| labels.add_destination_rule(rule));
        for gateway in mesh.gateways.iter() {
            if let Spec::Gateway(gateway) = &gateway.spec {
                labels.gateways.extend(gateway.selector.keys().cloned());
            }
        }
        labels.filters.extend(mesh.envoy_filters.iter().flat_map(|filter| filter.labels()).map(str::to_owned));
        labels.gateways.extend(mesh.request_authentications.iter().flat_map(|policy| policy.labels()).map(str::to_owned));
        labels.policies.extend(mesh.authorization_policies.iter().flat_map(|policy| policy.labels()).map(str::to_owned));
        mesh.services.all().for_each(|service| labels.add_service(service));
        let config = &mesh.config;
        labels.add_ranks(config.locality_lb_setting.iter().flat_map(|setting| &setting.failover_priority));
        labels.add_ranks(config.zone_aware_lb_setting.iter().flat_map(|setting| &setting.failover_priority));
        labels
    }

    /// Those of a mesh that has changed since these were its; none if they still are.
    pub fn after(&self, mesh: &MeshSnapshot, changes: &Changes) -> Option<Self> {
        let rules = [
            &changes.destination_rules,
            &changes.gateways,
            &changes.envoy_filters,
            &changes.request_authentications,
            &changes.authorization_policies,
        ];
        if changes.everything || rules.iter().any(|names| !names.is_empty()) || !changes.services.is_empty() {
            let new = Self::of(mesh);
            return (new != *self).then_some(new);
        }
        let sources_now = |name: &Name| mesh.virtual_services.get(name).map(|rule| sources(rule)).unwrap_or_default();
        let now = changes.virtual_services.keys().map(|name| (name, sources_now(name)));
        let differs = |(name, now): &(&Name, BTreeSet<String>)| self.of_rules.get(*name).map_or(!now.is_empty(), |known| known != now);
        let mut differing = now.filter(differs).peekable();
        differing.peek()?;
        let mut of_rules = self.of_rules.clone();
        for (name, sources) in differing {
            if sources.is_empty() {
                of_rules.remove(name);
            } else {
                of_rules.insert(name.clone(), sources);
            }
        }
        let mut new = self.clone();
        new.set_rules(of_rules);
        Some(new)
    }

    fn set_rules(&mut self, of_rules: BTreeMap<Name, BTreeSet<String>>) {
        self.sources = of_rules.values().flatten().cloned().collect();
        self.of_rules = of_rules;
    }

    fn add_destination_rule(&mut self, rule: &DestinationRule) {
        if let Some(selector) = &rule.selector {
            self.selectors.entry(rule.namespace.clone()).or_default().extend(selector.keys().cloned());
        }
        let of_subsets = rule.subsets.iter().filter_map(|(subset, _)| subset.traffic_policy.as_ref());
        rule.policy.iter().chain(of_subsets).for_each(|policy| self.add_policy(policy));
    }

    /// A node is looked at for this service alone: proxies that do not reach it are alike on all nodes.
    fn add_service(&mut self, service: &Service) {
        let ranks = match service.traffic_distribution {
            TrafficDistribution::Any => &[],
            TrafficDistribution::PreferSameZone => SAME_ZONE,
            TrafficDistribution::PreferSameNode => SAME_NODE,
        };
        if service.node_local || ranks.contains(&topology::NODE) {
            self.by_node.insert((service.hostname.clone(), service.namespace.clone()));
        }
        let elsewhere = ranks.iter().filter(|name| **name != topology::NODE);
        self.ranks.extend(elsewhere.map(|name| (*name).to_owned()));
    }

    /// Whether proxies may be of other classes when what they reach is not what it was, though these labels are.
    pub fn depend_on_scope(&self, changes: &Changes) -> bool {
        !self.by_node.is_empty() && (changes.everything || !changes.services.is_empty() || !changes.virtual_services.is_empty())
    }

    /// Those by which the instances are ranked, or chosen, of what a proxy reaches.
    fn ranking(&self, mesh: &MeshSnapshot, proxy: &Proxy, scope: &Scope) -> LabelMap {
        let is_reached = |(host, namespace): &ServiceKey| scope.service(host).is_some_and(|service| service.namespace == *namespace);
        let by_node = self.by_node.iter().any(is_reached);
        if self.ranks.is_empty() && !by_node {
            return LabelMap::new();
        }
        let mut labels = mesh.labels_of(proxy);
        labels.retain(|name, _| self.ranks.contains(name) || (by_node && name == topology::NODE));
        labels
    }

    fn add_policy(&mut self, policy: &TrafficPolicy) {
        let of_ports = policy.port_level_settings.iter().filter_map(|port| port.load_balancer.as_ref());
        for balancer in policy.load_balancer.iter().chain(of_ports) {
            self.add_balancer(balancer);
        }
    }

    fn add_balancer(&mut self, balancer: &LoadBalancerSettings) {
        self.add_ranks(balancer.locality_lb_setting.iter().flat_map(|setting| &setting.failover_priority));
        self.add_ranks(balancer.zone_aware_lb_setting.iter().flat_map(|setting| &setting.failover_priority));
    }

    /// `name` or `name=value`.
    fn add_ranks<'l>(&mut self, labels: impl Iterator<Item = &'l String>) {
        self.ranks.extend(labels.map(|label| label.split_once('=').map_or(label.as_str(), |(name, _)| name).to_owned()));
    }

    /// Those of a proxy's own labels that conditions and selectors look at.
    fn selected(&self, proxy: &Proxy) -> LabelMap {
        let counts = |name: &String| {
            self.sources.contains(name)
                || self.filters.contains(name)
                || self.selectors.get(&proxy.namespace).is_some_and(|names| names.contains(name))
                // What is for a sidecar's own workload its class has nothing to do with.
                || (proxy.kind == ProxyKind::Router && (self.gateways.contains(name) || self.policies.contains(name)))
        };
        proxy.labels.iter().filter(|(name, _)| counts(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// The labels of the source that conditions of a rule look at.
fn sources(rule: &VirtualService) -> BTreeSet<String> {
    let http = rule.http.iter().flat_map(|rule| &rule.spec.r#match).map(|condition| &condition.source_labels);
    let tls = rule.tls.iter().flat_map(|rule| &rule.spec.r#match).map(|condition| &condition.source_labels);
    let tcp = rule.tcp.iter().flat_map(|rule| &rule.spec.r#match).map(|condition| &condition.source_labels);
    http.chain(tls).chain(tcp).flat_map(BTreeMap::keys).cloned().collect()
}

/// What proxies have in common that get the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClassKey {
    /// A proxy that has nothing else.
    proxy: Proxy,
    /// Its labels by which instances are ranked, or chosen.
    ranks: LabelMap,
    /// The namespace and name of its Sidecar.
    sidecar: Option<(String, String)>,
    /// The services that a gateway is an instance of, by host name and namespace, with their ports and its own.
    instances: Vec<(Arc<str>, Arc<str>, u16, u16)>,
    /// Whether virtual hosts are resources of their own.
    pub(super) by_virtual_host: bool,
    /// Whether they get certificates of the mesh.
    has_certificates: bool,
    /// Whether they answer questions of DNS, and so get the names of the mesh.
    pub(super) answers_dns: bool,
    /// Whether they exchange metadata with others.
    exchanges_metadata: bool,
}

impl ClassKey {
    /// The class of a proxy, in a mesh whose rules look at these labels.
    pub fn of(mesh: &MeshSnapshot, labels: &Labels, proxy: &Proxy) -> Self {
        let scope = mesh.scope(proxy);
        let sidecar = scope.sidecar.as_ref().map(|sidecar| {
            let meta = &sidecar.object.meta;
            (meta.namespace.clone(), meta.name.clone())
        });
        let instances = match proxy.kind {
            ProxyKind::Router => mesh.instances_of(proxy),
            ProxyKind::Sidecar => vec![],
        };
        let instances =
            instances.iter().map(|(service, at)| (service.hostname.clone(), service.namespace.clone(), at.service_port, at.port));
        Self {
            proxy: Proxy {
                id: String::new(),
                kind: proxy.kind,
                name: String::new(),
                namespace: proxy.namespace.clone(),
                labels: labels.selected(proxy),
                addresses: own_addresses(mesh, proxy),
                locality: mesh.locality_of(proxy),
                interception: proxy.interception,
            },
            ranks: labels.ranking(mesh, proxy, &scope),
            sidecar,
            instances: instances.collect(),
            by_virtual_host: false,
            has_certificates: true,
            answers_dns: false,
            exchanges_metadata: false,
        }
    }

    /// The class of those of them that answer questions of DNS, or do not.
    #[must_use]
    pub fn answering_dns(self, answers_dns: bool) -> Self {
        Self { answers_dns, ..self }
    }

    /// The class of those of them that exchange metadata with others, or do not.
    #[must_use]
    pub fn exchanging_metadata(self, exchanges_metadata: bool) -> Self {
        Self { exchanges_metadata, ..self }
    }

    /// The class of those of them that get certificates of the mesh, or get none.
    #[must_use]
    pub fn with_certificates(self, has_certificates: bool) -> Self {
        Self { has_certificates, ..self }
    }

    /// The class of those of them that get virtual hosts as resources of their own, if they take them. An EnvoyFilter that changes
    /// routes is about whole route configurations: who has one gets them whole.
    #[must_use]
    pub fn by_virtual_host(self, mesh: &MeshSnapshot, takes_virtual_hosts: bool) -> Self {
        let by_virtual_host = takes_virtual_hosts && !patches::concern_routes(mesh, &self.proxy);
        Self { by_virtual_host, ..self }
    }

    pub(super) fn context<'m>(&'m self, mesh: &'m MeshSnapshot, scope: Arc<Scope>) -> Context<'m> {
        let context = Context::of_class(mesh, &self.proxy, scope, self.ranks.clone());
        let context = context.with_certificates(self.has_certificates).answering_dns(self.answers_dns);
        context.exchanging_metadata(self.exchanges_metadata)
    }
}

/// What counts of a proxy's addresses. An instance of a service without an address has a listener for each of the others, and none for
/// itself; and who has any address of IPv6 listens there as well, and is told those of IPv4 only if it has one of these, too.
fn own_addresses(mesh: &MeshSnapshot, proxy: &Proxy) -> Vec<String> {
    if proxy.kind == ProxyKind::Router || proxy.interception == Interception::None {
        return vec![String::new()];
    }
    let is_headless = mesh.instances_of(proxy).iter().any(|(service, _)| service.resolution == Resolution::Passthrough);
    let own = if is_headless { proxy.address().to_owned() } else { String::new() };
    let any = proxy.has_ipv6().then(|| Ipv6Addr::UNSPECIFIED.to_string());
    let both = (proxy.has_ipv6() && proxy.has_ipv4()).then(|| Ipv4Addr::UNSPECIFIED.to_string());
    std::iter::once(own).chain(any).chain(both).collect()
}
