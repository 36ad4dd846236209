//! DestinationRules: which one counts for a service, and what it says for one of its ports and subsets.
//!
//! Facts: pilot/pkg/model/push_context.go and destination_rule.go of Istio.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::resources::destination_rule::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule as Written, OutlierDetection, PortTrafficPolicy, ProxyProtocol, RetryBudget,
    Subset, TrafficPolicy, TunnelSettings,
};
use weir_api::resources::load_balancer::LoadBalancerSettings;
use weir_api::{Diagnostic, FieldPath, Object, Severity, Spec};

use crate::host::{by_specificity, expand, is_subset, is_wildcard};
use crate::proxy::{Proxy, selects};
use crate::rule::{Origin, by_age};
use crate::visibility::Visibility;

/// A DestinationRule, or several for one host that were merged.
#[derive(Debug, Clone)]
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

    /// Whether another rule for the same host is for just the same proxies.
    fn is_one_with(&self, other: &Self) -> bool {
        self.selector == other.selector && self.visibility == other.visibility
    }
}

/// The rules of one namespace, by host.
#[derive(Debug, Default)]
struct ByHost {
    exact: HashMap<String, Vec<Arc<DestinationRule>>>,
    wildcards: Vec<(String, Vec<Arc<DestinationRule>>)>,
}

impl ByHost {
    fn of_host_mut(&mut self, host: &str) -> &mut Vec<Arc<DestinationRule>> {
        if !is_wildcard(host) {
            return self.exact.entry(host.to_owned()).or_default();
        }
        let position = match self.wildcards.binary_search_by(|(known, _)| by_specificity(known, host)) {
            Ok(position) => position,
            Err(position) => {
                self.wildcards.insert(position, (host.to_owned(), vec![]));
                position
            }
        };
        &mut self.wildcards[position].1
    }

    fn of_host(&self, host: &str) -> Option<&Vec<Arc<DestinationRule>>> {
        let wildcard = || self.wildcards.iter().find(|(known, _)| known == host).map(|(_, rules)| rules);
        self.exact.get(host).or_else(wildcard)
    }

    /// The rules of the most specific host that covers a service's.
    fn find(&self, host: &str) -> Option<&Vec<Arc<DestinationRule>>> {
        let wildcard = || self.wildcards.iter().find(|(known, _)| is_subset(host, known)).map(|(_, rules)| rules);
        self.exact.get(host).or_else(wildcard)
    }
}

/// All DestinationRules of a mesh.
#[derive(Debug, Default)]
pub struct DestinationRules {
    /// What of them has no effect, since older ones for the same host say it already.
    pub findings: Vec<Diagnostic>,
    root: String,
    /// For proxies of the same namespace.
    local: HashMap<String, ByHost>,
    /// Private ones of the root namespace, for proxies of it.
    root_local: ByHost,
    /// For proxies of other namespaces.
    exported: HashMap<String, ByHost>,
}

impl DestinationRules {
    /// Reads all DestinationRules, and merges those of one host.
    pub fn build(objects: &[Arc<Object>], mesh: &MeshConfig, domain: &str) -> Self {
        let mut of_kind: Vec<(&Arc<Object>, &Written)> = objects
            .iter()
            .filter_map(|object| match &object.spec {
                Spec::DestinationRule(written) => Some((object, &**written)),
                _ => None,
            })
            .collect();
        // Those for certain workloads go first, then the older ones.
        of_kind.sort_by(|(a, a_rule), (b, b_rule)| {
            a_rule.workload_selector.is_none().cmp(&b_rule.workload_selector.is_none()).then_with(|| by_age(a, b))
        });
        let mut rules = Self { root: mesh.root_namespace.clone(), ..Self::default() };
        for (object, written) in of_kind {
            rules.add(read(object, written, mesh, domain));
        }
        rules
    }

    fn add(&mut self, rule: DestinationRule) {
        let namespace = rule.namespace.clone();
        // One that is exported to others alone does not even count at home.
        let is_local = rule.visibility.allows(&namespace);
        let same = if is_local { &self.local } else { &self.exported };
        let same = same.get(&namespace).and_then(|rules| rules.of_host(&rule.host)).into_iter().flatten();
        self.findings.extend(same.filter(|known| known.is_one_with(&rule)).flat_map(|known| outdone(known, &rule)));
        if is_local {
            merge_into(self.local.entry(namespace.clone()).or_default().of_host_mut(&rule.host), &rule);
        }
        if !rule.visibility.is_private_to(&namespace) {
            merge_into(self.exported.entry(namespace).or_default().of_host_mut(&rule.host), &rule);
        } else if namespace == self.root {
            merge_into(self.root_local.of_host_mut(&rule.host), &rule);
        }
    }

