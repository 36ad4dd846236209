//! What a proxy instance has been told, and what of it is in force.
//!
//! A resource that cannot be compiled is refused alone: what was there before it stays. What is accepted comes
//! into force when all that it needs is there: routes when their clusters have their instances, listeners when
//! their routes are in force. So no request is ever sent where nobody is yet.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::watch;
use weir_ads::Update;
use weir_routing::RouteTable;
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::listener::Listener as XdsListener;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;
use weir_xds::tls::Secret;
use weir_xds::{Any, Message, Name};

use weir_config::cluster::{ClusterPolicy, Discovery};
use weir_config::endpoints::Assignment;
use weir_config::http::RouteSource;
use weir_config::listener::{Chain, Handler, Listener};
use weir_config::tls::SecretSource;

use crate::checks::{Checks, Told};
use crate::cluster::Cluster;
use crate::cluster::host::Hosts;
use crate::listener::OpenListener;
use crate::listener::sockets::{Bound, Sockets};
use crate::stats::cluster::ClusterStats;
use crate::stats::listener::ListenerStats;
use crate::tls;
use crate::tls::secrets::Secrets;
use crate::tls::transports::Transports;
use crate::worker::world::ProxyConfig;

/// How long routes wait for instances that a server does not send.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of one proxy instance.
pub struct State {
    id: Arc<str>,
    workers: usize,
    sockets: Arc<Sockets>,
    clusters: HashMap<Arc<str>, ClusterState>,
    /// The instances of EDS clusters, by the names that the clusters ask for.
    assignments: HashMap<Arc<str>, Assignment>,
    routes: HashMap<Arc<str>, RouteState>,
    listeners: HashMap<Arc<str>, ListenerState>,
    secrets: Secrets,
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Who is told of health checks.
    pub told: Told,
    /// Whether health checks may run commands.
    pub may_run_commands: bool,
    /// Everything as it was received, for `/config_dump`.
    pub raw: HashMap<ResourceType, HashMap<Arc<str>, Any>>,
}

struct ClusterState {
    current: Arc<Cluster>,
    /// What stands in the cluster itself, or must be resolved.
    endpoints: Assignment,
    ready: bool,
    checks: Checks,
}

struct RouteState {
    newest: Arc<RouteTable>,
    /// In force; another one than the newest while that one waits.
    active: Option<Arc<RouteTable>>,
    waiting_since: Option<Instant>,
}

struct ListenerState {
    newest: Prepared,
    active: Option<Prepared>,
    sockets: Option<Arc<Bound>>,
    stats: Arc<ListenerStats>,
}

/// A compiled listener, and what its handshakes of TLS are done with.
#[derive(Clone)]
struct Prepared {
    listener: Arc<Listener>,
    /// In the order of its filter chains.
    tls: Arc<[Option<Arc<ServerConfig>>]>,
}

type Refused = Vec<(Arc<str>, String)>;

impl State {
    /// An instance that has been told nothing.
    pub fn new(id: Arc<str>, workers: usize, sockets: Arc<Sockets>) -> Self {
        Self {
            id,
            workers,
            sockets,
            clusters: HashMap::new(),
            assignments: HashMap::new(),
            routes: HashMap::new(),
            listeners: HashMap::new(),
            secrets: Secrets::default(),
            addresses: HashMap::new(),
            told: Told { first: Arc::default(), workload: watch::Sender::new(None) },
            may_run_commands: false,
            raw: HashMap::new(),
        }
    }

    /// Takes what a server says; what is refused, and why.
    pub fn take(&mut self, update: &Update) -> Refused {
        let mut refused = vec![];
        for name in &update.removals {
            self.remove(update.kind, name);
        }
        for (name, body) in &update.upserts {
            match self.upsert(update.kind, name, body) {
                Ok(()) => drop(self.raw.entry(update.kind).or_default().insert(name.clone(), body.clone())),
                Err(reason) => refused.push((name.clone(), reason)),
            }
        }
        refused
    }

    /// Tries again what was refused.
    ///
    /// # Errors
    /// Why it is still refused.
    pub fn retry(&mut self, kind: ResourceType, name: &Arc<str>, body: &Any) -> Result<(), String> {
        self.upsert(kind, name, body)?;
        self.raw.entry(kind).or_default().insert(name.clone(), body.clone());
        Ok(())
    }

    fn remove(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.raw.entry(kind).or_default().remove(name);
        match kind {
            ResourceType::Cluster => self.remove_cluster(name),
            ResourceType::Endpoint => drop(self.assignments.remove(name)),
            ResourceType::Route => drop(self.routes.remove(name)),
            ResourceType::Listener => drop(self.listeners.remove(name)),
            ResourceType::Secret => self.secrets.remove(name),
        }
    }

