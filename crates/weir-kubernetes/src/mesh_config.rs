//! What holds for the whole mesh, where Istio keeps it in a cluster: the key `mesh` of the ConfigMap `istio`, or `istio-REVISION` of a
//! revision that has a name.
//!
//! It is followed. One that is broken is reported, and the last good one stays; without the ConfigMap Istio's defaults hold. Who starts over
//! a broken one waits until it is right: the defaults may allow what it forbids.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use weir_api::resources::MeshConfig;
use weir_api::{Diagnostic, Severity, Source};

/// The revision whose ConfigMap has no name of its own.
const DEFAULT: &str = "default";
/// Where the configuration stands in the ConfigMap, and what else does that has no effect.
pub(crate) const KEY: &str = "mesh";
const NETWORKS: &str = "meshNetworks";
/// What cannot be followed is tried again so soon.
const AGAIN: Duration = Duration::from_secs(1);
/// So many seconds a watch lasts.
const WATCH: u32 = 50;

/// Is told what is to be said of it.
type Say = Box<dyn Fn(&Diagnostic) + Send + Sync>;

/// A mesh's configuration that is followed, until this is dropped.
pub struct MeshConfigs {
    /// The newest one.
    pub newest: watch::Receiver<Arc<MeshConfig>>,
    _following: JoinSet<()>,
}

/// The name of the ConfigMap of a revision.
pub fn name(revision: &str) -> String {
    if revision == DEFAULT { "istio".to_owned() } else { format!("istio-{revision}") }
}

/// Follows the ConfigMap of a revision in a namespace. Returns when there is a first configuration, however long that takes.
pub async fn follow(client: Client, namespace: &str, revision: &str, say: Say) -> MeshConfigs {
    let name = name(revision);
    let path = format!("ConfigMap/{namespace}/{name}");
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let (first, mut found) = watch::channel(None);
    let mut following = JoinSet::new();
    following.spawn(Follower { api, name, path, say, newest: first, text: None, said: None }.run());
    let config = match found.wait_for(Option::is_some).await {
        Ok(config) => config.clone().unwrap_or_default(),
        // It goes on for ever.
        Err(_) => Arc::default(),
    };
    let (sender, newest) = watch::channel(config);
    following.spawn(async move {
        while found.changed().await.is_ok() {
            let config = found.borrow_and_update().clone().unwrap_or_default();
            sender.send_if_modified(|known| {
                let is_other = **known != *config;
                *known = config;
                is_other
            });
        }
    });
    MeshConfigs { newest, _following: following }
}

struct Follower {
    api: Api<ConfigMap>,
    name: String,
    /// What it is called in messages.
    path: String,
    say: Say,
    newest: watch::Sender<Option<Arc<MeshConfig>>>,
    /// What was taken in last; there may be no ConfigMap.
    text: Option<Option<String>>,
    /// Why it cannot be followed.
    said: Option<String>,
}

