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
    /// What the last one has brought.
    brought: RefCell<Option<Arc<KeySet>>>,
    /// Until when nobody asks again, because it failed: forged tokens must not send those who serve keys a request each.
    failed_until: Cell<Option<Instant>>,
}

impl Fetched {
    /// The keys, as long as they are good.
    pub fn held(&self) -> Held {
        match &*self.keys.borrow() {
            Some((keys, until)) if Instant::now() < *until => Held::Keys(keys.clone()),
            _ if self.failed_until.get().is_some_and(|until| Instant::now() < until) => Held::Failed,
            _ => Held::Nowhere,
        }
    }

    /// Fetches the keys; none if there are no good ones then. Who waits for them judges by these, however long they are good.
    pub async fn fetch(&self, remote: &RemoteKeys, clusters: &Clusters, counted: &Counted) -> Option<Arc<KeySet>> {
        let before = self.ended.get();
        let _turn = self.turn.lock().await;
        if self.ended.get() != before {
            return self.brought.borrow().clone();
        }
        let fetched = with_retries(remote, clusters).await;
        counted.count(if fetched.is_some() { Count::JwksFetchSuccess } else { Count::JwksFetchFailed });
        let now = Instant::now();
        let mut keys = self.keys.borrow_mut();
        let brought = match fetched {
            Some(new) => {
                let new = Arc::new(new);
                *keys = Some((new.clone(), later(now, remote.cached)));
                Some(new)
            }
            // What was good stays so until newer keys can be had, which is tried again before long.
            None => keys.as_mut().filter(|_| remote.keeps_last).map(|(keys, until)| {
                *until = later(now, remote.refetch);
                keys.clone()
            }),
        };
        drop(keys);
        self.failed_until.set(brought.is_none().then(|| later(now, remote.refetch)));
        self.ended.set(before.wrapping_add(1));
        self.brought.replace(brought.clone());
        brought
    }
}

/// A moment so much later; clocks may not know of one that is far away.
fn later(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
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
