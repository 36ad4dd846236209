//! Objects of one kind as the API server has them: a list and what changes on it, kept by name, each as far as it counts here.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use kube::api::Api;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use weir_registry::kubernetes::BackOff;

/// So many seconds a watch lasts before it goes on by another one: the client takes a connection for dead on which nothing happens for longer.
const WATCH: u32 = 60;

/// What is known of a kind: nothing, until a list has been read.
pub(super) type Known<V> = Option<Arc<BTreeMap<String, V>>>;

/// Follows those that the configuration selects, for ever. Whatever breaks is tried again; the last state stays.
pub(super) async fn follow<K, V>(api: Api<K>, config: Config, keep: fn(&K) -> V, newest: watch::Sender<Known<V>>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    V: Clone + PartialEq,
{
    let config = Config { timeout: Some(WATCH), ..config };
    let mut events = std::pin::pin!(watcher(api, config));
    let (mut known, mut listing) = (BTreeMap::new(), BTreeMap::new());
    let (mut back_off, mut said) = (BackOff::new(), None);
    while let Some(event) = events.next().await {
        match event {
            // Nobody sees half of a list.
            Ok(Event::Init) => {
                listing = BTreeMap::new();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listing.insert(object.name_any(), keep(&object));
                continue;
            }
            Ok(Event::InitDone) => known = std::mem::take(&mut listing),
            Ok(Event::Apply(object)) => {
                let kept = keep(&object);
                // Of many objects most news are of what is not kept.
                if known.insert(object.name_any(), kept.clone()).is_some_and(|before| before == kept) {
                    continue;
                }
            }
            Ok(Event::Delete(object)) => drop(known.remove(&object.name_any())),
            Err(error) => {
                let message = format!("{} cannot be followed: {error}", K::plural(&()));
                if said.as_ref() != Some(&message) {
                    tracing::warn!("{message}");
                    said = Some(message);
                }
                back_off.wait().await;
                continue;
            }
        }
        said = None;
        newest.send_replace(Some(Arc::new(known.clone())));
    }
}
