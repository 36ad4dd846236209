//! The server's side of a stream: what a client has, what it should have, and what to send next.

mod delta;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_xds::resource::ResourceType;

use crate::resources::{Resource, ResourceSet, slot};
use crate::stream::{HEALTH, Protocol, Request, Response};

/// How long routes wait for a client that does not ask for the instances of a new cluster. Envoy always
/// asks; a client that does not must not be stuck with old routes for ever.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a client's message meant, for logs and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It asks for resources.
    Subscribed(ResourceType),
    /// It took what was sent.
    Accepted(ResourceType),
    /// It refused what was sent, with the reason that it gave.
    Refused(ResourceType, String),
    /// It tells how its workload is: why it is not well, or that it is.
    Health(Result<(), String>),
    /// It speaks of an earlier message, or of a type that we do not serve: nothing is to be done.
    Passed,
}

/// A server's state for one stream. It sends what the newest [`ResourceSet`] asks for, at most one response of
/// a type at a time, and passes over sets that were replaced before they could be sent.
#[derive(Debug)]
pub struct Server {
    protocol: Protocol,
    target: Arc<ResourceSet>,
    types: [TypeState; 5],
    nonces: u64,
    /// Since when routes wait for clusters.
    waiting_since: Option<Instant>,
    /// Since when clusters of an earlier stream wait to be taken away: the client may have routes to them
    /// that it has not told of yet.
    keeping_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct TypeState {
    /// Whether anything was sent on this stream.
    spoken: bool,
    subscription: Subscription,
    /// What the client has, or is being sent.
    sent: BTreeMap<Arc<str>, Sent>,
    /// The nonce of the response that it has not answered yet.
    outstanding: Option<String>,
    /// Names that must be answered even if nothing about them changed: the client has just asked for them.
    asked: BTreeSet<Arc<str>>,
}

#[derive(Debug, Clone)]
enum Sent {
    /// By this stream.
    Here(Resource),
    /// By an earlier stream; the client told its version.
    Before(String),
}

impl Sent {
    fn is(&self, resource: &Resource) -> bool {
        match self {
            Sent::Here(sent) => sent.version == resource.version,
            Sent::Before(version) => *version == resource.version.to_string(),
        }
    }
}

#[derive(Debug, Default)]
struct Subscription {
    all: bool,
    names: BTreeSet<Arc<str>>,
}

impl Subscription {
    fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    fn has(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }
}

/// What changes for a client, of one type.
#[derive(Debug, Default)]
struct Changes {
    upserts: Vec<(Arc<str>, Resource)>,
    /// Names that the client has, or asked for, and that there are not.
    removals: Vec<Arc<str>>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }
}

