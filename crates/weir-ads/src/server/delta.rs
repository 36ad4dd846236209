//! The delta protocol's messages, as the server sees them.

use weir_xds::discovery::DeltaDiscoveryRequest;
use weir_xds::resource::ResourceType;

use super::{Event, Server};
use crate::resources::{Version, slot};
use crate::shared_map::HashSet;

pub(super) fn receive(server: &mut Server, request: &DeltaDiscoveryRequest) -> Event {
    let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Event::Passed };
    let first = server.types[slot(kind)].subscription.is_empty() && request.response_nonce.is_empty();
    take_versions(server, kind, request);
    // A first request that names nothing asks for all.
    if first && request.resource_names_subscribe.is_empty() && request.resource_names_unsubscribe.is_empty() {
        ask_for_all(server, kind, true);
    }
    for name in &request.resource_names_subscribe {
        match name.as_str() {
            "*" => ask_for_all(server, kind, true),
            name => subscribe(server, kind, name, request.initial_resource_versions.contains_key(name)),
        }
    }
    for name in &request.resource_names_unsubscribe {
        match name.as_str() {
            "*" => ask_for_all(server, kind, false),
            name => unsubscribe(server, kind, name),
        }
    }
    if kind == ResourceType::Route && !server.types[slot(kind)].subscription.is_empty() {
        // It has told of the routes that it has from before.
        server.types[slot(ResourceType::Cluster)].before = HashSet::default();
    }
    let changed = !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty() || first;
    if request.response_nonce.is_empty() {
        return if changed { Event::Subscribed(kind) } else { Event::Passed };
    }
    let refused = request.error_detail.as_ref().map(|error| error.message.clone());
    server.answered(kind, &request.response_nonce, refused)
}

/// Takes what a client tells that it has from an earlier stream.
fn take_versions(server: &mut Server, kind: ResourceType, request: &DeltaDiscoveryRequest) {
    for (name, told) in &request.initial_resource_versions {
        let (name, there) = server.target.shared_name(kind, name);
        let state = &mut server.types[slot(kind)];
        if state.has(kind, &name, there).is_none() {
            state.set_has(kind, &name, Some(Version::parse(told).unwrap_or(Version::OTHER)), there);
            if kind == ResourceType::Cluster {
                state.before.insert(name.clone());
            }
            if told.is_empty() {
                // It has refused it, and has accepted nothing.
                state.first.insert(name.clone());
            }
        }
        state.look(kind, server.protocol, &name, there);
    }
}

fn ask_for_all(server: &mut Server, kind: ResourceType, all: bool) {
    let state = &mut server.types[slot(kind)];
    let names = state.names(kind, &server.target);
    state.subscribe(kind, &names, |subscription| subscription.all = all);
    names.iter().for_each(|(name, there)| state.look(kind, server.protocol, name, *there));
    server.assignments.recount();
}

fn subscribe(server: &mut Server, kind: ResourceType, name: &str, is_known: bool) {
    let (name, there) = server.target.shared_name(kind, name);
    let state = &mut server.types[slot(kind)];
    state.ask_for_hosts_under_way(kind, &name, &server.target);
    let hosts = state.hosts_of(kind, &name, &server.target);
    state.ask(kind, &name, true, there, &hosts);
    // The name of a route configuration is that of no virtual host: those that it stands for are sent, whichever they are.
    if !is_known && kind != ResourceType::VirtualHost {
        state.asked.insert(name.clone());
    }
    if kind == ResourceType::Endpoint {
        server.assignments.asked_for(&name);
    }
    std::iter::once((name, there)).chain(hosts).for_each(|(name, there)| state.look(kind, server.protocol, &name, there));
}

fn unsubscribe(server: &mut Server, kind: ResourceType, name: &str) {
    let (name, there) = server.target.shared_name(kind, name);
    let state = &mut server.types[slot(kind)];
    let hosts = state.hosts_of(kind, &name, &server.target);
    state.ask(kind, &name, false, there, &hosts);
    // What is asked for otherwise as well still has its answer coming.
    for (name, there) in std::iter::once((name, there)).chain(hosts) {
        if !state.subscription.has(kind, &name, || there.is_some()) {
            state.asked.remove(&name);
            state.refused.forget(&name);
            state.forget(kind, &name, there);
        }
        state.look(kind, server.protocol, &name, there);
    }
    if kind == ResourceType::Endpoint {
        server.assignments.recount();
    }
}
