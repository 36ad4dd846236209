//! The delta protocol's messages, as the server sees them.

use std::sync::Arc;

use weir_xds::core::ControlPlane;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource};
use weir_xds::resource::ResourceType;

use super::{Changes, Event, Sent, Server};
use crate::resources::slot;

pub(super) fn receive(server: &mut Server, request: &DeltaDiscoveryRequest) -> Event {
    let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Event::Passed };
    let state = &mut server.types[slot(kind)];
    let first = state.subscription.is_empty() && request.response_nonce.is_empty();
    for (name, version) in &request.initial_resource_versions {
        state.sent.entry(name.as_str().into()).or_insert_with(|| Sent::Before(version.clone()));
    }
    // A first request that names nothing asks for all.
    if first && request.resource_names_subscribe.is_empty() && request.resource_names_unsubscribe.is_empty() {
        state.subscription.all = true;
    }
    for name in &request.resource_names_subscribe {
        if name == "*" {
            state.subscription.all = true;
            continue;
        }
        let name: Arc<str> = name.as_str().into();
        let known = request.initial_resource_versions.contains_key(&*name);
        state.subscription.names.insert(name.clone());
        if !known {
            state.asked.insert(name);
        }
    }
    for name in &request.resource_names_unsubscribe {
        if name == "*" {
            state.subscription.all = false;
        }
        state.subscription.names.remove(name.as_str());
        state.asked.remove(name.as_str());
        if !state.subscription.has(name) {
            state.sent.remove(name.as_str());
        }
    }
    let changed = !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty() || first;
    if request.response_nonce.is_empty() {
        return if changed { Event::Subscribed(kind) } else { Event::Passed };
    }
    let refused = request.error_detail.as_ref().map(|error| error.message.clone());
    server.answered(kind, &request.response_nonce, refused)
}

pub(super) fn response(kind: ResourceType, changes: &Changes, nonce: String) -> DeltaDiscoveryResponse {
    let resource = |(name, resource): &(Arc<str>, crate::Resource)| WireResource {
        name: name.to_string(),
        version: resource.version.to_string(),
        resource: Some(resource.body.clone()),
        ..Default::default()
    };
    DeltaDiscoveryResponse {
        system_version_info: nonce.clone(),
        resources: changes.upserts.iter().map(resource).collect(),
        removed_resources: changes.removals.iter().map(ToString::to_string).collect(),
        type_url: kind.type_url(),
        nonce,
        control_plane: Some(control_plane()),
        ..Default::default()
    }
}

pub(super) fn control_plane() -> ControlPlane {
    ControlPlane { identifier: concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned() }
}
