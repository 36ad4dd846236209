//! What all proxies get that are alike, kept from one snapshot of the mesh to the next.
//!
//! Each resource is a function of few inputs, and is kept with them: with the service, the rule and the instances that it
//! was made of, told apart by pointer. A new snapshot so makes anew what depends on what changed, and nothing else; of the
//! rest it looks at the pointers. Where only instances changed, not even that: their assignments are all that is touched. Nor
//! where only a rule changed and virtual hosts are resources of their own: then those of the rule are.

mod encoded;
mod kept_secrets;
mod key;
mod listeners;
mod lists;
mod names;
mod patched;
mod routes;
mod rules;
mod same;
mod services;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_api::Diagnostic;
use weir_api::resources::MeshConfig;
use weir_model::{Changes, MergedGateway, MeshSnapshot, Proxy, ProxyKind, Scope};
use weir_xds::resource::ResourceType;

use crate::context::Context;
use crate::secrets::CertificateNames;
use crate::virtual_host::misdirected::Connections;
use crate::virtual_host::sidecar::{Maker, OutboundRoute};
use crate::{Translation, cluster, destinations, secrets, set_connections, virtual_host};
pub use encoded::Encoded;
use kept_secrets::Secrets;
pub use key::{ClassKey, Labels};
use listeners::Listeners;
use lists::Lists;
use names::Names;
use patched::Patched;
use rules::Rules;
use services::Services;

/// How often anything was made, and not found among what is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Clusters, with their assignments.
    pub clusters: usize,
    /// Assignments alone.
    pub assignments: usize,
    /// Lists of routes: those of a rule or of a service, at a port.
    pub route_lists: usize,
    /// Times that such a list was asked for, for a virtual host.
    pub asked_for_routes: usize,
    /// Times that the names for questions of DNS were put together.
    pub name_tables: usize,
    /// Times that all listeners were made.
    pub listeners: usize,
    /// Times that all was looked at, to see what of it is to be made.
    pub reviews: usize,
    /// Resources that EnvoyFilters may concern, patched.
    pub patched: usize,
    /// Secrets.
    pub secrets: usize,
    /// Certificates that were read, for the hosts that they are for.
    pub certificates: usize,
}

/// What became of a class's resources.
#[derive(Debug, Default)]
pub struct Update {
    /// New ones, and those that are not as they were.
    pub upserts: Vec<Arc<Encoded>>,
    /// Those that there are no more.
    pub removals: Vec<(ResourceType, Arc<str>)>,
    /// What has no effect, or not the expected one; none if that is as before.
    pub findings: Option<Vec<Diagnostic>>,
}

/// What a class of proxies gets.
pub struct Class {
    key: ClassKey,
    /// The snapshot that it is of.
    version: Option<u64>,
    scope: Option<Arc<Scope>>,
    kept: Kept,
    current: HashMap<(ResourceType, Arc<str>), Arc<Encoded>>,
    /// What was found when all of it was looked at.
    findings: Vec<Diagnostic>,
}

/// What was made, with what it was made of.
#[derive(Default)]
struct Kept {
    config: Option<Arc<MeshConfig>>,
    services: Services,
    lists: Lists,
    listeners: Option<Listeners>,
    rules: Rules,
    /// See [`Context::passes_by_cluster_names`]: what is kept of services was made for that.
    passes_by_cluster_names: bool,
    patched: Patched,
    secrets: Secrets,
    names: CertificateNames,
    /// Of the mesh, for questions of DNS.
    name_table: Option<Names>,
    work: Work,
}

impl Class {
    /// A class that has nothing yet.
    pub fn new(key: ClassKey) -> Self {
        Self { key, version: None, scope: None, kept: Kept::default(), current: HashMap::new(), findings: vec![] }
    }

    /// How much was made so far.
    pub fn work(&self) -> Work {
        Work { patched: self.kept.patched.made, certificates: self.kept.names.read, ..self.kept.work }
    }

