//! The server's side of a stream: what a client has, what it should have, and what to send next.
//!
//! What differs is kept, by name: a change costs what it changes, an answer what it answers, and a client that has all that it asks
//! for nearly nothing. The resources themselves belong to the [`ResourceSet`].

mod assignments;
mod delta;
mod kind;
mod refused;
mod sent;
mod state;
mod subscription;

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_xds::resource::ResourceType;

use crate::push::Push;
use crate::resources::{SLOTS, slot};
use crate::set::{Names, ResourceSet};
use crate::stream::{HEALTH, Protocol, Request};
use assignments::Assignments;
use kind::{Outstanding, TypeState, version};

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
    types: [TypeState; SLOTS],
    /// The assignments that the client has not asked for, though its clusters need them.
    assignments: Assignments,
    nonces: u64,
    /// Since when routes wait for clusters.
    waiting_since: Option<Instant>,
    /// Since when clusters of an earlier stream wait to be taken away: the client may have routes to them
    /// that it has not told of yet.
    keeping_since: Option<Instant>,
}

impl Server {
    /// The state of a new stream.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            target: Arc::default(),
            types: Default::default(),
            assignments: Assignments::default(),
            nonces: 0,
            waiting_since: None,
            keeping_since: None,
        }
    }

    /// Sets what the client should have. Only the newest set counts.
    pub fn set(&mut self, target: Arc<ResourceSet>) {
        let changed = target.compare(&self.target);
        self.change(target, &changed);
    }

    /// The same where it is known what may differ from the set before: nothing else is looked at.
    pub fn change(&mut self, target: Arc<ResourceSet>, changed: &Names) {
        let before = std::mem::replace(&mut self.target, target);
        if before.has_none(ResourceType::Cluster) {
            self.assignments.recount();
        }
        if self.assignments.any_given_up() {
            for name in changed.of(ResourceType::Cluster) {
                let (was, is) = (before.get(ResourceType::Cluster, name), self.target.get(ResourceType::Cluster, name));
                if was.map(|was| was.version) != is.map(|is| is.version) {
                    let needed = was.into_iter().chain(is).filter_map(|cluster| cluster.endpoints.as_ref());
                    needed.for_each(|name| self.assignments.hope_for(name));
                }
            }
        }
        let asked_for = &self.types[slot(ResourceType::Endpoint)].subscription;
        let is_asked_for = |name: &str| {
            let is_there = || before.get(ResourceType::Endpoint, name).is_some();
            asked_for.has(ResourceType::Endpoint, name, is_there)
        };
        for name in changed.of(ResourceType::Cluster) {
            if self.assignments.is_stale() {
                break;
            }
            let needs = |set: &ResourceSet| set.get(ResourceType::Cluster, name).and_then(|cluster| cluster.endpoints.clone());
            self.assignments.replace(needs(&before), needs(&self.target), is_asked_for);
        }
        for kind in ResourceType::ALL {
            let (state, names) = (&mut self.types[slot(kind)], changed.of(kind));
            if state.is_idle() {
                continue;
            }
            // A name may stand there twice: so all are asked for how they stood before any is told how it stands.
            let stood = state.stood(kind, names, &before);
            state.stand(kind, &stood, &self.target);
            for name in names {
                state.keep_leaving(kind, self.protocol, name, &before, &self.target);
                state.look(kind, self.protocol, name, version(&self.target, kind, name));
            }
        }
    }

    /// What the client should have.
    pub fn target(&self) -> &Arc<ResourceSet> {
        &self.target
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

    /// Whether there is a resource of a type that the client has refused, and nothing yet that it has accepted in its place.
    pub fn is_refused(&self, kind: ResourceType) -> bool {
        !self.types[slot(kind)].refused.is_empty()
    }

    /// The next message to send, if there is one now. To be asked until there is none: after each message of
    /// the client's, after each [`Self::set`], and at [`Self::deadline`].
    pub fn next(&mut self, now: Instant) -> Option<Push> {
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
        // What is kept for a route that it has refused may be kept for ever.
        let is_kept = |kind| kind == ResourceType::Cluster && self.keeps_older_routes() && self.types[slot(kind)].has_all();
        ResourceType::ALL.into_iter().all(|kind| self.is_quiet(kind) || is_kept(kind))
    }

    fn next_of(&mut self, kind: ResourceType, now: Instant) -> Option<Push> {
        let state = &self.types[slot(kind)];
        if state.outstanding.is_some() {
            return None;
        }
        let (upserts, mut removals) = (!state.upserts.is_empty(), !state.removals.is_empty());
        match kind {
            ResourceType::Cluster if removals && self.routes_may_lead_to_removed(now) => removals = false,
            // A table is in force when both its parts are there: what comes first is the one that is asked for first.
            ResourceType::VirtualHost if !self.types[slot(ResourceType::Route)].upserts.is_empty() => return None,
            ResourceType::Listener | ResourceType::Route | ResourceType::VirtualHost
                if (upserts || removals) && !self.clusters_are_ready(now) =>
            {
                return None;
            }
            _ => {}
        }
        (upserts || removals || self.owes_nothing_but_a_word(kind)).then(|| self.send(kind, removals))
    }

    fn is_quiet(&self, kind: ResourceType) -> bool {
        self.types[slot(kind)].is_quiet() && !self.owes_nothing_but_a_word(kind)
    }

    /// Whether the client asked for all resources of a type that there are none of, and does not know that yet: it
    /// waits for an answer before it is ready, as Envoy does.
    fn owes_nothing_but_a_word(&self, kind: ResourceType) -> bool {
        let state = &self.types[slot(kind)];
        state.subscription.all && !state.spoken && self.target.has_none(kind) && !state.has_any(kind, &self.target)
    }

    /// Whether the client may still have routes to clusters that there are not any more.
    fn routes_may_lead_to_removed(&mut self, now: Instant) -> bool {
        let mut leading = [ResourceType::Listener, ResourceType::Route, ResourceType::VirtualHost].into_iter();
        if !leading.all(|kind| self.is_quiet(kind)) || self.keeps_older_routes() {
            return true;
        }
        let clusters = &self.types[slot(ResourceType::Cluster)];
        if !clusters.removals.iter().any(|name| clusters.before.contains(name)) {
            self.keeping_since = None;
            return false;
        }
        now.duration_since(*self.keeping_since.get_or_insert(now)) < PATIENCE
    }

    /// Whether the client has refused routes in place of which it still has older ones, and so the way to older clusters.
    fn keeps_older_routes(&self) -> bool {
        // A table is in force as a whole: a virtual host that is refused leaves the older one, even if it is new itself.
        let refuses_hosts = !self.types[slot(ResourceType::VirtualHost)].refused.is_empty();
        refuses_hosts || [ResourceType::Listener, ResourceType::Route].into_iter().any(|kind| self.types[slot(kind)].keeps_older())
    }

    /// Whether the client has all clusters that routes may lead to, and their instances, or takes too long.
    fn clusters_are_ready(&mut self, now: Instant) -> bool {
        if self.lacks_no_cluster() {
            return true;
        }
        let is_over = now.duration_since(*self.waiting_since.get_or_insert(now)) >= PATIENCE;
        let [clusters, endpoints] = [ResourceType::Cluster, ResourceType::Endpoint].map(|kind| &self.types[slot(kind)]);
        // What it has not asked for by now it will not: others that come are waited for afresh.
        if is_over && clusters.has_all() && endpoints.has_all() {
            self.assignments.give_up(&self.target, &endpoints.subscription);
            self.waiting_since = None;
        }
        is_over
    }

    fn lacks_no_cluster(&mut self) -> bool {
        let clusters = &self.types[slot(ResourceType::Cluster)];
        if clusters.subscription.is_empty() {
            return true;
        }
        let endpoints = &self.types[slot(ResourceType::Endpoint)];
        clusters.has_all() && endpoints.has_all() && !self.assignments.lack(&self.target, &endpoints.subscription)
    }

    fn send(&mut self, kind: ResourceType, with_removals: bool) -> Push {
        self.nonces += 1;
        let (protocol, nonce) = (self.protocol, self.nonces);
        let state = &mut self.types[slot(kind)];
        let (mut resources, removals) = state.send(kind, &self.target, with_removals);
        if kind == ResourceType::Cluster {
            self.follow_with_endpoints(&resources);
        }
        let state = &mut self.types[slot(kind)];
        if protocol == Protocol::StateOfTheWorld && state::is_whole(kind) {
            resources = state.whole(kind, &self.target);
        }
        let names = resources.iter().map(|(name, _)| name).chain(&removals).cloned().collect();
        state.outstanding = Some(Outstanding { nonce, names });
        Push { protocol, kind, nonce, resources, removals }
    }

    /// To Envoy a cluster that has changed is a new one, which waits for its instances before it takes the old one's place, and holds
    /// up its answer until then. It asked for them when the cluster came, and does not ask again.
    fn follow_with_endpoints(&mut self, clusters: &[(Arc<str>, Arc<crate::Resource>)]) {
        let endpoints = &mut self.types[slot(ResourceType::Endpoint)];
        if endpoints.subscription.names.is_empty() {
            return;
        }
        for name in clusters.iter().filter_map(|(_, cluster)| cluster.endpoints.as_ref()) {
            let there = version(&self.target, ResourceType::Endpoint, name);
            if endpoints.subscription.names.contains(name, || there.is_some()) {
                endpoints.asked.insert(name.clone());
                endpoints.look(ResourceType::Endpoint, self.protocol, name, there);
            }
        }
    }

    /// Takes the client's answer to a response.
    fn answered(&mut self, kind: ResourceType, nonce: &str, refused: Option<String>) -> Event {
        let state = &mut self.types[slot(kind)];
        let together = refused.as_ref().map(|reason| state.refused_together(kind, nonce, reason)).unwrap_or_default();
        if !state.answered(nonce, refused.as_deref()) {
            return Event::Passed;
        }
        state.send_apart(kind, self.protocol, together, &self.target);
        // A client may have let go meanwhile what it refused. Nothing better comes for that: clusters would be kept for it for ever.
        let (subscription, target) = (&state.subscription, &self.target);
        state.refused.retain(|name| subscription.has(kind, name, || target.get(kind, name).is_some()));
        state.subscription.weigh(kind, || self.target.of(kind).map(|(name, _)| name));
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
