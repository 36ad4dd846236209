//! The whole mesh at one moment: immutable, and cheap to share.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::{Kind, Object, ObjectChange, ObjectKey, Spec};

use crate::authorization_policy::AuthorizationPolicy;
use crate::by_age;
use crate::changes::{Changes, History, Name, Subject};
use crate::destination_rules::DestinationRules;
use crate::envoy_filter::{self, EnvoyFilter};
use crate::gateway::MergedGateway;
use crate::identity::Identity;
use crate::ingress;
use crate::peer_authentication::PeerAuthentications;
use crate::proxy::{Proxy, ProxyKind};
use crate::registry::workload::Workload;
use crate::registry::workloads::Workloads;
use crate::registry::{Services, Settings};
use crate::request_authentication::{self, FetchedKeys, KeyAddress, RequestAuthentication};
use crate::scope::{Mesh, Scope};
use crate::scopes::{Scopes, Touched};
use crate::service::{Endpoint, Service};
use crate::sidecar::{Sidecar, sidecar_of};
use crate::topology;
use crate::tree::{Tree, put};
use crate::virtual_services::VirtualServices;
use crate::workload_group::{Probe, WorkloadGroups, WorkloadHealth, WorkloadKey, key};

/// The domain of the mesh, unless it is told otherwise.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// A mesh at one moment. What did not change since the moment before is the same, pointer by pointer.
#[derive(Debug)]
pub struct MeshSnapshot {
    /// Counts the snapshots of a mesh.
    pub version: u64,
    /// How it differs from the snapshot before it, whose version is [`Changes::previous`].
    pub changes: Arc<Changes>,
    /// The same of the last ones.
    history: History,
    /// What holds for all of it.
    pub config: Arc<MeshConfig>,
    /// The domain of its host names.
    pub domain: String,
    /// Its workloads.
    pub workloads: Workloads,
    /// Its services and their instances.
    pub services: Services,
    /// Its VirtualServices.
    pub virtual_services: VirtualServices,
    /// Its DestinationRules.
    pub destination_rules: DestinationRules,
    /// Its Gateways, from the oldest to the youngest.
    pub gateways: Arc<[Arc<Object>]>,
    /// Its Sidecars, from the oldest to the youngest.
    pub sidecars: Arc<[Sidecar]>,
    /// Its EnvoyFilters, in the order in which they are applied: by priority, those of the root namespace first, then by age.
    pub envoy_filters: Arc<[EnvoyFilter]>,
    /// Its RequestAuthentications, from the oldest to the youngest.
    pub request_authentications: Arc<[RequestAuthentication]>,
    /// The keys that were fetched for these.
    pub fetched_keys: Arc<FetchedKeys>,
    /// Its AuthorizationPolicies, from the oldest to the youngest.
    pub authorization_policies: Arc<[AuthorizationPolicy]>,
    /// Its PeerAuthentications.
    pub peer_authentications: PeerAuthentications,
    /// Its Secrets, by namespace and name.
    pub secrets: Tree<Name, Arc<Object>>,
    /// Its WorkloadGroups.
    pub groups: WorkloadGroups,
    scopes: Scopes,
}

impl MeshSnapshot {
    /// Reads a mesh from all of its objects, each key once. Objects that are no part of a mesh are passed over.
    /// Whether a workload takes requests is known of those that say so themselves; all others do.
    pub fn new(objects: &[Arc<Object>], config: Arc<MeshConfig>, domain: &str) -> Self {
        Self::with_health(objects, None, config, domain)
    }

    /// The same of a mesh that runs: of those that are probed, only the workloads take requests that are healthy. Without
    /// `health` nobody probes.
    pub fn with_health(objects: &[Arc<Object>], health: Option<&WorkloadHealth>, config: Arc<MeshConfig>, domain: &str) -> Self {
        let mut known = HashSet::new();
        let first = objects.iter().filter(|object| known.insert(object.key()));
        let added: Vec<ObjectChange> = first.map(|object| ObjectChange::added(object.clone())).collect();
        let changes = Arc::new(Changes::everything());
        let history = History::default().with(changes.clone());
        Self { changes, history, ..Self::empty(config, domain).update(&added, health, &[]) }
    }

