//! A route table as one worker uses it: with the clusters that its routes lead to at hand.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use weir_routing::{Route, RouteTable, VirtualHost};

use super::cluster::ClusterRuntime;

/// A route table and its clusters. It is exchanged whole.
#[derive(Debug)]
pub struct RoutesRuntime {
    /// The table.
    pub table: Arc<RouteTable>,
    /// For each virtual host, the clusters that its routes name by position; none where there is no such cluster.
    clusters: Vec<Vec<Option<Rc<ClusterRuntime>>>>,
}

impl RoutesRuntime {
    /// Finds the clusters of a table; `find` knows them by name.
    pub fn new(table: Arc<RouteTable>, find: impl Fn(&str) -> Option<Rc<ClusterRuntime>>) -> Self {
        let of_host = |host: &Arc<VirtualHost>| host.clusters.iter().map(|name| find(name)).collect();
        Self { clusters: table.virtual_hosts.iter().map(of_host).collect(), table }
    }

    /// The cluster at a position of a virtual host's list.
    pub fn cluster(&self, host: usize, cluster: u32) -> Option<&Rc<ClusterRuntime>> {
        self.clusters.get(host)?.get(cluster as usize)?.as_ref()
    }
}

/// Where connections find the newest state of a route table.
#[derive(Debug, Default)]
pub struct RouteSlot(RefCell<Option<Rc<RoutesRuntime>>>);

impl RouteSlot {
    /// A slot that has its table from the start.
    pub fn filled(routes: RoutesRuntime) -> Self {
        Self(RefCell::new(Some(Rc::new(routes))))
    }

    /// The newest state; none before the first has arrived.
    pub fn get(&self) -> Option<Rc<RoutesRuntime>> {
        self.0.borrow().clone()
    }

    /// Puts a new state in its place. Requests that have begun keep the old one.
    pub fn set(&self, routes: RoutesRuntime) {
        *self.0.borrow_mut() = Some(Rc::new(routes));
    }
}

/// A virtual host, and the route in it, if one matched.
#[derive(Debug, Clone)]
pub struct Matched {
    /// The table that was asked.
    pub routes: Rc<RoutesRuntime>,
    /// The virtual host's position in it.
    pub host: usize,
    /// The route's position in the virtual host.
    pub route: Option<usize>,
}

impl Matched {
    /// The virtual host.
    pub fn virtual_host(&self) -> &Arc<VirtualHost> {
        &self.routes.table.virtual_hosts[self.host]
    }

    /// The route.
    pub fn route(&self) -> Option<&Route> {
        self.virtual_host().routes.get(self.route?)
    }
}
