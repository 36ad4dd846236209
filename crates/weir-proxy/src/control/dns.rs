//! Addresses of names: looked up, and looked up again when they expire.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// No answer is asked for anew sooner, whatever its time to live.
const MIN_REFRESH: Duration = Duration::from_secs(1);
/// A name that did not resolve is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// A name's addresses; none if it has none, or none could be learnt.
pub type Resolved = (String, Vec<IpAddr>);

/// Keeps looking up a changing set of names.
pub struct Names {
    tasks: HashMap<String, JoinHandle<()>>,
    results: mpsc::Sender<Resolved>,
    /// One for all names, made when the first is looked up; none if the system's configuration cannot be used.
    resolver: OnceLock<Option<Arc<TokioResolver>>>,
}

impl Names {
    /// Looks up nothing yet; results come to the second value.
    pub fn new() -> (Self, mpsc::Receiver<Resolved>) {
        let (results, received) = mpsc::channel(16);
        (Self { tasks: HashMap::new(), results, resolver: OnceLock::new() }, received)
    }

    /// Looks up just these from now on.
    pub fn follow(&mut self, names: &HashSet<String>) {
        self.tasks.retain(|name, task| {
            let wanted = names.contains(name);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for name in names {
            if !self.tasks.contains_key(name) {
                let resolver = self.resolver.get_or_init(resolver).clone();
                self.tasks.insert(name.clone(), tokio::spawn(keep_resolving(name.clone(), resolver, self.results.clone())));
            }
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

fn resolver() -> Option<Arc<TokioResolver>> {
    let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
        // Which addresses count is the cluster's to say.
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build()
    });
    if let Err(error) = &resolver {
        tracing::error!(%error, "the system's name service cannot be used; no names of clusters are resolved");
    }
    resolver.ok().map(Arc::new)
}

async fn keep_resolving(name: String, resolver: Option<Arc<TokioResolver>>, results: mpsc::Sender<Resolved>) {
    let Some(resolver) = resolver else {
        let _ = results.send((name, vec![])).await;
        return;
    };
    let mut known = false;
    loop {
        let pause = match resolver.lookup_ip(name.as_str()).await {
            Ok(found) => {
                known = true;
                if results.send((name.clone(), found.iter().collect())).await.is_err() {
                    return;
                }
                found.valid_until().saturating_duration_since(Instant::now()).max(MIN_REFRESH)
            }
            Err(error) => {
                tracing::warn!(%error, "{name} cannot be resolved");
                // Addresses that were right a moment ago are better than none.
                if !known && results.send((name.clone(), vec![])).await.is_err() {
                    return;
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}