    /// The mesh after a change of what holds for all of it: read anew from all of its objects, since all of it may depend on that. What
    /// was made of the snapshots before is to be made anew, too.
    #[must_use]
    pub fn reconfigured(&self, objects: &[Arc<Object>], health: Option<&WorkloadHealth>, config: Arc<MeshConfig>) -> Self {
        let next = Self::with_health(objects, health, config, &self.domain);
        let findings = self.subjects().chain(next.subjects()).collect();
        let changes = Arc::new(Changes { previous: self.version, findings, ..Changes::everything() });
        let history = History::default().with(changes.clone());
        Self { version: self.version + 1, changes, history, ..next }
    }

    /// The parts of the mesh of which something is to be said.
    fn subjects(&self) -> impl Iterator<Item = Subject> {
        let of_rules = self.virtual_services.with_findings().map(|name| Subject::VirtualService(name.clone()));
        let of_policies = self.destination_rules.with_findings();
        let of_policies = of_policies.map(|(namespace, host)| Subject::DestinationRules(namespace.clone(), host.clone()));
        let of_peers = self.peer_authentications.with_findings().map(|namespace| Subject::PeerAuthentications(namespace.clone()));
        of_rules.chain(of_policies).chain(of_peers)
    }

    /// A mesh without any object.
    fn empty(config: Arc<MeshConfig>, domain: &str) -> Self {
        Self {
            version: 0,
            changes: Arc::default(),
            history: History::default(),
            domain: domain.to_owned(),
            workloads: Workloads::default(),
            services: Services::default(),
            virtual_services: VirtualServices::default(),
            destination_rules: DestinationRules::new(&config.root_namespace),
            gateways: Arc::default(),
            sidecars: Arc::default(),
            envoy_filters: Arc::default(),
            request_authentications: Arc::default(),
            fetched_keys: Arc::default(),
            authorization_policies: Arc::default(),
            peer_authentications: PeerAuthentications::default(),
            secrets: Tree::default(),
            groups: WorkloadGroups::default(),
            scopes: Scopes::default(),
            config,
        }
    }

    /// The mesh after a change of some objects, and of the health of some workloads. It equals one that is read from all
    /// of the newest objects; it costs what depends on those that changed.
    pub fn update(&self, objects: &[ObjectChange], health: Option<&WorkloadHealth>, flipped: &[WorkloadKey]) -> Self {
        let derived = ingress::derived(objects);
        let objects = if derived.is_empty() { Cow::Borrowed(objects) } else { Cow::Owned([objects, &derived].concat()) };
        let objects = &*objects;
        let mut next = self.copy();
        let mut changes = Changes { previous: self.version, ..Changes::default() };
        next.groups.update(objects, &mut changes);
        let again = next.with_other_health(&changes.groups, flipped);
        let groups = &next.groups;
        let ready = |object: &Object| match health {
            Some(health) if groups.probe_of(object).is_some() => health.get(&key(object)).copied().unwrap_or(false),
            _ => true,
        };
        let workloads = next.workloads.update(objects, &again, &ready, &mut changes);
        let settings = Settings { mesh: &self.config, domain: &self.domain };
        let services = next.services.update(objects, (&next.workloads, &workloads), &settings, &mut changes);
        let rules = next.virtual_services.update(objects, &settings, &mut changes);
        next.destination_rules.update(objects, &settings, &mut changes);
        let gateway = |object: &Arc<Object>| matches!(object.spec, Spec::Gateway(_)).then(|| object.clone());
        changes.gateways = by_age::update(&mut next.gateways, objects, gateway, |object| object);
        changes.sidecars = by_age::update(&mut next.sidecars, objects, Sidecar::read, |sidecar| &sidecar.object);
        changes.envoy_filters = envoy_filter::update(&mut next.envoy_filters, objects, &self.config.root_namespace);
        let tokens = &mut next.request_authentications;
        changes.request_authentications = by_age::update(tokens, objects, RequestAuthentication::read, |policy| &policy.object);
        changes.authorization_policies =
            by_age::update(&mut next.authorization_policies, objects, AuthorizationPolicy::read, |policy| &policy.object);
        next.peer_authentications.update(objects, &self.config.root_namespace, &mut changes);
        next.update_secrets(objects, &mut changes);
        let touched = Touched { services: &services, rules: &rules, sidecars: &changes.sidecars, newest: &next.services };
        next.scopes = self.scopes.after(&touched);
        next.version = self.version + 1;
        next.changes = Arc::new(changes);
        next.history = self.history.with(next.changes.clone());
        next
    }

