//! What a server knows of one client and one type of resources.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_xds::resource::{ResourceType, route_configuration_of};

use super::refused::{Refused, mentions};
use super::sent::Sent;
use super::state::is_whole;
use super::subscription::Subscription;
use crate::resources::{Resource, Version};
use crate::set::ResourceSet;
use crate::shared_map::{HashMap, HashSet};
use crate::stream::Protocol;

/// A name with the version that there is, if there is one.
pub(super) type Versioned = (Arc<str>, Option<Version>);

/// Resources with their names.
pub(super) type Named = Vec<(Arc<str>, Arc<Resource>)>;

#[derive(Debug, Default)]
pub(super) struct TypeState {
    /// Whether anything was sent on this stream.
    pub spoken: bool,
    pub subscription: Subscription,
    sent: Sent,
    /// What the client had already when it came: an earlier stream sent it.
    pub before: HashSet<Arc<str>>,
    /// The response that it has not answered yet.
    pub outstanding: Option<Outstanding>,
    pub refused: Refused,
    /// What is sent alone: something was refused in a response with several, and nobody knows what.
    apart: BTreeSet<Arc<str>>,
    /// Names of which it has not accepted anything yet: what was refused of them left nothing older in force.
    pub first: HashSet<Arc<str>>,
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

/// A response that has no answer yet.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub nonce: u64,
    /// What stands in it.
    pub names: Vec<Arc<str>>,
}

/// How a client stood with a name before something changed.
pub(super) struct Stood {
    name: Arc<str>,
    has: Option<Version>,
    is_asked: bool,
}

impl TypeState {
    /// Whether nothing of this type concerns the client.
    pub fn is_idle(&self) -> bool {
        self.subscription.is_empty() && self.sent.is_usual() && self.asked.is_empty()
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
        self.outstanding.as_ref().is_some_and(|outstanding| nonce.parse() == Ok(outstanding.nonce))
    }

    /// Takes the client's answer to the last response; false if it is one to another.
    pub fn answered(&mut self, nonce: &str, refused: Option<&str>) -> bool {
        let Some(outstanding) = self.outstanding.take_if(|outstanding| nonce.parse() == Ok(outstanding.nonce)) else {
            return false;
        };
        self.refused.answered(outstanding.names, refused);
        self.first.retain(|name| self.refused.contains(name));
        self.first.shrink_to_fit();
        true
    }

    /// What stands in a response that is refused now, if it may be sent again one by one: Envoy refuses with a certificate all that
    /// came with it, and does not say which it was.
    pub fn refused_together(&self, kind: ResourceType, nonce: &str, reason: &str) -> Vec<Arc<str>> {
        let of_secrets = self.outstanding.as_ref().filter(|_| kind == ResourceType::Secret && self.awaits(nonce));
        let Some(Outstanding { names, .. }) = of_secrets else { return vec![] };
        if names.len() < 2 || names.iter().any(|name| mentions(reason, name)) { vec![] } else { names.clone() }
    }

    /// Sends these again, each alone.
    pub fn send_apart(&mut self, kind: ResourceType, protocol: Protocol, names: Vec<Arc<str>>, target: &ResourceSet) {
        for name in names.into_iter().filter(|name| target.get(kind, name).is_some()) {
            self.asked.insert(name.clone());
            self.look(kind, protocol, &name, version(target, kind, &name));
            self.apart.insert(name);
        }
    }

    /// Whether the client still does what it was told earlier in place of something that it has refused.
    pub fn keeps_older(&self) -> bool {
        self.refused.names().any(|name| !self.first.contains(name))
    }

    /// Which version of a name the client has, given that which there is.
    pub fn has(&self, kind: ResourceType, name: &str, there: Option<Version>) -> Option<Version> {
        self.sent.get(name, || self.usual(kind, name, there))
    }

    /// Whether the client has anything.
    pub fn has_any(&self, kind: ResourceType, target: &ResourceSet) -> bool {
        self.sent.unusual().any(|(_, has)| has.is_some())
            || target.of(kind).any(|(name, resource)| self.has(kind, name, Some(resource.version)).is_some())
    }

