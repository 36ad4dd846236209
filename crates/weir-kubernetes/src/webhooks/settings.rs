//! How pods are injected, as the cluster says at any time: what its operator has written in the ConfigMap `istio-sidecar-injector`, and what its
//! nodes can.

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
use weir_inject::Settings;
use weir_inject::configuration::injector;

use super::follow::{Known, follow};
use super::native::{self, Native};

/// So long it is waited for what the cluster says. Until it has said that, sidecars are as the command line has them, and none is native.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keys `config` and `values`.
type Texts = BTreeMap<String, String>;

/// What the cluster says, and what is made of it.
struct Said {
    /// Without it.
    base: Settings,
    native: Native,
    operators: watch::Receiver<Known<Texts>>,
    nodes: watch::Receiver<Known<bool>>,
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
) -> watch::Receiver<Arc<Settings>> {
    let (newest, mut operators) = watch::channel(None);
    let of_ours = Config::default().fields(&format!("metadata.name={}", injector(&base.revision)));
    tasks.spawn(follow(Api::<ConfigMap>::namespaced(client.clone(), &base.own_namespace), of_ours, texts, newest));
    let (newest, mut nodes) = watch::channel(None);
    if native == Native::Auto {
        tasks.spawn(follow(Api::<Node>::all(client.clone()), Config::default(), native::can, newest));
    }
    let known = timeout(PATIENCE, async {
        let _ = operators.wait_for(Option::is_some).await;
        if native == Native::Auto {
            let _ = nodes.wait_for(Option::is_some).await;
        }
    });
    if known.await.is_err() {
        tracing::warn!(
            "what the cluster says of injection cannot be read yet: until then sidecars are as the command line has them, none native"
        );
    }
    let mut said = Said { last: base.clone(), base, native, operators, nodes, told: vec![] };
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
            else => false,
        }
    }

    /// What is to be done by that.
    fn settings(&mut self) -> Settings {
        let texts = self.operators.borrow_and_update().clone().unwrap_or_default();
        self.take_operators(texts.values().next());
        let nodes = self.nodes.borrow_and_update().clone();
        let native_sidecars = match self.native {
            Native::Always(always) => always,
            Native::Auto => nodes.as_ref().is_some_and(|nodes| native::can_all(nodes)),
        };
        Settings { native_sidecars, native_nodes: nodes.unwrap_or_default(), ..self.last.clone() }
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
        let mut said = Said { last: base.clone(), base, native: Native::Auto, operators, nodes: watched, told: vec![] };
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
}
