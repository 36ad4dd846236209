//! What the other control planes tell of their proxies.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Preconditions};
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc::Sender;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_stream::StreamExt;

use super::Scope;
use super::told::{LABEL, SECONDS, Told};

/// What cannot be followed is tried again so soon.
const AGAIN: Duration = Duration::from_secs(5);
/// One that is silent is asked after so often, until it is known whether it lives.
const ASK: Duration = Duration::from_secs(5);
/// The API server answers in that time.
const ANSWER: Duration = Duration::from_secs(2);
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

/// Asks after one that is silent: it may be the watch that is, and not the control plane. Tells what has become of its Lease, which is taken
/// away if it has ended: nobody else does that.
pub(super) async fn ask(leases: Api<Lease>, silent: Silent, news: Sender<Event<Lease>>) {
    let lease = match timeout(ANSWER, leases.get_opt(&silent.name)).await {
        Ok(Ok(Some(lease))) if lease.spec != silent.renewed => return drop(news.send(Event::Apply(lease)).await),
        Ok(Ok(Some(lease))) if take_away(&leases, &silent.name, &lease).await => lease,
        Ok(Ok(None)) => Lease { metadata: ObjectMeta { name: Some(silent.name), ..ObjectMeta::default() }, spec: None },
        // It is asked again.
        _ => return,
    };
    let _ = news.send(Event::Delete(lease)).await;
}

/// Takes away a Lease if it still is as it was read; whether it is gone.
async fn take_away(leases: &Api<Lease>, name: &str, read: &Lease) -> bool {
    let preconditions = Preconditions { resource_version: read.metadata.resource_version.clone(), uid: read.metadata.uid.clone() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match timeout(ANSWER, leases.delete(name, &params)).await {
        Ok(Err(kube::Error::Api(status))) => status.code == 404,
        deleted => matches!(deleted, Ok(Ok(_))),
    }
}

/// One of which nothing has been seen for as long as its word counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Silent {
    name: String,
    /// What was seen last.
    renewed: Option<LeaseSpec>,
}

/// What one tells, and when it was seen to be alive.
#[derive(Debug)]
struct Known {
    told: Told,
    /// What tells that it lives.
    renewed: Option<LeaseSpec>,
    /// Until when it counts as alive without being asked after.
    ends: Instant,
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
        let ends = before.map_or(now + Duration::from_secs(u64::from(SECONDS.unsigned_abs())), |known| known.ends);
        self.known.insert(name, Known { told, renewed: lease.spec.clone(), ends });
    }

    /// What those tell that live.
    pub fn told(&self) -> Vec<Told> {
        self.known.values().map(|known| known.told).collect()
    }

    /// Those that are to be asked after. Until it is known that they have ended they count.
    pub fn take_silent(&mut self, now: Instant) -> Vec<Silent> {
        let silent = self.known.iter_mut().filter(|(_, known)| known.ends <= now);
        let taken = silent.map(|(name, known)| {
            known.ends = now + ASK;
            Silent { name: name.clone(), renewed: known.renewed.clone() }
        });
        taken.collect()
    }

    /// When the next one is to be asked after.
    pub fn next_end(&self) -> Option<Instant> {
        self.known.values().map(|known| known.ends).min()
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
            assert_eq!((others.take_silent(at(14)), sum(&others)), (vec![], all));
            // One is seen again as it was, and another is renewed.
            others.take(&Event::Apply(lease("b", "canary", 4, 1)), at(14));
            others.take(&Event::Apply(lease("a", "default", 5, 2)), at(14));
            for silent in others.take_silent(at(16)) {
                assert_eq!((silent.name.as_str(), sum(&others)), ("b", 9), "it may live");
                others.take(&Event::Delete(lease("b", "canary", 4, 1)), at(16));
            }
            assert_eq!((sum(&others), others.take_silent(at(16))), (5, vec![]));
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
