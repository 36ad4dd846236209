//! The admission webhooks: what the API server asks before it makes a pod or one of Istio's resources.
//!
//! They are answered by HTTPS ([`server`]) within bounds that all who ask share ([`bodies`]): pods are injected as `weir-inject` says, resources
//! are read as the mesh reads them ([`validation`]). How pods are injected is also the cluster's to say ([`settings`]). The certificate is the mesh's ([`certificate`]). So that the API server knows it, its roots are
//! kept ([`keeper`]) in the configurations by which it calls us ([`configuration`], [`bundle`]), and when validation has been seen to work
//! ([`proof`]), nothing passes it any more.

mod answers;
mod bodies;
mod bundle;
mod certificate;
mod configuration;
mod follow;
mod keeper;
mod native;
mod proof;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod validation;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::Config;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir_inject::Settings;
use weir_inject::names::REVISION;
use weir_pilot::Followed;

use answers::Answers;
use certificate::{Called, Newest};
use configuration::Configuration;
use follow::{Known, follow};
use keeper::Keeper;
pub use native::Native;
use proof::Prover;
use server::Server;

/// So long answers under way are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the webhooks are told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names by which they are called besides those of the control plane's Services.
    pub names: Vec<String>,
    /// Addresses by which they are called.
    pub addresses: Vec<IpAddr>,
    /// Whether the control plane's Services are taken to call it: not where another one answers there, whose root is the one to be known.
    pub has_services: bool,
    /// How pods are injected. The revision and the namespace in it are the control plane's.
    pub settings: Settings,
    /// Whether what holds for the whole mesh is the cluster's to say, and not the settings'.
    pub follows_mesh: bool,
    /// Whether sidecars are native, whatever the settings say.
    pub native: Native,
}

/// Webhooks that are served, until this is dropped.
pub struct Webhooks {
    answers: Arc<Answers>,
    ends: watch::Sender<bool>,
    /// Nothing comes here; when all who could send are gone, nothing is under way.
    alive: mpsc::Receiver<()>,
    _tasks: JoinSet<()>,
}

impl Webhooks {
    /// Serves them, and keeps the configurations of the revision as they must be for that.
    ///
    /// # Errors
    /// If there can be no certificate.
    pub async fn start(client: &Client, authority: &Followed, listener: TcpListener, options: Options) -> Result<Self, String> {
        let (called, kept) = (Arc::new(called(&options)), Arc::new(kept(&options)));
        let (certificate, renewal) = certificate::follow(authority.clone(), called.clone()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(renewal);
        let Options { settings, native, follows_mesh, .. } = options;
        keep(&mut tasks, client, authority, &kept, &settings);
        let settings = settings::follow_cluster(&mut tasks, client, settings, native, follows_mesh).await;
        Self::serve(tasks, listener, certificate, settings)
    }

    fn serve(
        mut tasks: JoinSet<()>,
        listener: TcpListener,
        certificate: Newest,
        settings: watch::Receiver<Arc<Settings>>,
    ) -> Result<Self, String> {
        let answers = Arc::new(Answers::new(settings));
        let (ends, ended) = watch::channel(false);
        let (sender, alive) = mpsc::channel(1);
        let server = Arc::new(Server::new(certificate, answers.clone(), ended)?);
        tasks.spawn(server.serve(listener, sender));
        Ok(Self { answers, ends, alive, _tasks: tasks })
    }

    /// What was counted, as Prometheus reads it.
    pub fn statistics(&self) -> impl Fn() -> String + Send + Sync + use<> {
        let answers = self.answers.clone();
        move || answers.statistics()
    }

    /// Takes no more connections, and waits until what is under way is answered.
    pub async fn end(mut self) {
        self.ends.send_replace(true);
        let _ = timeout(FAREWELL, self.alive.recv()).await;
    }
}

/// What the API server calls us: Istio's Service and our own, of the revision and without it, and what was said.
fn called(options: &Options) -> Called {
    let Settings { revision, own_namespace, .. } = &options.settings;
    let own = weir_inject::configuration::service(revision);
    let others = ["istiod".to_owned(), "weir".to_owned(), own.replacen("istiod", "weir", 1), own];
    let mut names: Vec<String> =
        others.iter().map(|name| format!("{name}.{own_namespace}.svc")).chain(options.names.iter().cloned()).collect();
    names.sort();
    names.dedup();
    Called { names, addresses: options.addresses.iter().map(IpAddr::to_canonical).collect() }
}

/// Whom webhooks must call for their caBundle to be ours. Who tries something out takes those of the cluster's control plane from nobody.
fn kept(options: &Options) -> Called {
    match options.has_services {
        true => called(options),
        false => Called { names: options.names.clone(), addresses: options.addresses.iter().map(IpAddr::to_canonical).collect() },
    }
}

/// Keeps the configurations of both kinds.
fn keep(tasks: &mut JoinSet<()>, client: &Client, authority: &Followed, called: &Arc<Called>, settings: &Settings) {
    let own = Config::default().labels(&format!("{REVISION}={}", settings.revision));
    let (sender, known) = watch::channel::<Known<Configuration>>(None);
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    tasks.spawn(follow(api.clone(), own.clone(), Configuration::mutating, sender));
    tasks.spawn(Keeper::new(api, known, called.clone(), authority.clone(), None).keep());
    let (sender, known) = watch::channel::<Known<Configuration>>(None);
    let api = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    tasks.spawn(follow(api.clone(), own, Configuration::validating, sender));
    let prover = Prover { client: client.clone(), revision: settings.revision.clone(), namespace: settings.own_namespace.clone() };
    tasks.spawn(Keeper::new(api, known, called.clone(), authority.clone(), Some(prover)).keep());
}