    fn copy(&self) -> Self {
        Self {
            version: self.version,
            changes: self.changes.clone(),
            history: History::default(),
            config: self.config.clone(),
            domain: self.domain.clone(),
            workloads: self.workloads.clone(),
            services: self.services.clone(),
            virtual_services: self.virtual_services.clone(),
            destination_rules: self.destination_rules.clone(),
            gateways: self.gateways.clone(),
            sidecars: self.sidecars.clone(),
            envoy_filters: self.envoy_filters.clone(),
            request_authentications: self.request_authentications.clone(),
            fetched_keys: self.fetched_keys.clone(),
            authorization_policies: self.authorization_policies.clone(),
            peer_authentications: self.peer_authentications.clone(),
            secrets: self.secrets.clone(),
            groups: self.groups.clone(),
            scopes: Scopes::default(),
        }
    }

    /// The WorkloadEntries whose health may not be what it was: those of which that is told, and those of namespaces whose
    /// groups changed, since a group says whether they are probed.
    fn with_other_health(&self, groups: &BTreeSet<WorkloadKey>, flipped: &[WorkloadKey]) -> BTreeSet<ObjectKey> {
        let flipped = flipped.iter().map(|(namespace, name)| ObjectKey {
            kind: Kind::WorkloadEntry,
            namespace: namespace.clone(),
            name: name.clone(),
        });
        let mut again: BTreeSet<ObjectKey> = flipped.collect();
        if !groups.is_empty() {
            let namespaces: BTreeSet<&str> = groups.iter().map(|(namespace, _)| namespace.as_str()).collect();
            let of_these = self.workloads.iter().filter(|workload| namespaces.contains(workload.namespace.as_str()));
            again.extend(of_these.map(|workload| workload.object.key()));
        }
        again
    }

    fn update_secrets(&mut self, objects: &[ObjectChange], changes: &mut Changes) {
        for change in objects.iter().filter(|change| change.sides().any(|object| object.kind == Kind::Secret)) {
            if let Some(name) = change.key().map(|key| (key.namespace, key.name)) {
                changes.secrets.insert(name.clone());
                put(&mut self.secrets, name, change.new.clone());
            }
        }
    }

    /// The same snapshot, where these keys are known.
    #[must_use]
    pub fn with_keys(mut self, keys: &Arc<FetchedKeys>) -> Self {
        let before = std::mem::replace(&mut self.fetched_keys, keys.clone());
        if *before != **keys {
            let touched = request_authentication::with_other_keys(&self.request_authentications, &before, keys);
            Arc::make_mut(&mut self.changes).request_authentications.extend(touched);
            self.history = std::mem::take(&mut self.history).with_last(self.changes.clone());
        }
        self
    }

    /// Where keys are to be fetched from.
    pub fn key_addresses(&self) -> BTreeSet<KeyAddress> {
        self.request_authentications.iter().flat_map(RequestAuthentication::key_addresses).collect()
    }

    /// The RequestAuthentications that are for a proxy: those of its namespace, and then those of the root namespace.
    pub fn request_authentications_of(&self, proxy: &Proxy) -> Vec<&RequestAuthentication> {
        let root = &self.config.root_namespace;
        let mut all: Vec<_> = self.request_authentications.iter().filter(|policy| policy.selects(proxy, root)).collect();
        all.sort_by_key(|policy| policy.object.meta.namespace != proxy.namespace);
        all
    }

    /// All that changed since the snapshot of that version; everything, if that is too long ago.
    pub fn changes_since(&self, version: u64) -> Changes {
        if version == self.version {
            return Changes { previous: version, ..Changes::default() };
        }
        self.history.since(version).unwrap_or_else(|| Changes { previous: version, ..Changes::everything() })
    }

    /// What is to be said of a part of the mesh: what of it has no effect.
    pub fn findings_of(&self, subject: &Subject) -> Arc<[weir_api::Diagnostic]> {
        match subject {
            Subject::VirtualService(name) => self.virtual_services.findings_of(name),
            Subject::DestinationRules(namespace, host) => self.destination_rules.findings_of(namespace, host),
            Subject::PeerAuthentications(namespace) => self.peer_authentications.findings_of(namespace),
        }
    }

