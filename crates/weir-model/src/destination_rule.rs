//! DestinationRules: what one says for a port and a subset of a service.
//!
//! Facts: pilot/pkg/model/destination_rule.go of Istio.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::resources::destination_rule::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule as Written, OutlierDetection, PortTrafficPolicy, ProxyProtocol, RetryBudget,
    Subset, TrafficPolicy, TunnelSettings,
};
use weir_api::resources::load_balancer::LoadBalancerSettings;
use weir_api::{FieldPath, Object};

use crate::host::expand;
use crate::rule::Origin;
use crate::visibility::Visibility;

/// A DestinationRule, or several for one host that were merged.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationRule {
    /// The host, in full.
    pub host: String,
    /// Its namespace.
    pub namespace: String,
    /// What counts for all subsets that say nothing themselves.
    pub policy: Option<TrafficPolicy>,
    /// The subsets, each with its place.
    pub subsets: Vec<(Subset, Origin)>,
    /// The labels of the workloads whose proxies it is for; of all if there are none.
    pub selector: Option<BTreeMap<String, String>>,
    /// Who may see it.
    pub visibility: Visibility,
    /// The objects that it was made of, the first one first.
    pub objects: Vec<Arc<Object>>,
}

impl DestinationRule {
    /// The subset of that name.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().map(|(subset, _)| subset).find(|subset| subset.name == name)
    }

    pub(crate) fn read(object: &Arc<Object>, written: &Written, mesh: &MeshConfig, domain: &str) -> Self {
        let namespace = &object.meta.namespace;
        let selector = written.workload_selector.as_ref().map(|selector| selector.match_labels.clone());
        let place = |i: usize| Origin::new(object, FieldPath::default().key("spec").key("subsets").index(i));
        Self {
            host: expand(&written.host, namespace, domain),
            namespace: namespace.clone(),
            policy: written.traffic_policy.clone(),
            subsets: written.subsets.iter().enumerate().map(|(i, subset)| (subset.clone(), place(i))).collect(),
            visibility: match selector {
                Some(_) => Visibility::private(namespace),
                None => Visibility::parse(&written.export_to, namespace, &mesh.default_destination_rule_export_to),
            },
            selector,
            objects: vec![object.clone()],
        }
    }

    /// Whether another rule for the same host is for just the same proxies.
    pub(crate) fn is_one_with(&self, other: &Self) -> bool {
        self.selector == other.selector && self.visibility == other.visibility
    }
}

/// What counts for one port of a service, or of one of its subsets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EffectivePolicy {
    /// How instances are chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When instances are left out.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the instances.
    pub tls: Option<ClientTlsSettings>,
    /// A tunnel towards the instances.
    pub tunnel: Option<TunnelSettings>,
    /// The PROXY protocol towards the instances.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How many retries at a time.
    pub retry_budget: Option<RetryBudget>,
}

impl EffectivePolicy {
    /// What a rule says for a port, of a subset if one is named. What it leaves open, the mesh's default policy fills.
    pub fn new(rule: Option<&DestinationRule>, subset: Option<&Subset>, port: u16, mesh: &MeshConfig) -> Self {
        let mut policy = Self::at_port(rule.and_then(|rule| rule.policy.as_ref()), port);
        if let Some(own) = subset.and_then(|subset| subset.traffic_policy.as_ref()) {
            let has_port = port_settings(own, port).is_some();
            policy.replace_with(Self::at_port(Some(own), port), has_port);
        }
        if let Some(default) = &mesh.default_traffic_policy {
            policy.connection_pool = policy.connection_pool.or_else(|| default.connection_pool.clone());
            policy.outlier_detection = policy.outlier_detection.or_else(|| default.outlier_detection.clone());
        }
        policy
    }

    /// One level's policy. Settings of the port take the place of the level's as a whole: what they leave out is
    /// not inherited.
    fn at_port(policy: Option<&TrafficPolicy>, port: u16) -> Self {
        let Some(policy) = policy else { return Self::default() };
        let level = Self {
            load_balancer: policy.load_balancer.clone(),
            connection_pool: policy.connection_pool.clone(),
            outlier_detection: policy.outlier_detection.clone(),
            tls: policy.tls.clone(),
            tunnel: policy.tunnel.clone(),
            proxy_protocol: policy.proxy_protocol.clone(),
            retry_budget: policy.retry_budget.clone(),
        };
        match port_settings(policy, port) {
            None => level,
            Some(own) => Self {
                load_balancer: own.load_balancer.clone(),
                connection_pool: own.connection_pool.clone(),
                outlier_detection: own.outlier_detection.clone(),
                tls: own.tls.clone(),
                ..level
            },
        }
    }

    /// Takes over, block by block, what a subset says. If it has settings of the port, nothing is inherited of the
    /// blocks that those may hold.
    fn replace_with(&mut self, other: Self, has_port: bool) {
        fn take<T>(own: &mut Option<T>, other: Option<T>, whole: bool) {
            if other.is_some() || whole {
                *own = other;
            }
        }
        take(&mut self.load_balancer, other.load_balancer, has_port);
        take(&mut self.connection_pool, other.connection_pool, has_port);
        take(&mut self.outlier_detection, other.outlier_detection, has_port);
        take(&mut self.tls, other.tls, has_port);
        take(&mut self.tunnel, other.tunnel, false);
        take(&mut self.proxy_protocol, other.proxy_protocol, false);
        take(&mut self.retry_budget, other.retry_budget, false);
    }
}

/// The settings of one level's policy for a port.
fn port_settings(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    policy.port_level_settings.iter().find(|own| own.port.as_ref().is_some_and(|own| own.number == u32::from(port)))
}