    /// All of them, as they were merged for one namespace or another.
    pub fn all(&self) -> impl Iterator<Item = &Arc<DestinationRule>> {
        fn of(rules: &ByHost) -> impl Iterator<Item = &Arc<DestinationRule>> {
            rules.exact.values().chain(rules.wildcards.iter().map(|(_, rules)| rules)).flatten()
        }
        self.local.values().chain(self.exported.values()).chain([&self.root_local]).flat_map(of)
    }

    /// The rule that a proxy follows for a service: of the proxy's namespace, else the service's, else the root
    /// namespace's. The first that has any for the host decides; nothing is inherited between them.
    pub fn find(&self, proxy: &Proxy, host: &str, service_namespace: &str) -> Option<&Arc<DestinationRule>> {
        let own = match proxy.namespace == self.root {
            true => self.root_local.find(host),
            false => self.local.get(&proxy.namespace).and_then(|rules| rules.find(host)),
        };
        if let Some(rules) = own {
            return choose(rules.iter(), proxy);
        }
        let exported = |namespace: &str| {
            let rules = self.exported.get(namespace)?.find(host)?;
            let visible: Vec<&Arc<DestinationRule>> = rules.iter().filter(|rule| rule.visibility.allows(&proxy.namespace)).collect();
            (!visible.is_empty()).then(|| choose(visible.into_iter(), proxy))
        };
        exported(service_namespace).or_else(|| exported(&self.root)).flatten()
    }
}

/// The first rule for just this workload, else the last for all.
fn choose<'r>(rules: impl Iterator<Item = &'r Arc<DestinationRule>> + Clone, proxy: &Proxy) -> Option<&'r Arc<DestinationRule>> {
    let for_this = |rule: &&Arc<DestinationRule>| {
        rule.namespace == proxy.namespace && rule.selector.as_ref().is_some_and(|selector| selects(selector, &proxy.labels))
    };
    rules.clone().find(for_this).or_else(|| rules.filter(|rule| rule.selector.is_none()).last())
}

fn read(object: &Arc<Object>, written: &Written, mesh: &MeshConfig, domain: &str) -> DestinationRule {
    let namespace = &object.meta.namespace;
    let selector = written.workload_selector.as_ref().map(|selector| selector.match_labels.clone());
    let place = |i: usize| Origin::new(object, FieldPath::default().key("spec").key("subsets").index(i));
    DestinationRule {
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

/// Adds a rule to those of its host: to an older one that the same namespaces may see, or beside it.
fn merge_into(rules: &mut Vec<Arc<DestinationRule>>, new: &DestinationRule) {
    let mut separate = true;
    for known in rules.iter_mut() {
        if known.selector != new.selector || !new.visibility.covers(&known.visibility) {
            continue;
        }
        separate &= known.visibility != new.visibility;
        let known = Arc::make_mut(known);
        for (subset, origin) in &new.subsets {
            if known.subset(&subset.name).is_none() {
                known.subsets.push((subset.clone(), origin.clone()));
            }
        }
        if known.policy.is_none() {
            known.policy.clone_from(&new.policy);
        }
        known.objects.extend(new.objects.iter().cloned());
    }
    if separate {
        rules.push(Arc::new(new.clone()));
    }
}

/// What of a rule has no effect beside an older one for the same host and proxies.
fn outdone(known: &DestinationRule, new: &DestinationRule) -> Vec<Diagnostic> {
    let warning = |origin: &Origin, message: String| origin.object.diagnostic(Severity::Warning, origin.path.clone(), message);
    let older = known.objects.first().map_or("", |object| object.meta.name.as_str());
    let is_taken = |(subset, _): &&(Subset, Origin)| known.subset(&subset.name).is_some();
    let subsets = new.subsets.iter().filter(is_taken).map(|(subset, origin)| {
        let message = format!("{older}, which is for the same host, defines the subset {} already: this one has no effect", subset.name);
        warning(origin, message)
    });
    let policy = new.objects.first().filter(|_| known.policy.is_some() && new.policy.is_some()).map(|object| {
        let origin = Origin::new(object, FieldPath::default().key("spec").key("trafficPolicy"));
        warning(&origin, format!("{older}, which is for the same host, has a trafficPolicy already: this one has no effect"))
    });
    subsets.chain(policy).collect()
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