    /// What a proxy knows of the mesh.
    pub fn scope(&self, proxy: &Proxy) -> Arc<Scope> {
        let sidecar = sidecar_of(&self.sidecars, proxy, &self.config.root_namespace);
        let name = sidecar.map(|sidecar| (sidecar.object.meta.namespace.clone(), sidecar.object.meta.name.clone()));
        let key = (proxy.kind, proxy.namespace.clone(), name);
        let mesh = Mesh { config: &self.config, domain: &self.domain, services: &self.services, virtual_services: &self.virtual_services };
        self.scopes.get(key, || Scope::new(&mesh, proxy.kind, &proxy.namespace, sidecar.cloned()))
    }

    /// The WorkloadEntry that a sidecar stands beside: the one of its name, else the only one at its addresses.
    pub fn workload_of(&self, proxy: &Proxy) -> Option<&Arc<Workload>> {
        self.beside(proxy, |workload| workload.object.kind == Kind::WorkloadEntry)
    }

    /// Of these workloads, the one that a sidecar stands beside.
    fn beside(&self, proxy: &Proxy, is_meant: impl Fn(&Workload) -> bool) -> Option<&Arc<Workload>> {
        if proxy.kind != ProxyKind::Sidecar {
            return None;
        }
        let addresses: BTreeSet<&String> = proxy.addresses.iter().collect();
        let is_meant = |workload: &&Arc<Workload>| is_meant(workload);
        let here = addresses.into_iter().flat_map(|address| self.workloads.at_in(&proxy.namespace, address));
        let here: Vec<&Arc<Workload>> = here.filter(is_meant).collect();
        let named = here.iter().find(|workload| workload.name == proxy.name);
        match here.as_slice() {
            [only] => Some(only),
            _ => named.copied(),
        }
    }

    /// Who a proxy is: its workload's service account, by the rule of [`Endpoint::identity`]. A gateway has the default one of its
    /// namespace; of a sidecar without a workload nobody knows who it is.
    pub fn identity_of(&self, proxy: &Proxy) -> Option<Identity> {
        if proxy.kind == ProxyKind::Router {
            return Some(Identity::new(&proxy.namespace, ""));
        }
        if let Some(workload) = self.beside(proxy, |_| true) {
            return Some(Identity::new(&workload.namespace, &workload.service_account));
        }
        // One that stands in a service alone; all that are there must be the same.
        let instances = self.instances_of(proxy);
        let mut identities = instances.iter().map(|(_, instance)| instance.identity()).filter(|own| own.namespace == proxy.namespace);
        let first = identities.next()?;
        identities.all(|other| other == first).then_some(first)
    }

    /// How the workload of a sidecar is probed.
    pub fn probe_of(&self, proxy: &Proxy) -> Option<Probe<'_>> {
        self.groups.probe_of(&self.workload_of(proxy)?.object)
    }

    /// What a gateway proxy serves.
    pub fn gateway(&self, proxy: &Proxy) -> MergedGateway {
        MergedGateway::new(&self.gateways, proxy, &self.instances_of(proxy))
    }

    /// Where a proxy runs, `region/zone/subzone`: as its workload does, if that is an instance of any service, else
    /// as the proxy says itself.
    pub fn locality_of(&self, proxy: &Proxy) -> String {
        let known = self.services.first_instance(&proxy.addresses).map(|instance| &instance.locality);
        known.filter(|locality| !topology::parts(locality)[0].is_empty()).unwrap_or(&proxy.locality).clone()
    }

    /// The labels of a proxy, and those that say where it runs.
    pub fn labels_of(&self, proxy: &Proxy) -> BTreeMap<String, String> {
        let of_instance = self.services.first_instance(&proxy.addresses).map(|instance| &instance.labels);
        // Who serves nothing runs somewhere, too.
        let of_workload = || self.beside(proxy, |_| true).map(|workload| &workload.instance_labels);
        let all = of_instance.or_else(of_workload);
        let known = |name: &str| all.and_then(|labels| labels.get(name)).map_or("", String::as_str);
        let mut labels = proxy.labels.clone();
        topology::add_labels(&mut labels, &self.locality_of(proxy), known(topology::NETWORK), known(topology::NODE));
        let cluster = Some(known(topology::CLUSTER)).filter(|cluster| !cluster.is_empty());
        labels.extend(cluster.map(|cluster| (topology::CLUSTER.to_owned(), cluster.to_owned())));
        labels
    }

    /// The services and ports that a proxy's workload serves.
    pub fn instances_of(&self, proxy: &Proxy) -> Vec<(Arc<Service>, Endpoint)> {
        self.services.of_instance(&proxy.addresses)
    }
}
