//! Keys that are fetched: when they are first needed, and again when they are no longer good.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::Mutex;
use weir_config::head::Head;
use weir_http1::Headers;
use weir_http1::header::{self, HeaderValue};
use weir_routing::filters::jwt_authn::{Count, Counted, Held, KeySet, RemoteKeys};

use crate::http::side_call::{SideRequest, call};
use crate::upstream::clusters::Clusters;

/// The longest set of keys.
const MOST: usize = 1 << 20;
/// A request does not wait for ever where the configuration names no limit.
const UNSAID: Duration = Duration::from_secs(5);

/// Keys of one provider.
#[derive(Default)]
pub(super) struct Fetched {
    keys: RefCell<Option<(Arc<KeySet>, Instant)>>,
    /// Requests that need the same keys wait for one fetch.
    turn: Mutex<()>,
    /// Counts the fetches that have ended.
    ended: Cell<u64>,
    /// Whether the last one has brought keys.
    succeeded: Cell<bool>,
}

impl Fetched {
    /// The keys, as long as they are good.
    pub fn held(&self) -> Held {
        match &*self.keys.borrow() {
            Some((keys, until)) if Instant::now() < *until => Held::Keys(keys.clone()),
            _ => Held::Nowhere,
        }
    }

    /// Fetches the keys. Whether there are good ones then.
    pub async fn fetch(&self, remote: &RemoteKeys, clusters: &Clusters, counted: &Counted) -> bool {
        let before = self.ended.get();
        let _turn = self.turn.lock().await;
        if self.ended.get() != before {
            return self.succeeded.get();
        }
        let fetched = with_retries(remote, clusters).await;
        counted.count(if fetched.is_some() { Count::JwksFetchSuccess } else { Count::JwksFetchFailed });
        let now = Instant::now();
        let mut keys = self.keys.borrow_mut();
        let is_held = match fetched {
            Some(new) => {
                *keys = Some((Arc::new(new), now + remote.cached));
                true
            }
            // What was good stays so until newer keys can be had, which is tried again before long.
            None => match (&mut *keys, remote.keeps_last) {
                (Some((_, until)), Some(refetch)) => {
                    *until = now + refetch;
                    true
                }
                _ => false,
            },
        };
        drop(keys);
        self.ended.set(before.wrapping_add(1));
        self.succeeded.set(is_held);
        is_held
    }
}

async fn with_retries(remote: &RemoteKeys, clusters: &Clusters) -> Option<KeySet> {
    let mut wait = remote.backoff;
    for attempt in 0..=remote.retries {
        if attempt > 0 {
            tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
            wait = wait.saturating_mul(2).min(remote.longest_backoff);
        }
        match once(remote, clusters).await {
            Ok(keys) => return Some(keys),
            Err(error) => tracing::warn!(cluster = &*remote.cluster, path = &*remote.path, error, "the keys of tokens cannot be fetched"),
        }
    }
    None
}

async fn once(remote: &RemoteKeys, clusters: &Clusters) -> Result<KeySet, String> {
    let host = HeaderValue::from_bytes(remote.authority.as_bytes()).map_err(|error| error.to_string())?;
    let mut headers = Headers::new();
    headers.insert(header::HOST, host);
    let head = Head { method: Method::GET, path: remote.path.to_string(), headers, ..Head::default() };
    let mut request = SideRequest { head, body: Bytes::new(), timeout: remote.timeout.or(Some(UNSAID)), most: MOST };
    request.sign();
    let answer = call(clusters, &remote.cluster, request).await.map_err(|error| error.to_string())?;
    if answer.head.status != StatusCode::OK {
        return Err(format!("the answer is {}", answer.head.status));
    }
    KeySet::parse(&answer.body).map_err(|status| status.text().to_owned())
}
