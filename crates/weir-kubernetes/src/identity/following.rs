//! Follows objects of the API server's for as long as somebody listens: what breaks is tried again, sooner than kube's own policy would.

use std::fmt::Debug;
use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_stream::Stream;

/// The first and the longest wait. After a restart of the API server's, news must not wait for long.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);
/// So many seconds a watch lasts before it goes on by another one: a server that has gone without a word is noticed a little later.
const WATCH: u32 = 60;

/// The objects that fields select: `metadata.name=x`; all without any.
pub(super) fn follow<K>(api: Api<K>, fields: Option<&str>) -> impl Stream<Item = Result<Event<K>, Error>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = Config { field_selector: fields.map(str::to_owned), timeout: Some(WATCH), ..Config::default() };
    watcher(api, config).backoff(Waits(SHORTEST))
}

/// Waits that double.
struct Waits(Duration);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let Self(wait) = self;
        Some(std::mem::replace(wait, (*wait * 2).min(LONGEST)))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.0 = SHORTEST;
    }
}