    fn remove_cluster(&mut self, name: &Arc<str>) {
        let policy = self.clusters.remove(name).and_then(|state| state.current.policy.health_check.clone());
        if policy.is_some_and(|policy| policy.probe.is_some()) {
            // Nobody knows how the workload is any more.
            self.told.workload.send_replace(None);
        }
    }

    fn upsert(&mut self, kind: ResourceType, name: &Arc<str>, body: &Any) -> Result<(), String> {
        match kind {
            ResourceType::Cluster => self.upsert_cluster(name, &unpack(body)?),
            ResourceType::Endpoint => {
                self.assignments.insert(name.clone(), Assignment::compile(&unpack::<ClusterLoadAssignment>(body)?));
                self.refresh_hosts(|discovery| matches!(discovery, Discovery::Eds(service) if service == name));
                Ok(())
            }
            ResourceType::Route => self.upsert_route(name, &unpack(body)?),
            ResourceType::Listener => self.upsert_listener(name, &unpack(body)?),
            ResourceType::Secret => {
                let secret = SecretSource::compile(&unpack::<Secret>(body)?);
                secret.and_then(|secret| self.secrets.put(name, &secret)).map_err(|error| error.to_string())?;
                self.follow_secrets();
                Ok(())
            }
        }
    }

    fn upsert_cluster(&mut self, name: &Arc<str>, cluster: &XdsCluster) -> Result<(), String> {
        let policy = Arc::new(ClusterPolicy::compile(cluster).map_err(|error| error.to_string())?);
        if policy.health_check.as_ref().is_some_and(|check| check.runs_commands()) && !self.may_run_commands {
            return Err("health_checks[0].custom_health_check: it runs a command, which this proxy is not allowed to; \
                 --allow-exec-probes allows it"
                .to_owned());
        }
        let endpoints = match &policy.discovery {
            Discovery::Static(assignment) | Discovery::StrictDns(assignment) | Discovery::LogicalDns(assignment) => {
                Assignment::compile(assignment)
            }
            Discovery::Eds(_) | Discovery::OriginalDestination | Discovery::OfRequest => Assignment::default(),
        };
        let before = self.clusters.get(name).map(|known| known.current.transports.clone());
        let transports = Transports::new(&policy.transports, before.as_ref(), &mut self.secrets).map_err(|error| error.to_string())?;
        if policy.transports.tls().any(|tls| tls.validation.verifies_nothing()) {
            tracing::warn!(proxy = %self.id, cluster = %name, "its TLS verifies nobody: no trusted CA is named");
        }
        let mut known = self.clusters.remove(name);
        let checks = known.as_mut().map(|known| std::mem::take(&mut known.checks)).unwrap_or_default();
        let stats = known.as_ref().map_or_else(|| Arc::new(ClusterStats::new(self.workers)), |known| known.current.stats.clone());
        // Instances stay through a change of the cluster; they are brought up to date at once.
        let resources = known.as_ref().map(|known| known.current.resources.clone()).unwrap_or_default();
        let health = known.as_ref().map(|known| known.current.health.clone()).unwrap_or_default();
        let hosts = known.map_or_else(Hosts::default, |known| known.current.hosts.clone());
        health.follow(policy.outlier.as_ref(), policy.health_check.is_some(), &hosts);
        let current = Arc::new(Cluster { policy, hosts, stats, resources, health, transports });
        self.clusters.insert(name.clone(), ClusterState { current, endpoints, ready: false, checks });
        self.refresh_cluster(name);
        Ok(())
    }

    fn upsert_route(&mut self, name: &Arc<str>, config: &RouteConfiguration) -> Result<(), String> {
        let known = self.routes.get(name);
        let previous = known.map(|known| &*known.newest);
        let newest = Arc::new(RouteTable::compile(config, previous).map_err(|error| error.to_string())?);
        let active = known.and_then(|known| known.active.clone());
        self.routes.insert(name.clone(), RouteState { newest, active, waiting_since: None });
        Ok(())
    }

