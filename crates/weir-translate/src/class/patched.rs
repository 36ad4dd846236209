//! What patches made of a class's resources, kept with the resources and the patches that it was made of.

use std::collections::HashMap;
use std::sync::Arc;

use weir_api::Diagnostic;
use weir_model::Proxy;
use weir_xds::cluster::Cluster;
use weir_xds::listener::Listener;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;

use super::Encoded;
use crate::context::Context;
use crate::patches::{Patch, ProxyFacts, Resource, Selected, Side, already_there, is_automatic, patch, same, unused};

/// What was made, by type and name.
#[derive(Default)]
pub(super) struct Patched {
    known: HashMap<(ResourceType, Arc<str>), Known>,
    proxy: Option<ProxyFacts>,
    /// How many resources were patched so far.
    pub made: usize,
}

/// A resource that was patched, and what of.
struct Known {
    resource: Arc<Encoded>,
    patches: Vec<Arc<Patch>>,
    is_automatic: bool,
    /// None if it is removed.
    made: Option<Arc<Encoded>>,
    used: Vec<Arc<Patch>>,
    findings: Vec<Diagnostic>,
}

impl Patched {
    /// Applies the patches that are for a class to all that was made for it. What no patch may concern stays what it is.
    /// `member` is a proxy of the class.
    pub fn apply(&mut self, context: &Context<'_>, member: &Proxy, resources: Vec<Arc<Encoded>>) -> Vec<Arc<Encoded>> {
        let selected = Selected::of(context, member, Side::Shared);
        if selected.is_empty() {
            self.known.clear();
            return resources;
        }
        let is_kept = self.proxy.as_ref() == Some(&selected.proxy);
        let mut before = std::mem::take(&mut self.known);
        let (mut made, mut used, mut names) = (Vec::with_capacity(resources.len()), vec![], vec![]);
        for resource in resources {
            names.push((resource.kind, resource.name.clone()));
            let patches = selected.concerning(resource.kind, &resource.name, resource.port);
            if patches.is_empty() {
                made.push(resource);
                continue;
            }
            let key = (resource.kind, resource.name.clone());
            let is_automatic = is_automatic(context, resource.kind, &resource.name, &patches);
            let known = before.remove(&key).filter(|known| is_kept && known.is_of(&resource, &patches, is_automatic));
            let known = known.unwrap_or_else(|| {
                self.made += 1;
                Known::new(resource, patches, &selected.proxy, is_automatic)
            });
            made.extend(known.made.clone());
            used.extend(known.used.iter().cloned());
            context.tell(known.findings.iter().cloned());
            self.known.insert(key, known);
        }
        for (patch, added) in selected.added() {
            used.push(patch.clone());
            if made.iter().any(|known| known.kind == added.kind() && *known.name == *added.name()) {
                context.tell([already_there(patch, &added)]);
            } else {
                made.push(encode(&added));
            }
        }
        let extensions = selected.extensions();
        made.extend(extensions.iter().map(|config| Encoded::new(ResourceType::Extension, &config.name, config)));
        context.tell(unused(&selected, &used, names.iter().map(|(kind, name)| (*kind, &**name))));
        self.proxy = Some(selected.proxy);
        made
    }
}

impl Known {
    fn new(resource: Arc<Encoded>, patches: Vec<Arc<Patch>>, proxy: &ProxyFacts, is_automatic: bool) -> Self {
        let Some(decoded) = decode(&resource) else {
            return Self { made: Some(resource.clone()), resource, patches, is_automatic, used: vec![], findings: vec![] };
        };
        let patched = patch(decoded.clone(), &patches, proxy, is_automatic);
        let made = match patched.resource {
            Some(made) if made == decoded => Some(resource.clone()),
            made => made.as_ref().map(encode),
        };
        Self { resource, patches, is_automatic, made, used: patched.used, findings: patched.findings }
    }

    /// Whether it would be made of the same.
    fn is_of(&self, resource: &Arc<Encoded>, patches: &[Arc<Patch>], is_automatic: bool) -> bool {
        self.is_automatic == is_automatic
            && same(&self.patches, patches)
            && (Arc::ptr_eq(&self.resource, resource) || self.resource == *resource)
    }
}

fn decode(encoded: &Encoded) -> Option<Resource> {
    Some(match encoded.kind {
        ResourceType::Listener => encoded.body.unpack::<Listener>().ok()?.into(),
        ResourceType::Route => encoded.body.unpack::<RouteConfiguration>().ok()?.into(),
        ResourceType::Cluster => encoded.body.unpack::<Cluster>().ok()?.into(),
        _ => return None,
    })
}

fn encode(resource: &Resource) -> Arc<Encoded> {
    match resource {
        Resource::Listener(made) => Encoded::listener(made),
        Resource::Route(made) => Encoded::route(made),
        Resource::Cluster(made) => Encoded::cluster(made),
    }
}
