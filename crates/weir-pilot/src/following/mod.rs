//! What one proxy gets: what all of its class do, and what is its own alone.

mod policies;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use weir_ads::{ResourceSet, Server};
use weir_api::Diagnostic;
use weir_api::resources::authorization_policy::Action;
use weir_model::{Changes, MeshSnapshot, Proxy};
use weir_translate::{Labels, OwnPatches};

use crate::classes::{Class, Member, Resources, take_labels};
use crate::node::Abilities;
use crate::report::Source;
use crate::resources;
use crate::shared::Shared;
use policies::Policies;

/// A proxy that follows the mesh.
pub(crate) struct Following {
    pub proxy: Proxy,
    /// See [`take_labels`].
    came_with: Option<BTreeMap<String, String>>,
    abilities: Abilities,
    /// The snapshot of the mesh that it has.
    pub version: u64,
    labels: Arc<Labels>,
    class: Arc<Class>,
    /// Its place in its class.
    member: Arc<Member>,
    /// What its class tells its members.
    newest: watch::Receiver<Option<Resources>>,
    /// The snapshot of which its class's resources are.
    class_version: u64,
    /// What its class has, as its server knows it.
    of_class: Arc<ResourceSet>,
    /// Whether it gets no [private](ResourceSet::holds_private) secrets.
    pub keeps_keys_back: bool,
    own: ResourceSet,
    /// By which policies that was made.
    policies: Policies,
    /// The patches that are for that.
    own_patches: OwnPatches,
    /// How often it was made.
    #[cfg(test)]
    pub own_made: usize,
    /// Whether its set as a whole is not what its server has: see [`Following::follow`].
    is_owed: bool,
}

/// What became of a proxy's resources.
pub(crate) struct Followed {
    /// Whether its own workload may not be what it was.
    pub is_concerned: bool,
}

impl Following {
    /// A proxy that has nothing yet. What it came with: see [`take_labels`].
    pub fn new(
        proxy: Proxy,
        came_with: Option<BTreeMap<String, String>>,
        abilities: Abilities,
        mesh: &MeshSnapshot,
        shared: &Arc<Shared>,
    ) -> Self {
        let labels = shared.classes.labels(mesh);
        let (member, class) = find_class(&proxy, came_with.as_ref(), abilities, &labels, mesh, shared);
        let newest = class.newest();
        Self {
            proxy,
            came_with,
            abilities,
            version: 0,
            labels,
            class,
            member,
            newest,
            class_version: 0,
            of_class: Arc::default(),
            keeps_keys_back: false,
            own: ResourceSet::default(),
            policies: Policies::default(),
            own_patches: OwnPatches::default(),
            #[cfg(test)]
            own_made: 0,
            is_owed: false,
        }
    }

    /// Waits until there is more for its class than the proxy has: of which snapshot. None if there will be nothing any more.
    pub async fn newer(&mut self) -> Option<Arc<MeshSnapshot>> {
        let version = self.version;
        let newest = self.newest.wait_for(|newest| newest.as_ref().is_some_and(|newest| newest.mesh.version > version)).await.ok()?;
        newest.as_ref().map(|newest| newest.mesh.clone())
    }

    /// Brings a proxy's server to a snapshot of the mesh. None if that cannot be made out.
    pub async fn follow(&mut self, mesh: &Arc<MeshSnapshot>, server: &mut Server, shared: &Arc<Shared>) -> Option<Followed> {
        let is_first = self.version == 0;
        let changes = if is_first { Changes::everything() } else { mesh.changes_since(self.version) };
        self.version = mesh.version;
        let Changes { groups, sidecars, envoy_filters, .. } = &changes;
        let is_concerned = changes.concerns(&self.proxy)
            || [groups, sidecars].iter().any(|names| !names.is_empty())
            || self.policies.have_changed(mesh, &self.proxy, &changes)
            || self.asks(mesh, &changes);
        let may_be_patched = is_concerned || !envoy_filters.is_empty();
        let labels = shared.classes.labels(mesh);
        let (mut is_whole, mut newest) = (is_first, mesh.clone());
        if may_be_patched || !Arc::ptr_eq(&labels, &self.labels) || labels.depend_on_scope(&changes) {
            self.labels = labels;
            if self.take_class(mesh, shared) {
                is_whole = true;
                // Nobody has brought it to the newest snapshot if it was made only now.
                newest = shared.newer_than(mesh);
            }
        }
        // EnvoyFilters that are for others change nothing of what is its own.
        if may_be_patched && (self.takes_other_patches(mesh) || is_concerned) {
            is_whole = true;
            self.policies = Policies::of(mesh, &self.proxy);
            self.own = self.translate_own(mesh, shared);
            #[cfg(test)]
            {
                self.own_made += 1;
            }
        }
        let resources = self.class.resources(&newest, &shared.classes.labels(&newest)).await?;
        is_whole |= std::mem::take(&mut self.is_owed);
        let version = resources.mesh.version;
        if resources.is_stale && version > mesh.version {
            // In that snapshot, which comes next, it is of another class: this one's set is not for it any more, and may be empty.
            self.is_owed = true;
            return Some(Followed { is_concerned });
        }
        let known = std::mem::replace(&mut self.class_version, version);
        if is_whole || known != version {
            self.of_class = resources.set;
            let target = self.target();
            match !is_whole && known == resources.previous {
                true => server.change(target, &resources.changed),
                false => server.set(target),
            }
        }
        Some(Followed { is_concerned })
    }

