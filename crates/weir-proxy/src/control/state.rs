//! What a proxy has been told, and what of it is in force.
//!
//! A resource that cannot be compiled is refused alone: what was there before it stays. What is accepted comes
//! into force when all that it needs is there: routes when their clusters have their instances, listeners when
//! their routes are in force. So no request is ever sent where nobody is yet. What nothing names any more is forgotten.

mod clusters;
mod divided;
mod extensions;
mod files;
mod listeners;
mod routes;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use weir_ads::Update;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::listener::Listener as XdsListener;
use weir_xds::names::NameTable as XdsNameTable;
use weir_xds::resource::ResourceType;
use weir_xds::tls::Secret;
use weir_xds::{Any, Message, Name};

use weir_config::budget::Budget;
use weir_config::cluster::Discovery;
use weir_config::endpoints::Assignment;
use weir_config::listener::Listener;
use weir_config::name_table::{Asker, NameTable};
use weir_config::rules;
use weir_config::tls::SecretSource;

use super::received::Received;
use super::refusal::ResourceRefusal;
use crate::checks::Told;
use crate::listener::OpenListener;
use crate::listener::sockets::{SocketKind, Sockets};
use crate::stats::listener::ListenerStats;
use crate::tls::secrets::Secrets;
use crate::worker::world::ProxySnapshot;
use clusters::{ClusterState, FETCH_TIMEOUT};
use divided::Divided;
use extensions::Extensions;
use listeners::{ListenerState, Prepared, check_scripts, route_names, tls_of};
use routes::RouteState;

/// How long routes wait for instances, and listeners for routes, that a server does not send.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a listener is tried again whose address could not be opened: it may have become free, or ours.
pub(super) const LISTENER_RETRY: Duration = Duration::from_millis(500);

/// The state of one proxy.
pub struct State {
    id: Arc<str>,
    workers: usize,
    sockets: Arc<Sockets>,
    clusters: HashMap<Arc<str>, ClusterState>,
    /// The instances of EDS clusters, by the names that the clusters ask for.
    assignments: HashMap<Arc<str>, Assignment>,
    routes: HashMap<Arc<str>, RouteState>,
    /// What was told of those whose virtual hosts come one by one.
    divided: Divided,
    listeners: HashMap<Arc<str>, ListenerState>,
    /// Configurations of filters that come by themselves, and the listeners that ask for them.
    extensions: Extensions,
    secrets: Secrets,
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Who is told of health checks.
    pub told: Told,
    /// Whether health checks may run commands.
    pub may_run_commands: bool,
    /// How many connections some listeners may have, by their names.
    pub listener_limits: BTreeMap<Arc<str>, u64>,
    /// Who is told the names of the mesh, and on whose behalf.
    pub names: Option<(Asker, watch::Sender<Option<Arc<NameTable>>>)>,
    /// Everything that was accepted, as it was received.
    pub received: Received,
    /// What the workers do now, and which parts of it are no longer right.
    published: ProxySnapshot,
    changed: Changed,
    /// Whether what is wanted by name may differ from what was asked for last, though the server told nothing.
    pub wants_differ: bool,
    /// Configurations of filters that were refused and are accepted now, since what they were refused for has changed.
    pub accepted_late: Vec<Arc<str>>,
}

/// Which parts of the configuration have changed since the workers were last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Changed {
    clusters: bool,
    routes: bool,
    listeners: bool,
}

impl Changed {
    const NOTHING: Self = Self { clusters: false, routes: false, listeners: false };
    const ALL: Self = Self { clusters: true, routes: true, listeners: true };
}

type Refused = Vec<(Arc<str>, ResourceRefusal)>;

impl State {
    /// A proxy that has been told nothing.
    pub fn new(id: Arc<str>, workers: usize, sockets: Arc<Sockets>) -> Self {
        Self {
            id,
            workers,
            sockets,
            clusters: HashMap::new(),
            assignments: HashMap::new(),
            routes: HashMap::new(),
            divided: Divided::default(),
            listeners: HashMap::new(),
            extensions: Extensions::default(),
            secrets: Secrets::default(),
            addresses: HashMap::new(),
            told: Told { first: Arc::default(), workload: watch::Sender::new(None) },
            may_run_commands: false,
            listener_limits: BTreeMap::new(),
            names: None,
            received: Received::default(),
            published: ProxySnapshot::default(),
            changed: Changed::ALL,
            wants_differ: false,
            accepted_late: vec![],
        }
    }

