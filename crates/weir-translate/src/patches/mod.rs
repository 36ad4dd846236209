//! EnvoyFilters: changes to what was translated, in Envoy's own terms.
//!
//! A patch is read once for each version of its object ([`compiled`]). What it does to a resource is a pure function of the
//! resource and of the patches that may concern it ([`patch`]), so that a class of proxies keeps it with these two. A resource that
//! no patch may concern is not looked into.
//!
//! Facts: pilot/pkg/networking/core/envoyfilter of Istio. The order is its own: see each module.

mod automatic;
mod clusters;
mod compile;
mod compiled;
mod edit;
mod filters;
mod http_filters;
mod listeners;
mod matching;
mod old_names;
mod plain;
mod resource;
mod routes;
mod selected;
mod sockets;
mod unused;
mod work;

use std::collections::HashSet;
use std::sync::Arc;

use weir_api::resources::envoy_filter::ApplyTo;
use weir_api::{Diagnostic, FieldPath, Kind, Object};
use weir_model::{MeshSnapshot, Origin, Proxy};
use weir_xds::Any;
use weir_xds::resource::ResourceType;

use crate::Translation;
use crate::context::Context;
pub(crate) use automatic::is_automatic;
pub(crate) use matching::port_of;
pub(crate) use resource::{ProxyFacts, Resource, patch};
pub use selected::OwnPatches;
pub(crate) use selected::{Selected, Side};
pub(crate) use unused::findings as unused;
pub(crate) use work::{Patch, same};

/// What is to be said of an EnvoyFilter, whichever proxies it is for.
pub(crate) fn findings(object: &Arc<Object>) -> Vec<Diagnostic> {
    match object.kind {
        Kind::EnvoyFilter => compiled::of(object).findings.clone(),
        _ => vec![],
    }
}

/// What a patch of an EnvoyFilter puts in, or merges into what is there.
#[derive(Debug)]
pub struct PatchValue {
    /// Where the patch stands.
    pub path: FieldPath,
    /// The object, of the type that its `applyTo` has.
    pub value: Any,
    /// Whether it stands for itself, and is not merged into another.
    pub is_whole: bool,
}

/// The values of an EnvoyFilter's patches, as far as they are good.
pub fn patch_values(object: &Arc<Object>) -> Vec<PatchValue> {
    if object.kind != Kind::EnvoyFilter {
        return vec![];
    }
    let compiled = compiled::of(object);
    let values = compiled.patches.iter().filter_map(|patch| {
        let is_whole = patch.merges().is_none();
        Some(PatchValue { path: patch.origin.path.clone(), value: patch.value.clone()?, is_whole })
    });
    values.collect()
}

/// Whether any patch that is for a proxy may change route configurations.
pub(crate) fn concern_routes(mesh: &MeshSnapshot, proxy: &Proxy) -> bool {
    let mut filters = mesh.envoy_filters.iter().filter(|filter| filter.selects(proxy, &mesh.config.root_namespace));
    let is_for_routes =
        |patch: &Arc<Patch>| matches!(patch.apply_to, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute);
    filters.any(|filter| compiled::of(&filter.object).patches.iter().any(is_for_routes))
}

/// Applies the patches that are for a proxy to what of its configuration was made: to these sides of it.
pub(crate) fn apply(context: &Context<'_>, translation: &mut Translation, sides: &[Side]) {
    let mut runs: Vec<Run<'_>> = sides.iter().map(|side| Run::new(context, *side)).collect();
    if runs.iter().all(|run| run.selected.is_empty()) {
        return;
    }
    let mut patched = |made: Resource| match runs.iter_mut().find(|run| run.selected.side == Side::of(&made)) {
        Some(run) => run.patch(made),
        None => Some(made),
    };
    let made = std::mem::take(&mut translation.listeners).into_iter().map(Resource::from);
    translation.listeners = made.filter_map(|made| patched(made)?.into_listener()).collect();
    let made = std::mem::take(&mut translation.routes).into_iter().map(Resource::from);
    translation.routes = made.filter_map(|made| patched(made)?.into_route()).collect();
    let made = std::mem::take(&mut translation.clusters).into_iter().map(Resource::from);
    translation.clusters = made.filter_map(|made| patched(made)?.into_cluster()).collect();
    runs.into_iter().for_each(|run| run.finish(translation));
}

/// A resource that EnvoyFilters change.
#[derive(Debug)]
pub struct Change {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// As it would be without them; none if they add it.
    pub before: Option<Any>,
    /// As it is; none if they remove it.
    pub after: Option<Any>,
    /// The patches that changed it.
    pub by: Vec<Origin>,
}

