//! Route tables, from there to being in force.

use std::sync::Arc;
use std::time::Instant;

use weir_ads::Manifest;
use weir_routing::RouteTable;
use weir_routing::divided::TableRest;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;

use super::super::refusal::ResourceRefusal;
use super::{PATIENCE, Refused, State};
use crate::http::check_table;

/// A table: the newest that was told, and what is in force.
pub(super) struct RouteState {
    pub newest: Arc<RouteTable>,
    /// In force; another one than the newest while that one waits.
    pub active: Option<Arc<RouteTable>>,
    pub waiting_since: Option<Instant>,
}

impl State {
    pub(super) fn upsert_route(&mut self, name: &Arc<str>, config: &RouteConfiguration, version: &str) -> Result<(), ResourceRefusal> {
        if config.vhds.is_some() {
            return self.divided.put_rest(name, TableRest::compile(config)?, version);
        }
        let previous = self.routes.get(name).map(|known| &*known.newest);
        let newest = Arc::new(RouteTable::compile(config, previous)?);
        check_table(&newest)?;
        self.divided.remove(name);
        self.put_table(name, newest);
        Ok(())
    }

    /// Puts tables together of which all parts are there, now that some of a type have come. Those that cannot be are refused by
    /// what says that all of it is there, and the last ones stay.
    pub(super) fn assemble_routes(&mut self, kind: ResourceType) -> Refused {
        let (tables, refused) = self.divided.assemble();
        tables.into_iter().for_each(|(name, table)| self.put_table(&name, table));
        let name = |name: Arc<str>| if kind == ResourceType::VirtualHost { Manifest::name_of(&name) } else { name };
        refused.into_iter().map(|(of, refusal)| (name(of), refusal)).collect()
    }

    fn put_table(&mut self, name: &Arc<str>, newest: Arc<RouteTable>) {
        let known = self.routes.get(name);
        let active = known.and_then(|known| known.active.clone());
        // Who sends table after table does not make them wait for ever.
        let waiting_since = known.and_then(|known| known.waiting_since);
        self.routes.insert(name.clone(), RouteState { newest, active, waiting_since });
    }

    pub(super) fn remove_routes(&mut self, name: &Arc<str>) {
        self.divided.remove(name);
        self.changed.routes |= self.routes.remove(name).is_some();
    }

    pub(super) fn activate_routes(&mut self, now: Instant) {
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
                self.changed.routes = true;
            }
        }
    }
}