    /// All that it gets, of its class and besides.
    fn target(&self) -> Arc<ResourceSet> {
        let keeps_any_back = self.keeps_keys_back && self.of_class.holds_private();
        let shared = if keeps_any_back { Arc::new(self.of_class.without_private()) } else { self.of_class.clone() };
        Arc::new(self.own.moved_over(shared))
    }

    /// Whether there are keys for it, given or not.
    pub fn has_keys(&self) -> bool {
        self.of_class.holds_private()
    }

    /// Keeps keys back from now on, or gives them: nothing else is touched.
    pub fn keep_keys_back(&mut self, keeps_back: bool, server: &mut Server) {
        if std::mem::replace(&mut self.keeps_keys_back, keeps_back) != keeps_back {
            server.set(self.target());
        }
    }

    /// Whether a service changed that may be asked who may ask the proxy's workload for what.
    fn asks(&self, mesh: &MeshSnapshot, changes: &Changes) -> bool {
        let is_asked = |host: &str| {
            mesh.config.extension_providers.iter().any(|provider| {
                let http = provider.envoy_ext_authz_http.iter().map(|http| &http.service);
                let mut all = http.chain(provider.envoy_ext_authz_grpc.iter().map(|grpc| &grpc.service));
                all.any(|service| service.rsplit('/').next() == Some(host))
            })
        };
        let root = mesh.config.root_namespace.as_str();
        changes.services.iter().any(|(host, _)| is_asked(host))
            && mesh
                .authorization_policies
                .iter()
                .any(|policy| policy.spec().is_some_and(|spec| spec.action == Action::Custom) && policy.selects(&self.proxy, root))
    }

    /// Finds the proxy's class, and follows it. Whether that is another one than before.
    fn take_class(&mut self, mesh: &MeshSnapshot, shared: &Arc<Shared>) -> bool {
        take_labels(&mut self.proxy, self.came_with.as_ref(), mesh);
        let (member, class) = find_class(&self.proxy, self.came_with.as_ref(), self.abilities, &self.labels, mesh, shared);
        self.member = member;
        if Arc::ptr_eq(&class, &self.class) {
            return false;
        }
        self.newest = class.newest();
        self.class = class;
        true
    }

    /// Takes over which patches are for what is its own alone. Whether these are others than before.
    fn takes_other_patches(&mut self, mesh: &MeshSnapshot) -> bool {
        let patches = OwnPatches::of(mesh, &self.proxy);
        let are_others = patches != self.own_patches;
        self.own_patches = patches;
        are_others
    }

    fn translate_own(&self, mesh: &MeshSnapshot, shared: &Shared) -> ResourceSet {
        let mut own = weir_translate::own(mesh, &self.proxy, self.abilities.has_certificates, self.abilities.exchanges_metadata);
        if !self.abilities.runs_commands {
            let before = own.clusters.len();
            own.clusters.retain(|cluster| !resources::runs_commands(cluster));
            if own.clusters.len() < before {
                let id = &self.proxy.id;
                let message = format!("{id} cannot probe its workload by a command, only Weir's proxies can: it gets no requests");
                own.findings.push(Diagnostic::warning(message));
            }
        }
        shared.report(&Source::Proxy(self.proxy.id.clone()), std::mem::take(&mut own.findings));
        resources::of_own(&own)
    }

    #[cfg(test)]
    pub fn class(&self) -> &Arc<Class> {
        &self.class
    }
}

/// The class of a proxy, which it joins.
fn find_class(
    proxy: &Proxy,
    came_with: Option<&BTreeMap<String, String>>,
    abilities: Abilities,
    labels: &Labels,
    mesh: &MeshSnapshot,
    shared: &Shared,
) -> (Arc<Member>, Arc<Class>) {
    let member = Member { proxy: proxy.clone(), came_with: came_with.cloned(), abilities };
    let (_, key) = member.in_mesh(mesh, labels);
    let member = Arc::new(member);
    let class = shared.classes.get(key, &member, &shared.reporter);
    (member, class)
}

#[cfg(test)]
mod tests;