impl Follower {
    async fn run(mut self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name)).timeout(WATCH);
        let mut events = std::pin::pin!(watcher(self.api.clone(), config));
        let mut listed = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = None,
                Ok(Event::InitApply(found)) => listed = Some(found),
                Ok(Event::InitDone) => self.take(listed.take()),
                Ok(Event::Apply(found)) => self.take(Some(found)),
                Ok(Event::Delete(_)) => self.take(None),
                Err(error) => {
                    self.failed(&error);
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Takes in the ConfigMap as it is now.
    fn take(&mut self, found: Option<ConfigMap>) {
        if self.said.take().is_some() {
            tracing::info!("{} is followed again", self.path);
        }
        let Some(found) = found else {
            if self.is_other(None) {
                tracing::info!("there is no {}: Istio's defaults hold for the mesh", self.path);
                self.newest.send_replace(Some(Arc::default()));
            }
            return;
        };
        let mut data = found.data.unwrap_or_default();
        let Some(text) = data.remove(KEY) else {
            let help = "without the ConfigMap the defaults hold";
            return self.refuse(&[Diagnostic::error(format!("{} holds no `{KEY}`", self.path)).with_help(help)]);
        };
        if !self.is_other(Some(&text)) {
            return;
        }
        if data.get(NETWORKS).is_some_and(|networks| !networks.replace("networks: {}", "").trim().is_empty()) {
            (self.say)(&Diagnostic::warning(format!("`{NETWORKS}` of {} has no effect", self.path)));
        }
        let (config, diagnostics) = MeshConfig::parse(&Source::new(format!("{} (data.{KEY})", self.path), text));
        if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return self.refuse(&diagnostics);
        }
        diagnostics.iter().for_each(|diagnostic| (self.say)(diagnostic));
        tracing::info!("what {} says holds for the mesh", self.path);
        self.newest.send_replace(Some(Arc::new(config)));
    }

    /// Whether it was another one that was taken in last; it is this one now.
    fn is_other(&mut self, text: Option<&str>) -> bool {
        let is_other = self.text.as_ref().is_none_or(|known| known.as_deref() != text);
        self.text = Some(text.map(str::to_owned));
        is_other
    }

    fn refuse(&self, diagnostics: &[Diagnostic]) {
        diagnostics.iter().for_each(|diagnostic| (self.say)(diagnostic));
        let instead = match self.newest.borrow().is_some() {
            true => "the last good one stays in force",
            false => "until it is right, the control plane does not start",
        };
        tracing::error!("{} is refused: {instead}", self.path);
    }

    fn failed(&mut self, error: &watcher::Error) {
        let message = format!("{} cannot be followed, and stays as it was until it can: {error}", self.path);
        if self.said.as_ref() != Some(&message) {
            tracing::warn!("{message}");
            self.said = Some(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::fake::{ApiServer, Mood};

    const MAP: &str = "/api/v1/namespaces/istio-system/configmaps/istio";
    const SECOND: Duration = Duration::from_secs(1);

    fn put(server: &ApiServer, data: serde_json::Value) {
        server.put(MAP, json!({"metadata": {"name": "istio", "namespace": "istio-system"}, "data": data}));
    }

    type Said = Arc<Mutex<Vec<String>>>;

    async fn followed(server: &ApiServer, said: &Said) -> MeshConfigs {
        let said = said.clone();
        follow(server.client(), "istio-system", "default", Box::new(move |found| said.lock().unwrap().push(found.message.clone()))).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_broken_is_reported_and_the_last_good_one_stays() {
        let (server, said) = (ApiServer::default(), Said::default());
        let mut configs = followed(&server, &said).await;
        assert_eq!(**configs.newest.borrow_and_update(), MeshConfig::default());
        put(&server, json!({"mesh": "accessLogFile: /a\n", "meshNetworks": "networks: {}"}));
        timeout(SECOND, configs.newest.changed()).await.unwrap().unwrap();
        assert_eq!(configs.newest.borrow_and_update().access_log_file, "/a");
        assert_eq!(said.lock().unwrap().len(), 0);
        for broken in [json!({"mesh": "accessLogFil: /b\n"}), json!({"mesh": "a: ["}), json!({}), json!({"other": "x"})] {
            said.lock().unwrap().clear();
            put(&server, broken.clone());
            sleep(SECOND).await;
            assert!(!configs.newest.has_changed().unwrap() && !said.lock().unwrap().is_empty(), "{broken}");
        }
        said.lock().unwrap().clear();
        // The same as before, in other words.
        put(&server, json!({"mesh": "accessLogFile: '/a'\n", "meshNetworks": "networks: {a: {}}"}));
        sleep(SECOND).await;
        assert!(!configs.newest.has_changed().unwrap() && said.lock().unwrap()[0].contains("`meshNetworks`"));
        put(&server, json!({"mesh": "accessLogFile: /c\n"}));
        timeout(SECOND, configs.newest.changed()).await.unwrap().unwrap();
        assert_eq!(configs.newest.borrow().access_log_file, "/c");
    }

    #[tokio::test(start_paused = true)]
    async fn who_starts_waits_for_a_good_one() {
        let (server, said) = (ApiServer::default(), Said::default());
        server.be(Mood::Refuses(403));
        assert!(timeout(SECOND * 60, followed(&server, &said)).await.is_err());
        server.be(Mood::Well);
        put(&server, json!({"mesh": "a: b\n"}));
        assert!(timeout(SECOND * 60, followed(&server, &said)).await.is_err() && said.lock().unwrap()[0].contains("`a`"));
        let following = tokio::spawn({
            let (server, said) = (server.clone(), said.clone());
            async move { followed(&server, &said).await }
        });
        sleep(SECOND).await;
        put(&server, json!({"mesh": "rootNamespace: root\n"}));
        let configs = timeout(SECOND, following).await.unwrap().unwrap();
        assert_eq!(configs.newest.borrow().root_namespace, "root");
    }

    #[test]
    fn a_revision_has_a_config_map_of_its_own() {
        assert_eq!(["default", "canary"].map(name), ["istio", "istio-canary"]);
    }
}
