//! Proxies that follow a pilot and keep what they are told, as it came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use weir_ads::{Client, ClientStream, Manifest, Protocol, Request, Response, Update, is_among, stream};
use weir_model::{Interception, Proxy, ProxyKind};
use weir_pilot::{Pilot, node};
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::core::Node;
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::RouteSpecifier;
use weir_xds::json::{Names, any_to_value};
use weir_xds::listener::Listener;
use weir_xds::listener::filter::ConfigType;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;

/// The proxies of the mesh: their nodes, and which protocol each speaks.
pub fn nodes() -> Vec<(Node, Protocol)> {
    use Interception::{None, Redirect};
    use Protocol::{Delta, StateOfTheWorld};
    use ProxyKind::{Router, Sidecar};
    let rows = [
        (Sidecar, "a", "one", "10.0.0.1", "app=s0,version=v1", Redirect, Delta),
        (Sidecar, "b", "one", "10.0.0.2", "app=s1,version=v2", Redirect, Delta),
        // The same as the one before but for its name and address.
        (Sidecar, "c", "one", "10.0.0.3", "app=s1,version=v2", Redirect, Delta),
        (Sidecar, "d", "two", "10.0.1.1", "app=s0", None, StateOfTheWorld),
        (Sidecar, "e", "two", "10.0.1.2", "", Redirect, StateOfTheWorld),
        (Router, "gw", "istio-system", "0.0.0.0", "istio=ingressgateway", None, Delta),
    ];
    let proxy = |(kind, name, namespace, address, labels, interception, protocol): (_, &str, &str, &str, &str, _, _)| {
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let proxy = Proxy {
            id: Proxy::make_id(kind, address, name, namespace, "cluster.local"),
            kind,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            addresses: vec![address.to_owned()],
            locality: if name == "b" { "eu/a".to_owned() } else { String::new() },
            interception,
        };
        let mut node = node::introduce(&proxy);
        if name == "e" {
            "envoy".clone_into(&mut node.user_agent_name);
        }
        if name == "b" {
            // It gets route configurations whole, though by the delta protocol.
            node.client_features.clear();
        }
        (node, protocol)
    };
    rows.into_iter().map(proxy).collect()
}

/// What a proxy holds, by type and name.
pub type Held = BTreeMap<(ResourceType, Arc<str>), Any>;

/// A proxy, whether or not it is connected now.
pub struct Follower {
    pub id: String,
    state: Arc<Mutex<State>>,
    /// Told when anything has come.
    heard: Arc<Notify>,
    task: Option<AbortHandle>,
}

struct State {
    client: Client,
    held: Held,
    /// Types of which something was said, be it that there is nothing.
    spoken: BTreeSet<ResourceType>,
    /// Names that the proxy asked for and that there are not.
    absent: BTreeSet<(ResourceType, Arc<str>)>,
    wanted: BTreeMap<ResourceType, BTreeSet<Arc<str>>>,
    /// What it refused last: whatever it holds instead is right.
    refused: BTreeSet<(ResourceType, Arc<str>)>,
    /// Refuses the next resource that comes.
    is_to_refuse: bool,
}

impl Follower {
    /// A proxy that is not connected yet.
    pub fn new(node: Node, protocol: Protocol, heard: Arc<Notify>) -> Self {
        let id = node.id.clone();
        let mut client = Client::new(protocol, node);
        client.want_all(ResourceType::Cluster);
        client.want_all(ResourceType::Listener);
        let state = State {
            client,
            held: Held::new(),
            spoken: BTreeSet::new(),
            absent: BTreeSet::new(),
            wanted: BTreeMap::new(),
            refused: BTreeSet::new(),
            is_to_refuse: false,
        };
        Self { id, state: Arc::new(Mutex::new(state)), heard, task: None }
    }

    pub fn is_connected(&self) -> bool {
        self.task.is_some()
    }

    /// Opens a stream to a pilot, and follows it.
    pub async fn connect(&mut self, pilot: &Pilot) {
        let (client, server) = stream::pair(lock(&self.state).client.protocol());
        pilot.streams().send(server).await.unwrap();
        let (state, heard) = (self.state.clone(), self.heard.clone());
        self.task = Some(tokio::spawn(follow(client, state, heard)).abort_handle());
    }

