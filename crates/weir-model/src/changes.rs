//! What of a mesh is not as it was: how one snapshot differs from an earlier one.
//!
//! Whoever keeps something that was made of a snapshot makes anew what depends on a name that is listed here; everything
//! else of the newer snapshot is the older one's, pointer by pointer. Names are those before and after the change: what is
//! gone is listed too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::proxy::Proxy;
use crate::service::ServiceKey;

/// The namespace and name of an object.
pub type Name = (String, String);

/// What findings are kept by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A VirtualService that has hosts.
    VirtualService(Name),
    /// The DestinationRules of a namespace that are about one host: the namespace and the host.
    DestinationRules(String, String),
    /// The PeerAuthentications of a namespace.
    PeerAuthentications(String),
}

/// How a snapshot differs from an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The version of the earlier snapshot.
    pub previous: u64,
    /// Whether nobody knows what changed: all that was made of the earlier snapshot is to be made anew.
    pub everything: bool,
    /// Services whose definition changed: ports, addresses, names, who may see them. Not their instances, though these stand in the
    /// same ServiceEntry.
    pub services: BTreeSet<ServiceKey>,
    /// Services whose instances changed, or the health of these.
    pub endpoints: BTreeSet<ServiceKey>,
    /// Those of `endpoints` whose instances proxies are told in clusters and listeners too, and not by EDS alone: they are
    /// found by name, reached at their own addresses, or not those as whom their clients know them.
    pub named_instances: BTreeSet<ServiceKey>,
    /// VirtualServices that have hosts, with their hosts. A delegate's change is one of those that delegate to it.
    pub virtual_services: BTreeMap<Name, BTreeSet<String>>,
    /// DestinationRules, by namespace and host.
    pub destination_rules: BTreeSet<(String, String)>,
    /// Gateways.
    pub gateways: BTreeSet<Name>,
    /// Sidecars.
    pub sidecars: BTreeSet<Name>,
    /// EnvoyFilters.
    pub envoy_filters: BTreeSet<Name>,
    /// RequestAuthentications, and those for which other keys were fetched.
    pub request_authentications: BTreeSet<Name>,
    /// AuthorizationPolicies.
    pub authorization_policies: BTreeSet<Name>,
    /// PeerAuthentications.
    pub peer_authentications: BTreeSet<Name>,
    /// Secrets.
    pub secrets: BTreeSet<Name>,
    /// WorkloadGroups.
    pub groups: BTreeSet<Name>,
    /// WorkloadEntries and Pods of which anything changed, their health included.
    pub workloads: BTreeSet<Name>,
    /// Addresses at which something other than health changed: a workload there, or what services have an instance there.
    pub addresses: BTreeSet<String>,
    /// What has other findings than before.
    pub findings: BTreeSet<Subject>,
}

impl Changes {
    /// Nothing is known of the earlier snapshot, or there was none.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether the two snapshots are the same to everybody.
    pub fn is_empty(&self) -> bool {
        *self == Self { previous: self.previous, ..Self::default() }
    }

    /// Whether nothing changed but instances and their health, as EDS tells them. What a proxy gets by other types is as
    /// it was, unless this [concerns](Self::concerns) the proxy.
    pub fn only_endpoints(&self) -> bool {
        !self.everything
            && self.services.is_empty()
            && self.named_instances.is_empty()
            && self.virtual_services.is_empty()
            && self.destination_rules.is_empty()
            && self.gateways.is_empty()
            && self.sidecars.is_empty()
            && self.envoy_filters.is_empty()
            && self.request_authentications.is_empty()
            && self.authorization_policies.is_empty()
            && self.peer_authentications.is_empty()
            && self.secrets.is_empty()
            && self.groups.is_empty()
    }

    /// Whether nothing changed but VirtualServices, and instances as EDS tells them.
    pub fn only_rules_and_endpoints(&self) -> bool {
        let Self { virtual_services: _, endpoints: _, .. } = self;
        Self { virtual_services: BTreeMap::new(), ..self.clone() }.only_endpoints()
    }

    /// Whether nothing changed but Secrets.
    pub fn only_secrets(&self) -> bool {
        !self.secrets.is_empty() && self.endpoints.is_empty() && Self { secrets: BTreeSet::new(), ..self.clone() }.only_endpoints()
    }

