//! The whole mesh at one moment: immutable, and cheap to share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use weir_api::resources::MeshConfig;
use weir_api::{Kind, Object};

use crate::changes::{Changes, History};
use crate::destination_rule::DestinationRules;
use crate::gateway::{MergedGateway, gateways};
use crate::proxy::{Proxy, ProxyKind};
use crate::registry::Services;
use crate::registry::workload::{Workload, workloads};
use crate::scope::{Mesh, Scope};
use crate::service::{Endpoint, Service};
use crate::sidecar::{Sidecar, sidecar_of, sidecars};
use crate::topology;
use crate::virtual_services::VirtualServices;
use crate::workload_group::{Probe, WorkloadGroups, WorkloadHealth, key};

/// The domain of the mesh, unless it is told otherwise.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// What a scope is a function of, besides the snapshot: the kind and namespace of a proxy, and the namespace and
/// name of its Sidecar.
type ScopeKey = (ProxyKind, String, Option<(String, String)>);

/// A mesh at one moment.
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
    pub workloads: Vec<Arc<Workload>>,
    /// Its services and their instances.
    pub services: Services,
    /// Its VirtualServices.
    pub virtual_services: VirtualServices,
    /// Its DestinationRules.
    pub destination_rules: DestinationRules,
    /// Its Gateways, from the oldest to the youngest.
    pub gateways: Vec<Arc<Object>>,
    /// Its Sidecars, from the oldest to the youngest.
    pub sidecars: Vec<Sidecar>,
    /// Its Secrets, by namespace and name.
    pub secrets: HashMap<(String, String), Arc<Object>>,
    /// Its WorkloadGroups.
    pub groups: WorkloadGroups,
    /// Scopes that were asked for: most proxies of a namespace share one.
    scopes: Mutex<HashMap<ScopeKey, Arc<Scope>>>,
}

impl MeshSnapshot {
    /// Reads a mesh from all of its objects. Objects that are no part of a mesh are passed over.
    /// Whether a workload takes requests is known of those that say so themselves; all others do.
    pub fn new(objects: &[Arc<Object>], config: Arc<MeshConfig>, domain: &str) -> Self {
        Self::with_health(objects, None, config, domain)
    }

    /// The same of a mesh that runs: of those that are probed, only the workloads take requests that are healthy. Without
    /// `health` nobody probes.
    pub fn with_health(objects: &[Arc<Object>], health: Option<&WorkloadHealth>, config: Arc<MeshConfig>, domain: &str) -> Self {
        let groups = WorkloadGroups::build(objects);
        let workloads = workloads(objects, &|object| match health {
            Some(health) if groups.probe_of(object).is_some() => health.get(&key(object)).copied().unwrap_or(false),
            _ => true,
        });
        let secret = |object: &&Arc<Object>| object.kind == Kind::Secret;
        let secrets = objects.iter().filter(secret);
        let changes = Arc::new(Changes::everything());
        Self {
            version: 1,
            history: History::default().with(changes.clone()),
            changes,
            services: Services::build(objects, &workloads, &config, domain),
            workloads,
            virtual_services: VirtualServices::build(objects, &config, domain),
            destination_rules: DestinationRules::build(objects, &config, domain),
            gateways: gateways(objects),
            sidecars: sidecars(objects),
            secrets: secrets.map(|object| ((object.meta.namespace.clone(), object.meta.name.clone()), object.clone())).collect(),
            scopes: Mutex::default(),
            groups,
            config,
            domain: domain.to_owned(),
        }
    }

    /// All that changed since the snapshot of that version; everything, if that is too long ago.
    pub fn changes_since(&self, version: u64) -> Changes {
        if version == self.version {
            return Changes { previous: version, ..Changes::default() };
        }
        self.history.since(version).unwrap_or_else(|| Changes { previous: version, ..Changes::everything() })
    }

    /// What a proxy knows of the mesh.
    pub fn scope(&self, proxy: &Proxy) -> Arc<Scope> {
        let sidecar = sidecar_of(&self.sidecars, proxy, &self.config.root_namespace);
        let name = sidecar.map(|sidecar| (sidecar.object.meta.namespace.clone(), sidecar.object.meta.name.clone()));
        let key = (proxy.kind, proxy.namespace.clone(), name);
        let mesh = Mesh { config: &self.config, domain: &self.domain, services: &self.services, virtual_services: &self.virtual_services };
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Scope::new(&mesh, proxy.kind, &proxy.namespace, sidecar.cloned()));
        scopes.entry(key).or_insert_with(new).clone()
    }

    /// The WorkloadEntry that a sidecar stands beside: the one of its name, else the only one at its addresses.
    pub fn workload_of(&self, proxy: &Proxy) -> Option<&Arc<Workload>> {
        if proxy.kind != ProxyKind::Sidecar {
            return None;
        }
        let is_here = |workload: &&Arc<Workload>| {
            workload.namespace == proxy.namespace
                && workload.object.kind == Kind::WorkloadEntry
                && proxy.addresses.contains(&workload.address)
        };
        let mut here = self.workloads.iter().filter(is_here);
        let named = here.clone().find(|workload| workload.name == proxy.name);
        named.or_else(|| here.next().filter(|_| here.next().is_none()))
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
        let instance = self.services.first_instance(&proxy.addresses);
        let known = |name: &str| instance.and_then(|instance| instance.labels.get(name)).map_or("", String::as_str);
        let mut labels = proxy.labels.clone();
        topology::add_labels(&mut labels, &self.locality_of(proxy), known(topology::NETWORK), known(topology::NODE));
        labels
    }

    /// The services and ports that a proxy's workload serves.
    pub fn instances_of(&self, proxy: &Proxy) -> Vec<(Arc<Service>, Endpoint)> {
        self.services.of_instance(&proxy.addresses)
    }
}
