//! Writes what the ledger says, a bounded number of times a second; a cluster that does not answer is left alone for a while.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::runtime::watcher::Event;
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use weir_pilot::Pilot;

use super::ledger::{Job, Ledger, Outcome};
use super::others::{self, Others};
use super::place::{Place, resource};
use super::{Scope, Statuses, document};

/// News wait until there are none for so long, but no longer than that: most are one change that many tell of.
const QUIET: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(400);
/// So many writes a second, so many at once after a quiet time, and so many under way.
const RATE: f64 = 50.0;
const BURST: f64 = 100.0;
const UNDER_WAY: usize = 8;
/// The API server answers in that time, or is asked again.
const ANSWER: Duration = Duration::from_secs(10);
/// So long it is left alone when it does not: at first, and at most.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What is not allowed is not tried again before this.
const FORBIDDEN: Duration = Duration::from_secs(60);
/// So many objects are on a page of a list.
const PAGE: u32 = 500;
/// Who writes, as the fields' owner.
const MANAGER: &str = "weir-pilot";

/// So many news of Leases wait.
const LEASES: usize = 64;

/// Writes the status of all resources of a scope.
pub(super) struct Writer {
    client: Client,
    pilot: Pilot,
    instance: Arc<str>,
    /// By which other control planes tell of their proxies.
    leases: Api<Lease>,
    others: Others,
    ledger: Ledger,
    under_way: JoinSet<(Job, Result<(), Error>)>,
    rate: Rate,
    /// Until when nothing is written.
    paused: Instant,
    pause: Duration,
    /// What was said last, if it was no good news.
    said: Option<String>,
}

impl Writer {
    pub fn new(statuses: &Statuses, scope: &Scope) -> Self {
        let Statuses { client, pilot, instance, lease, .. } = statuses.clone();
        let (now, leases) = (Instant::now(), statuses.leases());
        let (version, catalog) = pilot.now();
        let mut ledger = Ledger::new(scope, version, &catalog, now);
        ledger.take_findings(&pilot.findings_of_configuration(), now);
        ledger.take_progress(pilot.progress(), now);
        let rate = Rate { left: BURST, at: now };
        let others = Others::new(&lease, scope);
        let under_way = JoinSet::new();
        Self { client, pilot, instance, leases, others, ledger, under_way, rate, paused: now, pause: PAUSE, said: None }
    }

    /// Writes, until it is dropped.
    pub async fn run(mut self) {
        let (mut catalog, mut answers, mut findings) = (self.pilot.catalog(), self.pilot.answers(), self.pilot.findings_changes());
        let mut following = JoinSet::new();
        let (sender, mut leases) = mpsc::channel(LEASES);
        following.spawn(others::follow(self.leases.clone(), sender.clone()));
        self.read_all().await;
        self.hear_all(&mut leases).await;
        // Whatever came meanwhile.
        let mut news = News::default();
        news.come(true, Instant::now());
        loop {
            self.begin_due();
            let wake = [self.next_start(), news.due(), self.others.next_end()].into_iter().flatten().min();
            // None of these ends before the pilot, which this holds.
            let says_else = tokio::select! {
                _ = catalog.changed() => Some(false),
                _ = answers.changed() => Some(false),
                _ = findings.changed() => Some(true),
                Some(_) = following.join_next(), if following.len() > 1 => None,
                Some(lease) = leases.recv() => {
                    self.others.take(&lease, Instant::now());
                    None
                }
                Some(done) = self.under_way.join_next() => {
                    // One that panicked was said by who panicked.
                    if let Ok((job, written)) = done {
                        self.finish(job, written);
                    }
                    None
                }
                () = until(wake) => None,
            };
            let now = Instant::now();
            if let Some(says_else) = says_else {
                news.come(says_else, now);
            }
            for silent in self.others.take_silent(now) {
                following.spawn(others::ask(self.leases.clone(), silent, sender.clone()));
            }
            self.ledger.take_others(self.others.told(), now);
            if news.due().is_some_and(|due| due <= now) {
                self.look(&std::mem::take(&mut news), now);
            }
        }
    }

    /// Takes in what all other control planes tell now: who begins with its own proxies alone would find too soon that all have something.
    async fn hear_all(&mut self, leases: &mut mpsc::Receiver<Event<Lease>>) {
        let until = Instant::now() + ANSWER;
        while let Ok(Some(lease)) = timeout_at(until, leases.recv()).await {
            let now = Instant::now();
            self.others.take(&lease, now);
            if matches!(lease, Event::InitDone) {
                return self.ledger.take_others(self.others.told(), now);
            }
        }
    }

    /// Takes in the newest state.
    fn look(&mut self, news: &News, now: Instant) {
        let (version, catalog) = self.pilot.now();
        self.ledger.take(version, &catalog, now);
        if news.says_else {
            self.ledger.take_findings(&self.pilot.findings_of_configuration(), now);
        }
        self.ledger.take_progress(self.pilot.progress(), now);
    }