    fn upsert_listener(&mut self, name: &Arc<str>, listener: &XdsListener) -> Result<(), String> {
        let known = self.listeners.get(name);
        let previous = known.map(|known| &*known.newest.listener);
        let newest = Arc::new(Listener::compile(listener, previous).map_err(|error| error.to_string())?);
        let tls = tls_of(&newest, known, &mut self.secrets)?;
        let same_address = known.and_then(|known| known.sockets.clone()).filter(|sockets| sockets.wanted == newest.address);
        let sockets = match same_address {
            _ if !newest.bind => None,
            Some(sockets) => Some(sockets),
            None => {
                let owner = format!("listener {name} of {}", self.id);
                Some(self.sockets.open(newest.address, &owner).map_err(|error| error.to_string())?)
            }
        };
        let active = known.and_then(|known| known.active.clone());
        let stats = known.map_or_else(|| Arc::new(ListenerStats::new(self.workers)), |known| known.stats.clone());
        let newest = Prepared { listener: newest, tls };
        self.listeners.insert(name.clone(), ListenerState { newest, active, sockets, stats });
        Ok(())
    }

    /// Takes the addresses of a name.
    pub fn resolved(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.addresses.insert(name.to_owned(), addresses);
        self.refresh_hosts(|discovery| matches!(discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_)));
    }

    fn refresh_hosts(&mut self, concerned: impl Fn(&Discovery) -> bool) {
        let names: Vec<Arc<str>> =
            self.clusters.iter().filter(|(_, state)| concerned(&state.current.policy.discovery)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.refresh_cluster(name));
    }

    /// Brings a cluster's instances up to date.
    fn refresh_cluster(&mut self, name: &Arc<str>) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        let policy = &state.current.policy;
        let (endpoints, ready) = match &policy.discovery {
            Discovery::Static(_) => (Some(&state.endpoints), true),
            Discovery::OriginalDestination | Discovery::OfRequest => (None, true),
            Discovery::Eds(service) => (self.assignments.get(service), self.assignments.contains_key(service)),
            Discovery::StrictDns(_) | Discovery::LogicalDns(_) => {
                let known = state.endpoints.names().all(|name| self.addresses.contains_key(name));
                (Some(&state.endpoints), known)
            }
        };
        state.ready = ready && !state.current.transports.is_waiting();
        let Some(endpoints) = endpoints else { return };
        let only_one = matches!(policy.discovery, Discovery::LogicalDns(_));
        let resolve = |name: &str| {
            let addresses = self.addresses.get(name).cloned().unwrap_or_default();
            addresses.into_iter().take(if only_one { 1 } else { usize::MAX }).collect()
        };
        let hosts = Hosts::build(endpoints, resolve, Some(&state.current.hosts), Instant::now());
        let before = state.current.hosts.clone();
        state.current = Arc::new(Cluster {
            policy: policy.clone(),
            hosts,
            stats: state.current.stats.clone(),
            resources: state.current.resources.clone(),
            health: state.current.health.clone(),
            transports: state.current.transports.clone(),
        });
        state.checks.follow(&state.current, &before, &self.told);
        state.ready = state.ready && state.checks.are_warm();
    }

    /// Looks again which clusters are ready, when a secret has come. Handshakes look for it themselves.
    fn follow_secrets(&mut self) {
        let uses_tls = |state: &ClusterState| state.current.policy.transports.tls().next().is_some();
        let names: Vec<Arc<str>> =
            self.clusters.iter().filter(|(_, state)| !state.ready && uses_tls(state)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.refresh_cluster(name));
    }

    /// Looks again which clusters are ready, when instances have been checked.
    pub fn follow_checks(&mut self) {
        self.refresh_hosts(|_| true);
    }

    /// The names that must be resolved.
    pub fn names(&self) -> HashSet<String> {
        let resolving = self
            .clusters
            .values()
            .filter(|state| matches!(state.current.policy.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_)));
        resolving.flat_map(|state| state.endpoints.names()).map(str::to_owned).collect()
    }

    /// What must be asked for by name.
    pub fn wanted(&self, kind: ResourceType) -> BTreeSet<Arc<str>> {
        match kind {
            ResourceType::Endpoint => {
                let services = self.clusters.values().filter_map(|state| match &state.current.policy.discovery {
                    Discovery::Eds(service) => Some(service.clone()),
                    _ => None,
                });
                services.collect()
            }
            ResourceType::Route => self.listeners.values().flat_map(|state| route_names(&state.newest.listener)).collect(),
            ResourceType::Secret => {
                let chains = self.listeners.values().flat_map(|state| state.newest.listener.all_chains());
                let of_listeners = chains.filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| tls.secret_names().cloned());
                let transports = self.clusters.values().flat_map(|state| state.current.policy.transports.tls());
                of_listeners.chain(transports.flat_map(|tls| tls.secret_names().cloned())).collect()
            }
            ResourceType::Cluster | ResourceType::Listener => BTreeSet::new(),
        }
    }

    /// Brings into force what can be, and gives the configuration for the workers.
    pub fn build(&mut self, now: Instant) -> ProxyConfig {
        self.activate_routes(now);
        self.activate_listeners();
        let open = |state: &ListenerState| {
            let (Prepared { listener, tls }, sockets) = (state.active.clone()?, state.sockets.clone());
            (sockets.is_some() || !listener.bind).then(|| OpenListener { listener, tls, sockets, stats: state.stats.clone() })
        };
        ProxyConfig {
            listeners: self.listeners.values().filter_map(open).collect(),
            routes: self.routes.iter().filter_map(|(name, state)| Some((name.clone(), state.active.clone()?))).collect(),
            clusters: self.clusters.iter().map(|(name, state)| (name.clone(), state.current.clone())).collect(),
        }
    }

    fn activate_routes(&mut self, now: Instant) {
        for state in self.routes.values_mut() {
            if state.active.as_ref().is_some_and(|active| Arc::ptr_eq(active, &state.newest)) {
                continue;
            }
            let mut names = state.newest.virtual_hosts.iter().flat_map(|host| &host.clusters);
            let ready = names.all(|name| self.clusters.get(name).is_none_or(|cluster| cluster.ready));
            let since = *state.waiting_since.get_or_insert(now);
            if ready || now.duration_since(since) >= PATIENCE {
                state.active = Some(state.newest.clone());
                state.waiting_since = None;
            }
        }
    }

    fn activate_listeners(&mut self) {
        for state in self.listeners.values_mut() {
            let routes_ready =
                route_names(&state.newest.listener).all(|name| self.routes.get(&name).is_some_and(|routes| routes.active.is_some()));
            let mut clusters = state.newest.listener.all_chains().flat_map(|chain| match &chain.handler {
                Handler::Tcp(tcp) => tcp.clusters.as_slice(),
                Handler::Http(_) => &[],
            });
            let clusters_ready = clusters.all(|(name, _)| self.clusters.get(name).is_none_or(|cluster| cluster.ready));
            if routes_ready && clusters_ready {
                state.active = Some(state.newest.clone());
            }
        }
    }

    /// When [`Self::build`] is to be asked again though nothing came.
    pub fn deadline(&self) -> Option<Instant> {
        self.routes.values().filter_map(|state| state.waiting_since).map(|since| since + PATIENCE).min()
    }

    /// Whether all that it was told is in force.
    pub fn is_settled(&self) -> bool {
        let routes = self.routes.values().all(|state| state.waiting_since.is_none());
        let listeners = self.listeners.values();
        routes
            && listeners
                .into_iter()
                .all(|state| state.active.as_ref().is_some_and(|active| Arc::ptr_eq(&active.listener, &state.newest.listener)))
    }

    /// The listeners that are open: name, address that was asked for, address that is open.
    pub fn open_listeners(&self) -> Vec<(Arc<str>, SocketAddr, SocketAddr)> {
        let open = self.listeners.iter().filter_map(|(name, state)| {
            let sockets = state.sockets.as_ref().filter(|_| state.active.is_some())?;
            Some((name.clone(), sockets.wanted, sockets.address))
        });
        open.collect()
    }
}