    /// Takes what a server says; what is refused, and why.
    pub fn take(&mut self, update: &Update) -> Refused {
        let mut refused = vec![];
        for name in &update.removals {
            self.remove(update.kind, name);
        }
        self.let_clusters_go();
        let mut assigned = HashSet::new();
        for ((name, body), version) in update.upserts.iter().zip(update.versions()) {
            if update.kind == ResourceType::Extension {
                self.extensions.forget_refused(name);
            }
            // A secret may name files whose content has changed.
            let may_differ = update.kind == ResourceType::Secret && self.secrets.is_in_files(name);
            if !may_differ && self.received.is(update.kind, name, body) {
                continue;
            }
            match self.upsert(update.kind, name, body, version) {
                Ok(()) => {
                    self.received.put(update.kind, name, body);
                    assigned.insert(name);
                }
                Err(refusal) => refused.push((name.clone(), refusal)),
            }
        }
        if matches!(update.kind, ResourceType::Extension | ResourceType::Listener) {
            let late = self.take_refused_extensions();
            refused.retain(|(name, _)| update.kind != ResourceType::Extension || !late.contains(name));
            self.accepted_late.extend(late);
        }
        refused.extend(self.assemble_routes(update.kind));
        if update.kind == ResourceType::Endpoint {
            self.refresh_hosts(|state| matches!(&state.newest().policy.discovery, Discovery::Eds(service) if assigned.contains(service)));
        }
        refused
    }

    /// Tries a listener again whose address could not be opened.
    ///
    /// # Errors
    /// Why it is still refused.
    pub fn retry_listener(&mut self, name: &Arc<str>, body: &Any) -> Result<(), ResourceRefusal> {
        self.upsert(ResourceType::Listener, name, body, "")?;
        self.wants_differ = true;
        self.received.put(ResourceType::Listener, name, body);
        let late = self.take_refused_extensions();
        self.accepted_late.extend(late);
        Ok(())
    }

    fn remove(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.received.remove(kind, name);
        match kind {
            ResourceType::Cluster => self.remove_cluster(name),
            ResourceType::Endpoint => drop(self.assignments.remove(name)),
            ResourceType::Route => self.remove_routes(name),
            ResourceType::VirtualHost => self.divided.remove_host(name),
            ResourceType::Extension => self.extensions.remove(name),
            ResourceType::Listener => {
                self.extensions.forget_listener(name);
                self.changed.listeners |= self.listeners.remove(name).is_some();
            }
            ResourceType::Secret => {
                self.secrets.remove(name);
                self.follow_checks();
            }
            // There is always one: what a server without any says is that it has none yet.
            ResourceType::NameTable => {}
        }
    }

    /// Forgets what nothing names any more.
    pub fn forget_unwanted(&mut self) {
        let mut routes = self.wanted(ResourceType::Route);
        self.divided.keep(|name| routes.contains(name));
        self.received.keep(ResourceType::VirtualHost, |name| self.divided.knows(name));
        let active = self.listeners.values().filter_map(|state| state.active.as_ref());
        routes.extend(active.flat_map(|active| route_names(&active.listener)));
        let before = self.routes.len();
        self.routes.retain(|name, _| routes.contains(name));
        self.changed.routes |= self.routes.len() != before;
        self.received.keep(ResourceType::Route, |name| routes.contains(name));
        let services = self.wanted(ResourceType::Endpoint);
        self.assignments.retain(|name, _| services.contains(name));
        self.received.keep(ResourceType::Endpoint, |name| services.contains(name));
        let extensions = self.wanted(ResourceType::Extension);
        self.extensions.keep(|name| extensions.contains(name));
        self.received.keep(ResourceType::Extension, |name| extensions.contains(name));
        let secrets = self.secret_names(|state| state.both().collect());
        self.secrets.keep(|name| secrets.contains(name));
        self.received.keep(ResourceType::Secret, |name| secrets.contains(name));
        let names = self.names();
        self.addresses.retain(|name, _| names.contains(name));
    }

