//! Which proxies the data plane of this process hosts: those that the mesh has on this machine.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_ads::certificates::Certificates;
use weir_ads::{Protocol, stream};
use weir_config::workload::Workload;
use weir_model::{MeshSnapshot, Proxy};
use weir_pilot::{Pilot, node, standalone};
use weir_proxy::control::follow::Connect;
use weir_proxy::stats::requests;
use weir_proxy::{DataPlane, ProxyOptions};

use super::{authority, is_local};

/// Keeps the hosted proxies those that the mesh has here.
pub(crate) struct Hosting {
    plane: Arc<DataPlane>,
    pilot: Pilot,
    mesh: watch::Receiver<Arc<MeshSnapshot>>,
    /// The labels of gateways that somebody named.
    gateways: Vec<BTreeMap<String, String>>,
    hosts: Hosts,
    /// By their ids.
    hosted: HashSet<String>,
    /// Which addresses are this machine's, as far as anybody asked.
    local: HashMap<String, bool>,
}

/// What holds for all of them.
pub(crate) struct Hosts {
    /// Who certifies them.
    pub certificates: Certificates,
    /// How long their certificates last, where somebody says so.
    pub lifetime: Option<Duration>,
    pub drain_duration: Duration,
}

impl Hosting {
    pub fn new(plane: Arc<DataPlane>, pilot: Pilot, gateways: Vec<BTreeMap<String, String>>, hosts: Hosts) -> Self {
        let mesh = pilot.mesh();
        Self { plane, pilot, mesh, gateways, hosts, hosted: HashSet::new(), local: HashMap::new() }
    }

    /// Hosts what the mesh has now.
    pub fn update(&mut self) {
        let mesh = self.mesh.borrow_and_update().clone();
        let addresses: BTreeSet<&String> = mesh.workloads.iter().map(|workload| &workload.address).collect();
        // An address may come to this machine later; only those that it has are remembered.
        self.local.retain(|address, local| *local && addresses.contains(address));
        for address in addresses {
            self.local.entry(address.clone()).or_insert_with(|| is_local(address));
        }
        let wanted = standalone::proxies(&mesh, &self.gateways, &|address| self.local.get(address).copied().unwrap_or(false));
        let wanted: HashMap<String, Proxy> = wanted.into_iter().map(|proxy| (proxy.id.clone(), proxy)).collect();
        self.hosted.retain(|id| {
            let is_wanted = wanted.contains_key(id);
            if !is_wanted {
                tracing::info!(proxy = %id, "a proxy is no longer needed");
                self.plane.remove(id);
            }
            is_wanted
        });
        for (id, proxy) in wanted {
            if self.hosted.insert(id) {
                self.host(&proxy);
            }
        }
    }

    fn host(&self, proxy: &Proxy) {
        let Hosts { certificates, lifetime, drain_duration } = &self.hosts;
        let certification = authority::hosted(proxy, certificates, *lifetime);
        let mut options = hosted_options(proxy, in_memory(&self.pilot), Protocol::Delta);
        node::promise_certificates(&mut options.node);
        self.plane.host(ProxyOptions { drain_duration: *drain_duration, certification: Some(certification), ..options });
    }

    /// Follows the mesh for ever.
    pub async fn follow(mut self) {
        while self.mesh.changed().await.is_ok() {
            self.update();
        }
    }
}

/// How a proxy of this process reaches the pilot of this process: by the same protocol as any other.
fn in_memory(pilot: &Pilot) -> Connect {
    let streams = pilot.streams();
    Arc::new(move || {
        let streams = streams.clone();
        Box::pin(async move {
            let (client, server) = stream::pair(Protocol::Delta);
            streams.send(server).await.map_err(|_| "the pilot has ended".to_owned())?;
            Ok(client)
        })
    })
}

/// How long connections may go on whose listener is gone, where nobody says: Istio's default.
const DRAIN_DURATION: Duration = Duration::from_secs(45);

/// A proxy as the data plane hosts it.
pub(crate) fn hosted_options(proxy: &Proxy, connect: Connect, protocol: Protocol) -> ProxyOptions {
    let label = |names: &[&str]| names.iter().find_map(|name| proxy.labels.get(*name)).cloned();
    let workload = Workload {
        name: proxy.name.clone(),
        namespace: proxy.namespace.clone(),
        app: label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]).unwrap_or_else(|| proxy.name.clone()),
        version: label(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]).unwrap_or_default(),
        cluster: "Kubernetes".to_owned(),
    };
    ProxyOptions {
        id: proxy.id.as_str().into(),
        node: node::introduce(proxy),
        identity: requests::Identity { workload, ..requests::Identity::default() },
        drain_duration: DRAIN_DURATION,
        listener_limits: BTreeMap::new(),
        protocol,
        connect,
        certification: None,
        names: None,
    }
}