/// What the handshakes of each filter chain are done with. Chains that did not change keep theirs, and with it the sessions
/// that clients may resume.
fn tls_of(listener: &Listener, known: Option<&ListenerState>, secrets: &mut Secrets) -> Result<Arc<[Option<Arc<ServerConfig>>]>, String> {
    let known: Vec<(&Arc<Chain>, &Option<Arc<ServerConfig>>)> =
        known.into_iter().flat_map(|known| known.newest.listener.all_chains().zip(known.newest.tls.iter())).collect();
    let chains = listener.all_chains().map(|chain| match &chain.tls {
        None => Ok(None),
        Some(policy) => match known.iter().find(|(known, _)| Arc::ptr_eq(known, chain)) {
            Some((_, same)) => Ok((*same).clone()),
            None => tls::server::config(policy, secrets).map(Some).map_err(|error| error.within("transport_socket").to_string()),
        },
    });
    chains.collect()
}

fn unpack<M: Message + Name + Default>(body: &Any) -> Result<M, String> {
    body.unpack().map_err(|error| error.to_string())
}

fn route_names(listener: &Listener) -> impl Iterator<Item = Arc<str>> {
    listener.all_chains().filter_map(|chain| match &chain.handler {
        Handler::Http(http) => match &http.routes {
            RouteSource::Named(name) => Some(name.clone()),
            RouteSource::Inline(_) => None,
        },
        Handler::Tcp(_) => None,
    })
}
