//! The state-of-the-world protocol's messages, as the server sees them.

use std::sync::Arc;

use weir_xds::discovery::DiscoveryRequest;
use weir_xds::resource::ResourceType;

use super::kind::{Versioned, version};
use super::{Event, Server};
use crate::resources::slot;
use crate::shared_map::HashSet;

pub(super) fn receive(server: &mut Server, request: &DiscoveryRequest) -> Event {
    let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Event::Passed };
    // Only the delta protocol has words for them.
    if kind == ResourceType::VirtualHost {
        return Event::Passed;
    }
    let state = &server.types[slot(kind)];
    let stale = !request.response_nonce.is_empty() && state.outstanding.is_some() && !state.awaits(&request.response_nonce);
    if stale {
        return Event::Passed;
    }
    let all = request.resource_names.iter().any(|name| name == "*") || (request.resource_names.is_empty() && is_whole(kind));
    let changed = !is_the_same(server, kind, &request.resource_names, all) && subscribe(server, kind, &request.resource_names, all);
    if request.response_nonce.is_empty() {
        return if changed { Event::Subscribed(kind) } else { Event::Passed };
    }
    let refused = request.error_detail.as_ref().map(|error| error.message.clone());
    server.answered(kind, &request.response_nonce, refused)
}

/// Whether a client asks for what it asked for before, as each of its answers does.
fn is_the_same(server: &Server, kind: ResourceType, names: &[String], all: bool) -> bool {
    let own = &server.types[slot(kind)].subscription;
    let wanted = || names.iter().filter(|name| *name != "*");
    let is_asked = |name: &String| own.names.contains(name, || server.target.get(kind, name).is_some());
    // One that stands twice makes the counts differ: then it is looked at in full.
    all == own.all && wanted().count() == own.names.len() && wanted().all(is_asked)
}

/// Takes what a client asks for in place of what it asked for before. Whether it asks for more.
fn subscribe(server: &mut Server, kind: ResourceType, names: &[String], all: bool) -> bool {
    let (target, protocol) = (server.target.clone(), server.protocol);
    let shared = names.iter().filter(|name| *name != "*").map(|name| target.shared_name(kind, name).0);
    let names: HashSet<Arc<str>> = shared.collect();
    let state = &mut server.types[slot(kind)];
    let asked_before: HashSet<Arc<str>> = state.subscription.names.all(target.of(kind).map(|(name, _)| name)).into_iter().collect();
    let new: HashSet<Arc<str>> = names.difference(&asked_before).cloned().collect();
    let was_all = state.subscription.all;
    let (mut gone, mut touched) = (asked_before.difference(&names).cloned().collect::<HashSet<_>>(), vec![]);
    if all != was_all {
        touched = state.names(kind, &target);
        let has = |(name, there): &&Versioned| state.has(kind, name, *there).is_some();
        let let_go = touched.iter().filter(|_| was_all).filter(has).map(|(name, _)| name);
        gone.extend(let_go.filter(|name| !names.contains(*name)).cloned());
    }
    let known: HashSet<Arc<str>> = touched.iter().map(|(name, _)| name.clone()).collect();
    let besides = new.iter().chain(&gone).filter(|name| !known.contains(*name));
    touched.extend(besides.map(|name| (name.clone(), version(&target, kind, name))));
    state.subscribe(kind, &touched, |subscription| {
        subscription.all = all;
        subscription.names = names.iter().collect();
    });
    state.asked.retain(|name| !gone.contains(name));
    state.asked.extend(new.iter().cloned());
    for (name, there) in touched {
        if !all && gone.contains(&name) {
            state.refused.forget(&name);
            state.forget(kind, &name, there);
        }
        state.look(kind, protocol, &name, there);
    }
    server.assignments.recount();
    !new.is_empty() || all != was_all
}

/// Whether responses of this type carry all resources, so that one that is missing is gone.
pub(super) fn is_whole(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Listener | ResourceType::NameTable)
}
