//! Tells the other control planes how many proxies follow this one, and how many of them have all that it has read.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use weir_pilot::Pilot;
use weir_registry::Catalog;

use super::Statuses;
use super::content::Content;
use super::told::Told;

/// Who writes, as the fields' owner.
const MANAGER: &str = "weir-pilot";
/// News wait until there are none for so long, but no longer than that.
const QUIET: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(200);
/// What is told is told again after this time, so that it is known that one lives.
const ALIVE: Duration = Duration::from_secs(5);
/// That proxies came or went, which changes nothing of what is in force, is told so often at most; and what could not be told.
const SELDOM: Duration = Duration::from_secs(2);
/// The API server answers in that time.
const ANSWER: Duration = Duration::from_secs(2);

/// Who tells it.
pub(super) struct Teller {
    leases: Api<Lease>,
    pilot: Pilot,
    revision: Arc<str>,
    /// The name of its Lease.
    name: Arc<str>,
    content: Content,
    /// The version of the configuration since which that has been read.
    since: u64,
    said: Option<Told>,
    last: Option<Instant>,
    /// Why nothing could be said.
    failure: Option<String>,
}

impl Teller {
    /// One that has told nothing yet.
    pub fn new(statuses: &Statuses) -> Self {
        let Statuses { pilot, revision, lease, .. } = statuses.clone();
        let (since, catalog) = pilot.now();
        let content = Content::of(&catalog);
        Self { leases: statuses.leases(), pilot, revision, name: lease, content, since, said: None, last: None, failure: None }
    }

    /// Tells, until this is dropped.
    pub async fn run(mut self) {
        let (mut catalog, mut answers) = (self.pilot.catalog(), self.pilot.answers());
        loop {
            let told = self.told();
            let due = self.due(&told);
            if due <= Instant::now() {
                self.tell(told).await;
            } else if timeout_at(due, either(&mut catalog, &mut answers)).await.is_ok() {
                let end = Instant::now() + LONGEST;
                while Instant::now() < end && timeout(QUIET, either(&mut catalog, &mut answers)).await.is_ok() {}
            }
        }
    }

    fn told(&mut self) -> Told {
        let (version, catalog) = self.pilot.now();
        let before = self.content.digests();
        self.content.take(&catalog);
        if self.content.digests() != before {
            self.since = version;
        }
        let progress = self.pilot.progress();
        Told { proxies: progress.proxies, having: progress.having(self.since), digests: self.content.digests() }
    }

    /// When something is to be told.
    fn due(&self, told: &Told) -> Instant {
        let Some(last) = self.last else { return Instant::now() };
        match &self.said {
            None => last + SELDOM,
            Some(said) if said == told => last + ALIVE,
            // Somebody may wait for that.
            Some(said) if said.digests != told.digests || (told.is_settled() && !said.is_settled()) => last,
            Some(_) => last + SELDOM,
        }
    }

    async fn tell(&mut self, told: Told) {
        self.last = Some(Instant::now());
        let lease = told.lease(&self.name, &self.revision, Timestamp::now());
        let params = PatchParams::apply(MANAGER).force();
        let written = timeout(ANSWER, self.leases.patch(&self.name, &params, &Patch::Apply(&lease))).await;
        self.said = None;
        match written {
            Ok(Ok(_)) => (self.said, self.failure) = (Some(told), None),
            Ok(Err(error)) => self.say(format!("other control planes cannot be told of this one's proxies: {error}")),
            Err(_) => self.say("other control planes cannot be told of this one's proxies: the API server does not answer".to_owned()),
        }
    }

    fn say(&mut self, message: String) {
        if self.failure.as_ref() != Some(&message) {
            tracing::warn!("{message}");
            self.failure = Some(message);
        }
    }
}

/// Takes away the Lease of one that has ended: it has no proxies any more, and nobody is to wait for them.
pub(super) async fn take_back(leases: &Api<Lease>, name: &str) {
    // It runs out anyway.
    let _ = timeout(ANSWER, leases.delete(name, &DeleteParams::default())).await;
}

/// Waits until one of them changes. Neither ends before the pilot, which whoever waits here holds.
async fn either(catalog: &mut watch::Receiver<Arc<Catalog>>, answers: &mut watch::Receiver<()>) {
    tokio::select! {
        _ = catalog.changed() => {}
        _ = answers.changed() => {}
    }
}