    /// Takes over a newer snapshot of the mesh. `member` is a proxy that is of this class in it.
    pub fn refresh(&mut self, mesh: &MeshSnapshot, member: &Proxy) -> Update {
        let changes = self.version.replace(mesh.version).map_or_else(Changes::everything, |version| mesh.changes_since(version));
        if changes.only_secrets()
            && let Some(update) = self.refresh_secrets(mesh, member, &changes)
        {
            return update;
        }
        let is_by_eds = || !changes.endpoints.iter().any(|service| self.kept.services.tells_instances_elsewhere(service));
        let known = self.scope.clone().filter(|_| changes.only_rules_and_endpoints() && is_by_eds());
        let refreshed = match known {
            Some(scope) if changes.only_endpoints() => Some(self.refresh_instances(mesh, scope, &changes)),
            Some(scope) if self.key.by_virtual_host => self.refresh_rules(mesh, member, &scope, &changes),
            _ => None,
        };
        refreshed.unwrap_or_else(|| self.refresh_all(mesh, member))
    }

    /// Only rules changed, and instances. None if rules lead to more than they did.
    fn refresh_rules(&mut self, mesh: &MeshSnapshot, member: &Proxy, before: &Arc<Scope>, changes: &Changes) -> Option<Update> {
        let scope = mesh.scope(member);
        let context = self.key.context(mesh, scope.clone());
        let (rules, lists) = (&self.kept.rules, &mut self.kept.lists);
        let (changed, count) = (changes.virtual_services.keys().cloned(), lists.made());
        let made = rules.refresh(&context, before, changed, &self.findings, lists)?;
        self.kept.work.route_lists += self.kept.lists.made() - count;
        let mut update = self.refresh_instances(mesh, scope.clone(), changes);
        self.scope = Some(scope);
        for made in made {
            let key = (made.kind, made.name.clone());
            if self.current.get(&key).is_none_or(|known| **known != *made) {
                self.current.insert(key, made.clone());
                update.upserts.push(made);
            }
        }
        Some(update)
    }

    /// Only instances changed, so only their assignments do.
    fn refresh_instances(&mut self, mesh: &MeshSnapshot, scope: Arc<Scope>, changes: &Changes) -> Update {
        let mut context = self.key.context(mesh, scope);
        context.passes_by_cluster_names = self.kept.passes_by_cluster_names;
        let mut update = Update::default();
        for service in &changes.endpoints {
            for made in self.kept.services.refresh_instances(&context, service, &mut self.kept.work) {
                self.current.insert((made.kind, made.name.clone()), made.clone());
                update.upserts.push(made);
            }
        }
        update
    }

    /// Only Secrets changed, so only what is made of them does. None if more may: who asks for them, what is said of them, or what hosts
    /// a certificate is for.
    fn refresh_secrets(&mut self, mesh: &MeshSnapshot, member: &Proxy, changes: &Changes) -> Option<Update> {
        let context = self.key.context(mesh, self.scope.clone()?);
        if !changes.secrets.iter().any(|(namespace, _)| *namespace == context.proxy.namespace) {
            return Some(Update::default());
        }
        let gateway = (member.kind == ProxyKind::Router).then(|| mesh.gateway(member));
        let wanted = secrets::wanted(&context, gateway.as_ref());
        if !self.kept.names.still_hold(&context) {
            return None;
        }
        let made = self.kept.secrets.exchange(&context, wanted, &mut self.kept.work)?;
        if !context.into_findings().is_empty() {
            return None;
        }
        let mut update = Update::default();
        for made in made {
            let key = (made.kind, made.name.clone());
            if self.current.get(&key).is_none_or(|known| **known != *made) {
                self.current.insert(key, made.clone());
                update.upserts.push(made);
            }
        }
        Some(update)
    }

    fn refresh_all(&mut self, mesh: &MeshSnapshot, member: &Proxy) -> Update {
        if self.kept.config.as_ref().is_none_or(|config| !Arc::ptr_eq(config, &mesh.config)) {
            // All of it may depend on what holds for the whole mesh.
            let (config, names) = (Some(mesh.config.clone()), std::mem::take(&mut self.kept.names));
            self.kept = Kept { config, names, work: self.kept.work, ..Kept::default() };
        }
        self.kept.work.reviews += 1;
        let scope = mesh.scope(member);
        self.scope = Some(scope.clone());
        let mut context = self.key.context(mesh, scope);
        let gateway = (member.kind == ProxyKind::Router).then(|| mesh.gateway(member));
        let mut made = match &gateway {
            Some(gateway) => {
                context.passes_by_cluster_names = gateway.passes_by_cluster_names();
                self.kept.forget_services_unless(context.passes_by_cluster_names);
                self.kept.of_gateway(&context, gateway, self.key.by_virtual_host)
            }
            None => self.kept.of_sidecar(&context, self.key.by_virtual_host),
        };
        made.extend(cluster::special(&context).iter().map(Encoded::cluster));
        made.extend(self.kept.secrets.refresh(&context, secrets::wanted(&context, gateway.as_ref()), &mut self.kept.work));
        if self.key.answers_dns {
            made.push(Names::refresh(&mut self.kept.name_table, &context, &mut self.kept.work));
        }
        self.kept.services.refresh(&context, &mut self.kept.work);
        made.extend(self.kept.services.made().cloned());
        let made = self.kept.patched.apply(&context, member, made);
        self.findings = context.into_findings();
        Update { findings: Some(self.findings.clone()), ..self.settle(made) }
    }

