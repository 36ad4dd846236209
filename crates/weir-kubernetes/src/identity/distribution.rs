//! The certificates of the mesh's roots, in every namespace that counts: the ConfigMap `istio-ca-root-cert`, by which Pods know the pilot before
//! they have anything else. It is repaired where somebody changes or deletes it.
//!
//! Where several pilots run, each does so: what another one has written is right, and is not written again. (Facts:
//! pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go of Istio.)

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt;
use weir_api::resources::MeshConfig;
use weir_api::resources::mesh_config::LabelSelector;
use weir_api::resources::meta::Labels;
use weir_pilot::Followed;

use super::following::follow;
use super::plan::Plan;
use super::{answer, status, words};

/// The ConfigMap, its key and its label.
pub(super) const NAME: &str = "istio-ca-root-cert";
const KEY: &str = "root-cert.pem";
const LABEL: &str = "istio.io/config";
/// Says whether the root is one that somebody keeps.
const ROOT: &str = "weir.dev/root";
const EPHEMERAL: &str = "ephemeral";
/// Who owns what is written.
pub(super) const OWNER: &str = "weir";
/// Namespaces of Kubernetes itself where no Pod of a mesh runs.
const LEFT_OUT: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];
/// Two writes are so far apart at least: 10,000 namespaces take 100 seconds.
const PACE: Duration = Duration::from_millis(10);
/// After one that failed where the next one would, too.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a ConfigMap tells of a root that somebody keeps: where that is gone, it is lost.
pub(super) fn tells_of_kept_root(written: &ConfigMap) -> bool {
    written.annotations().get(ROOT).is_none_or(|root| root != EPHEMERAL) && written.data.as_ref().is_some_and(|data| data.contains_key(KEY))
}

/// Writes the roots' certificates where they are to be.
pub struct Distribution {
    client: Client,
    mesh: watch::Receiver<Arc<MeshConfig>>,
    selectors: Vec<LabelSelector>,
    /// The labels of the namespaces that are there to stay: other selectors may select others of them.
    labels: BTreeMap<String, Labels>,
    roots: Followed,
    is_kept: bool,
    content: String,
    plan: Plan,
    /// What is known since lists were begun that are not complete; none of each that is.
    namespaces: Option<BTreeSet<String>>,
    config_maps: Option<BTreeSet<String>>,
    /// No earlier than this is written next.
    slot: Instant,
    /// What was said last of what went wrong.
    said: Option<String>,
}

impl Distribution {
    /// One of these roots, into the namespaces that one of the mesh's selectors selects, or all if there is none. Whether the root is kept is
    /// told with them.
    pub fn new(client: &Client, mut mesh: watch::Receiver<Arc<MeshConfig>>, roots: &Followed, is_kept: bool) -> Self {
        let selectors = mesh.borrow_and_update().discovery_selectors.clone();
        Self {
            client: client.clone(),
            mesh,
            selectors,
            labels: BTreeMap::new(),
            roots: roots.clone(),
            is_kept,
            content: roots.root_certificates(),
            plan: Plan::default(),
            namespaces: Some(BTreeSet::new()),
            config_maps: Some(BTreeSet::new()),
            slot: Instant::now(),
            said: None,
        }
    }

    /// Does so for ever.
    pub async fn run(mut self) {
        let own = format!("metadata.name={NAME}");
        let mut config_maps = pin!(follow(Api::<ConfigMap>::all(self.client.clone()), Some(&own)));
        let mut namespaces = pin!(follow(Api::<PartialObjectMeta<Namespace>>::all(self.client.clone()), None));
        let (mut roots, mut may_change) = (self.roots.clone(), true);
        let (mut mesh, mut is_followed) = (self.mesh.clone(), true);
        loop {
            let is_whole = self.namespaces.is_none() && self.config_maps.is_none();
            let wake = self.plan.wake(Instant::now()).filter(|_| is_whole).map(|at| at.max(self.slot));
            tokio::select! {
                Some(event) = namespaces.next() => match event {
                    Ok(event) => self.take_namespace(event),
                    Err(error) => self.say(&format!("namespaces cannot be followed: {}", chain(&error))),
                },
                Some(event) = config_maps.next() => match event {
                    Ok(event) => self.take_config_map(event),
                    Err(error) => self.say(&format!("ConfigMaps {NAME} cannot be followed: {}", chain(&error))),
                },
                is_changed = roots.changed(), if may_change => {
                    may_change = is_changed;
                    self.take_roots();
                }
                changed = mesh.changed(), if is_followed => {
                    is_followed = changed.is_ok();
                    self.take_selectors();
                }
                () = until(wake) => self.write_next().await,
            }
        }
    }

