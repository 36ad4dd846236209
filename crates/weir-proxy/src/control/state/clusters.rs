//! Clusters as they were told, from there to being gone.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_config::CompileError;
use weir_config::cluster::{ClusterPolicy, Discovery};
use weir_config::endpoints::Assignment;
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::endpoint::ClusterLoadAssignment;

use super::super::refusal::ResourceRefusal;
use super::State;
use super::listeners::{cluster_names, route_names};
use crate::checks::Checks;
use crate::cluster::Cluster;
use crate::cluster::host::Hosts;
use crate::stats::cluster::ClusterStats;
use crate::tls::transports::Transports;

/// How long a cluster that has changed waits for instances and secrets, while it is in force as it was: as long as Envoy waits where
/// it is not told otherwise. Without end it would go on in plain text where TLS has been asked for.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// A cluster: what is in force, and what it waits for.
pub(super) struct ClusterState {
    /// In force.
    pub current: Arc<Cluster>,
    /// The same as it is to be, while that is not ready.
    next: Option<Arc<Cluster>>,
    pub waiting_since: Option<Instant>,
    /// What stands in the cluster itself, or must be resolved.
    pub endpoints: Assignment,
    /// Whether it is known who the newest one's instances are.
    is_resolved: bool,
    /// Whether requests may be sent to the newest one.
    pub ready: bool,
    checks: Checks,
    /// Whether the server has taken it away: it stays while something is in force that leads to it and is to be replaced.
    is_leaving: bool,
}

impl ClusterState {
    /// As it was told last.
    pub fn newest(&self) -> &Arc<Cluster> {
        self.next.as_ref().unwrap_or(&self.current)
    }

    /// Whether it is in force as it was told last.
    pub fn is_newest(&self) -> bool {
        self.next.is_none()
    }

    /// Gives instances to the newest one, and to the one in force if its own come from the same place; whether they do.
    fn put_hosts(&mut self, hosts: &Hosts) -> bool {
        let is_of_both = self.newest().policy.discovery == self.current.policy.discovery;
        if let Some(next) = &mut self.next {
            *next = with_hosts(next, hosts);
        }
        if is_of_both {
            self.current = with_hosts(&self.current, hosts);
        }
        is_of_both
    }

    /// Whether its instances are the addresses of names.
    pub fn is_by_name(&self) -> bool {
        matches!(self.newest().policy.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_))
    }

    fn follow_checks(&mut self) {
        let transports = &self.newest().transports;
        // What serves goes on while a secret may still be made. Without it there is nothing to keep: for a secret that its server does
        // not have, nobody waits then.
        let lacks_secrets = if self.is_newest() { transports.is_waiting() } else { transports.is_missing() };
        self.ready = self.is_resolved && self.checks.are_warm() && !lacks_secrets;
    }
}