    /// Reads what all statuses say, so that those which are right are neither asked for one by one nor written.
    async fn read_all(&mut self) {
        for (kind, api_version) in self.ledger.kinds() {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(kind, &api_version));
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = match timeout(ANSWER, api.list(&params)).await {
                    Ok(Ok(page)) => page,
                    // Each is asked for when it is written.
                    Ok(Err(error)) => break self.say(format!("the status of {} cannot be read: {error}", kind.plural())),
                    Err(_) => break,
                };
                let now = Instant::now();
                for object in page.items {
                    let meta = &object.metadata;
                    let path = [kind.name(), meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default()];
                    let (uid, generation) = (meta.uid.as_deref().unwrap_or_default(), meta.generation.unwrap_or_default());
                    self.ledger.know(&path.into_iter().collect::<std::path::PathBuf>(), uid, generation, &object.data["status"], now);
                }
                match page.metadata.continue_.filter(|next| !next.is_empty()) {
                    Some(next) => params.continue_token = Some(next),
                    None => break,
                }
            }
        }
    }

    /// When the next write may begin.
    fn next_start(&self) -> Option<Instant> {
        let due = self.ledger.next_at().filter(|_| self.under_way.len() < UNDER_WAY)?;
        Some(due.max(self.paused).max(self.rate.next()))
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while now >= self.paused && self.under_way.len() < UNDER_WAY && self.rate.next() <= now {
            let Some(job) = self.ledger.next(now) else { return };
            self.rate.take(now);
            let (client, instance) = (self.client.clone(), self.instance.clone());
            self.under_way.spawn(async move {
                let written = timeout(ANSWER, write(&client, &instance, &job)).await;
                (job, written.unwrap_or_else(|elapsed| Err(Error::Service(elapsed.into()))))
            });
        }
    }

    fn finish(&mut self, job: Job, written: Result<(), Error>) {
        let now = Instant::now();
        let code = |error: &Error| if let Error::Api(status) = error { status.code } else { 0 };
        let outcome = match written {
            Ok(()) => {
                (self.pause, self.said) = (PAUSE, None);
                Outcome::Done
            }
            Err(error) => match code(&error) {
                404 => Outcome::Done,
                409 => Outcome::Overtaken,
                403 => {
                    self.say(format!("the API server does not let this account write: its Role must: {error}"));
                    Outcome::Failed(now + FORBIDDEN)
                }
                // It will not be taken the next time either.
                400 | 422 => {
                    self.say(format!("the API server does not take the status of {}: {error}", job.path.display()));
                    Outcome::Done
                }
                _ => {
                    self.say(format!("statuses are written later: {error}"));
                    self.paused = now + self.pause;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    Outcome::Failed(self.paused)
                }
            },
        };
        self.ledger.done(job, outcome, now);
    }

    fn say(&mut self, message: String) {
        if self.said.as_ref() != Some(&message) {
            tracing::warn!("{message}");
            self.said = Some(message);
        }
    }
}

/// Writes a status, and tells of a refusal.
async fn write(client: &Client, instance: &str, job: &Job) -> Result<(), Error> {
    let Some(place) = Place::of(&job.path) else { return Ok(()) };
    let written = write_status(client, &place, job).await;
    // Who may not write the one may write the other.
    if let Some(refusal) = &job.refusal {
        create(client, place.namespace, refusal.event(&place, &job.written, instance)).await?;
    }
    written
}

/// Writes a status if there still is that generation, and the status says something else.
async fn write_status(client: &Client, place: &Place<'_>, job: &Job) -> Result<(), Error> {
    let Job { written, desired, .. } = job;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), place.namespace, &resource(place.kind, &written.api_version));
    let object = api.get(place.name).await?;
    let meta = &object.metadata;
    if meta.uid.as_ref() != Some(&written.uid) || meta.generation != Some(written.generation) {
        // The newer one is about to be read, and written then.
        return Ok(());
    }
    let Some(status) = document::patch(&object.data["status"], desired, Timestamp::now()) else { return Ok(()) };
    let patch = json!({"metadata": {"resourceVersion": meta.resource_version}, "status": status});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_status(place.name, &params, &Patch::Merge(patch)).await.map(drop)
}

/// Creates an Event, which may be there already.
async fn create(client: &Client, namespace: &str, event: Value) -> Result<(), Error> {
    let resource = ApiResource {
        group: "events.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "events.k8s.io/v1".to_owned(),
        kind: "Event".to_owned(),
        plural: "events".to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let event = serde_json::from_value(event).map_err(Error::SerdeError)?;
    match api.create(&PostParams::default(), &event).await {
        Err(Error::Api(status)) if status.code == 409 => Ok(()),
        created => created.map(drop),
    }
}

/// News that wait for more.
#[derive(Debug, Clone, Copy, Default)]
struct News {
    /// When the first and the last came.
    came: Option<(Instant, Instant)>,
    /// Whether something else may be to be said.
    says_else: bool,
}

impl News {
    fn come(&mut self, says_else: bool, now: Instant) {
        self.came = Some((self.came.map_or(now, |(first, _)| first), now));
        self.says_else |= says_else;
    }

    fn due(&self) -> Option<Instant> {
        self.came.map(|(first, last)| (last + QUIET).min(first + LONGEST))
    }
}

/// How often something may be done.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// How often at once, at a moment.
    left: f64,
    at: Instant,
}

impl Rate {
    fn left(&self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * RATE).min(BURST)
    }

    fn take(&mut self, now: Instant) {
        *self = Self { left: self.left(now) - 1.0, at: now };
    }

    /// From when on it may be done.
    fn next(&self) -> Instant {
        // A little more, so that what is added up until then is one and not a bit less.
        self.at + Duration::from_secs_f64((1.0 - self.left).max(0.0) / RATE)
    }
}

async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_is_done_than_the_rate_allows() {
        let begin = Instant::now();
        let mut rate = Rate { left: BURST, at: begin };
        let mut done = 0;
        while begin.elapsed() < Duration::from_secs(10) {
            sleep_until(rate.next()).await;
            rate.take(Instant::now());
            done += 1;
        }
        assert!((590..=602).contains(&done), "{done}");
    }
}
