//! The classes of proxies: those that are alike share one set of resources. It is brought up to date once for each snapshot
//! of the mesh, by whoever asks first; all others wait for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Mutex as AsyncMutex;
use tokio::task::spawn_blocking;
use weir_ads::{Names, ResourceSet};
use weir_api::Diagnostic;
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::{Class as Translated, ClassKey, Labels, Update};

use crate::manifests::Manifests;
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
            Some((changes, labels)) => labels.after(mesh, &changes).map_or(labels, Arc::new),
            None => Arc::new(Labels::of(mesh)),
        };
        *known = Some((mesh.version, labels.clone()));
        labels
    }

    /// The class of that key.
    pub fn get(&self, key: ClassKey, reporter: &Arc<Reporter>) -> Arc<Class> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = known.get(&key).and_then(Weak::upgrade) {
            return class;
        }
        known.retain(|_, class| class.strong_count() > 0);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let class =
            Arc::new(Class { key: key.clone(), source: format!("class {number}"), state: Arc::default(), reporter: reporter.clone() });
        known.insert(key, Arc::downgrade(&class));
        class
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
    /// What its findings are reported as.
    source: String,
    state: Arc<AsyncMutex<State>>,
    reporter: Arc<Reporter>,
}

#[derive(Default)]
struct State {
    /// None at first, and where a translation failed.
    translated: Option<Translated>,
    now: Resources,
    manifests: Manifests,
}

/// What a class's members get.
#[derive(Clone, Default)]
pub(crate) struct Resources {
    /// The snapshot that it is of.
    pub version: u64,
    pub set: Arc<ResourceSet>,
    /// The snapshot before, and what differs from what members got then.
    pub previous: u64,
    pub changed: Arc<Names>,
}

impl Class {
    /// What its members get by a snapshot of the mesh, or by a newer one. None if that cannot be made out.
    pub async fn resources(self: &Arc<Self>, mesh: &Arc<MeshSnapshot>, member: &Proxy) -> Option<Resources> {
        let mut state = self.state.clone().lock_owned().await;
        if state.now.version >= mesh.version {
            return Some(state.now.clone());
        }
        let (class, mesh, member) = (self.clone(), mesh.clone(), member.clone());
        // It may take long, and others have messages to send.
        let refreshed = spawn_blocking(move || {
            let findings = state.refresh(&class.key, &mesh, &member);
            if let Some(findings) = findings {
                class.reporter.replace(&class.source, findings);
            }
            state.now.clone()
        });
        refreshed.await.inspect_err(|error| tracing::error!("a translation failed: {error}")).ok()
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
    fn refresh(&mut self, key: &ClassKey, mesh: &MeshSnapshot, member: &Proxy) -> Option<Vec<Diagnostic>> {
        // What fails half way is made anew the next time.
        let mut translated = self.translated.take().unwrap_or_else(|| Translated::new(key.clone()));
        let Update { upserts, removals, findings } = translated.refresh(mesh, member);
        self.translated = Some(translated);
        let mut changed = Names::default();
        if !(upserts.is_empty() && removals.is_empty()) {
            let mut set = ResourceSet::clone(&self.now.set);
            let version = |set: &ResourceSet, kind, name: &str| set.get(kind, name).map(|known| known.version);
            for made in &upserts {
                let before = version(&set, made.kind, &made.name);
                changed.insert(made.kind, made.name.clone());
                resources::insert(&mut set, made);
                self.manifests.take(made.kind, &made.name, made.is_divided, before, version(&set, made.kind, &made.name));
            }
            for (kind, name) in removals {
                let before = version(&set, kind, &name);
                set.remove(kind, &name);
                self.manifests.take(kind, &name, false, before, None);
                changed.insert(kind, name);
            }
            self.manifests.settle(&mut set, &mut changed);
            self.now.set = Arc::new(set);
        }
        self.now.changed = Arc::new(changed);
        self.now.previous = std::mem::replace(&mut self.now.version, mesh.version);
        findings
    }
}
