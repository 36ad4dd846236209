//! What the pilot's tasks share: the mesh as it is now, what is known of its workloads and proxies, and what is to be said.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use weir_ads::Departure;
use weir_api::Diagnostic;
use weir_api::resources::MeshConfig;
use weir_model::{FetchedKeys, MeshSnapshot, Proxy, WorkloadKey};
use weir_registry::Catalog;
use weir_xds::resource::ResourceType;

use crate::access::KeyAccess;
use crate::authority::reviewer::{Judges, TokenReviewer};
use crate::authority::tokens::Tokens;
use crate::classes::Classes;
use crate::progress::Progress;
use crate::refusals::Refusals;
use crate::report::{Reporter, Source};
use crate::status::{Resources, Types};
use crate::workloads::registration::Registration;
use crate::workloads::{self, Workloads};

/// So long the entry of an instance that registered itself stays when it has gone; Istio's default. So long a pilot waits for
/// sidecars after its start, too.
const GRACE: Duration = Duration::from_secs(10);

/// So many proxies may get their first resources at a time: in a storm of them, those that are there already go first. They are what
/// keeps both threads busy, and a change waits for no more than that.
const ADMITTED: usize = 3;

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
    /// The program that it is, and its version.
    pub program: String,
    /// The cluster (of machines) that it says it is in.
    pub cluster: String,
    /// Since when it follows.
    pub since: Option<SystemTime>,
    /// How it stands with each type of resources.
    pub types: Types,
    /// The version of the configuration that it should have: see [`Pilot::version`](crate::Pilot::version).
    pub version: u64,
    /// The newest version of which it has taken, or refused, everything.
    pub answered: u64,
    /// What it should have.
    pub resources: Resources,
}

/// How a proxy stands now.
pub(crate) type Standing = Arc<Mutex<ProxyStatus>>;

/// What the pilot's tasks share.
pub(crate) struct Shared {
    pub mesh: watch::Sender<Arc<MeshSnapshot>>,
    /// What is to hold for the whole mesh, which may be newer than what its snapshot was made with.
    config: Mutex<Arc<MeshConfig>>,
    /// The version of the last snapshot that concerned anybody: nobody answers one that does not.
    pub version: AtomicU64,
    /// When the pilot has waited long enough for sidecars that an earlier one knew.
    complete: Instant,
    /// The objects of the mesh: those of the catalog, and the entries of instances that registered themselves.
    pub catalog: watch::Sender<Arc<Catalog>>,
    pub workloads: Mutex<Workloads>,
    /// The keys that were fetched for RequestAuthentications.
    pub keys: watch::Sender<Arc<FetchedKeys>>,
    /// Notified when what is known of workloads, or of keys, or what holds for the whole mesh has changed.
    pub changed: Notify,
    /// How each proxy stands, by its newest stream: it may come back before it is seen to have gone.
    proxies: Mutex<BTreeMap<String, Standing>>,
    /// Changes whenever a proxy comes, answers, or goes.
    pub answers: watch::Sender<()>,
    pub reporter: Arc<Reporter>,
    /// What proxies get that are alike.
    pub classes: Classes,
    /// So many may get their first resources at a time.
    pub admission: Arc<Semaphore>,
    /// Who was refused.
    pub refusals: Arc<Refusals>,
    /// The key of the tokens by which proxies of other machines show who they are, if there is one.
    pub tokens: OnceLock<Arc<Tokens>>,
    /// Who knows tokens of others, if anybody does.
    pub reviewer: OnceLock<Arc<dyn TokenReviewer>>,
    /// Who says which proxies of other machines may have the keys of Secrets, where not all may.
    pub key_access: OnceLock<Arc<dyn KeyAccess>>,
    /// Whether proxies of other machines may follow in plain text.
    pub serves_elsewhere: AtomicBool,
    /// How many policies are refused.
    pub refused_policies: AtomicUsize,
    /// Whether proxies are to leave.
    pub departure: Departure,
}

impl Shared {
    /// What they share before anything is read.
    pub fn new(options: Options) -> Self {
        let Options { mesh, domain, say } = options;
        let config = Mutex::new(mesh.clone());
        let mesh = MeshSnapshot::new(&[], mesh, &domain);
        Self {
            config,
            version: AtomicU64::new(mesh.version),
            complete: Instant::now() + GRACE,
            mesh: watch::Sender::new(Arc::new(mesh)),
            catalog: watch::Sender::new(Arc::default()),
            workloads: Mutex::default(),
            keys: watch::Sender::new(Arc::default()),
            changed: Notify::new(),
            proxies: Mutex::default(),
            answers: watch::Sender::new(()),
            reporter: Arc::new(Reporter::new(say)),
            classes: Classes::default(),
            admission: Arc::new(Semaphore::new(ADMITTED)),
            refusals: Arc::default(),
            tokens: OnceLock::new(),
            reviewer: OnceLock::new(),
            key_access: OnceLock::new(),
            serves_elsewhere: AtomicBool::new(false),
            refused_policies: AtomicUsize::new(0),
            departure: Departure::default(),
        }
    }

    /// Who can say of tokens whose they are.
    pub fn judges(&self) -> Judges {
        Judges { own: self.tokens.get().cloned(), others: self.reviewer.get().cloned() }
    }

    /// What is to hold for the whole mesh.
    pub fn config(&self) -> Arc<MeshConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something else is to hold for the whole mesh.
    pub fn configure(&self, config: Arc<MeshConfig>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        self.changed.notify_one();
    }

