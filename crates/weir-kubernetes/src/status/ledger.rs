//! What is to be written, and when: of each resource, what its status is to say, and what it is known to say.
//!
//! What changes while one leads goes before what was there before, and before what was written already and is not settled yet: nobody waits
//! for that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use weir_api::Diagnostic;
use weir_pilot::Progress;
use weir_registry::{Catalog, Written};

use super::Scope;
use super::content::Content;
use super::desired::{Desired, InForce, Message, State};
use super::document;
use super::event::Refusal;
use super::place::{Place, path, path_of};
use super::told::Told;

/// So long proxies have to answer before it is told that some have not.
const PENDING: Duration = Duration::from_millis(500);
/// Between two writes that some have not: the first wait, which doubles, and the longest.
const AGAIN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);
/// So many steps are remembered.
const STEPS: usize = 1024;
/// Whoever was overtaken by another writer, tries again so soon.
const OVERTAKEN: Duration = Duration::from_millis(50);

/// A status to be written.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub path: PathBuf,
    pub written: Arc<Written>,
    pub desired: Desired,
    /// What is to be told by an Event, besides.
    pub refusal: Option<Refusal>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The status says so, or there is no such generation any more.
    Done,
    /// Somebody else wrote meanwhile.
    Overtaken,
    /// It could not be written: not before this time again.
    Failed(Instant),
}

/// A resource.
struct Record {
    written: Arc<Written>,
    /// The version of the configuration that it is in.
    since: u64,
    /// How often the ledger had taken something in when it took this in.
    step: u64,
    /// When it was first seen.
    seen: Instant,
    /// Whether it was there before.
    is_old: bool,
    /// What was told when all proxies had it.
    settled: Option<InForce>,
    /// What its status is known to say.
    said: Option<Desired>,
    /// What was told of it by an Event.
    told: Option<Refusal>,
    /// How often it was written, and when last.
    writes: u32,
    last: Instant,
    not_before: Instant,
    is_under_way: bool,
    /// When it is to be written, and in which queue that stands.
    due: Option<(usize, Instant)>,
}

/// All resources of a scope.
pub(super) struct Ledger {
    scope: Scope,
    catalog: Arc<Catalog>,
    records: BTreeMap<PathBuf, Record>,
    messages: BTreeMap<PathBuf, Vec<Message>>,
    progress: Progress,
    /// What other control planes tell, and who tells it.
    others: Vec<Told>,
    content: Content,
    /// At which step there was which content, as its digests tell: what the others have read is one of these.
    steps: BTreeMap<u64, u64>,
    step: u64,
    /// Those of which not all proxies are known to have them.
    unsettled: BTreeSet<PathBuf>,
    /// What is to be written: what is news, and what nobody waits for.
    due: [BTreeSet<(Instant, PathBuf)>; 2],
}

impl Ledger {
    /// One in which the resources of this catalog stand, which is of this version of the configuration.
    pub fn new(scope: &Scope, version: u64, catalog: &Arc<Catalog>, now: Instant) -> Self {
        let mut ledger = Self {
            scope: scope.clone(),
            catalog: catalog.clone(),
            records: BTreeMap::new(),
            messages: BTreeMap::new(),
            progress: Progress::default(),
            others: vec![],
            content: Content::of(catalog),
            steps: BTreeMap::new(),
            step: 0,
            unsettled: BTreeSet::new(),
            due: Default::default(),
        };
        for (path, written) in catalog.all_written() {
            ledger.put(path.to_owned(), Some(written), version, now, true);
        }
        ledger.remember();
        ledger
    }

    /// Takes in a newer catalog, which is of this version of the configuration.
    pub fn take(&mut self, version: u64, catalog: &Arc<Catalog>, now: Instant) {
        let changes = catalog.changes_since(&self.catalog, []);
        self.catalog = catalog.clone();
        let before = self.content.digests();
        self.content.take(catalog);
        let has_changed = self.content.digests() != before;
        self.step += u64::from(has_changed);
        let objects = changes.objects.iter().filter_map(|change| change.key()).map(|key| path_of(&key));
        let touched: BTreeSet<PathBuf> = objects.chain(changes.texts.into_iter().map(|text| text.path)).collect();
        for path in touched {
            let written = catalog.written(&path).cloned();
            self.put(path, written.as_ref(), version, now, false);
        }
        if has_changed {
            self.remember();
            // Others may have told of this before.
            self.weigh_unsettled(now);
        }
    }