    fn take_roots(&mut self) {
        let content = self.roots.root_certificates();
        if content != self.content {
            self.content = content;
            self.plan.begin_anew();
            tracing::info!("the mesh's roots are others now: {} namespaces are told", self.plan.len());
        }
    }

    fn take_selectors(&mut self) {
        let selectors = self.mesh.borrow().discovery_selectors.clone();
        if selectors == self.selectors {
            return;
        }
        self.selectors = selectors;
        let now = Instant::now();
        for (name, labels) in &self.labels {
            self.plan.namespace(name, counts(&self.selectors, name, labels), now);
        }
        tracing::info!("discoverySelectors are others now: {} namespaces have the mesh's roots", self.plan.len());
    }

    fn take_namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        let now = Instant::now();
        match event {
            Event::Init => self.namespaces = Some(BTreeSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                let name = object.name_any();
                let is_wanted = self.knows(&name, &object);
                self.plan.namespace(&name, is_wanted, now);
                self.namespaces.iter_mut().for_each(|listed| listed.extend([name.clone()]));
            }
            Event::Delete(object) => {
                self.labels.remove(&object.name_any());
                self.plan.namespace(&object.name_any(), false, now);
            }
            Event::InitDone => {
                let listed = self.namespaces.take().unwrap_or_default();
                self.labels.retain(|name, _| listed.contains(name));
                self.plan.known().into_iter().filter(|name| !listed.contains(name)).for_each(|name| self.plan.namespace(&name, false, now));
                self.said = None;
            }
        }
    }

    fn take_config_map(&mut self, event: Event<ConfigMap>) {
        let now = Instant::now();
        match event {
            Event::Init => self.config_maps = Some(BTreeSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                let namespace = object.namespace().unwrap_or_default();
                let is_right = self.is_right(&object) || self.is_anothers(&object);
                self.plan.content(&namespace, is_right, now);
                self.config_maps.iter_mut().for_each(|listed| listed.extend([namespace.clone()]));
            }
            Event::Delete(object) => self.plan.content(&object.namespace().unwrap_or_default(), false, now),
            Event::InitDone => {
                let listed = self.config_maps.take().unwrap_or_default();
                self.plan.known().into_iter().filter(|name| !listed.contains(name)).for_each(|name| self.plan.content(&name, false, now));
                self.said = None;
            }
        }
    }

    /// Keeps what a namespace is selected by; whether it is to have the roots.
    fn knows(&mut self, name: &str, object: &PartialObjectMeta<Namespace>) -> bool {
        if object.metadata.deletion_timestamp.is_some() {
            self.labels.remove(name);
            return false;
        }
        let labels: Labels = object.labels().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let is_wanted = counts(&self.selectors, name, &labels);
        self.labels.insert(name.to_owned(), labels);
        is_wanted
    }

    fn is_right(&self, written: &ConfigMap) -> bool {
        let own = written.data.as_ref().and_then(|data| data.get(KEY));
        own.is_some_and(|own| certificates(own).eq(certificates(&self.content)))
            && written.labels().get(LABEL).is_some_and(|value| value == "true")
    }

    /// Whether a ConfigMap is left alone: who tries something out with a root that nobody keeps takes nobody's trust in another one away.
    fn is_anothers(&mut self, written: &ConfigMap) -> bool {
        let is_anothers = !self.is_kept && tells_of_kept_root(written);
        if is_anothers {
            self.say(&format!("ConfigMaps {NAME} that tell of another root are left as they are, since nobody keeps this pilot's"));
        }
        is_anothers
    }

    async fn write_next(&mut self) {
        let Some(namespace) = self.plan.next(Instant::now()) else { return };
        let root = if self.is_kept { "kept" } else { EPHEMERAL };
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "labels": {LABEL: "true"}, "annotations": {ROOT: root}},
            "data": {KEY: self.content},
        });
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &namespace);
        let (owner, object) = (PatchParams::apply(OWNER).force(), Patch::Apply(object));
        let written = answer(api.patch(NAME, &owner, &object), "what is written").await;
        let now = Instant::now();
        match written {
            Ok(_) => {
                self.plan.written(&namespace, now);
                self.slot = now + PACE;
            }
            // News of it come, or have come already.
            Err(error) if is_of_ending_namespace(&error) => self.plan.namespace(&namespace, false, now),
            Err(error) => {
                self.plan.failed(&namespace, now);
                self.slot = now + if is_of_namespace(&error) { PACE } else { PAUSE };
                // Not of each namespace.
                self.say(&format!(
                    "ConfigMaps {NAME} cannot be written: {}",
                    words(&error, &format!("create and patch configmaps {NAME}"))
                ));
            }
        }
    }

    fn say(&mut self, message: &str) {
        if self.said.as_deref() != Some(message) {
            tracing::warn!("{message}");
            self.said = Some(message.to_owned());
        }
    }
}

