//! What a server knows of one client and one type of resources.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use weir_xds::resource::{ResourceType, route_configuration_of};

use super::state::is_whole;
use crate::resources::{Resource, Version};
use crate::set::ResourceSet;
use crate::stream::Protocol;

/// Resources with their names.
pub(super) type Named = Vec<(Arc<str>, Arc<Resource>)>;

#[derive(Debug, Default)]
pub(super) struct TypeState {
    /// Whether anything was sent on this stream.
    pub spoken: bool,
    pub subscription: Subscription,
    /// What the client has, or is being sent.
    pub sent: HashMap<Arc<str>, Version>,
    /// What of that it had already when it came: an earlier stream sent it.
    pub before: HashSet<Arc<str>>,
    /// The number of the response that it has not answered yet.
    pub outstanding: Option<u64>,
    /// Names that must be answered even if nothing about them changed: the client has just asked for them.
    pub asked: HashSet<Arc<str>>,
    /// What it is to be sent: just those names that it wants, and has not or has in another version, and those of `asked`.
    pub upserts: BTreeSet<Arc<str>>,
    /// What it is to be told of that there is not: just those names that it has, or that are in `asked`.
    pub removals: BTreeSet<Arc<str>>,
    /// What must still be sent though there is none any more: where a response carries all resources, one that is missing
    /// is gone.
    leaving: HashMap<Arc<str>, Arc<Resource>>,
}

/// What a client asks for.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub all: bool,
    pub names: HashSet<Arc<str>>,
}

impl Subscription {
    pub fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    /// Whether it asks for a resource: by its name, or for all virtual hosts of a route configuration by the name of that.
    pub fn has(&self, kind: ResourceType, name: &str) -> bool {
        let by_route_configuration = || route_configuration_of(name).is_some_and(|whole| self.names.contains(whole));
        self.all || self.names.contains(name) || (kind == ResourceType::VirtualHost && by_route_configuration())
    }
}

impl TypeState {
    /// Whether nothing of this type concerns the client.
    pub fn is_idle(&self) -> bool {
        self.subscription.is_empty() && self.sent.is_empty() && self.asked.is_empty()
    }

    /// Whether the client has, and has answered, all that there is of what it asked for.
    pub fn has_all(&self) -> bool {
        self.outstanding.is_none() && self.upserts.is_empty()
    }

    /// Whether there is nothing to send, and nothing to wait for.
    pub fn is_quiet(&self) -> bool {
        self.has_all() && self.removals.is_empty()
    }

    /// Whether a client's answer is that to the last response.
    pub fn awaits(&self, nonce: &str) -> bool {
        self.outstanding.is_some_and(|outstanding| nonce.parse() == Ok(outstanding))
    }

    /// Decides about one name: is it to be sent, is it to be told that there is none, or neither?
    pub fn look(&mut self, kind: ResourceType, protocol: Protocol, name: &Arc<str>, target: &ResourceSet) {
        let is_asked = self.asked.contains(name);
        let sent = self.sent.get(name);
        let (send, tell) = match target.get(kind, name) {
            Some(resource) => {
                let differs = is_asked || sent.is_none_or(|version| *version != resource.version);
                (differs && self.subscription.has(kind, name), false)
            }
            // This protocol has no words for it: such a resource goes with what named it.
            None if protocol == Protocol::StateOfTheWorld && !is_whole(kind) => (false, false),
            // They go with their cluster, which the client may still need.
            None if kind == ResourceType::Endpoint => (false, is_asked),
            None => (false, is_asked || sent.is_some()),
        };
        set_member(&mut self.upserts, name, send);
        set_member(&mut self.removals, name, tell);
    }

    /// Keeps a resource that there is no more, or lets it go because there is one again.
    pub fn keep_leaving(&mut self, kind: ResourceType, protocol: Protocol, name: &Arc<str>, before: &ResourceSet, target: &ResourceSet) {
        if protocol == Protocol::Delta || !is_whole(kind) {
            return;
        }
        match (before.get(kind, name), target.get(kind, name)) {
            (_, Some(_)) => drop(self.leaving.remove(name)),
            (Some(resource), None) if self.sent.contains_key(name) => drop(self.leaving.insert(name.clone(), resource.clone())),
            _ => {}
        }
    }

    /// Takes what is to be sent now, as sent.
    pub fn send(&mut self, kind: ResourceType, target: &ResourceSet, with_removals: bool, nonce: u64) -> (Named, Vec<Arc<str>>) {
        let upserts = std::mem::take(&mut self.upserts);
        let resources: Named = upserts.into_iter().filter_map(|name| target.get(kind, &name).cloned().map(|found| (name, found))).collect();
        for (name, resource) in &resources {
            self.sent.insert(name.clone(), resource.version);
            self.before.remove(name);
        }
        let removals: Vec<Arc<str>> = if with_removals { std::mem::take(&mut self.removals).into_iter().collect() } else { vec![] };
        for name in &removals {
            self.forget(name);
        }
        // What is asked for at the beginning is much, and later little.
        self.asked = self.asked.drain().filter(|name| self.removals.contains(name)).collect();
        self.spoken = true;
        self.outstanding = Some(nonce);
        (resources, removals)
    }

    /// All that the client has now, where a response carries all of it.
    pub fn whole(&self, kind: ResourceType, target: &ResourceSet) -> Named {
        let here = target.of(kind).filter(|(name, _)| self.sent.contains_key(*name));
        here.chain(&self.leaving).map(|(name, resource)| (name.clone(), resource.clone())).collect()
    }

    /// The virtual hosts of a route configuration that the client has, or is to be told of.
    pub fn hosts_of(&self, route_configuration: &str) -> Vec<Arc<str>> {
        let known = self.sent.keys().chain(&self.upserts).chain(&self.removals);
        known.filter(|name| route_configuration_of(name) == Some(route_configuration)).cloned().collect()
    }

    /// The client has not got it any more.
    pub fn forget(&mut self, name: &str) {
        self.sent.remove(name);
        self.before.remove(name);
        self.leaving.remove(name);
    }
}

fn set_member(set: &mut BTreeSet<Arc<str>>, name: &Arc<str>, is_in: bool) {
    if is_in {
        set.insert(name.clone());
    } else {
        set.remove(name);
    }
}
