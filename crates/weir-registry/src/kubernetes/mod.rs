//! Objects in Kubernetes: the API server's lists, and what changes on them.
//!
//! [`connect`] reaches an API server as kubectl or a pod does, [`watch()`] keeps a catalog of what it has, [`Cluster`] looks at it once. Each kind is listed and
//! watched by itself ([`watch`](mod@watch)); what that tells makes the catalog ([`store`]), of which objects are a part as they would be
//! in files. What is kept of each is only what a mesh reads ([`strip`]).

mod access;
mod back_off;
mod look;
mod received;
mod selection;
mod store;
mod strip;
mod text;
mod watch;

use std::sync::Arc;

pub use access::{Access, AccessError, connect};
pub use kube::Client;
pub use look::{Cluster, LookError, Seen, Which};
use tokio::sync::{mpsc, watch as state};
use tokio::task::JoinSet;
use weir_api::Kind;
use weir_api::resources::mesh_config::LabelSelector;

use crate::Catalog;
use store::{News, Store};

/// So many news wait to be taken in; who brings more waits, and so does the API server.
const DEPTH: usize = 1024;

/// What of a cluster counts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The revision of the control plane: resources of Istio's that are labelled `istio.io/rev` for another one do not count.
    pub revision: String,
    /// Namespaces that none of these selects do not count; without any, all do.
    pub selectors: Vec<LabelSelector>,
}

/// A cluster that is followed, until this is dropped.
pub struct Watched {
    /// The newest catalog.
    pub catalog: state::Receiver<Arc<Catalog>>,
    _followers: JoinSet<()>,
}

/// Follows a cluster. Returns when every list has been read once, however long that takes.
pub async fn watch(client: &Client, options: &Options) -> Watched {
    let kinds: Vec<watch::Followed> = watch::all().collect();
    let (sender, news) = mpsc::channel(DEPTH);
    let mut followers = JoinSet::new();
    for &followed in &kinds {
        followers.spawn(watch::follow(client.clone(), followed, sender.clone()));
    }
    let store = Store::new(kinds.iter().map(|followed| followed.kind), options);
    let (catalog, mut newest) = state::channel(Arc::default());
    followers.spawn(gather(store, news, catalog));
    // The first catalog that it is given is whole.
    let _ = newest.changed().await;
    Watched { catalog: newest, _followers: followers }
}

/// Takes in all news as they come; those that wait together are one change.
async fn gather(mut store: Store, mut news: mpsc::Receiver<(Kind, News)>, catalog: state::Sender<Arc<Catalog>>) {
    let mut waiting = Vec::with_capacity(DEPTH);
    while news.recv_many(&mut waiting, DEPTH).await > 0 {
        if store.take(waiting.drain(..)) && store.is_whole() {
            catalog.send_replace(Arc::new(store.catalog()));
        }
    }
}
