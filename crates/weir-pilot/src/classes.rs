//! The classes of proxies: those that are alike share one set of resources. It is brought up to date once for each snapshot
//! of the mesh, and only then its members are told: who is woken finds what he is to send.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::spawn_blocking;
use weir_ads::{Names, ResourceSet};
use weir_api::Diagnostic;
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::{Class as Translated, ClassKey, Labels, Update};

use crate::manifests::Manifests;
use crate::node::Abilities;
use crate::report::{Reporter, Source};
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

    /// The class of that key, which `member` joins for as long as somebody holds it.
    pub fn get(&self, key: ClassKey, member: &Arc<Member>, reporter: &Arc<Reporter>) -> Arc<Class> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = known.get(&key).and_then(Weak::upgrade) {
            class.join(member);
            return class;
        }
        known.retain(|_, class| class.strong_count() > 0);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let class = Arc::new(Class {
            key: key.clone(),
            members: Mutex::new(vec![Arc::downgrade(member)]),
            source: Source::Class(number),
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
        let labels = self.labels(mesh);
        for class in known {
            let (mesh, labels) = (mesh.clone(), labels.clone());
            tokio::spawn(async move { class.resources(&mesh, &labels).await.is_some() });
        }
    }

    /// How many have members.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|class| class.strong_count() > 0).count()
    }
}

/// A proxy that belongs to a class.
pub(crate) struct Member {
    pub proxy: Proxy,
    /// See [`take_labels`].
    pub came_with: Option<BTreeMap<String, String>>,
    pub abilities: Abilities,
}

impl Member {
    /// What it is in a mesh, and the class that it is of there.
    pub fn in_mesh(&self, mesh: &MeshSnapshot, labels: &Labels) -> (Proxy, ClassKey) {
        let mut proxy = self.proxy.clone();
        take_labels(&mut proxy, self.came_with.as_ref(), mesh);
        let Abilities { runs_commands: _, takes_virtual_hosts, has_certificates, answers_dns, exchanges_metadata } = self.abilities;
        let key = ClassKey::of(mesh, labels, &proxy).by_virtual_host(mesh, takes_virtual_hosts);
        let key = key.with_certificates(has_certificates).answering_dns(answers_dns).exchanging_metadata(exchanges_metadata);
        (proxy, key)
    }
}

/// A sidecar has the labels that its workload has now, whatever they were when it came; without a workload, those that it came with.
/// One of another machine has none of these: its labels were found when it was looked at who it is, by more than an address, and stay
/// for as long as its stream.
pub(crate) fn take_labels(proxy: &mut Proxy, came_with: Option<&BTreeMap<String, String>>, mesh: &MeshSnapshot) {
    let Some(own) = came_with else { return };
    let workload = mesh.workload_of(proxy);
    proxy.labels.clone_from(workload.as_ref().map_or(own, |workload| &workload.labels));
}

/// A class of proxies, for as long as it has members.
pub(crate) struct Class {
    key: ClassKey,
    /// Those that were of it when they were last looked at.
    members: Mutex<Vec<Weak<Member>>>,
    /// What its findings are reported as.
    source: Source,
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
    manifests: Manifests,
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
    /// Whether nobody was of the class in that snapshot: then it is of the one before, for those who are to find another class.
    pub is_stale: bool,
}

impl Class {
    fn join(&self, member: &Arc<Member>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked through only when many may have gone.
        if members.len() == members.capacity() {
            members.retain(|known| known.strong_count() > 0);
        }
        members.push(Arc::downgrade(member));
    }

    /// A proxy that is of this class in a mesh, whose rules look at these labels. Who was of it before may be of another there; as a rule
    /// the first that is asked is not.
    fn member(&self, mesh: &MeshSnapshot, labels: &Labels) -> Option<Proxy> {
        // Nobody waits to join while one is looked at.
        let nth = |at: usize| self.members.lock().unwrap_or_else(PoisonError::into_inner).get(at).cloned();
        let present = (0..).map_while(nth).filter_map(|member| member.upgrade());
        present.map(|member| member.in_mesh(mesh, labels)).find(|(_, key)| *key == self.key).map(|(proxy, _)| proxy)
    }

    /// What its members get by a snapshot of the mesh, whose rules look at these labels, or by a newer one. None if that cannot be
    /// made out.
    pub async fn resources(self: &Arc<Self>, mesh: &Arc<MeshSnapshot>, labels: &Arc<Labels>) -> Option<Resources> {
        // Never back to an older snapshot, though nobody is of the class in the newer one: who is woken by that must find it.
        let is_new = |resources: &&Resources| {
            let Resources { mesh: known, is_stale, .. } = resources;
            known.version > mesh.version || known.version == mesh.version && !is_stale
        };
        if let Some(newest) = self.newest.borrow().as_ref().filter(is_new) {
            return Some(newest.clone());
        }
        let mut state = self.state.clone().lock_owned().await;
        if state.now.as_ref().filter(is_new).is_none() {
            let (class, mesh, labels) = (self.clone(), mesh.clone(), labels.clone());
            // It may take long, and others have messages to send.
            let refreshed = spawn_blocking(move || {
                let findings = match class.member(&mesh, &labels) {
                    Some(member) => state.refresh(&class.key, &mesh, &member),
                    None => state.leave(&mesh),
                };
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
    /// Nobody is of the class in this snapshot. Those who were are told that there is one.
    fn leave(&mut self, mesh: &Arc<MeshSnapshot>) -> Option<Vec<Diagnostic>> {
        let (set, previous) = self.now.as_ref().map_or_else(Default::default, |now| (now.set.clone(), now.mesh.version));
        self.now = Some(Resources { mesh: mesh.clone(), set, previous, changed: Arc::default(), is_stale: true });
        None
    }

    fn refresh(&mut self, key: &ClassKey, mesh: &Arc<MeshSnapshot>, member: &Proxy) -> Option<Vec<Diagnostic>> {
        // What fails half way is made anew the next time, all of it: a manifest is that of what is in the set.
        let Self { translated, now, mut manifests } = std::mem::take(self);
        let mut translated = translated.unwrap_or_else(|| Translated::new(key.clone()));
        let Update { upserts, removals, findings } = translated.refresh(mesh, member);
        let (mut set, previous) = now.map_or_else(Default::default, |now| (now.set, now.mesh.version));
        let mut changed = Names::default();
        if !(upserts.is_empty() && removals.is_empty()) {
            let mut next = ResourceSet::clone(&set);
            let version = |set: &ResourceSet, kind, name: &str| set.get(kind, name).map(|known| known.version);
            for made in &upserts {
                let before = version(&next, made.kind, &made.name);
                changed.insert(made.kind, made.name.clone());
                resources::insert(&mut next, made);
                manifests.take(made.kind, &made.name, made.is_divided, before, version(&next, made.kind, &made.name));
            }
            for (kind, name) in removals {
                let before = version(&next, kind, &name);
                next.remove(kind, &name);
                manifests.take(kind, &name, false, before, None);
                changed.insert(kind, name);
            }
            manifests.settle(&mut next, &mut changed);
            set = Arc::new(next);
        }
        let now = Resources { mesh: mesh.clone(), set, previous, changed: Arc::new(changed), is_stale: false };
        *self = Self { translated: Some(translated), now: Some(now), manifests };
        findings
    }
}