/// Whether a namespace is to have the roots.
fn counts(selectors: &[LabelSelector], name: &str, labels: &Labels) -> bool {
    !LEFT_OUT.contains(&name) && (selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels)))
}

/// What certificates of a text say, however its lines are broken.
fn certificates(pem: &str) -> impl Iterator<Item = String> {
    let bodies = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    bodies.map(|body| body.split("-----END").next().unwrap_or_default().split_whitespace().collect())
}

/// Whether nothing can be written since the namespace is gone, or about to go.
fn is_of_ending_namespace(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(refused) if refused.code == 403 => refused.message.contains("being terminated"),
        error => status(error) == Some(404),
    }
}

/// Whether one namespace was refused, which says nothing of the next one; and not whoever asks, for now.
fn is_of_namespace(error: &kube::Error) -> bool {
    status(error).is_some_and(|code| (400..500).contains(&code) && !matches!(code, 401 | 429))
}

/// An error with its causes.
fn chain(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            words(error, "list and watch them")
        }
        error => error.to_string(),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use weir_pilot::Authority;

    use super::super::scripted::{Scripted, refusal};
    use super::*;

    /// Of two namespaces, each with a label of its own value, without ConfigMaps.
    fn distribution(server: &Scripted, mesh: &watch::Sender<Arc<MeshConfig>>) -> Distribution {
        let authority = Authority::in_memory("cluster.local").unwrap();
        let mut distribution = Distribution::new(&server.client(), mesh.subscribe(), &authority.follow(), true);
        distribution.take_namespace(Event::Init);
        for name in ["a", "b"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}});
            distribution.take_namespace(Event::InitApply(serde_json::from_value(namespace).unwrap()));
        }
        distribution.take_namespace(Event::InitDone);
        distribution.take_config_map(Event::Init);
        distribution.take_config_map(Event::InitDone);
        distribution
    }

    fn selecting(team: &str) -> Arc<MeshConfig> {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"team": team}})).unwrap();
        let mut mesh = MeshConfig::default();
        mesh.discovery_selectors = vec![selector];
        Arc::new(mesh)
    }

    #[tokio::test(start_paused = true)]
    async fn other_selectors_count_for_namespaces_that_are_known() {
        let server = Scripted::new(|_, _, written| (200, written.clone()));
        let (mesh, _) = watch::channel(selecting("a"));
        let mut distribution = distribution(&server, &mesh);
        let mut written = async || {
            distribution.take_selectors();
            let before = server.asked().len();
            while distribution.plan.wake(Instant::now()).is_some_and(|at| at <= Instant::now()) {
                distribution.write_next().await;
            }
            let asked = server.asked();
            asked[before..].iter().map(|(path, _)| path.split('/').nth(4).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(written().await, ["a"]);
        mesh.send_replace(selecting("b"));
        assert_eq!(written().await, ["b"]);
        mesh.send_replace(Arc::default());
        assert_eq!(written().await, Vec::<String>::new(), "both have them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_is_refused_holds_up_no_other() {
        for (status, wait) in [(200, PACE), (403, PACE), (422, PACE), (401, PAUSE), (429, PAUSE), (500, PAUSE)] {
            let server = Scripted::new(move |_, _, written| if status == 200 { (200, written.clone()) } else { refusal(status) });
            let (mesh, _) = watch::channel(selecting("a"));
            let mut distribution = distribution(&server, &mesh);
            distribution.write_next().await;
            assert_eq!(distribution.slot - Instant::now(), wait, "after {status}");
        }
    }
}
