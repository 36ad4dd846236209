//! The whole mesh at one moment: immutable, and cheap to share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use weir_api::resources::MeshConfig;
use weir_api::{Kind, Object};

use crate::destination_rule::DestinationRules;
use crate::gateway::{MergedGateway, gateways};
use crate::proxy::{Proxy, ProxyKind};
use crate::registry::Services;
use crate::registry::workload::{Workload, workloads};
use crate::scope::{Scope, Sidecar, sidecar_of, sidecars};
use crate::service::{Endpoint, Service};
use crate::topology;
use crate::virtual_service::VirtualServices;

/// The domain of the mesh, unless it is told otherwise.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// What a scope is a function of, besides the snapshot: the kind and namespace of a proxy, and the namespace and
/// name of its Sidecar.
type ScopeKey = (ProxyKind, String, Option<(String, String)>);

/// A mesh at one moment.
#[derive(Debug)]
pub struct MeshSnapshot {
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
    /// Scopes that were asked for: most proxies of a namespace share one.
    scopes: Mutex<HashMap<ScopeKey, Arc<Scope>>>,
}

impl MeshSnapshot {
    /// Reads a mesh from all of its objects. Objects that are no part of a mesh are passed over.
    pub fn new(objects: &[Arc<Object>], config: Arc<MeshConfig>, domain: &str) -> Self {
        let workloads = workloads(objects);
        let secret = |object: &&Arc<Object>| object.kind == Kind::Secret;
        let secrets = objects.iter().filter(secret);
        Self {
            services: Services::build(objects, &workloads, &config, domain),
            workloads,
            virtual_services: VirtualServices::build(objects, &config, domain),
            destination_rules: DestinationRules::build(objects, &config, domain),
            gateways: gateways(objects),
            sidecars: sidecars(objects),
            secrets: secrets.map(|object| ((object.meta.namespace.clone(), object.meta.name.clone()), object.clone())).collect(),
            scopes: Mutex::default(),
            config,
            domain: domain.to_owned(),
        }
    }

    /// What a proxy knows of the mesh.
    pub fn scope(&self, proxy: &Proxy) -> Arc<Scope> {
        let sidecar = sidecar_of(&self.sidecars, proxy, &self.config.root_namespace);
        let name = sidecar.map(|sidecar| (sidecar.object.meta.namespace.clone(), sidecar.object.meta.name.clone()));
        let key = (proxy.kind, proxy.namespace.clone(), name);
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Scope::new(self, proxy.kind, &proxy.namespace, sidecar.cloned()));
        scopes.entry(key).or_insert_with(new).clone()
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