    /// Replaces what a source has to say, and says what is new.
    pub fn report(&self, source: &Source, findings: Vec<Diagnostic>) {
        self.reporter.replace(source, findings);
    }

    /// The newest snapshot of the mesh, if that is newer than one that somebody has.
    pub fn newer_than(&self, mesh: &Arc<MeshSnapshot>) -> Arc<MeshSnapshot> {
        let newest = self.mesh.borrow();
        if newest.version > mesh.version { newest.clone() } else { mesh.clone() }
    }

    /// A proxy comes, by a stream that is its newest.
    pub fn come(&self, proxy: &str, standing: &Standing) {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).insert(proxy.to_owned(), standing.clone());
        self.answers.send_replace(());
    }

    /// A stream of a proxy has ended: the proxy is gone unless it has come back by another one.
    pub fn forget(&self, proxy: &str, standing: &Standing) {
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        if proxies.get(proxy).is_some_and(|newest| Arc::ptr_eq(newest, standing)) {
            proxies.remove(proxy);
            self.forget_findings(&Source::Proxy(proxy.to_owned()));
            self.answers.send_replace(());
        }
    }

    /// Until when it may not be known yet which workloads there are, and how they are: the sidecars that tell such things
    /// come back one by one after the pilot's start. None if all is known.
    pub fn incomplete_until(&self) -> Option<Instant> {
        let is_told = self.mesh.borrow().groups.is_empty();
        (!is_told && Instant::now() < self.complete).then_some(self.complete)
    }

    /// How far all proxies are.
    pub fn progress(&self) -> Progress {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = Progress::default();
        for (id, standing) in proxies.iter() {
            let status = standing.lock().unwrap_or_else(PoisonError::into_inner);
            progress.add(id, status.answered, status.refused.values().next().map(String::as_str));
        }
        progress
    }

    /// How all proxies stand, by id.
    pub fn proxies(&self) -> BTreeMap<String, ProxyStatus> {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let now = |standing: &Standing| standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        proxies.iter().map(|(id, standing)| (id.clone(), now(standing))).collect()
    }

    /// A source has nothing to say any more.
    pub fn forget_findings(&self, source: &Source) {
        self.reporter.remove(source);
    }

    pub fn workloads(&self) -> MutexGuard<'_, Workloads> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance registers itself, on another machine or on this one.
    ///
    /// # Errors
    /// If there is no such group, or it makes no entry of it; and see [`Workloads::register`].
    pub fn register(&self, proxy: &Proxy, registration: Registration, is_remote: bool) -> Result<(), String> {
        let (namespace, group) = (registration.namespace.clone(), registration.group.clone());
        let wrong = |reason: String| format!("{} registers itself, but {reason}", proxy.id);
        let found = self.mesh.borrow().groups.get(&namespace, &group).cloned();
        let found = found.ok_or_else(|| wrong(format!("there is no WorkloadGroup {namespace}/{group}")))?;
        registration.entry(&found).map_err(|reason| wrong(format!("its WorkloadEntry would be none: {reason}")))?;
        let (_, name) = registration.key();
        self.workloads().register(registration, is_remote).map_err(wrong)?;
        tracing::info!(proxy = %proxy.id, "WorkloadEntry {namespace}/{name} is there: an instance of WorkloadGroup {group}");
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

    /// A stream of a proxy has ended that told how its workload is. If the proxy does not come back, that holds no longer.
    pub fn fall_silent(self: Arc<Self>, proxy: &str, stream: u64) {
        let Some(newest) = self.workloads().go(proxy, stream) else { return };
        let proxy = proxy.to_owned();
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            let forgotten = self.workloads().fall_silent(&proxy, newest);
            for (namespace, name) in &forgotten {
                tracing::warn!("nobody tells how WorkloadEntry {namespace}/{name} is: its proxy has not come back");
            }
            if !forgotten.is_empty() {
                self.changed.notify_one();
            }
        });
    }

    /// The workloads that a sidecar speaks for: the one that it registered, or else those beside it.
    pub fn spoken_for(&self, proxy: &Proxy, registered: Option<&WorkloadKey>) -> Vec<WorkloadKey> {
        let mesh = self.mesh.borrow().clone();
        registered.map_or_else(|| workloads::beside(&mesh, proxy), |key| vec![key.clone()])
    }

    /// A stream of a proxy tells how these workloads are. It has told of those that it `told` of, so that they are left alone
    /// unless nothing is known of them. False if it is not heeded: the proxy has a newer stream.
    pub fn report_health(
        &self,
        (proxy, stream): (&str, u64),
        keys: &[WorkloadKey],
        told: &[WorkloadKey],
        health: &Result<(), String>,
    ) -> bool {
        let mut workloads = self.workloads();
        if !workloads.heeds(proxy, stream) {
            return false;
        }
        let due: Vec<WorkloadKey> =
            keys.iter().filter(|key| !told.contains(key) || !workloads.health.contains_key(*key)).cloned().collect();
        let new = workloads.report(proxy, due.into_iter(), health.is_ok());
        drop(workloads);
        for (namespace, name) in &new {
            match health {
                Ok(()) => tracing::info!("WorkloadEntry {namespace}/{name} is well"),
                Err(reason) => tracing::warn!("WorkloadEntry {namespace}/{name} is not well: {reason}"),
            }
        }
        if !new.is_empty() {
            self.changed.notify_one();
        }
        true
    }
}
