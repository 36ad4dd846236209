//! Which of several control planes does what only one may do: the one that has a Lease of the cluster's.
//!
//! The rules are those of client-go's leader election, with Istio's times. A Lease is had for a while, and renewed before that is over.
//! Machines' clocks are never compared: a candidate counts the while from when it *saw* the Lease renewed last, by its own clock. The
//! leader counts from when it *asked* for its last renewal, and stops long before the others may begin. Every change of the Lease is of
//! the version that was read, so that of two that want it one is refused.
//!
//! Candidates watch the Lease: one that is given back is taken at once.

mod observed;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Client, Error};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_stream::StreamExt;

use observed::Observed;

/// Who ends waits so long at most until its Lease is given back.
const RELEASE: Duration = Duration::from_secs(2);
/// So many seconds one watch of a Lease lasts.
const WATCH: u32 = 50;

/// How long a Lease is had, and how often it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Who has not renewed its Lease for so long has lost it.
    pub duration: Duration,
    /// A leader that could not renew for so long stops to be one: well before the others may begin.
    pub renew: Duration,
    /// Between two attempts to have or to renew it.
    pub retry: Duration,
}

impl Times {
    /// Those of a Lease that is had for so long, at least a second: Istio's proportions.
    pub fn of(duration: Duration) -> Self {
        let duration = duration.max(Duration::from_secs(1));
        Self { duration, renew: duration / 2, retry: duration / 4 }
    }
}

impl Default for Times {
    /// Istio's.
    fn default() -> Self {
        Self::of(Duration::from_secs(30))
    }
}

/// What is contended for, and by whom.
#[derive(Debug, Clone)]
pub struct Election {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// Who wants it, different from all others at all times: see [`identity`].
    pub identity: String,
    /// For how long.
    pub times: Times,
}

/// An identity for a candidate of this name, which a later one of the same name does not have.
pub fn identity(name: &str) -> String {
    format!("{name}_{:016x}", fastrand::u64(..))
}

/// A candidate, from when it begins until it is [released](Self::release) or dropped.
pub struct Leader {
    leads: watch::Receiver<bool>,
    end: oneshot::Sender<()>,
    contending: JoinHandle<()>,
}

impl Leader {
    /// Begins to contend for a Lease, on this runtime.
    pub fn contend(client: Client, election: Election) -> Self {
        let (end, ended) = oneshot::channel();
        let (sender, leads) = watch::channel(false);
        let api = Api::namespaced(client, &election.namespace);
        let candidate = Candidate { api, election, observed: None, leads: Leads(sender), said: None };
        Self { leads, end, contending: tokio::spawn(candidate.run(ended)) }
    }

    /// Whether it leads now; follows changes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Stops, and gives back the Lease if it has it, so that another leads at once.
    pub async fn release(self) {
        let _ = self.end.send(());
        if timeout(RELEASE, self.contending).await.is_err() {
            tracing::warn!("the API server does not answer: another control plane leads when the Lease has run out");
        }
    }
}

/// Tells whether one leads. Whoever does not contend any more does not.
struct Leads(watch::Sender<bool>);

impl Drop for Leads {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

/// What became of an attempt.
enum Attempt {
    /// The Lease is had, as it was asked for at this time.
    Had(Instant),
    /// Another one has it.
    OfAnother,
    /// Somebody else changed it meanwhile.
    Overtaken,
    /// Nobody answered, or it is not allowed.
    Failed,
}

struct Candidate {
    api: Api<Lease>,
    election: Election,
    /// The Lease as it was seen last.
    observed: Option<Observed>,
    leads: Leads,
    /// What was said last, if it was no good news.
    said: Option<String>,
}

impl Candidate {
    async fn run(mut self, ended: oneshot::Receiver<()>) {
        tokio::select! {
            ended = ended => if ended.is_err() {
                // Dropped: who led does so no longer, and the Lease runs out.
                return;
            },
            () = self.contend() => {}
        }
        self.leads.0.send_replace(false);
        self.give_back().await;
    }

    async fn contend(&mut self) {
        let Times { renew, retry, .. } = self.election.times;
        loop {
            // An answer that is waited for longer may be of no use any more.
            match timeout(renew, self.attempt()).await.unwrap_or(Attempt::Failed) {
                Attempt::Had(asked) => self.lead(asked).await,
                Attempt::OfAnother => self.stand_by().await,
                Attempt::Overtaken => sleep(retry.mul_f64(fastrand::f64() / 10.0)).await,
                Attempt::Failed => sleep(retry).await,
            }
        }
    }

    /// Takes the Lease if nobody has it.
    async fn attempt(&mut self) -> Attempt {
        let lease = match self.api.get_opt(&self.election.lease).await {
            Ok(lease) => lease,
            Err(error) => return self.failed(&error),
        };
        match lease {
            Some(lease) => self.observe(lease),
            None => self.observed = None,
        }
        let now = Instant::now();
        if self.observed.as_ref().is_some_and(|observed| !observed.is_free(&self.election, now)) {
            return Attempt::OfAnother;
        }
        self.write(self.own_spec()).await
    }