    /// Takes over what was made. What is byte for byte as before stays what it was.
    fn settle(&mut self, made: Vec<Arc<Encoded>>) -> Update {
        let mut update = Update::default();
        let mut next = HashMap::with_capacity(made.len());
        for made in made {
            let key = (made.kind, made.name.clone());
            let kept = self.current.get(&key).filter(|known| Arc::ptr_eq(known, &made) || **known == made);
            next.insert(key, kept.cloned().unwrap_or(made));
        }
        for (key, made) in &next {
            if !self.current.get(key).is_some_and(|known| Arc::ptr_eq(known, made)) {
                update.upserts.push(made.clone());
            }
        }
        update.removals = self.current.keys().filter(|key| !next.contains_key(*key)).cloned().collect();
        self.current = next;
        update
    }
}

impl Kept {
    /// A gateway that forwards by clusters' names has more clusters of each service than one that does not.
    fn forget_services_unless(&mut self, passes_by_cluster_names: bool) {
        if std::mem::replace(&mut self.passes_by_cluster_names, passes_by_cluster_names) != passes_by_cluster_names {
            self.services = Services::default();
        }
    }

    fn of_sidecar(&mut self, context: &Context<'_>, by_virtual_host: bool) -> Vec<Arc<Encoded>> {
        destinations::of_sidecar(context);
        let outbound = Listeners::refresh(&mut self.listeners, context, &mut self.work);
        let mut made = outbound.listeners.clone();
        self.lists.begin();
        let mut maker = Maker::new(context, &mut self.lists);
        if by_virtual_host {
            self.rules = Rules::of(&context.scope);
        }
        for (name, route) in &outbound.routes {
            let Some(hosts) = maker.hosts(route) else { continue };
            match route {
                OutboundRoute::Port(port) if by_virtual_host => made.extend(self.rules.divide(name, *port, hosts)),
                OutboundRoute::Service(_, port) if by_virtual_host => made.push(self.rules.whole(name, *port, hosts)),
                OutboundRoute::Socket(_) if by_virtual_host => made.push(self.rules.whole(name, 0, hosts)),
                _ => made.push(routes::encode(name, hosts)),
            }
        }
        self.work.asked_for_routes += self.lists.asked_for();
        self.work.route_lists += self.lists.end();
        made
    }

    fn of_gateway(&mut self, context: &Context<'_>, gateway: &MergedGateway, by_virtual_host: bool) -> Vec<Arc<Encoded>> {
        let Translation { mut listeners, routes: _, secrets: _, clusters: _, endpoints: _, extensions: _, findings: _ } =
            crate::of_gateway(context, gateway);
        self.work.listeners += 1;
        self.rules = Rules::default();
        set_connections(context, &mut listeners);
        let mut made: Vec<Arc<Encoded>> = listeners.iter().map(Encoded::listener).collect();
        self.lists.begin();
        let connections = Connections::new(context, gateway.servers(), &mut self.names);
        for (name, servers) in &gateway.routes {
            let hosts = virtual_host::gateway::hosts(context, &mut self.lists, &connections, servers);
            match by_virtual_host {
                true => made.extend(self.rules.divide(name, 0, hosts)),
                false => made.push(routes::encode(name, hosts)),
            }
        }
        self.work.route_lists += self.lists.end();
        made
    }
}

/// What only one proxy gets, encoded.
pub fn encode_own(own: &Translation) -> Vec<Arc<Encoded>> {
    let Translation { listeners, routes: _, clusters, endpoints: _, secrets: _, extensions: _, findings: _ } = own;
    listeners.iter().map(Encoded::listener).chain(clusters.iter().map(Encoded::cluster)).collect()
}

type LabelMap = BTreeMap<String, String>;
