//! Which proxies are alike: what of a proxy its resources depend on, but for those that are its own alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::Spec;
use weir_api::resources::destination_rule::TrafficPolicy;
use weir_api::resources::load_balancer::LoadBalancerSettings;
use weir_model::{
    Changes, DestinationRule, Interception, MeshSnapshot, Proxy, ProxyKind, Resolution, Scope, TrafficDistribution, VirtualService,
};

use super::LabelMap;
use crate::context::Context;
use crate::locality::{SAME_NODE, SAME_ZONE};

/// The labels of proxies that any rule looks at, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Conditions of VirtualServices on the source.
    sources: BTreeSet<String>,
    /// Selectors of the DestinationRules of each namespace.
    selectors: BTreeMap<String, BTreeSet<String>>,
    /// Selectors of Gateways.
    gateways: BTreeSet<String>,
    /// Selectors of EnvoyFilters.
    filters: BTreeSet<String>,
    /// What instances are ranked by.
    ranks: BTreeSet<String>,
}

impl Labels {
    /// Those of a mesh.
    pub fn of(mesh: &MeshSnapshot) -> Self {
        let mut labels = Self::default();
        mesh.virtual_services.all().for_each(|rule| labels.add_virtual_service(rule));
        mesh.destination_rules.all().for_each(|rule| labels.add_destination_rule(rule));
        for gateway in mesh.gateways.iter() {
            if let Spec::Gateway(gateway) = &gateway.spec {
                labels.gateways.extend(gateway.selector.keys().cloned());
            }
        }
        labels.filters.extend(mesh.envoy_filters.iter().flat_map(|filter| filter.labels()).map(str::to_owned));
        for service in mesh.services.all() {
            let ranks = match service.traffic_distribution {
                TrafficDistribution::Any => continue,
                TrafficDistribution::PreferSameZone => SAME_ZONE,
                TrafficDistribution::PreferSameNode => SAME_NODE,
            };
            labels.ranks.extend(ranks.iter().map(|name| (*name).to_owned()));
        }
        let config = &mesh.config;
        labels.add_ranks(config.locality_lb_setting.iter().flat_map(|setting| &setting.failover_priority));
        labels.add_ranks(config.zone_aware_lb_setting.iter().flat_map(|setting| &setting.failover_priority));
        labels
    }

    /// Whether a change of the mesh may be one of them.
    pub fn may_differ(changes: &Changes) -> bool {
        changes.everything
            || !changes.virtual_services.is_empty()
            || !changes.destination_rules.is_empty()
            || !changes.gateways.is_empty()
            || !changes.envoy_filters.is_empty()
            || !changes.services.is_empty()
    }

    fn add_virtual_service(&mut self, rule: &VirtualService) {
        let http = rule.http.iter().flat_map(|rule| &rule.spec.r#match).map(|condition| &condition.source_labels);
        let tls = rule.tls.iter().flat_map(|rule| &rule.spec.r#match).map(|condition| &condition.source_labels);
        let tcp = rule.tcp.iter().flat_map(|rule| &rule.spec.r#match).map(|condition| &condition.source_labels);
        self.sources.extend(http.chain(tls).chain(tcp).flat_map(BTreeMap::keys).cloned());
    }

    fn add_destination_rule(&mut self, rule: &DestinationRule) {
        if let Some(selector) = &rule.selector {
            self.selectors.entry(rule.namespace.clone()).or_default().extend(selector.keys().cloned());
        }
        let of_subsets = rule.subsets.iter().filter_map(|(subset, _)| subset.traffic_policy.as_ref());
        rule.policy.iter().chain(of_subsets).for_each(|policy| self.add_policy(policy));
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
                || (proxy.kind == ProxyKind::Router && self.gateways.contains(name))
        };
        proxy.labels.iter().filter(|(name, _)| counts(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// What proxies have in common that get the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClassKey {
    /// A proxy that has nothing else.
    proxy: Proxy,
    /// Its labels by which instances are ranked.
    ranks: LabelMap,
    /// The namespace and name of its Sidecar.
    sidecar: Option<(String, String)>,
    /// The services that a gateway is an instance of, by host name and namespace, with their ports and its own.
    instances: Vec<(Arc<str>, Arc<str>, u16, u16)>,
}

impl ClassKey {
    /// The class of a proxy, in a mesh whose rules look at these labels.
    pub fn of(mesh: &MeshSnapshot, labels: &Labels, proxy: &Proxy) -> Self {
        let sidecar = mesh.scope(proxy).sidecar.as_ref().map(|sidecar| {
            let meta = &sidecar.object.meta;
            (meta.namespace.clone(), meta.name.clone())
        });
        let mut ranks = if labels.ranks.is_empty() { LabelMap::new() } else { mesh.labels_of(proxy) };
        ranks.retain(|name, _| labels.ranks.contains(name));
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
                addresses: vec![own_address(mesh, proxy)],
                locality: mesh.locality_of(proxy),
                interception: proxy.interception,
            },
            ranks,
            sidecar,
            instances: instances.collect(),
        }
    }

    pub(super) fn context<'m>(&'m self, mesh: &'m MeshSnapshot, scope: Arc<Scope>) -> Context<'m> {
        Context::of_class(mesh, &self.proxy, scope, self.ranks.clone())
    }
}

/// An instance of a service without an address has a listener for each of the others, and none for itself.
fn own_address(mesh: &MeshSnapshot, proxy: &Proxy) -> String {
    if proxy.kind == ProxyKind::Router || proxy.interception == Interception::None {
        return String::new();
    }
    let is_headless = mesh.instances_of(proxy).iter().any(|(service, _)| service.resolution == Resolution::Passthrough);
    if is_headless { proxy.address().to_owned() } else { String::new() }
}
