//! The control-plane process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use weir_ads::ServerStream;
use weir_api::Diagnostic;
use weir_api::resources::MeshConfig;
use weir_model::MeshSnapshot;
use weir_registry::Catalog;
use weir_xds::resource::ResourceType;

use crate::report::Report;
use crate::stream;
use crate::unsupported::{self, DataPlane};

/// So many streams may wait to be served.
const WAITING: usize = 64;

/// What a pilot needs to know besides the catalog.
pub struct Options {
    /// What holds for the whole mesh.
    pub mesh: Arc<MeshConfig>,
    /// The domain of its host names.
    pub domain: String,
    /// Who follows: what they pass over is said.
    pub data_plane: DataPlane,
    /// Is told what is to be said of the configuration, each thing once for as long as it holds.
    pub say: Box<dyn Fn(&Diagnostic) + Send + Sync>,
}

/// How a proxy stands that follows the pilot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyStatus {
    /// Whether it has taken, or refused, all that it was sent.
    pub is_settled: bool,
    /// What it refused last, by type.
    pub refused: BTreeMap<ResourceType, String>,
}

/// The control plane of one mesh. Cheap to clone: all clones are the same.
#[derive(Clone)]
pub struct Pilot {
    shared: Arc<Shared>,
    streams: mpsc::Sender<ServerStream>,
}

/// What the pilot's tasks share.
pub(crate) struct Shared {
    pub options: Options,
    pub mesh: watch::Sender<Arc<MeshSnapshot>>,
    pub proxies: Mutex<BTreeMap<String, ProxyStatus>>,
    report: Mutex<Report>,
}

impl Shared {
    /// Replaces what a source has to say, and says what is new.
    pub fn report(&self, source: &str, findings: Vec<Diagnostic>) {
        let new = self.report.lock().unwrap_or_else(PoisonError::into_inner).replace(source, findings);
        new.iter().for_each(|finding| (self.options.say)(finding));
    }

    pub fn set_status(&self, proxy: &str, status: ProxyStatus) {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).insert(proxy.to_owned(), status);
    }

    /// A proxy is gone.
    pub fn forget(&self, proxy: &str) {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).remove(proxy);
        self.report.lock().unwrap_or_else(PoisonError::into_inner).remove(proxy);
    }

    fn read(&self, catalog: &Catalog) {
        let snapshot = MeshSnapshot::new(&catalog.objects, self.options.mesh.clone(), &self.options.domain);
        let passed_over = unsupported::findings(&catalog.objects, self.options.data_plane);
        let of_rules = [snapshot.virtual_services.findings.clone(), snapshot.destination_rules.findings.clone()].concat();
        self.report("", [catalog.diagnostics.clone(), passed_over, of_rules].concat());
        for name in &catalog.kept {
            tracing::warn!("{name}: its last good version stays in force");
        }
        self.mesh.send_replace(Arc::new(snapshot));
    }
}

impl Pilot {
    /// Starts a pilot on this runtime. It reads the first catalog before it returns, and every later one when it comes.
    pub fn start(mut catalog: watch::Receiver<Arc<Catalog>>, options: Options) -> Self {
        let first = MeshSnapshot::new(&[], options.mesh.clone(), &options.domain);
        let (mesh, _) = watch::channel(Arc::new(first));
        let shared = Arc::new(Shared { options, mesh, proxies: Mutex::default(), report: Mutex::default() });
        shared.read(&catalog.borrow_and_update().clone());
        let reader = shared.clone();
        tokio::spawn(async move {
            while catalog.changed().await.is_ok() {
                let newest = catalog.borrow_and_update().clone();
                reader.read(&newest);
            }
        });
        let (streams, mut waiting) = mpsc::channel(WAITING);
        let server = shared.clone();
        tokio::spawn(async move {
            while let Some(stream) = waiting.recv().await {
                tokio::spawn(stream::serve(stream, server.clone()));
            }
        });
        Self { shared, streams }
    }

    /// Where streams of proxies are given to be served.
    pub fn streams(&self) -> mpsc::Sender<ServerStream> {
        self.streams.clone()
    }

    /// The mesh as it is now; follows its changes.
    pub fn mesh(&self) -> watch::Receiver<Arc<MeshSnapshot>> {
        self.shared.mesh.subscribe()
    }

    /// The proxies that follow the pilot, by id.
    pub fn proxies(&self) -> BTreeMap<String, ProxyStatus> {
        self.shared.proxies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that is to be said of the configuration now.
    pub fn findings(&self) -> Vec<Diagnostic> {
        let report = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.all().into_iter().cloned().collect()
    }
}
