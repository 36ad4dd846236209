//! What the other control planes tell of their proxies.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc::Sender;
use tokio::time::{Duration, Instant, sleep};
use tokio_stream::StreamExt;

use super::Scope;
use super::told::{LABEL, SECONDS, Told};

/// What cannot be followed is tried again so soon.
const AGAIN: Duration = Duration::from_secs(5);
/// So many seconds a watch lasts.
const WATCH: u32 = 50;

/// Tells what becomes of their Leases, until nobody wants to know.
pub(super) async fn follow(leases: Api<Lease>, news: Sender<Event<Lease>>) {
    let config = watcher::Config::default().labels(LABEL).timeout(WATCH);
    let mut events = std::pin::pin!(watcher(leases, config));
    let mut said = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                said = false;
                if news.send(event).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("the proxies of other control planes cannot be counted: {error}");
                }
                sleep(AGAIN).await;
            }
        }
    }
}

/// What one tells, and when it was seen to be alive.
#[derive(Debug)]
struct Known {
    told: Told,
    /// What tells that it lives.
    renewed: Option<LeaseSpec>,
    at: Instant,
}

/// All others whose proxies get the resources of a scope.
#[derive(Debug)]
pub(super) struct Others {
    /// Who asks.
    own: String,
    scope: Scope,
    known: BTreeMap<String, Known>,
    /// Those on a list that is not complete.
    listed: Vec<String>,
}

impl Others {
    /// Nobody is known yet. `own` is the name of this one.
    pub fn new(own: &str, scope: &Scope) -> Self {
        Self { own: own.to_owned(), scope: scope.clone(), known: BTreeMap::new(), listed: vec![] }
    }

    /// Takes in what becomes of a Lease.
    pub fn take(&mut self, news: &Event<Lease>, now: Instant) {
        let name = |lease: &Lease| lease.metadata.name.clone().unwrap_or_default();
        match news {
            Event::Init => self.listed.clear(),
            Event::InitApply(lease) => {
                self.listed.push(name(lease));
                self.put(lease, now);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.known.retain(|name, _| listed.contains(name));
            }
            Event::Apply(lease) => self.put(lease, now),
            Event::Delete(lease) => drop(self.known.remove(&name(lease))),
        }
    }

    fn put(&mut self, lease: &Lease, now: Instant) {
        let Some(name) = lease.metadata.name.clone().filter(|name| *name != self.own) else { return };
        let revision = lease.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL));
        let is_concerned = match &self.scope {
            Scope::Common => true,
            Scope::Revision(own) => revision == Some(own),
        };
        let Some(told) = Told::read(lease).filter(|_| is_concerned) else {
            self.known.remove(&name);
            return;
        };
        let before = self.known.get(&name).filter(|known| known.renewed == lease.spec);
        // Machines' clocks are not compared.
        let at = before.map_or(now, |known| known.at);
        self.known.insert(name, Known { told, renewed: lease.spec.clone(), at });
    }

    /// What those tell that live.
    pub fn told(&self) -> Vec<Told> {
        self.known.values().map(|known| known.told).collect()
    }

    /// Forgets those that do not live any more: the names of their Leases.
    pub fn take_dead(&mut self, now: Instant) -> Vec<String> {
        self.known.extract_if(.., |_, known| known.ends() <= now).map(|(name, _)| name).collect()
    }

    /// When the next one may turn out not to live any more.
    pub fn next_end(&self) -> Option<Instant> {
        self.known.values().map(Known::ends).min()
    }
}

impl Known {
    fn ends(&self) -> Instant {
        self.at + Duration::from_secs(u64::from(SECONDS.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, revision: &str, proxies: usize, second: i64) -> Lease {
        Told { proxies, ..Told::default() }.lease(name, revision, jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn those_count_that_live_and_are_concerned() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        for (scope, all) in [(Scope::Common, 7), (Scope::Revision("default".to_owned()), 3)] {
            let mut others = Others::new("own", &scope);
            let sum = |others: &Others| others.told().iter().map(|told| told.proxies).sum::<usize>();
            for lease in [lease("own", "default", 1, 1), lease("a", "default", 3, 1), lease("b", "canary", 4, 1), Lease::default()] {
                others.take(&Event::Apply(lease), begin);
            }
            assert_eq!((others.take_dead(at(14)), sum(&others)), (vec![], all));
            // One is seen again as it was, and another is renewed.
            others.take(&Event::Apply(lease("b", "canary", 4, 1)), at(14));
            others.take(&Event::Apply(lease("a", "default", 5, 2)), at(14));
            others.take_dead(at(16));
            assert_eq!(sum(&others), 5);
            others.take(&Event::Init, at(16));
            others.take(&Event::InitApply(lease("c", "default", 2, 1)), at(16));
            assert_eq!(sum(&others), 7);
            others.take(&Event::InitDone, at(16));
            assert_eq!(sum(&others), 2);
            others.take(&Event::Delete(lease("c", "default", 2, 1)), at(16));
            assert_eq!((sum(&others), others.next_end()), (0, None));
        }
    }
}
