//! The delta protocol's messages, as the server sees them.

use weir_xds::discovery::DeltaDiscoveryRequest;
use weir_xds::resource::ResourceType;

use super::{Event, Server};
use crate::resources::{Version, slot};

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
    let changed = !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty() || first;
    if request.response_nonce.is_empty() {
        return if changed { Event::Subscribed(kind) } else { Event::Passed };
    }
    let refused = request.error_detail.as_ref().map(|error| error.message.clone());
    server.answered(kind, &request.response_nonce, refused)
}

/// Takes what a client tells that it has from an earlier stream.
fn take_versions(server: &mut Server, kind: ResourceType, request: &DeltaDiscoveryRequest) {
    for (name, version) in &request.initial_resource_versions {
        let name = server.target.shared_name(kind, name);
        let state = &mut server.types[slot(kind)];
        if !state.sent.contains_key(&name) {
            state.sent.insert(name.clone(), Version::parse(version).unwrap_or(Version::OTHER));
            state.before.insert(name.clone());
        }
        server.look(kind, &name);
    }
}

fn ask_for_all(server: &mut Server, kind: ResourceType, all: bool) {
    server.types[slot(kind)].subscription.all = all;
    server.look_at_all(kind);
    server.assignments.recount();
}

fn subscribe(server: &mut Server, kind: ResourceType, name: &str, is_known: bool) {
    let name = server.target.shared_name(kind, name);
    let state = &mut server.types[slot(kind)];
    state.subscription.names.insert(name.clone());
    // The name of a route configuration is that of no virtual host: those that it stands for are sent, whichever they are.
    if !is_known && kind != ResourceType::VirtualHost {
        state.asked.insert(name.clone());
    }
    if kind == ResourceType::Endpoint {
        server.assignments.asked_for(&name);
    }
    server.look(kind, &name);
    if kind == ResourceType::VirtualHost {
        server.target.hosts_of(&name).iter().for_each(|host| server.look(kind, host));
    }
}

fn unsubscribe(server: &mut Server, kind: ResourceType, name: &str) {
    let state = &mut server.types[slot(kind)];
    state.subscription.names.remove(name);
    state.asked.remove(name);
    if !state.subscription.has(kind, name) {
        state.forget(name);
    }
    if kind == ResourceType::VirtualHost {
        for host in state.hosts_of(name) {
            if !state.subscription.has(kind, &host) {
                state.forget(&host);
            }
            state.look(kind, server.protocol, &host, &server.target);
        }
    }
    if kind == ResourceType::Endpoint {
        server.assignments.recount();
    }
    server.look(kind, &name.into());
}
