//! The control-plane process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use weir_ads::ServerStream;
use weir_api::resources::MeshConfig;
use weir_api::{Diagnostic, Severity};
use weir_model::{MeshSnapshot, Proxy, WorkloadGroups, WorkloadKey};
use weir_registry::Catalog;
use weir_xds::resource::ResourceType;

use crate::report::Report;
use crate::stream;
use crate::workloads::registration::Registration;
use crate::workloads::{self, Workloads};

/// So long the entry of an instance that registered itself stays when it has gone; Istio's default.
const GRACE: Duration = Duration::from_secs(10);
/// So many streams may wait to be served.
const WAITING: usize = 64;

/// What a pilot needs to know besides the catalog.
pub struct Options {
    /// What holds for the whole mesh.
    pub mesh: Arc<MeshConfig>,
    /// The domain of its host names.
    pub domain: String,
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
    /// The objects of the mesh: those of the catalog, and the entries of instances that registered themselves.
    catalog: watch::Sender<Arc<Catalog>>,
    workloads: Mutex<Workloads>,
    /// Notified when what is known of workloads has changed.
    changed: Notify,
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

    /// Reads the mesh from a catalog, and from what is known of workloads besides.
    fn read(&self, written: &Arc<Catalog>) {
        let (mesh, domain) = (self.options.mesh.clone(), self.options.domain.as_str());
        let (catalog, snapshot) = {
            let mut workloads = self.workloads();
            let catalog = workloads.added_to(written, &WorkloadGroups::build(&written.objects));
            let snapshot = MeshSnapshot::with_health(&catalog.objects, Some(&workloads.health), mesh, domain);
            workloads.forget_gone(&snapshot);
            (catalog, snapshot)
        };
        let passed_over = weir_translate::unsupported::findings(&catalog.objects);
        let of_rules = [snapshot.virtual_services.findings.clone(), snapshot.destination_rules.findings.clone()].concat();
        self.report("", [catalog.diagnostics.clone(), passed_over, of_rules].concat());
        self.catalog.send_replace(catalog);
        self.mesh.send_replace(Arc::new(snapshot));
    }

    fn workloads(&self) -> MutexGuard<'_, Workloads> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance registers itself.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn register(&self, proxy: &Proxy, registration: Registration) -> Result<(), String> {
        let (namespace, group) = (&registration.namespace, &registration.group);
        if self.mesh.borrow().groups.get(namespace, group).is_none() {
            return Err(format!("{} registers itself, but there is no WorkloadGroup {namespace}/{group}", proxy.id));
        }
        let (_, name) = registration.key();
        tracing::info!(proxy = %proxy.id, "WorkloadEntry {namespace}/{name} is there: an instance of WorkloadGroup {group}");
        self.workloads().register(registration);
        self.changed.notify_one();
        Ok(())
    }

    /// An instance that registered itself has gone. If it does not come back, so does its entry.
    pub fn leave(self: Arc<Self>, key: WorkloadKey) {
        let Some(departures) = self.workloads().leave(&key) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            if self.workloads().expire(&key, departures) {
                tracing::info!("WorkloadEntry {}/{} is gone: its proxy has not come back", key.0, key.1);
                self.changed.notify_one();
            }
        });
    }

    /// A sidecar tells how its workload is.
    pub fn report_health(&self, proxy: &Proxy, registered: Option<&WorkloadKey>, health: &Result<(), String>) {
        let mesh = self.mesh.borrow().clone();
        let keys = registered.map_or_else(|| workloads::beside(&mesh, proxy), |key| vec![key.clone()]);
        let new = self.workloads().report(keys, health.is_ok());
        for (namespace, name) in &new {
            match health {
                Ok(()) => tracing::info!("WorkloadEntry {namespace}/{name} is well"),
                Err(reason) => tracing::warn!("WorkloadEntry {namespace}/{name} is not well: {reason}"),
            }
        }
        if !new.is_empty() {
            self.changed.notify_one();
        }
    }
}

/// Says which objects are in force as they were before they were broken.
fn tell_kept(catalog: &Catalog) {
    for name in &catalog.kept {
        tracing::warn!("{name}: its last good version stays in force");
    }
}

/// Says at each read which policies are not enforced: whoever looks at the log last must not miss it.
fn tell_not_enforced(catalog: &Catalog) {
    let errors = catalog.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let objects = errors.filter_map(|diagnostic| diagnostic.object.as_ref());
    let names: Vec<String> = objects.filter(|name| weir_api::is_policy(&name.kind)).map(ToString::to_string).collect();
    if !names.is_empty() {
        tracing::error!("NOT enforced, so that whom they keep out is let in: {}", names.join(", "));
    }
}

impl Pilot {
    /// Starts a pilot on this runtime. It reads the first catalog before it returns, and every later one when it comes.
    pub fn start(mut catalog: watch::Receiver<Arc<Catalog>>, options: Options) -> Self {
        let first = MeshSnapshot::new(&[], options.mesh.clone(), &options.domain);
        let (mesh, _) = watch::channel(Arc::new(first));
        let mut newest = catalog.borrow_and_update().clone();
        let shared = Arc::new(Shared {
            options,
            mesh,
            catalog: watch::Sender::new(newest.clone()),
            workloads: Mutex::default(),
            changed: Notify::new(),
            proxies: Mutex::default(),
            report: Mutex::default(),
        });
        tell_kept(&newest);
        tell_not_enforced(&newest);
        shared.read(&newest);
        let reader = shared.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = catalog.changed() => match changed {
                        Ok(()) => {
                            newest = catalog.borrow_and_update().clone();
                            tell_kept(&newest);
                            tell_not_enforced(&newest);
                        }
                        // What it told last stays, and proxies come and go as before.
                        Err(_) => reader.changed.notified().await,
                    },
                    () = reader.changed.notified() => {}
                }
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

    /// The objects of the mesh as they are now, with the entries of instances that registered themselves.
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.shared.catalog.subscribe()
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
