//! The control-plane process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use weir_ads::ServerStream;
use weir_ads::certificates::Certificates;
use weir_ads::grpc::server::Services;
use weir_api::resources::MeshConfig;
use weir_api::{Diagnostic, Severity};
use weir_model::MeshSnapshot;
use weir_registry::Catalog;

use crate::access::KeyAccess;
use crate::authority::reviewer::TokenReviewer;
use crate::authority::secret::Secret;
use crate::authority::tokens::Tokens;
use crate::authority::{Authority, Followed, elsewhere, service};
use crate::keys;
use crate::progress::Progress;
use crate::secure::{PilotNames, Secure};
use crate::shared::{Options, ProxyStatus, Shared};
use crate::stream;

/// So many streams may wait to be served.
const WAITING: usize = 64;

/// The control plane of one mesh. Cheap to clone: all clones are the same.
#[derive(Clone)]
pub struct Pilot {
    shared: Arc<Shared>,
    streams: mpsc::Sender<ServerStream>,
}

/// Says which objects are in force as they were before they were broken.
fn tell_kept(catalog: &Catalog) {
    for name in catalog.kept() {
        tracing::warn!("{name}: its last good version stays in force");
    }
}

/// Says at each read which policies are refused: whoever looks at the log last must not miss it. How many they are.
fn tell_refused(catalog: &Catalog) -> usize {
    let errors = catalog.diagnostics().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let objects = errors.filter_map(|diagnostic| diagnostic.object.as_ref());
    let named = objects.filter(|name| weir_api::is_policy(&name.kind)).map(ToString::to_string);
    // What cannot be read at all has no name, but a place; one whose kind is misspelt is of another.
    let stands_for = |object: &Arc<weir_api::Object>| match object.node.entries() {
        [] => format!("what cannot be read in {}", object.source.path),
        _ => object.name().to_string(),
    };
    let stand_ins = catalog.stand_ins().map(stands_for);
    let names: BTreeSet<String> = named.chain(stand_ins).collect();
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        tracing::error!("refused, so that the last good version is in force, or what lets nobody in: {}", names.join(", "));
    }
    names.len()
}