    /// Closes the stream, wherever it is.
    pub fn disconnect(&mut self) {
        self.task.take().into_iter().for_each(|task| task.abort());
    }

    /// Refuses the next resource that comes.
    pub fn refuse_one(&self) {
        lock(&self.state).is_to_refuse = true;
    }

    /// All that it holds, if it has been told all that it asked for.
    pub fn complete(&self) -> Option<Held> {
        let state = lock(&self.state);
        let knows = |kind: &ResourceType, name: &Arc<str>| {
            let key = match kind {
                // It is told with all the others.
                ResourceType::VirtualHost => (*kind, Manifest::name_of(name)),
                _ => (*kind, name.clone()),
            };
            state.held.contains_key(&key) || state.absent.contains(&key)
        };
        let heard = [ResourceType::Cluster, ResourceType::Listener].iter().all(|kind| state.spoken.contains(kind));
        let all = state.wanted.iter().all(|(kind, names)| names.iter().all(|name| knows(kind, name)));
        (heard && all).then(|| state.held.clone())
    }

    /// How what it holds differs from what it should hold; what it refused may be anything.
    pub fn differs(&self, expected: &Held) -> Vec<String> {
        let state = lock(&self.state);
        let names: BTreeSet<_> = state.held.keys().chain(expected.keys()).filter(|key| !state.refused.contains(key)).collect();
        // Whoever has refused a route keeps what the older one leads to.
        let keeps = state.refused.iter().any(|(kind, _)| matches!(kind, ResourceType::Route | ResourceType::VirtualHost));
        let may_stay = |(kind, _): &(ResourceType, _)| keeps && matches!(kind, ResourceType::Cluster | ResourceType::Endpoint);
        let is_other = |key: &&&(ResourceType, Arc<str>)| {
            let (held, expected) = (state.held.get(**key), expected.get(**key));
            held != expected && !(expected.is_none() && may_stay(key))
        };
        let tell = |key: &(ResourceType, Arc<str>)| {
            let how = match (state.held.get(key), expected.get(key)) {
                (None, Some(_)) => "is missing",
                (Some(_), None) => "should be gone",
                _ => "is another one",
            };
            format!("{} {} {how}", key.0.name(), key.1)
        };
        names.iter().filter(is_other).map(|key| tell(key)).collect()
    }

    /// Where the first of the resources that differ does: for whoever looks for the fault.
    pub fn show(&self, expected: &Held) -> Vec<String> {
        let json = |held: &Held, key| held.get(key).and_then(|any| any_to_value(any, Names::Proto).ok()).unwrap_or_default();
        let state = lock(&self.state);
        let keys = state.held.keys().chain(expected.keys()).filter(|key| !state.refused.contains(key));
        let mut places = vec![];
        for key in keys.filter(|key| state.held.get(*key) != expected.get(*key)) {
            differ(&key.1, &json(&state.held, key), &json(expected, key), &mut places);
        }
        places.truncate(8);
        places
    }
}

fn differ(path: &str, has: &Value, expected: &Value, places: &mut Vec<String>) {
    match (has, expected) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().for_each(|(name, value)| differ(&format!("{path}.{name}"), value, &b[name], places));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| differ(&format!("{path}[{i}]"), a, b, places));
        }
        _ if has == expected => {}
        _ => places.push(format!("{path}: has {has}, should have {expected}")),
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

async fn follow(mut stream: ClientStream, state: Arc<Mutex<State>>, heard: Arc<Notify>) {
    let first = lock(&state).client.connect();
    for request in first {
        if stream.requests.send(request).await.is_err() {
            return;
        }
    }
    while let Some(response) = stream.responses.recv().await {
        let requests = lock(&state).take(response);
        heard.notify_one();
        for request in requests {
            if stream.requests.send(request).await.is_err() {
                return;
            }
        }
    }
}

