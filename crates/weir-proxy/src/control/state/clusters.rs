//! Clusters as they were told, from there to being gone.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

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

/// A cluster: what is in force, and what it waits for.
pub(super) struct ClusterState {
    pub current: Arc<Cluster>,
    /// What stands in the cluster itself, or must be resolved.
    pub endpoints: Assignment,
    /// Whether it is known who its instances are.
    is_resolved: bool,
    /// Whether requests may be sent to it.
    pub ready: bool,
    checks: Checks,
    /// Whether the server has taken it away: it stays while something is in force that leads to it and is to be replaced.
    is_leaving: bool,
}

impl ClusterState {
    /// Whether its instances are the addresses of names.
    pub fn is_by_name(&self) -> bool {
        matches!(self.current.policy.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_))
    }

    fn follow_checks(&mut self) {
        self.ready = self.is_resolved && self.checks.are_warm() && !self.current.transports.is_waiting();
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
            Discovery::Eds(_) | Discovery::OriginalDestination | Discovery::OfRequest => Assignment::default(),
        };
        let before = self.clusters.get(name).map(|known| known.current.transports.clone());
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
        let hosts = known.map_or_else(Hosts::default, |known| known.current.hosts.clone());
        health.follow(policy.outlier.as_ref(), policy.health_check.is_some(), &hosts);
        let current = Arc::new(Cluster { policy, hosts, stats, resources, health, transports });
        let state = ClusterState { current, endpoints, is_resolved: false, ready: false, checks, is_leaving: false };
        self.clusters.insert(name.clone(), state);
        self.changed.clusters = true;
        self.refresh_cluster(name, true);
        Ok(())
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
                gone.push(state.current.clone());
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
        let policy = &state.current.policy;
        let (endpoints, is_resolved) = match &policy.discovery {
            Discovery::Static(_) => (Some(&state.endpoints), true),
            Discovery::OriginalDestination | Discovery::OfRequest => (None, true),
            Discovery::Eds(service) => (self.assignments.get(service), self.assignments.contains_key(service)),
            Discovery::StrictDns(_) | Discovery::LogicalDns(_) => {
                let known = state.endpoints.names().all(|name| self.addresses.contains_key(name));
                (Some(&state.endpoints), known)
            }
        };
        state.is_resolved = is_resolved;
        state.ready = is_resolved;
        let Some(endpoints) = endpoints else { return };
        let most = if matches!(policy.discovery, Discovery::LogicalDns(_)) { 1 } else { usize::MAX };
        let resolve = |name: &str| {
            let addresses = self.addresses.get(name).map(Vec::as_slice).unwrap_or_default();
            policy.dns_family.choose(addresses).take(most).collect()
        };
        let hosts = Hosts::build(endpoints, resolve, Some(&state.current.hosts), Instant::now());
        let before = state.current.hosts.clone();
        if !hosts.is_same(&before) {
            state.current.health.recount(&hosts);
            let Cluster { policy, hosts: _, stats, resources, health, transports } = &*state.current;
            let (policy, stats, resources, health) = (policy.clone(), stats.clone(), resources.clone(), health.clone());
            let transports = transports.clone();
            state.current = Arc::new(Cluster { policy, hosts, stats, resources, health, transports });
            self.changed.clusters = true;
        } else if !has_new_policy {
            state.follow_checks();
            return;
        }
        state.checks.follow(&state.current, &before, &self.told);
        state.follow_checks();
    }

    /// Looks again which clusters are ready, when instances have been checked, or a secret has come.
    pub fn follow_checks(&mut self) {
        self.clusters.values_mut().for_each(ClusterState::follow_checks);
    }
}

/// What stands in a cluster itself.
fn compile_assignment(assignment: &ClusterLoadAssignment) -> Result<Assignment, CompileError> {
    Assignment::compile(assignment).map_err(|error| error.within("load_assignment"))
}
