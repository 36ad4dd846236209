//! Listeners as they were told, from there to being in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use weir_config::budget::Budget;
use weir_config::http::RouteSource;
use weir_config::listener::{Chain, Handler, Listener};

use super::super::refusal::ResourceRefusal;
use super::{PATIENCE, RouteState, State};
use crate::http::{check_filters, check_table};
use crate::listener::sockets::Bound;
use crate::stats::listener::ListenerStats;
use crate::tls::secrets::Secrets;
use crate::tls::server::ServerTransport;

/// A listener: the newest that was told, and what is in force.
pub(super) struct ListenerState {
    pub newest: Prepared,
    pub active: Option<Prepared>,
    pub waiting_since: Option<Instant>,
    /// How many connections it may have, where that is limited.
    pub limit: Option<Arc<Budget>>,
    pub stats: Arc<ListenerStats>,
}

impl ListenerState {
    /// What is newest and what is in force.
    pub fn both(&self) -> impl Iterator<Item = &Prepared> {
        std::iter::once(&self.newest).chain(&self.active)
    }

    pub fn is_active(&self) -> bool {
        self.active.as_ref().is_some_and(|active| Arc::ptr_eq(&active.listener, &self.newest.listener))
    }
}

/// A compiled listener, what its handshakes of TLS are done with, and its sockets.
#[derive(Clone)]
pub(super) struct Prepared {
    pub listener: Arc<Listener>,
    /// In the order of its filter chains.
    pub tls: Arc<[Option<Arc<ServerTransport>>]>,
    /// None if other listeners hand connections to it.
    pub sockets: Option<Arc<Bound>>,
}

/// What the handshakes of each filter chain are done with. Chains that did not change keep theirs, and with it the sessions
/// that clients may resume.
pub(super) fn tls_of(
    listener: &Listener,
    known: Option<&ListenerState>,
    secrets: &mut Secrets,
) -> Result<Arc<[Option<Arc<ServerTransport>>]>, ResourceRefusal> {
    let known = known.into_iter().flat_map(|known| known.newest.listener.all_chains().zip(known.newest.tls.iter()));
    let known: HashMap<*const Chain, &Option<Arc<ServerTransport>>> = known.map(|(chain, tls)| (Arc::as_ptr(chain), tls)).collect();
    let chains = listener.all_chains().map(|chain| match &chain.tls {
        None => Ok(None),
        Some(policy) => match known.get(&Arc::as_ptr(chain)) {
            Some(same) => Ok((*same).clone()),
            None => ServerTransport::new(policy, secrets).map(Some).map_err(|error| error.within("transport_socket").into()),
        },
    });
    chains.collect()
}

/// Whether the scripts of a listener's filters, and of tables that stand in it, can be loaded.
pub(super) fn check_scripts(listener: &Listener) -> Result<(), ResourceRefusal> {
    for chain in listener.all_chains() {
        if let Handler::Http(http) = &chain.handler {
            check_filters(&http.filters)?;
            if let RouteSource::Inline(table) = &http.routes {
                check_table(table)?;
            }
        }
    }
    Ok(())
}

/// The route tables that a listener names.
pub(super) fn route_names(listener: &Listener) -> impl Iterator<Item = Arc<str>> {
    listener.all_chains().filter_map(|chain| match &chain.handler {
        Handler::Http(http) => match &http.routes {
            RouteSource::Named(name) => Some(name.clone()),
            RouteSource::Inline(_) => None,
        },
        Handler::Tcp(_) | Handler::Respond(_) => None,
    })
}

/// The clusters that a listener leads to without a table of a name: for TCP, and by tables that stand in it.
pub(super) fn cluster_names(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    listener.all_chains().flat_map(|chain| match &chain.handler {
        Handler::Tcp(tcp) => tcp.clusters.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        Handler::Http(http) => match &http.routes {
            RouteSource::Inline(table) => table.virtual_hosts.iter().flat_map(|host| &host.clusters).collect(),
            RouteSource::Named(_) => vec![],
        },
        Handler::Respond(_) => vec![],
    })
}

impl State {
    /// Brings those listeners into force whose tables are, and whose clusters are ready, or that have waited for them too long: one
    /// chain does not hold up the others for ever. A chain whose table has not come answers as where no route is found.
    pub(super) fn activate_listeners(&mut self, now: Instant) {
        for state in self.listeners.values_mut().filter(|state| !state.is_active()) {
            let listener = &state.newest.listener;
            let mut tables = route_names(listener).map(|name| self.routes.get(&name).is_some_and(|table| table.active.is_some()));
            let tcp = listener.all_chains().flat_map(|chain| match &chain.handler {
                Handler::Tcp(tcp) => tcp.clusters.as_slice(),
                Handler::Http(_) | Handler::Respond(_) => &[],
            });
            let mut clusters = tcp.map(|(name, _)| self.clusters.get(name).is_none_or(|cluster| cluster.ready));
            let ready = tables.all(|is_active| is_active) && clusters.all(|ready| ready);
            let since = *state.waiting_since.get_or_insert(now);
            if ready || (now.duration_since(since) >= PATIENCE && !waits_for_table(listener, &self.routes)) {
                state.active = Some(state.newest.clone());
                state.waiting_since = None;
                self.changed.listeners = true;
            }
        }
    }

    /// When the patience of listeners ends.
    pub(super) fn listener_deadlines(&self) -> impl Iterator<Item = Instant> {
        let waiting = self.listeners.values().filter_map(|state| Some((state.waiting_since?, &state.newest.listener)));
        waiting.filter(|(_, listener)| !waits_for_table(listener, &self.routes)).map(|(since, _)| since + PATIENCE)
    }
}

/// Whether a table of a listener is there and waits for its clusters. It has a patience of its own: the listener's does not end before.
fn waits_for_table(listener: &Listener, routes: &HashMap<Arc<str>, RouteState>) -> bool {
    route_names(listener).any(|name| routes.get(&name).is_some_and(|table| table.active.is_none()))
}