impl State {
    /// Takes a response; what is to be sent for it.
    fn take(&mut self, response: Response) -> Vec<Request> {
        let Some(update) = self.client.receive(response) else { return vec![] };
        let kind = update.kind;
        self.spoken.insert(kind);
        let refused = self.refuse(&update);
        for (name, body) in &update.upserts {
            let key = (kind, name.clone());
            self.absent.remove(&key);
            if refused.iter().any(|(of, _)| of == name) {
                self.refused.insert(key);
            } else {
                self.refused.remove(&key);
                self.held.insert(key, body.clone());
            }
        }
        for name in &update.removals {
            let key = (kind, name.clone());
            self.refused.remove(&key);
            self.held.remove(&key);
            self.absent.insert(key);
        }
        let mut requests = vec![self.client.answer(&update, &refused)];
        // Only clusters, listeners and divided routes name others; what came late and is wanted no more goes at once.
        let concerned: &[ResourceType] = match kind {
            ResourceType::Cluster => &[ResourceType::Endpoint],
            ResourceType::Listener | ResourceType::Route => &[ResourceType::Route, ResourceType::VirtualHost],
            _ => &[kind],
        };
        for of in concerned {
            requests.extend(self.want(*of, kind));
        }
        requests
    }

    /// Wants of a type what is named now that something of another one has come, and lets go what is not; what is to be sent for it.
    fn want(&mut self, kind: ResourceType, came: ResourceType) -> Option<Request> {
        let names = match (kind, came) {
            (ResourceType::Endpoint, ResourceType::Cluster) => self.assignments(),
            (ResourceType::Route, ResourceType::Listener) => self.route_names(),
            (ResourceType::VirtualHost, ResourceType::Listener | ResourceType::Route) => self.divided(),
            _ => self.wanted.get(&kind)?.clone(),
        };
        self.held.retain(|(of, name), _| *of != kind || is_among(&names, kind, name));
        self.absent.retain(|(of, name)| *of != kind || is_among(&names, kind, name));
        self.refused.retain(|(of, name)| *of != kind || is_among(&names, kind, name));
        let request = self.client.want(kind, names.clone());
        self.wanted.insert(kind, names);
        request
    }

    /// Instances and virtual hosts may be refused; what else is refused would change what is asked for.
    fn refuse(&mut self, update: &Update) -> Vec<(Arc<str>, String)> {
        let may = self.is_to_refuse && matches!(update.kind, ResourceType::Endpoint | ResourceType::VirtualHost);
        let refused = update.upserts.first().filter(|_| may).map(|(name, _)| (name.clone(), "not today".to_owned()));
        self.is_to_refuse &= refused.is_none();
        refused.into_iter().collect()
    }

    fn of(&self, kind: ResourceType) -> impl Iterator<Item = &Any> {
        self.held.iter().filter(move |((of, _), _)| *of == kind).map(|(_, body)| body)
    }

    fn assignments(&self) -> BTreeSet<Arc<str>> {
        let clusters = self.of(ResourceType::Cluster).map(|body| body.unpack::<Cluster>().unwrap());
        clusters.filter_map(|cluster| Some(cluster.eds_cluster_config?.service_name.into())).collect()
    }

    /// The route configurations whose virtual hosts come one by one.
    fn divided(&self) -> BTreeSet<Arc<str>> {
        let routes = self.held.iter().filter(|((kind, _), _)| *kind == ResourceType::Route);
        let divided = routes.filter(|(_, body)| body.unpack::<RouteConfiguration>().unwrap().vhds.is_some());
        divided.map(|((_, name), _)| name.clone()).collect()
    }

    fn route_names(&self) -> BTreeSet<Arc<str>> {
        let listeners = self.of(ResourceType::Listener).map(|body| body.unpack::<Listener>().unwrap());
        let chains = listeners.flat_map(|listener| listener.filter_chains.into_iter().chain(listener.default_filter_chain));
        let configs = chains.flat_map(|chain| chain.filters).filter_map(|filter| match filter.config_type? {
            ConfigType::TypedConfig(config) if config.is::<HttpConnectionManager>() => config.unpack::<HttpConnectionManager>().ok(),
            _ => None,
        });
        configs
            .filter_map(|config| match config.route_specifier? {
                RouteSpecifier::Rds(rds) => Some(rds.route_config_name.into()),
                _ => None,
            })
            .collect()
    }
}
