//! Follows objects of the API server's for as long as somebody listens: what breaks is tried again, sooner than kube's own policy would.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_stream::Stream;
use weir_registry::kubernetes::BackOff;

/// So many seconds a watch lasts before it goes on by another one: a server that has gone without a word is noticed a little later.
const WATCH: u32 = 60;

/// The objects that fields select: `metadata.name=x`; all without any.
pub(super) fn follow<K>(api: Api<K>, fields: Option<&str>) -> impl Stream<Item = Result<Event<K>, Error>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = Config { field_selector: fields.map(str::to_owned), timeout: Some(WATCH), ..Config::default() };
    watcher(api, config).backoff(Waits(BackOff::new()))
}

/// Waits that double.
struct Waits(BackOff);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.broke(Instant::now()))
    }
}

impl Backoff for Waits {
    /// The watcher says that a list begins before each attempt to read one: that is no sign of health. Only time is.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use k8s_openapi::api::core::v1::ConfigMap;
    use tokio_stream::StreamExt;

    use super::super::scripted::{Scripted, refusal};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_is_tried_less_and_less_often() {
        let server = Scripted::new(|_, _, _| refusal(500));
        let mut events = pin!(follow(Api::<ConfigMap>::all(server.client()), None));
        let listen = async { while events.next().await.is_some() {} };
        assert!(tokio::time::timeout(Duration::from_secs(20), listen).await.is_err());
        let asked = server.asked().len();
        assert!((8..=16).contains(&asked), "{asked} lists in 20 seconds");
    }
}