    fn upsert(&mut self, kind: ResourceType, name: &Arc<str>, body: &Any, version: &str) -> Result<(), ResourceRefusal> {
        if kind == ResourceType::VirtualHost {
            return self.divided.put(name, body, version);
        }
        if kind == ResourceType::NameTable {
            return self.tell_names(&unpack(body)?);
        }
        rules::check(body)?;
        match kind {
            ResourceType::Cluster => self.upsert_cluster(name, &unpack(body)?),
            ResourceType::Endpoint => {
                self.assignments.insert(name.clone(), Assignment::compile(&unpack::<ClusterLoadAssignment>(body)?)?);
                Ok(())
            }
            ResourceType::Route => self.upsert_route(name, &unpack(body)?, version),
            ResourceType::VirtualHost | ResourceType::NameTable => Ok(()),
            ResourceType::Extension => self.upsert_extension(name, &unpack(body)?),
            ResourceType::Listener => self.upsert_listener(name, unpack(body)?),
            ResourceType::Secret => {
                let secret = SecretSource::compile(&unpack::<Secret>(body)?)?;
                self.secrets.put(name, &secret)?;
                self.follow_checks();
                Ok(())
            }
        }
    }

    fn tell_names(&mut self, table: &XdsNameTable) -> Result<(), ResourceRefusal> {
        if let Some((asker, names)) = &self.names {
            names.send_replace(Some(Arc::new(NameTable::compile(table, asker))));
        }
        Ok(())
    }

    /// Takes a listener whose filters have all their configuration.
    fn put_listener(&mut self, name: &Arc<str>, listener: &XdsListener) -> Result<(), ResourceRefusal> {
        let state = self.prepare_listener(name, listener)?;
        self.listeners.insert(name.clone(), state);
        Ok(())
    }

    /// What a listener is going to be. Until that is put in its place nothing of it counts.
    fn prepare_listener(&mut self, name: &Arc<str>, listener: &XdsListener) -> Result<ListenerState, ResourceRefusal> {
        let known = self.listeners.get(name);
        let previous = known.map(|known| &*known.newest.listener);
        let newest = Arc::new(Listener::compile(listener, previous)?);
        check_scripts(&newest)?;
        let tls = tls_of(&newest, known, &mut self.secrets)?;
        let open = known.into_iter().flat_map(ListenerState::both).filter_map(|prepared| prepared.sockets.as_ref());
        let place = crate::listener::place(&newest);
        let same_address = open.filter(|sockets| sockets.wanted == place).last().cloned();
        let kind = SocketKind { mode: newest.socket.as_ref().map_or(0, |socket| socket.mode), transparent: newest.transparent };
        let sockets = match same_address {
            _ if !newest.bind => None,
            Some(sockets) => {
                sockets.become_like(kind)?;
                Some(sockets)
            }
            None => Some(self.sockets.open(place, kind, &format!("listener {name} of {}", self.id))?),
        };
        let active = known.and_then(|known| known.active.clone());
        // Who sends listener after listener does not make them wait for ever.
        let waiting_since = known.and_then(|known| known.waiting_since);
        let new_limit = || self.listener_limits.get(name).copied().map(Budget::new);
        let limit = known.map_or_else(new_limit, |known| known.limit.clone());
        let stats = known.map_or_else(|| Arc::new(ListenerStats::new(self.workers)), |known| known.stats.clone());
        let newest = Prepared { listener: newest, tls, sockets };
        Ok(ListenerState { newest, active, waiting_since, limit, stats })
    }

    /// The names that must be resolved.
    pub fn names(&self) -> HashSet<String> {
        let resolving = self.clusters.values().filter(|state| state.is_by_name());
        resolving.flat_map(|state| state.endpoints.names()).map(str::to_owned).collect()
    }