    /// Remembers at which step there was what there is now.
    fn remember(&mut self) {
        self.steps.insert(self.content.digests().of(&self.scope), self.step);
        if self.steps.len() > STEPS {
            let oldest = self.step.saturating_sub(STEPS as u64 / 2);
            self.steps.retain(|_, step| *step >= oldest);
        }
    }

    /// Takes in what other control planes tell.
    pub fn take_others(&mut self, others: Vec<Told>, now: Instant) {
        if others != self.others {
            self.others = others;
            self.weigh_unsettled(now);
        }
    }

    fn weigh_unsettled(&mut self, now: Instant) {
        let unsettled: Vec<PathBuf> = self.unsettled.iter().cloned().collect();
        unsettled.iter().for_each(|path| self.weigh(path, now));
    }

    /// Of the proxies of others, how many have what was taken in at a step, and how many there are. Whoever has not read the same, then or
    /// later, is not known to have it.
    fn others_having(&self, step: u64) -> (usize, usize) {
        let has = |told: &&Told| self.steps.get(&told.digests.of(&self.scope)).is_some_and(|read| *read >= step);
        (self.others.iter().filter(has).map(|told| told.having).sum(), self.others.iter().map(|told| told.proxies).sum())
    }

    /// Takes in what is to be said.
    pub fn take_findings(&mut self, findings: &[Diagnostic], now: Instant) {
        let mut by_path: BTreeMap<PathBuf, Vec<&Diagnostic>> = BTreeMap::new();
        for finding in findings {
            if let Some(name) = &finding.object {
                by_path.entry(path(name)).or_default().push(finding);
            }
        }
        let messages: BTreeMap<_, _> = by_path.into_iter().map(|(path, findings)| (path, Message::all(&findings))).collect();
        let before = std::mem::replace(&mut self.messages, messages);
        let all: BTreeSet<&PathBuf> = before.keys().chain(self.messages.keys()).collect();
        let changed: Vec<PathBuf> = all.into_iter().filter(|path| before.get(*path) != self.messages.get(*path)).cloned().collect();
        changed.iter().for_each(|path| self.weigh(path, now));
    }

    /// Takes in how far the proxies are.
    pub fn take_progress(&mut self, progress: Progress, now: Instant) {
        if progress != self.progress {
            self.progress = progress;
            self.weigh_unsettled(now);
        }
    }

    /// Takes in what a status says that was read: this one needs no write if it says what it should.
    pub fn know(&mut self, path: &Path, uid: &str, generation: i64, status: &Value, now: Instant) {
        let is_this = |record: &&mut Record| record.written.uid == uid && record.written.generation == generation;
        let Some(record) = self.records.get_mut(path).filter(is_this) else { return };
        if document::is_settled(status, generation) {
            record.settled = Some(InForce { state: State::InForce, message: String::new() });
            self.unsettled.remove(path);
        }
        if let Some(desired) = self.desired(path) {
            let is_said = document::patch(status, &desired, Timestamp::UNIX_EPOCH).is_none();
            if let Some(record) = self.records.get_mut(path).filter(|_| is_said) {
                record.said = Some(desired);
            }
        }
        self.weigh(path, now);
    }

    /// Which kinds there are, in which versions of their groups.
    pub fn kinds(&self) -> BTreeSet<(weir_api::Kind, String)> {
        let kind = |(path, record): (&PathBuf, &Record)| Some((Place::of(path)?.kind, record.written.api_version.clone()));
        self.records.iter().filter_map(kind).collect()
    }

    /// When something is to be written next.
    pub fn next_at(&self) -> Option<Instant> {
        self.due.iter().filter_map(|due| due.first()).map(|(at, _)| *at).min()
    }

    /// What is to be written now.
    pub fn next(&mut self, now: Instant) -> Option<Job> {
        let ready = self.due.iter_mut().find(|due| due.first().is_some_and(|(at, _)| *at <= now))?;
        let (_, path) = ready.pop_first()?;
        let desired = self.desired(&path)?;
        let refusal = self.refusal(&path, &desired);
        let record = self.records.get_mut(&path)?;
        record.due = None;
        record.is_under_way = true;
        let refusal = refusal.filter(|refusal| record.told.as_ref() != Some(refusal));
        Some(Job { path, written: record.written.clone(), desired, refusal })
    }

