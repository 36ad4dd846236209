//! Which instances a proxy prefers by where they run: priorities and weights of localities, and what the cluster
//! says of them.
//!
//! A DestinationRule goes before the service's own traffic distribution, that before the mesh's setting.
//!
//! Facts: pilot/pkg/networking/core/loadbalancer/loadbalancer.go and `applyLocalityLoadBalancer` of Istio.

mod shares;
mod tiers;

use weir_api::resources::load_balancer::{Failover, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting};
use weir_model::{EffectivePolicy, Endpoint, Service, TrafficDistribution, topology};
use weir_xds::cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig};
use weir_xds::core;
use weir_xds::endpoint::{LbEndpoint, LocalityLbEndpoints};

use crate::context::Context;
use shares::Shares;
use tiers::{Kept, Label, Tiers};

/// What traffic distribution goes by.
pub(crate) const SAME_ZONE: &[&str] = &[topology::NETWORK, topology::REGION, topology::ZONE];
pub(crate) const SAME_NODE: &[&str] = &[topology::NETWORK, topology::REGION, topology::ZONE, topology::SUBZONE, topology::NODE];

/// The instances of one locality.
pub(crate) struct Group<'e> {
    /// `region/zone/subzone`.
    pub locality: &'e str,
    pub instances: Vec<(&'e Endpoint, LbEndpoint)>,
}

impl Group<'_> {
    fn weight(&self) -> u32 {
        self.instances.iter().filter_map(|(_, endpoint)| endpoint.load_balancing_weight).fold(0, u32::saturating_add)
    }

    fn finish(self, weight: u32, priority: u32) -> LocalityLbEndpoints {
        let [region, zone, sub_zone] = topology::parts(self.locality).map(str::to_owned);
        LocalityLbEndpoints {
            locality: Some(core::Locality { region, zone, sub_zone }),
            load_balancing_weight: Some(weight),
            lb_endpoints: self.instances.into_iter().map(|(_, endpoint)| endpoint).collect(),
            priority,
            ..Default::default()
        }
    }
}

/// What a proxy prefers among the instances of a cluster.
#[derive(Default)]
pub(crate) struct Preference<'p> {
    rule: Rule<'p>,
    /// What the cluster says of localities.
    pub of_cluster: Option<LocalityConfigSpecifier>,
}

#[derive(Default)]
enum Rule<'p> {
    #[default]
    Nothing,
    Shares(Shares<'p>),
    Tiers(Tiers<'p>),
}

impl<'p> Preference<'p> {
    /// What counts for a cluster of a service. Without outlier detection no instance is found to be unhealthy, and
    /// nothing could fail over: then only shares count, and what is asked for expressly.
    pub fn new(context: &'p Context<'_>, policy: &'p EffectivePolicy, service: &Service) -> Self {
        let balancer = policy.load_balancer.as_ref();
        let fails_over = policy.outlier_detection.is_some();
        if let Some(zones) = in_force(balancer.and_then(|balancer| balancer.zone_aware_lb_setting.as_ref())) {
            return Self::by_zones(context, zones);
        }
        if let Some(setting) = balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref()) {
            return Self::by_setting(context, setting, fails_over);
        }
        match service.traffic_distribution {
            TrafficDistribution::PreferSameZone => return Self::by_labels(context, SAME_ZONE),
            TrafficDistribution::PreferSameNode => return Self::by_labels(context, SAME_NODE),
            TrafficDistribution::Any => {}
        }
        let mesh = &context.mesh.config;
        if let Some(zones) = in_force(mesh.zone_aware_lb_setting.as_ref()) {
            return Self::by_zones(context, zones);
        }
        match &mesh.locality_lb_setting {
            Some(setting) => Self::by_setting(context, setting, fails_over),
            None if fails_over => Self::tiers(context, vec![], Kept::Localities, &[], None),
            None => Self::default(),
        }
    }

    fn by_setting(context: &'p Context<'_>, setting: &'p LocalityLoadBalancerSetting, fails_over: bool) -> Self {
        if setting.enabled == Some(false) {
            return Self::default();
        }
        if !setting.distribute.is_empty() {
            let shares = Shares { from: &context.locality, all: &setting.distribute };
            return Self { rule: Rule::Shares(shares), of_cluster: Some(weighted()) };
        }
        if !fails_over {
            return Self::default();
        }
        let is_written = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
        // Labels replace localities, unless there is something to say of regions, too.
        let kept = match setting.failover.is_empty() && !setting.failover_priority.is_empty() {
            true => Kept::Nothing,
            false => Kept::Localities,
        };
        let labels = labels(&setting.failover_priority);
        Self::tiers(context, labels, kept, &setting.failover, is_written.then(weighted))
    }

    /// Whether or not unhealthy instances are found out.
    fn by_labels(context: &'p Context<'_>, names: &'static [&'static str]) -> Self {
        let labels = names.iter().map(|name| Label { name, value: None }).collect();
        Self::tiers(context, labels, Kept::Nothing, &[], Some(weighted()))
    }

    /// Regions are kept apart, whether or not unhealthy instances are found out. Within one, the proxy decides.
    fn by_zones(context: &'p Context<'_>, zones: &'p ZoneAwareLoadBalancerSetting) -> Self {
        let config = ZoneAwareLbConfig { min_cluster_size: zones.min_cluster_size.map(u64::from), ..Default::default() };
        let of_cluster = LocalityConfigSpecifier::ZoneAwareLbConfig(config);
        Self::tiers(context, labels(&zones.failover_priority), Kept::Regions, &zones.failover, Some(of_cluster))
    }

    fn tiers(
        context: &'p Context<'_>,
        labels: Vec<Label<'p>>,
        kept: Kept,
        failover: &'p [Failover],
        of_cluster: Option<LocalityConfigSpecifier>,
    ) -> Self {
        let tiers = Tiers { from: &context.locality, own: &context.labels, labels, kept, failover };
        Self { rule: Rule::Tiers(tiers), of_cluster }
    }

    /// Gives groups their weights and priorities; leaves out those that get nothing.
    pub fn arrange(&self, groups: Vec<Group<'_>>) -> Vec<LocalityLbEndpoints> {
        match &self.rule {
            Rule::Nothing => as_they_are(groups),
            Rule::Shares(shares) => shares.arrange(groups),
            Rule::Tiers(tiers) => tiers.arrange(groups),
        }
    }
}

fn as_they_are(groups: Vec<Group<'_>>) -> Vec<LocalityLbEndpoints> {
    let finish = |group: Group<'_>| {
        let weight = group.weight();
        group.finish(weight, 0)
    };
    groups.into_iter().map(finish).collect()
}

fn in_force(setting: Option<&ZoneAwareLoadBalancerSetting>) -> Option<&ZoneAwareLoadBalancerSetting> {
    setting.filter(|setting| setting.enabled != Some(false))
}

/// `name` or `name=value`.
fn labels(written: &[String]) -> Vec<Label<'_>> {
    written
        .iter()
        .map(|label| match label.split_once('=') {
            Some((name, value)) => Label { name, value: Some(value) },
            None => Label { name: label, value: None },
        })
        .collect()
}

fn weighted() -> LocalityConfigSpecifier {
    LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig::default())
}
