//! How pods are injected, as the cluster says at any time: what its operator has written in the ConfigMap `istio-sidecar-injector`, what
//! holds for the whole mesh, and what its nodes can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::Config;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir_api::Source;
use weir_inject::configuration::injector;
use weir_inject::{Mesh, Settings};

use super::follow::{Known, follow};
use super::native::{self, Native};
use crate::mesh_config::{self, KEY};

/// So long it is waited for what the cluster says. Until it has said that, sidecars are as the command line has them, and none is native.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands in a ConfigMap, by its keys.
type Texts = BTreeMap<String, String>;

/// What the cluster says, and what is made of it.
struct Said {
    /// Without what the operator says; the mesh's configuration is the last good one.
    base: Settings,
    native: Native,
    operators: watch::Receiver<Known<Texts>>,
    nodes: watch::Receiver<Known<bool>>,
    /// What holds for the whole mesh, unless it was given otherwise: then nothing comes here.
    meshes: watch::Receiver<Known<Texts>>,
    /// What of that was taken in last.
    mesh: Known<Texts>,
    /// What was said last of the operator's.
    told: Vec<String>,
    /// With what the operator said last that could be read.
    last: Settings,
}

/// Follows what the cluster says; returns when that is known, or after a while.
pub(super) async fn follow_cluster(
    tasks: &mut JoinSet<()>,
    client: &Client,
    base: Settings,
    native: Native,
    follows_mesh: bool,
) -> watch::Receiver<Arc<Settings>> {
    let (newest, mut operators) = watch::channel(None);
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &base.own_namespace);
    let named = |name: &str| Config::default().fields(&format!("metadata.name={name}"));
    tasks.spawn(follow(maps.clone(), named(&injector(&base.revision)), texts, newest));
    let (newest, mut meshes) = watch::channel(None);
    if follows_mesh {
        tasks.spawn(follow(maps, named(&mesh_config::name(&base.revision)), texts, newest));
    }
    let (newest, mut nodes) = watch::channel(None);
    if native == Native::Auto {
        tasks.spawn(follow(Api::<Node>::all(client.clone()), Config::default(), native::can, newest));
    }
    let known = timeout(PATIENCE, async {
        let _ = operators.wait_for(Option::is_some).await;
        if follows_mesh {
            let _ = meshes.wait_for(Option::is_some).await;
        }
        if native == Native::Auto {
            let _ = nodes.wait_for(Option::is_some).await;
        }
    });
    if known.await.is_err() {
        tracing::warn!(
            "what the cluster says of injection cannot be read yet: until then sidecars are as the command line has them, none native"
        );
    }
    let mut said = Said { last: base.clone(), base, native, operators, nodes, meshes, mesh: None, told: vec![] };
    let (sender, settings) = watch::channel(Arc::new(said.settings()));
    tasks.spawn(async move {
        while said.changed().await {
            sender.send_replace(Arc::new(said.settings()));
        }
    });
    settings
}

fn texts(map: &ConfigMap) -> Texts {
    map.data.clone().unwrap_or_default()
}

