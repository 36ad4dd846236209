//! The classes of proxies: those that are alike share one set of resources. It is brought up to date once for each snapshot
//! of the mesh, and only then its members are told: who is woken finds what he is to send.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::spawn_blocking;
use weir_ads::{Names, ResourceSet};
use weir_api::Diagnostic;
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::{Class as Translated, ClassKey, Labels, Update};

use crate::report::Reporter;
use crate::resources;

/// All classes that have members.
#[derive(Default)]
pub(crate) struct Classes {
    known: Mutex<HashMap<ClassKey, Weak<Class>>>,
    /// The labels that rules look at, and the version of the snapshot that they are of.
    labels: Mutex<Option<(u64, Arc<Labels>)>>,
    /// How many there have been.
    count: AtomicU64,
}

impl Classes {
    /// The labels that the rules of a mesh look at: the same as long as they are equal.
    pub fn labels(&self, mesh: &MeshSnapshot) -> Arc<Labels> {
        let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = known.as_ref().map(|(version, labels)| (mesh.changes_since(*version), labels.clone()));
        let labels = match changes {
            // Somebody has seen a newer snapshot.
            Some((_, labels)) if known.as_ref().is_some_and(|(version, _)| *version >= mesh.version) => return labels,
            Some((changes, labels)) if !Labels::may_differ(&changes) => labels,
            Some((_, labels)) => {
                let new = Labels::of(mesh);
                if new == *labels { labels } else { Arc::new(new) }
            }
            None => Arc::new(Labels::of(mesh)),
        };
        *known = Some((mesh.version, labels.clone()));
        labels
    }

    /// The class of that key, to which `member` belongs.
    pub fn get(&self, key: ClassKey, member: &Proxy, reporter: &Arc<Reporter>) -> Arc<Class> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = known.get(&key).and_then(Weak::upgrade) {
            return class;
        }
        known.retain(|_, class| class.strong_count() > 0);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let class = Arc::new(Class {
            key: key.clone(),
            member: member.clone(),
            source: format!("class {number}"),
            state: Arc::default(),
            newest: watch::Sender::new(None),
            reporter: reporter.clone(),
        });
        known.insert(key, Arc::downgrade(&class));
        class
    }

    /// Brings each class to a snapshot of the mesh, beside whatever else is to be done. None waits for another.
    pub fn refresh(&self, mesh: &Arc<MeshSnapshot>) {
        let known: Vec<Arc<Class>> = self.known.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect();
        for class in known {
            let mesh = mesh.clone();
            tokio::spawn(async move { class.resources(&mesh).await.is_some() });
        }
    }

    /// How many have members.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|class| class.strong_count() > 0).count()
    }
}

/// A class of proxies, for as long as it has members.
pub(crate) struct Class {
    key: ClassKey,
    /// One that is like all others.
    member: Proxy,
    /// What its findings are reported as.
    source: String,
    state: Arc<AsyncMutex<State>>,
    /// What its members are told; nothing until the first of them has asked.
    newest: watch::Sender<Option<Resources>>,
    reporter: Arc<Reporter>,
}

#[derive(Default)]
struct State {
    /// None at first, and where a translation failed.
    translated: Option<Translated>,
    now: Option<Resources>,
}

/// What a class's members get.
#[derive(Clone)]
pub(crate) struct Resources {
    /// The snapshot that it is of.
    pub mesh: Arc<MeshSnapshot>,
    pub set: Arc<ResourceSet>,
    /// The version of the snapshot before, and what differs from what members got then.
    pub previous: u64,
    pub changed: Arc<Names>,
}

impl Class {
    /// What its members get by a snapshot of the mesh, or by a newer one. None if that cannot be made out.
    pub async fn resources(&self, mesh: &Arc<MeshSnapshot>) -> Option<Resources> {
        let is_new = |resources: &&Resources| resources.mesh.version >= mesh.version;
        if let Some(newest) = self.newest.borrow().as_ref().filter(is_new) {
            return Some(newest.clone());
        }
        let mut state = self.state.clone().lock_owned().await;
        if state.now.as_ref().filter(is_new).is_none() {
            let (key, member, mesh) = (self.key.clone(), self.member.clone(), mesh.clone());
            // It may take long, and others have messages to send.
            let refreshed = spawn_blocking(move || {
                let findings = state.refresh(&key, &mesh, &member);
                (state, findings)
            });
            let refreshed = refreshed.await.inspect_err(|error| tracing::error!("a translation failed: {error}"));
            let (refreshed, findings) = refreshed.ok()?;
            state = refreshed;
            if let Some(findings) = findings {
                self.reporter.replace(&self.source, findings);
            }
        }
        // Told by this thread, whose own queue those wait in who are to hear it.
        self.newest.send_replace(state.now.clone());
        state.now.clone()
    }

    /// What its members get, as it comes.
    pub fn newest(&self) -> watch::Receiver<Option<Resources>> {
        self.newest.subscribe()
    }
}

#[cfg(test)]
impl Class {
    /// How much was made so far.
    pub async fn work(&self) -> weir_translate::Work {
        self.state.lock().await.translated.as_ref().map(Translated::work).unwrap_or_default()
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        self.reporter.remove(&self.source);
    }
}

impl State {
    fn refresh(&mut self, key: &ClassKey, mesh: &Arc<MeshSnapshot>, member: &Proxy) -> Option<Vec<Diagnostic>> {
        // What fails half way is made anew the next time.
        let mut translated = self.translated.take().unwrap_or_else(|| Translated::new(key.clone()));
        let Update { upserts, removals, findings } = translated.refresh(mesh, member);
        self.translated = Some(translated);
        let (mut set, previous) = self.now.take().map_or_else(Default::default, |now| (now.set, now.mesh.version));
        let mut changed = Names::default();
        if !(upserts.is_empty() && removals.is_empty()) {
            let mut next = ResourceSet::clone(&set);
            for made in &upserts {
                changed.insert(made.kind, made.name.clone());
                resources::insert(&mut next, made);
            }
            for (kind, name) in removals {
                next.remove(kind, &name);
                changed.insert(kind, name);
            }
            set = Arc::new(next);
        }
        self.now = Some(Resources { mesh: mesh.clone(), set, previous, changed: Arc::new(changed) });
        findings
    }
}