impl Pilot {
    /// Starts a pilot on this runtime. It reads the first catalog before it returns, and every later one when it comes.
    pub fn start(mut catalog: watch::Receiver<Arc<Catalog>>, options: Options) -> Self {
        let mut newest = catalog.borrow_and_update().clone();
        let shared = Arc::new(Shared::new(options));
        let tell = |shared: &Shared, catalog: &Catalog| {
            tell_kept(catalog);
            shared.refused_policies.store(tell_refused(catalog), Ordering::Relaxed);
        };
        tell(&shared, &newest);
        shared.read(&newest);
        let reader = shared.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = catalog.changed() => match changed {
                        Ok(()) => {
                            newest = catalog.borrow_and_update().clone();
                            tell(&reader, &newest);
                        }
                        // What it told last stays, and proxies come and go as before.
                        Err(_) => reader.changed.notified().await,
                    },
                    () = reader.changed.notified() => {}
                }
                reader.read(&newest);
            }
        });
        tokio::spawn(keys::follow(shared.clone(), shared.mesh.subscribe()));
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

    /// Where requests for certificates are given to be answered by an authority. Of other processes only those are answered that know
    /// the secret; without one, none.
    pub fn certificates(&self, authority: Authority, secret: Option<Secret>) -> Certificates {
        self.certify(&authority.follow(), secret, None)
    }

    /// The same, where those of other machines may show one of these tokens to whoever [serves](Self::secure) them.
    pub fn certify(&self, authority: &Followed, secret: Option<Secret>, tokens: Option<Tokens>) -> Certificates {
        if let Some(tokens) = tokens {
            self.shared.tokens.get_or_init(|| Arc::new(tokens));
        }
        let known = service::Known { secret: secret.map(Arc::new) };
        service::start(authority, known, self.mesh(), self.shared.refusals.clone())
    }

    /// Lets those that [`secure`](Self::secure) serves show tokens of somebody else's, from now on: only the first such counts.
    pub fn review_tokens(&self, reviewer: Arc<dyn TokenReviewer>) {
        self.shared.reviewer.get_or_init(|| reviewer);
    }

    /// Gives proxies of other machines the keys of Secrets only where their accounts may have them, from now on: only the first who says so
    /// counts.
    pub fn guard_keys(&self, access: Arc<dyn KeyAccess>) {
        self.shared.key_access.get_or_init(|| access);
    }

    /// What serves proxies of other machines by TLS, under these names and the addresses that it is called at, by no more connections than
    /// these. The authority certifies them, also those with a token that it has been [told](Self::certify) to know.
    pub fn secure(&self, names: PilotNames, authority: &Followed, connections: usize) -> Secure {
        let certificates = elsewhere::start(authority, self.mesh(), self.shared.judges(), self.shared.refusals.clone());
        Secure::new(names, authority, self.services(certificates), self.shared.clone(), connections)
    }

    /// What is served to proxies: their configuration, and these certificates.
    pub fn services(&self, certificates: Certificates) -> Services {
        let departure = self.shared.departure.clone();
        Services { ads: Some(self.streams()), certificates: Some(certificates), departure, ..Services::default() }
    }

    /// Has all proxies leave within this time, one after the other, and waits until they have: others are to serve them. Who comes
    /// meanwhile is served until then.
    pub async fn leave(&self, within: Duration) {
        self.shared.departure.begin(within).await;
    }

    /// Whether proxies are to leave: no more are to be sent here.
    pub fn is_leaving(&self) -> bool {
        self.shared.departure.has_begun()
    }

    /// Lets proxies of other machines follow in plain text from now on: whoever can reach the pilot reads the mesh.
    pub fn serve_other_machines(&self) {
        self.shared.serves_elsewhere.store(true, Ordering::Relaxed);
    }

    /// What is counted of certificates, and of who and what was refused, as Prometheus reads it.
    pub fn statistics(&self) -> String {
        self.shared.refusals.statistics(self.shared.refused_policies.load(Ordering::Relaxed))
    }

    /// Lets something else hold for the whole mesh from now on than what the pilot was [started](Self::start) with. All of the mesh is
    /// made anew.
    pub fn configure(&self, mesh: Arc<MeshConfig>) {
        self.shared.configure(mesh);
    }

    /// The mesh as it is now; follows its changes.
    pub fn mesh(&self) -> watch::Receiver<Arc<MeshSnapshot>> {
        self.shared.mesh.subscribe()
    }

    /// The objects of the mesh as they are now, with the entries of instances that registered themselves.
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.shared.catalog.subscribe()
    }

    /// The version of the configuration: it grows with each change that concerns any proxy. A proxy that has answered a version has answered all before it.
    pub fn version(&self) -> u64 {
        self.now().0
    }

    /// The version of the configuration, and the objects that it is of.
    pub fn now(&self) -> (u64, Arc<Catalog>) {
        // While it is looked at nothing else changes.
        let _mesh = self.shared.mesh.borrow();
        (self.shared.version.load(Ordering::Relaxed), self.shared.catalog.borrow().clone())
    }

    /// The proxies that follow the pilot, by id.
    pub fn proxies(&self) -> BTreeMap<String, ProxyStatus> {
        self.shared.proxies()
    }

    /// How far the proxies are that follow the pilot.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// Sees a change whenever a proxy comes, answers, or goes.
    pub fn answers(&self) -> watch::Receiver<()> {
        self.shared.answers.subscribe()
    }

    /// What of the findings is said of the configuration itself, whichever proxies follow. Some may stand there twice.
    pub fn findings_of_configuration(&self) -> Vec<Diagnostic> {
        self.shared.reporter.of_configuration()
    }

    /// Sees a change whenever [`findings`](Self::findings) may have changed.
    pub fn findings_changes(&self) -> watch::Receiver<()> {
        self.shared.reporter.changes()
    }

    /// All that is to be said of the configuration now.
    pub fn findings(&self) -> Vec<Diagnostic> {
        self.shared.reporter.all()
    }
}