    /// What must be asked for by name.
    pub fn wanted(&self, kind: ResourceType) -> BTreeSet<Arc<str>> {
        match kind {
            ResourceType::Endpoint => {
                let services = self.clusters.values().filter_map(|state| match &state.newest().policy.discovery {
                    Discovery::Eds(service) => Some(service.clone()),
                    _ => None,
                });
                services.collect()
            }
            ResourceType::Route => self.listeners.values().flat_map(|state| route_names(&state.newest.listener)).collect(),
            ResourceType::VirtualHost => {
                let mut routes = self.wanted(ResourceType::Route);
                routes.retain(|name| self.divided.has(name));
                routes
            }
            ResourceType::Secret => {
                let mut names = self.secret_names(|state| vec![&state.newest]);
                names.retain(|name| !self.secrets.is_own(name));
                names
            }
            ResourceType::Extension => self.extensions.wanted(),
            ResourceType::Cluster | ResourceType::Listener | ResourceType::NameTable => BTreeSet::new(),
        }
    }

    /// The names of the secrets that clusters and some states of the listeners need.
    fn secret_names<'s>(&'s self, of: impl Fn(&'s ListenerState) -> Vec<&'s Prepared>) -> BTreeSet<Arc<str>> {
        let prepared = self.listeners.values().flat_map(of);
        let policies = prepared.flat_map(|prepared| prepared.listener.all_chains()).filter_map(|chain| chain.tls.as_ref());
        let of_listeners = policies.flat_map(|tls| tls.secret_names().cloned());
        let transports = self.clusters.values().flat_map(|state| state.newest().policy.transports.tls());
        of_listeners.chain(transports.flat_map(|tls| tls.secret_names().cloned())).collect()
    }

    /// Brings into force what can be; the configuration for the workers, if it is another one than before. Of it only those
    /// parts are made anew that have changed.
    pub fn build(&mut self, now: Instant) -> Option<ProxySnapshot> {
        self.activate_clusters(now);
        self.take_defaults(now);
        self.open_shut(now);
        self.activate_routes(now);
        self.activate_listeners(now);
        self.let_clusters_go();
        let changed = std::mem::replace(&mut self.changed, Changed::NOTHING);
        if changed == Changed::NOTHING {
            return None;
        }
        if changed.listeners {
            let open = |state: &ListenerState| {
                let Prepared { listener, tls, sockets } = state.active.clone()?;
                Some(OpenListener { listener, tls, sockets, limit: state.limit.clone(), stats: state.stats.clone() })
            };
            self.published.listeners = self.listeners.values().filter_map(open).collect();
        }
        if changed.routes {
            let active = self.routes.iter().filter_map(|(name, state)| Some((name.clone(), state.active.clone()?)));
            self.published.routes = Arc::new(active.collect());
        }
        if changed.clusters {
            let clusters = self.clusters.iter().map(|(name, state)| (name.clone(), state.current.clone()));
            self.published.clusters = Arc::new(clusters.collect());
        }
        Some(self.published.clone())
    }

    /// When [`Self::build`] is to be asked again though nothing came.
    pub fn deadline(&self) -> Option<Instant> {
        let routes = self.routes.values().filter_map(|state| state.waiting_since).map(|since| since + PATIENCE);
        let clusters = self.clusters.values().filter_map(|state| state.waiting_since).map(|since| since + FETCH_TIMEOUT);
        routes.chain(clusters).chain(self.listener_deadlines()).chain(self.extensions.deadlines()).min()
    }

    /// Whether all that it was told is in force.
    pub fn is_settled(&self) -> bool {
        let routes = self.routes.values().all(|state| state.waiting_since.is_none()) && self.divided.are_whole();
        routes
            && self.extensions.are_whole()
            && self.clusters.values().all(ClusterState::is_newest)
            && self.listeners.values().all(ListenerState::is_active)
    }

    /// The listeners that were accepted before their address turned out not to open yet, and why it does not.
    pub fn shut_listeners(&self) -> HashMap<Arc<str>, String> {
        self.extensions.shut().map(|(name, reason)| (name.clone(), reason.to_owned())).collect()
    }

    /// The listeners that are open: name, address that was asked for, address that is open.
    pub fn open_listeners(&self) -> Vec<(Arc<str>, SocketAddr, SocketAddr)> {
        let open = self.listeners.iter().filter_map(|(name, state)| {
            let sockets = state.active.as_ref()?.sockets.as_ref()?;
            Some((name.clone(), sockets.wanted, sockets.address))
        });
        open.collect()
    }
}

fn unpack<M: Message + Name + Default>(body: &Any) -> Result<M, String> {
    body.unpack().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