/// What the patches that are for a proxy change of what was made for it.
pub(crate) fn changes(context: &Context<'_>, made: Translation) -> Vec<Change> {
    let Translation { listeners, routes, clusters, endpoints: _, secrets: _, extensions: _, findings: _ } = made;
    let listeners = listeners.into_iter().map(Resource::from);
    let all = listeners.chain(routes.into_iter().map(Resource::from)).chain(clusters.into_iter().map(Resource::from));
    let runs = [Side::Shared, Side::Own].map(|side| Selected::of(context, context.proxy, side));
    let mut changes = vec![];
    for before in all {
        let Some(selected) = runs.iter().find(|run| run.side == Side::of(&before)) else { continue };
        let patches = selected.concerning(before.kind(), before.name(), before.port());
        let is_automatic = is_automatic(context, before.kind(), before.name(), &patches);
        let patched = patch(before.clone(), &patches, &selected.proxy, is_automatic);
        if patched.resource.as_ref() != Some(&before) {
            let by = patched.used.iter().map(|patch| patch.origin.clone()).collect();
            let after = patched.resource.as_ref().map(Resource::pack);
            changes.push(Change { kind: before.kind(), name: before.name().to_owned(), before: Some(before.pack()), after, by });
        }
    }
    for (patch, added) in runs.iter().flat_map(Selected::added) {
        let by = vec![patch.origin.clone()];
        changes.push(Change { kind: added.kind(), name: added.name().to_owned(), before: None, after: Some(added.pack()), by });
    }
    changes
}

/// What is to be said of patches for all sidecars that do nothing to one of them: others may be meant.
pub(crate) fn unmatched(context: &Context<'_>, made: Translation) -> Vec<Diagnostic> {
    let Translation { listeners, routes, clusters, endpoints: _, secrets: _, extensions: _, findings: _ } = made;
    let listeners = listeners.into_iter().map(Resource::from);
    let all = listeners.chain(routes.into_iter().map(Resource::from)).chain(clusters.into_iter().map(Resource::from));
    let mut runs = [Side::Shared, Side::Own].map(|side| Run::new(context, side));
    for made in all {
        if let Some(run) = runs.iter_mut().find(|run| run.selected.side == Side::of(&made)) {
            run.patch(made);
        }
    }
    let added: Vec<Arc<Patch>> = runs.iter().flat_map(|run| run.selected.added()).map(|(patch, _)| patch.clone()).collect();
    let used: Vec<Arc<Patch>> = runs.iter().flat_map(|run| &run.used).cloned().chain(added).collect();
    let names: Vec<(ResourceType, &str)> = runs.iter().flat_map(|run| &run.names).map(|(kind, name)| (*kind, name.as_str())).collect();
    unused::of_sidecar(&runs.each_ref().map(|run| &run.selected), &used, &names)
}

/// Patches what is on one side of a proxy, one resource after the other.
struct Run<'r> {
    context: &'r Context<'r>,
    selected: Selected,
    names: Vec<(ResourceType, String)>,
    /// What there is on this side when it is patched.
    made: HashSet<(ResourceType, String)>,
    used: Vec<Arc<Patch>>,
}

impl<'r> Run<'r> {
    fn new(context: &'r Context<'r>, side: Side) -> Self {
        Self { context, selected: Selected::of(context, context.proxy, side), names: vec![], made: HashSet::new(), used: vec![] }
    }

    fn patch(&mut self, made: Resource) -> Option<Resource> {
        self.names.push((made.kind(), made.name().to_owned()));
        let patches = self.selected.concerning(made.kind(), made.name(), made.port());
        let resource = if patches.is_empty() {
            Some(made)
        } else {
            let is_automatic = is_automatic(self.context, made.kind(), made.name(), &patches);
            let patched = patch(made, &patches, &self.selected.proxy, is_automatic);
            self.used.extend(patched.used);
            self.context.tell(patched.findings);
            patched.resource
        };
        self.made.extend(resource.as_ref().map(|made| (made.kind(), made.name().to_owned())));
        resource
    }

    /// Adds what is added, and says what had nothing to do.
    fn finish(mut self, translation: &mut Translation) {
        for (patch, added) in self.selected.added() {
            self.used.push(patch.clone());
            if !self.made.insert((added.kind(), added.name().to_owned())) {
                self.context.tell([already_there(patch, &added)]);
                continue;
            }
            // What is for the proxy alone goes before what it shares.
            match added {
                Resource::Listener(made) => {
                    translation.listeners.retain(|known| known.name != made.name);
                    translation.listeners.push(*made);
                }
                Resource::Cluster(made) => {
                    translation.clusters.retain(|known| known.name != made.name);
                    translation.clusters.push(*made);
                }
                Resource::Route(_) => {}
            }
        }
        if self.selected.side == Side::Shared {
            translation.extensions = self.selected.extensions();
        }
        let names = self.names.iter().map(|(kind, name)| (*kind, name.as_str()));
        self.context.tell(unused(&self.selected, &self.used, names));
    }
}

/// A patch adds what there is.
pub(crate) fn already_there(patch: &Patch, known: &Resource) -> Diagnostic {
    patch.warning(format!("it adds nothing: there is a {} `{}` already", known.kind().name(), known.name()))
}