    /// Writes the Lease, as a change of what was observed.
    async fn write(&mut self, spec: LeaseSpec) -> Attempt {
        let asked = Instant::now();
        let (name, params) = (&self.election.lease, PostParams::default());
        let written = match &self.observed {
            Some(observed) => self.api.replace(name, &params, &Lease { spec: Some(spec), ..observed.lease.clone() }).await,
            None => {
                let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                self.api.create(&params, &Lease { metadata, spec: Some(spec) }).await
            }
        };
        match written {
            Ok(lease) => {
                self.said = None;
                self.observe(lease);
                Attempt::Had(asked)
            }
            Err(Error::Api(status)) if status.code == 409 => Attempt::Overtaken,
            Err(error) => self.failed(&error),
        }
    }

    /// Leads until it cannot renew the Lease in time, or another one has it.
    async fn lead(&mut self, mut asked: Instant) {
        let Times { renew, retry, .. } = self.election.times;
        tracing::info!("this control plane leads: it has the Lease {}", self.election.lease);
        self.leads.0.send_replace(true);
        'leading: loop {
            let until = asked + renew;
            sleep_until((Instant::now() + retry).min(until)).await;
            loop {
                match timeout_at(until, self.renew()).await {
                    Ok(Attempt::Had(again)) => {
                        asked = again;
                        break;
                    }
                    Ok(Attempt::OfAnother) => break 'leading,
                    Ok(Attempt::Failed | Attempt::Overtaken) | Err(_) => sleep_until((Instant::now() + retry / 4).min(until)).await,
                }
                if Instant::now() >= until {
                    break 'leading;
                }
            }
        }
        self.leads.0.send_replace(false);
        tracing::warn!("this control plane leads no longer: it could not renew the Lease {} in time", self.election.lease);
    }

    /// Renews the Lease; also if somebody else changed something of it.
    async fn renew(&mut self) -> Attempt {
        match self.write(self.own_spec()).await {
            Attempt::Overtaken => self.attempt().await,
            outcome => outcome,
        }
    }

    /// What the Lease says when it is had.
    fn own_spec(&self) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = self.observed.as_ref().and_then(|observed| observed.lease.spec.clone()).unwrap_or_default();
        let is_own = before.holder_identity.as_deref() == Some(self.election.identity.as_str());
        let is_transition = self.observed.is_some() && !is_own;
        let transitions = before.lease_transitions.unwrap_or_default().saturating_add(i32::from(is_transition));
        LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: i32::try_from(self.election.times.duration.as_secs()).ok(),
            acquire_time: before.acquire_time.clone().filter(|_| is_own).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..before
        }
    }

    /// Waits until the Lease may be had: it was given back, or nobody renewed it.
    async fn stand_by(&mut self) {
        let retry = Instant::now() + self.election.times.retry;
        let version = self.observed.as_ref().and_then(|observed| observed.lease.metadata.resource_version.clone()).unwrap_or_default();
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.election.lease)).timeout(WATCH);
        let watched = timeout(self.election.times.retry, self.api.watch(&params, &version)).await;
        if let Ok(Ok(events)) = watched {
            let mut events = std::pin::pin!(events);
            loop {
                let Some(observed) = &self.observed else { return };
                let free = observed.free_at(&self.election);
                if free <= Instant::now() {
                    return;
                }
                match timeout_at(free, events.next()).await {
                    Ok(Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)))) => self.observe(lease),
                    Ok(Some(Ok(WatchEvent::Deleted(_)))) => self.observed = None,
                    Ok(Some(Ok(WatchEvent::Bookmark(_)))) => {}
                    // It ended, or is of no use: who cannot watch asks again.
                    Ok(None | Some(_)) => break,
                    Err(_) => return,
                }
            }
        }
        let free = self.observed.as_ref().map_or(retry, |observed| observed.free_at(&self.election));
        sleep_until(retry.min(free)).await;
    }

    fn observe(&mut self, lease: Lease) {
        self.observed = Some(Observed::next(self.observed.take(), lease, Instant::now()));
    }

    /// Gives back the Lease, if it has it. It asks: its last request may have been carried out or not.
    async fn give_back(&mut self) {
        let Ok(Some(lease)) = self.api.get_opt(&self.election.lease).await else { return };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.election.identity.as_str()) {
            return;
        }
        self.observe(lease);
        // A second is the least that there is, see client-go's `release`.
        let spec = LeaseSpec { holder_identity: Some(String::new()), lease_duration_seconds: Some(1), ..spec };
        match self.write(spec).await {
            Attempt::Had(_) => tracing::info!("the Lease {} is given back", self.election.lease),
            _ => tracing::warn!("the Lease {} could not be given back: it runs out", self.election.lease),
        }
    }

    fn failed(&mut self, error: &Error) -> Attempt {
        let Election { namespace, lease, .. } = &self.election;
        let message = match error {
            Error::Api(status) if status.code == 403 => format!(
                "the API server does not let this account have the Lease {lease} in {namespace}: its Role must; until then it leads nothing"
            ),
            error => format!("the Lease {lease} in {namespace} cannot be asked for: {error}"),
        };
        if self.said.as_ref() != Some(&message) {
            tracing::warn!("{message}");
            self.said = Some(message);
        }
        Attempt::Failed
    }
}