impl State {
    pub(super) fn upsert_cluster(&mut self, name: &Arc<str>, cluster: &XdsCluster) -> Result<(), ResourceRefusal> {
        let policy = Arc::new(ClusterPolicy::compile(cluster)?);
        if policy.health_check.as_ref().is_some_and(|check| check.runs_commands()) && !self.may_run_commands {
            return Err("health_checks[0].custom_health_check: it runs a command, which this proxy is not allowed to; \
                 --allow-exec-probes allows it"
                .to_owned()
                .into());
        }
        let endpoints = match &policy.discovery {
            Discovery::Static(assignment) => compile_assignment(assignment)?,
            Discovery::StrictDns(assignment) | Discovery::LogicalDns(assignment) => compile_assignment(assignment)?.named_by_host(),
            Discovery::Eds(_) | Discovery::OriginalDestination | Discovery::OfRequest | Discovery::Aggregate(_) => Assignment::default(),
        };
        let before = self.clusters.get(name).map(|known| known.newest().transports.clone());
        let transports = Transports::new(&policy.transports, before.as_ref(), &mut self.secrets)?;
        if policy.transports.tls().any(|tls| tls.validation.verifies_nothing()) {
            tracing::warn!(proxy = %self.id, cluster = %name, "its TLS verifies nobody: no trusted CA is named");
        }
        let mut known = self.clusters.remove(name);
        let checks = known.as_mut().map(|known| std::mem::take(&mut known.checks)).unwrap_or_default();
        let stats = known.as_ref().map_or_else(|| Arc::new(ClusterStats::new(self.workers)), |known| known.current.stats.clone());
        // Instances stay through a change of the cluster; they are brought up to date at once.
        let resources = known.as_ref().map(|known| known.current.resources.clone()).unwrap_or_default();
        let health = known.as_ref().map(|known| known.current.health.clone()).unwrap_or_default();
        let hosts = known.as_ref().map_or_else(Hosts::default, |known| known.newest().hosts.clone());
        health.follow(policy.outlier.as_ref(), policy.health_check.is_some(), &hosts);
        let newest = Arc::new(Cluster { policy, hosts, stats, resources, health, transports });
        let (current, next, waiting_since) = match known {
            // Who sends cluster after cluster does not make them wait for ever.
            Some(known) if known.ready || !known.is_newest() => (known.current, Some(newest), known.waiting_since),
            // What was never ready has nothing to keep.
            _ => (newest, None, None),
        };
        self.changed.clusters |= next.is_none();
        let (is_resolved, ready, is_leaving) = (false, false, false);
        let state = ClusterState { current, next, waiting_since, endpoints, is_resolved, ready, checks, is_leaving };
        self.clusters.insert(name.clone(), state);
        self.refresh_cluster(name, true);
        Ok(())
    }

    /// Brings those clusters into force that have changed and are ready now, or have waited for too long.
    pub(super) fn activate_clusters(&mut self, now: Instant) {
        for state in self.clusters.values_mut().filter(|state| !state.is_newest()) {
            let since = *state.waiting_since.get_or_insert(now);
            if state.ready || now.duration_since(since) >= FETCH_TIMEOUT {
                state.current = state.newest().clone();
                state.next = None;
                state.waiting_since = None;
                self.changed.clusters = true;
            }
        }
    }

    /// The server has taken a cluster away. It goes by [`Self::let_clusters_go`].
    pub(super) fn remove_cluster(&mut self, name: &str) {
        if let Some(state) = self.clusters.get_mut(name) {
            state.is_leaving = true;
        }
    }

    /// Lets those clusters go that were taken away. The server takes a route's acceptance for the switch to it, and then takes the
    /// cluster away that the old one led to; but the old one is in force until the new one's clusters are ready.
    pub(super) fn let_clusters_go(&mut self) {
        if !self.clusters.values().any(|state| state.is_leaving) {
            return;
        }
        let needed = self.needed_until_replaced();
        let mut gone = vec![];
        self.clusters.retain(|name, state| {
            let stays = !state.is_leaving || needed.contains(name);
            if !stays {
                gone.push(state.newest().clone());
            }
            stays
        });
        if gone.is_empty() {
            return;
        }
        self.changed.clusters = true;
        self.wants_differ = true;
        if gone.iter().any(|cluster| cluster.policy.health_check.as_ref().is_some_and(|policy| policy.probe.is_some())) {
            // Nobody knows how the workload is any more.
            self.told.workload.send_replace(None);
        }
    }

    /// The clusters that something leads to which is in force only until what replaces it is ready.
    fn needed_until_replaced(&self) -> HashSet<Arc<str>> {
        let replaced = self.listeners.values().filter(|state| !state.is_active()).filter_map(|state| state.active.as_ref());
        let listeners: Vec<_> = replaced.map(|active| &*active.listener).collect();
        let named: HashSet<Arc<str>> = listeners.iter().flat_map(|listener| route_names(listener)).collect();
        let tables = self.routes.iter().filter_map(|(name, state)| {
            let active = state.active.as_ref()?;
            (named.contains(name) || !Arc::ptr_eq(active, &state.newest)).then_some(active)
        });
        let of_tables = tables.flat_map(|table| table.virtual_hosts.iter()).flat_map(|host| host.clusters.iter());
        let of_listeners = listeners.iter().flat_map(|listener| cluster_names(listener));
        of_tables.chain(of_listeners).cloned().collect()
    }

