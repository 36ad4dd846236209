//! A route table as one worker uses it: with the clusters that its routes lead to at hand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use weir_routing::action::{Action, Forward};
use weir_routing::clusters::{ClusterChoice, Clusters as Destinations, WeightedCluster};
use weir_routing::filters::Levels;
use weir_routing::filters::local_ratelimit::RouteLimits;
use weir_routing::{RequestHead, Route, RouteTable, VirtualHost, hash_policy};

use crate::upstream::cluster::ClusterRuntime;
use crate::upstream::clusters::Clusters;

/// A route table and its clusters. It is exchanged whole.
#[derive(Debug)]
pub struct RoutesRuntime {
    /// The table.
    pub table: Arc<RouteTable>,
    /// For each virtual host, the clusters that its routes name by position; none where there is no such cluster.
    clusters: Vec<Vec<Option<Rc<ClusterRuntime>>>>,
}

impl RoutesRuntime {
    /// Finds the clusters of a table.
    pub fn new(table: Arc<RouteTable>, clusters: &Clusters) -> Self {
        let of_host = |host: &Arc<VirtualHost>| host.clusters.iter().map(|name| clusters.get(name)).collect();
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
    /// The newest state; none before the first has arrived.
    pub fn get(&self) -> Option<Rc<RoutesRuntime>> {
        self.0.borrow().clone()
    }

    /// Puts a new state in its place. Requests that have begun keep the old one.
    pub fn set(&self, routes: RoutesRuntime) {
        *self.0.borrow_mut() = Some(Rc::new(routes));
    }
}

/// A route that was found: positions in a table, with the clusters that they lead to.
#[derive(Debug, Clone)]
pub struct Found {
    /// The table that was asked, and its clusters.
    routes: Rc<RoutesRuntime>,
    /// The virtual host's position in it.
    host: usize,
    /// The route's position in the virtual host.
    route: usize,
    /// The cluster that was chosen, where the route has several.
    choice: Option<usize>,
    /// Whether anything is said of filters: each of them asks, twice for each request.
    says_of_filters: bool,
}

impl Found {
    /// A route of a table. Where it has several clusters, one is chosen for the request, which came from `source`.
    pub fn new(routes: Rc<RoutesRuntime>, host: usize, route: usize, head: &RequestHead<'_>, source: IpAddr) -> Self {
        let mut found = Self { routes, host, route, choice: None, says_of_filters: false };
        found.choice = found.forward().and_then(|to| match &to.clusters {
            Destinations::Weighted(weighted) => weighted.choose(head, || hash_policy::evaluate(&to.hash, head, source, || 0).hash),
            Destinations::One(_) => None,
        });
        found.says_of_filters = !found.all_levels().are_empty();
        found
    }

    /// The virtual host.
    pub fn virtual_host(&self) -> &VirtualHost {
        &self.routes.table.virtual_hosts[self.host]
    }

    /// The route.
    pub fn route(&self) -> Option<&Route> {
        self.virtual_host().routes.get(self.route)
    }

    /// What the table changes of requests.
    pub fn table(&self) -> &RouteTable {
        &self.routes.table
    }

    /// How the request is sent on, if it is.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.route()?.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// The cluster that was chosen among several.
    pub fn choice(&self) -> Option<&WeightedCluster> {
        match &self.forward()?.clusters {
            Destinations::Weighted(weighted) => weighted.choices.get(self.choice?),
            Destinations::One(_) => None,
        }
    }

    /// The cluster at a position of the virtual host's list.
    pub fn cluster(&self, cluster: u32) -> Option<&Rc<ClusterRuntime>> {
        self.routes.cluster(self.host, cluster)
    }

    /// The name of the cluster that the request goes to, unless a header of it decides.
    pub fn cluster_name(&self) -> Option<&str> {
        let choice = match &self.forward()?.clusters {
            Destinations::One(choice) => choice,
            Destinations::Weighted(_) => &self.choice()?.cluster,
        };
        match choice {
            ClusterChoice::Named(index) => self.virtual_host().clusters.get(*index as usize).map(|name| &**name),
            ClusterChoice::Header(_) => None,
        }
    }

    /// What the request counts towards, where filters do not say.
    pub fn rate_limits(&self) -> RouteLimits<'_> {
        let (route, include_virtual_host) =
            self.forward().map_or((&[][..], false), |forward| (&*forward.rate_limits, forward.include_host_rate_limits));
        RouteLimits { route, virtual_host: &self.virtual_host().rate_limits, include_virtual_host }
    }

    /// What is said of filters at all levels that apply.
    pub fn levels(&self) -> Levels<'_> {
        if self.says_of_filters { self.all_levels() } else { Levels::default() }
    }

    /// Whether anything is said of filters at any of them.
    pub fn says_of_filters(&self) -> bool {
        self.says_of_filters
    }

    fn all_levels(&self) -> Levels<'_> {
        self.table().filter_levels(self.virtual_host(), self.route(), self.choice())
    }
}

/// Where the connection managers of one proxy find their routes: by name, and those that stand in listeners.
#[derive(Debug, Default)]
pub struct RouteSlots {
    named: RefCell<HashMap<Arc<str>, Rc<RouteSlot>>>,
    inline: RefCell<Vec<(Arc<RouteTable>, Weak<RouteSlot>)>>,
}

impl RouteSlots {
    /// The slot of a table that comes under a name, made if there is none yet.
    pub fn named(&self, name: &Arc<str>) -> Rc<RouteSlot> {
        self.named.borrow_mut().entry(name.clone()).or_default().clone()
    }

    /// A slot for a table that stands in a listener. It follows changes of the clusters as long as somebody uses it.
    pub fn inline(&self, table: &Arc<RouteTable>, clusters: &Clusters) -> Rc<RouteSlot> {
        let slot = Rc::<RouteSlot>::default();
        slot.set(RoutesRuntime::new(table.clone(), clusters));
        self.inline.borrow_mut().push((table.clone(), Rc::downgrade(&slot)));
        slot
    }

    /// Follows a change of the named tables, and of the clusters if any has come or gone.
    pub fn follow(&self, tables: &Tables, previous: &Tables, clusters_changed: bool, clusters: &Clusters) {
        for (name, table) in tables {
            let same = previous.get(name).is_some_and(|known| Arc::ptr_eq(known, table));
            if !same || clusters_changed {
                self.named(name).set(RoutesRuntime::new(table.clone(), clusters));
            }
        }
        // A listener that is on its way out may still use a table that is gone.
        self.named.borrow_mut().retain(|name, slot| tables.contains_key(name) || Rc::strong_count(slot) > 1);
        self.inline.borrow_mut().retain(|(table, slot)| {
            let slot = slot.upgrade();
            if let Some(slot) = slot.as_ref().filter(|_| clusters_changed) {
                slot.set(RoutesRuntime::new(table.clone(), clusters));
            }
            slot.is_some()
        });
    }
}

/// Route tables by their names.
type Tables = HashMap<Arc<str>, Arc<RouteTable>>;
