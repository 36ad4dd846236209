//! One sidecar that asks for all it is to know, as a proxy does, and keeps nothing of it.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Buf;
use prost::Message;
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::core::Node;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::RouteSpecifier;
use weir_xds::listener::Listener;
use weir_xds::listener::filter::ConfigType;
use weir_xds::resource::ResourceType;
use weir_xds::values::structure;

use crate::folder;
use crate::stream::{Envelope, Heading, Pieces, Stream};

/// The names that resources make a proxy ask for, read once for all sidecars: who measures must not be what is measured.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<Heading, Arc<[String]>>>);

impl Names {
    /// The names for all resources of a response, which is read whole only if one of them is new.
    fn of(&self, envelope: &Envelope, response: &Pieces) -> Vec<Arc<[String]>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if envelope.resources.iter().any(|heading| !known.contains_key(heading)) {
            let whole = DeltaDiscoveryResponse::decode(response.clone()).unwrap_or_default();
            for (heading, resource) in envelope.resources.iter().zip(whole.resources) {
                known.insert(heading.clone(), resource.resource.as_ref().map(named).unwrap_or_default().into());
            }
        }
        envelope.resources.iter().filter_map(|heading| known.get(heading).cloned()).collect()
    }
}

fn named(body: &Any) -> Vec<String> {
    if let Ok(cluster) = body.unpack::<Cluster>() {
        return cluster.eds_cluster_config.into_iter().map(|eds| eds.service_name).collect();
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

/// What came first of a type, and when.
#[derive(Clone)]
pub(crate) struct First {
    pub at: Instant,
    /// Tells it from others: by the names and versions in it.
    pub hash: u64,
    /// All of it, of one of the sidecars: thousands of them would hold more than there is memory, and who gives that back is busy
    /// when it should note what comes.
    pub response: Option<Pieces>,
}

/// What all know of one sidecar.
#[derive(Default)]
pub(crate) struct Seen {
    /// How many bytes it got.
    pub bytes: AtomicU64,
    /// What came first since it was told to forget.
    first: Mutex<HashMap<ResourceType, First>>,
    /// Which changes of the endpoint came, and when.
    marks: Mutex<Vec<(u32, Instant)>>,
    /// Whether it has been told all that it asked for.
    complete: AtomicBool,
}

impl Seen {
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// What came first of a type since it was told to forget.
    pub fn first(&self, kind: ResourceType) -> Option<First> {
        self.firsts().get(&kind).cloned()
    }

    /// Whether anything of a type came.
    pub fn has(&self, kind: ResourceType) -> bool {
        self.firsts().contains_key(&kind)
    }

    /// Forgets what came, so that only what comes next is there.
    pub fn forget(&self) {
        self.firsts().clear();
    }

    /// Which changes of the endpoint came since the last time that this was asked, and when.
    pub fn take_marks(&self) -> Vec<(u32, Instant)> {
        std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn firsts(&self) -> MutexGuard<'_, HashMap<ResourceType, First>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, kind: ResourceType, headings: &[Heading], response: Pieces, is_kept: bool) {
        self.bytes.fetch_add(response.remaining() as u64, Ordering::Relaxed);
        if headings.is_empty() {
            return;
        }
        let at = Instant::now();
        if kind == ResourceType::Endpoint && self.is_complete() {
            let mark = folder::mark(response.chunk());
            self.marks.lock().unwrap_or_else(PoisonError::into_inner).extend(mark.map(|mark| (mark, at)));
        }
        // The first after a change counts: a pilot that sends more than once is not rewarded, nor punished.
        self.firsts().entry(kind).or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            headings.hash(&mut hasher);
            First { at, hash: hasher.finish(), response: is_kept.then_some(response) }
        });
    }
}

/// A sidecar's state.
pub(crate) struct Sidecar {
    number: usize,
    names: Arc<Names>,
    seen: Arc<Seen>,
    asked: HashSet<(ResourceType, String)>,
    /// What was asked for and has not come yet.
    lacks: HashSet<(ResourceType, String)>,
    /// Clusters and listeners, whatever there is of them.
    heard: HashSet<ResourceType>,
}

impl Sidecar {
    pub fn new(number: usize, names: Arc<Names>, seen: Arc<Seen>) -> Self {
        Self { number, names, seen, asked: HashSet::new(), lacks: HashSet::new(), heard: HashSet::new() }
    }

    /// Follows until the stream ends.
    ///
    /// # Errors
    /// When it does.
    pub async fn follow(mut self, mut stream: Stream) -> anyhow::Result<()> {
        for kind in [ResourceType::Cluster, ResourceType::Listener] {
            let node = (kind == ResourceType::Cluster).then(|| node(self.number));
            stream.send(&DeltaDiscoveryRequest { node, type_url: kind.type_url(), ..Default::default() })?;
        }
        loop {
            let response = stream.next().await?;
            for request in self.take(response)? {
                stream.send(&request)?;
            }
        }
    }

    /// Takes a response; what is to be sent for it.
    fn take(&mut self, response: Pieces) -> anyhow::Result<Vec<DeltaDiscoveryRequest>> {
        let envelope = Envelope::decode(response.clone())?;
        let Some(kind) = ResourceType::from_type_url(&envelope.type_url) else { return Ok(vec![]) };
        let next = match kind {
            ResourceType::Cluster => Some(ResourceType::Endpoint),
            ResourceType::Listener => Some(ResourceType::Route),
            _ => None,
        };
        self.heard.insert(kind);
        if !self.lacks.is_empty() {
            for heading in &envelope.resources {
                self.lacks.remove(&(kind, heading.name.clone()));
            }
        }
        let asked = next.and_then(|next| {
            let names = self.names.of(&envelope, &response);
            self.ask(next, &names)
        });
        let Envelope { resources, type_url, nonce } = envelope;
        self.seen.take(kind, &resources, response, self.number == 0);
        let heard = self.heard.contains(&ResourceType::Cluster) && self.heard.contains(&ResourceType::Listener);
        self.seen.complete.store(heard && self.lacks.is_empty(), Ordering::Relaxed);
        let answer = DeltaDiscoveryRequest { type_url, response_nonce: nonce, ..Default::default() };
        Ok(std::iter::once(answer).chain(asked).collect())
    }

    /// Asks for names, as far as they are new.
    fn ask(&mut self, kind: ResourceType, names: &[Arc<[String]>]) -> Option<DeltaDiscoveryRequest> {
        let mut fresh = vec![];
        for name in names.iter().flat_map(|names| names.iter()) {
            if self.asked.insert((kind, name.clone())) {
                self.lacks.insert((kind, name.clone()));
                fresh.push(name.clone());
            }
        }
        let request = DeltaDiscoveryRequest { type_url: kind.type_url(), resource_names_subscribe: fresh, ..Default::default() };
        (!request.resource_names_subscribe.is_empty()).then_some(request)
    }
}

fn node(number: usize) -> Node {
    let address = format!("10.{}.{}.{}", 200 + number / 62500, number / 250 % 250, number % 250 + 1);
    let metadata = serde_json::json!({
        "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes", "INSTANCE_IPS": address, "LABELS": { "app": "load" },
    });
    Node {
        id: format!("sidecar~{address}~load-{number}.default~default.svc.cluster.local"),
        metadata: metadata.as_object().map(structure),
        ..Default::default()
    }
}
