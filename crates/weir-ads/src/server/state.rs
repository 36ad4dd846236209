//! The state-of-the-world protocol's messages, as the server sees them.

use std::collections::HashSet;
use std::sync::Arc;

use weir_xds::discovery::DiscoveryRequest;
use weir_xds::resource::ResourceType;

use super::kind::TypeState;
use super::{Event, Server};
use crate::resources::slot;

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
    let changed = !is_the_same(state, &request.resource_names, all) && subscribe(server, kind, &request.resource_names, all);
    if request.response_nonce.is_empty() {
        return if changed { Event::Subscribed(kind) } else { Event::Passed };
    }
    let refused = request.error_detail.as_ref().map(|error| error.message.clone());
    server.answered(kind, &request.response_nonce, refused)
}

/// Whether a client asks for what it asked for before, as each of its answers does.
fn is_the_same(state: &TypeState, names: &[String], all: bool) -> bool {
    let own = &state.subscription;
    let wanted = || names.iter().filter(|name| *name != "*");
    // One that stands twice makes the counts differ: then it is looked at in full.
    all == own.all && wanted().count() == own.names.len() && wanted().all(|name| own.names.contains(name.as_str()))
}

/// Takes what a client asks for in place of what it asked for before. Whether it asks for more.
fn subscribe(server: &mut Server, kind: ResourceType, names: &[String], all: bool) -> bool {
    let shared = names.iter().filter(|name| *name != "*").map(|name| server.target.shared_name(kind, name));
    let names: HashSet<Arc<str>> = shared.collect();
    let state = &mut server.types[slot(kind)];
    let new: Vec<Arc<str>> = names.difference(&state.subscription.names).cloned().collect();
    let mut gone: HashSet<Arc<str>> = state.subscription.names.difference(&names).cloned().collect();
    let changed = !new.is_empty() || all != state.subscription.all;
    let was_all = std::mem::replace(&mut state.subscription.all, all);
    state.subscription.names = names;
    state.asked.retain(|name| !gone.contains(name));
    state.asked.extend(new.iter().cloned());
    if !all {
        if was_all {
            gone.extend(state.sent.keys().filter(|name| !state.subscription.names.contains(*name)).cloned());
        }
        gone.iter().for_each(|name| state.forget(name));
    }
    server.assignments.recount();
    if all == was_all {
        new.iter().chain(&gone).for_each(|name| server.look(kind, name));
    } else {
        gone.iter().for_each(|name| server.look(kind, name));
        server.look_at_all(kind);
    }
    changed
}

/// Whether responses of this type carry all resources, so that one that is missing is gone.
pub(super) fn is_whole(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Listener)
}