    /// Takes the addresses of a name.
    pub fn resolved(&mut self, name: &str, addresses: Vec<IpAddr>) {
        let names_it = |state: &ClusterState| state.is_by_name() && state.endpoints.names().any(|wanted| wanted == name);
        // The last answer may come when nobody asks any more.
        if self.addresses.get(name) == Some(&addresses) || !self.clusters.values().any(names_it) {
            return;
        }
        self.addresses.insert(name.to_owned(), addresses);
        self.refresh_hosts(names_it);
    }

    pub(super) fn refresh_hosts(&mut self, concerned: impl Fn(&ClusterState) -> bool) {
        let names: Vec<Arc<str>> = self.clusters.iter().filter(|(_, state)| concerned(state)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.refresh_cluster(name, false));
    }

    /// Brings a cluster's instances up to date.
    fn refresh_cluster(&mut self, name: &Arc<str>, has_new_policy: bool) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        let newest = state.newest().clone();
        let policy = &newest.policy;
        let (endpoints, is_resolved) = match &policy.discovery {
            Discovery::Static(_) => (Some(&state.endpoints), true),
            Discovery::OriginalDestination | Discovery::OfRequest | Discovery::Aggregate(_) => (None, true),
            Discovery::Eds(service) => (self.assignments.get(service), self.assignments.contains_key(service)),
            Discovery::StrictDns(_) | Discovery::LogicalDns(_) => {
                let known = state.endpoints.names().all(|name| self.addresses.contains_key(name));
                // Those of a cluster that has changed stay until all of the new ones are known.
                ((known || state.is_newest()).then_some(&state.endpoints), known)
            }
        };
        state.is_resolved = is_resolved;
        let Some(endpoints) = endpoints else {
            state.follow_checks();
            return;
        };
        let most = if matches!(policy.discovery, Discovery::LogicalDns(_)) { 1 } else { usize::MAX };
        let resolve = |name: &str| {
            let addresses = self.addresses.get(name).map(Vec::as_slice).unwrap_or_default();
            policy.dns_family.choose(addresses).take(most).collect()
        };
        let before = &newest.hosts;
        let hosts = Hosts::build(endpoints, resolve, Some(before), Instant::now());
        if !hosts.is_same(before) {
            state.current.health.recount(&hosts);
            self.changed.clusters |= state.put_hosts(&hosts);
        } else if !has_new_policy {
            state.follow_checks();
            return;
        }
        let now = state.newest().clone();
        state.checks.follow(&now, before, &self.told);
        state.follow_checks();
    }

    /// Looks again which clusters are ready, when instances have been checked, or a secret has come.
    pub fn follow_checks(&mut self) {
        self.clusters.values_mut().for_each(ClusterState::follow_checks);
    }
}

/// The same cluster with other instances.
fn with_hosts(cluster: &Cluster, hosts: &Hosts) -> Arc<Cluster> {
    let Cluster { policy, hosts: _, stats, resources, health, transports } = cluster;
    let (policy, stats, resources, health) = (policy.clone(), stats.clone(), resources.clone(), health.clone());
    Arc::new(Cluster { policy, hosts: hosts.clone(), stats, resources, health, transports: transports.clone() })
}

/// What stands in a cluster itself.
fn compile_assignment(assignment: &ClusterLoadAssignment) -> Result<Assignment, CompileError> {
    Assignment::compile(assignment).map_err(|error| error.within("load_assignment"))
}