    /// All names of which there is something to decide.
    pub fn names(&self, kind: ResourceType, target: &ResourceSet) -> Vec<Versioned> {
        let mut names: Vec<_> = target.of(kind).map(|(name, resource)| (name.clone(), Some(resource.version))).collect();
        names.extend(self.elsewhere(kind, target).map(|name| (name.clone(), None)));
        names
    }

    /// The same of the virtual hosts of a route configuration; of another type, nothing.
    pub fn hosts_of(&self, kind: ResourceType, route_configuration: &str, target: &ResourceSet) -> Vec<Versioned> {
        if kind != ResourceType::VirtualHost {
            return vec![];
        }
        let mut hosts: Vec<_> = target.hosts_of(route_configuration).into_iter().map(|(name, there)| (name, Some(there))).collect();
        let gone = self.elsewhere(kind, target).filter(|name| route_configuration_of(name) == Some(route_configuration));
        hosts.extend(gone.map(|name| (name.clone(), None)));
        hosts
    }

    /// Names of which there is something to decide though there is no such resource.
    fn elsewhere(&self, kind: ResourceType, target: &ResourceSet) -> impl Iterator<Item = &Arc<str>> {
        let names = self.sent.unusual().map(|(name, _)| name).chain(&self.asked);
        names.filter(move |name| target.get(kind, name).is_none())
    }

    /// What a client has that asks for this and lacks nothing.
    fn usual(&self, kind: ResourceType, name: &str, there: Option<Version>) -> Option<Version> {
        there.filter(|_| self.subscription.has(kind, name, || true))
    }

    /// The client has this version of a name from now on, or none.
    pub fn set_has(&mut self, kind: ResourceType, name: &Arc<str>, has: Option<Version>, there: Option<Version>) {
        self.sent.set(name, has, self.usual(kind, name, there));
    }

    /// How the client stands with names: to be told to [`Self::stand`] when they, or what it asks for, are not as before.
    pub fn stood(&self, kind: ResourceType, names: &[Arc<str>], set: &ResourceSet) -> Vec<Stood> {
        let stood = |name: &Arc<str>| {
            let there = version(set, kind, name);
            let is_asked = self.subscription.names.contains(name, || there.is_some());
            Stood { name: name.clone(), has: self.has(kind, name, there), is_asked }
        };
        names.iter().map(stood).collect()
    }

    /// There are other resources than before: nothing of what the client has and asks for is another because of that.
    pub fn stand(&mut self, kind: ResourceType, stood: &[Stood], set: &ResourceSet) {
        for Stood { name, has, is_asked } in stood {
            let there = version(set, kind, name);
            self.subscription.names.keep(name, *is_asked, there.is_some());
            self.set_has(kind, name, *has, there);
        }
    }

    /// Changes what the client asks for of these names, and nothing of what it has.
    pub fn subscribe(&mut self, kind: ResourceType, names: &[Versioned], change: impl FnOnce(&mut Subscription)) {
        let had: Vec<Option<Version>> = names.iter().map(|(name, there)| self.has(kind, name, *there)).collect();
        change(&mut self.subscription);
        for ((name, there), has) in names.iter().zip(had) {
            self.set_has(kind, name, has, *there);
        }
    }

    /// The client asks for a name by name, or does so no more; `hosts` are the virtual hosts that it asks for with it.
    pub fn ask(&mut self, kind: ResourceType, name: &Arc<str>, is_asked: bool, there: Option<Version>, hosts: &[Versioned]) {
        let has = self.has(kind, name, there);
        self.subscribe(kind, hosts, |subscription| subscription.names.set(name, is_asked, there.is_some()));
        self.set_has(kind, name, has, there);
    }

    /// The client asks for the virtual hosts of a route configuration. Those of the response that is under way it takes now, though
    /// they count as forgotten if it had let them go meanwhile: so they are answered whatever becomes of them.
    pub fn ask_for_hosts_under_way(&mut self, kind: ResourceType, route_configuration: &str, target: &ResourceSet) {
        let under_way = self.outstanding.iter().flat_map(|outstanding| &outstanding.names);
        // A name may be that of a virtual host of one table and that of another table.
        let is_meant = |name: &str| name == route_configuration || route_configuration_of(name) == Some(route_configuration);
        let its = under_way.filter(|name| kind == ResourceType::VirtualHost && is_meant(name));
        let forgotten = its.filter(|name| self.has(kind, name, version(target, kind, name)).is_none());
        let asked: Vec<Arc<str>> = forgotten.cloned().collect();
        self.asked.extend(asked);
    }

