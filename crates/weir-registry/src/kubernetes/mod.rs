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
pub use back_off::BackOff;
pub use kube::Client;
pub use look::{Cluster, LookError, Seen, Which};
use tokio::sync::{mpsc, watch as state};
use tokio::task::JoinSet;
use weir_api::Kind;
use weir_api::resources::mesh_config::LabelSelector;

use crate::Catalog;
pub use store::read_object;
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
    selectors: state::Sender<Vec<LabelSelector>>,
    _following: JoinSet<()>,
}

impl Watched {
    /// Lets only those namespaces count from now on that one of these selects, or all if there are none.
    pub fn select(&self, selectors: Vec<LabelSelector>) {
        self.selectors.send_if_modified(|known| {
            let is_other = *known != selectors;
            *known = selectors;
            is_other
        });
    }
}

/// Follows a cluster. Returns when every list has been read once, however long that takes.
pub async fn watch(client: &Client, options: &Options) -> Watched {
    let store = Store::new(watch::all().map(|followed| followed.kind), options);
    let (selectors, selected) = state::channel(options.selectors.clone());
    let (catalog, mut newest) = state::channel(Arc::default());
    let mut following = JoinSet::new();
    following.spawn(gather(store, client.clone(), selected, catalog));
    // The first catalog that it is given is whole.
    let _ = newest.changed().await;
    Watched { catalog: newest, selectors, _following: following }
}

/// Takes in all news as they come; those that wait together are one change.
async fn gather(mut store: Store, client: Client, mut selected: state::Receiver<Vec<LabelSelector>>, catalog: state::Sender<Arc<Catalog>>) {
    let (sender, mut news) = mpsc::channel(DEPTH);
    let mut _followers = follow_all(&client, &sender);
    let mut waiting = Vec::with_capacity(DEPTH);
    loop {
        let has_changed = tokio::select! {
            _ = news.recv_many(&mut waiting, DEPTH) => store.take(waiting.drain(..)),
            Ok(()) = selected.changed() => {
                let selectors = selected.borrow_and_update().clone();
                if !store.keeps_all() && !selectors.is_empty() {
                    // What stands in namespaces that do not count now is kept from now on, for when they do.
                    _followers = follow_all(&client, &sender);
                }
                store.reselect(&selectors)
            }
        };
        if has_changed && store.is_whole() {
            catalog.send_replace(Arc::new(store.catalog()));
        }
    }
}

/// Begins to follow every kind, with a list of all that there is of it.
fn follow_all(client: &Client, news: &mpsc::Sender<(Kind, News)>) -> JoinSet<()> {
    watch::all().map(|followed| watch::follow(client.clone(), followed, news.clone())).collect()
}