    /// A write is done, or not.
    pub fn done(&mut self, job: Job, outcome: Outcome, now: Instant) {
        let is_this = |record: &&mut Record| record.written == job.written;
        // Another generation of it may be there already, or none.
        if let Some(record) = self.records.get_mut(&job.path) {
            record.is_under_way = false;
        }
        if let Some(record) = self.records.get_mut(&job.path).filter(is_this) {
            match outcome {
                Outcome::Done => {
                    record.said = Some(job.desired);
                    record.told = job.refusal.or(record.told.take());
                    (record.writes, record.last, record.is_old) = (record.writes.saturating_add(1), now, false);
                }
                Outcome::Overtaken => record.not_before = now + OVERTAKEN,
                Outcome::Failed(until) => record.not_before = until,
            }
        }
        self.weigh(&job.path, now);
    }

    fn put(&mut self, path: PathBuf, written: Option<&Arc<Written>>, since: u64, now: Instant, is_old: bool) {
        let Some(written) = written.filter(|written| self.scope.includes(written) && Place::of(&path).is_some()) else {
            self.forget(&path);
            return;
        };
        let known = self.records.get(&path);
        if known.is_none_or(|known| known.written != *written) {
            let is_under_way = known.is_some_and(|known| known.is_under_way);
            self.forget(&path);
            let record = Record {
                written: written.clone(),
                since,
                step: self.step,
                seen: now,
                is_old,
                settled: None,
                said: None,
                told: None,
                writes: 0,
                last: now,
                not_before: now,
                is_under_way,
                due: None,
            };
            self.records.insert(path.clone(), record);
            self.unsettled.insert(path.clone());
        }
        self.weigh(&path, now);
    }

    fn forget(&mut self, path: &Path) {
        if let Some(record) = self.records.remove(path) {
            if let Some((queue, at)) = record.due {
                self.due[queue].remove(&(at, path.to_owned()));
            }
            self.unsettled.remove(path);
        }
    }

    /// Looks whether a resource is to be written, and when.
    fn weigh(&mut self, path: &Path, now: Instant) {
        let Some(desired) = self.desired(path) else { return };
        let refusal = self.refusal(path, &desired);
        let Some(record) = self.records.get_mut(path) else { return };
        if desired.in_force.state == State::InForce {
            record.settled = Some(desired.in_force.clone());
            self.unsettled.remove(path);
        }
        if let Some((queue, at)) = record.due.take() {
            self.due[queue].remove(&(at, path.to_owned()));
        }
        let is_told = refusal.is_none_or(|refusal| record.told.as_ref() == Some(&refusal));
        if record.is_under_way || (is_told && record.said.as_ref() == Some(&desired)) {
            return;
        }
        let (queue, at) = (record.queue(desired.in_force.state), record.earliest(desired.in_force.state, now));
        record.due = Some((queue, at));
        self.due[queue].insert((at, path.to_owned()));
    }

    fn desired(&self, path: &Path) -> Option<Desired> {
        let record = self.records.get(path)?;
        let key = Place::of(path)?.key();
        let messages = self.messages.get(path).cloned().unwrap_or_default();
        let generation = record.written.generation;
        let in_force = match self.catalog.get(&key) {
            Some(object) if object.stands_in() => InForce::refused(&messages, "it is refused, and nobody gets in until it is right"),
            Some(object) if object.meta.generation != Some(generation) => {
                InForce::refused(&messages, "it is refused, and its last good version stays in force")
            }
            None => InForce::refused(&messages, "it is refused, and nothing of it is in force"),
            Some(_) => record.settled.clone().unwrap_or_else(|| InForce::by(&self.progress, record.since, self.others_having(record.step))),
        };
        Some(Desired { generation, in_force, messages })
    }

    fn refusal(&self, path: &Path, desired: &Desired) -> Option<Refusal> {
        let is_refused = desired.in_force.state == State::Refused && self.records.contains_key(path);
        is_refused.then(|| Refusal { note: desired.in_force.message.clone() })
    }
}

impl Record {
    /// Where it stands in line: behind what is new, if it was there before, or was written and is as unsettled as it was.
    fn queue(&self, state: State) -> usize {
        let is_repeated = self.writes > 0 && matches!(state, State::Pending | State::NoProxies);
        usize::from(self.is_old || is_repeated)
    }

    /// When it may be written: news that some proxies lack something wait for those a while, and are told ever more seldom.
    fn earliest(&self, state: State, now: Instant) -> Instant {
        let at = match (state, self.writes) {
            (State::InForce | State::Refused, _) => now,
            (State::Pending | State::NoProxies, 0) => self.seen + PENDING,
            (State::Pending | State::NoProxies, writes) => self.last + (AGAIN * 2u32.saturating_pow(writes - 1)).min(SELDOM),
        };
        at.max(self.not_before)
    }
}