impl Said {
    /// Waits until the cluster says something else; false if it never will.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            Ok(()) = self.operators.changed() => true,
            Ok(()) = self.nodes.changed() => true,
            Ok(()) = self.meshes.changed() => true,
            else => false,
        }
    }

    /// What is to be done by that.
    fn settings(&mut self) -> Settings {
        self.take_mesh();
        let texts = self.operators.borrow_and_update().clone().unwrap_or_default();
        self.take_operators(texts.values().next());
        let nodes = self.nodes.borrow_and_update().clone();
        let native_sidecars = match self.native {
            Native::Always(always) => always,
            Native::Auto => nodes.as_ref().is_some_and(|nodes| native::can_all(nodes)),
        };
        // The mesh's goes on when the operator's cannot be read.
        Settings { native_sidecars, native_nodes: nodes.unwrap_or_default(), mesh: self.base.mesh.clone(), ..self.last.clone() }
    }

    /// Takes over what holds for the whole mesh: without the ConfigMap the defaults do, and what cannot be read changes nothing.
    fn take_mesh(&mut self) {
        let now = self.meshes.borrow_and_update().clone();
        if now == self.mesh {
            return;
        }
        self.mesh = now;
        let Some(maps) = &self.mesh else { return };
        let Some(texts) = maps.values().next() else {
            self.base.mesh = Mesh::default();
            return;
        };
        let path = format!("ConfigMap/{}/{}", self.base.own_namespace, mesh_config::name(&self.base.revision));
        // What is wrong with it says who follows it for the proxies.
        let read = texts.get(KEY).and_then(|text| Mesh::parse(&Source::new(format!("{path} (data.{KEY})"), text.clone())).ok());
        match read {
            Some((mesh, _)) => self.base.mesh = mesh,
            None => tracing::warn!("{path} is refused: injection goes on as it was"),
        }
    }

    /// Takes over what the operator says. What cannot be read changes nothing, and is told.
    fn take_operators(&mut self, texts: Option<&Texts>) {
        let text = |key: &str| texts.and_then(|texts| texts.get(key)).map(String::as_str);
        let told = match self.base.with_injector(text("config"), text("values")) {
            Ok((settings, notes)) => {
                self.last = settings;
                notes
            }
            Err(problem) => vec![format!("{problem}; injection goes on as it was")],
        };
        if told != self.told {
            let name = injector(&self.base.revision);
            told.iter().for_each(|line| tracing::warn!("ConfigMap {}/{name}: {line}", self.base.own_namespace));
            self.told = told;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(config: &str) -> Known<Texts> {
        Some(Arc::new([("istio-sidecar-injector".to_owned(), [("config".to_owned(), config.to_owned())].into())].into()))
    }

    fn nodes(can: &[bool]) -> Known<bool> {
        Some(Arc::new(can.iter().enumerate().map(|(index, can)| (index.to_string(), *can)).collect()))
    }

    #[test]
    fn the_cluster_says_who_is_injected_and_how() {
        let (operator, operators) = watch::channel(None);
        let (node, watched) = watch::channel(None);
        let base = Settings { network: "n".to_owned(), ..Settings::default() };
        let meshes = watch::channel(None).1;
        let (native, told) = (Native::Auto, vec![]);
        let mut said = Said { last: base.clone(), base, native, operators, nodes: watched, meshes, mesh: None, told };
        let found = |settings: Settings| (settings.policy.disabled, settings.native_sidecars, settings.network);
        assert_eq!(found(said.settings()), (false, false, "n".to_owned()));
        operator.send_replace(map("policy: disabled"));
        node.send_replace(nodes(&[true]));
        assert_eq!(found(said.settings()), (true, true, "n".to_owned()));
        operator.send_replace(map("policy: what"));
        node.send_replace(nodes(&[true, false]));
        assert_eq!(found(said.settings()), (true, false, "n".to_owned()), "what cannot be read changes nothing");
        assert_eq!(said.told.len(), 1);
        operator.send_replace(Some(Arc::default()));
        assert_eq!(found(said.settings()), (false, false, "n".to_owned()), "it is gone");
        said.native = Native::Always(true);
        assert!(said.settings().native_sidecars);
    }

    #[test]
    fn injected_pods_follow_the_mesh_of_the_cluster() {
        let given = Mesh::parse(&Source::new("given", "trustDomain: given".to_owned())).unwrap().0;
        let base = Settings { mesh: given, ..Settings::default() };
        let (operator, operators) = watch::channel(None);
        let (mesh, meshes) = watch::channel(None);
        let (nodes, native) = (watch::channel(None).1, Native::Always(true));
        let mut said = Said { last: base.clone(), base, native, operators, nodes, meshes, mesh: None, told: vec![] };
        let found = |settings: Settings| settings.mesh.config.trust_domain;
        let of = |key: &str, text: &str| -> Known<Texts> {
            Some(Arc::new([("istio".to_owned(), [(key.to_owned(), text.to_owned())].into())].into()))
        };
        assert_eq!(found(said.settings()), "given", "nothing is known of the cluster");
        for (texts, then) in [
            (of("mesh", "trustDomain: a"), "a"),
            (of("mesh", "trustDomain: ["), "a"),
            (of("other", "x"), "a"),
            (of("mesh", "trustDomain: b"), "b"),
        ] {
            mesh.send_replace(texts);
            assert_eq!(found(said.settings()), then);
        }
        operator.send_replace(map("policy: what"));
        mesh.send_replace(of("mesh", "trustDomain: c"));
        assert_eq!(found(said.settings()), "c", "whatever the operator's is");
        mesh.send_replace(Some(Arc::default()));
        assert_eq!(found(said.settings()), Settings::default().mesh.config.trust_domain, "it is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn the_mesh_is_followed_unless_it_was_given() {
        let server = crate::fake::ApiServer::default();
        let path = "/api/v1/namespaces/istio-system/configmaps/istio-canary";
        let object = |domain: &str| {
            let metadata = serde_json::json!({"name": "istio-canary", "namespace": "istio-system"});
            serde_json::json!({"metadata": metadata, "data": {"mesh": format!("trustDomain: {domain}")}})
        };
        server.put(path, object("a"));
        for (follows, then) in [(true, ["a", "b"]), (false, ["cluster.local"; 2])] {
            server.put(path, object("a"));
            let base = Settings { revision: "canary".to_owned(), ..Settings::default() };
            let mut tasks = JoinSet::new();
            let settings = follow_cluster(&mut tasks, &server.client(), base, Native::Always(true), follows).await;
            let found = || settings.borrow().mesh.config.trust_domain.clone();
            assert_eq!(found(), then[0]);
            server.put(path, object("b"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(found(), then[1]);
        }
    }
}