    /// Whether the proxy's own workload may have changed: what services it is an instance of, its labels, where it runs.
    pub fn concerns(&self, proxy: &Proxy) -> bool {
        let own = (proxy.namespace.as_str(), proxy.name.as_str());
        self.everything
            || proxy.addresses.iter().any(|address| self.addresses.contains(address))
            || self.workloads.iter().any(|(namespace, name)| (namespace.as_str(), name.as_str()) == own)
    }

    /// Adds what changed after these.
    pub fn extend(&mut self, later: &Self) {
        self.everything |= later.everything;
        self.services.extend(later.services.iter().cloned());
        self.endpoints.extend(later.endpoints.iter().cloned());
        self.named_instances.extend(later.named_instances.iter().cloned());
        for (name, hosts) in &later.virtual_services {
            self.virtual_services.entry(name.clone()).or_default().extend(hosts.iter().cloned());
        }
        self.destination_rules.extend(later.destination_rules.iter().cloned());
        self.gateways.extend(later.gateways.iter().cloned());
        self.sidecars.extend(later.sidecars.iter().cloned());
        self.envoy_filters.extend(later.envoy_filters.iter().cloned());
        self.request_authentications.extend(later.request_authentications.iter().cloned());
        self.authorization_policies.extend(later.authorization_policies.iter().cloned());
        self.peer_authentications.extend(later.peer_authentications.iter().cloned());
        self.secrets.extend(later.secrets.iter().cloned());
        self.groups.extend(later.groups.iter().cloned());
        self.workloads.extend(later.workloads.iter().cloned());
        self.addresses.extend(later.addresses.iter().cloned());
        self.findings.extend(later.findings.iter().cloned());
    }
}

/// So many snapshots a reader may have missed and still be told what changed.
const REMEMBERED: usize = 64;

/// The last changes of a mesh: those that led to each of its last snapshots.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(VecDeque<Arc<Changes>>);

impl History {
    /// These, and one more.
    pub fn with(&self, changes: Arc<Changes>) -> Self {
        let mut all = self.0.clone();
        all.push_back(changes);
        while all.len() > REMEMBERED {
            all.pop_front();
        }
        Self(all)
    }

    /// These, with others in the place of the last ones.
    pub fn with_last(mut self, changes: Arc<Changes>) -> Self {
        self.0.pop_back();
        self.0.push_back(changes);
        self
    }

    /// All that changed since a version; none if that is too long ago.
    pub fn since(&self, version: u64) -> Option<Changes> {
        let begin = self.0.iter().position(|changes| changes.previous == version)?;
        let mut since = Changes { previous: version, ..Changes::default() };
        self.0.iter().skip(begin).for_each(|changes| since.extend(changes));
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(previous: u64, host: &str) -> Arc<Changes> {
        Arc::new(Changes { previous, endpoints: [(host.into(), "shop".into())].into(), ..Changes::default() })
    }

    #[test]
    fn a_reader_that_missed_snapshots_is_told_all_that_changed_since() {
        let history = History::default().with(endpoint(0, "a")).with(endpoint(1, "b")).with(endpoint(2, "c"));
        let hosts = |since: Changes| since.endpoints.iter().map(|(host, _)| host.to_string()).collect::<String>();
        assert_eq!(history.since(1).map(hosts).as_deref(), Some("bc"));
        assert!(history.since(3).is_none());
        let long = (0..200).fold(History::default(), |history, version| history.with(endpoint(version, "a")));
        assert!(long.since(100).is_none() && long.since(199).is_some_and(|changes| changes.only_endpoints()));
    }

    #[test]
    fn instances_alone_are_told_by_eds_unless_they_stand_in_clusters_too() {
        let mut changes = Changes::clone(&endpoint(0, "a"));
        changes.workloads.insert(("shop".to_owned(), "w".to_owned()));
        assert!(changes.only_endpoints() && !changes.is_empty());
        changes.named_instances = changes.endpoints.clone();
        assert!(!changes.only_endpoints());
        assert!(!Changes::everything().only_endpoints() && Changes { previous: 3, ..Changes::default() }.is_empty());
    }
}