impl Server {
    /// The state of a new stream.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, target: Arc::default(), types: Default::default(), nonces: 0, waiting_since: None, keeping_since: None }
    }

    /// Sets what the client should have. Only the newest set counts.
    pub fn set(&mut self, target: Arc<ResourceSet>) {
        self.target = target;
    }

    /// Takes a message of the client's.
    pub fn receive(&mut self, request: &Request) -> Event {
        match request {
            Request::Delta(request) if request.type_url == HEALTH => health(request.error_detail.as_ref()),
            Request::State(request) if request.type_url == HEALTH => health(request.error_detail.as_ref()),
            Request::Delta(request) => delta::receive(self, request),
            Request::State(request) => state::receive(self, request),
        }
    }

    /// The next message to send, if there is one now. To be asked until there is none: after each message of
    /// the client's, after each [`Self::set`], and at [`Self::deadline`].
    pub fn next(&mut self, now: Instant) -> Option<Response> {
        if self.waiting_since.is_some() && self.lacks_no_cluster() {
            self.waiting_since = None;
        }
        ResourceType::ALL.into_iter().find_map(|kind| self.next_of(kind, now))
    }

    /// When [`Self::next`] is to be asked again though nothing happened.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let since = [self.waiting_since, self.keeping_since].into_iter().flatten();
        since.map(|since| since + PATIENCE).filter(|deadline| *deadline > now).min()
    }

    /// Whether the client has, and has accepted or refused, all that it asked for.
    pub fn is_settled(&self) -> bool {
        ResourceType::ALL.into_iter().all(|kind| self.is_quiet(kind))
    }

    fn next_of(&mut self, kind: ResourceType, now: Instant) -> Option<Response> {
        if self.types[slot(kind)].outstanding.is_some() {
            return None;
        }
        let mut changes = self.changes(kind);
        match kind {
            ResourceType::Cluster if !changes.removals.is_empty() && self.routes_may_lead_to(&changes.removals, now) => {
                changes.removals.clear();
            }
            ResourceType::Listener | ResourceType::Route if !changes.is_empty() && !self.clusters_are_ready(now) => return None,
            _ => {}
        }
        (!changes.is_empty() || self.owes_nothing_but_a_word(kind)).then(|| self.send(kind, &changes))
    }

    fn changes(&self, kind: ResourceType) -> Changes {
        let state = &self.types[slot(kind)];
        let target = self.target.of(kind);
        let wanted = target.iter().filter(|(name, _)| state.subscription.has(name));
        let changed =
            wanted.filter(|(name, resource)| state.asked.contains(*name) || !state.sent.get(*name).is_some_and(|sent| sent.is(resource)));
        let gone = state.sent.keys().chain(&state.asked).filter(|name| !target.contains_key(*name));
        let mut removals: Vec<Arc<str>> = gone.cloned().collect();
        removals.dedup();
        if self.protocol == Protocol::StateOfTheWorld && !state::is_whole(kind) {
            // This protocol has no words for it: such a resource goes with what named it.
            removals.clear();
        }
        if kind == ResourceType::Endpoint {
            // They go with their cluster, which the client may still need.
            removals.retain(|name| state.asked.contains(name));
        }
        Changes { upserts: changed.map(|(name, resource)| (name.clone(), resource.clone())).collect(), removals }
    }

    fn is_quiet(&self, kind: ResourceType) -> bool {
        self.types[slot(kind)].outstanding.is_none() && self.changes(kind).is_empty() && !self.owes_nothing_but_a_word(kind)
    }

    /// Whether the client asked for all resources of a type that there are none of, and does not know that yet: it
    /// waits for an answer before it is ready, as Envoy does.
    fn owes_nothing_but_a_word(&self, kind: ResourceType) -> bool {
        let state = &self.types[slot(kind)];
        state.subscription.all && !state.spoken && state.sent.is_empty() && self.target.of(kind).is_empty()
    }

    /// Whether the client may still have routes to clusters that there are not any more.
    fn routes_may_lead_to(&mut self, clusters: &[Arc<str>], now: Instant) -> bool {
        if !(self.is_quiet(ResourceType::Listener) && self.is_quiet(ResourceType::Route)) {
            return true;
        }
        let state = &self.types[slot(ResourceType::Cluster)];
        let from_before = clusters.iter().any(|name| matches!(state.sent.get(name), Some(Sent::Before(_))));
        let knows_routes = !self.types[slot(ResourceType::Route)].subscription.is_empty();
        if !from_before || knows_routes {
            self.keeping_since = None;
            return false;
        }
        now.duration_since(*self.keeping_since.get_or_insert(now)) < PATIENCE
    }

    /// Whether the client has all clusters that routes may lead to, and their instances, or takes too long.
    fn clusters_are_ready(&mut self, now: Instant) -> bool {
        self.lacks_no_cluster() || now.duration_since(*self.waiting_since.get_or_insert(now)) >= PATIENCE
    }

    fn lacks_no_cluster(&self) -> bool {
        let clusters = &self.types[slot(ResourceType::Cluster)];
        if clusters.subscription.is_empty() {
            return true;
        }
        let endpoints = &self.types[slot(ResourceType::Endpoint)];
        let settled = |state: &TypeState, kind| state.outstanding.is_none() && self.changes(kind).upserts.is_empty();
        let has_endpoints = |resource: &Resource| resource.endpoints.as_ref().is_none_or(|name| endpoints.subscription.has(name));
        settled(clusters, ResourceType::Cluster)
            && settled(endpoints, ResourceType::Endpoint)
            && self.target.of(ResourceType::Cluster).values().all(has_endpoints)
    }

    fn send(&mut self, kind: ResourceType, changes: &Changes) -> Response {
        if kind == ResourceType::Cluster {
            self.follow_with_endpoints(changes);
        }
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let state = &mut self.types[slot(kind)];
        for (name, resource) in &changes.upserts {
            state.sent.insert(name.clone(), Sent::Here(resource.clone()));
        }
        for name in &changes.removals {
            state.sent.remove(name);
        }
        state.asked.clear();
        state.spoken = true;
        state.outstanding = Some(nonce.clone());
        match self.protocol {
            Protocol::Delta => Response::Delta(delta::response(kind, changes, nonce)),
            Protocol::StateOfTheWorld => Response::State(state::response(kind, changes, &state.sent, nonce)),
        }
    }

    /// To Envoy a cluster that has changed is a new one, which waits for its instances before it takes the old one's place, and holds
    /// up its answer until then. It asked for them when the cluster came, and does not ask again.
    fn follow_with_endpoints(&mut self, clusters: &Changes) {
        let TypeState { subscription, asked, .. } = &mut self.types[slot(ResourceType::Endpoint)];
        let names = clusters.upserts.iter().filter_map(|(_, cluster)| cluster.endpoints.clone());
        asked.extend(names.filter(|name| subscription.has(name)));
    }

    /// Takes the client's answer to a response.
    fn answered(&mut self, kind: ResourceType, nonce: &str, refused: Option<String>) -> Event {
        let state = &mut self.types[slot(kind)];
        if state.outstanding.as_deref() != Some(nonce) {
            return Event::Passed;
        }
        state.outstanding = None;
        // What was refused counts as sent: sending the same again would be refused again.
        match refused {
            Some(reason) => Event::Refused(kind, reason),
            None => Event::Accepted(kind),
        }
    }
}

fn health(error: Option<&weir_xds::Status>) -> Event {
    Event::Health(error.map_or(Ok(()), |error| Err(error.message.clone())))
}

#[cfg(test)]
mod tests;