    /// Decides about one name: is it to be sent, is it to be told that there is none, or neither?
    pub fn look(&mut self, kind: ResourceType, protocol: Protocol, name: &Arc<str>, there: Option<Version>) {
        let is_asked = self.asked.contains(name);
        let (send, tell) = match there {
            Some(_) => ((is_asked || self.has(kind, name, there) != there) && self.subscription.has(kind, name, || true), false),
            // This protocol has no words for it: such a resource goes with what named it.
            None if protocol == Protocol::StateOfTheWorld && !is_whole(kind) => (false, false),
            // They go with their cluster, which the client may still need.
            None if kind == ResourceType::Endpoint => (false, is_asked),
            None => (false, is_asked || self.has(kind, name, None).is_some()),
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
            (Some(resource), None) if self.has(kind, name, None).is_some() => drop(self.leaving.insert(name.clone(), resource.clone())),
            _ => {}
        }
    }

    /// Takes what is to be sent now, as sent.
    pub fn send(&mut self, kind: ResourceType, target: &ResourceSet, with_removals: bool) -> (Named, Vec<Arc<str>>) {
        let upserts = self.next_upserts();
        let resources: Named = upserts.into_iter().filter_map(|name| target.get(kind, &name).cloned().map(|found| (name, found))).collect();
        for (name, resource) in &resources {
            if self.has(kind, name, Some(resource.version)).is_none() {
                self.first.insert(name.clone());
            }
            self.set_has(kind, name, Some(resource.version), Some(resource.version));
            self.before.remove(name);
        }
        let removals: Vec<Arc<str>> = if with_removals { std::mem::take(&mut self.removals).into_iter().collect() } else { vec![] };
        for name in &removals {
            self.forget(kind, name, version(target, kind, name));
        }
        // What is asked for at the beginning is much, and later little.
        self.asked = self.asked.drain().filter(|name| self.removals.contains(name) || self.upserts.contains(name)).collect();
        self.sent.shrink();
        self.spoken = true;
        (resources, removals)
    }

    /// What stands in the next response.
    fn next_upserts(&mut self) -> BTreeSet<Arc<str>> {
        self.apart.retain(|name| self.upserts.contains(name));
        match self.apart.pop_first() {
            Some(alone) => {
                self.upserts.remove(&alone);
                BTreeSet::from([alone])
            }
            None => std::mem::take(&mut self.upserts),
        }
    }

    /// All that the client has now, where a response carries all of it. What leaves goes once more as it was last, which may be newer
    /// than what the client has.
    pub fn whole(&mut self, kind: ResourceType, target: &ResourceSet) -> Named {
        let leaving: Named = self.leaving.iter().map(|(name, resource)| (name.clone(), resource.clone())).collect();
        leaving.iter().for_each(|(name, resource)| self.set_has(kind, name, Some(resource.version), None));
        let here = target.of(kind).filter(|(name, resource)| self.has(kind, name, Some(resource.version)).is_some());
        here.map(|(name, resource)| (name.clone(), resource.clone())).chain(leaving).collect()
    }

    /// The client has not got it any more.
    pub fn forget(&mut self, kind: ResourceType, name: &Arc<str>, there: Option<Version>) {
        self.set_has(kind, name, None, there);
        self.before.remove(name);
        self.leaving.remove(name);
        self.refused.forget(name);
        self.first.remove(name);
    }
}

#[cfg(test)]
impl TypeState {
    /// The same client, before it is decided what to send it.
    pub fn with_nothing_decided(&self) -> Self {
        let subscription = Subscription { all: self.subscription.all, names: self.subscription.names.clone() };
        Self { subscription, sent: self.sent.clone(), asked: self.asked.clone(), ..Self::default() }
    }
}

/// The version of a name in a set.
pub(super) fn version(set: &ResourceSet, kind: ResourceType, name: &str) -> Option<Version> {
    set.get(kind, name).map(|resource| resource.version)
}

fn set_member(set: &mut BTreeSet<Arc<str>>, name: &Arc<str>, is_in: bool) {
    if is_in {
        set.insert(name.clone());
    } else {
        set.remove(name);
    }
}
