//! One sidecar that asks for all it is to know, as a proxy does, and keeps nothing of it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use weir_ads::{ClientStream, Request, Response};
use weir_xds::cluster::Cluster;
use weir_xds::core::Node;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::RouteSpecifier;
use weir_xds::listener::Listener;
use weir_xds::listener::filter::ConfigType;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;
use weir_xds::values::structure;
use weir_xds::{Any, Message};

/// The feature of a proxy that takes virtual hosts one by one.
const VHDS: &str = "weir.vhds";

/// The names that resources make a proxy ask for, read once for all sidecars: who measures must not be what is measured.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<Any, Arc<[String]>>>);

impl Names {
    fn of(&self, body: &Any) -> Arc<[String]> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(body.clone()).or_insert_with(|| named(body).into()).clone()
    }
}

fn named(body: &Any) -> Vec<String> {
    if let Ok(cluster) = body.unpack::<Cluster>() {
        return cluster.eds_cluster_config.into_iter().map(|eds| eds.service_name).collect();
    }
    if let Ok(routes) = body.unpack::<RouteConfiguration>() {
        return routes.vhds.into_iter().map(|_| routes.name.clone()).collect();
    }
    let Ok(listener) = body.unpack::<Listener>() else { return vec![] };
    let chains = listener.filter_chains.into_iter().chain(listener.default_filter_chain);
    let configs = chains.flat_map(|chain| chain.filters).filter_map(|filter| match filter.config_type? {
        ConfigType::TypedConfig(config) => config.unpack::<HttpConnectionManager>().ok(),
        _ => None,
    });
    configs
        .filter_map(|config| match config.route_specifier? {
            RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
            _ => None,
        })
        .collect()
}

/// What came, and when, by the URL of its type.
type First = HashMap<String, (Instant, DeltaDiscoveryResponse)>;

/// What all know of one sidecar.
#[derive(Default)]
pub(crate) struct Seen {
    /// How many bytes of resources it got.
    pub bytes: AtomicU64,
    /// What came first since it was told to forget.
    first: Mutex<First>,
    /// Whether it has been told all that it asked for.
    complete: AtomicBool,
}

impl Seen {
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// What came first of a type since it was told to forget, and when.
    pub fn first(&self, kind: ResourceType) -> Option<(Instant, DeltaDiscoveryResponse)> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get(&kind.type_url()).cloned()
    }

    /// Whether anything of a type came.
    pub fn has(&self, kind: ResourceType) -> bool {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&kind.type_url())
    }

    /// Forgets what came, so that only what comes next is there.
    pub fn forget(&self) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take(&self, response: DeltaDiscoveryResponse) {
        let bodies = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
        self.bytes.fetch_add(bodies.map(|body| body.value.len() as u64).sum(), Ordering::Relaxed);
        if !response.resources.is_empty() {
            let now = Instant::now();
            // The first after a change counts: a pilot that sends more than once is not rewarded, nor punished.
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.entry(response.type_url.clone()).or_insert((now, response));
        }
    }
}

/// How a sidecar wants its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routes {
    /// As whole route configurations, as Envoy does.
    Whole,
    /// By virtual host, as Weir's proxy does.
    ByVirtualHost,
}

/// A sidecar's state.
pub(crate) struct Sidecar {
    number: usize,
    routes: Routes,
    names: Arc<Names>,
    seen: Arc<Seen>,
    asked: HashSet<(ResourceType, String)>,
    /// What was asked for and has not come yet.
    lacks: HashSet<(ResourceType, String)>,
    /// Clusters and listeners, whatever there is of them.
    heard: HashSet<ResourceType>,
}

impl Sidecar {
    pub fn new(number: usize, routes: Routes, names: Arc<Names>, seen: Arc<Seen>) -> Self {
        Self { number, routes, names, seen, asked: HashSet::new(), lacks: HashSet::new(), heard: HashSet::new() }
    }

    /// Follows until the stream ends.
    pub async fn follow(mut self, mut stream: ClientStream) {
        for kind in [ResourceType::Cluster, ResourceType::Listener] {
            let node = (kind == ResourceType::Cluster).then(|| node(self.number, self.routes));
            let request = DeltaDiscoveryRequest { node, type_url: kind.type_url(), ..Default::default() };
            if stream.requests.send(Request::Delta(request)).await.is_err() {
                return;
            }
        }
        while let Some(response) = stream.responses.recv().await {
            let Response::Delta(response) = response else { return };
            for request in self.take(response) {
                if stream.requests.send(Request::Delta(request)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Takes a response; what is to be sent for it.
    fn take(&mut self, response: DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryRequest> {
        let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
        let mut requests = vec![DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }];
        if let Some(kind) = ResourceType::from_type_url(&response.type_url) {
            self.heard.insert(kind);
            let next = match kind {
                ResourceType::Cluster => Some(ResourceType::Endpoint),
                ResourceType::Listener => Some(ResourceType::Route),
                ResourceType::Route => Some(ResourceType::VirtualHost),
                _ => None,
            };
            for resource in &response.resources {
                // That all virtual hosts of a table are there is told by one of no name.
                self.lacks.remove(&(kind, resource.name.trim_end_matches('/').to_owned()));
            }
            requests.extend(next.and_then(|next| self.ask(next, &response)));
        }
        self.seen.take(response);
        let heard = self.heard.contains(&ResourceType::Cluster) && self.heard.contains(&ResourceType::Listener);
        self.seen.complete.store(heard && self.lacks.is_empty(), Ordering::Relaxed);
        requests
    }

    /// Asks for what a response names, as far as that is new.
    fn ask(&mut self, kind: ResourceType, response: &DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
        let bodies = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
        let mut fresh = vec![];
        for body in bodies {
            for name in self.names.of(body).iter() {
                if self.asked.insert((kind, name.clone())) {
                    self.lacks.insert((kind, name.clone()));
                    fresh.push(name.clone());
                }
            }
        }
        let request = DeltaDiscoveryRequest { type_url: kind.type_url(), resource_names_subscribe: fresh, ..Default::default() };
        (!request.resource_names_subscribe.is_empty()).then_some(request)
    }
}

fn node(number: usize, routes: Routes) -> Node {
    let address = format!("10.{}.{}.{}", 200 + number / 62500, number / 250 % 250, number % 250 + 1);
    let metadata = serde_json::json!({
        "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes", "INSTANCE_IPS": address, "LABELS": { "app": "load" },
    });
    Node {
        id: format!("sidecar~{address}~load-{number}.default~default.svc.cluster.local"),
        metadata: metadata.as_object().map(structure),
        client_features: (routes == Routes::ByVirtualHost).then(|| VHDS.to_owned()).into_iter().collect(),
        ..Default::default()
    }
}

/// A response as bytes.
pub(crate) fn encode(response: &DeltaDiscoveryResponse) -> Vec<u8> {
    Message::encode_to_vec(response)
}
